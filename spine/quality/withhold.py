"""Findings that a doubt touches become not measurable, with the reason; the sound ones stay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from spine.anatomy import C7_LABEL, DISC_LEVELS, DISC_OFFSET, disc_label
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
# In the neck stenosis is graded by rule from the room around the cord.
NECK_STENOSIS = frozenset({"disc", "canal", "cord"})
CORD_WORDS = frozenset({"cord", "subarachnoid", "kang"})
ALIGNMENT = "alignment"
STENOSIS, STENOSIS_NEEDS = "stenosis", "canal_ap_diameter_mm"


def structures_of(measurement: str) -> frozenset[str]:
    """Structures that the measurement of this name is taken from."""
    words = measurement.split("_")
    found = set()
    if words[0] in ("disc", "nucleus", "bulge"):
        found.add("disc")
    if not CORD_WORDS.isdisjoint(words):
        found.update(("canal", "cord"))
    if words[0] in ("canal", "narrowest", "narrowing") or "csf" in words:
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


def withhold_grades(
    grades: Sequence[Grade], doubts: Sequence[Doubt], measurements: Sequence[Measurement]
) -> tuple[Grade, ...]:
    """`grades` without those that one of `doubts` touches, or that name a canal which `measurements` could not see."""
    unseen = {one.subject: one.not_measurable for one in measurements if one.name == STENOSIS_NEEDS}
    kept = []
    for one in grades:
        reason = _reason(one.level, one.name, _graded_from(one), doubts)
        if reason is None and one.name == STENOSIS:
            reason = unseen.get(one.level)
        if reason is None or one.not_measurable is not None:
            kept.append(one)
        else:
            kept.append(replace(one, grade=None, probabilities=(), confidence=None, evidence=(), not_measurable=reason))
    return tuple(kept)


def _graded_from(grade: Grade) -> frozenset[str]:
    if grade.name == STENOSIS and disc_label(grade.level) - DISC_OFFSET >= C7_LABEL:
        return NECK_STENOSIS
    return GRADE_STRUCTURES.get(grade.name, EVERY_STRUCTURE)


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
    return subject == ALIGNMENT and doubtful.lower() in name.split("_")
