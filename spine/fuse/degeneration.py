"""Is this spine ageing faster than its owner? Disc age from graded findings and their prevalence without pain.

Disc age is chronological age plus a gap. Before the images are seen the gap is normal with mean 0 and the spread of
effective disc age in people without pain (Newman 2025); each finding then multiplies in how probable it is, present or
absent, in people without pain of every age (Brinjikji 2015). Taking a flat prior over age instead would call most young
people with common findings accelerated and most old ones slow: regression to the middle of the table. That flat-prior
age is reported beside it, and alone where the chronological age is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from scipy.special import ndtri

from spine.fuse.findings import anywhere, by_level, read_prevalence
from spine.fuse.models import Array
from spine.records import Grade
from spine.settings import FusionSettings

AGE_GRID_YEARS = np.arange(5.0, 105.0, 0.5)
TABLE_YEARS = (20.0, 80.0)  # the prevalences are known between these ages, and held constant beyond
AUC_MIN = 0.6  # best the findings could do at this age, below which the likelihood is kept back; our choice [M-lo]
AUC_GAP_YEARS = 20.0  # gap of the spine that is to be told from one without a gap
DOUBT_DRAWS_LOG2 = 8
SEED = 20260402


INTERVAL_MEANING = (
    "how far the likelihood moves with the spread of disc age, the correlation and prevalences of the findings and "
    "their grades; without_images moves with the spread of disc age alone and is given without an interval"
)


BLUNT = (
    "at {age:g} years the findings hardly tell an older spine from one of its age: graded without error they would "
    "reach an AUC of {auc:.2f} for discs {gap:g} years older, at least {least:g} is asked for"
)


@dataclass(frozen=True)
class Finding:
    """One finding that can be judged in this spine."""

    name: str
    probability: float  # that it is present at any level of the region
    levels: Mapping[str, float]
    prevalence: Array  # (age,) share of people without pain who have it, on AGE_GRID_YEARS


def prevalence_by_age(percent: Sequence[float], ages_years: Sequence[float]) -> Array:
    """(age,) prevalence 0..1 on AGE_GRID_YEARS: linear in log odds between the ages of the table, flat beyond."""
    share = np.asarray(percent) / 100
    return np.asarray(1 / (1 + np.exp(-np.interp(AGE_GRID_YEARS, ages_years, np.log(share / (1 - share))))))


def lumbar_findings(grades: Sequence[Grade]) -> list[Finding]:
    """Findings of the lumbar spine that the grades decide."""
    table = read_prevalence()["lumbar"]
    found = []
    for entry in table["findings"]:
        probability = anywhere(grades, entry["rule"], "lumbar")
        if probability is not None:
            levels = by_level(grades, entry["rule"], "lumbar")
            prevalence = prevalence_by_age(entry["percent"], table["ages_years"])
            found.append(Finding(entry["name"], probability, levels, prevalence))
    return found


def posterior(present: Array, prevalence: Array, prior: Array, correlation: float | Array) -> Array:
    """(..., age) posterior over disc age on AGE_GRID_YEARS.

    Args:
        present: (..., finding) probability that the finding is there; a doubtful one gets the mean of both likelihoods.
        prevalence: (..., finding, age) share of people without pain who have it.
        prior: (..., age) positive, any scale.
        correlation: (...) of findings at a given age. The log likelihood is divided by
            1 + (findings - 1) * correlation, the design effect of equally correlated observations (Kish 1965).
    """
    likelihood = present[..., None] * prevalence + (1 - present[..., None]) * (1 - prevalence)
    weight = 1 / (1 + (present.shape[-1] - 1) * np.asarray(correlation))
    log_posterior = np.log(prior) + weight[..., None] * np.log(likelihood).sum(axis=-2)
    mass = np.exp(log_posterior - log_posterior.max(axis=-1, keepdims=True))
    return np.asarray(mass / mass.sum(axis=-1, keepdims=True))


def gap_prior(age_years: float, sd_years: float | Array) -> Array:
    """(..., age) prior over disc age for (...) spreads: normal about the chronological age."""
    mass = np.exp(-0.5 * ((AGE_GRID_YEARS - age_years) / np.asarray(sd_years)[..., None]) ** 2)
    return np.asarray(mass / mass.sum(axis=-1, keepdims=True))


def exceeds(mass: Array, limit_years: float) -> Array:
    """(...) posterior probability that disc age lies above `limit_years`; a grid point at the limit counts half."""
    above = 0.5 * (np.sign(AGE_GRID_YEARS - limit_years) + 1)
    return np.asarray(mass @ above)


def expected_auc(findings: Sequence[Finding], age_years: float, settings: FusionSettings) -> float:
    """AUC (0.5 to 1) of the likelihood, graded perfectly: spines with a gap of AUC_GAP_YEARS against those without.

    Every pattern of present and absent findings is weighed by how probable it is at either disc age, findings drawn as
    independent at a given disc age; equal likelihoods count half (Mann and Whitney 1947). In old age nearly everybody
    has nearly every finding and the table ends, so that even perfect grades cannot tell much.
    """
    patterns = np.array(list(product((0.0, 1.0), repeat=len(findings))))
    prevalence = np.stack([finding.prevalence for finding in findings])
    prior = gap_prior(age_years, settings.disc_age_sd_years)
    mass = posterior(patterns, prevalence, prior, settings.finding_correlation)
    told = np.round(exceeds(mass, age_years + settings.accelerated_years), 9)
    higher = (told[:, None] > told) + 0.5 * (told[:, None] == told)
    shares = (
        np.array([np.interp(age, AGE_GRID_YEARS, f.prevalence) for f in findings])
        for age in (age_years, age_years + AUC_GAP_YEARS)
    )
    usual, older = (np.where(patterns == 1, share, 1 - share).prod(axis=1) for share in shares)
    return float(older @ higher @ usual)


def age_summary(mass: Array) -> tuple[float, list[float]]:
    """(mean, [5th, 95th percentile]) of disc age in years."""
    cumulative = np.cumsum(mass)
    limits = [float(AGE_GRID_YEARS[np.searchsorted(cumulative, q)]) for q in (0.05, 0.95)]
    return round(float(mass @ AGE_GRID_YEARS), 1), limits


def likelihood_interval(findings: Sequence[Finding], age_years: float, settings: FusionSettings) -> list[float]:
    """[5th, 95th percentile] of the likelihood of accelerated degeneration over the doubts named in prevalence.json.

    Doubts: spread of disc age, correlation of findings, prevalences, and whether each doubtful finding is there.
    """
    doubt = read_prevalence()["doubt"]
    count = len(findings)
    from scipy.stats import qmc  # here: the import takes a third of a second, and many cases draw nothing

    points = qmc.Sobol(2 + 2 * count, scramble=True, rng=np.random.default_rng(SEED)).random_base2(DOUBT_DRAWS_LOG2)
    points = np.clip(points, 1e-9, 1 - 1e-9)
    present = (points[:, 2 + count :] < np.array([finding.probability for finding in findings])).astype(float)
    sd_years = np.interp(points[:, 0], [0, 0.5, 1], _about(settings.disc_age_sd_years, doubt["disc_age_sd_years"]))
    correlation = np.interp(
        points[:, 1], [0, 0.5, 1], _about(settings.finding_correlation, doubt["finding_correlation"])
    )
    shift = doubt["prevalence_sd_logit"]["value"] * ndtri(points[:, 2 : 2 + count])
    log_odds = np.stack([np.log(f.prevalence / (1 - f.prevalence)) for f in findings])
    prevalence = 1 / (1 + np.exp(-(log_odds + shift[..., None])))
    mass = posterior(present, prevalence, gap_prior(age_years, sd_years), correlation)
    limits = np.quantile(exceeds(mass, age_years + settings.accelerated_years), [0.05, 0.95])
    return [round(float(limit), 4) for limit in limits]


def _about(setting: float, entry: Mapping[str, Any]) -> list[float]:
    low, high = entry["value"]
    return [min(low, setting), setting, max(high, setting)]


def count_distribution(probabilities: Sequence[float]) -> Array:
    """(count + 1,) distribution of the number of independent events with these probabilities."""
    mass = np.ones(1)
    for probability in probabilities:
        mass = np.convolve(mass, [1 - probability, probability])
    return mass


def percentile_for_age(findings: Sequence[Finding], age_years: float) -> float:
    """Percentile (0..100) of the number of findings among people without pain of that age; ties count half.

    Findings are counted as independent, which makes extreme percentiles more extreme than they are.
    """
    at_age = [float(np.interp(age_years, AGE_GRID_YEARS, finding.prevalence)) for finding in findings]
    patient = count_distribution([finding.probability for finding in findings])
    people = count_distribution(at_age)
    below = np.concatenate([[0.0], np.cumsum(people)[:-1]])
    return round(100 * float(patient @ (below + 0.5 * people)), 1)


def _refusal(region: str | None, findings: Sequence[Finding], settings: FusionSettings) -> str | None:
    if region == "cervical":
        return str(read_prevalence()["cervical"]["not_measurable"])
    if region is None:
        return "no lumbar or cervical disc was measured or graded"
    if len(findings) < settings.findings_min:
        core = ", ".join(read_prevalence()["lumbar"]["core_levels"])
        return (
            f"{len(findings)} of the {len(read_prevalence()['lumbar']['findings'])} findings are graded at {core}; "
            f"at least {settings.findings_min} are needed"
        )
    return None


def _age_refusal(age_years: float | None) -> str | None:
    if age_years is None:
        return "age_years is missing: disc age is given from the findings alone and cannot be compared"
    if not TABLE_YEARS[0] <= age_years <= TABLE_YEARS[1]:
        return f"prevalences are known from {TABLE_YEARS[0]:g} to {TABLE_YEARS[1]:g} years; age_years is {age_years:g}"
    return None


def without_images(region: str | None, age_years: float | None, settings: FusionSettings) -> float | None:
    """Likelihood of accelerated degeneration before the images are seen: what the findings are to be held against.

    None where no likelihood is defined: for another region than the lumbar spine, or without a usable age.
    """
    if region != "lumbar" or age_years is None or _age_refusal(age_years):
        return None
    limit = age_years + settings.accelerated_years
    return round(float(exceeds(gap_prior(age_years, settings.disc_age_sd_years), limit)), 4)


def degeneration(
    grades: Sequence[Grade],
    region: str | None,
    age_years: float | None,
    settings: FusionSettings,
    doubt: str | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The likelihood document and the report's 'degeneration' score of one spine, JSON-ready.

    `doubt` says why the age may be another patient's: then it is not used.

    Returns:
        likelihood: {likelihood, interval_90, disc_age_years, disc_age_interval_90, abstained, reason, without_images,
            threshold_years, ...}.
        score: {score, disc_age_years, percentile_for_age, ...}, with {'not_measurable': reason} for what is not known.
    """
    findings = lumbar_findings(grades) if region == "lumbar" else []
    no_age = doubt or _age_refusal(age_years)
    baseline = None if no_age else without_images(region, age_years, settings)
    empty: dict[str, Any] = {
        "likelihood": None,
        "interval_90": None,
        "disc_age_years": None,
        "disc_age_interval_90": None,
        "without_images": baseline,
        "threshold_years": settings.accelerated_years,
    }
    refusal = _refusal(region, findings, settings)
    if refusal:
        nothing = {"not_measurable": refusal}
        score = {"score": nothing, "disc_age_years": nothing, "percentile_for_age": nothing}
        return {**empty, "abstained": True, "reason": refusal}, score
    present = np.array([finding.probability for finding in findings])
    prevalence = np.stack([finding.prevalence for finding in findings])
    inside = np.clip(AGE_GRID_YEARS, *TABLE_YEARS) == AGE_GRID_YEARS
    flat = posterior(present, prevalence, np.where(inside, 1.0, 1e-300), settings.finding_correlation)
    years, interval = age_summary(flat)
    alone = {"years": years, "interval_90": interval}
    if no_age or age_years is None:
        found = {**empty, "disc_age_years": years, "disc_age_interval_90": interval}
        document = {**found, "abstained": True, "reason": no_age}
        return document, _score(findings, no_age or "", None, years, alone)
    mass = posterior(
        present, prevalence, gap_prior(age_years, settings.disc_age_sd_years), settings.finding_correlation
    )
    years, interval = age_summary(mass)
    score = _score(findings, "", age_years, years, alone)
    told = {**empty, "disc_age_years": years, "disc_age_interval_90": interval}
    auc = expected_auc(findings, age_years, settings)
    if auc < AUC_MIN:
        reason = BLUNT.format(age=age_years, auc=auc, gap=AUC_GAP_YEARS, least=AUC_MIN)
        return {**told, "abstained": True, "reason": reason}, score
    limit = age_years + settings.accelerated_years
    document = {
        **told,
        "likelihood": round(float(exceeds(mass, limit)), 4),
        "interval_90": likelihood_interval(findings, age_years, settings),
        "interval_meaning": INTERVAL_MEANING,
        "expected_auc": round(auc, 3),
        "abstained": False,
        "reason": "none",
        "meaning": f"probability that disc age lies more than {settings.accelerated_years:g} years above age",
    }
    return document, score


