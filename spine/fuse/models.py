"""Outcome equations as data: published ones from resources/outcome_models.json, learnt ones from model/fusion.json.

Every equation is brought to one form, P(success) = link(constant + columns . coefficients), with link logistic or the
normal distribution function. A column is a standardised number, a flag (0, 1) or one level of a category.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spine.resources import RESOURCES

Array = NDArray[np.float64]

MODELS_FILE = RESOURCES / "outcome_models.json"
LOG_ODDS_PER_PROBIT = 1.702  # Haley 1952: logistic(1.702 x) lies within 0.01 of Phi(x)


@dataclass(frozen=True)
class Predictor:
    """One predictor of an equation and how it is spread in the cohort that the equation was fitted on."""

    field: str  # name in the clinical record, or 'imaging.<feature>'
    kind: str  # 'continuous', 'binary' or 'categorical'
    coefficients: tuple[float, ...]  # one a column, on the scale of the link, positive = success more likely
    mean: float = 0.0  # continuous only
    scale: float = 1.0
    levels: tuple[str, ...] = ()  # categorical only
    shares: tuple[float, ...] = ()  # binary: share with the flag; categorical: share of each level
    codes: Mapping[str, float] = dataclasses.field(
        default_factory=dict
    )  # continuous fields that the record holds in words

    def number(self, value: float | str) -> float:
        """Number of a continuous or binary `value`, words by their code."""
        return float(self.codes[value]) if isinstance(value, str) else float(value)

    def columns(self, value: float | str) -> Array:
        """(column,): how `value` enters the equation."""
        if self.kind == "categorical":
            return np.array([float(value == level) for level in self.levels])
        return np.array([(self.number(value) - self.mean) / self.scale])

    @property
    def mean_columns(self) -> Array:
        """(column,): mean of the columns in the cohort."""
        return np.zeros(1) if self.kind == "continuous" else np.asarray(self.shares, dtype=float)

    @property
    def variance(self) -> float:
        """Variance of the predictor's contribution to the linear predictor in the cohort."""
        weights = np.asarray(self.coefficients)
        if self.kind == "continuous":
            return float(weights[0] ** 2)
        shares = np.asarray(self.shares)
        if self.kind == "binary":
            return float(weights[0] ** 2 * shares[0] * (1 - shares[0]))
        return float(shares @ weights**2 - (shares @ weights) ** 2)


@dataclass(frozen=True)
class OutcomeModel:
    """One equation: for whom, of what, and with which uncertainty."""

    id: str
    region: str
    indication: str
    treatment: str
    outcome: str
    horizon_months: int
    link: str  # 'logit' or 'probit'
    constant: float
    predictors: tuple[Predictor, ...]
    covariance: Array  # (1 + column, 1 + column): of the constant and the coefficients
    transfer: Array  # the same shape: the part of `covariance` that allows for another hospital
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # n, source, performance, in_words, ...
    origin: str = "published"  # or 'local': updated with a cohort

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """What the equation answers: region, indication, treatment, outcome, horizon in months."""
        return self.region, self.indication, self.treatment, self.outcome, self.horizon_months

    @property
    def coefficients(self) -> Array:
        """(column,)."""
        return np.concatenate([predictor.coefficients for predictor in self.predictors])

    @property
    def mean_row(self) -> Array:
        """(1 + column,): the constant's one and the cohort's mean columns."""
        return np.concatenate([[1.0], *(predictor.mean_columns for predictor in self.predictors)])

    @property
    def parameters(self) -> Array:
        """(1 + column,): constant and coefficients."""
        return np.concatenate([[self.constant], self.coefficients])


@lru_cache(maxsize=1)
def read_table() -> dict[str, Any]:
    """resources/outcome_models.json: sources, notes, transfer, fields and models."""
    table: dict[str, Any] = json.loads(MODELS_FILE.read_text(encoding="utf-8"))
    return table


def predictor_of(entry: Mapping[str, Any], sign: float = 1.0) -> Predictor:
    """Predictor of one entry of `predictors`; `sign` -1 turns coefficients of a worse outcome round."""
    spec = read_table()["fields"].get(entry["field"], {})
    return Predictor(
        field=entry["field"],
        kind=entry["kind"],
        coefficients=tuple(sign * value for value in entry["coefficients"]),
        mean=entry.get("mean", 0.0),
        scale=entry.get("scale", 1.0),
        levels=tuple(entry.get("levels", ())),
        shares=tuple(entry.get("shares", ())),
        codes=spec.get("codes", {}) if entry["kind"] == "continuous" else {},
    )


def odds_ratio_predictor(entry: Mapping[str, Any]) -> tuple[Predictor, float]:
    """Predictor and standard error of its coefficient from an odds ratio with its 95 % interval."""
    per_column = entry.get("scale", 1.0) / entry.get("odds_ratio_unit", 1.0)
    low, high = np.log(entry["odds_ratio_ci_95"])
    coefficient = float(np.log(entry["odds_ratio"])) * per_column
    return predictor_of({**entry, "coefficients": [coefficient]}), float(high - low) / (2 * 1.959964) * per_column
