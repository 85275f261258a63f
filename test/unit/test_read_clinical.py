"""The clinical record: every field, and the sentence for every wrong type, range and name."""

import json

import pytest

from spine import anatomy
from spine.errors import BadClinicalRecord
from spine.read.clinical import SCHEMA, read_clinical
from spine.resources import load_schema

FILE = "clinical-information-spine.json"
DURATIONS = "none, lt_3_months, 3_to_12_months, 1_to_2_years or gt_2_years"
NUMBERS = {
    "age_years": (0, 120), "height_cm": (50, 250), "weight_kg": (10, 400), "bmi_kg_m2": (8, 100),
    "odi_percent": (0, 100), "ndi_percent": (0, 100), "nrs_back": (0, 10), "nrs_leg": (0, 10), "nrs_neck": (0, 10),
    "nrs_arm": (0, 10), "eq5d_index": (-0.6, 1),
}  # fmt: skip
EXPECTED = {
    **dict.fromkeys(("odi_percent", "ndi_percent"), "0 or a percentage from 2 to 100 (0.42 of 1 is to be given as 42)"),
    **{
        f"nrs_{part}": "a number from 0 to 10 (one of 0 to 100 is to be divided by 10)"
        for part in ("back", "leg", "neck", "arm")
    },
}
FLAGS = (
    "smoker", "previous_spine_surgery", "comorbidity", "sick_pension", "unemployed", "employed", "college_education",
)  # fmt: skip
CHOICES = {
    "sex": "female or male",
    "region": "lumbar or cervical",
    "indication": "disc_herniation, spinal_stenosis, segmental_back_pain, cervical_radiculopathy or "
    "chronic_low_back_pain",
    **{f"duration_{part}_pain": DURATIONS for part in ("back", "leg", "neck", "arm", "thoracic")},
    "walking_distance": "lt_100_m, 100_to_500_m, 500_to_1000_m or gt_1000_m",
    "clinic_type": "university, public or private",
}
LEVELS = 'a whole number from 1 to 10 or a list of 1 to 10 different segments such as ["L4/L5"]'
FULL = {
    "age_years": 47, "sex": "female", "height_cm": 170, "weight_kg": 70.5, "bmi_kg_m2": 24.4, "smoker": False,
    "region": "lumbar", "indication": "disc_herniation", "odi_percent": 44, "ndi_percent": 0, "nrs_back": 6,
    "nrs_leg": 7.5, "nrs_neck": 0, "nrs_arm": 10, "eq5d_index": -0.2, "duration_back_pain": "1_to_2_years",
    "duration_leg_pain": "none", "duration_neck_pain": "lt_3_months", "duration_arm_pain": "3_to_12_months",
    "duration_thoracic_pain": "gt_2_years", "walking_distance": "gt_1000_m", "previous_spine_surgery": True,
    "comorbidity": False, "sick_pension": False, "unemployed": False, "employed": True, "college_education": True,
    "clinic_type": "public", "levels_planned": 2,
}  # fmt: skip


def read(tmp_path, content):
    path = tmp_path / "record"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return read_clinical(path, FILE)


def sentence(tmp_path, content):
    with pytest.raises(BadClinicalRecord) as caught:
        read(tmp_path, content)
    text = str(caught.value)
    assert text.startswith(f"{FILE}: ")
    return text.removeprefix(f"{FILE}: ")


def test_the_full_record_and_the_empty_one(tmp_path):
    assert set(FULL) == set(load_schema(SCHEMA)["properties"]) == {*NUMBERS, *FLAGS, *CHOICES, "levels_planned"}
    assert read(tmp_path, FULL) == (FULL, ())
    assert read(tmp_path, {}) == ({}, ())
    assert read(tmp_path, b'\xef\xbb\xbf{"age_years": 47}') == ({"age_years": 47}, ())  # as some editors save it


@pytest.mark.parametrize("field", NUMBERS)
def test_numbers(tmp_path, field):
    low, high = NUMBERS[field]
    expected = EXPECTED.get(field, f"a number from {low} to {high}")
    for value in (low, high, (low + high) / 2):
        assert read(tmp_path, {field: value})[0] == {field: value}
    for value in (low - 0.1, high + 0.1, 1e300, "7", True, [1], {}):
        assert sentence(tmp_path, {field: value}) == (f"{field} is {json.dumps(value)}; {expected} is expected.")
    assert sentence(tmp_path, f'{{"{field}": 1e999}}'.encode()) == (f"{field} is Infinity; {expected} is expected.")


@pytest.mark.parametrize("field", ["odi_percent", "ndi_percent"])
def test_an_index_given_as_a_share_of_1_is_refused(tmp_path, field):
    for share in (0.42, 1, 0.02, 1.99):
        assert sentence(tmp_path, {field: share}) == f"{field} is {share:g}; {EXPECTED[field]} is expected."
    for percent in (0, 2, 2.2, 42):
        assert read(tmp_path, {field: percent}) == ({field: percent}, ())


