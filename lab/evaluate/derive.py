"""Raw results of all cases -> tables. Every score is derived here, from what `run_external` stored, and nowhere else.

Intervals are 95 % percentile intervals over patients drawn with replacement. A row says how many values it rests on and
how many could not be measured.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.evaluate.agreement import auc, balanced_accuracy, bland_altman, bootstrap_by_patient, icc_2_1, kappa
from lab.evaluate.outcomes import area_under_risk_coverage, decision_curve, risk_coverage
from lab.evaluate.recalibration import Recalibrate
from lab.evaluate.statistics import Estimate, bootstrap_intervals, calibration_groups

Raw = dict[str, Any]
Row = dict[str, Any]
MEASURES = ("dice", "hd95_mm", "assd_mm", "nsd_1mm", "nsd_2mm")
# Grade from which on a level counts as affected, for the AUC of an ordinal grade.
AFFECTED_FROM = {"pfirrmann": 4, "modic": 1}
AGE_BANDS_YEARS = (40.0, 60.0)
NOT_A_GROUP = ("case", "patient", "image", "t1", "axial", "xray", "clinical", "age_years")
MIN_EVENTS = 2
NOT_PREDICTED = {"not_measurable": "nothing was predicted"}
NOT_DEFINED = {"not_measurable": "not defined for this sample"}


def derive(raw: list[Raw], draws: int = 500, recalibrate: Recalibrate | None = None) -> dict[str, Any]:
    """All tables, by name: each a list of flat rows (cells are numbers, texts or `{"not_measurable": reason}`).

    `recalibrate` is one of the ways of `lab.evaluate.recalibration`.
    """
    tables: dict[str, Any] = {
        "masks": list(_masks(raw, draws)),
        "instances": list(_instances(raw, draws)),
        "detection": list(_detection(raw, draws)),
        "numbering": list(_numbering(raw, draws)),
        "subgroups": list(_subgroups(raw, draws)),
        "risk_coverage": _risk_coverage(raw),
        "gradings": list(_gradings(raw, draws)),
        "measurements": list(_measurements(raw, draws)),
        "spider_leaderboard": list(_spider(raw)),
    }
    return tables | _outcomes(raw, draws, recalibrate)


def cell(value: float) -> Any:
    """A number for JSON, or the reason why there is none."""
    return round(float(value), 6) if math.isfinite(value) else NOT_DEFINED


def measured(values: list[Any]) -> list[float]:
    """The numbers among `values`."""
    return [float(value) for value in values if isinstance(value, int | float)]


def _interval(name: str, estimate: Estimate) -> Row:
    return {name: cell(estimate.value), f"{name}_low": cell(estimate.low), f"{name}_high": cell(estimate.high)}


def _mean(owners: list[str], values: list[float], draws: int) -> Estimate:
    data = np.asarray(values, float)
    return bootstrap_by_patient(np.asarray(owners), lambda rows: float(data[rows].mean()), draws)


def _summary(owners: list[str], values: list[Any], measure: str, draws: int) -> Row:
    """n, mean with interval, spread and the worst of `values`, of which those that are not numbers are counted."""
    pairs = [(o, float(v)) for o, v in zip(owners, values, strict=True) if isinstance(v, int | float)]
    row: Row = {"measure": measure, "n": len(pairs), "patients": len({o for o, _ in pairs})}
    row["not_measured"] = len(values) - len(pairs)
    if not pairs:
        return row | {"mean": NOT_DEFINED}
    names, numbers = [o for o, _ in pairs], [v for _, v in pairs]
    row |= _interval("mean", _mean(names, numbers, draws))
    row |= {"sd": cell(float(np.std(numbers, ddof=1)) if len(numbers) > 1 else math.nan)}
    low, median, high = np.percentile(numbers, (25, 50, 75))
    worst = max(numbers) if measure.endswith("_mm") else min(numbers)
    return row | {"median": cell(median), "q1": cell(low), "q3": cell(high), "worst": cell(worst)}


def _scored(raw: list[Raw]) -> list[Raw]:
    return [case for case in raw if "structures" in case.get("masks", {})]


def _masks(raw: list[Raw], draws: int) -> Iterator[Row]:
    """One row a structure and measure; both-empty cases are not measured, a missing structure has Dice 0."""
    cases = _scored(raw)
    for structure in dict.fromkeys(name for case in cases for name in case["masks"]["structures"]):
        having = [case for case in cases if structure in case["masks"]["structures"]]
        owners = [case["patient"] for case in having]
        for measure in MEASURES:
            values = [case["masks"]["structures"][structure][measure] for case in having]
            yield {"structure": structure} | _summary(owners, values, measure, draws)


def _all_instances(raw: list[Raw]) -> list[tuple[Raw, Row]]:
    return [(case, one) for case in _scored(raw) for one in case["masks"]["instances"]]


def _instances(raw: list[Raw], draws: int) -> Iterator[Row]:
    """Instances that were found, whatever they were called: one row a kind and measure."""
    for kind in ("vertebra", "disc"):
        pairs = [(case, one) for case, one in _all_instances(raw) if one["kind"] == kind and one["found"]]
        for measure in MEASURES if pairs else ():
            values = [one[measure] for _, one in pairs]
            yield {"instances": kind} | _summary([case["patient"] for case, _ in pairs], values, measure, draws)


def _detection(raw: list[Raw], draws: int) -> Iterator[Row]:
    for kind in ("vertebra", "disc"):
        pairs = [(case, one) for case, one in _all_instances(raw) if one["kind"] == kind]
        if not pairs:
            continue
        found = [float(one["found"]) for _, one in pairs]
        extra = sum(("/" in name) == (kind == "disc") for case in _scored(raw) for name in case["masks"]["extra"])
        total = sum(found)
        yield (
            {"instances": kind, "reference": len(pairs), "found": int(total), "extra": extra}
            | {"precision": cell(total / (total + extra) if total + extra else math.nan)}
            | _interval("sensitivity", _mean([case["patient"] for case, _ in pairs], found, draws))
        )


def _numbering(raw: list[Raw], draws: int) -> Iterator[Row]:
    cases = [case for case in _scored(raw) if "all_right" in case["masks"]["numbering"]]
    if not cases:
        return
    owners = [case["patient"] for case in cases]
    values = [float(case["masks"]["numbering"]["all_right"]) for case in cases]
    yield {"what": "cases with every level named right", "n": len(cases)} | _interval(
        "share", _mean(owners, values, draws)
    )
    pairs = [(case, one) for case, one in _all_instances(raw) if one["found"]]
    right = [float(one["prediction"] == one["reference"]) for _, one in pairs]
    yield {"what": "found levels named right", "n": len(right)} | _interval(
        "share", _mean([case["patient"] for case, _ in pairs], right, draws)
    )


def groups_of(case: Raw) -> dict[str, str]:
    """Subgroup variable -> the group that `case` belongs to."""
    columns = case.get("cohort", {})
    found = {key: value for key, value in columns.items() if key not in NOT_A_GROUP}
    if "age_years" in columns:
        low, high = AGE_BANDS_YEARS
        age = float(columns["age_years"])
        found["age"] = f"below {low:g}" if age < low else f"{low:g} to {high:g}" if age <= high else f"above {high:g}"
    if "report" in case:
        found["quality flag"] = "flagged" if case["report"]["flags"] else "none"
    return found


def _subgroups(raw: list[Raw], draws: int) -> Iterator[Row]:
    cases = _scored(raw)
    for variable in sorted({name for case in cases for name in groups_of(case)}):
        by_group: dict[str, list[Raw]] = defaultdict(list)
        for case in cases:
            by_group[groups_of(case).get(variable, "not known")].append(case)
        for group, members in sorted(by_group.items()):
            for row in _masks(members, draws):
                if row["measure"] == "dice":
                    kept = ("n", "patients", "mean", "mean_low", "mean_high", "worst")
                    yield {"variable": variable, "group": group, "structure": row["structure"]} | {
                        f"dice_{key}" if key not in ("n", "patients") else key: row.get(key, NOT_DEFINED)
                        for key in kept
                    }


def case_dice(case: Raw) -> float:
    """Mean Dice over the structures of one case that were scored; nan where there is none."""
    values = measured([one["dice"] for one in case.get("masks", {}).get("structures", {}).values()])
    return float(np.mean(values)) if values else math.nan


def _risk_coverage(raw: list[Raw]) -> dict[str, Any]:
    """Error (1 - mean Dice) of the cases of which the software says it is surest."""
    points = []
    for case in raw:
        confidence = measured(list(case.get("report", {}).get("confidence", {}).values()))
        if confidence and math.isfinite(case_dice(case)):
            points.append((1 - case_dice(case), min(confidence)))
    if len(points) < 2:
        return {"not_measurable": "fewer than two cases have both a confidence and a reference"}
    error, confidence = np.asarray(points).T
    return {
        "confidence": "smallest structure confidence of the report",
        "n": len(points),
        "area": cell(area_under_risk_coverage(error, confidence)),
        "area_of_no_order": cell(float(error.mean())),
        "curve": risk_coverage(error, confidence),
    }


def _gradings(raw: list[Raw], draws: int) -> Iterator[Row]:
    rows = [(case["patient"], row) for case in raw for row in case.get("gradings", ())]
    for name in dict.fromkeys(row["name"] for _, row in rows):
        own = [(owner, row) for owner, row in rows if row["name"] == name]
        both = [(owner, row) for owner, row in own if "prediction" in row]
        result: Row = {"name": name, "n": len(both), "not_measured": len(own) - len(both)}
        result["patients"] = len({owner for owner, _ in both})
        yield result | (_grade_scores(name, both, draws) if both else {"kappa": NOT_PREDICTED})


def _grade_scores(name: str, pairs: list[tuple[str, Row]], draws: int) -> Row:
    owners = np.asarray([owner for owner, _ in pairs])
    reference = np.asarray([row["reference"] for _, row in pairs], int)
    prediction = np.asarray([row["prediction"] for _, row in pairs], int)
    cut = AFFECTED_FROM.get(name, 1)
    score = np.asarray([_score(row, cut) for _, row in pairs], float)
    statistics: dict[str, Callable[[NDArray[np.intp]], float]] = {
        "kappa": lambda rows: kappa(reference[rows], prediction[rows]),
        "kappa_quadratic": lambda rows: kappa(reference[rows], prediction[rows], "quadratic"),
        "balanced_accuracy": lambda rows: balanced_accuracy(reference[rows], prediction[rows]),
        "auc": lambda rows: auc((reference[rows] >= cut).astype(int), score[rows]),
    }
    result: Row = {"affected": int((reference >= cut).sum())}
    for key, statistic in statistics.items():
        result |= _interval(key, bootstrap_by_patient(owners, statistic, draws))
    return result


def _score(row: Row, cut: int) -> float:
    """Probability of a grade of at least `cut`; the grade itself where no probabilities are known."""
    probabilities = row.get("probabilities") or []
    if len(probabilities) == 1:
        return float(probabilities[0])
    if probabilities:  # Pfirrmann counts from 1, Modic from 0
        first = 1 if row["name"] == "pfirrmann" else 0
        return float(sum(probabilities[cut - first :]))
    return float(row["prediction"])


def _measurements(raw: list[Raw], draws: int) -> Iterator[Row]:
    rows = [(case["patient"], row) for case in raw for row in case.get("measurements", ())]
    for name in dict.fromkeys(row["name"] for _, row in rows):
        own = [(owner, row) for owner, row in rows if row["name"] == name]
        both = [(owner, row) for owner, row in own if "prediction" in row]
        result: Row = {"name": name, "n": len(both), "not_measured": len(own) - len(both)}
        if not both:
            yield result | {"icc": NOT_PREDICTED}
            continue
        owners = np.asarray([owner for owner, _ in both])
        values = np.asarray([[row["reference"], row["prediction"]] for _, row in both], float)
        result |= _interval("icc", bootstrap_by_patient(owners, lambda rows, v=values: icc_2_1(v[rows]), draws))
        bias = bootstrap_by_patient(owners, lambda rows, v=values: float((v[rows, 1] - v[rows, 0]).mean()), draws)
        limits = bland_altman(values[:, 0], values[:, 1])
        yield result | _interval("bias", bias) | {key: cell(v) for key, v in limits.items() if key != "bias"}


def one_a_patient(raw: list[Raw]) -> list[Row]:
    """Outcome rows with their owner's record, one a patient, treatment and outcome: the first with a probability."""
    kept: dict[tuple[str, ...], Row] = {}
    for case in raw:
        for row in case.get("outcomes", ()):
            own = {**row, **({"record": case["record"]} if "record" in case else {})}
            key = (case["patient"], row["treatment"], row["outcome"])
            if key not in kept or ("probability" in own and "probability" not in kept[key]):
                kept[key] = own
    return list(kept.values())


