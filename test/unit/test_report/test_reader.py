"""What the reader is told: nothing that was not judged, no name of a variable, doubt where there is doubt."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from pypdf import PdfReader

from spine.quality.verdict import UNUSUAL, answer_flags
from spine.records import Grade, Measurement
from spine.report import digest
from spine.report.clinical_view import findings_table
from spine.report.compose import report_document
from spine.report.figures import clear_place
from spine.report.html_view import level_parts, shown_percentile
from spine.report.patient_view import patient_sections
from spine.report.pdf import render_pdf
from spine.report.picture import draw_picture
from spine.report.quality_view import doubt_lines, image_doubts, quality_lines
from spine.report.summary import summary_lines
from spine.report.words import read_words
from spine.resources import RESOURCES

EN = read_words("en")


def patient_text(document, words=EN):
    return " ".join(
        text
        for part in patient_sections(document, words)
        for text in (part.heading, *part.paragraphs, *part.bullets, *part.closing)
    )


def with_findings(case, *findings):
    """Document of `case` with these grades and measurements only."""
    grades = tuple(one for one in findings if isinstance(one, Grade))
    sizes = tuple(one for one in findings if isinstance(one, Measurement))
    return report_document(*case.but(findings=replace(case.findings, grades=grades, measurements=sizes)).arguments())


def test_no_wear_is_told_only_of_the_discs_that_were_judged(make_case):
    case = make_case(8, 16)  # T2 to C3
    judged = Grade("T1/T2", "pfirrmann", 2, (0.0, 0.9, 0.1, 0.0, 0.0), 0.9)
    text = patient_text(with_findings(case, judged))
    assert "No strong wear of the discs was seen." not in text
    assert "No strong wear was seen at T1/T2. The program could not judge the wear of the other discs." in text
    every = [Grade(disc.level, "pfirrmann", 2, (0.0, 0.9, 0.1, 0.0, 0.0), 0.9) for disc in case.spine.discs]
    assert "No strong wear of the discs was seen." in patient_text(with_findings(case, *every))


def test_weak_findings_are_told_with_perhaps(make_case):
    found = (("L5/S1", 0.97), ("L4/L5", 0.55))
    both = [Grade(level, "bulging", True, (prob,), prob) for level, prob in found]
    document = with_findings(make_case(3), *both, Grade("L3/L4", "stenosis", True, (0.55,), 0.55))
    assert "A disc that bulges a little at L5/S1. Perhaps also at L4/L5." in patient_text(document)
    assert "Perhaps less room for the nerves at L3/L4." in patient_text(document)
    assert "Misschien minder ruimte voor de zenuwen bij L3/L4." in patient_text(document, read_words("nl"))


def test_other_findings_are_none_only_where_they_were_judged(make_case):
    flags = ("upper_endplate", "lower_endplate", "herniation", "narrowing", "bulging", "stenosis")
    document = with_findings(
        make_case(4),
        *(Grade(level, "spondylolisthesis", False, (0.03,), 0.97) for level in ("L5/S1", "L4/L5", "L3/L4")),
        *(Grade("L4/L5", name, False, (0.1,), 0.9) for name in flags),
        *(Grade("L3/L4", name, False, (0.1,), 0.9) for name in flags),
        Grade("L3/L4", "modic", 0, (0.9, 0.05, 0.05, 0.0), 0.9),
    )
    other = {row[0].text: row[2] for row in findings_table(document, EN).rows}
    assert (other["L5/S1"].text, bool(other["L5/S1"].codes)) == ("n.m.", True)  # only the slip was judged
    assert (other["L4/L5"].text, bool(other["L4/L5"].codes)) == ("none of those judged", True)
    assert (other["L3/L4"].text, other["L3/L4"].codes) == ("none", ())


def test_the_wear_of_a_neck_is_told_on_miyazakis_scale(make_case):
    case = make_case(8, 16)  # T2 to C3
    worn = [Grade(level, "pfirrmann", 4, (0, 0, 0, 1, 0), 1.0) for level in ("T1/T2", "C5/C6")]
    document = with_findings(case, *worn)
    # grades of the neck are unproven: none is a finding of page 1
    assert "Pfirrmann 4 or 5 at T1/T2." in summary_lines(document)[1]
    assert "C5/C6" not in summary_lines(document)[1]
    assert findings_table(document, EN).header[1] == "Pfirrmann / Miyazaki (prob.)"
    neck = {**document, "levels": [level for level in document["levels"] if level["level"].startswith("C")]}
    assert findings_table(neck, EN).header[1] == "Miyazaki (prob.)"
    assert {part.title: part.grades[0].name for part in level_parts(document, {}, EN)}["C5/C6"] == "Miyazaki"


def test_a_slip_is_marked_told_with_its_direction_and_a_denying_grade_is_named(make_case):
    document = with_findings(
        make_case(3),
        Measurement("L5/S1", "slip_mm", -4.3, "mm"),
        Measurement("L4/L5", "slip_mm", 3.0, "mm"),
        Measurement("L3/L4", "slip_mm", 2.9, "mm"),
        Grade("L5/S1", "spondylolisthesis", False, (0.03,), 0.97),
        Grade("L4/L5", "spondylolisthesis", True, (0.9,), 0.9),
    )
    table = findings_table(document, EN)
    assert [row[7].marked for row in table.rows] == [False, True, True]
    assert [EN.say("report.slip_denied") in row[2].text for row in table.rows] == [False, False, True]
    assert "Slip: + forward, \N{MINUS SIGN} backward." in " ".join(table.notes)
    text = patient_text(document)
    assert "3 mm or more to the front at L4/L5." in text
    assert "3 mm or more to the back at L5/S1. A second check by the program did not see this at L5/S1." in text


def test_all_judged_but_not_all_measured_is_not_told_as_everything(make_full_case):
    case = make_full_case(2)
    grades = [replace(one, grade=False, probabilities=(0.1,), not_measurable=None) if one.name == "stenosis" else one
              for one in case.findings.grades]  # fmt: skip
    document = report_document(*case.but(findings=replace(case.findings, grades=tuple(grades))).arguments())
    assert "but could not measure all of them" in patient_text(document)


@pytest.mark.parametrize(
    ("name", "z", "marked"),
    [
        ("canal_ap_diameter_mm", 2.5, False),
        ("canal_ap_diameter_mm", -2.5, True),
        ("disc_height_middle_mm", 2.5, False),
        ("disc_height_middle_mm", -2.0, True),
        ("wedge_deg", 2.5, True),
        ("wedge_deg", None, False),
    ],
)
def test_only_the_degenerative_side_is_marked(name, z, marked):
    assert digest.is_marked(name, 9.0, z) is marked


def test_percentiles_never_reach_the_ends():
    assert [shown_percentile(p, EN) for p in (0.0, 0.99, 1.0, 49.6, 99.0, 99.2, 100.0)] == [
        "<1", "<1", "1", "50", "99", ">99", ">99"
    ]  # fmt: skip


def test_merged_reasons_name_no_level_and_leave_no_gap():
    assert digest.impersonal("the disc L5/S1 is cut by the outermost slice", "L5/S1") == (
        "the disc is cut by the outermost slice"
    )
    assert digest.impersonal("the superior end plate of T11 is cut", "T11") == (
        "the superior end plate of that vertebra is cut"
    )
    assert digest.impersonal("L1 and more", "L1") == "that vertebra and more"


def test_every_flag_of_a_doubtful_image_is_known_and_put_at_the_head(make_full_case):
    case = make_full_case(2)
    limits = SimpleNamespace(limits=SimpleNamespace(flag_below_prob=0.7, flag_below_dice=0.8))
    slug = case.study.primary.slug
    flags = [f"{slug}: {text} than in the cases learnt from" for pair in UNUSUAL.values() for text in pair if text]
    flags += answer_flags(0.5, {"disc": 0.5}, limits)
    document = report_document(*case.arguments())
    assert doubt_lines(document, EN) == []
    level_flags = ["no disc was found between L1 and L2", "L1/L2: L1 and L2 lie 14 mm apart"]
    document["quality"]["flags"] = [*flags, "part_without_signal", "one_slice", *level_flags]
    assert len(image_doubts(document)) == len(flags) + 1
    (line,) = doubt_lines(document, EN)
    assert "the outlines are doubtful: predicted Dice 0.50; Part of the image holds no signal" in line
    assert EN.say("patient.image_heading") in patient_text(document)
    pages = PdfReader(io.BytesIO(render_pdf(document, draw_picture(case.volume, case.spine)))).pages
    assert "Take care, the images or the outlines are doubtful" in " ".join(pages[0].extract_text().split())
    assert len(pages) <= 4


def test_a_doubt_whose_images_or_record_it_is_stands_on_the_first_page(make_full_case):
    case = make_full_case()
    stranger = "Check the patient: the earlier report is taken for another person's: it states the sex female."
    advice = replace(case.findings.advice, caveats=("Models fitted elsewhere.", stranger))
    document = report_document(*case.but(findings=replace(case.findings, advice=advice)).arguments())
    assert doubt_lines(document, EN) == [stranger]
    pages = PdfReader(io.BytesIO(render_pdf(document, draw_picture(case.volume, case.spine)))).pages
    first = " ".join(pages[0].extract_text().split())
    assert stranger in first
    assert "Models fitted elsewhere" not in first


def test_quality_lines_are_sentences_without_names_of_variables(make_full_case):
    document = report_document(*make_full_case(2).arguments())
    document["quality"]["flags"] = [
        "sagittal-spine-mri: neighbouring slices differ (slice_correlation 0.65, least 0.76)", "one_slice"
    ]  # fmt: skip
    first, second, last = quality_lines(document, EN)
    assert first == "Neighbouring slices differ (likeness of neighbouring slices 0.65, least 0.76)."
    assert second.startswith("The series has a single slice")
    assert last.startswith("Mean probability that the network gives")
    document["quality"]["confidence_calibrated"] = True
    assert quality_lines(document, EN)[-1].startswith("Share of the voxels")


@pytest.mark.parametrize("language", ["en", "nl"])
def test_items_of_the_record_and_equations_have_words(language):
    known = read_words(language).texts["names"]
    schema = json.loads((RESOURCES / "clinical.schema.json").read_text(encoding="utf-8"))
    models = json.loads((RESOURCES / "outcome_models.json").read_text(encoding="utf-8"))["models"]
    assert set(schema["properties"]) <= set(known["clinical"])
    assert {model["id"] for model in models} <= set(known["models"])
    assert not [text for group in ("clinical", "models") for text in known[group].values() if "_" in text]


def test_letters_of_direction_keep_clear_of_names_and_lines():
    assert clear_place(50, [], 6, 100) == 50
    moved = clear_place(50, [48, 60], 6, 100)
    assert min(abs(moved - 48), abs(moved - 60)) >= 6
    assert 6 <= clear_place(50, list(range(0, 101, 4)), 6, 100) <= 94
