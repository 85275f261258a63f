"""What is to be predicted, and what is believed of it before the cohort is seen: the prior of lab.train.fit_fusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lab.train.fusion_cohort import BadCohort, Cohort
from lab.train.fusion_posterior import Normal, prior_of, weak_prior
from spine.fuse.bayes import IMAGING, with_imaging
from spine.fuse.models import OutcomeModel, Predictor, read_table
from spine.fuse.published import published_models
from spine.settings import FusionSettings

OUTCOMES = {
    "satisfied": "satisfied with the result",
    "pain_gone_or_much_better": "pain gone or much better",
    "odi_22_or_less": "Oswestry Disability Index of 22 or less",
}
LOCAL_SPREAD_MIN = 20  # observed values from which on a predictor's mean and spread are taken from the cohort


@dataclass(frozen=True)
class Question:
    """What is to be predicted, for whom."""

    region: str
    indication: str
    treatment: str
    outcome: str
    horizon_months: int


def prior_model(question: Question, cohort: Cohort, settings: FusionSettings) -> tuple[OutcomeModel, Normal, bool]:
    """(equation, prior over its parameters, whether it is a published one) for `question`.

    A published equation of another horizon serves as well; where there is none, every field of the cohort that varies
    is a predictor with a weak zero-centred prior.
    """
    shares = imaging_shares(cohort.records)
    key = (question.region, question.indication, question.treatment, question.outcome)
    for model in published_models(settings):
        if model.key[:4] == key:
            facts = {**model.facts, "published_horizon_months": model.horizon_months}
            own = with_imaging(replace(model, horizon_months=question.horizon_months, facts=facts), shares)
            return own, prior_of(own), True
    predictors = plain_predictors(cohort.records)
    if not predictors:
        raise BadCohort(f"{cohort.name}: no field of the clinical record varies between the patients.")
    prior = weak_prior(predictors)
    blank = OutcomeModel(
        id="none",
        region=question.region,
        indication=question.indication,
        treatment=question.treatment,
        outcome=question.outcome,
        horizon_months=question.horizon_months,
        link="logit",
        constant=0.0,
        predictors=predictors,
        covariance=prior.covariance,
        transfer=np.zeros_like(prior.covariance),
        facts={"outcome_definition": OUTCOMES[question.outcome], "source": "none", "n": 0},
    )
    blank = with_imaging(blank, shares)
    return blank, prior_of(blank), False


def imaging_shares(records: Sequence[Any]) -> dict[str, float]:
    """'imaging.<feature>' -> how common it is among the `records` that hold it."""
    names = sorted({name for record in records for name in record if name.startswith(IMAGING)})
    return {name: float(np.mean([record[name] for record in records if name in record])) for name in names}


def plain_predictors(records: tuple[Any, ...]) -> tuple[Predictor, ...]:
    """A predictor for every field of the record that varies; words in order become numbers, other words categories."""
    fields = read_table()["fields"]
    names = sorted({name for record in records for name in record if not name.startswith(IMAGING)})
    predictors = []
    for name in names:
        values = [record[name] for record in records if name in record]
        if name in ("region", "indication") or len(set(values)) < 2 or len(values) < LOCAL_SPREAD_MIN:
            continue
        codes = fields.get(name, {}).get("codes", {})
        if isinstance(values[0], str) and not codes:
            levels = tuple(sorted({str(value) for value in values}))
            shares = tuple(values.count(level) / len(values) for level in levels)
            predictors.append(Predictor(name, "categorical", (0.0,) * len(levels), levels=levels, shares=shares))
            continue
        numbers = np.array([codes[value] if isinstance(value, str) else value for value in values], dtype=float)
        if set(np.unique(numbers)) <= {0.0, 1.0} and not codes:
            predictors.append(Predictor(name, "binary", (0.0,), shares=(float(numbers.mean()),)))
        else:
            mean, scale = float(numbers.mean()), float(numbers.std())
            predictors.append(Predictor(name, "continuous", (0.0,), mean=mean, scale=scale, codes=codes))
    return tuple(predictors)


def local_spreads(model: OutcomeModel, cohort: Cohort) -> dict[str, dict[str, Any]]:
    """Mean and standard deviation, or shares, of the predictors that the cohort holds often enough."""
    spreads: dict[str, dict[str, Any]] = {}
    for predictor in model.predictors:
        values = [record[predictor.field] for record in cohort.records if predictor.field in record]
        if len(values) < LOCAL_SPREAD_MIN or len(set(values)) < 2:
            continue
        if predictor.kind == "categorical":
            spreads[predictor.field] = {"shares": [values.count(level) / len(values) for level in predictor.levels]}
            continue
        numbers = np.array([predictor.number(value) for value in values])
        if predictor.kind == "binary":
            spreads[predictor.field] = {"shares": [float(numbers.mean())]}
        else:
            spreads[predictor.field] = {"mean": float(numbers.mean()), "scale": float(numbers.std(ddof=1))}
    return spreads
