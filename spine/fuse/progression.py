"""Progression between two studies of one patient: grades and disc heights now against those of a prior report.

Only what both studies measured is compared. A rate per year needs the time between the studies: `interval_years` of the
prior report, which the caller adds; it is not guessed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from spine.fuse.engine import Z_90
from spine.fuse.findings import FIRST_GRADE, region_of_level
from spine.fuse.same_person import STRANGER, compare_bodies, other_by_record
from spine.records import Grade, Measurement
from spine.settings import FusionSettings

HEIGHT = "disc_height_middle_mm"
ORDERED = ("pfirrmann",)  # grades whose increase is a progression
INTERVAL = "interval_years"
SAME_IMAGE = "the earlier report is of the very same image (equal SHA-256 of the voxels): nothing can have changed"
MIN_GROWN = 2  # discs: one may be measured badly
GROWN = (
    STRANGER + " or another kind of image: {count} discs ({levels}) would have gained height beyond the measurement "
    "error, and adult discs do not grow"
)
NOTHING_SHARED = "no disc was measured or graded in both studies, so that nothing can be compared"
NO_INCREASE = "the grade did not increase: a probability from two separate readings would mostly be their errors"
GRADE_NOTE = (
    "probability_of_increase takes the reading errors of the two studies as independent; errors that both share make "
    "it too high or too low, and a rate of grades carries the same error"
)


def progression(
    measurements: Sequence[Measurement],
    grades: Sequence[Grade],
    prior_report: Mapping[str, Any],
    settings: FusionSettings,
    image_sha256: str | None = None,
    clinical: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Changes per level since `prior_report` (a spine-degeneration-report.json), JSON-ready.

    Not measurable when `image_sha256`, of the voxels of this study, is that of the earlier one, when the earlier report
    is taken for someone else's (spine.fuse.same_person, or MIN_GROWN discs or more grew), or when no disc is known in
    both. `clinical` is the record of this study.
    """
    earlier_sha256 = prior_report.get("provenance", {}).get("image_sha256")
    if image_sha256 is not None and image_sha256 == earlier_sha256:
        return {"not_measurable": SAME_IMAGE}
    before = {
        row["level"]: row for row in prior_report.get("levels", []) if isinstance(row, Mapping) and "level" in row
    }
    years = _years(prior_report)
    rows = []
    for level, earlier in before.items():
        row: dict[str, Any] = {"level": level}
        row["height"] = _height_change(level, measurements, earlier, settings)
        row["grades"] = {name: _grade_change(level, name, grades, earlier) for name in ORDERED}
        if region_of_level(level) == "cervical":
            row["adjacent_segment_degeneration"] = _adjacent_segment(row)
        if years is not None:
            _add_rates(row, years)
        rows.append(row)
    bodies = compare_bodies(measurements, prior_report)
    other = other_by_record(clinical or {}, prior_report, years) or bodies.get("other_person") or _grown(rows)
    if other is None and not any(_is_known(row) for row in rows):
        other = NOTHING_SHARED
    if other is not None:
        return {"not_measurable": other}
    missing = "the time between the two studies is not known: changes are given, rates are not"
    return {
        "interval_years": years if years is not None else {"not_measurable": missing},
        "levels": rows,
        "same_levels": _same_levels(prior_report),
        "same_person": bodies,
        "height_error_mm": settings.height_change_sd_mm,
        "note": "heights of the same disc also change by about 0.9 mm over a day (Boos 1996)",
        "grade_note": GRADE_NOTE,
    }


def _years(prior_report: Mapping[str, Any]) -> float | None:
    """Time between the two studies as the caller added it, None where it is not known."""
    years = prior_report.get(INTERVAL)
    known = isinstance(years, int | float) and not isinstance(years, bool) and math.isfinite(years) and years > 0
    return float(years) if known and years is not None else None


