"""The bundled neck through the whole path with the shipped networks, against its truth."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from spine import pipeline
from spine.read import read_study

ROOT = Path(__file__).parents[2]
CASE = ROOT / "test" / "input" / "cervical"
NECK = ("C7/T1", "C6/C7", "C5/C6", "C4/C5", "C3/C4", "C2/C3")


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("neck")
    pipeline.run(partial(read_study, CASE), pipeline.open_models(ROOT / "model", "cpu"), folder)
    return folder


@pytest.fixture(scope="module")
def report(output):
    return json.loads((output / "spine-degeneration-report.json").read_text())


def test_the_neck_is_named_from_the_axis_and_its_names_are_those_of_the_truth(output, report):
    assert report["numbering"]["method"] == "axis"
    assert {level["level"] for level in report["levels"]} >= set(NECK)
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(next((output / "images").rglob("*.mha")))))
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(CASE.with_name("cervical.truth.mha"))))
    for label in (18, 19, 20, 21, 22, 23, 218, 219, 220, 221, 222, 223):  # C7..C2 and the discs below them
        a, b = found == label, truth == label
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.6, label


def test_every_disc_of_the_neck_has_its_grades_or_the_reason_why_not(report):
    levels = {level["level"]: level for level in report["levels"]}
    for name in NECK:
        for grade in ("pfirrmann", "spondylolisthesis", "stenosis"):
            entry = levels[name]["grades"][grade]
            assert entry.get("grade") is not None or entry["not_measurable"]
    assert all(levels[name]["grades"]["spondylolisthesis"].get("grade") is not None for name in NECK)


def test_the_canals_diameters_are_those_of_the_phantom(report):
    truth = json.loads(CASE.with_name("cervical.truth.json").read_text())
    true_mm = {v["name"]: v["canal_ap_diameter_mm"] for v in truth["vertebrae"]}
    bodies = {v["name"]: v["measurements"] for v in report["vertebrae"]}
    errors = [
        abs(bodies[name]["canal_ap_diameter_mm"]["value"] - true_mm[name]) for name in ("C3", "C4", "C5", "C6", "C7")
    ]
    assert np.mean(errors) < 1.5


def test_heights_and_angles_of_the_neck_are_told_with_intervals_that_hold_the_truth(report):
    assert "neck.onnx" in report["software"]["models"]
    truth = json.loads(CASE.with_name("cervical.truth.json").read_text())
    true_mm = {disc["level"]: disc["gap_middle_mm"] for disc in truth["discs"]}
    levels = {level["level"]: level["measurements"] for level in report["levels"]}
    for name in NECK:
        low, high = levels[name]["disc_height_middle_mm"]["interval_90"]
        assert low < true_mm[name] < high, name
        assert "on no patient" in levels[name]["disc_height_middle_mm"]["reference"]
        assert "synthetic necks" in levels[name]["wedge_deg"]["not_measurable"]
    assert report["alignment"]["c2_c7_angle_deg"]["interval_90"]


def test_the_cord_is_told_with_intervals_and_its_norm_without_a_z_score(report):
    assert "cord.onnx" in report["software"]["models"]
    assert report["software"]["seconds"]["cord"] > 0
    bodies = {v["name"]: v["measurements"] for v in report["vertebrae"]}
    for name in ("C3", "C4", "C5", "C6", "C7"):
        depth, width, area = (bodies[name][f"cord_{what}"] for what in ("ap_diameter_mm", "width_mm", "area_mm2"))
        assert 5.5 < depth["value"] < 9.5
        assert 9.5 < width["value"] < 14.5
        assert area["value"] == pytest.approx(np.pi / 4 * depth["value"] * width["value"], rel=0.08)
        for entry in (depth, width, area):
            assert entry["interval_90"][0] < entry["value"] < entry["interval_90"][1]
            assert "norm" in entry["reference"]
            assert "not_measurable" in entry["z"]
    levels = {level["level"]: level for level in report["levels"]}
    for name in NECK:
        assert levels[name]["measurements"]["kang_grade"]["value"] == 0
        stenosis = levels[name]["grades"]["stenosis"]
        assert stenosis["grade"] is False
        assert any("unproven in the neck" in line for line in stenosis["evidence"])


def test_the_outcome_of_cervical_radiculopathy_is_predicted(output):
    outcome = json.loads((output / "spine-treatment-outcome-prediction.json").read_text())
    assert outcome["indication"] == "cervical_radiculopathy"
    surgery = [option for option in outcome["options"] if option["treatment"] == "surgery"]
    assert any(0 < option["probability"] < 1 for option in surgery if option["probability"] is not None)


def test_the_case_is_small_and_its_inputs_are_listed():
    assert sum(p.stat().st_size for p in CASE.rglob("*") if p.is_file()) < 2_000_000
    slugs = {item["socket"]["slug"] for item in json.loads((CASE / "inputs.json").read_text())}
    assert slugs == {"sagittal-spine-mri", "lateral-spine-xray", "clinical-information-spine"}
