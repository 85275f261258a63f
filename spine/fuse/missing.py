"""Missing predictors: integrated over the distribution that the cohort publishes, never filled in silently.

Only means, standard deviations and shares are published. A continuous predictor is given the discrete distribution of
largest entropy on its allowed values with that mean and standard deviation (Jaynes 1957); predictors are taken as
independent because no correlation is published. All integrals use one fixed Sobol sequence, so answers repeat exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import ndtri

from spine.fuse.models import Array, OutcomeModel, Predictor

DRAWS_LOG2 = 12  # 4,096 points
SEED = 20260401
VALUES_TRIED = 9  # of a missing item, when the worth of knowing it is computed


@lru_cache(maxsize=256)
def largest_entropy(mean: float, sd: float, low: float, high: float, step: float) -> tuple[Array, Array]:
    """(values, probabilities) of largest entropy on low, low + step ... high with this mean and standard deviation.

    The distribution is proportional to exp(a z + b z^2); a and b minimise the convex dual. A mean outside the range
    or a standard deviation that the range cannot hold gives the nearest such distribution.
    """
    values = np.arange(low, high + step / 2, step)
    z = (values - mean) / sd
    powers = np.stack([z, z**2 - 1.0])

    def dual(weights: Array) -> tuple[float, Array]:
        exponent = weights @ powers
        top = exponent.max()
        mass = np.exp(exponent - top)
        return float(np.log(mass.sum()) + top), powers @ (mass / mass.sum())

    solved = minimize(dual, np.array([0.0, -0.5]), jac=True, method="BFGS", options={"gtol": 1e-9})
    exponent = solved.x @ powers
    mass = np.exp(exponent - exponent.max())
    return values, mass / mass.sum()


def spread(predictor: Predictor, fields: Mapping[str, Any]) -> tuple[list[float | str], Array]:
    """(values, probabilities) that `predictor` takes in the cohort. Values are in the record's coding."""
    if predictor.kind == "categorical":
        return list(predictor.levels), np.asarray(predictor.shares)
    if predictor.kind == "binary":
        return [0.0, 1.0], np.array([1 - predictor.shares[0], predictor.shares[0]])
    low, high, step = support(fields.get(predictor.field, {}), predictor)
    values, probabilities = largest_entropy(predictor.mean, predictor.scale, low, high, step)
    return [float(value) for value in values], probabilities


def support(spec: Mapping[str, Any], predictor: Predictor) -> tuple[float, float, float]:
    """(lowest, highest, step) of a continuous predictor's allowed values."""
    if "codes" in spec:
        codes = spec["codes"].values()
        return float(min(codes)), float(max(codes)), 1.0
    if "support" in spec:
        low, high, step = spec["support"]
        return float(low), float(high), float(step)
    reach = 4 * predictor.scale
    return predictor.mean - reach, predictor.mean + reach, predictor.scale / 8


@lru_cache(maxsize=16)
def sobol(dimensions: int) -> Array:
    """(draw, dimension) in (0, 1): the fixed scrambled Sobol points."""
    from scipy.stats import qmc  # here: the import takes a third of a second, and many cases draw nothing

    points = qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(SEED)).random_base2(DRAWS_LOG2)
    return np.asarray(np.clip(points, 1e-9, 1 - 1e-9))


def rows(model: OutcomeModel, known: Mapping[str, float | str], fields: Mapping[str, Any]) -> tuple[Array, Array]:
    """Rows of the equation, known predictors fixed and missing ones drawn, and normal values for other doubts.

    Returns:
        (draw, 1 + column) rows and (draw,) standard normal values that are independent of them.
    """
    unknown = [p.field for p in model.predictors if p.field not in known]
    points = sobol(1 + len(unknown))
    parts = [np.ones((len(points), 1))]
    for predictor in model.predictors:
        if predictor.field in known:
            parts.append(np.repeat(predictor.columns(known[predictor.field])[None], len(points), axis=0))
            continue
        values, probabilities = spread(predictor, fields)
        picked = np.searchsorted(np.cumsum(probabilities)[:-1], points[:, 1 + unknown.index(predictor.field)])
        parts.append(np.stack([predictor.columns(value) for value in values])[picked])
    return np.concatenate(parts, axis=1), np.asarray(ndtri(points[:, 0]))


def tried_values(values: Sequence[float | str], probabilities: Array) -> list[tuple[float | str, float]]:
    """(value, weight) pairs that stand for the distribution: all values of a short list, else equal slices of it."""
    if len(values) <= VALUES_TRIED:
        return [(value, float(weight)) for value, weight in zip(values, probabilities, strict=True)]
    middles = (np.arange(VALUES_TRIED) + 0.5) / VALUES_TRIED
    picked = np.searchsorted(np.cumsum(probabilities)[:-1], middles)
    return [(values[i], 1 / VALUES_TRIED) for i in picked]
