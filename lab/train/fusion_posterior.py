"""Posterior of an outcome equation: prior from the literature, likelihood from a cohort, missing values imputed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from spine.fuse.engine import success
from spine.fuse.models import OutcomeModel, Predictor

Array = NDArray[np.float64]

STEPS_MAX = 100
STEP_TOLERANCE = 1e-9
WEAK_INTERCEPT_SD = 1.5  # logit: success rates from 5 to 95 % are likely where no equation is known
WEAK_COEFFICIENT_SD = 0.5  # logit per standard deviation of a predictor: odds ratios beyond 0.37 to 2.7 are unlikely
PROB_EDGE = 1e-12
BURN_IN_ROUNDS, GAP_ROUNDS = 10, 3  # rounds of the imputation chain before the first copy and between copies
RIDGE = 1e-5  # of the diagonal, as in 'norm' of the mice package: keeps regressions on collinear columns solvable


@dataclass(frozen=True)
class Normal:
    """Multivariate normal over (constant, coefficients)."""

    mean: Array  # (1 + column,)
    covariance: Array  # (1 + column, 1 + column)


def prior_of(model: OutcomeModel) -> Normal:
    """The equation with all its doubt: of its coefficients and of its transfer to another hospital."""
    return Normal(model.parameters, model.covariance + model.transfer)


def weak_prior(predictors: Sequence[Predictor], link: str = "logit") -> Normal:
    """Zero-centred prior where no equation is published; `link` probit narrows it accordingly."""
    unit = 1 / 1.702 if link == "probit" else 1.0
    spreads = [_column_sd(predictor) for predictor in predictors]
    sds = np.concatenate([[WEAK_INTERCEPT_SD], *(WEAK_COEFFICIENT_SD / spread for spread in spreads)]) * unit
    means = np.concatenate([[0.0], *(predictor.mean_columns for predictor in predictors)])
    covariance = np.diag(sds**2)
    covariance[0, 1:] = covariance[1:, 0] = -(sds[1:] ** 2) * means[1:]
    covariance[0, 0] += (sds[1:] ** 2) @ means[1:] ** 2
    return Normal(np.zeros(len(sds)), covariance)


def _column_sd(predictor: Predictor) -> Array:
    shares = np.asarray(predictor.shares)
    return np.ones(1) if predictor.kind == "continuous" else np.sqrt(np.clip(shares * (1 - shares), 0.01, None))


def columns_of(predictors: Sequence[Predictor], records: Sequence[Mapping[str, float | str]]) -> Array:
    """(patient, column): predictors of coded records, nan where a record holds nothing."""
    blocks = []
    for predictor in predictors:
        size = len(predictor.coefficients)
        rows = [
            predictor.columns(record[predictor.field]) if predictor.field in record else np.full(size, np.nan)
            for record in records
        ]
        blocks.append(np.stack(rows))
    return np.concatenate(blocks, axis=1)


def laplace(columns: Array, outcome: Array, prior: Normal, link: str) -> Normal:
    """Posterior mode and inverse Fisher information at it.

    Args:
        columns: (patient, column) without nan; no patients gives the prior back.
        outcome: (patient,) 0 or 1.
        prior: over (constant, coefficients).
        link: 'logit' or 'probit'.

    Raises:
        ValueError: Newton's method does not settle.
    """
    design = np.column_stack([np.ones(len(columns)), columns])
    precision = np.linalg.inv(prior.covariance + 1e-12 * np.eye(len(prior.mean)))
    theta = prior.mean.copy()
    if not len(columns):
        return prior
    for _ in range(STEPS_MAX):
        score, information = _derivatives(design, outcome, theta, link)
        information = information + precision
        step = np.linalg.solve(information, score - precision @ (theta - prior.mean))
        step *= min(1.0, 2.0 / max(1e-12, float(np.abs(design @ step).max())))
        theta = theta + step
        if np.abs(step).max() < STEP_TOLERANCE:
            return Normal(theta, np.linalg.inv(information))
    raise ValueError("the posterior mode was not found: check the cohort for columns that separate the outcomes")


def _derivatives(design: Array, outcome: Array, theta: Array, link: str) -> tuple[Array, Array]:
    """Score (parameter,) and Fisher information (parameter, parameter) of the binary likelihood."""
    eta = design @ theta
    prob = np.clip(success(link, eta), PROB_EDGE, 1 - PROB_EDGE)
    slope = norm.pdf(eta) if link == "probit" else prob * (1 - prob)
    weight = slope / (prob * (1 - prob))
    return design.T @ (weight * (outcome - prob)), (design * (weight * slope)[:, None]).T @ design


def impute(columns: Array, outcome: Array, copies: int, seed: int, fill: Array) -> list[Array]:
    """`copies` completed tables, missing values drawn by chained equations that include the outcome.

    Method 'norm' of multiple imputation by chained equations (Van Buuren 2011, doi 10.18637/jss.v045.i03): each column
    in turn is drawn from its Bayesian linear regression on all others. Draws are neither rounded nor cut to the range,
    which would bias the means of rare flags (Horton 2003, doi 10.1198/0003130032314). Written out here because
    scikit-learn's IterativeImputer does cut and needs thirty times as long.

    Args:
        columns: (patient, column), nan where missing. A column without any value is set to `fill` (column,): it then
            tells nothing about its own coefficient.
        outcome: (patient,) 0 or 1.
        copies: completed tables, taken GAP_ROUNDS rounds of the chain apart.
        seed: of the draws.
        fill: (column,).
    """
    table = np.column_stack([columns, outcome])
    empty = np.isnan(table).all(axis=0)
    table[:, empty] = np.append(fill, 0.0)[empty]
    absent = np.isnan(table)
    if not absent.any():
        return [table[:, :-1]]
    generator = np.random.default_rng(seed)
    table = np.where(absent, np.nanmean(table, axis=0), table)
    completed = []
    for turn in range(BURN_IN_ROUNDS + copies * GAP_ROUNDS):
        for column in np.flatnonzero(absent.any(axis=0)):
            _redraw(table, int(column), absent[:, column], generator)
        if turn >= BURN_IN_ROUNDS and (turn - BURN_IN_ROUNDS) % GAP_ROUNDS == 0:
            completed.append(table[:, :-1].copy())
    return completed


def _redraw(table: Array, column: int, absent: NDArray[np.bool_], generator: np.random.Generator) -> None:
    """Draw the missing values of one column from its regression on the others, parameters drawn first; in place."""
    others = np.delete(table, column, axis=1)
    design = np.column_stack([np.ones(len(table)), others])
    known, target = design[~absent], table[~absent, column]
    normal_matrix = known.T @ known
    ridge = RIDGE * np.diag(np.diag(normal_matrix)) + 1e-9 * np.eye(len(normal_matrix))
    inverse = np.linalg.inv(normal_matrix + ridge)
    centre = inverse @ known.T @ target
    freedom = max(1, len(target) - known.shape[1])
    residual = float(np.sum((target - known @ centre) ** 2))
    sigma = np.sqrt(residual / generator.chisquare(freedom))
    weights = centre + sigma * np.linalg.cholesky(inverse) @ generator.standard_normal(len(centre))
    noise = sigma * generator.standard_normal(int(absent.sum()))
    table[absent, column] = design[absent] @ weights + noise


def pool(parts: Sequence[Normal]) -> Normal:
    """One normal for posteriors of several imputations (Rubin 1987): mean, and variance within plus between."""
    means = np.stack([part.mean for part in parts])
    within = np.mean([part.covariance for part in parts], axis=0)
    if len(parts) == 1:
        return Normal(means[0], within)
    between = np.atleast_2d(np.cov(means.T))
    return Normal(means.mean(axis=0), within + (1 + 1 / len(parts)) * between)


def update(model: OutcomeModel, columns: Array, outcome: Array, prior: Normal, copies: int, seed: int) -> OutcomeModel:
    """`model` with the posterior given a cohort: (patient, column) with nan where missing, (patient,) outcomes."""
    tables = impute(columns, outcome, copies, seed, model.mean_row[1:]) if len(columns) else [columns]
    posterior = pool([laplace(table, outcome, prior, model.link) for table in tables])
    return with_parameters(model, posterior)


def with_parameters(model: OutcomeModel, posterior: Normal) -> OutcomeModel:
    """`model` with constant, coefficients and covariance of `posterior`; nothing is left for transfer."""
    predictors, start = [], 1
    for predictor in model.predictors:
        stop = start + len(predictor.coefficients)
        values = tuple(float(value) for value in posterior.mean[start:stop])
        predictors.append(replace(predictor, coefficients=values))
        start = stop
    return replace(
        model,
        constant=float(posterior.mean[0]),
        predictors=tuple(predictors),
        covariance=posterior.covariance,
        transfer=np.zeros_like(posterior.covariance),
        origin="local",
    )


def predict(model: OutcomeModel, columns: Array) -> Array:
    """(patient,) probabilities for (patient, column) with nan where missing.

    Missing items are integrated as normal with the cohort's mean and variance: exact for the probit link, MacKay's
    approximation (1992, doi 10.1162/neco.1992.4.5.720) for the logistic one. `spine.fuse` integrates numerically.
    """
    absent = np.isnan(columns)
    eta = model.constant + np.where(absent, model.mean_row[1:], columns) @ model.coefficients
    variance, start = np.zeros(len(columns)), 0
    for predictor in model.predictors:
        variance += absent[:, start] * predictor.variance
        start += len(predictor.coefficients)
    shrink = np.sqrt(1 + variance) if model.link == "probit" else np.sqrt(1 + np.pi * variance / 8)
    return np.asarray(success(model.link, eta / shrink))


def at_home(model: OutcomeModel, spreads: Mapping[str, Mapping[str, Any]]) -> OutcomeModel:
    """The same equation with predictors standardised by another cohort, which missing items are then drawn from.

    Args:
        model: answers stay the same for complete records.
        spreads: field -> {'mean', 'scale'} of a continuous or {'shares'} of another predictor, in that cohort.
    """
    size = len(model.parameters)
    change, start, predictors = np.eye(size), 1, []
    for predictor in model.predictors:
        spread = spreads.get(predictor.field)
        if spread and predictor.kind == "continuous":
            change[start, start] = spread["scale"] / predictor.scale
            change[0, start] = (spread["mean"] - predictor.mean) / predictor.scale
            predictors.append(replace(predictor, mean=spread["mean"], scale=spread["scale"]))
        else:
            predictors.append(replace(predictor, shares=tuple(spread["shares"])) if spread else predictor)
        start += len(predictor.coefficients)
    moved = Normal(change @ model.parameters, change @ model.covariance @ change.T)
    return with_parameters(replace(model, predictors=tuple(predictors)), moved)
