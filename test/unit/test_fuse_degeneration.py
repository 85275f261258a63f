"""Disc age against hand calculation, abstention, and progression between two studies."""

import json

import numpy as np
import pytest
from scipy.stats import norm

from spine.fuse import fuse_findings
from spine.fuse.degeneration import (
    AGE_GRID_YEARS,
    Finding,
    count_distribution,
    exceeds,
    expected_auc,
    gap_prior,
    posterior,
    prevalence_by_age,
)
from spine.fuse.findings import anywhere, level_probability, read_prevalence, region_in_view
from spine.records import Grade, Measurement
from spine.settings import FusionSettings

SETTINGS = FusionSettings()
LEVELS = ("L5/S1", "L4/L5", "L3/L4", "L2/L3", "L1/L2")
FLAGS = ("narrowing", "bulging", "herniation", "spondylolisthesis")


def spine(pfirrmann=2, probability=0.0, levels=LEVELS):
    """Every disc with that Pfirrmann grade; the flags at the lowest disc with that probability."""
    grades = [
        Grade(level, "pfirrmann", pfirrmann, tuple(float(g == pfirrmann) for g in range(1, 6))) for level in levels
    ]
    for name in FLAGS:
        for level in levels:
            there = probability if level == levels[0] else 0.0
            grades.append(Grade(level, name, there > 0.5, (1 - there, there)))
    return tuple(grades)


def likelihood(grades, age):
    return fuse_findings((), grades, {"age_years": age}, SETTINGS).degeneration


def test_prevalence_goes_through_the_table():
    table = read_prevalence()["lumbar"]
    for entry in table["findings"]:
        curve = prevalence_by_age(entry["percent"], table["ages_years"])
        at_ages = [curve[np.flatnonzero(age == AGE_GRID_YEARS)[0]] for age in table["ages_years"]]
        assert np.multiply(100, at_ages) == pytest.approx(entry["percent"])
        assert curve[0] == pytest.approx(entry["percent"][0] / 100)
        assert (np.diff(curve) >= 0).all()


def test_posterior_by_hand():
    """One finding that is present: posterior proportional to prior times prevalence."""
    prevalence = np.linspace(0.1, 0.9, len(AGE_GRID_YEARS))[None]
    prior = gap_prior(50.0, 12.0)
    expected = prior * prevalence[0] / (prior @ prevalence[0])
    np.testing.assert_allclose(posterior(np.ones(1), prevalence, prior, 0.3), expected)
    doubtful = posterior(np.full(1, 0.5), prevalence, prior, 0.3)  # as likely there as not: nothing was learnt
    np.testing.assert_allclose(doubtful, prior, atol=1e-12)


def test_fully_correlated_findings_count_once():
    prevalence = np.linspace(0.1, 0.9, len(AGE_GRID_YEARS))[None].repeat(4, axis=0)
    prior = gap_prior(50.0, 12.0)
    once = posterior(np.ones(1), prevalence[:1], prior, 0.0)
    np.testing.assert_allclose(posterior(np.ones(4), prevalence, prior, 1.0), once)


def test_without_findings_the_likelihood_is_the_normal_tail():
    assert float(exceeds(gap_prior(50.0, 12.0), 60.0)) == pytest.approx(0.2023, abs=1e-3)  # 1 - Phi(10 / 12)


def test_the_baseline_and_the_threshold_are_in_the_answer():
    """Normal tail beyond 10 of 12 years; a given likelihood means something only beside it."""
    found = likelihood(spine(), 50)
    assert found["threshold_years"] == 10.0
    assert found["without_images"] == pytest.approx(norm.sf(10 / 12), abs=0.005)
    assert likelihood(spine(levels=LEVELS[:1]), 50)["without_images"] == found["without_images"]  # abstains, still told
    assert fuse_findings((), spine(), {}, SETTINGS).degeneration["without_images"] is None
    neck = (Grade("C5/C6", "pfirrmann", 4),)
    assert fuse_findings((), neck, {"age_years": 50}, SETTINGS).degeneration["without_images"] is None


