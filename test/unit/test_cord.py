"""The cord on cross-sections: geometry with known answers, a stand-in for the network, and the shipped network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lab.evaluate.cords import map_of, on_grid, sizes_of, to_stored
from lab.evaluate.run_cervical import stored_frame
from lab.evaluate.run_cord import examine
from spine.anatomy import T1_LABEL, Structure
from spine.conform import conform_series
from spine.cord import outline_cord, read_cord
from spine.errors import ModelError
from spine.pipeline import open_models
from spine.records import CordMap, Grid, LabelledSpine, Numbering, Series, Vertebra
from spine.sections import ROWS_BESIDE, SIDE, STEP_MM, cord_at, cut_sections, normalised
from spine.settings import GridSettings

ROOT = Path(__file__).parents[2]
GRID = GridSettings(0.8, 2.0, 32, 400_000_000)
HALF_AP_MM, HALF_WIDTH_MM, TUBE_MM = 3.8, 6.2, 9.0
CORD, FLUID, WALL = 0.5, 1.4, 0.15
SAGITTAL = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)  # i to the back, j to the feet, k to the left
TURNED = tuple(-np.array(SAGITTAL))
TURN = np.radians(20)
OBLIQUE = (0.0, -np.sin(TURN), np.cos(TURN), 1.0, 0.0, 0.0, 0.0, -np.cos(TURN), -np.sin(TURN))


class Nearest:
    """Instead of the network: cord is what is nearly as bright as the middle, within reach of it."""

    name = "stand-in"

    def __init__(self, classes: int = 3) -> None:
        self.classes, self.seen = classes, ()

    def __call__(self, batch):
        self.seen = batch.shape
        middle = batch[:, ROWS_BESIDE.index(0)]
        at = np.arange(SIDE) - (SIDE - 1) / 2
        reach = np.hypot(at[:, None], at) * STEP_MM < 8.6
        core = middle[:, 18:22, 18:22].mean((1, 2), keepdims=True)
        inside = (np.abs(middle - core) < 0.5 * (middle.max((1, 2), keepdims=True) - core)) & reach
        answer = np.zeros((len(batch), self.classes, SIDE, SIDE), np.float32)
        answer[:, 2 if self.classes > 2 else 0] = 0.05 + 0.9 * inside
        answer[:, 1] = (0.05 + 0.9 * reach) * ~inside
        return answer


class Unsure(Nearest):
    """A network that cannot tell cord from fluid."""

    def __call__(self, batch):
        return super().__call__(batch) * np.float32(0.6)


def drawn(spacing=(1.0, 1.0, 1.0), direction=SAGITTAL, fluid=FLUID, rows=120):
    """A neck of a straight tube with a cord in it: series, true cord on its grid, and the canal on the model's grid."""
    shape = tuple(round(n / s) for n, s in zip((40, rows, 60), spacing, strict=True))
    side, back = ((np.arange(n) - (n - 1) / 2) * s for n, s in ((shape[0], spacing[0]), (shape[2], spacing[2])))
    side, back = side[:, None, None], back[None, None] - 1.5 * np.sin(np.arange(shape[1]) / 30.0)[None, :, None]
    cord = np.square(side / HALF_WIDTH_MM) + np.square(back / HALF_AP_MM) < 1
    tube = np.square(side / (TUBE_MM + 2)) + np.square(back / TUBE_MM) < 1
    image = np.where(cord, CORD, np.where(tube, fluid, WALL)) + np.random.default_rng(0).normal(0, 0.02, shape)
    grid = Grid(shape[::-1], spacing[::-1], (3.0, -5.0, 7.0), direction)
    series = Series("sagittal-spine-mri", "drawn", (500 * image).astype(np.int16), grid)
    volume = conform_series(series, GRID)
    frame = to_stored(volume, stored_frame(grid))
    index = np.stack(np.meshgrid(*map(np.arange, volume.array.shape), indexing="ij"), -1) * np.array(volume.spacing_mm)
    stored = np.rint(index @ frame[:, :3].T + frame[:, 3]).astype(int)
    inside = ((stored >= 0) & (stored < shape)).all(-1)
    canal = tube[tuple(np.clip(stored, 0, np.array(shape) - 1).reshape(-1, 3).T)].reshape(inside.shape) & inside
    return series, cord, volume, np.where(canal, Structure.CANAL, 0).astype(np.uint8)


