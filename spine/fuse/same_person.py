"""Whether an earlier report can be of the same person: its age and sex, and the sizes of the vertebral bodies.

An adult's vertebral bodies keep their depth and, fractures aside, their height. T1 and T2 of one session stand for two
measurements of one person: in 105 of SPIDER's training and validation patients with three bodies or more in both, the
median over the bodies of the difference had a root mean square of 0.83 mm (depth) and 0.48 mm (middle height), and the
statistic below stayed under its limit in all. Of 4,072 pairs of different persons among them 67 % lay beyond it; with
the rule on discs that grew 82 % were told, and 1 of the 105 pairs was, wrongly. No neck was measured twice. Canals of
one person differed by 10 to 30 % between T1 and T2 and are not used, nor is the number of levels, which goes by the
field of view.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spine.anatomy import VERTEBRA_NAMES
from spine.records import Measurement

# Root mean square of the median difference between two measurements of one person, see above, rounded up.
ERRORS_MM = {"body_ap_depth_mm": 0.85, "body_height_middle_mm": 0.5}
LARGEST = 16.0  # sum of squares of the two medians over their errors: four standard deviations
FEWEST_BODIES = 3  # in common; the median of fewer goes by one outline
AGE_TOLERANCE_YEARS = 2.0  # completed years at both ends, and a time between the studies that was rounded
STRANGER = "the earlier report is taken for another person's"  # how every such reason begins
SIZES = (
    STRANGER
    + " or another kind of image: its vertebral bodies differ by {depth} mm in depth and {height} mm in height "
    "(medians of {count}), more than two measurements of one adult do"
)
SEX = STRANGER + ": it states the sex {then}, this study {now}"
AGE = STRANGER + ": it states an age of {then:g} years, this study {now:g}{later}"
UNCHECKED = (
    "whether the earlier report is of the same person could not be checked: {count} vertebral bodies were measured in "
    "both, {least} are needed"
)
AGREES = "sizes of the vertebral bodies agree, as they also do in about a third of pairs of different persons"


def other_by_record(known: Mapping[str, Any], prior_report: Mapping[str, Any], years: float | None) -> str | None:
    """Why age or sex of the two studies cannot be of one person, None where they can or are not known.

    Args:
        known: clinical record of this study.
        prior_report: spine-degeneration-report.json of the earlier one.
        years: time between the two, None where it is not known.
    """
    before = prior_report.get("input", {}).get("clinical", {})
    if not isinstance(before, Mapping):
        return None
    sexes = before.get("sex"), known.get("sex")
    if None not in sexes and sexes[0] != sexes[1]:
        return SEX.format(then=sexes[0], now=sexes[1])
    then, now = _number(before.get("age_years")), _number(known.get("age_years"))
    if then is None or now is None:
        return None
    older = now - then
    apart = older < -AGE_TOLERANCE_YEARS if years is None else abs(older - years) > AGE_TOLERANCE_YEARS
    later = "" if years is None else f", {years:g} years later"
    return AGE.format(then=then, now=now, later=later) if apart else None


def compare_bodies(measurements: Sequence[Measurement], prior_report: Mapping[str, Any]) -> dict[str, Any]:
    """The vertebral bodies of the two studies against each other, JSON-ready; `not_measurable` with too few.

    `other_person` is the reason why they cannot be of one adult, absent where they can.
    """
    rows = {row.get("name"): row for row in prior_report.get("vertebrae", []) if isinstance(row, Mapping)}
    changes = [_differences(name, measurements, rows) for name in ERRORS_MM]
    count = min(map(len, changes))
    if count < FEWEST_BODIES:
        return {"not_measurable": UNCHECKED.format(count=count, least=FEWEST_BODIES)}
    middle = [float(np.median(differences)) for differences in changes]
    depth, height = (round(value, 2) for value in middle)
    found = {"bodies": count, "depth_change_mm": depth, "height_change_mm": height}
    if sum((value / error) ** 2 for value, error in zip(middle, ERRORS_MM.values(), strict=True)) <= LARGEST:
        return {**found, "note": AGREES}
    return {**found, "other_person": SIZES.format(depth=f"{depth:+.1f}", height=f"{height:+.1f}", count=count)}


def _differences(name: str, measurements: Sequence[Measurement], rows: Mapping[Any, Mapping[str, Any]]) -> list[float]:
    """The measurement `name` now less then, in mm, of each vertebra of which both are known."""
    found = []
    for one in measurements:
        then = _number(rows.get(one.subject, {}).get("measurements", {}).get(name, {}).get("value"))
        if one.name == name and one.subject in VERTEBRA_NAMES and one.value is not None and then is not None:
            found.append(one.value - then)
    return found


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None
