"""The published equations with the doubt that belongs to them.

The sources give no covariance of their coefficients. Here it is the inverse Fisher information of the published form
at the published coefficients, for n patients whose predictors are spread as published but independent of one another.
For the average patient of the cohort this is right whatever the correlations are (the mean leverage is parameters / n);
for a patient with an unusual combination it can be too small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from spine.fuse.missing import rows
from spine.fuse.models import LOG_ODDS_PER_PROBIT, Array, OutcomeModel, Predictor, odds_ratio_predictor, predictor_of
from spine.fuse.models import read_table as read_models
from spine.settings import FusionSettings

LOCAL_RATE_PATIENTS = 100  # patients that a success rate given in the settings is taken to rest on; our choice [M-lo]


def logistic(eta: Any) -> Any:
    """1 / (1 + exp(-eta))."""
    return 1 / (1 + np.exp(-np.asarray(eta)))


def logistic_information(design: Array, parameters: Array) -> Array:
    """(parameter, parameter): mean Fisher information of one patient, from (draw, parameter) rows."""
    prob = logistic(design @ parameters)
    return np.asarray((design * (prob * (1 - prob))[:, None]).T @ design / len(design))


def ordered_probit_information(columns: Array, coefficients: Array, thresholds: Array) -> Array:
    """Mean Fisher information of one patient for (thresholds, coefficients) of P(category <= k) = Phi(t_k - x).

    Args:
        columns: (draw, column) predictors.
        coefficients: (column,) as published: positive = worse category more likely.
        thresholds: (threshold,) rising.
    """
    shifted = thresholds[None] - (columns @ coefficients)[:, None]
    edges = np.concatenate([np.zeros((len(columns), 1)), ndtr(shifted), np.ones((len(columns), 1))], axis=1)
    prob = np.diff(edges, axis=1)  # (draw, category)
    density = np.exp(-(shifted**2) / 2) / np.sqrt(2 * np.pi)  # (draw, threshold)
    size = len(thresholds)
    by_threshold = np.zeros((len(columns), size + 1, size))
    for k in range(size):
        by_threshold[:, k, k] = density[:, k]
        by_threshold[:, k + 1, k] = -density[:, k]
    slope = np.diff(np.pad(density, ((0, 0), (1, 1))), axis=1)  # d prob / d (-x)
    gradient = np.concatenate([by_threshold, -slope[:, :, None] * columns[:, None, :]], axis=2)
    return np.asarray(np.einsum("dci,dcj,dc->ij", gradient, gradient, 1 / np.maximum(prob, 1e-12)) / len(columns))


def transfer_covariance(model: OutcomeModel, allowance: float) -> Array:
    """(1 + column, 1 + column): how another hospital's constant, slope and single coefficients may differ.

    `allowance` multiplies the standard deviations of resources/outcome_models.json 'transfer'.
    """
    doubt = read_models()["transfer"]
    unit = allowance / (LOG_ODDS_PER_PROBIT if model.link == "probit" else 1.0)
    size = len(model.parameters)
    covariance = np.zeros((size, size))
    covariance[0, 0] = (unit * doubt["intercept_sd_logit"]["value"]) ** 2
    means = model.mean_row[1:]
    slope = np.concatenate([[-model.coefficients @ means], model.coefficients])
    covariance += (allowance * doubt["slope_sd"]["value"]) ** 2 * np.outer(slope, slope)
    for column in range(size - 1):
        single = np.zeros(size)
        single[0], single[1 + column] = -means[column], 1.0
        covariance += (unit * doubt["coefficient_sd_logit"]["value"]) ** 2 * np.outer(single, single)
    return covariance


def _skeleton(entry: Mapping[str, Any], link: str, constant: float, predictors: tuple[Predictor, ...]) -> OutcomeModel:
    size = 1 + sum(len(p.coefficients) for p in predictors)
    facts = {k: v for k, v in entry.items() if k not in ("predictors", "intercept", "thresholds")}
    return OutcomeModel(
        **{name: entry[name] for name in ("id", "region", "indication", "treatment", "outcome", "horizon_months")},
        link=link,
        constant=constant,
        predictors=predictors,
        covariance=np.zeros((size, size)),
        transfer=np.zeros((size, size)),
        facts=facts,
    )


def _logistic_model(entry: Mapping[str, Any], fields: Mapping[str, Any]) -> OutcomeModel:
    predictors = tuple(predictor_of(item) for item in entry["predictors"])
    model = _skeleton(entry, "logit", float(entry["intercept"]), predictors)
    design, _ = rows(model, {}, fields)
    information = entry["n"] * logistic_information(design, model.parameters)
    information += entry["ridge_precision"] * np.eye(len(information))
    return replace(model, covariance=np.linalg.inv(information))


def _probit_model(entry: Mapping[str, Any], fields: Mapping[str, Any]) -> OutcomeModel:
    thresholds = np.asarray(entry["thresholds"], dtype=float)
    cut = int(entry["success_threshold"]) - 1
    predictors = tuple(predictor_of(item, sign=-1.0) for item in entry["predictors"])
    model = _skeleton(entry, "probit", float(thresholds[cut]), predictors)
    design, _ = rows(model, {}, fields)
    # A reference category of the source has coefficient 0 by definition: it is no parameter and has no doubt.
    free = np.flatnonzero(model.coefficients != 0)
    information = entry["n"] * ordered_probit_information(design[:, 1 + free], -model.coefficients[free], thresholds)
    inverse = np.linalg.inv(information)
    kept = np.concatenate([[cut], len(thresholds) + np.arange(len(free))])
    sign = np.concatenate([[1.0], -np.ones(len(free))])  # coefficients were turned round
    covariance = np.zeros_like(model.covariance)
    places = np.concatenate([[0], 1 + free])
    covariance[np.ix_(places, places)] = np.outer(sign, sign) * inverse[np.ix_(kept, kept)]
    return replace(model, covariance=covariance)


def _partial_model(entry: Mapping[str, Any], fields: Mapping[str, Any], success_prob: float) -> OutcomeModel:
    """Odds ratios only: the constant is the one that makes the mean probability of the cohort `success_prob`."""
    pairs = [odds_ratio_predictor(item) for item in entry["predictors"]]
    model = _skeleton(entry, "logit", 0.0, tuple(predictor for predictor, _ in pairs))
    design, _ = rows(model, {}, fields)
    without = design @ model.parameters
    constant = float(brentq(lambda b0: float(np.mean(logistic(b0 + without))) - success_prob, -30, 30))
    means = model.mean_row[1:]
    errors = np.diag([error for _, error in pairs]) ** 2
    rate_variance = 1 / (LOCAL_RATE_PATIENTS * success_prob * (1 - success_prob))
    covariance = np.zeros_like(model.covariance)
    covariance[1:, 1:] = errors
    covariance[0, 1:] = covariance[1:, 0] = -errors @ means  # the rate fixes the mean patient, not the constant
    covariance[0, 0] = rate_variance + means @ errors @ means
    return replace(model, constant=constant, covariance=covariance)


@lru_cache(maxsize=8)
def published_models(settings: FusionSettings) -> tuple[OutcomeModel, ...]:
    """All equations that can be evaluated; the pain programme only where `settings` names a success rate."""
    table = read_models()
    fields = table["fields"]
    models = []
    for entry in table["models"]:
        if entry["form"] == "logistic":
            model = _logistic_model(entry, fields)
        elif entry["form"] == "ordered_probit":
            model = _probit_model(entry, fields)
        elif settings.programme_success_prob is None:
            continue
        else:
            model = _partial_model(entry, fields, settings.programme_success_prob)
        models.append(replace(model, transfer=transfer_covariance(model, settings.transfer_allowance)))
    return tuple(models)