def spine_with(structures, *labels):
    bodies = tuple(Vertebra(n, f"v{n}", False, (5.0, 20.0 + 10 * (24 - n), 30.0), 100, 0.9) for n in labels)
    mask = np.where(structures > 0, np.uint8(100), np.uint8(0))
    return LabelledSpine(mask, structures, bodies, (), Numbering("axis", 1.0, (), None))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.6, 0.6)], ids=["cubes", "thick slices"])
@pytest.mark.parametrize("direction", [SAGITTAL, OBLIQUE, TURNED], ids=["plain", "oblique", "turned"])
def test_an_ellipse_is_found_with_its_size_whatever_the_storage(spacing, direction):
    series, cord, volume, canal = drawn(spacing, direction)
    runner = Nearest()
    structures, found = outline_cord(series, volume, canal, volume.array.shape[1], runner)
    assert runner.seen[1:] == (len(ROWS_BESIDE), SIDE, SIDE)
    on_stored = on_grid(found, volume, stored_frame(series.grid), cord.shape)
    assert 2 * (on_stored & cord).sum() / (on_stored.sum() + cord.sum()) > 0.93
    depth, width, area = np.nanmedian(sizes_of(found), 0)
    assert depth == pytest.approx(2 * HALF_AP_MM, abs=0.4)
    assert width == pytest.approx(2 * HALF_WIDTH_MM, abs=0.8)
    assert area == pytest.approx(np.pi * HALF_AP_MM * HALF_WIDTH_MM, rel=0.08)
    assert ((structures == Structure.CORD) <= (canal == Structure.CANAL)).all()
    assert set(np.unique(structures)) == {0, Structure.CANAL, Structure.CORD}


def test_a_mask_comes_back_from_its_sections():
    series, cord, volume, canal = drawn()
    frame = stored_frame(series.grid)
    _, found = outline_cord(series, volume, canal, volume.array.shape[1], Nearest())
    again = on_grid(map_of(cord, to_stored(volume, frame), found.middle_mm), volume, frame, cord.shape)
    assert 2 * (again & cord).sum() / (again.sum() + cord.sum()) > 0.97


def test_sections_follow_their_middle_and_repeat_the_border():
    array = np.arange(20 * 30 * 40, dtype=np.float32).reshape(20, 30, 40) % 977
    to_index = np.concatenate((np.diag((0.5, 1.0, 1 / STEP_MM)), np.zeros((3, 1))), 1)
    course = np.stack((np.full(6, 20.0), 3 + 1.6 * np.arange(6), np.full(6, 16.0)), 1)
    found = cut_sections(array, to_index, course)
    assert found.shape == (6, len(ROWS_BESIDE), SIDE, SIDE)
    np.testing.assert_allclose(found.mean((1, 2, 3)), 0, atol=0.05)
    # the section itself is the middle channel; its neighbours are those of the other rows, repeated at the ends
    single = [cut_sections(array, to_index, course[n : n + 1])[0, 0] for n in range(6)]
    for n in range(6):
        for channel, away in enumerate(ROWS_BESIDE):
            other = single[int(np.clip(n + away, 0, 5))]
            assert np.corrcoef(found[n, channel].ravel(), other.ravel())[0, 1] > 0.99


def test_flat_sections_stay_finite():
    assert not normalised(np.full((2, 3, 4, 4), 7.0)).any()


def test_probabilities_are_read_between_the_sections_and_are_zero_beyond():
    probability = np.zeros((3, SIDE, SIDE), np.float32)
    probability[1:, 20, 20] = 1
    middle = np.array([[10.0, 0.0, 50.0], [10.0, 1.6, 50.0], [12.0, 3.2, 54.0]])
    cord = CordMap(probability, np.zeros(3, bool), middle, STEP_MM, "")
    half = STEP_MM / 2  # from the middle to the sample with index 20
    places = [(10 + half, 1.6, 50 + half), (10 + half, 0.8, 50 + half), (11 + half, 2.4, 52 + half)]
    np.testing.assert_allclose(cord_at(cord, np.array(places)), (1, 0.5, 1), atol=1e-5)
    np.testing.assert_array_equal(cord_at(cord, np.array([(10, -0.1, 50), (10, 3.3, 50), (40, 1.6, 50)])), 0)


