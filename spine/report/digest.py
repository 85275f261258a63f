"""A finished report document -> the few things that matter most. Reads, never measures."""

from __future__ import annotations

import re
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


def is_marked(name: str, value: float, z: float | None) -> bool:
    """Whether the pages mark the measurement `name`: unusual on the side that wear goes to, or a slip."""
    if name == "slip_mm" and abs(value) >= names.MARKED_SLIP_MM:
        return True
    if z is None:
        return False
    return z <= -names.UNUSUAL_Z if name in names.LOW_IS_WORN else abs(z) >= names.UNUSUAL_Z


def finding_prob(name: str, grade: Document) -> float:
    """Of a Pfirrmann grade the probability of strong wear, of Modic that of any change, of a flag its own.

    The type of a Modic change is no reading of the image. A grade without probabilities gives 0: nothing speaks for it.
    """
    probabilities = [float(p) for p in grade["probabilities"]]
    if name == "pfirrmann":
        return sum(probabilities[names.WORN_PFIRRMANN - 1 :])
    return 1.0 - probabilities[0] if len(probabilities) > 1 else sum(probabilities)


def is_sure(level: Document, name: str) -> bool:
    """Whether the finding `name`, which the level has, is told without 'perhaps'."""
    return finding_prob(name, level["grades"][name]) >= names.SURE_PROB


def slipped(report: Document) -> list[tuple[str, float]]:
    """(level, slip in mm, positive forward) where the slip measured is marked, lowest level first."""
    found = ((level["level"], value_of(level, "slip_mm")) for level in report["levels"] if is_slipped(level))
    return [(level, value) for level, value in found if value is not None]


def is_slipped(level: Document) -> bool:
    """Whether the slip measured at this level is one beyond error; without a Meyerding grade, whether it is marked."""
    value, grade = value_of(level, "slip_mm"), value_of(level, "meyerding_grade")
    if grade is not None:
        return grade >= 1
    return value is not None and is_marked("slip_mm", value, None)


def denies_slip(level: Document) -> bool:
    """Whether a slip was measured at this level that the grade calls absent."""
    grade = grade_of(level, "spondylolisthesis")
    return grade is not None and not grade and is_slipped(level)


def without_norms(report: Document) -> list[str]:
    """Key measurements that were made at some level but could be compared with a reference at none."""
    return [
        name
        for name in names.KEY_MEASUREMENTS
        if any(value_of(level, name) is not None for level in report["levels"])
        and all(z_of(level, name) is None for level in report["levels"])
    ]


def neck_heights_told(report: Document) -> bool:
    """Whether the height of any disc of the neck is told."""
    return any(
        level["level"].startswith("C") and value_of(level, "disc_height_middle_mm") is not None
        for level in report["levels"]
    )


def grade_of(level: Document, name: str) -> int | bool | None:
    """Grade `name` of a level; None when it is not graded."""
    found = level["grades"][name]
    return None if is_missing(found) else found["grade"]


def reason_of(part: Document, kind: str, name: str) -> str | None:
    """Why `name` of kind 'measurements' or 'grades' is missing; None when it is there."""
    found = part[kind].get(name)
    return str(found["not_measurable"]) if found is not None and is_missing(found) else None


def worn_scale(level: str) -> str:
    """Name of the scale that holds in the grade 'pfirrmann' of `level`: in the neck it is Miyazaki's grade."""
    return "miyazaki" if level.startswith("C") else "pfirrmann"


def levels_with(report: Document, name: str, least: int = 1) -> list[str]:
    """Levels, lowest first, whose grade `name` is true or at least `least`."""
    return [level["level"] for level in report["levels"] if (grade_of(level, name) or 0) >= least]


def proven(levels: Iterable[str]) -> list[str]:
    """`levels` whose grades were checked on patients: no neck's were, and none of its grades is a finding of page 1."""
    return [level for level in levels if not level.startswith("C")]


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


def impersonal(reason: str, own: str) -> str:
    """`reason` without the name `own` of the one level or vertebra that it speaks of."""
    shorter = re.sub(rf"\b(disc|body|vertebra|level) {re.escape(own)}(?!\w)", r"\1", reason)
    return shorter.replace(own, "that level" if "/" in own else "that vertebra")


def is_numbering_doubtful(report: Document) -> bool:
    """Whether the pages must say that the level names are uncertain."""
    numbering = report["numbering"]
    return bool(numbering["doubt"] != "none" or numbering["probability"] < names.DOUBTFUL_NUMBERING)


def _missing_pairs(report: Document) -> Iterable[tuple[str, str, str]]:
    """(reason, name, where) of everything that is missing in the findings, in the document's order."""
    groups = [(level[kind], level["level"]) for level in report["levels"] for kind in ("grades", "measurements")]
    groups += [(vertebra["measurements"], vertebra["name"]) for vertebra in report["vertebrae"]]
    groups += [(_outlines(level["measurements"]), level["level"]) for level in report["muscle"].get("levels", ())]
    for part in ("alignment", "canal", "muscle", "xray", "degeneration"):
        groups.append(({part: report[part]} if is_missing(report[part]) else report[part], ""))
    for group, where in groups:
        for name, value in group.items():
            if is_missing(value):
                yield value["not_measurable"], name, where


def _outlines(measured: Document) -> dict[str, Any]:
    """Muscles and dural sac by name, each once: what is derived from a missing area is missing with it."""
    ending = "_area_mm2"
    areas = {name: value for name, value in measured.items() if name.endswith(ending) and "_fat_free" not in name}
    return {name if "dural" in name else name.removesuffix(ending): value for name, value in areas.items()}


def missing_by_reason(report: Document) -> dict[str, dict[str, list[str]]]:
    """reason -> name -> where (levels or vertebrae, empty for whole-spine values), commonest reason first."""
    grouped: dict[str, dict[str, list[str]]] = {}
    for reason, name, where in _missing_pairs(report):
        places = grouped.setdefault(reason, {}).setdefault(name, [])
        if where:
            places.append(where)
    return dict(sorted(grouped.items(), key=lambda item: -sum(map(len, item[1].values()))))
