"""The texts of every language say the same things with the same values, and the summary fits three lines."""

from __future__ import annotations

import string
from dataclasses import replace

import pytest

from spine.records import Advice, Findings, Grade, Measurement, Numbering
from spine.report import compose_report, summary_lines
from spine.report.compose import report_document
from spine.report.facts import disagreements
from spine.report.patient_view import patient_sections
from spine.report.words import TEXTS_DIR, read_words

LANGUAGES = sorted(path.stem for path in TEXTS_DIR.glob("*.json"))


def flat(texts, prefix=""):
    """path -> text, lists counted by their position."""
    items = enumerate(texts) if isinstance(texts, list) else texts.items()
    found = {}
    for key, value in items:
        path = f"{prefix}{key}"
        found |= {path: value} if isinstance(value, str) else flat(value, f"{path}.")
    return found


def places(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_english_and_dutch_are_there():
    assert {"en", "nl"} <= set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_language_has_the_texts_and_places_of_english(language):
    english, other = flat(read_words("en").texts), flat(read_words(language).texts)
    extra = {key for key in set(english) ^ set(other) if not key.startswith("names.regions.")}
    assert extra == set()
    assert [key for key in english if key in other and places(english[key]) != places(other[key])] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_patients_sentences_are_short(make_full_case, language):
    """B1 asks for short sentences: 12 words on average at most, none above 25."""
    document = report_document(*make_full_case().arguments())
    texts = [
        text
        for section in patient_sections(document, read_words(language))
        for text in (section.heading, *section.paragraphs, *section.bullets, *section.closing)
    ]
    sentences = [part.split() for text in texts for part in text.replace("?", ".").split(". ") if part.strip()]
    lengths = [len(words) for words in sentences]
    assert sum(lengths) / len(lengths) <= 12
    assert max(lengths) <= 25


def test_numbers_follow_the_language():
    assert read_words("en").number(-1.25, 1, signed=True) == "\N{MINUS SIGN}1.2"
    assert read_words("nl").number(0.5, 2) == "0,50"
    assert read_words("nl").number(-0.001, 1, signed=True) == "0,0"
    assert read_words("nl").listing(["L5/S1", "L4/L5", "L3/L4"]) == "L5/S1, L4/L5 en L3/L4"


def test_summary_of_a_full_case(make_full_case):
    found, findings, missing = summary_lines(compose_report(*make_full_case().arguments()).report)
    assert found == (
        "Found 8 disc levels, L5/S1 to T10/T11 (lumbar, T2-like); "
        "numbering: counted upward from the sacrum, probability 0.97."
    )
    assert findings.startswith(
        "Findings: Pfirrmann 4 or 5 at L5/S1, L4/L5; Modic change at L5/S1; herniation at L5/S1, L4/L5"
    )
    assert "largest slip 3.7 mm at L4/L5" in findings
    assert "8 values (the canal is cut by the image border)" in missing


def test_summary_says_what_is_doubtful_and_when_nothing_was_found(make_case):
    case = make_case(3)
    doubtful = replace(case.spine, numbering=Numbering("sizes", 0.55, (("L4", 0.4),), "neither end is in view"))
    found, findings, missing = summary_lines(report_document(*case.but(spine=doubtful).arguments()))
    assert "probability 0.55 - uncertain: neither end is in view." in found
    assert findings == "Findings: nothing could be graded or measured."
    assert "(not implemented)" in missing
    assert summary_lines(report_document(*make_case(0).arguments()))[0].startswith("Found no disc level")


def test_patient_sees_no_forecast_of_an_equation_that_was_not_fitted_on_this_hospitals_patients(make_full_case):
    case = make_full_case()
    options = [{**option, "evidence": {"origin": "published equation"}} for option in case.findings.advice.options]
    findings = replace(case.findings, advice=replace(case.findings.advice, options=tuple(options)))
    words = read_words("en")
    sections = patient_sections(report_document(*case.but(findings=findings).arguments()), words)
    assert not any(section.options for section in sections)
    assert any(words.say("patient.options_held") in section.paragraphs for section in sections)
    assert any(section.options for section in patient_sections(report_document(*case.arguments()), words))


def test_patient_is_warned_when_level_names_are_uncertain(make_case):
    case = make_case(3)
    doubtful = replace(case.spine, numbering=Numbering("sizes", 0.55, (), None))
    words = read_words("en")
    sections = patient_sections(report_document(*case.but(spine=doubtful).arguments()), words)
    assert any(words.say("patient.doubt") in section.paragraphs for section in sections)


def test_a_measured_slip_that_the_grade_denies_is_flagged():
    slip = Measurement("L5/S1", "meyerding_grade", 1.0, "1")
    denied = Grade("L5/S1", "spondylolisthesis", False, (0.08,), 0.92)
    told = Grade("L5/S1", "spondylolisthesis", True, (0.9,), 0.9)
    advice = Advice(None, (), (), {})
    assert disagreements(Findings((slip,), (told,), advice)) == []
    assert disagreements(Findings((slip,), (denied,), advice)) == [
        "L5/S1: a slip of 3 mm or more was measured, the grade says otherwise: look at the image"
    ]
