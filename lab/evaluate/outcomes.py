"""What probabilities are worth: decision curves, recalibration, and what abstaining buys.

AUC, Brier score, calibration intercept and slope and E/O, with their intervals, are those of `lab.evaluate.statistics`.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy.special import expit, logit
from statsmodels.tools.sm_exceptions import PerfectSeparationError, PerfectSeparationWarning

from lab.evaluate.statistics import PROB_EDGE, bootstrap_intervals

Array = NDArray[np.float64]
THRESHOLDS_PROB = tuple(np.round(np.arange(0.05, 0.96, 0.05), 2).tolist())
MIN_OF_EACH = 5  # patients with and without the outcome in each half, below which nothing is refitted


def net_benefit(outcome: Array, probability: Array, threshold_prob: float) -> float:
    """TP/n - FP/n * t/(1 - t) when all with `probability` >= t are treated (Vickers 2006, 10.1177/0272989X06295361)."""
    treated = probability >= threshold_prob
    true = float(np.mean(treated & (outcome == 1)))
    false = float(np.mean(treated & (outcome == 0)))
    return true - false * threshold_prob / (1 - threshold_prob)


def decision_curve(outcome: Array, probability: Array) -> list[dict[str, float]]:
    """Net benefit of the model, of treating all and of treating none (0) at THRESHOLDS_PROB."""
    everyone = np.ones_like(probability)
    return [
        {
            "threshold_prob": threshold,
            "model": net_benefit(outcome, probability, threshold),
            "treat_all": net_benefit(outcome, everyone, threshold),
            "treat_none": 0.0,
        }
        for threshold in THRESHOLDS_PROB
    ]


def fit_recalibration(outcome: Array, probability: Array) -> tuple[float, float]:
    """(intercept, slope) of logit P(outcome) = intercept + slope * logit(probability); Cox 1958.

    Raises ValueError when the outcomes are separated perfectly, so that no finite answer exists.
    """
    log_odds = logit(np.clip(probability, PROB_EDGE, 1 - PROB_EDGE))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PerfectSeparationWarning)
            fitted = sm.GLM(outcome, sm.add_constant(log_odds), family=sm.families.Binomial()).fit()
    except (PerfectSeparationWarning, PerfectSeparationError) as error:
        raise ValueError("the outcomes are separated perfectly") from error
    intercept, slope = fitted.params
    return float(intercept), float(slope)


def recalibrate(probability: Array, intercept: float, slope: float) -> Array:
    """Probabilities after logistic recalibration."""
    return expit(intercept + slope * logit(np.clip(probability, PROB_EDGE, 1 - PROB_EDGE)))


def halves(outcome: Array, least: int, seed: int = 0) -> NDArray[np.bool_]:
    """(patient,) true for a random half of the patients with and a random half of those without the outcome.

    Raises ValueError when a half would hold fewer than `least` of either outcome.
    """
    generator = np.random.default_rng(seed)
    first = np.zeros(len(outcome), bool)
    for value in (0, 1):
        rows = generator.permutation(np.flatnonzero(outcome == value))
        if len(rows) < 2 * least:
            raise ValueError(f"{len(rows)} patients with outcome {value}; {2 * least} are needed")
        first[rows[: len(rows) // 2]] = True
    return first


def before_and_after(outcome: Array, before: Array, after: Array, draws: int, seed: int = 0) -> dict[str, Any]:
    """Performance of two predictions of the same patients, with 95 % intervals."""
    return {
        "before": bootstrap_intervals(outcome, before, resamples=draws, level=0.95, seed=seed),
        "after": bootstrap_intervals(outcome, after, resamples=draws, level=0.95, seed=seed),
    }


def recalibration_study(outcome: Array, probability: Array, seed: int = 0, draws: int = 500) -> dict[str, Any]:
    """Intercept and slope fitted on a random half of the patients, reported on the other half, before and after.

    Both halves get the same share of outcomes. One row a patient.
    """
    try:
        first = halves(outcome, MIN_OF_EACH, seed)
        intercept, slope = fit_recalibration(outcome[first], probability[first])
    except ValueError as error:
        return {"not_measurable": str(error)}
    after = recalibrate(probability[~first], intercept, slope)
    return {
        "how": f"Intercept {intercept:.3f} and slope {slope:.3f} of the log odds.",
        "intercept": intercept,
        "slope": slope,
        "fitted_on": int(first.sum()),
        "reported_on": int((~first).sum()),
        **before_and_after(outcome[~first], probability[~first], after, draws, seed),
    }


def risk_coverage(error: Array, confidence: Array) -> list[dict[str, float]]:
    """Mean error of the share of cases with the highest confidence, from the most confident alone to all.

    El-Yaniv and Wiener 2010 (JMLR 11:1605). Cases of equal confidence enter together.
    """
    order = np.argsort(-confidence, kind="stable")
    error, confidence = error[order], confidence[order]
    mean = np.cumsum(error) / np.arange(1, len(error) + 1)
    last = np.append(confidence[1:] != confidence[:-1], True)
    return [
        {"coverage": (n + 1) / len(error), "risk": float(mean[n]), "confidence": float(confidence[n])}
        for n in np.flatnonzero(last).tolist()
    ]


def area_under_risk_coverage(error: Array, confidence: Array) -> float:
    """Mean risk over all coverages, equal confidences in their worst order; smaller is better."""
    order = np.lexsort((-error, -confidence))
    return float((np.cumsum(error[order]) / np.arange(1, len(error) + 1)).mean())
