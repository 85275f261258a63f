"""Names of a whole film: how much better they suit than names a level off, and what probability that gives."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from spine.records import Grid, Series
from spine.runners import open_runner
from spine.settings import XraySettings, read_settings
from spine.xray import analyse_radiograph
from spine.xray.decode import Landmark
from spine.xray.expected import read_sizes
from spine.xray.landmarks import CORNERS, LANDMARKS
from spine.xray.names import NOTHING, Evidence, longest_step, names_margin, names_prob
from spine.xray.withhold import NAMES_OFF

ROOT = Path(__file__).parents[2]
PIXEL_MM = 0.6
SETTINGS = XraySettings("x.onnx", "0" * 64, PIXEL_MM, 0.3, 0.4, 1.2, 0.5, 2.1, -2.0, 2.0, -10.0, 1.0, 0.8)


def film(own, above=0.0, below=0.0):
    """Corners of L2 to L4 with their peaks, and what the maps of the neighbours show at the same places."""
    heat, kept = np.zeros((len(LANDMARKS), 130, 60), np.float32), {}
    names = ("L1", "L2", "L3", "L4", "L5")
    for place, name in enumerate(names[1:-1], 1):
        for step, point in enumerate(CORNERS):
            row, column = 10 + 24 * place + 6 * step, 20 + 10 * (step % 2)
            kept[name, point] = Landmark(((row + 0.5) * 1.2, (column + 0.5) * 1.2), own, 0.5)
            for vertebra, height in ((name, own), (names[place - 1], above), (names[place + 1], below)):
                heat[LANDMARKS.index((vertebra, point)), row, column] = height
    return heat, kept


def test_the_nearer_of_the_two_wrong_names_counts():
    sure = names_margin(*film(0.8), "lumbar", PIXEL_MM)
    assert sure == pytest.approx(np.log((0.8 + NOTHING) / NOTHING), rel=1e-3)
    off = names_margin(*film(0.8, below=0.6), "lumbar", PIXEL_MM)
    assert off == pytest.approx(np.log((0.8 + NOTHING) / (0.6 + NOTHING)), rel=1e-3)
    assert names_margin(*film(0.8, above=0.6), "lumbar", PIXEL_MM) == pytest.approx(off, rel=1e-3)
    assert names_margin(*film(0.5, above=0.7), "lumbar", PIXEL_MM) < 0


def test_corners_at_the_edge_of_the_map_and_none_at_all_give_a_number():
    heat, kept = film(0.8)
    kept["L3", "superior_anterior"] = Landmark((155.9, 71.9), 0.4, 0.5)
    kept["L3", "superior_posterior"] = Landmark((500.0, 500.0), 0.4, 0.5)
    assert np.isfinite(names_margin(heat, kept, "lumbar", PIXEL_MM))
    assert names_margin(heat, {}, "lumbar", PIXEL_MM) == 0.0


def test_the_probability_is_logistic_and_rises_with_margin_and_anchor():
    assert names_prob(Evidence(1.0, 0.0, False), SETTINGS) == pytest.approx(0.5)
    assert names_prob(Evidence(1.0, 0.0, True), SETTINGS) == pytest.approx(1 / (1 + np.exp(-1.0)))
    assert names_prob(Evidence(1.0, 0.1, True), SETTINGS) == pytest.approx(0.5)
    rising = [
        names_prob(Evidence(*given), SETTINGS) for given in ((2.0, 0.1, False), (2.0, 0.1, True), (3.0, 0.1, True))
    ]
    assert rising == sorted(rising)


def straight_back(gone=()):
    """Bodies and discs of their usual size, 1.3 times magnified; those in `gone` passed over, names closed up."""
    sizes = read_sizes()["expected"]["lumbar"]
    names = ["T12", "L1", "L2", "L3", "L4", "L5", "S1"]
    row, places = 20.0, []
    for upper, name in zip(("", *names[:-1]), names, strict=True):
        row += 1.3 * sizes["disc_mm"].get(f"{upper}/{name}", 0.0)
        places.append([row, row + 1.3 * sizes["height_mm"].get(name, 27.0)])
        row = places[-1][1]
    left = [place for place, name in zip(places, names, strict=True) if name not in gone]
    kept = {}
    for name, ends in zip(names[len(gone) :], left, strict=True):
        for side, at in zip(("superior", "inferior"), ends, strict=True):
            for end, column in (("anterior", 40.0), ("posterior", 85.0)):
                if (name, f"{side}_{end}") in LANDMARKS:
                    kept[name, f"{side}_{end}"] = Landmark((at, column), 0.7, 0.5)
    return kept


def test_a_vertebra_passed_over_makes_one_step_too_long():
    assert longest_step(straight_back(), "lumbar") == pytest.approx(0.0, abs=1e-6)
    assert 0.5 < longest_step(straight_back(gone=("L3",)), "lumbar") < 0.8
    assert longest_step({}, "lumbar") == 0.0
    few = {key: mark for key, mark in straight_back().items() if key[0] == "L4"}
    assert longest_step(few, "lumbar") == 0.0


def test_a_film_whose_names_are_improbable_keeps_distances_and_no_grade():
    """The film of the bundled neck, once with names that are believed and once with a limit that none reaches."""
    path = next((ROOT / "test" / "input" / "cervical").rglob("*xray*/*.mha"))
    image = SimpleITK.ReadImage(str(path))
    grid = Grid((*image.GetSize(), 1), (*image.GetSpacing(), 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    film = Series("lateral-spine-xray", "film", SimpleITK.GetArrayFromImage(image)[None], grid)
    settings = read_settings(ROOT / "model").xray
    runner = open_runner(ROOT / "model" / settings.file, settings.sha256, "cpu")
    sure, unsure = (analyse_radiograph(film, runner, replace(settings, names_prob_min=least)) for least in (0.8, 1.1))
    assert sure.names_prob == unsure.names_prob
    assert sure.names_prob > 0.8
    assert not any(NAMES_OFF in flag for flag in sure.flags)
    assert any(f"probability of {sure.names_prob:.2f} only" in flag for flag in unsure.flags)
    graded = [any(grade.grade is not None for grade in found.grades) for found in (sure, unsure)]
    assert graded == [True, False]
    heights = [m.value for m in unsure.measurements if m.name == "disc_height_middle_mm"]
    assert heights == [m.value for m in sure.measurements if m.name == "disc_height_middle_mm"]
    assert any(height is not None for height in heights)
