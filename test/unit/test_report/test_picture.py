"""The mid-sagittal picture: which slice, which window, true proportions, names in their places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spine.anatomy import Structure
from spine.records import Numbering
from spine.report.figures import spread
from spine.report.picture import PALETTE, columns_shown, draw_picture, middle_slice, paint, window


def test_middle_slice_runs_through_the_canal_and_not_through_the_middle_of_the_stack(make_case):
    case = make_case(3)
    structures = np.zeros_like(case.spine.structures)
    structures[1:4, 10:20, 10:20] = Structure.CANAL
    structures[5:9, 10:20, 10:20] = Structure.BODY
    assert middle_slice(case.volume, replace(case.spine, structures=structures)) == 2
    bodies = np.where(structures == Structure.CANAL, 0, structures).astype(np.uint8)
    assert middle_slice(case.volume, replace(case.spine, structures=bodies)) == round((5 + 8) / 2)
    assert middle_slice(case.volume, replace(case.spine, structures=np.zeros_like(structures))) == 9 // 2


def test_pixels_are_square_whatever_the_spacing(make_case):
    case = make_case(4)
    rows, columns = case.volume.array.shape[1:]
    stretched = replace(case.volume, spacing_mm=(4.0, 1.0, 0.5))
    nothing = np.zeros_like(case.spine.structures)
    picture = draw_picture(stretched, replace(case.spine, structures=nothing, mask=nothing))
    high, wide = picture.plain.shape
    assert wide / high == pytest.approx(0.5 * columns / rows, rel=0.01)
    assert picture.size_mm == pytest.approx((0.5 * columns, rows), rel=0.01)


def test_padding_is_not_shown(make_case):
    case = make_case(4)
    rows, columns = case.volume.array.shape[1:]
    padded = replace(case.volume, content=(9, rows - 20, columns))
    picture = draw_picture(padded, case.spine)
    assert picture.size_mm[1] == pytest.approx(rows - 20, rel=0.01)


def test_window_spans_the_percentiles_and_survives_flat_and_broken_pictures():
    ramp = np.linspace(0, 1, 1000, dtype=np.float32).reshape(20, 50)
    assert window(ramp).min() == 0
    assert window(ramp).max() == 255
    assert not window(np.full((4, 4), 3.0, np.float32)).any()
    assert not window(np.full((4, 4), np.nan, np.float32)).any()


def test_columns_keep_the_spine_with_a_margin():
    structures = np.zeros((100, 200), np.uint8)
    structures[:, 90:110] = Structure.CANAL
    shown = columns_shown(structures, (1.0, 1.0))
    assert (shown.start, shown.stop) == (60, 140)
    assert columns_shown(np.zeros((100, 200), np.uint8), (1.0, 1.0)) == slice(0, 200)


def test_structures_are_outlined_in_their_own_colour_and_the_rest_stays_grey():
    grey = np.full((9, 9), 100, np.uint8)
    labels = np.zeros((9, 9), np.uint8)
    labels[2:7, 2:7] = Structure.DISC
    colour = paint(grey, labels)
    assert tuple(colour[2, 2]) == PALETTE[Structure.DISC]
    assert tuple(colour[0, 0]) == (100, 100, 100)
    assert tuple(colour[4, 4]) not in {PALETTE[Structure.DISC], (100, 100, 100)}


def test_every_structure_has_a_colour_of_its_own():
    assert set(PALETTE) == set(Structure) - {Structure.BACKGROUND}
    assert len(set(PALETTE.values())) == len(PALETTE)


def test_marks_lie_on_their_vertebrae(make_case):
    case = make_case(5)
    picture = draw_picture(case.volume, case.spine)
    labels = [mark.text for mark in picture.vertebrae]
    assert labels == ["S1", "L5", "L4", "L3", "L2", "L1"]
    rows = case.volume.array.shape[1]
    for mark, vertebra in zip(picture.vertebrae[1:], case.spine.vertebrae, strict=True):
        assert mark.y == pytest.approx((vertebra.centre[1] + 0.5) / rows)
    assert all(0 <= mark.x <= 1 for mark in picture.vertebrae)


def test_empty_spine_gives_a_plain_picture(make_case):
    case = make_case(0)
    nothing = np.zeros_like(case.spine.structures)
    empty = replace(case.spine, structures=nothing, numbering=Numbering("none", 0.0, (), None))
    picture = draw_picture(case.volume, empty)
    assert picture.structures == ()
    assert (picture.overlay == picture.plain[..., None]).all()


def test_names_are_moved_apart_in_order_and_stay_inside():
    placed = spread([10.0, 11.0, 12.0, 90.0], 8.0, 0.0, 100.0)
    assert placed == sorted(placed)
    assert min(np.diff(placed)) == pytest.approx(8.0)
    assert placed[3] == pytest.approx(90.0)
    assert placed[1] == pytest.approx(11.0)
    crowded = spread([50.0] * 30, 8.0, 0.0, 100.0)
    assert min(crowded) >= 0
    assert max(crowded) <= 100 + 1e-9
    assert spread([], 8.0, 0.0, 100.0) == []
