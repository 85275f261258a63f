"""Simulated patients with a known truth: do the intervals of the fusion hold what they promise?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from lab.train.fusion_posterior import Normal, columns_of, prior_of, update, weak_prior
from spine.fuse.degeneration import (
    AGE_GRID_YEARS,
    Finding,
    exceeds,
    expected_auc,
    gap_prior,
    posterior,
    prevalence_by_age,
)
from spine.fuse.engine import Z_90, evaluate, success
from spine.fuse.findings import read_prevalence
from spine.fuse.missing import spread
from spine.fuse.models import OutcomeModel, read_table
from spine.settings import FusionSettings

Array = NDArray[np.float64]
Records = list[dict[str, float | str]]

CORRELATION = 0.3  # between predictors of simulated patients; the runtime takes them as independent
TRIAL_PATIENTS = 109
MISSING_SHARE = 0.2
IMPUTATIONS = 10
NEW_PATIENTS = 20  # whose intervals are checked in every simulated trial
AUC_AGES_YEARS = (20.0, 30.0, 40.0, 50.0, 60.0, 65.0, 70.0, 75.0, 80.0)
FAR_HOSPITAL = (-0.9, 0.6)  # shift on the link's scale and slope: farther than `transfer` allows for
FAR_WORLD = "a hospital farther than transfer allows: 0.9 worse on the link's scale, slope 0.6"


def draw_records(model: OutcomeModel, count: int, generator: np.random.Generator) -> Records:
    """`count` complete records: the cohort's marginals, equally correlated through a normal copula."""
    fields = read_table()["fields"]
    shared = generator.standard_normal((count, 1))
    own = generator.standard_normal((count, len(model.predictors)))
    uniform = norm.cdf(np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * own)
    records: Records = [{} for _ in range(count)]
    for index, predictor in enumerate(model.predictors):
        values, probabilities = spread(predictor, fields)
        picked = np.searchsorted(np.cumsum(probabilities)[:-1], uniform[:, index])
        words = {code: word for word, code in predictor.codes.items()}
        for record, place in zip(records, picked, strict=True):
            record[predictor.field] = words.get(values[place], values[place])
    return records


def forget(records: Records, share: float, generator: np.random.Generator) -> Records:
    """`records` with each item missing completely at random with probability `share`."""
    return [{name: value for name, value in record.items() if generator.random() >= share} for record in records]


def true_probability(model: OutcomeModel, records: Records, theta: Array) -> Array:
    """(patient,) success probability of complete records under the parameters `theta`."""
    return np.asarray(success(model.link, theta[0] + columns_of(model.predictors, records) @ theta[1:]))


@dataclass(frozen=True)
class Scenario:
    """One simulated world."""

    name: str
    model: OutcomeModel
    prior: Normal
    truth: Callable[[np.random.Generator], Array]  # parameters of one trial's patients
    missing_share: float = 0.0
    trials: int = 1000


def different_truth(model: OutcomeModel, shift: float, slope: float) -> Array:
    """(parameter,): the equation with another success rate (`shift`, on the link's scale) and weaker predictors."""
    theta = model.parameters * slope
    means = model.mean_row
    theta[0] = model.parameters @ means + shift - theta[1:] @ means[1:]
    return theta


def scenarios(model: OutcomeModel) -> tuple[Scenario, ...]:
    """The worlds in which the intervals are tried, for one published equation."""
    prior = prior_of(model)
    blank = weak_prior(model.predictors, model.link)

    def from_prior(generator: np.random.Generator) -> Array:
        return generator.multivariate_normal(prior.mean, prior.covariance)

    def published(_: np.random.Generator) -> Array:
        return model.parameters

    def another(_: np.random.Generator) -> Array:
        return different_truth(model, -0.7, 0.7)

    def far(_: np.random.Generator) -> Array:
        return different_truth(model, *FAR_HOSPITAL)

    return (
        Scenario("truth drawn from the prior", model, prior, from_prior),
        Scenario("truth drawn from the prior, 20 % missing", model, prior, from_prior, MISSING_SHARE, 400),
        Scenario("published equation exactly true", model, prior, published),
        Scenario("another truth: 0.7 logit worse, slope 0.7", model, prior, another),
        Scenario("another truth, 20 % missing", model, prior, another, MISSING_SHARE, 400),
        Scenario(FAR_WORLD, model, prior, far),
        Scenario("no published equation (weak prior), published equation true", model, blank, published),
    )


