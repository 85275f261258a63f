"""Records to JSON: rounding by unit, clean strings, and a reason wherever a value is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spine.records import NOT_IMPLEMENTED, Grade, Measurement

NOT_FINITE = "not a finite number"
NO_REFERENCE = "no reference values"
TEXT_LIMIT = 2000  # characters kept of any string that another stage or the user wrote

LIKELY_PROB = 0.5  # a grade less probable than this is told as a run of grades
DECIMALS = {"mm": 2, "mm2": 1, "mm3": 0, "deg": 2, "%": 2, "1": 4}  # by UCUM unit
DECIMALS_ELSE = 4
DECIMALS_PASSED = 6  # of numbers whose meaning is another stage's


def missing(reason: str) -> dict[str, str]:
    """The object that stands where a value is missing; `reason` is a short phrase without a full stop."""
    return {"not_measurable": clean_text(reason) or NOT_IMPLEMENTED}


def is_missing(value: Any) -> bool:
    """Whether `value` is the object that `missing` makes."""
    return isinstance(value, Mapping) and set(value) == {"not_measurable"}


def clean_text(text: object) -> str:
    """`text` in printable characters (no controls, no lone surrogates), white space single, `TEXT_LIMIT` at most."""
    kept = str(text)[: 2 * TEXT_LIMIT]
    if not kept.isprintable():
        kept = "".join(c if c.isprintable() else " " for c in kept)
    return " ".join(kept.split())[:TEXT_LIMIT]


def rounded(value: float, unit: str = "") -> float | int:
    """`value` rounded to the decimals that `unit` deserves; -0.0 becomes 0.0, whole volumes become int."""
    decimals = DECIMALS.get(unit, DECIMALS_ELSE)
    return round(float(value), decimals) + 0.0 if decimals else round(float(value))


def json_ready(value: Any) -> Any:
    """Deep copy of `value` in JSON's own types: no NaN or Inf (a reason instead), no numpy, no hostile characters."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return round(value, DECIMALS_PASSED) + 0.0 if math.isfinite(value) else missing(NOT_FINITE)
    if isinstance(value, Mapping):
        return {clean_text(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_ready(item) for item in value]
    return clean_text(value)


def _optional(value: float | None, reason: str, unit: str = "") -> Any:
    if value is None:
        return missing(reason)
    return rounded(value, unit) if math.isfinite(value) else missing(NOT_FINITE)


def measurement_object(measurement: Measurement) -> dict[str, Any]:
    """Value object of one measurement: value, unit, z, percentile, reference; or not_measurable with the reason."""
    if measurement.not_measurable is not None:
        return missing(measurement.not_measurable)
    if measurement.value is None:
        return missing(NOT_IMPLEMENTED)
    if not math.isfinite(measurement.value):
        return missing(NOT_FINITE)
    return {
        "value": rounded(measurement.value, measurement.unit),
        "unit": clean_text(measurement.unit),
        "z": _optional(measurement.z, NO_REFERENCE, "deg"),
        "percentile": _optional(measurement.percentile, NO_REFERENCE, "%"),
        "reference": clean_text(measurement.reference) if measurement.reference else NO_REFERENCE,
        **_interval(measurement),
    }


def _interval(measurement: Measurement) -> dict[str, Any]:
    """`interval_90` of a measurement whose error is known; nothing else states one."""
    if measurement.interval_90 is None:
        return {}
    return {"interval_90": [rounded(end, measurement.unit) for end in measurement.interval_90]}


def grade_object(grade: Grade) -> dict[str, Any]:
    """Value object of one grade: grade, probabilities, confidence, evidence; or not_measurable with the reason."""
    if grade.not_measurable is not None:
        return missing(grade.not_measurable)
    if grade.grade is None:
        return missing(NOT_IMPLEMENTED)
    if not all(math.isfinite(p) for p in grade.probabilities):
        return missing(NOT_FINITE)
    return {
        "grade": np.asarray(grade.grade).item(),
        "probabilities": [rounded(p) for p in grade.probabilities],
        "confidence": _optional(grade.confidence, NOT_IMPLEMENTED),
        "evidence": [clean_text(text) for text in grade.evidence],
    }


def likely_run(probabilities: Sequence[float]) -> tuple[int, int, float]:
    """(lowest, highest, probability) of the shortest run of grades that is more likely than not, of such the likeliest.

    Grade 1 with 0.38 beside grade 0 with 0.36 says '0-1, 0.74', not '1'. `probabilities`: of the grades from 0 up.
    """
    count = len(probabilities)
    runs = (
        (low, low + length - 1, sum(probabilities[low : low + length]))
        for length in range(1, count + 1)
        for low in range(count - length + 1)
    )
    return min((run for run in runs if run[2] >= LIKELY_PROB), key=lambda run: (run[1] - run[0], -run[2]))


def run_text(low: int, high: int) -> str:
    """'2', or '1-2'."""
    return str(low) if low == high else f"{low}-{high}"
