"""Findings that a doubt touches become not measurable, with the reason; the sound ones stay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from spine.anatomy import DISC_LEVELS
from spine.records import Doubt, Grade, Measurement

# Structures that a grade is read from.
GRADE_STRUCTURES: dict[str, frozenset[str]] = {
    "pfirrmann": frozenset({"disc"}),
    "modic": frozenset({"vertebra", "disc"}),
    "upper_endplate": frozenset({"vertebra", "disc"}),
    "lower_endplate": frozenset({"vertebra", "disc"}),
    "spondylolisthesis": frozenset({"vertebra"}),
    "herniation": frozenset({"disc"}),
    "narrowing": frozenset({"disc"}),
    "bulging": frozenset({"disc"}),
    "stenosis": frozenset({"disc", "canal"}),
}
EVERY_STRUCTURE = frozenset({"vertebra", "disc", "canal"})


def structures_of(measurement: str) -> frozenset[str]:
    """Structures that the measurement of this name is taken from."""
    words = measurement.split("_")
    found = set()
    if words[0] in ("disc", "nucleus", "bulge"):
        found.add("disc")
    if words[0] in ("canal", "cord", "narrowest", "narrowing") or "csf" in words or "cord" in words:
        found.add("canal")
    if not found or measurement == "disc_height_index":  # a height over the depth of the bodies
        found.add("vertebra")
    return frozenset(found)


def withhold_measurements(measurements: Sequence[Measurement], doubts: Sequence[Doubt]) -> tuple[Measurement, ...]:
    """`measurements` without the values that one of `doubts` touches."""
    kept = []
    for one in measurements:
        reason = _reason(one.subject, one.name, structures_of(one.name), doubts)
        if reason is None or one.not_measurable is not None:
            kept.append(one)
        else:
            kept.append(Measurement(one.subject, one.name, None, one.unit, not_measurable=reason))
    return tuple(kept)


def withhold_grades(grades: Sequence[Grade], doubts: Sequence[Doubt]) -> tuple[Grade, ...]:
    """`grades` without those that one of `doubts` touches."""
    kept = []
    for one in grades:
        reason = _reason(one.level, one.name, GRADE_STRUCTURES.get(one.name, EVERY_STRUCTURE), doubts)
        if reason is None or one.not_measurable is not None:
            kept.append(one)
        else:
            kept.append(replace(one, grade=None, probabilities=(), confidence=None, evidence=(), not_measurable=reason))
    return tuple(kept)


def _reason(subject: str, name: str, structures: Iterable[str], doubts: Sequence[Doubt]) -> str | None:
    for doubt in doubts:
        if (doubt.structure is None or doubt.structure in structures) and _concerns(doubt.subject, subject, name):
            return doubt.reason
    return None


def _concerns(doubtful: str | None, subject: str, name: str) -> bool:
    """Whether a doubt about `doubtful` (None: everything) concerns the finding `name` of `subject`.

    A doubt about a body reaches the levels on either side of it and the angles that are named after it.
    """
    if doubtful is None or doubtful == subject:
        return True
    if subject in DISC_LEVELS:
        return doubtful in subject.split("/")
    return doubtful.lower() in name.split("_")
