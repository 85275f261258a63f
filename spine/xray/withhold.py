"""What was measured on a film but is not told: sizes that the network gets wrong, and what a doubtful name decides.

`xray_osteophytes_are_trusted` of resources/thresholds.json says whether osteophytes are told. Where the names of the
vertebrae are in doubt, distances and angles of single levels are told with a flag; grades, alignment and what is
compared with the usual size of a named level are not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from spine.records import Grade, Measurement
from spine.xray.expected import quoted, vertebrae_of
from spine.xray.measure import ALIGNMENT

ANCHORS = {"cervical": "C2", "lumbar": "S1"}  # the vertebra that looks like no other: names are counted from it
OSTEOPHYTES = "osteophyte sizes are not trusted (xray_osteophytes_are_trusted of the thresholds is 0): withheld"
NEEDS_OSTEOPHYTES = (
    "Kellgren's grade, Walraevens' total and the low disc with osteophyte need osteophyte sizes, which are withheld"
)
NAMES_OFF = "all names of the film may be one level too high or too low"
DOUBTFUL_NAME = "which level this is is in doubt (see the flags of the film): withheld"
OSTEOPHYTE_GRADES = ("lane_osteophytes", "walraevens_osteophyte")
JOINT_GRADES = ("kellgren", "walraevens_total", "low_disc_with_osteophyte")
BY_NAME = ("disc_height_loss_percent", "meyerding_grade", "genant_grade")  # grades, or against a named level's usual


def doubtful_names(vertebrae: Collection[str], region: str) -> str | None:
    """Why the names of a film may be wrong, None where they can be counted from the anchor without a gap.

    Args:
        vertebrae: names of those with an end plate on the film.
        region: 'cervical' or 'lumbar'.
    """
    if ANCHORS[region] not in vertebrae:
        return f"{ANCHORS[region]} was not found on the film, so that levels could not be counted from it: {NAMES_OFF}"
    names = vertebrae_of(region)
    places = [names.index(vertebra) for vertebra in vertebrae]
    gaps = [name for name in names[min(places) : max(places)] if name not in vertebrae]
    return f"{', '.join(gaps)} was not found between others on the film: {NAMES_OFF}" if gaps else None


def told_measurements(measurements: Iterable[Measurement], osteophytes: bool, names: bool) -> tuple[Measurement, ...]:
    """`measurements` without those that cannot be trusted; a value that was missing keeps its own reason.

    Args:
        measurements: of the film.
        osteophytes: whether their sizes are trusted.
        names: whether the names of the levels are.
    """
    told = (_told_measurement(one, osteophytes, names) for one in measurements)
    return tuple(told if names else map(_without_norm, told))


def _told_measurement(one: Measurement, osteophytes: bool, names: bool) -> Measurement:
    reason = None
    if not osteophytes and one.name.startswith("osteophyte_"):
        reason = OSTEOPHYTES
    elif not names and (one.name in BY_NAME or one.subject == ALIGNMENT):
        reason = DOUBTFUL_NAME
    if reason is None or one.value is None:
        return one
    return Measurement(one.subject, one.name, None, one.unit, not_measurable=reason)


def _without_norm(one: Measurement) -> Measurement:
    """`one` without the words on what is usual at a level that it may not be."""
    said = quoted(one.name, one.subject)
    if not said or not one.reference:
        return one
    return replace(one, reference=one.reference.removesuffix(said).rstrip("; ") or None)


def told_grades(grades: Iterable[Grade], osteophytes: bool, names: bool) -> tuple[Grade, ...]:
    """`grades` without those that cannot be trusted; arguments as those of `told_measurements`."""
    return tuple(_told_grade(grade, osteophytes, names) for grade in grades)


def _told_grade(grade: Grade, osteophytes: bool, names: bool) -> Grade:
    reason = None if names else DOUBTFUL_NAME
    if not osteophytes and grade.name in OSTEOPHYTE_GRADES:
        reason = OSTEOPHYTES
    elif not osteophytes and grade.name in JOINT_GRADES:
        reason = NEEDS_OSTEOPHYTES
    if reason is None or grade.grade is None:
        return grade
    return Grade(grade.level, grade.name, None, not_measurable=reason)
