"""Codes of structures agree with the dictionary of the DICOM standard, label by label."""

import json

import pytest
from pydicom.sr.codedict import codes

from spine import anatomy
from spine.export.codes import OWN_SCHEME, TABLE, code, measurement_code, questionnaires, structure_code, unit_code
from spine.resources import RESOURCES


def standard(meaning: str) -> str:
    """Value of the SNOMED code with the keyword that the standard's dictionary makes of `meaning`."""
    words = meaning.replace("/", " ").split()
    return getattr(codes.SCT, "".join(word[:1].upper() + word[1:] for word in words)).value


@pytest.mark.parametrize("label", [*range(1, 25), *range(101, 125)])
def test_vertebrae(label):
    name = anatomy.vertebra_name(label % 100)
    assert structure_code(label).value == standard(f"{name} vertebra")


@pytest.mark.parametrize("label", range(201, 224))
def test_discs_and_levels(label):
    level = anatomy.disc_level(label)
    assert structure_code(label).value == standard(f"{level} disc")
    assert code("levels", level).value == standard(f"Level of {level} intervertebral disc")


def test_other_structures_and_answers():
    assert structure_code(anatomy.CANAL_LABEL).value == codes.SCT.SpinalCanalStructure.value
    assert code("structures", "spine").value == codes.SCT.Spine.value
    assert code("structures", "muscle").value == codes.SCT.ErectorSpinaeMuscle.value
    assert code("answers", "present").value == codes.SCT.Present.value
    assert code("answers", "absent").value == codes.SCT.Absent.value
    assert measurement_code("disc_volume_mm3").value == codes.SCT.Volume.value
    assert {field: about["site"][1] for field, about in questionnaires().items() if "site" in about} == {
        "nrs_back": codes.SCT.Back.value,
        "nrs_leg": codes.SCT.LowerLimb.value,
        "nrs_neck": codes.SCT.Neck.value,
        "nrs_arm": codes.SCT.UpperLimb.value,
    }


def test_what_has_no_public_code_keeps_its_name():
    found = measurement_code("disc_height_middle_mm")
    assert (found.scheme, found.value, found.meaning) == (OWN_SCHEME, "disc_height_middle_mm", "Disc height middle")
    assert measurement_code("lumbar_lordosis_l1_s1_deg").meaning == "Lumbar lordosis L1-S1"
    assert measurement_code("narrowest_ap_diameter_mm").meaning == "Narrowest AP diameter"
    assert unit_code("mm2").meaning == "square millimeter"
    assert unit_code("kg").meaning == "kg"


def test_every_code_is_whole():
    table = json.loads((RESOURCES / TABLE).read_text(encoding="utf-8"))
    groups = [table[name] for name in ("structures", "findings", "measurements", "answers", "documents")]
    found = [row for group in (*groups, table["vertebrae"], table["discs"], table["levels"]) for row in group.values()]
    assert all(len(row) == 3 and row[0] in {"SCT", "LN", OWN_SCHEME} and 0 < len(row[2]) <= 64 for row in found)
    assert len(table["vertebrae"]) == 24
    assert len(table["discs"]) == len(table["levels"]) == 23
