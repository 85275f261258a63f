"""Treatment options side by side: what to expect of each, how sure that is, and when to say nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spine.fuse.engine import (
    Answer,
    evaluate,
    extrapolation_variance,
    if_complete,
    known_share,
    missing_fields,
    worth_of_items,
)
from spine.fuse.evidence import LOCAL_ORIGIN, evidence
from spine.fuse.models import OutcomeModel, read_table
from spine.fuse.record import ADULT_YEARS, Record
from spine.fuse.wording import plain
from spine.settings import FusionSettings

SURGICAL = ("disc_herniation", "spinal_stenosis", "segmental_back_pain", "cervical_radiculopathy")
PROGRAMME_FITS = (None, "chronic_low_back_pain", "segmental_back_pain")  # indications that the programme treats
SLOTS = (  # what is asked of every patient: treatment, outcome, horizon in months
    ("surgery", "satisfied", 12),
    ("surgery", "pain_gone_or_much_better", 12),
    ("pain_programme", "odi_22_or_less", 12),
)
NONE = "none"
ODI_REACHED = ("odi_22_or_less", 22.0)  # the outcome, and the ODI in percent at which it is there already
NO_INDICATION = "no indication for surgery is named"

ALREADY_THERE = "odi_percent is {odi:g}: the outcome asked about, an ODI of 22 or less, is there before treatment"
UNVALIDATED = (
    "The equations have not been validated in this hospital. Until they are, use them to check them and not to inform "
    "patients (Dutch guideline on cervical radicular syndrome, module on prediction models)."
)
LOCALLY_FITTED = (
    "The published equations have not been validated in this hospital. Those fitted on its cohort were checked on the "
    "patients they were fitted on, corrected for optimism, and not on later ones. Until they are, use them to check "
    "them and not to inform patients (Dutch guideline on cervical radicular syndrome, module on prediction models)."
)
CAVEATS = (
    "Each probability is the expected outcome after that treatment in patients like this one who had it. Equations "
    "for surgery were fitted on operated patients: they do not give the effect of operating, and the difference "
    "between two options is not the benefit of one over the other, because patients were selected for treatment.",
    "A 90 % interval is for the probability itself: how far the coefficients, the hospital and the missing items may "
    "move it. Whether this patient will do well remains a matter of that probability.",
    UNVALIDATED,
    "The sources publish no covariance of their coefficients and no correlation of their predictors: the doubt about "
    "coefficients is approximated from the size of the cohort, and missing items are integrated as if independent.",
    "Findings in the images do not enter a published equation; they take part only where a local cohort was fitted.",
)


@dataclass(frozen=True)
class Case:
    """What is known about one patient when options are weighed."""

    record: Record
    region: str | None  # of the record, else of the images
    imaging: Mapping[str, float]  # features of spine.fuse.bayes
    published: Sequence[OutcomeModel]
    local: Sequence[OutcomeModel]
    settings: FusionSettings


def caveats(options: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """CAVEATS, worded for `options` of which some may come from an equation that was fitted on a local cohort."""
    local = any(option.get("evidence", {}).get("origin") == LOCAL_ORIGIN for option in options)
    return tuple(LOCALLY_FITTED if local and text == UNVALIDATED else text for text in CAVEATS)


def treatment_options(case: Case) -> tuple[dict[str, Any], ...]:
    """Every treatment and outcome that is asked of this patient, JSON-ready, ranked only where that is allowed."""
    slots = list(SLOTS)
    for model in case.local:
        slot = (model.treatment, model.outcome, model.horizon_months)
        if slot not in slots and _find(case.local, case, *slot):
            slots.append(slot)
    return tuple(_with_ranking([_option(case, *slot) for slot in slots]))


def _find(models: Sequence[OutcomeModel], case: Case, treatment: str, outcome: str, months: int) -> OutcomeModel | None:
    """The equation for this patient. The programme's also serves lumbar patients without a surgical indication."""
    same = [m for m in models if (m.treatment, m.outcome, m.horizon_months) == (treatment, outcome, months)]
    indication = case.record.indication
    exact = next((m for m in same if (m.region, m.indication) == (case.region, indication)), None)
    if exact or treatment != "pain_programme" or case.region == "cervical" or indication not in PROGRAMME_FITS:
        return exact
    return next((m for m in same if m.indication == "chronic_low_back_pain"), None)


