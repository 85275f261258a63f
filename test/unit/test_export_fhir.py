"""The FHIR bundle: right by the official R4 schema and by a strict reader, coded, without a name, nothing left out."""

import base64
import copy
import json
from datetime import UTC, datetime

import numpy as np
import pytest
from fhirclient.models.bundle import Bundle

from spine.errors import SoftwareError
from spine.export import export_report
from spine.export.contents import places
from spine.export.fhir import SCHEMA, fhir_bundle
from spine.read import read_files
from spine.records import Grid, Report, Series
from spine.resources import violations

ISSUED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ABSENT = {"not_measurable": "C2 is not in view"}
LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"


def document() -> dict:
    height = {"value": 9.12, "unit": "mm", "z": -0.52, "percentile": 30.1, "reference": "somebody 1999"}
    angle = {"value": 23.0, "unit": "deg", "z": ABSENT, "percentile": ABSENT, "reference": "Cobb"}
    return {
        "software": {"name": "spine", "version": "0.1.0", "models": {"a.onnx": "a" * 64}, "seconds": {"read": 1.0}},
        "input": {
            "clinical": {
                "age_years": 43, "sex": "female", "odi_percent": 46, "ndi_percent": 30, "nrs_back": 4, "nrs_leg": 7,
                "nrs_neck": 0, "nrs_arm": 10,
            }
        },
        "numbering": {"method": "sacrum", "probability": 0.96, "alternatives": [], "doubt": "the sacrum is cut"},
        "levels": [
            {
                "level": "L5/S1",
                "disc_label": 201,
                "measurements": {
                    "disc_height_middle_mm": height,
                    "segmental_angle_deg": angle,
                    "canal_area_mm2": ABSENT,
                },
                "grades": {
                    "pfirrmann": {"grade": 4, "probabilities": [0, 0.1, 0.2, 0.6, 0.1]},
                    "modic": {"grade": 1, "probabilities": [0.3, 0.5, 0.2, 0.0]},
                    "stenosis": {"grade": False, "probabilities": [0.363]},
                    "bulging": {"not_measurable": "the neck is not graded"},
                },
            }
        ],
        "vertebrae": [{"name": "L5", "label": 1, "partial": False, "measurements": {"body_wedge_deg": angle}}],
        "alignment": {"c2_c7_angle_deg": ABSENT},
        "canal": {},
        "muscle": ABSENT,
        "xray": {"slip_mm": ABSENT},
        "degeneration": {"accelerated": {"likelihood": ABSENT, "disc_age_years": 45.0}},
        "quality": {"flags": ["the image is derived from others"]},
        "provenance": {"intended_use": "Research use only: not a medical device.", "image_sha256": "b" * 64},
    }  # fmt: skip


def report(**changes) -> Report:
    return Report({**document(), **changes}, {}, {}, b"%PDF-1.7")


def bundle(**changes) -> dict:
    return json.loads(fhir_bundle(report(**changes), issued=ISSUED))


def resources(found: dict, kind: str) -> list[dict]:
    return [entry["resource"] for entry in found["entry"] if entry["resource"]["resourceType"] == kind]


def by_code(found: dict) -> dict[tuple[str, str], dict]:
    """(code, site) -> Observation."""
    observations = resources(found, "Observation")
    keys = [
        (one["code"]["coding"][0]["code"], one.get("bodySite", {"coding": [{"code": ""}]})["coding"][0]["code"])
        for one in observations
    ]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, observations, strict=True))


def test_the_schema_and_a_strict_reader_find_no_fault():
    found = bundle()
    assert next(violations(found, SCHEMA), None) is None
    assert len(Bundle(found, strict=True).entry) == len(found["entry"])


@pytest.mark.parametrize(
    "change", [{"status": "done"}, {"surprise": 1}, {"valueQuantity": {"value": "9"}}, {"device": {"reference": 5}}]
)
def test_the_schema_that_is_kept_finds_faults(change):
    found = bundle()
    found["entry"][4]["resource"].update(change)
    assert next(violations(found, SCHEMA), None) is not None