def test_a_record_of_another_region_gives_no_likelihood():
    """Its age may be another patient's: only what the findings say without an age is left."""
    advice = fuse_findings((), spine(4, 0.9), {"age_years": 50, "region": "cervical"}, SETTINGS)
    found = advice.degeneration
    assert found["abstained"]
    assert found["reason"].startswith(
        "the record speaks of the cervical spine, the images show the lumbar spine: the age"
    )
    assert (found["likelihood"], found["interval_90"], found["without_images"]) == (None, None, None)
    alone = fuse_findings((), spine(4, 0.9), {}, SETTINGS).degeneration
    assert found["disc_age_years"] == alone["disc_age_years"]
    assert advice.score["percentile_for_age"]["not_measurable"] == found["reason"]


def every_finding():
    table = read_prevalence()["lumbar"]
    ages = table["ages_years"]
    return [Finding(e["name"], 0.0, {}, prevalence_by_age(e["percent"], ages)) for e in table["findings"]]


def test_expected_auc_of_one_finding_by_hand():
    """One finding: the likelihood has two values; AUC = 1/2 + (share when older - share at age) / 2."""
    one = every_finding()[:1]
    assert expected_auc(one, 30.0, SETTINGS) == pytest.approx(0.5 + (0.80 - 0.52) / 2, abs=1e-6)


@pytest.mark.parametrize(("age", "auc"), [(30, 0.742), (60, 0.723), (75, 0.559), (80, 0.5)])
def test_expected_auc_against_a_simulation(age, auc):
    findings = every_finding()
    assert expected_auc(findings, age, SETTINGS) == pytest.approx(auc, abs=1e-3)
    generator = np.random.default_rng(11)
    prevalence = np.stack([f.prevalence for f in findings])
    values = []
    for disc_age in (age, age + 20):
        share = [np.interp(disc_age, AGE_GRID_YEARS, curve) for curve in prevalence]
        present = (generator.random((3000, len(findings))) < share).astype(float)
        mass = posterior(present, prevalence, gap_prior(age, 12.0), SETTINGS.finding_correlation)
        values.append(np.round(exceeds(mass, age + 10), 9))
    usual, older = values
    simulated = np.mean((older[:, None] > usual) + 0.5 * (older[:, None] == usual))
    assert simulated == pytest.approx(auc, abs=0.02)


def test_where_findings_tell_nothing_the_likelihood_is_kept_back():
    found = likelihood(spine(5, 0.95), 75)
    assert found["abstained"]
    assert "AUC of 0.56 for discs 20 years older, at least 0.6 is asked for" in found["reason"]
    assert found["likelihood"] is None
    assert found["disc_age_years"] > 75
    given = likelihood(spine(5, 0.95), 60)
    assert given["expected_auc"] == pytest.approx(0.723, abs=1e-3)
    assert "without an interval" in given["interval_meaning"]


def test_young_and_worn_is_accelerated_old_and_smooth_is_not():
    worn, smooth = spine(5, 0.95), spine(1, 0.02)
    assert likelihood(worn, 30)["likelihood"] > 0.35
    assert likelihood(worn, 30)["likelihood"] > likelihood(worn, 70)["likelihood"]
    assert likelihood(smooth, 70)["likelihood"] < 0.1
    found = likelihood(worn, 30)
    low, high = found["interval_90"]
    assert low < found["likelihood"] < high
    assert found["disc_age_interval_90"][0] < 30 < found["disc_age_years"] < found["disc_age_interval_90"][1]
    assert found["disc_age_interval_90"][1] - found["disc_age_interval_90"][0] > 30  # wide, as the sources force it
    assert found["without_images"] == pytest.approx(0.202, abs=5e-3)


def test_doubtful_grades_pull_less():
    values = [likelihood(spine(4, p), 40)["likelihood"] for p in (0.0, 0.3, 0.6, 0.9)]
    assert values == sorted(values)


def test_score_counts_and_compares():
    score = fuse_findings((), spine(4, 1.0), {"age_years": 20}, SETTINGS).score
    assert score["score"] == pytest.approx(5.0)
    assert score["score_expected_without_pain_at_this_age"] == pytest.approx(0.37 + 0.24 + 0.30 + 0.29 + 0.03)
    assert score["percentile_for_age"] > 99
    none = fuse_findings((), spine(1, 0.0), {"age_years": 20}, SETTINGS).score
    nobody = 0.63 * 0.76 * 0.70 * 0.71 * 0.97
    assert none["percentile_for_age"] == pytest.approx(50 * nobody, abs=0.06)


