"""Refit on a real cohort: apparent, corrected for optimism, and on patients held back; and a prior that is updated.

The cohort is `clinical/lbp_orig.csv`: 159 patients with low back pain, 14 predictors with real gaps, outcome chronic
pain (from the psfmi package, GPL >= 2: internal checks only, nothing learnt here is shipped).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

from lab.evaluate.statistics import (
    METRICS,
    Estimate,
    Optimism,
    calibration_curve,
    calibration_groups,
    correct_optimism,
    performance,
)
from lab.train.fusion_posterior import Normal, predict, prior_of, update, weak_prior
from spine.fuse.models import OutcomeModel, Predictor

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

OUTCOME = "Chronic"
FLAGS = ("Gender", "Radiation", "Smoking")
IMPUTATIONS = 10
TRAIN_SHARE = 2 / 3
LEVEL = 0.95  # of every interval here
CURVE_POINTS = 21
TRANSFER_INTERCEPT_SD, TRANSFER_COEFFICIENT_SD = 0.5, 0.1  # as the runtime allows for another hospital


def read_table(path: Path) -> tuple[Array, Array, tuple[Predictor, ...]]:
    """((patient, column) standardised with nan where missing, (patient,) outcome 0 or 1, predictors)."""
    table = pd.read_csv(path)
    outcome = table.pop(OUTCOME).to_numpy(dtype=float)
    predictors, columns = [], []
    for name in table.columns:
        values = table[name].to_numpy(dtype=float)
        if name in FLAGS:
            predictors.append(Predictor(name, "binary", (0.0,), shares=(float(np.nanmean(values)),)))
            columns.append(values)
        else:
            mean, scale = float(np.nanmean(values)), float(np.nanstd(values))
            predictors.append(Predictor(name, "continuous", (0.0,), mean=mean, scale=scale))
            columns.append((values - mean) / scale)
    return np.column_stack(columns), outcome, tuple(predictors)


def blank_model(predictors: Sequence[Predictor], prior: Normal) -> OutcomeModel:
    """An equation that knows nothing yet."""
    return OutcomeModel(
        id="cohort",
        region="lumbar",
        indication="low back pain",
        treatment="none",
        outcome="chronic pain",
        horizon_months=12,
        link="logit",
        constant=0.0,
        predictors=tuple(predictors),
        covariance=prior.covariance,
        transfer=np.zeros_like(prior.covariance),
    )


def transferred(model: OutcomeModel) -> Normal:
    """Prior for other patients from a fitted equation: its posterior, widened as for another hospital."""
    size = len(model.parameters)
    widen = np.diag([TRANSFER_INTERCEPT_SD**2] + [TRANSFER_COEFFICIENT_SD**2] * (size - 1))
    posterior = prior_of(model)
    return Normal(posterior.mean, posterior.covariance + widen)


def refit_study(path: Path, bootstrap: int, splits: int, seed: int = 0) -> dict[str, Any]:
    """Apparent, optimism-corrected and held-back performance and calibration curve of the refit on `path`."""
    columns, outcome, predictors = read_table(path)
    prior = weak_prior(predictors)
    blank = blank_model(predictors, prior)

    def fit(rows: Rows) -> Any:
        model = update(blank, columns[rows], outcome[rows], prior, IMPUTATIONS, seed)
        return lambda those: predict(model, columns[those])

    everyone = np.arange(len(outcome))
    shown = fit(everyone)(everyone)
    at = np.linspace(*np.quantile(shown, [0.05, 0.95]), CURVE_POINTS)

    def measure(observed: Array, probability: Array) -> dict[str, float]:
        curve = calibration_curve(observed, probability, at)
        return performance(observed, probability) | {_point(i): float(value) for i, value in enumerate(curve)}

    corrected = correct_optimism(outcome, fit, bootstrap, LEVEL, seed, measure)
    generator = np.random.default_rng(seed)
    held_back, curves = [], []
    for _ in range(splits):
        train, test = split(outcome, generator)
        probability = fit(train)(test)
        held_back.append(performance(outcome[test], probability))
        curves.append(calibration_curve(outcome[test], probability, at))
    return {
        "patients": len(outcome),
        "successes": int(outcome.sum()),
        "missing_values": int(np.isnan(columns).sum()),
        "complete_patients": int((~np.isnan(columns).any(axis=1)).sum()),
        "bootstrap": bootstrap,
        "splits": splits,
        "level": LEVEL,
        "apparent": {name: asdict(corrected.apparent[name]) for name in METRICS},
        "optimism_corrected": {name: asdict(corrected.corrected[name]) for name in METRICS},
        "held_back": over_repeats(held_back),
        "groups_apparent": [group | _share_interval(group) for group in calibration_groups(outcome, shown)],
        "curve": {"predicted": at.tolist(), **_curves(corrected), "held_back": _over_splits(np.array(curves))},
    }


def _point(number: int) -> str:
    return f"curve_{number}"


def _curves(found: Optimism) -> dict[str, Any]:
    """Apparent and corrected calibration curve with limits; a share cannot leave 0..1, also when it is corrected."""

    def columns(values: dict[str, Estimate]) -> dict[str, list[float]]:
        points = [values[_point(i)] for i in range(CURVE_POINTS)]
        return {name: [min(1.0, max(0.0, getattr(p, name))) for p in points] for name in ("value", "low", "high")}

    return {"apparent": columns(found.apparent), "optimism_corrected": columns(found.corrected)}


def _over_splits(curves: Array) -> dict[str, list[float]]:
    """Mean and percentiles of (split, point) curves on held-back patients."""
    low, high = np.nanquantile(curves, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return {"value": np.nanmean(curves, axis=0).tolist(), "low": low.tolist(), "high": high.tolist()}


def _share_interval(group: dict[str, float]) -> dict[str, float]:
    """Wilson's interval (1927) of the observed share in one calibration group."""
    low, high = proportion_confint(round(group["observed"] * group["n"]), group["n"], 1 - LEVEL, "wilson")
    return {"low": float(low), "high": float(high)}


