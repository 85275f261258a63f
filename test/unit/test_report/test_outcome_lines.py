"""Lines on a local equation, on the baseline of accelerated degeneration and on an earlier study, in every language."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spine.report.compose import report_document
from spine.report.outcome_view import accelerated_lines, treatment_options
from spine.report.words import read_words

LANGUAGES = ("en", "nl")


def document(case, advice_changes, score=None):
    advice = case.findings.advice
    changed = replace(advice, **advice_changes, **({"score": {**advice.score, **score}} if score else {}))
    return report_document(*case.but(findings=replace(case.findings, advice=changed)).arguments())


def level(name, height, grade):
    return {"level": name, "height": height, "grades": {"pfirrmann": grade}}


def lost(loss_mm, reach_mm=1.4):
    limits = [loss_mm - reach_mm, loss_mm + reach_mm]
    return {"loss_mm": loss_mm, "interval_90_mm": limits, "beyond_measurement_error": abs(loss_mm) > reach_mm}


PROGRESSION = {
    "interval_years": 2.0,
    "levels": [
        level("L4/L5", lost(3.0), {"before": 3, "now": 4, "increase": 1, "probability_of_increase": 0.8}),
        level("L3/L4", lost(0.2), {"before": 3, "now": 3, "increase": 0}),
        level("L2/L3", {"not_measurable": "x"}, {"not_measurable": "x"}),
    ],
    "same_levels": "levels are compared by name; the names were not in doubt in the earlier study",
    "same_person": {"bodies": 5, "depth_change_mm": 0.62, "height_change_mm": -0.2, "note": "x"},
}


def test_the_likelihood_stands_beside_its_baseline_and_threshold(make_full_case):
    case = make_full_case()
    degeneration = {**case.findings.advice.degeneration, "without_images": 0.2023, "threshold_years": 10.0}
    report = document(case, {"degeneration": degeneration})
    assert accelerated_lines(report, read_words("en"))[1] == (
        "Before the images were seen: 0.20. Accelerated means discs more than 10 years older than the patient."
    )
    assert "0,20" in accelerated_lines(report, read_words("nl"))[1]
    assert len(accelerated_lines(document(case, {}), read_words("en"))) == 2  # no baseline stated, no line


def test_changes_since_an_earlier_study(make_full_case):
    report = document(make_full_case(), {}, {"progression": PROGRESSION})
    change, compared, person = accelerated_lines(report, read_words("en"))[-3:]
    minus = "\N{MINUS SIGN}"
    assert change == (
        f"Since the earlier study (2.0 years): L4/L5 disc height {minus}3.0 mm (90 % interval {minus}4.4 to {minus}1.6)"
        "; L4/L5 Pfirrmann 3 to 4 (probability of an increase 0.80)."
    )
    assert compared.startswith("Compared in both studies: height of 2 discs, Pfirrmann grade of 2;")
    assert person.startswith("Same person: the sizes of 5 vertebral bodies agree within the measurement error")
    assert f"(depth +0.6 mm, height {minus}0.2 mm)" in person
    assert "naar 4" in accelerated_lines(report, read_words("nl"))[-3]


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_change_no_time_doubtful_names_and_the_same_image(make_full_case, language):
    words = read_words(language)
    quiet = {
        **PROGRESSION,
        "interval_years": {"not_measurable": "x"},
        "levels": PROGRESSION["levels"][1:],
        "same_levels": "levels are compared by name, and the names of the earlier study were in doubt: no sacrum",
        "same_person": {"not_measurable": "too few bodies"},
    }
    lines = accelerated_lines(document(make_full_case(), {}, {"progression": quiet}), words)
    assert words.say("report.change_nothing") in lines[-3]
    assert words.say("report.change_no_time") in lines[-3]
    assert lines[-1] == words.say("report.change_doubt")
    same = {"progression": {"not_measurable": "the very same image"}}
    assert "the very same image" in accelerated_lines(document(make_full_case(), {}, same), words)[-1]


def test_the_published_answer_stands_beside_a_local_one(make_full_case):
    case = make_full_case()
    published = {"model": "swespine 2022", "horizon_months": 12, "probability": 0.8, "interval_90": [0.62, 0.91]}
    first, *rest = case.findings.advice.options
    report = document(case, {"options": ({**first, "published_equation": published}, *rest)})
    lines = [option.lines for option in treatment_options(report, read_words("en"))]
    told = "The published equation, fitted at 12 months, says 80 of 100 (90 % interval 62 to 91): swespine 2022."
    assert told in lines[0]
    assert not any("published equation" in line for line in lines[1])