def test_count_distribution_by_hand():
    np.testing.assert_allclose(count_distribution([0.5, 0.2]), [0.4, 0.5, 0.1])


def test_nothing_graded_abstains_with_the_reason():
    grades = tuple(Grade(level, "pfirrmann", None, not_measurable="not implemented") for level in LEVELS)
    heights = tuple(Measurement(level, "disc_height_middle_mm", 8.0, "mm") for level in LEVELS)
    advice = fuse_findings(heights, grades, {"age_years": 50}, SETTINGS)
    assert advice.degeneration["abstained"]
    assert advice.degeneration["likelihood"] is None
    assert advice.degeneration["reason"].startswith("0 of the 5 findings are graded at L3/L4, L4/L5, L5/S1")
    assert set(advice.score["score"]) == {"not_measurable"}


@pytest.mark.parametrize(
    ("record", "told"), [({}, "age_years is missing"), ({"age_years": 15}, "from 20 to 80"), ({"age_years": 91}, "80")]
)
def test_without_a_usable_age_disc_age_stands_alone(record, told):
    advice = fuse_findings((), spine(4, 0.9), record, SETTINGS)
    assert advice.degeneration["abstained"]
    assert told in advice.degeneration["reason"]
    assert 20 <= advice.degeneration["disc_age_years"] <= 80
    assert advice.score["percentile_for_age"]["not_measurable"]


def test_the_neck_abstains():
    grades = tuple(Grade(level, "pfirrmann", 4, (0, 0, 0, 1.0, 0)) for level in ("C6/C7", "C5/C6", "C4/C5"))
    assert region_in_view((), grades) == "cervical"
    found = fuse_findings((), grades, {"age_years": 50}, SETTINGS).degeneration
    assert found["abstained"]
    assert "without neck pain" in found["reason"]


def test_half_a_spine_is_not_judged():
    assert anywhere(spine(5, 1.0, LEVELS[:2]), {"grades": ["bulging"]}, "lumbar") is None
    assert likelihood(spine(5, 1.0, LEVELS[:2]), 40)["abstained"]


def test_level_probabilities():
    at_least, exactly = {"grades": ["pfirrmann"], "at_least": 3}, {"grades": ["modic"], "exactly": 1}
    assert level_probability(Grade("L5/S1", "pfirrmann", 3, (0.1, 0.2, 0.3, 0.3, 0.1)), at_least) == pytest.approx(0.7)
    assert level_probability(Grade("L5/S1", "pfirrmann", 4), at_least) == 1.0
    assert level_probability(Grade("L5/S1", "modic", 1, (0.2, 0.6, 0.2, 0.0)), exactly) == pytest.approx(0.6)
    assert level_probability(Grade("L5/S1", "bulging", True, (0.8,)), {"grades": ["bulging"]}) == pytest.approx(0.8)
    assert level_probability(Grade("L5/S1", "bulging", None, not_measurable="x"), {"grades": ["bulging"]}) is None


def test_z_scores_per_level_are_carried():
    measurements = (
        Measurement("L5/S1", "disc_height_index", 0.2, "1", z=-2.1),
        Measurement("L5/S1", "disc_csf_signal_ratio", 0.1, "1", z=-1.0),
        Measurement("L5", "height_mm", 27.0, "mm", z=0.5),
        Measurement("L4/L5", "disc_height_index", 0.3, "1"),
    )
    levels = fuse_findings(measurements, (), None, SETTINGS).score["levels"]
    assert levels == [{"level": "L5/S1", "z": {"disc_height_index": -2.1, "disc_csf_signal_ratio": -1.0}}]


def prior_report(level, height=None, grade=None, years=None):
    measured = {"disc_height_middle_mm": {"value": height} if height else {"not_measurable": "x"}}
    graded = {"pfirrmann": {"grade": grade, "probabilities": []} if grade else {"not_measurable": "x"}}
    report = {"levels": [{"level": level, "measurements": measured, "grades": graded}]}
    return {**report, "interval_years": years} if years else report


