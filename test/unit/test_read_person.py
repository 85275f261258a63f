"""Age and sex of the header against the clinical record: told apart, or standing in for it; no identifier kept."""

import json

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from spine.fuse.patient import caution
from spine.read import read_files
from spine.read.person import film_contradictions, settle_person, stated_person
from spine.records import Advice

SAGITTAL = (0, 1, 0, 0, 0, -1)
AGE, SEX, BORN, STUDIED = "0010|1010", "0010|0040", "0010|0030", "0008|0020"
DOUBT = "the record says 28 years and male, the header of the images says 67 years and female"


@pytest.mark.parametrize(
    ("meta", "person"),
    [
        ({AGE: "067Y ", SEX: "F "}, {"age_years": 67.0, "sex": "female"}),
        ({AGE: "018M", SEX: "M"}, {"age_years": 1.5, "sex": "male"}),
        ({BORN: "19700702", STUDIED: "20260101", SEX: "O"}, {"age_years": 55.5}),
        ({AGE: "030Y", BORN: "19000101", STUDIED: "20260101"}, {"age_years": 30.0}),
        ({AGE: "000Y"}, {}),
        ({AGE: "67", SEX: "female", BORN: "1970-01-02", STUDIED: "20260101"}, {}),
        ({BORN: "19000101", STUDIED: "20260101"}, {}),
        ({BORN: "20270101", STUDIED: "20260101"}, {}),
        ({BORN: "19701301", STUDIED: "20260101"}, {}),
        ({BORN: "19700101"}, {}),
        ({}, {}),
    ],
)
def test_what_a_header_states(meta, person):
    assert stated_person(meta) == person


@pytest.mark.parametrize(
    ("record", "flags", "doubt"),
    [
        ({"age_years": 28, "sex": "male"}, ("record_differs_from_header_age", "record_differs_from_header_sex"), DOUBT),
        ({"age_years": 68, "sex": "female"}, (), None),
        (
            {"age_years": 68.5},
            ("record_differs_from_header_age",),
            "the record says 68.5 years, the header of the images says 67 years",
        ),
    ],
)
def test_a_record_that_may_be_of_another_patient(record, flags, doubt):
    """The record stays as it was given: nothing of another patient is mixed into it."""
    assert settle_person(record, {"age_years": 67.0, "sex": "female"}) == (record, flags, doubt)


def test_the_header_stands_in_where_the_record_is_silent():
    header = {"age_years": 67.0, "sex": "female"}
    assert settle_person(None, header) == (header, ("age_from_header", "sex_from_header"), None)
    assert settle_person({"sex": "female", "nrs_leg": 7}, header) == (
        {"sex": "female", "nrs_leg": 7, "age_years": 67.0}, ("age_from_header",), None,
    )  # fmt: skip
    assert settle_person(None, {}) == (None, (), None)
    assert settle_person({"nrs_leg": 7}, {}) == ({"nrs_leg": 7}, (), None)


def test_from_the_files_of_a_case(write_series, tmp_path):
    folder = write_series(np.arange(192).reshape(3, 8, 8), SAGITTAL, PatientAge="067Y")
    alone = read_files(folder)
    assert (alone.clinical, alone.record_doubt) == ({"age_years": 67.0, "sex": "female"}, None)
    assert alone.flags[-2:] == ("age_from_header", "sex_from_header")
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"age_years": 28, "sex": "male"}))
    doubted = read_files(folder, clinical=record)
    assert (doubted.clinical, doubted.record_doubt) == ({"age_years": 28, "sex": "male"}, DOUBT)
    assert doubted.flags[-2:] == ("record_differs_from_header_age", "record_differs_from_header_sex")


def test_a_film_of_another_person_is_flagged(write_series, tmp_path):
    folder = write_series(np.arange(192).reshape(3, 8, 8), SAGITTAL, PatientAge="067Y")
    film = sitk.GetImageFromArray(np.arange(6400, dtype=np.uint16).reshape(80, 80))
    for tag, text in (("0008|0060", "CR"), (AGE, "030Y"), (SEX, "M")):
        film.SetMetaData(tag, text)
    sitk.WriteImage(film, str(tmp_path / "film.dcm"))
    flags = [flag for flag in read_files(folder, xray=tmp_path / "film.dcm").flags if "another patient" in flag]
    assert flags == [
        "lateral-spine-xray: the header says 30 years and male, record or MR say 67 years and female: "
        "the film may be of another patient or of another time"
    ]
    assert film_contradictions({"age_years": 30.5}, {"age_years": 30.0, "sex": "male"}) == ()
    assert film_contradictions(None, {"age_years": 30.0}) == ()


@pytest.mark.parametrize("reason", [None, "none"])
def test_the_doubt_goes_with_what_was_concluded(reason):
    given = Advice(None, (), ("a caveat",), {"likelihood": 0.3, "abstained": False, "reason": reason})
    found = caution(given, DOUBT)
    assert found.caveats[0].startswith(f"Check the patient: {DOUBT}.")
    assert found.caveats[1:] == given.caveats
    assert found.degeneration["reason"] == f"given with a doubt: {DOUBT}"
    abstained = Advice(None, (), (), {"likelihood": None, "abstained": True, "reason": "age_years is missing"})
    assert caution(abstained, DOUBT).degeneration == abstained.degeneration
    assert caution(given, None) is given
    twice = Advice(
        None, (), (), {"likelihood": 0.3, "abstained": False, "reason": "given with a doubt: another region"}
    )
    assert caution(twice, DOUBT).degeneration["reason"] == f"given with a doubt: another region; {DOUBT}"
