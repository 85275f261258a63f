"""Evaluate one equation for one patient: probability, 90 % interval, and what each missing item costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

from spine.fuse.missing import rows, spread, tried_values
from spine.fuse.models import Array, OutcomeModel, Predictor
from spine.fuse.wording import called, shown

Known = Mapping[str, float | str]
EXTRAPOLATION_SD = 0.1  # logit, per standard deviation beyond the limit, of a fact that is no predictor; our choice
Z_90 = 1.6448536269514722  # 95th percentile of the standard normal distribution


@dataclass(frozen=True)
class Answer:
    """Probability of success and the interval that holds the patient's own with probability 0.9."""

    probability: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """Width of the interval."""
        return self.high - self.low


@dataclass(frozen=True)
class MissingItem:
    """One predictor that the record does not hold."""

    field: str
    width_if_known: float  # expected width of the interval once it is known
    narrows_by: float  # width now minus that


def success(link: str, eta: Any) -> Any:
    """P(success) of the linear predictor `eta`; `link` is 'logit' or 'probit'."""
    return ndtr(eta) if link == "probit" else 1 / (1 + np.exp(-np.asarray(eta)))


def extrapolation_variance(model: OutcomeModel, known: Known, z_limit: float) -> tuple[float, list[str]]:
    """Extra variance of the linear predictor for values outside the cohort, and the warnings.

    Beyond `z_limit` standard deviations the effect of a predictor was hardly seen: its contribution from there on is
    given a standard deviation of its own size, or EXTRAPOLATION_SD for a fact of the cohort that is no predictor (age).
    """
    variance, warnings = 0.0, []
    cohort = model.facts.get("cohort", {})
    spreads = [(p, p.coefficients[0]) for p in model.predictors if p.kind == "continuous"]
    spreads += [
        (Predictor(name, "continuous", (0.0,), fact["mean"], fact["scale"]), EXTRAPOLATION_SD)
        for name, fact in cohort.items()
    ]
    for predictor, effect in spreads:
        name, mean, scale = predictor.field, predictor.mean, predictor.scale
        if name not in known:
            continue
        value = predictor.number(known[name])
        excess = abs(value - mean) / scale - z_limit
        if excess > 0:
            variance += (effect * excess) ** 2
            usual = f"mean {mean:.1f}, standard deviation {scale:.1f}"
            if predictor.codes:
                usual = f"there on average {shown(predictor, mean)}"
            warnings.append(
                f"{called(name)}: {shown(predictor, value)} lies outside the cohort of the equation ({usual}); "
                "the interval was widened"
            )
    return variance, warnings


def evaluate(
    model: OutcomeModel, known: Known, fields: Mapping[str, Any], extra_variance: float = 0.0, transfer: bool = True
) -> Answer:
    """Probability and 90 % interval of `model` for the coded record `known`.

    Nothing missing: the probability is the equation's own, and the interval is that of a normal linear predictor with
    the variance of the coefficients (and of `transfer` to another hospital) plus `extra_variance`. With items missing:
    the probability is the mean, and the limits are the 5th and 95th percentile, over what the missing items may be.
    """
    covariance = model.covariance + model.transfer if transfer else model.covariance
    if not missing_fields(model, known):
        return _complete(model, known, covariance, extra_variance)
    design, noise = rows(model, known, fields)
    return _summary(model.link, design, model.parameters, covariance, noise, extra_variance)


def _complete(model: OutcomeModel, known: Known, covariance: Array, extra_variance: float) -> Answer:
    """Answer with every missing item at the cohort's mean, as if it were known to lie there."""
    parts = [p.columns(known[p.field]) if p.field in known else p.mean_columns for p in model.predictors]
    row = np.concatenate([[1.0], *parts])
    eta = float(row @ model.parameters)
    reach = Z_90 * float(np.sqrt(row @ covariance @ row + extra_variance))
    return Answer(*(float(success(model.link, eta + shift)) for shift in (0.0, -reach, reach)))


def if_complete(model: OutcomeModel, known: Known, extra_variance: float = 0.0) -> Answer:
    """The answer if the missing items turned out to be the cohort's mean: how wide the interval is without them."""
    return _complete(model, known, model.covariance + model.transfer, extra_variance)


def _summary(
    link: str, design: Array, parameters: Array, covariance: Array, noise: Array, extra_variance: float
) -> Answer:
    eta = design @ parameters
    spread_of_eta = np.sqrt(np.einsum("di,ij,dj->d", design, covariance, design, optimize=True) + extra_variance)
    low, high = np.quantile(success(link, eta + spread_of_eta * noise), [0.05, 0.95])
    return Answer(float(np.mean(success(link, eta))), float(low), float(high))


def missing_fields(model: OutcomeModel, known: Known) -> list[str]:
    """Predictors of `model` that `known` does not hold, in the order of the equation."""
    return [predictor.field for predictor in model.predictors if predictor.field not in known]


def known_share(model: OutcomeModel, known: Known) -> float:
    """Share (0..1) of the predictors' variance in the cohort that the known predictors carry."""
    variances = {predictor.field: predictor.variance for predictor in model.predictors}
    total = sum(variances.values())
    return sum(v for name, v in variances.items() if name in known) / total if total else 1.0


def worth_of_items(
    model: OutcomeModel, known: Known, fields: Mapping[str, Any], extra_variance: float = 0.0
) -> tuple[MissingItem, ...]:
    """What each missing item would narrow the interval by, averaged over what it may turn out to be; best first.

    The other missing items keep the same draws, so that items differ by what they say and not by chance.
    """
    design, noise = rows(model, known, fields)
    covariance = model.covariance + model.transfer
    now = _summary(model.link, design, model.parameters, covariance, noise, extra_variance).width
    items, start = [], 1
    for predictor in model.predictors:
        stop = start + len(predictor.coefficients)
        if predictor.field not in known:
            width = 0.0
            for value, weight in tried_values(*spread(predictor, fields)):
                fixed = design.copy()
                fixed[:, start:stop] = predictor.columns(value)
                width += weight * _summary(model.link, fixed, model.parameters, covariance, noise, extra_variance).width
            items.append(MissingItem(predictor.field, width, now - width))
        start = stop
    return tuple(sorted(items, key=lambda item: (-item.narrows_by, item.field)))
