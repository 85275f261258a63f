"""Discrimination and calibration of predicted probabilities, with bootstrap intervals. No torch: runs at a partner."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.metrics import brier_score_loss, roc_auc_score
from statsmodels.tools.sm_exceptions import ConvergenceWarning, PerfectSeparationWarning

Array = NDArray[np.float64]

Measure = Callable[[Array, Array], dict[str, float]]  # (patient,) outcome and probability -> values by name

METRICS = ("auc", "brier", "calibration_intercept", "calibration_slope", "expected_over_observed")
PROB_EDGE = 1e-6  # probabilities are kept this far from 0 and 1 before their log odds are taken


@dataclass(frozen=True)
class Estimate:
    """A value with its interval."""

    value: float
    low: float
    high: float


def calibration(outcome: Array, probability: Array) -> tuple[float, float]:
    """(intercept, slope) of calibration (Cox 1958; Van Calster 2019, doi 10.1186/s12916-019-1466-7).

    Intercept: of the logistic regression of `outcome` on an offset logit(probability), 0 when the mean is right. Slope:
    coefficient of logit(probability), 1 when predictions are spread rightly, below 1 when they are too extreme. Both
    are nan where the regression has no finite answer.
    """
    log_odds = logit(np.clip(probability, PROB_EDGE, 1 - PROB_EDGE))
    binomial = sm.families.Binomial()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PerfectSeparationWarning)
            warnings.simplefilter("error", ConvergenceWarning)
            in_the_large = sm.GLM(outcome, np.ones((len(outcome), 1)), family=binomial, offset=log_odds).fit()
            if np.ptp(log_odds) < PROB_EDGE:
                return float(in_the_large.params[0]), float("nan")
            both = sm.GLM(outcome, sm.add_constant(log_odds), family=binomial).fit()
    except (PerfectSeparationWarning, ConvergenceWarning, ValueError, np.linalg.LinAlgError):
        return float("nan"), float("nan")
    return float(in_the_large.params[0]), float(both.params[1])


def performance(outcome: Array, probability: Array) -> dict[str, float]:
    """The METRICS of (patient,) probabilities against (patient,) outcomes 0 or 1; both outcomes must occur."""
    intercept, slope = calibration(outcome, probability)
    return {
        "auc": float(roc_auc_score(outcome, probability)),
        "brier": float(brier_score_loss(outcome, probability)),
        "calibration_intercept": intercept,
        "calibration_slope": slope,
        "expected_over_observed": float(np.mean(probability) / np.mean(outcome)),
    }


def resample(outcome: Array, generator: np.random.Generator) -> NDArray[np.intp]:
    """(patient,) indices drawn with replacement; drawn again until both outcomes occur."""
    while True:
        drawn = generator.integers(0, len(outcome), len(outcome))
        if 0 < outcome[drawn].sum() < len(outcome):
            return drawn


def bootstrap_intervals(
    outcome: Array, probability: Array, resamples: int = 500, level: float = 0.9, seed: int = 0
) -> dict[str, Estimate]:
    """METRICS with percentile intervals over patients drawn with replacement; predictions are not refitted."""
    generator = np.random.default_rng(seed)
    point = performance(outcome, probability)
    drawn = [resample(outcome, generator) for _ in range(resamples)]
    return _intervals(point, [performance(outcome[rows], probability[rows]) for rows in drawn], level)


def _intervals(point: Mapping[str, float], draws: list[dict[str, float]], level: float) -> dict[str, Estimate]:
    limits = [(1 - level) / 2, (1 + level) / 2]
    table = {name: np.array([draw[name] for draw in draws]) for name in point}
    edges = {name: np.quantile(values[np.isfinite(values)], limits) for name, values in table.items()}
    return {name: Estimate(point[name], float(edges[name][0]), float(edges[name][1])) for name in point}


@dataclass(frozen=True)
class Optimism:
    """Apparent performance, and what is left of it after correction."""

    apparent: dict[str, Estimate]
    corrected: dict[str, Estimate]


def correct_optimism(
    outcome: Array,
    fit: Callable[[NDArray[np.intp]], Callable[[NDArray[np.intp]], Array]],
    resamples: int = 200,
    level: float = 0.9,
    seed: int = 0,
    measure: Measure = performance,
) -> Optimism:
    """Optimism-corrected performance (Harrell 1996), the whole fit repeated in every bootstrap sample.

    Args:
        outcome: (patient,) 0 or 1.
        fit: takes row numbers to fit on (repeats allowed) and gives a function from row numbers to probabilities.
        resamples: bootstrap samples.
        level: of the intervals: those of the apparent performance over resampled patients, moved by the optimism
            (location-shifted bootstrap interval, Noma 2021, doi 10.1002/sim.9148).
        seed: of the resampling.
        measure: what is corrected; METRICS unless told otherwise.
    """
    everyone = np.arange(len(outcome))
    probability = fit(everyone)(everyone)
    apparent = measure(outcome, probability)
    generator = np.random.default_rng(seed)
    within, outside, resampled = [], [], []
    for _ in range(resamples):
        rows = resample(outcome, generator)
        predict = fit(rows)
        within.append(measure(outcome[rows], predict(rows)))
        outside.append(measure(outcome, predict(everyone)))
        resampled.append(measure(outcome[rows], probability[rows]))
    intervals, corrected = _intervals(apparent, resampled, level), {}
    for name, shown in intervals.items():
        gap = float(np.nanmean([inner[name] - outer[name] for inner, outer in zip(within, outside, strict=True)]))
        corrected[name] = Estimate(shown.value - gap, shown.low - gap, shown.high - gap)
    return Optimism(intervals, corrected)


def calibration_curve(outcome: Array, probability: Array, at: Array) -> Array:
    """(point,) share with the outcome at the predictions `at`, smoothed: local regression without robust weights.

    Lowess (Cleveland 1979, doi 10.1080/01621459.1979.10481038) over two thirds of the patients at each point, as usual
    for calibration (Austin and Steyerberg 2014, doi 10.1002/sim.5941), held inside 0..1. nan where predictions are all
    alike.
    """
    if np.ptp(probability) < PROB_EDGE:
        return np.full(len(at), np.nan)
    smooth = sm.nonparametric.lowess(outcome, probability, frac=2 / 3, it=0, xvals=np.asarray(at, float))
    return np.asarray(np.clip(smooth, 0.0, 1.0))


def calibration_groups(outcome: Array, probability: Array, groups: int = 5) -> list[dict[str, float]]:
    """Mean prediction, observed share and number of patients in groups of rising prediction, for a calibration plot."""
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, groups) if len(part)]
    return [
        {"predicted": float(probability[p].mean()), "observed": float(outcome[p].mean()), "n": len(p)} for p in parts
    ]