def _published(case: Case, treatment: str, outcome: str, months: int) -> OutcomeModel | None:
    """The published equation of this horizon, else one of another: the prior of a local equation may be such a one."""
    horizons = {model.horizon_months for model in case.published}
    found = (_find(case.published, case, treatment, outcome, m) for m in (months, *sorted(horizons - {months})))
    return next((model for model in found if model is not None), None)


def _refusal(case: Case, treatment: str, outcome: str, model: OutcomeModel | None) -> str | None:
    """Why no number can be given at all, or None."""
    record, age = case.record, case.record.known.get("age_years")
    if record.conflict:
        return record.conflict
    if age is not None and float(age) < ADULT_YEARS:
        return f"the equations were fitted on adults; age_years is {float(age):g}"
    odi = case.record.known.get("odi_percent")
    if model is not None:
        there = outcome == ODI_REACHED[0] and odi is not None and float(odi) <= ODI_REACHED[1]
        return ALREADY_THERE.format(odi=odi) if there else None
    if treatment == "surgery":
        if record.indication in SURGICAL:
            return f"no equation for this outcome after surgery for {plain(record.indication)}"
        return f"{plain(record.indication)} is none by itself: {NO_INDICATION}" if record.indication else NO_INDICATION
    return _programme_refusal(case)


def _programme_refusal(case: Case) -> str:
    if case.region == "cervical":
        return "no published equation was found for conservative treatment of the neck"
    if case.record.indication not in PROGRAMME_FITS:
        other = plain(case.record.indication or "no indication")
        return f"the equation is for chronic low back pain; it was not fitted on patients with {other}"
    return "the published equation is partial and needs the success rate of the programme (settings, fusion)"


def _option(case: Case, treatment: str, outcome: str, months: int) -> dict[str, Any]:
    local = _find(case.local, case, treatment, outcome, months)
    published = _published(case, treatment, outcome, months)
    model = local or (published if published is not None and published.horizon_months == months else None)
    option: dict[str, Any] = {
        "treatment": treatment,
        "outcome": outcome,
        "horizon_months": months,
        "probability": None,
        "interval_90": None,
        "model": NONE,
        "missing": [],
        "abstained": True,
        "reason": NONE,
        "warnings": list(case.record.warnings),
    }
    refusal = _refusal(case, treatment, outcome, model)
    if refusal or model is None:
        option["reason"] = refusal or NONE
        return {**option, **_any_indication(case, outcome, months)} if refusal == NO_INDICATION else option
    option |= _evaluated(case, model)
    if local is not None and published is not None:
        answer = evaluate(published, case.record.known, read_table()["fields"])
        option["published_equation"] = {
            "model": published.id,
            "horizon_months": published.horizon_months,
            **_numbers(answer),
        }
    return option


def _any_indication(case: Case, outcome: str, months: int) -> dict[str, Any]:
    """The span of what surgery may bring whatever the indication is, when the record names none."""
    models = [m for m in case.published if (m.treatment, m.outcome, m.horizon_months) == ("surgery", outcome, months)]
    models = [m for m in models if case.region in (None, m.region)]
    answers = [evaluate(m, case.record.known, read_table()["fields"]) for m in models]
    span = [round(min(a.low for a in answers), 4), round(max(a.high for a in answers), 4)]
    return {
        "missing": ["indication"],
        "missing_by_indication": {m.indication: missing_fields(m, case.record.known) for m in models},
        "ask_first": {"field": "indication", "ask": read_table()["fields"]["indication"]["ask"]},
        "wide_estimate": {"interval_90": span, "meaning": "widest limits over all indications of the region"},
    }


def _numbers(answer: Answer) -> dict[str, Any]:
    return {
        "probability": round(answer.probability, 6),
        "interval_90": [round(answer.low, 6), round(answer.high, 6)],
    }