def coverage(scenario: Scenario, seed: int = 0) -> dict[str, Any]:
    """Share of new patients whose true probability lies inside their 90 % interval after a trial of 109.

    With missing values in the scenario, the same share of items is missing in the trial and in the new patients.
    The standard error counts a trial, not a patient, as one observation.
    """
    generator = np.random.default_rng(seed)
    model = replace(scenario.model, transfer=np.zeros_like(scenario.model.transfer))
    inside, widths, complete = [], [], []
    for trial in range(scenario.trials):
        theta = scenario.truth(generator)
        records = draw_records(model, TRIAL_PATIENTS, generator)
        outcome = (generator.random(TRIAL_PATIENTS) < true_probability(model, records, theta)).astype(float)
        seen = columns_of(model.predictors, forget(records, scenario.missing_share, generator))
        fitted = update(model, seen, outcome, scenario.prior, IMPUTATIONS, seed=trial)
        new = draw_records(model, NEW_PATIENTS, generator)
        truth = true_probability(model, new, theta)
        low, high = complete_intervals(fitted, columns_of(model.predictors, new))
        complete.append(float(np.mean((low <= truth) & (truth <= high))))
        if scenario.missing_share:
            fields = read_table()["fields"]
            answers = [evaluate(fitted, record, fields) for record in forget(new, scenario.missing_share, generator)]
            low, high = np.array([a.low for a in answers]), np.array([a.high for a in answers])
        inside.append(float(np.mean((low <= truth) & (truth <= high))))
        widths.append(float(np.mean(high - low)))
    error = np.std(inside, ddof=1) / np.sqrt(len(inside))
    return {
        "scenario": scenario.name,
        "model": model.id,
        "trials": scenario.trials,
        "coverage": float(np.mean(inside)),
        "coverage_interval_90": [float(np.mean(inside) - Z_90 * error), float(np.mean(inside) + Z_90 * error)],
        "coverage_of_complete_new_records": float(np.mean(complete)),
        "mean_width": float(np.mean(widths)),
    }


def complete_intervals(model: OutcomeModel, columns: Array) -> tuple[Array, Array]:
    """(patient,) limits of the 90 % interval for complete (patient, column) records; the runtime's closed form."""
    design = np.column_stack([np.ones(len(columns)), columns])
    covariance = model.covariance + model.transfer
    eta = design @ model.parameters
    reach = Z_90 * np.sqrt(np.einsum("di,ij,dj->d", design, covariance, design))
    return np.asarray(success(model.link, eta - reach)), np.asarray(success(model.link, eta + reach))


def prior_to_data(model: OutcomeModel, sizes: Sequence[int], cohorts: int = 50, seed: int = 0) -> dict[str, Any]:
    """One average patient's answer as cohorts of a different truth grow; size 0 is the published equation.

    Every point is a mean over `cohorts` cohorts, each drawn anew and growing by itself, with the 5th and 95th
    percentile of their answers and the mean limits of their 90 % intervals.
    """
    generator = np.random.default_rng(seed)
    theta = different_truth(model, *FAR_HOSPITAL)
    prior, row = prior_of(model), model.mean_row[None, 1:]
    answers = np.empty((cohorts, len(sizes), 3))  # probability and its limits
    for cohort in range(cohorts):
        records = draw_records(model, max(sizes), generator)
        columns = columns_of(model.predictors, records)
        outcome = (generator.random(len(records)) < true_probability(model, records, theta)).astype(float)
        for place, size in enumerate(sizes):
            fitted = update(model, columns[:size], outcome[:size], prior, 1, seed)
            low, high = complete_intervals(fitted, row)
            middle = success(model.link, fitted.parameters @ model.mean_row)
            answers[cohort, place] = float(middle), float(low[0]), float(high[0])
    truth = float(success(model.link, theta @ model.mean_row))
    return {
        "model": model.id,
        "cohorts": cohorts,
        "published": float(success(model.link, model.parameters @ model.mean_row)),
        "truth": truth,
        "points": [_over_cohorts(size, answers[:, place], truth) for place, size in enumerate(sizes)],
    }


