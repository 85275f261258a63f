"""The JSON documents: shape, completeness, reasons, and what must never be in them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spine.measure import measure_levels
from spine.records import Advice, Grade, Measurement, Numbering
from spine.report import compose_report, names
from spine.report.compose import report_document
from spine.report.facts import contrast_guess, region_in_view
from spine.resources import violations

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = "spine-degeneration-report.schema.json"
OUTCOME_SCHEMA = "spine-treatment-outcome-prediction.schema.json"
LIKELIHOOD_SCHEMA = "accelerated-degeneration-likelihood.schema.json"
GRADES = [
    "pfirrmann",
    "modic",
    "upper_endplate",
    "lower_endplate",
    "spondylolisthesis",
    "herniation",
    "narrowing",
    "bulging",
    "stenosis",
]
HOSTILE = "<b>&amp;\x00\u202e</para> \ud800 {count} %s \U0001f9b4 " + "W" * 3000


def faults(document, schema=SCHEMA) -> list[str]:
    text = json.dumps(document, allow_nan=False)  # raises on NaN and Inf
    text.encode("utf-8")
    return [f"{list(fault.absolute_path)}: {fault.message}" for fault in violations(json.loads(text), schema)]


@pytest.mark.parametrize(("count", "lowest"), [(0, 1), (1, 1), (8, 1), (8, 17), (24, 1)])
def test_full_report_satisfies_its_schema(make_full_case, count, lowest):
    assert faults(report_document(*make_full_case(count, lowest).arguments())) == []


def test_report_without_measurements_satisfies_its_schema_and_says_not_implemented_everywhere(make_case):
    document = report_document(*make_case(3).arguments())
    assert faults(document) == []
    absent = {"not_measurable": "not implemented"}
    for level in document["levels"]:
        assert list(level["grades"]) == GRADES
        assert all(grade == absent for grade in level["grades"].values())
        assert all(value == absent for value in level["measurements"].values())
        assert {"disc_height_middle_mm", "canal_ap_diameter_mm", "slip_percent"} <= set(level["measurements"])
    assert "no axial series was given" in document["muscle"]["not_measurable"]
    assert document["xray"] == {"not_measurable": "no X-ray was given"}
    assert document["input"]["out_of_distribution_score"] == {
        "not_measurable": "the quality of the case was not judged"
    }
    assert document["input"]["clinical"] == {"not_measurable": "no clinical record was given"}
    assert document["degeneration"]["score"] == absent


def test_levels_and_vertebrae_run_from_the_lowest_up(make_case):
    document = report_document(*make_case(7).arguments())
    assert [level["level"] for level in document["levels"]][:3] == ["L5/S1", "L4/L5", "L3/L4"]
    assert [level["disc_label"] for level in document["levels"]] == list(range(201, 208))
    assert [vertebra["name"] for vertebra in document["vertebrae"]][-1] == "T11"
    assert document["vertebrae"][-1]["partial"] is True


def test_value_objects_carry_value_unit_z_percentile_and_reference(make_case):
    case = make_case(2)
    sizes = (
        Measurement("L5/S1", "disc_height_middle_mm", 7.12345, "mm", -1.234, 11.0, "Somebody 2020"),
        Measurement("L5/S1", "slip_mm", 1.0, "mm"),
        Measurement("L4/L5", "slip_mm", float("nan"), "mm"),
        Measurement("L5", "body_height_anterior_mm", 27.0, "mm", reference="how it is defined"),
        Measurement("canal", "narrowest_ap_diameter_mm", np.float32(9.5), "mm"),
    )
    document = report_document(*case.but(findings=replace(case.findings, measurements=sizes)).arguments())
    assert faults(document) == []
    lowest, above = document["levels"]
    assert lowest["measurements"]["disc_height_middle_mm"] == {
        "value": 7.12,
        "unit": "mm",
        "z": -1.23,
        "percentile": 11.0,
        "reference": "Somebody 2020",
    }
    assert lowest["measurements"]["slip_mm"]["z"] == {"not_measurable": "no reference values"}
    assert above["measurements"]["slip_mm"] == {"not_measurable": "not a finite number"}
    assert document["vertebrae"][0]["measurements"]["body_height_anterior_mm"]["value"] == 27.0
    assert document["canal"]["narrowest_ap_diameter_mm"]["value"] == 9.5
    assert document["provenance"]["references"] == ["Somebody 2020"]
    assert document["canal"]["narrowest_area_mm2"] == {"not_measurable": "not implemented"}


def test_level_that_was_measured_without_a_disc_is_listed(make_case):
    case = make_case(2)
    slip = Measurement("T11/T12", "slip_mm", 2.0, "mm")
    document = report_document(*case.but(findings=replace(case.findings, measurements=(slip,))).arguments())
    assert document["levels"][-1]["level"] == "T11/T12"
    assert document["levels"][-1]["confidence"] == {"not_measurable": "the disc was not seen"}


def test_grades_keep_their_probabilities_and_numpy_does_not_leak(make_case):
    case = make_case(1)
    grades = (
        Grade("L5/S1", "pfirrmann", 4, (0.0, 0.1, 0.2, 0.6, 0.1), 0.6, ("height index 0.21",)),
        Grade("L5/S1", "herniation", np.bool_(True), (np.float32(0.75),), 0.75),
        Grade("L5/S1", "modic", None, not_measurable="needs T1"),
    )
    document = report_document(*case.but(findings=replace(case.findings, grades=grades)).arguments())
    assert faults(document) == []
    found = document["levels"][0]["grades"]
    assert found["pfirrmann"]["grade"] == 4
    assert found["pfirrmann"]["evidence"] == ["height index 0.21"]
    assert found["herniation"] == {"grade": True, "probabilities": [0.75], "confidence": 0.75, "evidence": []}
    assert found["modic"] == {"not_measurable": "needs T1"}
    assert found["stenosis"] == {"not_measurable": "not implemented"}


def test_a_level_without_a_disc_says_why_it_has_no_grades(make_case):
    case = make_case(2)
    measured = (Measurement("L4/L5", "slip_mm", 1.0, "mm"),)
    lost = replace(case.spine, discs=case.spine.discs[:1])
    document = report_document(
        *case.but(spine=lost, findings=replace(case.findings, measurements=measured)).arguments()
    )
    assert [level["level"] for level in document["levels"]] == ["L5/S1", "L4/L5"]
    reasons = [{grade["not_measurable"] for grade in level["grades"].values()} for level in document["levels"]]
    assert reasons == [{"not implemented"}, {"no disc was found at this level"}]


def test_outcome_and_likelihood_files_never_hold_a_silent_null(make_full_case, make_case):
    report = compose_report(*make_full_case(2).arguments())
    assert faults(report.outcome, OUTCOME_SCHEMA) == []
    assert faults(report.degeneration, LIKELIHOOD_SCHEMA) == []
    assert set(report.outcome) == {"indication", "options", "caveats"}
    surgery, _, programme = report.outcome["options"]
    assert (surgery["probability"], surgery["interval_90"], surgery["reason"]) == (0.7433, [0.66, 0.82], "none")
    assert programme["probability"] == {"not_measurable": "the local success rate is not known"}
    assert report.degeneration["likelihood"] == 0.82
    assert report.report["quality"]["abstentions"] == [
        {"what": "pain_programme, odi_22_or_less", "reason": "the local success rate is not known"}
    ]
    assert "null" not in json.dumps(report.report)
    empty = compose_report(*make_case(2).arguments())
    assert faults(empty.outcome, OUTCOME_SCHEMA) == []
    assert faults(empty.degeneration, LIKELIHOOD_SCHEMA) == []
    assert empty.degeneration["abstained"] is True
    assert empty.degeneration["disc_age_years"] == {"not_measurable": "not implemented"}
    assert empty.outcome["indication"] == {"not_measurable": "no indication was given"}
    assert "null" not in json.dumps(empty.report)


def test_likelihood_that_is_not_a_number_abstains(make_case):
    case = make_case(1)
    broken = {"likelihood": float("nan"), "interval_90": [0.1, 0.2], "abstained": False, "meaning": "older"}
    advice = Advice(None, (), (), broken)
    report = compose_report(*case.but(findings=replace(case.findings, advice=advice)).arguments())
    assert report.degeneration["abstained"] is True
    assert report.degeneration["likelihood"] == {"not_measurable": "not a finite number"}
    assert faults(report.degeneration, LIKELIHOOD_SCHEMA) == []
    assert report.report["degeneration"]["accelerated"]["meaning"] == "older"


@pytest.mark.parametrize(("count", "lowest"), [(6, 1), (8, 17)])
def test_every_name_that_is_measured_is_expected_and_the_other_way_round(make_case, count, lowest):
    case = make_case(count, lowest)
    found = measure_levels(case.spine, case.volume)
    document = report_document(*case.but(findings=replace(case.findings, measurements=found)).arguments())
    assert faults(document) == []
    assert "not implemented" not in json.dumps([document[part] for part in ("vertebrae", "alignment", "canal")])
    expected = set(names.DISC_MEASUREMENTS)
    for level in document["levels"]:
        assert expected <= {m.name for m in found if m.subject == level["level"]}


@pytest.mark.parametrize(("t1", "guess"), [(False, "T2-like"), (True, "T1-like")])
def test_contrast_is_guessed_from_canal_and_bodies(make_case, t1, guess):
    case = make_case(4, t1=t1)
    assert contrast_guess(case.volume, case.spine.structures)["guess"] == guess


def test_contrast_is_undetermined_or_not_measurable_where_it_cannot_be_told(make_case):
    case = make_case(4)
    flat = replace(case.volume, array=np.ones_like(case.volume.array))
    assert contrast_guess(flat, case.spine.structures)["guess"] == "undetermined"
    black = replace(case.volume, array=np.zeros_like(case.volume.array))
    assert "no signal" in contrast_guess(black, case.spine.structures)["not_measurable"]
    assert "too little" in contrast_guess(case.volume, np.zeros_like(case.spine.structures))["not_measurable"]


@pytest.mark.parametrize(
    ("count", "lowest", "region"),
    [
        (6, 1, "lumbar"),
        (14, 1, "thoracolumbar"),
        (8, 17, "cervical"),
        (16, 9, "cervicothoracic"),
        (24, 1, "whole spine"),
        (5, 8, "thoracic"),
        (0, 1, None),
    ],
)
def test_region_is_named_by_the_vertebrae_in_view(make_case, count, lowest, region):
    assert region_in_view(make_case(count, lowest).spine) == region


def test_file_names_and_identifiers_stay_out_of_every_output(make_full_case):
    case = make_full_case()
    where = case.study.primary.name
    flags = (f"images/sagittal-spine-mri/{where}: 3 voxels", "Jansen.json: odd", "inputs.json: the socket x", "plain")
    report = compose_report(*case.but(study=replace(case.study, flags=flags)).arguments())
    text = json.dumps(report.report)
    for private in ("JANSEN", "Jansen", "4711", "patient_name"):
        assert private not in text
        assert private.encode() not in report.pdf
    assert report.report["quality"]["flags"] == [
        "sagittal-spine-mri: 3 voxels",
        "clinical-information-spine: odd",
        "inputs.json: the socket x",
        "plain",
    ]
    assert report.report["input"]["series"][0]["tags"] == {"modality": "MR"}
    assert report.report["input"]["series"][0]["slug"] == "sagittal-spine-mri"


def test_every_series_says_what_it_was_used_for(make_case):
    case = make_case(3)
    t2 = case.study.sagittal
    more = {
        name: replace(t2, slug=slug)
        for name, slug in (("sagittal_t1", "sagittal-t1"), ("axial_t2", "axial"), ("xray", "film"))
    }
    given = report_document(*case.but(study=replace(case.study, **more)).arguments())["input"]["series"]
    purposes = {one["slug"]: one["purpose"] for one in given}
    assert purposes["sagittal-spine-mri"] == "segmented"
    assert "Modic" in purposes["sagittal-t1"]
    assert (purposes["axial"], purposes["film"]) == ("muscles and dural sac", "landmarks")
    alone = replace(case.study, sagittal=None, sagittal_t1=more["sagittal_t1"])
    given = report_document(*case.but(study=alone).arguments())["input"]["series"]
    assert [one["purpose"] for one in given] == ["segmented"]


def test_hostile_strings_become_clean_text_in_the_json(make_full_case):
    case = make_full_case(2)
    spine = replace(case.spine, flags=(HOSTILE,), numbering=Numbering("sacrum", 0.5, ((HOSTILE, 0.4),), HOSTILE))
    document = report_document(*case.but(spine=spine).arguments())
    assert faults(document) == []
    assert len(document["quality"]["flags"][0]) <= 2000
    assert "\x00" not in document["numbering"]["doubt"]


def test_flags_of_all_stages_are_kept_once(make_case):
    case = make_case(2)
    changed = case.but(
        study=replace(case.study, flags=("a", "b")),
        volume=replace(case.volume, flags=("b", "c")),
        spine=replace(case.spine, flags=("c", "d")),
    )
    assert report_document(*changed.arguments())["quality"]["flags"] == ["a", "b", "c", "d"]


def test_importing_the_stage_leaves_the_drawing_libraries_alone():
    """The service answers /health sooner, and a failing case never pays for them."""
    code = "import sys, spine.report; print(sorted({'reportlab', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
