"""Agreement and outcome statistics against hand-made tables and against second implementations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special
from sklearn.metrics import confusion_matrix
from statsmodels.stats.inter_rater import cohens_kappa

from lab.evaluate.agreement import auc, balanced_accuracy, bland_altman, bootstrap_by_patient, icc_2_1, kappa
from lab.evaluate.outcomes import (
    area_under_risk_coverage,
    decision_curve,
    fit_recalibration,
    net_benefit,
    recalibration_study,
    risk_coverage,
)

TABLES = 200


def random_grades(count: int):
    generator = np.random.default_rng(3)
    for _ in range(count):
        n = int(generator.integers(5, 60))
        reference = generator.integers(1, 6, n)
        prediction = np.where(generator.random(n) < 0.6, reference, generator.integers(1, 6, n))
        yield reference, prediction


def test_kappa_by_hand():
    # 2 x 2 table 20, 5 / 10, 15: observed 0.7, by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5 -> (0.7 - 0.5) / 0.5 = 0.4
    reference = np.repeat([1, 1, 0, 0], [20, 5, 10, 15])
    prediction = np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    assert kappa(reference, prediction) == pytest.approx(0.4)
    assert balanced_accuracy(reference, prediction) == pytest.approx((20 / 25 + 15 / 25) / 2)
    assert auc(reference, prediction.astype(float)) == pytest.approx(0.7)


def test_a_grade_that_nobody_gave_still_is_a_step():
    # Grades 1 and 3 only: with quadratic weights every disagreement weighs the same, as in the plain kappa.
    reference, prediction = np.array([1, 1, 3, 3]), np.array([1, 3, 3, 3])
    assert kappa(reference, prediction, "quadratic") == pytest.approx(kappa(reference, prediction))


def test_what_a_sample_cannot_define_is_nan():
    one = np.ones(4, int)
    assert np.isnan(kappa(one, one))
    assert np.isnan(balanced_accuracy(one, np.array([1, 2, 1, 1])))
    assert np.isnan(auc(one, np.arange(4.0)))
    assert np.isnan(icc_2_1(np.ones((3, 2))))


def test_kappas_agree_with_statsmodels_and_balanced_accuracy_with_its_definition():
    for reference, prediction in random_grades(TABLES):
        table = np.zeros((5, 5))
        np.add.at(table, (reference - 1, prediction - 1), 1)
        assert kappa(reference, prediction) == pytest.approx(cohens_kappa(table).kappa, abs=1e-6)
        weighted = cohens_kappa(table, wt="quadratic").kappa
        assert kappa(reference, prediction, "quadratic") == pytest.approx(weighted, abs=1e-6)
        shares = [np.mean(prediction[reference == grade] == grade) for grade in np.unique(reference)]
        assert balanced_accuracy(reference, prediction) == pytest.approx(np.mean(shares), abs=1e-6)


def test_auc_agrees_with_the_share_of_ordered_pairs():
    generator = np.random.default_rng(5)
    for _ in range(TABLES):
        truth = np.r_[0, 1, generator.integers(0, 2, 30)]
        score = np.round(generator.random(32), 1)  # with ties
        gap = score[truth == 1][:, None] - score[truth == 0][None]
        assert auc(truth, score) == pytest.approx(np.mean((gap > 0) + 0.5 * (gap == 0)), abs=1e-6)


def test_icc_of_shrout_and_fleiss():
    # Table 2 of Shrout and Fleiss 1979, four judges and six targets: they give ICC(2,1) = 0.29.
    table = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
    assert icc_2_1(table) == pytest.approx(0.29, abs=0.005)


def residual_sum(values: np.ndarray, *factors: np.ndarray) -> float:
    """Sum of squares that a mean and these factors (one column a value) leave in the flat `values`."""
    columns = [np.ones((values.size, 1)), *(np.equal.outer(factor, np.unique(factor)) for factor in factors)]
    design = np.hstack(columns).astype(float)
    fitted = design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return float(((values - fitted) ** 2).sum())


def test_icc_and_limits_agree_with_an_analysis_of_variance():
    generator = np.random.default_rng(11)
    rows, readers = np.repeat(range(12), 2), np.tile([0, 1], 12)
    for _ in range(TABLES):
        table = generator.normal(size=(12, 1)) + generator.normal(scale=0.5, size=(12, 2)) + np.array([0.0, 0.3])
        values = table.ravel()
        full = residual_sum(values, rows, readers)
        error = full / 11
        between = (residual_sum(values, readers) - full) / 11
        shift = residual_sum(values, rows) - full
        assert icc_2_1(table) == pytest.approx(
            (between - error) / (between + error + 2 * (shift - error) / 12), abs=1e-6
        )
        difference = pd.Series(table[:, 1] - table[:, 0])
        limits = bland_altman(table[:, 0], table[:, 1])
        assert limits["upper_limit"] == pytest.approx(difference.mean() + 1.96 * np.sqrt(2 * error), abs=1e-6)
        assert limits["mean_absolute_error"] == pytest.approx(difference.abs().mean(), abs=1e-6)


def test_bland_altman_by_hand():
    found = bland_altman(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 5.0]))  # differences 1, 0, 2; SD 1
    assert found == pytest.approx(
        {"bias": 1.0, "lower_limit": 1 - 1.96, "upper_limit": 1 + 1.96, "mean_absolute_error": 1.0}
    )


def test_the_bootstrap_draws_patients_and_not_rows():
    # Two patients of ten equal rows each: the mean of a draw is 0, 0.5 or 1, each patient whole.
    patients, values = np.repeat(["a", "b"], 10), np.repeat([0.0, 1.0], 10)
    seen = set()
    estimate = bootstrap_by_patient(patients, lambda rows: seen.add(values[rows].mean()) or values[rows].mean(), 200)
    assert seen == {0.0, 0.5, 1.0}
    assert (estimate.value, estimate.low, estimate.high) == (0.5, 0.0, 1.0)
    alone = bootstrap_by_patient(np.repeat("a", 5), lambda rows: 1.0, 10)
    assert alone.value == 1.0
    assert np.isnan(alone.low)


def test_net_benefit_by_hand():
    outcome, probability = np.array([1, 1, 0, 0, 0.0]), np.array([0.9, 0.4, 0.6, 0.2, 0.1])
    # At 0.5: one true and one false positive of 5; odds 1 -> 0.2 - 0.2 = 0. At 0.25: 2 true, 1 false, odds 1/3.
    assert net_benefit(outcome, probability, 0.5) == pytest.approx(0.0)
    assert net_benefit(outcome, probability, 0.25) == pytest.approx(0.4 - 0.2 / 3)
    curve = decision_curve(outcome, probability)
    at_half = next(point for point in curve if point["threshold_prob"] == 0.5)
    assert at_half["treat_all"] == pytest.approx(0.4 - 0.6)


def test_net_benefit_and_risk_coverage_agree_with_counting():
    generator = np.random.default_rng(6)
    for _ in range(TABLES):
        outcome, probability = generator.integers(0, 2, 40).astype(float), np.round(generator.random(40), 2)
        threshold = float(generator.uniform(0.05, 0.95))
        (_, false), (_, true) = confusion_matrix(outcome, probability >= threshold, labels=[0, 1])
        expected = true / 40 - false / 40 * threshold / (1 - threshold)
        assert net_benefit(outcome, probability, threshold) == pytest.approx(expected, abs=1e-6)
        for point in risk_coverage(outcome, probability):
            kept = outcome[probability >= point["confidence"]]
            assert (point["risk"], point["coverage"]) == pytest.approx((kept.mean(), kept.size / 40), abs=1e-6)


def test_recalibration_agrees_with_a_direct_minimum_of_the_likelihood():
    generator = np.random.default_rng(2)
    probability = generator.uniform(0.05, 0.95, 300)
    outcome = (generator.random(300) < special.expit(0.4 + 0.6 * special.logit(probability))).astype(float)

    def loss(parameters):
        odds = parameters[0] + parameters[1] * special.logit(probability)
        return -np.sum(outcome * odds - np.logaddexp(0, odds))

    expected = optimize.minimize(loss, [0.0, 1.0], tol=1e-12).x
    assert fit_recalibration(outcome, probability) == pytest.approx(tuple(expected), abs=1e-4)


def test_recalibration_is_fitted_on_one_half_and_told_of_the_other():
    generator = np.random.default_rng(4)
    true = generator.uniform(0.1, 0.9, 400)
    outcome = (generator.random(400) < true).astype(float)
    bad = special.expit(special.logit(true) * 2 + 1)  # too extreme and too high
    study = recalibration_study(outcome, bad, draws=50)
    assert study["fitted_on"] + study["reported_on"] == 400
    assert abs(study["after"]["calibration_slope"].value - 1) < abs(study["before"]["calibration_slope"].value - 1)
    assert study["after"]["brier"].value < study["before"]["brier"].value
    few = recalibration_study(np.r_[np.ones(3), np.zeros(40)], np.full(43, 0.3))
    assert few["not_measurable"] == "3 patients with outcome 1; 10 are needed"


def test_risk_coverage_by_hand():
    error, confidence = np.array([0.4, 0.1, 0.3, 0.2]), np.array([0.5, 0.9, 0.5, 0.7])
    curve = risk_coverage(error, confidence)
    assert [point["coverage"] for point in curve] == [0.25, 0.5, 1.0]  # the two of 0.5 enter together
    assert [point["risk"] for point in curve] == pytest.approx([0.1, 0.15, 0.25])
    assert area_under_risk_coverage(error, confidence) == pytest.approx((0.1 + 0.15 + 0.7 / 3 + 0.25) / 4)