def _over_cohorts(size: int, answers: Array, truth: float) -> dict[str, float]:
    """Mean answer of (cohort, 3) answers, their spread, mean interval and the share of intervals with the truth."""
    mean, low, high = answers.mean(axis=0)
    spread_low, spread_high = np.quantile(answers[:, 0], [0.05, 0.95])
    inside = np.mean((answers[:, 1] <= truth) & (truth <= answers[:, 2]))
    return {
        "patients": size,
        "probability": float(mean),
        "low": float(low),
        "high": float(high),
        "cohorts_low": float(spread_low),
        "cohorts_high": float(spread_high),
        "holds_truth_share": float(inside),
    }


def table_findings() -> list[Finding]:
    """All findings of the lumbar table of prevalences, as if graded."""
    table = read_prevalence()["lumbar"]
    ages = table["ages_years"]
    return [Finding(e["name"], 0.0, {}, prevalence_by_age(e["percent"], ages)) for e in table["findings"]]


def discrimination(settings: FusionSettings) -> list[dict[str, float]]:
    """By age, the AUC that all five findings, graded without error, would reach; see expected_auc."""
    findings = table_findings()
    return [{"age_years": age, "auc": expected_auc(findings, age, settings)} for age in AUC_AGES_YEARS]


def false_alarms(settings: FusionSettings, people: int = 400, seed: int = 0) -> list[dict[str, float]]:
    """Mean likelihood of accelerated degeneration in simulated people without pain, by age: anchored and flat prior.

    Their findings are drawn from the prevalences at their own age, so no one is older than his discs. A fair answer is
    about the same at every age; the flat prior over age is not.
    """
    findings = table_findings()
    prevalence = np.stack([finding.prevalence for finding in findings])
    generator = np.random.default_rng(seed)
    flat = np.where(np.clip(AGE_GRID_YEARS, 20, 80) == AGE_GRID_YEARS, 1.0, 1e-300)
    rows = []
    for age in (25.0, 35.0, 45.0, 55.0, 65.0, 75.0):
        at_age = np.array([np.interp(age, AGE_GRID_YEARS, p) for p in prevalence])
        present = (generator.random((people, len(findings))) < at_age).astype(float)
        limit = age + settings.accelerated_years
        anchored = posterior(
            present, prevalence, gap_prior(age, settings.disc_age_sd_years), settings.finding_correlation
        )
        free = posterior(present, prevalence, flat, settings.finding_correlation)
        rows.append(
            {
                "age_years": age,
                "mean_likelihood": float(exceeds(anchored, limit).mean()),
                "highest_likelihood": float(exceeds(anchored, limit).max()),
                "mean_likelihood_flat_prior": float(exceeds(free, limit).mean()),
            }
        )
    return rows


def drawn_cohort(model: OutcomeModel, theta: Array, missing_share: float, seed: int) -> tuple[Records, Array]:
    """(records with missing items, outcomes) of one simulated trial of 109 patients."""
    generator = np.random.default_rng(seed)
    records = draw_records(model, TRIAL_PATIENTS, generator)
    outcome = (generator.random(TRIAL_PATIENTS) < true_probability(model, records, theta)).astype(float)
    return forget(records, missing_share, generator), outcome