def _evaluated(case: Case, model: OutcomeModel) -> dict[str, Any]:
    """The part of an option that an equation answers."""
    fields, settings = read_table()["fields"], case.settings
    known = {**case.record.known, **case.imaging}
    extra, outside = extrapolation_variance(model, known, settings.cohort_z_limit)
    answer = evaluate(model, known, fields, extra)
    absent = missing_fields(model, known)
    items = worth_of_items(model, known, fields, extra) if absent else ()
    share = known_share(model, known)
    reasons = _doubts(case, share, answer)
    numbers = _numbers(answer)
    part: dict[str, Any] = {
        **numbers,
        "model": model.id,
        "missing": absent,
        "abstained": bool(reasons),
        "reason": "; ".join(reasons) or NONE,
        "outcome_in_words": model.facts["in_words"],
        "warnings": [*case.record.warnings, *outside, *_applicability(case, model)],
        "known_share": round(share, 4),
        "interval_width": {
            "now": round(answer.width, 4),
            "if_nothing_were_missing": round(if_complete(model, known, extra).width, 4),
            "in_the_hospitals_of_the_equation": round(evaluate(model, known, fields, extra, transfer=False).width, 4),
        },
        "missing_items": [
            {
                "field": item.field,
                "ask": _ask(item.field),
                "expected_width_if_known": round(item.width_if_known, 4),
                "narrows_by": round(item.narrows_by, 4),
            }
            for item in items
        ],
        "evidence": evidence(model),
    }
    if not reasons:
        part["in_words"] = f"about {round(100 * answer.probability)} of 100 such patients: {model.facts['in_words']}"
    if items:
        part["ask_first"] = {"field": items[0].field, "ask": _ask(items[0].field)}
    if reasons:
        part |= {"probability": None, "interval_90": None}
        part["wide_estimate"] = {**numbers, "meaning": "what the equation gives in spite of the reason to abstain"}
        if items:
            part["reason"] += f"; ask first: {_ask(items[0].field)}"
    return part


def _ask(field: str) -> str:
    spec = read_table()["fields"].get(field)
    return str(spec["ask"]) if spec else f"grading of the images ({field})"


def _doubts(case: Case, share: float, answer: Answer) -> list[str]:
    """Reasons to keep a number back although it can be computed."""
    settings, reasons = case.settings, []
    if share < settings.known_share_min:
        reasons.append(
            f"too little is known: the items given carry {round(100 * share)} % of what the equation goes by, "
            f"at least {round(100 * settings.known_share_min)} % are needed"
        )
    if answer.width > settings.interval_width_max:
        reasons.append(f"the 90 % interval from {answer.low:.2f} to {answer.high:.2f} is too wide to be of use")
    if case.region is None:
        reasons.append("the region of the spine is not known")
    return reasons


def _applicability(case: Case, model: OutcomeModel) -> list[str]:
    """Warnings about using `model` for this patient."""
    warnings = []
    if model.treatment == "pain_programme" and model.origin == "published":
        warnings.append("partial equation, recalibrated: the intercept is solved from a success rate")
        if not case.settings.programme_success_is_local:
            warnings.append(
                "the success rate is the published one of a Dutch programme (ODI of 20 or less, 848 patients), "
                "not one of this hospital"
            )
    if model.treatment == "pain_programme" and case.record.indication != model.indication:
        named = plain(case.record.indication or "no indication")
        warnings.append(f"the equation is for {plain(model.indication)}; the record names {named}")
    return warnings


def _with_ranking(options: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add `ranking` to every option: allowed only for the same outcome with intervals that do not overlap."""
    for option in options:
        option["ranking"] = {"allowed": False, "reason": _why_unranked(option, options)}
    for option in options:
        if option["ranking"]["reason"] == NONE:
            better = [o for o in _rivals(option, options) if o["probability"] > option["probability"]]
            option["ranking"] = {
                "allowed": True,
                "rank": 1 + len(better),
                "reason": "same outcome and horizon, intervals apart; still not the effect of treatment",
            }
    return options


def _rivals(option: Mapping[str, Any], options: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Other treatments with a number for the same outcome at the same time."""
    same = [o for o in options if (o["outcome"], o["horizon_months"]) == (option["outcome"], option["horizon_months"])]
    return [o for o in same if o["treatment"] != option["treatment"] and not o["abstained"]]


def _why_unranked(option: Mapping[str, Any], options: Sequence[Mapping[str, Any]]) -> str:
    if option["abstained"]:
        return "no probability to rank"
    rivals = _rivals(option, options)
    if not rivals:
        return "no other treatment has a probability of this outcome: different outcomes cannot be ranked"
    low, high = option["interval_90"]
    if any(low <= rival["interval_90"][1] and rival["interval_90"][0] <= high for rival in rivals):
        return "the 90 % intervals overlap"
    return NONE
