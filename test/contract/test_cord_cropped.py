"""A drawn healthy neck, cropped so that picture or stack end beside the cord: sizes of the whole one, or none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lab.evaluate.run_cord import draw_neck
from spine.anatomy import Structure
from spine.conform import conform_study
from spine.cord import read_cord
from spine.measure import measure_levels
from spine.pipeline import open_models
from spine.records import Study

ROOT = Path(__file__).parents[2]
SEED = 21  # healthy
NAMES = ("cord_ap_diameter_mm", "cord_compression_percent", "kang_grade")
LIMITS = {"cord_ap_diameter_mm": 0.9, "cord_compression_percent": 8.0}


@pytest.fixture(scope="module")
def models():
    return open_models(ROOT / "model", "cpu")


@pytest.fixture(scope="module")
def series():
    return draw_neck(SEED, "1 mm", "t2")[1]


def sizes(series, models):
    study = Study(series)
    volume = conform_study(study, models.settings.grid)
    spine = read_cord(series, volume, models.read(volume)[1], models.cord)
    return {(m.subject, m.name): m for m in measure_levels(spine, volume) if m.name in NAMES}


@pytest.fixture(scope="module")
def whole(series, models):
    found = sizes(series, models)
    assert sum(m.value is not None for m in found.values()) > 15
    return found


def cropped(series, axis, first, last):
    cut = [slice(None)] * 3
    cut[axis] = slice(first, last)
    array = series.array[tuple(cut)]
    return replace(series, array=array, grid=replace(series.grid, size=array.shape[::-1]))


# axis, first and last voxel kept, and whether the cord of some level is left whole
CUTS = [
    (0, 0, 19, False), (0, 0, 22, False), (0, 16, None, False), (0, 10, 27, True),
    (1, 0, 110, True), (1, 40, None, True), (2, 0, 78, True), (2, 30, None, True),
]  # fmt: skip


@pytest.mark.parametrize(("axis", "first", "last", "some"), CUTS)
def test_what_is_told_of_a_cropped_neck_is_what_the_whole_one_shows(axis, first, last, some, series, models, whole):
    told = {k: m.value for k, m in sizes(cropped(series, axis, first, last), models).items() if m.value is not None}
    assert bool(told) == some
    for key, value in told.items():
        if key[1] == "kang_grade":
            assert value == 0, key
        else:
            assert value == pytest.approx(whole[key].value, abs=LIMITS[key[1]]), key


def test_a_neck_without_fluid_in_its_picture_tells_no_cord(series, models):
    truth, _ = draw_neck(SEED, "1 mm", "t2")
    sac = np.isin(truth, (Structure.CANAL, Structure.CORD))
    rng = np.random.default_rng(1)
    flat = series.array.copy()
    flat[sac] = np.median(series.array[sac]) + rng.normal(0, 4, int(sac.sum()))
    found = sizes(replace(series, array=flat), models)
    assert sum(name == "cord_ap_diameter_mm" for _, name in found) > 10  # the neck and its canal are found
    assert all(m.value is None for m in found.values())