def test_pain_scores_of_another_scale(tmp_path):
    assert sentence(tmp_path, {"nrs_leg": 65}) == f"nrs_leg is 65; {EXPECTED['nrs_leg']} is expected."
    _, flags = read(tmp_path, {"nrs_leg": 0.65, "nrs_back": 0, "nrs_arm": 1})
    assert flags == ("clinical record: nrs_leg is 0.65, less than 1 of 10: it may have been given as a share of 1",)


@pytest.mark.parametrize("field", FLAGS)
def test_flags(tmp_path, field):
    for value in (True, False):
        assert read(tmp_path, {field: value})[0] == {field: value}
    for value in (0, 1, "true", "yes", []):
        assert sentence(tmp_path, {field: value}) == f"{field} is {json.dumps(value)}; true or false is expected."


@pytest.mark.parametrize("field", CHOICES)
def test_choices(tmp_path, field):
    for value in load_schema(SCHEMA)["properties"][field]["enum"]:
        assert read(tmp_path, {field: value})[0] == {field: value}
    for value in ("other", "", "Female", 3, True, []):
        assert sentence(tmp_path, {field: value}) == f"{field} is {json.dumps(value)}; {CHOICES[field]} is expected."


def test_levels_planned_are_named_or_counted(tmp_path):
    for value, kept in ((1, 1), (10, 10), (2.0, 2), (["L4/L5"], ["L4/L5"]), (["C5/C6", "C7/T1"], ["C5/C6", "C7/T1"])):
        assert read(tmp_path, {"levels_planned": value})[0] == {"levels_planned": kept}
    for value in (0, 11, 1.5, "L4/L5", True, [], ["L4/L5", "L4/L5"], ["L4"], [4], ["L4/L5"] * 11):
        text = sentence(tmp_path, {"levels_planned": value})
        assert text.startswith("levels_planned is ")
        assert text.endswith(f"; {LEVELS} is expected.")


def test_the_schema_knows_the_segments_of_the_anatomy():
    options = load_schema(SCHEMA)["properties"]["levels_planned"]["anyOf"][1]["items"]["enum"]
    assert tuple(options) == anatomy.DISC_LEVELS


def test_the_sentence_and_the_schema_agree():
    for field, spec in load_schema(SCHEMA)["properties"].items():
        if "minimum" in spec:
            stated = EXPECTED.get(field, f"a number from {spec['minimum']} to {spec['maximum']}")
            assert spec["description"] == stated, field
        if "enum" in spec:
            assert spec["description"] == f"{', '.join(spec['enum'][:-1])} or {spec['enum'][-1]}", field


def test_null_is_not_a_value(tmp_path):
    assert sentence(tmp_path, {"sex": None}) == (
        "sex is null; female or male is expected (leave the field out when it is not known)."
    )


def test_unknown_fields(tmp_path):
    assert sentence(tmp_path, {"weigth_kg": 70}) == "weigth_kg is not a known field; did you mean weight_kg?"
    text = sentence(tmp_path, {"x\ny": 70})
    assert text.startswith("x?y is not a known field; known fields are age_years, sex, height_cm, ")
    assert text.endswith(", clinic_type, levels_planned.")


def test_long_values_are_cut(tmp_path):
    text = sentence(tmp_path, {"sex": "x" * 100_000})
    assert text == f'sex is "{"x" * 76}...; female or male is expected.'


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is not valid JSON (Expecting value: line 1 column 1 (char 0))."),
        (b"[]", "the file holds []; one JSON object is expected."),
        (b"null", "the file holds null; one JSON object is expected."),
        (b'{"age_years": NaN}', "the file is not valid JSON (NaN is not JSON)."),
        (b'{"age_years": -Infinity}', "the file is not valid JSON (-Infinity is not JSON)."),
        (b'{"sex": "male", "sex": "female"}', "the file is not valid JSON (sex is given twice)."),
        (b"\xff", "the file is not UTF-8 text; JSON is expected."),
        (b'{"a":' * 100_000, "the JSON is nested too deeply."),
        (b" " * 1_000_001, "the file is larger than 1000000 bytes."),
    ],
)
def test_a_file_that_is_no_record(tmp_path, content, expected):
    assert sentence(tmp_path, content) == expected


def test_a_body_mass_index_that_contradicts_height_and_weight(tmp_path):
    _, flags = read(tmp_path, {"height_cm": 170, "weight_kg": 90, "bmi_kg_m2": 22})
    assert flags == ("clinical record: bmi_kg_m2 is 22 but height_cm and weight_kg give 31.1",)
    assert sentence(tmp_path, {"height_cm": 100, "weight_kg": 400}) == (
        "height_cm and weight_kg give a body mass index of 400.0; a number from 8 to 100 is expected."
    )
