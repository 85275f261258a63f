"""A drawn healthy neck, cropped so that picture or stack end beside the cord: sizes of the whole one, or none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lab.evaluate.run_cord import draw_neck
from spine.conform import conform_study
from spine.cord import read_cord
from spine.measure import measure_levels
from spine.pipeline import open_models
from spine.records import Study

ROOT = Path(__file__).parents[2]
SEED = 21  # healthy
NAMES = ("cord_ap_diameter_mm", "cord_compression_percent", "kang_grade")
LIMITS = {"cord_ap_diameter_mm": 0.9, "cord_compression_percent": 8.0, "kang_grade": 0.5}


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


CUTS = [(0, 0, 19), (0, 0, 22), (0, 16, None), (0, 10, 27), (1, 0, 110), (1, 40, None), (2, 0, 78), (2, 30, None)]


@pytest.mark.parametrize(("axis", "first", "last"), CUTS)
def test_what_is_told_of_a_cropped_neck_is_what_the_whole_one_shows(axis, first, last, series, models, whole):
    found = sizes(cropped(series, axis, first, last), models)
    for key, entry in found.items():
        if entry.value is not None and key in whole and whole[key].value is not None:
            assert entry.value == pytest.approx(whole[key].value, abs=LIMITS[key[1]]), key
        elif entry.value is not None and key[1] == "kang_grade":
            assert entry.value == 0, key
        else:
            assert entry.value is not None or entry.not_measurable


def test_a_neck_without_fluid_in_its_picture_tells_no_cord(series, models):
    truth, _ = draw_neck(SEED, "1 mm", "t2")
    sac = np.isin(truth, (4, 5))
    rng = np.random.default_rng(1)
    flat = series.array.copy()
    flat[sac] = np.median(series.array[sac]) + rng.normal(0, 4, int(sac.sum()))
    found = sizes(replace(series, array=flat), models)
    assert all(m.value is None for m in found.values())