def test_what_breaks_the_schema_is_not_written():
    broken = document()
    broken["levels"][0]["measurements"]["disc_height_middle_mm"]["value"] = "9.12"
    with pytest.raises(SoftwareError) as caught:
        fhir_bundle(Report(broken, {}, {}, b"%PDF-1.7"))
    assert str(caught.value) == "spine-fhir.json: entry/3/resource breaks the schema fhir-r4.schema.json (oneOf)."


def test_nothing_is_left_out():
    found = bundle()
    asked = sum(len(place.measurements) + len(place.findings) for place in places(document()))
    observations = resources(found, "Observation")
    assert len(observations) == asked + 6
    assert all(("dataAbsentReason" in one) != any(key.startswith("value") for key in one) for one in observations)
    assert {one["dataAbsentReason"]["text"] for one in observations if "dataAbsentReason" in one} == {
        "C2 is not in view", "the neck is not graded",
    }  # fmt: skip
    results = resources(found, "DiagnosticReport")[0]["result"]
    urls = {entry["fullUrl"] for entry in found["entry"]}
    assert len(results) == len(observations)
    assert {one["reference"] for one in results} < urls
    assert len(urls) == len(found["entry"])


def test_measurements_carry_unit_place_and_position_among_others():
    found = by_code(bundle())
    height = found["disc_height_middle_mm", "243927000"]
    assert height["valueQuantity"] == {"value": 9.12, "unit": "millimeter", "system": UCUM, "code": "mm"}
    assert height["bodySite"]["coding"][0]["display"] == "Level of L5/S1 intervertebral disc"
    assert height["referenceRange"] == [{"text": "somebody 1999"}]
    assert [one["valueQuantity"]["value"] for one in height["component"]] == [-0.52, 30.1]
    assert height["status"] == "preliminary"
    assert found["segmental_angle_deg", "243927000"]["method"] == {"text": "Cobb"}
    assert found["numbering_prob", "421060004"]["valueQuantity"]["value"] == 0.96
    assert found["disc_age_years", "421060004"]["valueQuantity"]["code"] == "a"


def test_grades():
    found = by_code(bundle())
    assert found["pfirrmann", "243927000"]["valueInteger"] == 4
    assert found["pfirrmann", "243927000"]["component"][0]["valueQuantity"]["value"] == 0.6
    assert found["modic", "243927000"]["valueBoolean"] is True
    assert found["modic", "243927000"]["component"][0]["valueQuantity"]["value"] == 0.7
    assert found["76107001", "243927000"]["valueBoolean"] is False
    assert found["76107001", "243927000"]["code"]["coding"][0]["system"] == SNOMED


def test_scores_are_as_given():
    scores = {
        (
            one["code"]["coding"][0]["code"],
            one.get("bodySite", {"coding": [{"display": ""}]})["coding"][0]["display"],
        ): (
            one["valueQuantity"]["value"],
            one["valueQuantity"]["code"],
        )
        for one in resources(bundle(), "Observation")
        if one["category"][0]["coding"][0]["code"] == "survey"
    }
    assert scores == {
        ("97909-6", ""): (46, "%"),
        ("82237-9", ""): (30, "%"),
        ("72514-3", "Back"): (4, "{score}"),
        ("72514-3", "Lower limb"): (7, "{score}"),
        ("72514-3", "Neck"): (0, "{score}"),
        ("72514-3", "Upper limb"): (10, "{score}"),
    }


def test_the_report_tells_its_use_and_carries_the_page():
    found = resources(bundle(), "DiagnosticReport")[0]
    assert (found["status"], found["code"]["coding"][0]["system"]) == ("preliminary", LOINC)
    assert found["conclusion"] == (
        "Research use only: not a medical device. the sacrum is cut. the image is derived from others."
    )
    flagged = bundle(quality={"flags": ["record_differs_from_header_sex"]})
    told = resources(flagged, "DiagnosticReport")[0]["conclusion"]
    assert told.endswith("the header of the images: check that both are of the same patient.")
    assert base64.b64decode(found["presentedForm"][0]["data"]) == b"%PDF-1.7"
    assert bundle()["meta"]["security"][0]["code"] == "HRESCH"


