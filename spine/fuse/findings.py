"""Findings of a whole region from the grades of its levels, as probabilities."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from spine.anatomy import DISC_LEVELS
from spine.records import Grade, Measurement
from spine.resources import RESOURCES

PREVALENCE_FILE = RESOURCES / "prevalence.json"
FIRST_GRADE = {"pfirrmann": 1, "modic": 0}  # value of the first entry of `probabilities`


@lru_cache(maxsize=1)
def read_prevalence() -> dict[str, Any]:
    """resources/prevalence.json."""
    table: dict[str, Any] = json.loads(PREVALENCE_FILE.read_text(encoding="utf-8"))
    return table


def region_of_level(level: str) -> str | None:
    """'lumbar' (L1/L2 and below), 'cervical' (C7/T1 and above), 'thoracic'; None for a name that is no disc level."""
    if level not in DISC_LEVELS:
        return None
    return {"L": "lumbar", "T": "thoracic", "C": "cervical"}[level[0]]


def region_in_view(measurements: Sequence[Measurement], grades: Sequence[Grade]) -> str | None:
    """The region, lumbar or cervical, that most measured or graded discs lie in; None when there is none."""
    levels = {m.subject for m in measurements if m.value is not None}
    levels |= {g.level for g in grades if g.grade is not None}
    counts = {region: sum(region_of_level(level) == region for level in levels) for region in ("lumbar", "cervical")}
    best = max(counts, key=lambda region: counts[region])
    return best if counts[best] else None


def level_probability(grade: Grade, rule: Mapping[str, Any]) -> float | None:
    """P(finding) of `grade` under `rule` ('at_least' or 'exactly' a number, else present); None when not graded."""
    if grade.not_measurable is not None or grade.grade is None:
        return None
    low = rule.get("at_least", rule.get("exactly"))
    if low is None:
        return float(grade.probabilities[-1]) if grade.probabilities else float(bool(grade.grade))
    first = FIRST_GRADE[grade.name]
    if not grade.probabilities:
        return float(grade.grade == low if "exactly" in rule else grade.grade >= low)
    picked = (
        grade.probabilities[low - first : low - first + 1] if "exactly" in rule else grade.probabilities[low - first :]
    )
    return min(1.0, float(sum(picked)))


def by_level(grades: Sequence[Grade], rule: Mapping[str, Any], region: str) -> dict[str, float]:
    """Level -> P(finding) over the graded levels of `region`; of several grades at one level the most probable."""
    found: dict[str, float] = {}
    for grade in grades:
        if grade.name not in rule["grades"] or region_of_level(grade.level) != region:
            continue
        probability = level_probability(grade, rule)
        if probability is not None:
            found[grade.level] = max(found.get(grade.level, 0.0), probability)
    return found


def anywhere(grades: Sequence[Grade], rule: Mapping[str, Any], region: str) -> float | None:
    """P(finding at any level of `region`), taken as that of its most probable level.

    Levels of one spine are not independent, so 1 - product(1 - p) would make five doubtful levels into one sure
    finding; the maximum is the least that follows. None unless all core levels of the region are graded: an absent
    finding in half a spine says little.
    """
    found = by_level(grades, rule, region)
    core = read_prevalence()[region]["core_levels"]
    return max(found.values()) if all(level in found for level in core) else None