def _grown(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Why discs that grew are of someone else, None where fewer than MIN_GROWN did."""
    grown = [row["level"] for row in rows if _has_grown(row["height"])]
    return GROWN.format(count=len(grown), levels=", ".join(grown)) if len(grown) >= MIN_GROWN else None


def _is_known(row: Mapping[str, Any]) -> bool:
    """Whether height or a grade of this level is known in both studies."""
    return any("not_measurable" not in part for part in (row["height"], *row["grades"].values()))


def _same_levels(prior_report: Mapping[str, Any]) -> str:
    """Whether names of the earlier study can be trusted: one level off, every change is that of another disc."""
    numbering = prior_report.get("numbering", {})
    doubt = numbering.get("doubt", "none") if isinstance(numbering, Mapping) else "none"
    if doubt == "none":
        return "levels are compared by name; the names were not in doubt in the earlier study"
    return f"levels are compared by name, and the names of the earlier study were in doubt: {doubt}"


def _prior_value(row: Mapping[str, Any], part: str, name: str, key: str) -> Any:
    """Value of the prior report, or None where it has none."""
    entry = row.get(part, {}).get(name, {})
    return entry.get(key) if isinstance(entry, Mapping) else None


def _height_change(
    level: str, measurements: Sequence[Measurement], before: Mapping[str, Any], settings: FusionSettings
) -> dict[str, Any]:
    now = next((m.value for m in measurements if (m.subject, m.name) == (level, HEIGHT)), None)
    then = _prior_value(before, "measurements", HEIGHT, "value")
    if now is None or not isinstance(then, int | float):
        return {"not_measurable": f"{HEIGHT} is not known in both studies"}
    loss = float(then) - now
    reach = Z_90 * settings.height_change_sd_mm
    return {
        "loss_mm": round(loss, 2),
        "interval_90_mm": [round(loss - reach, 2), round(loss + reach, 2)],
        "beyond_measurement_error": bool(abs(loss) > reach),
    }


def _has_grown(height: Mapping[str, Any]) -> bool:
    return bool(height.get("beyond_measurement_error")) and height["loss_mm"] < 0


def other_person(found: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The warning on whose report was compared in `found`: taken for someone else's, or not to be checked."""
    reason = (found or {}).get("not_measurable", "")
    if reason.startswith(STRANGER):
        return (f"Check the patient: {reason}.",)
    unchecked = (found or {}).get("same_person", {}).get("not_measurable")
    return (f"Check the patient: {unchecked}.",) if unchecked else ()


def _probabilities(grade: int, probabilities: Sequence[float], first: int) -> dict[int, float]:
    return {first + i: float(p) for i, p in enumerate(probabilities)} if probabilities else {int(grade): 1.0}


def _grade_change(level: str, name: str, grades: Sequence[Grade], before: Mapping[str, Any]) -> dict[str, Any]:
    now = next((g for g in grades if (g.level, g.name) == (level, name) and g.grade is not None), None)
    then = _prior_value(before, "grades", name, "grade")
    if now is None or now.grade is None or not isinstance(then, int):
        return {"not_measurable": f"{name} is not graded in both studies"}
    first = FIRST_GRADE[name]
    earlier = _probabilities(then, _prior_value(before, "grades", name, "probabilities") or (), first)
    later = _probabilities(int(now.grade), now.probabilities, first)
    worse = sum(p * q for a, p in earlier.items() for b, q in later.items() if b >= a + 1)
    rose = int(now.grade) > then
    return {
        "before": then,
        "now": int(now.grade),
        "increase": int(now.grade) - then,
        "probability_of_increase": round(min(1.0, worse), 4) if rose else {"not_measurable": NO_INCREASE},
        "positive_progression": rose,
    }


def _adjacent_segment(row: Mapping[str, Any]) -> dict[str, Any]:
    """Adjacent-segment degeneration as the neck trial defines it (Yang 2020, doi 10.1007/s00586-019-06157-0).

    Disc-height decrease together with an anterior osteophyte; progression at follow-up is a grade higher by one. Which
    levels are adjacent to an operated one the record does not say.
    """
    grade, height = row["grades"]["pfirrmann"], row["height"]
    result: dict[str, Any] = {"definition": "disc height decrease and anterior osteophyte (Yang 2020)"}
    osteophyte = "anterior osteophytes are not graded"
    if "not_measurable" in height:
        result["present"] = {"not_measurable": f"{height['not_measurable']}; {osteophyte}"}
    elif not height["beyond_measurement_error"] or height["loss_mm"] <= 0:
        result["present"] = False
    else:
        result["present"] = {"not_measurable": f"disc height decreased; {osteophyte}"}
    result["positive_progression"] = grade.get("positive_progression", grade)
    result["adjacency"] = "applies only if this level is next to an operated one; the record does not say which were"
    return result


def _add_rates(row: dict[str, Any], years: float) -> None:
    """Add changes per year to the parts that have a change."""
    height = row["height"]
    if "loss_mm" in height:
        height["loss_mm_per_year"] = round(height["loss_mm"] / years, 3)
        height["interval_90_mm_per_year"] = [round(limit / years, 3) for limit in height["interval_90_mm"]]
    for change in row["grades"].values():
        if "increase" in change:
            change["increase_per_year"] = round(change["increase"] / years, 3)
