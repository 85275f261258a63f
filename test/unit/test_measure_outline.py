"""Outlines of single bodies: spurs, rounded corners, trapezes, and hand-drawn masks of real patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from spine.geometry import UP
from spine.measure.outline import Outline, fit_outline
from spine.measure.section import MidSurface, Section
from spine.records import Grid, Volume

MASKS = Path(__file__).resolve().parents[3] / "shared" / "data" / "mendeley_midsagittal" / "masks"


def section_of(plane: np.ndarray, pixel_mm: float = 1.0) -> tuple[Section, MidSurface]:
    """One slice that holds one structure."""
    array = np.zeros((1, *plane.shape), np.float32)
    spacing = (4.0, pixel_mm, pixel_mm)
    grid = Grid(array.shape, spacing, (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    volume = Volume(array, spacing, array.shape, np.eye(4), grid, (0, 1, 2), (False, False, False))
    surface = MidSurface(np.zeros(plane.shape[0]), volume)
    section = surface.section(plane[None], (0, 0, 0))
    assert section is not None
    return section, surface


def box() -> np.ndarray:
    """25 rows by 34 columns of body, from (20, 15)."""
    plane = np.zeros((70, 70), np.bool_)
    plane[20:45, 15:49] = True
    return plane


def heights(outline: Outline) -> tuple[float, float]:
    assert outline.superior is not None
    assert outline.inferior is not None
    return (
        float(np.linalg.norm(outline.superior.front - outline.inferior.front)),
        float(np.linalg.norm(outline.superior.back - outline.inferior.back)),
    )


def test_box():
    outline = fit_outline(*section_of(box()), UP)
    assert heights(outline) == pytest.approx((25, 25), abs=0.01)
    assert outline.superior.back == pytest.approx([19.5, 48.5], abs=0.01)  # half a pixel beyond the last centre
    assert outline.front_middle == pytest.approx([32, 14.5], abs=0.01)
    assert outline.up == pytest.approx(UP)
    assert outline.cut == ()


@pytest.mark.parametrize("turn_deg", [-40, 0, 40])
def test_the_given_direction_only_tells_the_sides_apart(turn_deg):
    up = np.array([-np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))])
    assert fit_outline(*section_of(box()), up).up == pytest.approx(UP)


def test_a_spur_moves_the_corner_little():
    plane = box()
    plane[42:45, 11:15] = True  # 3 high, 4 deep, at the lower front corner
    outline = fit_outline(*section_of(plane), UP)
    assert heights(outline) == pytest.approx((25, 25), abs=0.5)
    assert np.linalg.norm(outline.superior.chord) == pytest.approx(34, abs=0.5)


def test_a_rounded_corner_is_completed():
    plane = box()
    rows, columns = np.arange(70)[:, None], np.arange(70)
    plane[(rows < 23) & (columns < 18) & ((rows - 23) ** 2 + (columns - 18) ** 2 > 9.5)] = False
    assert heights(fit_outline(*section_of(plane), UP)) == pytest.approx((25, 25), abs=1.0)


def test_a_trapeze_like_s1_keeps_its_upper_plate():
    rows, columns = np.arange(70)[:, None], np.arange(70)
    plane = (rows >= 20) & (rows < 45) & (columns >= 15 + 0.5 * (rows - 20)) & (columns < 49)
    outline = fit_outline(*section_of(plane), UP, open_side="inferior")
    assert outline.inferior is None
    assert outline.superior.elevation_deg == pytest.approx(0, abs=1)
    assert np.linalg.norm(outline.superior.chord) == pytest.approx(34, abs=0.7)


def test_too_little_for_an_outline():
    dot, line = np.zeros((30, 30), np.bool_), np.zeros((30, 30), np.bool_)
    dot[10:12, 10:12] = True
    line[10, 5:25] = True
    assert fit_outline(*section_of(dot), UP) is None
    assert fit_outline(*section_of(line), UP) is None


@pytest.mark.skipif(not MASKS.is_dir(), reason="the shared data are not beside this checkout")
def test_real_bodies_all_get_a_plausible_outline():
    pixel_mm = 300 / 384
    found = 0
    for path in sorted(MASKS.glob("*.png"))[::12]:
        labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
        for label, span in enumerate(ndimage.find_objects(labels.astype(np.uint8))[:5], start=1):
            if span is None:
                continue
            window = tuple(slice(max(0, s.start - 15), s.stop + 15) for s in span)
            outline = fit_outline(*section_of(labels[window] == label, pixel_mm), UP)
            assert outline is not None, (path.name, label)
            assert all(15 < h < 45 for h in heights(outline)), (path.name, label)
            found += 1
    assert found > 140