def test_no_patient_is_named():
    assert resources(bundle(), "Patient") == [{"resourceType": "Patient", "gender": "female"}]
    unknown = bundle(input={"clinical": ABSENT})
    assert resources(unknown, "Patient") == [{"resourceType": "Patient"}]
    assert not [one for one in resources(unknown, "Observation") if one["status"] == "final"]


def test_the_same_case_gives_the_same_bytes():
    again = document()
    again["software"] = {**again["software"], "seconds": {"read": 9.0}}
    again = Report(again, {}, {}, b"%PDF-1.7")
    assert fhir_bundle(report(), issued=ISSUED) == fhir_bundle(again, issued=ISSUED)
    other = copy.deepcopy(document())
    other["provenance"]["image_sha256"] = "c" * 64
    assert bundle()["entry"][0]["fullUrl"] != bundle(**other)["entry"][0]["fullUrl"]


def test_only_what_was_asked_for_is_made():
    page = Report(document(), {}, {}, b"%PDF-1.7", html=b"<html>")
    assert export_report(page, None, None, frozenset()) == {}
    assert export_report(page, None, None, {"html"}) == {"html": b"<html>"}
    series = Series("sagittal-spine-mri", "a", np.zeros((1, 1, 1)), Grid((1, 1, 1), (1, 1, 1), (0, 0, 0), (1,) * 9))
    found = export_report(page, None, series, {"fhir"})
    assert found.keys() == {"fhir"}
    assert "imagingStudy" not in resources(json.loads(found["fhir"]), "DiagnosticReport")[0]


@pytest.mark.parametrize(
    ("changes", "effective"),
    [
        ({}, "2026-01-02"),
        ({"TimezoneOffsetFromUTC": "+0100"}, "2026-01-02T10:11:12+01:00"),
        ({"StudyTime": None, "TimezoneOffsetFromUTC": "+0100"}, "2026-01-02"),
        ({"StudyDate": None}, None),
    ],
)
def test_the_study_of_the_images_is_referred_to(write_series, changes, effective):
    study = read_files(write_series(np.arange(192).reshape(3, 8, 8), (0, 1, 0, 0, 0, -1), **changes))
    content = export_report(report(), None, study.primary, {"fhir"})["fhir"]
    assert not [word for word in (b"SECRET", b"Anna", b"Huis", b"19700102") if word in content]
    found = json.loads(content)
    head = resources(found, "DiagnosticReport")[0]
    assert head["imagingStudy"] == [
        {"type": "ImagingStudy", "identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}}
    ]
    imaging = [one for one in resources(found, "Observation") if one["status"] == "preliminary"]
    for one in (head, *imaging):
        assert one.get("effectiveDateTime") == effective
        assert ("_effectiveDateTime" in one) == (effective is None)
        assert datetime.fromisoformat(one["issued"]).tzinfo is not None


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("not implemented", "unsupported"),
        ("no cervical grades to learn from (end plates, Modic)", "unsupported"),
        ("no table of prevalence by age of the graded findings could be checked", "unsupported"),
        ("the superior end plate of C2 does not exist", "not-applicable"),
        ("Genant's grades are not defined for C7", "not-applicable"),
        ("C2 is not in view", "not-performed"),
        ("T11 is cut by the edge of the image", "not-performed"),
        ("slices lie 4.0 mm apart; an area needs 3 mm or less", "not-performed"),
        ("the disc L5/S1 is unsure: confidence 0.41 is below 0.60", "unknown"),
        ("a reason that nobody foresaw", "unknown"),
    ],
)  # fmt: skip
def test_absence_is_told_by_kind(reason, kind):
    found = by_code(bundle(alignment={"c2_c7_angle_deg": {"not_measurable": reason}}))
    absent = found["c2_c7_angle_deg", "421060004"]["dataAbsentReason"]
    assert (absent["coding"][0]["code"], absent["text"]) == (kind, reason)