def test_progression_per_year_with_error():
    now = (Measurement("L4/L5", "disc_height_middle_mm", 7.0, "mm"),)
    grades = (Grade("L4/L5", "pfirrmann", 4, (0, 0, 0.2, 0.8, 0)),)
    report = prior_report("L4/L5", 10.0, 3, years=2.0)
    found = fuse_findings(now, grades, {"age_years": 50}, SETTINGS, None, report).score["progression"]
    json.dumps(found, allow_nan=False)
    row = found["levels"][0]
    assert row["height"]["loss_mm"] == pytest.approx(3.0)
    assert row["height"]["loss_mm_per_year"] == pytest.approx(1.5)
    assert row["height"]["interval_90_mm"] == pytest.approx([3 - 1.398, 3 + 1.398], abs=0.01)
    assert row["height"]["beyond_measurement_error"] is True
    change = row["grades"]["pfirrmann"]
    assert (change["increase"], change["positive_progression"]) == (1, True)
    assert change["probability_of_increase"] == pytest.approx(0.8)
    assert change["increase_per_year"] == pytest.approx(0.5)
    assert "adjacent_segment_degeneration" not in row


def test_the_same_image_has_no_progression():
    """Against itself an image would show an increase with some probability at every doubtful level."""
    grades = (Grade("L4/L5", "pfirrmann", 4, (0, 0, 0.4, 0.6, 0)),)
    report = {**prior_report("L4/L5", 10.0, 4, years=2.0), "provenance": {"image_sha256": "a" * 64}}

    def compared(digest):
        advice = fuse_findings((), grades, {}, SETTINGS, None, report, digest)
        return advice.score["progression"]

    assert "very same image" in compared("a" * 64)["not_measurable"]
    row = compared("b" * 64)["levels"][0]["grades"]["pfirrmann"]
    assert row["increase"] == 0
    assert "did not increase" in row["probability_of_increase"]["not_measurable"]
    assert "as independent" in compared("b" * 64)["grade_note"]


@pytest.mark.parametrize(("gains", "other"), [((2.0, 1.9, 0.5), True), ((2.0, 1.0, -3.0), False)])
def test_discs_that_grew_are_of_another_person(gains, other):
    names = LEVELS[: len(gains)]
    now = tuple(Measurement(n, "disc_height_middle_mm", 8.0 + g, "mm") for n, g in zip(names, gains, strict=True))
    grades = tuple(Grade(name, "pfirrmann", 3, (0, 0, 1, 0, 0)) for name in names)
    report = {"levels": [prior_report(name, 8.0, 2)["levels"][0] for name in names]}
    advice = fuse_findings(now, grades, {}, SETTINGS, None, report)
    found = advice.score["progression"]
    assert (set(found) == {"not_measurable"}) is other
    assert (advice.caveats[:1] == (f"Check the patient: {found.get('not_measurable')}.",)) is other


def test_progression_without_dates_has_no_rates():
    now = (Measurement("L4/L5", "disc_height_middle_mm", 9.5, "mm"),)
    found = fuse_findings(now, (), {}, SETTINGS, None, prior_report("L4/L5", 10.0)).score["progression"]
    assert "not_measurable" in found["interval_years"]
    row = found["levels"][0]
    assert row["height"]["beyond_measurement_error"] is False
    assert "loss_mm_per_year" not in row["height"]
    assert "not graded in both" in row["grades"]["pfirrmann"]["not_measurable"]


@pytest.mark.parametrize(("height", "present"), [(5.9, False), (3.0, "disc height decreased"), (None, "not known")])
def test_adjacent_segment_of_the_neck_trial(height, present):
    now = () if height is None else (Measurement("C5/C6", "disc_height_middle_mm", height, "mm"),)
    grades = (Grade("C5/C6", "pfirrmann", 2, (0, 1, 0, 0, 0)),)
    found = fuse_findings(now, grades, {}, SETTINGS, None, prior_report("C5/C6", 6.0, 2)).score["progression"]
    segment = found["levels"][0]["adjacent_segment_degeneration"]
    if present is False:
        assert segment["present"] is False
    else:
        assert present in segment["present"]["not_measurable"]
        assert "osteophytes are not graded" in segment["present"]["not_measurable"]
