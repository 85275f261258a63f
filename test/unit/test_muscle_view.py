"""What the report says and shows of the muscles."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest

from spine.anatomy import AxialStructure
from spine.muscle.levels import MEASURED_LEVELS, SliceAt
from spine.muscle.measure import Value, goutallier, measure_level, missing_level, see
from spine.muscle.segment import clean_slice
from spine.records import AxialSlice, MuscleFindings
from spine.report.digest import missing_by_reason
from spine.report.muscle_html import muscle_section
from spine.report.muscle_page import axial_picture, draw_muscle
from spine.report.muscle_view import muscle_object, muscle_rows, patient_lines, sac_lines
from spine.report.sheet import Sheet
from spine.report.values import likely_run
from spine.report.words import read_words
from spine.resources import load_schema

PIXEL_MM = 0.9
CUT = "it is cut by the edge of the picture"


def outline():
    """A slice with muscles on both sides; the right psoas touches the border of the picture."""
    labels = np.zeros((150, 190), int)
    rows, columns = np.indices(labels.shape)
    for structure, row, column, half in (
        (AxialStructure.BODY, 50, 95, 20), (AxialStructure.SAC, 84, 95, 8),
        (AxialStructure.MULTIFIDUS, 112, 82, 12), (AxialStructure.MULTIFIDUS, 112, 108, 12),
        (AxialStructure.ERECTOR_SPINAE, 108, 56, 13), (AxialStructure.ERECTOR_SPINAE, 108, 134, 13),
        (AxialStructure.PSOAS, 60, 12, 14), (AxialStructure.PSOAS, 60, 140, 14),
    ):  # fmt: skip
        labels[(rows - row) ** 2 + (columns - column) ** 2 < half**2] = structure
    grey = np.where(rows > 130, 0.9, 0.4)
    grey[np.isin(labels, (1, 2, 3))] = 0.2
    probability = np.full((7, *labels.shape), 0.01, np.float32)
    np.put_along_axis(probability, labels[None], 0.94, 0)
    return clean_slice(grey.astype(np.float32), probability, PIXEL_MM)


def findings():
    """L4/L5 measured on one slice, the other levels not."""
    seen = see(SliceAt(7, 1.5, 0.0), outline(), PIXEL_MM)
    one = seen.outline
    shown = AxialSlice("L4/L5", 8, one.grey, one.labels, one.left, PIXEL_MM, 0.0, 1.5)
    measurements, grades = [], []
    for level in MEASURED_LEVELS:
        if level == "L4/L5":
            found, graded, _ = measure_level(level, [seen], PIXEL_MM)
        else:
            found, graded = missing_level(level, f"no axial slice covers the disc {level}")
        measurements += found
        grades += graded
    return MuscleFindings(tuple(measurements), tuple(grades), (shown,), (), "drawn")


def document(muscle=None):
    found = findings() if muscle is None else muscle
    absent = {"not_measurable": "not looked for"}
    return {
        "muscle": muscle_object(found), "levels": [], "vertebrae": [],
        **dict.fromkeys(("alignment", "canal", "xray", "degeneration"), absent),
    }  # fmt: skip


@pytest.mark.parametrize("muscle", [None, MuscleFindings(reason="x", flags=("x",)), findings()])
def test_every_answer_satisfies_the_schema(muscle):
    part = json.loads(json.dumps(muscle_object(muscle), allow_nan=False))
    schema = load_schema("spine-degeneration-report.schema.json")
    only = {**schema, "required": ["muscle"], "properties": {"muscle": schema["properties"]["muscle"]}}
    jsonschema.Draft202012Validator(only).validate({"muscle": part})


def test_rows_are_those_of_the_levels_with_reasons_where_a_side_is_missing():
    rows = muscle_rows(document(), read_words("en"))
    assert [(row.level, row.name) for row in rows] == [
        ("L3/L4", ""), ("L4/L5", "multifidus"), ("L4/L5", "erector spinae"), ("L4/L5", "psoas"), ("L5/S1", ""),
    ]  # fmt: skip
    assert rows[0].reasons == ("no axial slice covers the disc L3/L4",)
    psoas = rows[3]
    assert psoas.cells[0] == psoas.cells[2] == psoas.cells[5] == ""
    assert float(psoas.cells[1]) == pytest.approx(np.pi * 14**2 * PIXEL_MM**2, rel=0.02)
    assert psoas.reasons == (f"right: {CUT}",)
    assert rows[1].cells[-2:] == ("0", "0")  # no fat was drawn


def test_the_sac_and_its_limits_are_told():
    lines = sac_lines(document(), read_words("en"))
    area = np.count_nonzero(outline().mask("dural_sac")) * PIXEL_MM**2
    assert lines[1] == f"L4/L5 {area:.0f} mm²;"
    assert "100 mm²" in lines[-1]


def test_what_is_missing_is_listed_once_a_muscle():
    missing = missing_by_reason(document())
    assert missing[CUT] == {"psoas_right": ["L4/L5"]}
    assert set(missing["no axial slice covers the disc L3/L4"]) >= {"multifidus_right", "dural_sac_area_mm2"}


@pytest.mark.parametrize("language", ["en", "nl"])
@pytest.mark.parametrize(("fat", "key"), [(3.0, "muscle_lean"), (31.0, "muscle_fat")])
def test_patients_read_of_fat_only_where_there_is_some(language, fat, key):
    words, muscle = read_words(language), findings()
    graded = goutallier("L4/L5", "multifidus_left", Value(fat, 0.0, 1))
    muscle = replace(
        muscle, grades=(*(g for g in muscle.grades if (g.level, g.name) != ("L4/L5", graded.name)), graded)
    )
    levels = {"levels": "L4/L5"}
    assert patient_lines(document(muscle), words) == [words.say(f"patient.{key}", **levels)]
    assert patient_lines({"muscle": {"not_measurable": "x"}}, words) == []


@pytest.mark.parametrize(
    ("percent", "grade"), [(0, 0), (4.9, 0), (5, 1), (19, 1), (20, 2), (44, 2), (45, 3), (55, 4), (100, 4)]
)
def test_goutallier_by_rule(percent, grade):
    found = goutallier("L4/L5", "multifidus_left", Value(percent, 0.0, 3))
    assert found.grade == grade
    assert sum(found.probabilities) == pytest.approx(1)
    assert found.confidence == found.probabilities[grade]


def test_goutallier_is_less_sure_where_slices_differ():
    sure, unsure = (goutallier("L4/L5", "psoas_left", Value(12.5, spread, 3)) for spread in (0.0, 20.0))
    assert sure.confidence > 0.6 > unsure.confidence


@pytest.mark.parametrize(
    ("probabilities", "told"),
    [
        ((0.1, 0.6, 0.3, 0.0, 0.0), (1, 1, 0.6)),
        ((0.0, 0.1, 0.1, 0.41, 0.39), (3, 4, 0.8)),  # "3" alone would be said of what is less likely than not
        ((0.3, 0.3, 0.2, 0.1, 0.1), (0, 1, 0.6)),
    ],
)
def test_grades_less_likely_than_not_are_told_as_a_run(probabilities, told):
    assert likely_run(probabilities) == pytest.approx(told)


def test_the_picture_has_the_patients_right_on_the_left():
    picture = axial_picture(findings())
    assert (picture.level, picture.number) == ("L4/L5", 8)
    middle = picture.overlay.shape[1] // 2
    pink = (picture.overlay.astype(int) @ [1, -1, 1] > 150) & (np.ptp(picture.overlay, axis=2) > 40)
    assert pink[:, :middle].any()
    assert set(picture.structures) == {
        AxialStructure.MULTIFIDUS, AxialStructure.ERECTOR_SPINAE, AxialStructure.PSOAS, AxialStructure.BODY,
        AxialStructure.SAC,
    }  # fmt: skip
    assert axial_picture(None) is None
    assert axial_picture(MuscleFindings(reason="x")) is None


@pytest.mark.parametrize("language", ["en", "nl"])
def test_the_block_is_drawn_with_and_without_a_picture(language):
    words = read_words(language)
    for picture in (axial_picture(findings()), None):
        sheet = Sheet("t", "f", str)
        top = sheet.y
        draw_muscle(sheet, document(), picture, words)
        assert sheet.y < top
    draw_muscle(sheet, {"muscle": {"not_measurable": "x"}}, None, words)
    assert sheet.finish().startswith(b"%PDF")


def test_the_html_section():
    words = read_words("en")
    section = muscle_section(document(), axial_picture(findings()), words)
    assert section.image.startswith("data:image/jpeg;base64,")
    assert len(section.legend) == 5
    assert muscle_section({"muscle": {"not_measurable": "x"}}, None, words) is None