def test_without_a_border_no_cord_is_told():
    series, _, volume, canal = drawn()
    structures, found = outline_cord(series, volume, canal, volume.array.shape[1], Unsure())
    assert not (structures == Structure.CORD).any()
    assert not found.probability.any()


@pytest.mark.parametrize("slices", [9, 12])
def test_a_cord_that_leaves_the_stack_is_not_told(slices):
    series, _, volume, canal = drawn()
    first = 20 - slices // 2
    narrow = replace(series, array=series.array[first : first + slices], grid=replace(
        series.grid, size=(60, 120, slices), origin_mm=(3.0 + first, -5.0, 7.0)))  # fmt: skip
    part = conform_series(narrow, GRID)
    structures = np.full(part.array.shape, Structure.CANAL, np.uint8)
    structures[:, :, 55:] = structures[:, :, :20] = structures[:, 150:] = 0
    found = outline_cord(narrow, part, structures, part.array.shape[1], Nearest())[1]
    assert found.cut.mean() > 0.9
    assert not found.probability[found.cut].any()
    assert not outline_cord(series, volume, canal, volume.array.shape[1], Nearest())[1].cut.any()


def test_without_contrast_no_cord_is_told_however_sure_the_network_is():
    series, _, volume, canal = drawn(fluid=CORD)

    class Dreaming(Nearest):
        """Draws the cord that it has learnt, whatever the picture shows."""

        def __call__(self, batch):
            at = (np.arange(SIDE) - (SIDE - 1) / 2) * STEP_MM
            inside = np.square(at[:, None] / HALF_WIDTH_MM) + np.square(at / HALF_AP_MM) < 1
            around = np.hypot(at[:, None], at) < TUBE_MM
            answer = np.stack((~around, around & ~inside, inside)).astype(np.float32)
            return np.repeat(answer[None], len(batch), 0)

    _, found = outline_cord(series, volume, canal, volume.array.shape[1], Dreaming())
    assert not found.probability.any()
    bright = drawn()
    assert outline_cord(bright[0], bright[2], bright[3], volume.array.shape[1], Dreaming())[1].probability.any()


def test_nothing_changes_below_the_end_without_a_neck_or_with_too_little_canal():
    series, _, volume, canal = drawn()
    structures, _ = outline_cord(series, volume, canal, 80, Nearest())
    assert (structures[:, :80] == Structure.CORD).any()
    np.testing.assert_array_equal(structures[:, 80:], canal[:, 80:])
    lumbar = spine_with(canal, 1, 2, 3)
    assert read_cord(series, volume, lumbar, Nearest()) is lumbar
    short = np.where(np.arange(canal.shape[1])[None, :, None] < 10, canal, 0).astype(np.uint8)
    same, none = outline_cord(series, volume, short, volume.array.shape[1], Nearest())
    assert none is None
    np.testing.assert_array_equal(same, short)


def test_a_neck_gets_its_cord_and_keeps_its_mask():
    series, _, volume, canal = drawn()
    spine = spine_with(canal, T1_LABEL, T1_LABEL + 1, T1_LABEL + 2)
    found = read_cord(series, volume, spine, Nearest())
    assert (found.structures == Structure.CORD).any()
    assert found.cord.runner == "stand-in"
    np.testing.assert_array_equal(found.mask, spine.mask)
    assert replace(found, structures=spine.structures, cord=None) == spine


def test_another_network_is_refused():
    series, _, volume, canal = drawn()
    with pytest.raises(ModelError, match="answers with 2 classes; 3 are expected"):
        outline_cord(series, volume, canal, volume.array.shape[1], Nearest(classes=2))


@pytest.mark.parametrize(("seed", "slices", "contrast"), [(21, "1 mm", "t2"), (42, "3.3 mm", "stir")])
def test_the_shipped_network_outlines_drawn_necks(seed, slices, contrast):
    dice, error, lost = examine(seed, slices, contrast, open_models(ROOT / "model", "cpu"))
    assert dice > 0.88
    assert np.abs(error[:, 0].mean()) < 0.5
    assert lost < 0.1
