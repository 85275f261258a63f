"""Agreement of two readers of one kind: grades (kappa, balanced accuracy, AUC) and measurements (ICC, Bland-Altman).

A statistic that its sample cannot define (a single class, no spread) is nan, never 0 or 1. Intervals come from
resampling patients, not levels: the discs of one person resemble each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score, recall_score, roc_auc_score

from lab.evaluate.statistics import Estimate

Array = NDArray[np.float64]
Statistic = Callable[[NDArray[np.intp]], float]
LIMITS = 1.96  # standard deviations to the limits of agreement


def kappa(reference: NDArray[Any], prediction: NDArray[Any], weights: str | None = None) -> float:
    """Cohen's kappa (1960); weights None, 'linear' or 'quadratic' (Cohen 1968) by the distance of the grades.

    nan when both readers use one and the same grade throughout. Weights count steps between whole-number grades,
    also where a grade in between does not occur (scikit-learn counts steps between the labels that it is given).
    """
    used = np.union1d(reference, prediction)
    if used.size < 2:
        return float("nan")
    labels = np.arange(int(used.min()), int(used.max()) + 1)
    return float(cohen_kappa_score(reference.astype(int), prediction.astype(int), labels=labels, weights=weights))


def balanced_accuracy(reference: NDArray[Any], prediction: NDArray[Any]) -> float:
    """Mean over the grades of the reference of the share that was graded the same; nan for a single grade."""
    present = np.unique(reference)
    if present.size < 2:
        return float("nan")
    return float(recall_score(reference, prediction, labels=present, average="macro", zero_division=0))


def auc(reference: NDArray[Any], score: Array) -> float:
    """Area under the ROC curve of `score` for a reference of 0 and 1; nan when only one of them occurs."""
    if np.unique(reference).size < 2:
        return float("nan")
    return float(roc_auc_score(reference, score))


def icc_2_1(values: Array) -> float:
    """ICC(2,1): absolute agreement of single measurements, readers a random sample, two-way random effects.

    (MSR - MSE) / (MSR + (k - 1) MSE + k (MSC - MSE) / n); Shrout and Fleiss 1979, doi 10.1037/0033-2909.86.2.420.

    Args:
        values: (subject, reader).
    """
    n, k = values.shape
    if n < 2 or np.ptp(values) == 0:
        return float("nan")
    mean = values.mean()
    rows = k * float(((values.mean(1) - mean) ** 2).sum()) / (n - 1)
    columns = n * float(((values.mean(0) - mean) ** 2).sum()) / (k - 1)
    rest = values - values.mean(1, keepdims=True) - values.mean(0, keepdims=True) + mean
    error = float((rest**2).sum()) / ((n - 1) * (k - 1))
    denominator = rows + (k - 1) * error + k * (columns - error) / n
    return (rows - error) / denominator if denominator else float("nan")


def bland_altman(reference: Array, prediction: Array) -> dict[str, float]:
    """Bias (prediction minus reference) and 95 % limits of agreement, bias +/- 1.96 SD of the differences.

    Bland and Altman 1986, doi 10.1016/S0140-6736(86)90837-8. The limits are nan for fewer than two pairs.
    """
    difference = prediction - reference
    bias = float(difference.mean())
    spread = float(difference.std(ddof=1)) if difference.size > 1 else float("nan")
    return {
        "bias": bias,
        "lower_limit": bias - LIMITS * spread,
        "upper_limit": bias + LIMITS * spread,
        "mean_absolute_error": float(np.abs(difference).mean()),
    }


def bootstrap_by_patient(
    patients: NDArray[Any], statistic: Statistic, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> Estimate:
    """`statistic` of all rows with its percentile interval over patients drawn with replacement.

    Args:
        patients: (row,) who each row belongs to.
        statistic: takes row numbers (repeats allowed); draws for which it is nan are left out.
        draws: samples of patients.
        level: of the interval.
        seed: of the drawing.
    """
    point = statistic(np.arange(len(patients)))
    names, owner = np.unique(patients, return_inverse=True)
    order = np.argsort(owner, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(owner))[:-1])
    if len(names) < 2:
        return Estimate(point, float("nan"), float("nan"))
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        drawn = generator.integers(0, len(names), len(names))
        values.append(statistic(np.concatenate([rows[one] for one in drawn])))
    kept = np.asarray(values)[np.isfinite(values)]
    if kept.size == 0:
        return Estimate(point, float("nan"), float("nan"))
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(point, float(low), float(high))
