"""Update a published outcome equation with a local cohort and write model/fusion.json.

python -m lab.train.fit_fusion --cohort cohort.csv --region lumbar --outcome odi_22_or_less --out model/fusion.json

The published equation is the prior (its coefficients, their doubt and the doubt about its transfer to this hospital);
imaging features enter with zero-centred sceptical priors when the cohort names reports. The posterior is Laplace's
approximation, pooled over multiple imputations; performance is given before and after, corrected for optimism.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import math
import sys
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.evaluate.statistics import Optimism, bootstrap_intervals, calibration_groups, correct_optimism
from lab.train.fusion_cohort import BadCohort, Cohort, read_cohort
from lab.train.fusion_posterior import at_home, columns_of, predict, update
from lab.train.fusion_prior import OUTCOMES, Question, local_spreads, prior_model
from spine.errors import InputError, SpineError
from spine.fuse.bayes import FUSION_FORMAT
from spine.fuse.models import MODELS_FILE, OutcomeModel
from spine.fuse.record import CERVICAL_INDICATIONS
from spine.resources import load_schema
from spine.settings import FusionSettings, read_settings

Array = NDArray[np.float64]

KEY = ("region", "indication", "treatment", "outcome", "horizon_months")  # what an entry of fusion.json answers
HORIZONS = {12: "one year", 24: "two years"}
BOOTSTRAP_MIN = 20  # samples below which the 5th percentile is no more than the lowest value
BOOTSTRAP_ENOUGH = 100  # below this the limits of intervals are rough
IMPUTATIONS_MIN = 2  # one copy cannot tell what the missing values may be
BOOTSTRAP_COPIES = 3  # imputations inside each bootstrap sample: enough for a mean, too few for an interval


@dataclass(frozen=True)
class Fit:
    """A fitted equation with how well it and its prior did."""

    model: OutcomeModel
    before: dict[str, Any] | None  # performance of the published equation on the cohort; None when there is none
    after: Optimism
    groups: dict[str, list[dict[str, float]]]  # calibration plot, before and after


def settings_beside(out: Path) -> FusionSettings:
    """Group `fusion` of the settings.json in the folder of `out`, which inference will read; else the defaults."""
    return read_settings(out.parent).fusion if (out.parent / "settings.json").is_file() else FusionSettings()


def settled_indication(cohort: Cohort, region: str, outcome: str) -> str:
    """The cohort's indication, or that of the programme's outcome; raises BadCohort when none fits `region`."""
    named = cohort.indication
    if named is None:
        if outcome != "odi_22_or_less" or region == "cervical":
            raise BadCohort(f"{cohort.name} names no indication: add the column or --indication.")
        return "chronic_low_back_pain"
    allowed = [name for name in load_schema("clinical.schema.json")["properties"]["indication"]["enum"] if name]
    if named not in allowed:
        raise BadCohort(f"{cohort.name}: the indication is {named!r}; one of {', '.join(allowed)} is expected.")
    own = "cervical" if named in CERVICAL_INDICATIONS else "lumbar"
    if region != own:
        raise BadCohort(f"{cohort.name}: --region is {region}, but the indication {named} is {own}.")
    return named


def default_treatment(indication: str) -> str:
    """The pain programme for chronic low back pain, else surgery."""
    return "pain_programme" if indication == "chronic_low_back_pain" else "surgery"


def fit(question: Question, cohort: Cohort, settings: FusionSettings, options: argparse.Namespace) -> Fit:
    """Posterior and performance; `options` holds bootstrap, imputations and seed."""
    model, prior, published = prior_model(question, cohort, settings)
    columns = columns_of(model.predictors, cohort.records)
    outcome = cohort.outcome
    posterior = update(model, columns, outcome, prior, options.imputations, options.seed)

    def refit(rows: NDArray[np.intp]) -> Any:
        part = update(model, columns[rows], outcome[rows], prior, BOOTSTRAP_COPIES, options.seed)
        return lambda those: predict(part, columns[those])

    after = correct_optimism(outcome, refit, options.bootstrap, seed=options.seed)
    groups = {"after": calibration_groups(outcome, predict(posterior, columns))}
    before = None
    if published:
        untouched = predict(model, columns)
        shown = bootstrap_intervals(outcome, untouched, options.bootstrap, seed=options.seed)
        before = {name: asdict(estimate) for name, estimate in shown.items()}
        groups["before"] = calibration_groups(outcome, untouched)
    facts = _facts(model, question, cohort)
    local = at_home(replace(posterior, facts=facts), local_spreads(model, cohort))
    name = f"local_{question.indication}_{question.treatment}_{question.outcome}_{question.horizon_months}_months"
    return Fit(replace(local, id=name), before, after, groups)


def _facts(model: OutcomeModel, question: Question, cohort: Cohort) -> dict[str, Any]:
    when = HORIZONS.get(question.horizon_months, f"{question.horizon_months} months")
    prior = "no published equation: weak prior"
    if model.facts["n"]:
        prior = f"prior: {model.id}, published at {model.facts['published_horizon_months']} months"
    return {
        "n": len(cohort.outcome),
        "population": f"local cohort of {len(cohort.outcome)} patients ({question.indication}, {question.treatment})",
        "outcome_definition": model.facts["outcome_definition"],
        "in_words": f"{OUTCOMES[question.outcome]} {when} after {question.treatment.replace('_', ' ')}",
        "source": f"local cohort {cohort.name}; {prior}",
        "published_horizon_months": model.facts.get("published_horizon_months"),
        "tag": "local",
    }


def entry_of(result: Fit, cohort: Cohort, options: argparse.Namespace) -> dict[str, Any]:
    """The entry of model/fusion.json."""
    model = result.model
    head = ("id", "region", "indication", "treatment", "outcome", "horizon_months", "link", "constant")
    entry = {
        **{name: getattr(model, name) for name in head},
        "predictors": [
            {
                "field": p.field,
                "kind": p.kind,
                "coefficients": list(p.coefficients),
                "mean": p.mean,
                "scale": p.scale,
                "levels": list(p.levels),
                "shares": list(p.shares),
            }
            for p in model.predictors
        ],
        "covariance": model.covariance.tolist(),
        "facts": dict(model.facts),
        "performance": {
            "published_equation": result.before or "no published equation",
            "apparent": {name: asdict(value) for name, value in result.after.apparent.items()},
            "optimism_corrected": {name: asdict(value) for name, value in result.after.corrected.items()},
            "calibration_groups": result.groups,
        },
        "provenance": {
            "made_by": "lab.train.fit_fusion",
            "made_on": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "cohort": cohort.name,
            "cohort_sha256": cohort.sha256,
            "patients": len(cohort.outcome),
            "successes": int(cohort.outcome.sum()),
            "left_out_without_outcome": cohort.without_outcome,
            "missing_share": {p.field: _missing_share(p.field, cohort) for p in model.predictors},
            "outcome_models_sha256": hashlib.sha256(MODELS_FILE.read_bytes()).hexdigest(),
            "imputations": options.imputations,
            "bootstrap": options.bootstrap,
            "seed": options.seed,
            "method": "Laplace approximation, pooled over multiple imputations; optimism by bootstrap",
            "packages": {name: version(name) for name in ("numpy", "scipy", "scikit-learn", "statsmodels")},
        },
    }
    plain: dict[str, Any] = _without_nan(entry)
    return plain


def _without_nan(value: Any) -> Any:
    """Deep copy of `value` in which a number that could not be estimated says so."""
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"not_measurable": "the cohort is too small or separates the outcomes"}
    return value


def _missing_share(field: str, cohort: Cohort) -> float:
    return round(float(np.mean([field not in record for record in cohort.records])), 4)


def write_fusion(path: Path, entry: dict[str, Any]) -> str | None:
    """Put `entry` into the file at `path`; says so when it takes the place of one that answers the same question."""
    before = json.loads(path.read_text(encoding="utf-8"))["models"] if path.is_file() else []
    kept = [other for other in before if any(other[name] != entry[name] for name in KEY)]
    entries = [*kept, entry]
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {"format": FUSION_FORMAT, "models": sorted(entries, key=lambda other: str(other["id"]))}
    path.write_text(json.dumps(table, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return None if len(kept) == len(before) else f"{path.name}: the entry {entry['id']} was replaced."


def summary(result: Fit) -> str:
    """A table of performance before and after, with 90 % intervals, for the terminal."""
    months = result.model.facts["published_horizon_months"]
    titles = (f"published at {months} months" if months else "published", "apparent", "optimism-corrected")
    lines = [f"{'value (90 % interval)':24}" + "".join(f"{title:>24}" for title in titles)]
    for name, corrected in result.after.corrected.items():
        before = result.before[name] if result.before else None
        cells = [before, asdict(result.after.apparent[name]), asdict(corrected)]
        lines.append(f"{name:24}" + "".join(f"{_told(cell):>24}" for cell in cells))
    lines.append(
        "Limits of optimism-corrected values are the apparent ones, moved: they leave out the doubt of refitting."
    )
    return "\n".join(lines)


def _told(value: dict[str, float] | None) -> str:
    return "-" if value is None else f"{value['value']:.3f} ({value['low']:.3f}, {value['high']:.3f})"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--cohort", type=Path, required=True, help="CSV, one row a patient")
    parser.add_argument("--region", choices=("lumbar", "cervical"), required=True)
    parser.add_argument("--outcome", choices=tuple(OUTCOMES), required=True)
    parser.add_argument("--indication", help="of the cohort; default: the one in its column 'indication'")
    parser.add_argument("--treatment", choices=("surgery", "pain_programme"), help="default: by indication")
    parser.add_argument("--horizon", type=int, default=12, help="months after treatment")
    parser.add_argument("--out", type=Path, required=True, help="fusion.json to write or add to")
    parser.add_argument("--bootstrap", type=int, default=200, help="samples for intervals and optimism (default: 200)")
    parser.add_argument("--imputations", type=int, default=20, help="completed copies of the cohort (default: 20)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def check_effort(options: argparse.Namespace) -> str | None:
    """A warning when the samples are few; raises InputError when they are too few for any interval."""
    for name, lowest in (("bootstrap", BOOTSTRAP_MIN), ("imputations", IMPUTATIONS_MIN)):
        if getattr(options, name) < lowest:
            raise InputError(f"--{name} is {getattr(options, name)}; at least {lowest} are needed for an interval.")
    if options.bootstrap < BOOTSTRAP_ENOUGH:
        return (
            f"--bootstrap {options.bootstrap} is few: the limits of the intervals and the correction for optimism are "
            f"rough below {BOOTSTRAP_ENOUGH} samples."
        )
    return None


def main(arguments: list[str] | None = None) -> int:
    """Fit, write and print; exit code 0, or 2 and one sentence on stderr when the cohort cannot be used."""
    options = parse(arguments)
    try:
        warning = check_effort(options)
        cohort = read_cohort(options.cohort, options.region, options.outcome, options.horizon, options.indication)
        indication = settled_indication(cohort, options.region, options.outcome)
        treatment = options.treatment or default_treatment(indication)
        question = Question(options.region, indication, treatment, options.outcome, options.horizon)
        result = fit(question, cohort, settings_beside(options.out), options)
        replaced = write_fusion(options.out, entry_of(result, cohort, options))
    except SpineError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(summary(result))
    for told in (replaced, warning):
        if told:
            print(told, file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