def _score(
    findings: Sequence[Finding],
    why_no_age: str,
    age_years: float | None,
    disc_age_years: float,
    alone: Mapping[str, Any],
) -> dict[str, Any]:
    """The report's 'degeneration': how many findings there are, against people without pain of the same age."""
    no_age = {"not_measurable": why_no_age}
    expected: Any = no_age
    if age_years is not None:
        expected = round(sum(float(np.interp(age_years, AGE_GRID_YEARS, f.prevalence)) for f in findings), 2)
    return {
        "score": round(sum(finding.probability for finding in findings), 2),
        "score_meaning": f"findings present, of {len(findings)} that could be judged",
        "score_expected_without_pain_at_this_age": expected,
        "disc_age_years": disc_age_years,
        "disc_age_from_findings_alone": dict(alone),
        "percentile_for_age": no_age if age_years is None else percentile_for_age(findings, age_years),
        "findings": [
            {
                "name": finding.name,
                "probability": round(finding.probability, 4),
                "levels": {level: round(value, 4) for level, value in finding.levels.items()},
                "percent_without_pain_at_this_age": no_age
                if age_years is None
                else round(100 * float(np.interp(age_years, AGE_GRID_YEARS, finding.prevalence)), 1),
            }
            for finding in findings
        ],
    }
