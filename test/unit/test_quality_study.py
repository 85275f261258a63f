"""The study behind the models of doubt: damages, foreign images, fits and thresholds on cases made for the purpose."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lab.evaluate import quality_foreign as foreign
from lab.evaluate import quality_silence, quality_tables
from lab.evaluate.quality_cases import Sample, damaged, draw
from lab.evaluate.quality_damage import DAMAGES, RULED
from lab.evaluate.quality_examine import BINS, on_grid, overlaps
from lab.evaluate.quality_figures import draw_figures
from lab.evaluate.quality_fit import DICE_FEATURES, SPINE_FEATURES, fit_quality, is_readable, refusal_threshold
from lab.evaluate.quality_tables import measure_quality, write_tables
from lab.evaluate.run_quality import write_model
from spine.anatomy import Structure
from spine.conform import conform_study
from spine.quality.verdict import UNUSUAL
from spine.records import LabelledSpine, Numbering
from spine.settings import read_settings

MODEL = Path(__file__).parents[2] / "model"
SPACING = (4.0, 0.8, 0.8)


def sample(slices=3):
    """A ladder of bodies in tissue."""
    image = np.full((slices, 128, 112), 300.0, np.float32) + np.random.default_rng(0).normal(0, 5, (slices, 128, 112))
    truth = np.zeros(image.shape, np.uint8)
    for row in range(16, 112, 24):
        truth[:, row : row + 14, 40:70] = 1
    image[truth == 1] = 700
    return Sample("x", "7", "made", "fit", "sound", "", 0.0, image.astype(np.float32), SPACING, truth)


@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("family", DAMAGES)
def test_damages_keep_image_and_truth_together(family, slices):
    given = sample(slices)
    found = damaged(given, family)
    assert found.image.shape == found.truth.shape
    assert np.isfinite(found.image).all()
    assert (found.kind, found.family) == ("damaged", family)
    same = found.image.shape == given.image.shape
    assert not same or not np.array_equal(found.image, given.image)
    again = damaged(given, family)
    np.testing.assert_array_equal(found.image, again.image)
    if family in ("swap", "shift"):  # the truth went along: bodies are still the bright ones
        assert found.image[found.truth == 1].mean() > 1.5 * found.image[found.truth == 0].mean()


@pytest.mark.parametrize("family", [*foreign.DRAWN_FIT, *foreign.DRAWN_TEST])
def test_drawn_images_are_images(family):
    maker = {**foreign.DRAWN_FIT, **foreign.DRAWN_TEST}[family]
    image, spacing = maker(draw("test", family))
    assert image.ndim == len(spacing) == 3
    assert np.ptp(image) > 0
    assert np.isfinite(image).all()


@pytest.mark.parametrize("family", [*foreign.DERIVED_FIT, *foreign.DERIVED_TEST])
def test_derived_images_are_images(family):
    maker = {**foreign.DERIVED_FIT, **foreign.DERIVED_TEST}[family]
    image, spacing = maker(sample(1).image, SPACING, draw("test", family))
    assert image.ndim == len(spacing) == 3
    assert np.ptp(image) > 0


def test_families_to_learn_from_are_not_tested_on():
    assert not {*foreign.DRAWN_FIT, *foreign.DERIVED_FIT} & {*foreign.DRAWN_TEST, *foreign.DERIVED_TEST}


def test_the_truth_lies_on_the_networks_grid():
    given = sample()
    volume = conform_study(given.study(), read_settings(MODEL).grid)
    truth = on_grid(given.truth, given.spacing_mm, volume)
    assert truth.shape == volume.array.shape
    np.testing.assert_array_equal(truth[:, :128, :112], given.truth)  # the same spacing: voxel for voxel
    structures = np.where(truth == 1, Structure.BODY, 0).astype(np.uint8)
    spine = LabelledSpine(structures, structures, (), (), Numbering("none", 0.0, (), None))
    assert overlaps(truth, spine) == {"vertebra": 1.0, "disc": 1.0, "canal": 1.0}


def test_the_refusal_threshold_spares_the_sound():
    sound, low = np.linspace(0.6, 0.99, 200), np.linspace(0.001, 0.05, 50)
    found = refusal_threshold(sound, low)
    assert 0.05 < found < 0.5
    assert (sound < found).mean() <= 0.01
    mixed = refusal_threshold(sound, np.linspace(0.1, 0.9, 50))
    assert mixed <= 0.5
    assert (sound < mixed).mean() <= 0.01


def rows(split, count=25):
    """Cases whose margin tells everything: sound ones high, foreign ones low, damaged ones by their Dice."""
    rng = np.random.default_rng(3 if split == "fit" else 4)
    made = []
    for n in range(count):
        for kind in ("sound", "damaged", "foreign"):
            good = {"sound": 0.95, "foreign": 0.05}.get(kind, float(rng.uniform(0.3, 0.95)))
            features = {
                name: float(rng.normal(0, 0.05)) for name in sorted({*SPINE_FEATURES, *DICE_FEATURES, *UNUSUAL})
            }
            features["margin"] = good + float(rng.normal(0, 0.02))
            features |= {"pixel_mm": 0.8, "slice_mm": 4.0, "oblique_deg": 0.0}
            row = {
                "name": f"{kind} {n}", "patient": f"{split}{n}", "source": "made", "split": split, "kind": kind,
                "family": "" if kind == "sound" else "x", "strength": 0.0, "refused": "", "features": features,
                "flags": [],
            }  # fmt: skip
            if kind != "foreign":
                voxels = np.full(BINS, 100)
                right = np.rint(100 * np.linspace(0, 0.8, BINS))
                row["dice"] = dict.fromkeys(("vertebra", "disc", "canal"), good)
                row["voxels"] = {g: [voxels.tolist(), right.tolist()] for g in ("vertebra", "disc", "canal")}
            made.append(row)
    return made


def test_what_is_readable():
    cases = {row["kind"]: row for row in rows("fit", 1)}
    assert is_readable(cases["sound"])
    assert is_readable(cases["foreign"]) is False
    for value, expected in ((0.8, True), (0.5, None), (0.2, False)):
        assert is_readable({**cases["damaged"], "dice": {"disc": value}}) is expected


def test_models_are_fitted_written_and_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(quality_tables, "DRAWS", 20)
    shutil.copytree(MODEL, tmp_path / "model")
    document, limits = fit_quality(rows("fit"))
    settings = read_settings(MODEL)
    networks = {"segmenter_sha256": settings.segmenter.sha256, "neck_sha256": settings.neck.sha256}
    write_model(tmp_path / "model", {"version": "1", **networks, **document}, limits)
    assert read_settings(tmp_path / "model").quality.refuse_below_prob == limits["refuse_below_prob"]
    measured = measure_quality([*rows("fit", 3), *rows("test")], tmp_path / "model")
    assert {row["split"] for row in measured.rows} == {"test"}
    assert all(row["accepted"] for row in measured.of("sound"))
    assert not any(row["accepted"] for row in measured.of("foreign"))
    assert np.mean([row["flagged"] for row in measured.told() if row["dice"]["disc"] < 0.75]) > 0.8
    np.testing.assert_allclose(measured.model.confidence["disc"](np.array([0.25, 0.75])), [0.2, 0.6], atol=0.03)
    write_tables(measured, tmp_path)
    draw_figures(measured, tmp_path)
    table = (tmp_path / "table.md").read_text()
    assert "| AUROC spine against no spine | 50 | 1.000 |" in table
    assert (tmp_path / "doubt.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "model" / "settings.json").read_text())["quality"]["file"] == "quality.json"


@pytest.mark.parametrize("family", RULED)
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_damages_for_rules_keep_image_and_truth_together(family, strength):
    given = sample(3)
    image, truth = RULED[family](given.image, given.truth, strength, draw(family))
    assert image.shape == truth.shape
    assert not np.array_equal(image, given.image) or image.shape != given.image.shape
    assert image[truth == 1].mean() > 1.5 * image[truth == 0].mean()
    assert given.image.shape == (3, 128, 112)


def test_the_study_of_silent_damages_counts_what_rules_tell():
    settings = read_settings(MODEL)
    smooth = [ndimage.gaussian_filter(draw(str(n)).normal(0, 1, (5, 200, 160)), (1, 4, 4)) for n in range(2)]
    pictures = [replace(sample(5), name=str(n), image=300 + 2000 * field) for n, field in enumerate(smooth)]
    rows = list(quality_silence.pieces(iter(pictures), settings))
    text = quality_silence.table([*rows, {"source": "spacing", "damage": "both x 1.30", "told": ["with sex"]}])
    assert "| made | none | 2 | 0 |" in text
    for family in ("missing rows", "repeated rows", "moved slice"):
        assert f"| made | {family} | 6 | 6 |" in text
    assert "| made | two patients | 1 | 1 |" in text
    assert "| spacing of SPIDER slices | both x 1.30 | 1 | 0; sex known: 1 |" in text
