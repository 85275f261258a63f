"""A finished report document -> the few things that matter most. Reads, never measures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from spine.report import names
from spine.report.values import is_missing

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Extreme:
    """The level at which one measurement is lowest or largest."""

    name: str
    level: str
    value: float


def value_of(part: Document, name: str) -> float | None:
    """Value of the measurement `name` of a level or vertebra; None when it is not measurable or not listed."""
    found = part["measurements"].get(name)
    return None if found is None or is_missing(found) else float(found["value"])


def z_of(part: Document, name: str) -> float | None:
    """z-score of a measurement of a level or vertebra; None without one."""
    found = part["measurements"].get(name)
    if found is None or is_missing(found) or is_missing(found["z"]):
        return None
    return float(found["z"])


def grade_of(level: Document, name: str) -> int | bool | None:
    """Grade `name` of a level; None when it is not graded."""
    found = level["grades"][name]
    return None if is_missing(found) else found["grade"]


def reason_of(part: Document, kind: str, name: str) -> str | None:
    """Why `name` of kind 'measurements' or 'grades' is missing; None when it is there."""
    found = part[kind].get(name)
    return str(found["not_measurable"]) if found is not None and is_missing(found) else None


def levels_with(report: Document, name: str, least: int = 1) -> list[str]:
    """Levels, lowest first, whose grade `name` is true or at least `least`."""
    return [level["level"] for level in report["levels"] if (grade_of(level, name) or 0) >= least]


def extremes(report: Document) -> list[Extreme]:
    """Lowest disc height index, narrowest canal and largest slip (either way), as far as they were measured."""
    found = []
    for name in ("disc_height_index", "canal_ap_diameter_mm", "slip_mm"):
        measured = [(level["level"], value_of(level, name)) for level in report["levels"]]
        present = [(level, value) for level, value in measured if value is not None]
        if not present:
            continue
        if name == "slip_mm":
            level, value = max(present, key=lambda pair: abs(pair[1]))
        else:
            level, value = min(present, key=lambda pair: pair[1])
        found.append(Extreme(name, level, value))
    return found


def is_numbering_doubtful(report: Document) -> bool:
    """Whether the pages must say that the level names are uncertain."""
    numbering = report["numbering"]
    return bool(numbering["doubt"] != "none" or numbering["probability"] < names.DOUBTFUL_NUMBERING)


def _missing_pairs(report: Document) -> Iterable[tuple[str, str, str]]:
    """(reason, name, where) of everything that is missing in the findings, in the document's order."""
    groups = [(level[kind], level["level"]) for level in report["levels"] for kind in ("grades", "measurements")]
    groups += [(vertebra["measurements"], vertebra["name"]) for vertebra in report["vertebrae"]]
    for part in ("alignment", "canal", "muscle", "xray", "degeneration"):
        groups.append(({part: report[part]} if is_missing(report[part]) else report[part], ""))
    for group, where in groups:
        for name, value in group.items():
            if is_missing(value):
                yield value["not_measurable"], name, where


def missing_by_reason(report: Document) -> dict[str, dict[str, list[str]]]:
    """reason -> name -> where (levels or vertebrae, empty for whole-spine values), commonest reason first."""
    grouped: dict[str, dict[str, list[str]]] = {}
    for reason, name, where in _missing_pairs(report):
        places = grouped.setdefault(reason, {}).setdefault(name, [])
        if where:
            places.append(where)
    return dict(sorted(grouped.items(), key=lambda item: -sum(map(len, item[1].values()))))