def _outcomes(raw: list[Raw], draws: int, recalibrate: Recalibrate | None) -> dict[str, Any]:
    """One row a treatment and outcome, with its curves; patients of whom both outcome and probability are known."""
    table, curves, studies = [], {}, {}
    rows = one_a_patient(raw)
    for key in dict.fromkeys((row["treatment"], row["outcome"]) for row in rows):
        own = [row for row in rows if (row["treatment"], row["outcome"]) == key]
        both = [row for row in own if "probability" in row]
        observed = np.asarray([row["observed"] for row in both], float)
        probability = np.asarray([row["probability"] for row in both], float)
        result: Row = {"treatment": key[0], "outcome": key[1], "n": len(both), "not_measured": len(own) - len(both)}
        result["events"] = int(observed.sum())
        if recalibrate:
            studies |= {name: _flat(study) for name, study in recalibrate(own, draws).items()}
        if min(observed.sum(), len(both) - observed.sum()) < MIN_EVENTS:
            table.append(result | {"auc": {"not_measurable": "fewer than two patients with or without the outcome"}})
            continue
        for name, estimate in bootstrap_intervals(observed, probability, resamples=draws, level=0.95).items():
            result |= _interval(name, estimate)
        table.append(result)
        groups = calibration_groups(observed, probability, min(5, max(2, len(both) // 10)))
        curves[f"{key[0]}: {key[1]}"] = {"decision": decision_curve(observed, probability), "calibration": groups}
    found: dict[str, Any] = {"outcomes": table, "outcome_curves": curves}
    return found | ({"recalibration": studies} if recalibrate else {})


def _flat(study: dict[str, Any]) -> dict[str, Any]:
    """A recalibration study with its estimates as cells."""
    return {
        key: {name: _interval("value", one) for name, one in value.items()} if key in ("before", "after") else value
        for key, value in study.items()
    }


def _spider(raw: list[Raw]) -> Iterator[Row]:
    cases = [case["spider_leaderboard"] for case in raw if "spider_leaderboard" in case]
    for score in cases[0] if cases else ():
        values = measured([case[score] for case in cases])
        row: Row = {"score": score, "n": len(values), "not_measured": len(cases) - len(values)}
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        yield row | {"mean": cell(float(np.mean(values)) if values else math.nan), "sd": cell(spread)}