def split(outcome: Array, generator: np.random.Generator) -> tuple[Rows, Rows]:
    """(train, test) patients, two thirds to one, the same share of outcomes in both; every patient in one of them."""
    train: list[int] = []
    for value in (0.0, 1.0):
        members = generator.permutation(np.flatnonzero(outcome == value))
        train.extend(int(i) for i in members[: round(TRAIN_SHARE * len(members))])
    rows = np.sort(np.array(train))
    return rows, np.setdiff1d(np.arange(len(outcome)), rows)


def over_repeats(results: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean of each metric over repeats, with percentiles at LEVEL; repeats without a finite value left out."""
    table = {}
    for name in METRICS:
        values = np.array([result[name] for result in results])
        values = values[np.isfinite(values)]
        low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        table[name] = {"value": float(values.mean()), "low": float(low), "high": float(high)}
    return table


def update_study(path: Path, repeats: int, seed: int = 0) -> dict[str, Any]:
    """What updating is worth on real records: an equation from one third, updated on the second, tried on the last.

    Compared on the last third: the equation of the first third as it is, a fit on the second third alone, and the
    equation updated with the second third. The first third's success rate is made unlike the others' by leaving out
    half of its patients with success, as an equation from elsewhere would be.
    """
    columns, outcome, predictors = read_table(path)
    prior = weak_prior(predictors)
    blank = blank_model(predictors, prior)
    generator = np.random.default_rng(seed)
    found: dict[str, list[dict[str, float]]] = {"equation as it is": [], "local data alone": [], "updated": []}
    for _ in range(repeats):
        rest, test = split(outcome, generator)
        order = generator.permutation(rest)
        elsewhere, local = order[: len(order) // 2], order[len(order) // 2 :]
        successes = elsewhere[outcome[elsewhere] == 1]
        elsewhere = np.setdiff1d(elsewhere, successes[: len(successes) // 2])
        published = update(blank, columns[elsewhere], outcome[elsewhere], prior, IMPUTATIONS, seed)
        carried = transferred(published)
        models = {
            "equation as it is": published,
            "local data alone": update(blank, columns[local], outcome[local], prior, IMPUTATIONS, seed),
            "updated": update(
                replace(published, origin="published"), columns[local], outcome[local], carried, IMPUTATIONS, seed
            ),
        }
        for name, model in models.items():
            found[name].append(performance(outcome[test], predict(model, columns[test])))
    return {"repeats": repeats, "results": {name: over_repeats(values) for name, values in found.items()}}
