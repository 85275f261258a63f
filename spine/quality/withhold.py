"""Findings that a doubt touches become not measurable, with the reason; the sound ones stay."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from spine.anatomy import C7_LABEL, DISC_LEVELS, DISC_OFFSET, disc_label
from spine.quality.naming import NAME
from spine.quality.spacing import ACROSS, PLATES, SIZE, WEDGE
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
# In the neck stenosis is graded by rule, from the room around the cord.
NECK_STENOSIS = frozenset({"disc", "canal", "cord"})
LENGTHS = frozenset({"mm", "mm2", "mm3"})
IN_MILLIMETRES = frozenset({"meyerding_grade"})  # without a unit, but told by a number of them
# Taken across several slices: areas and volumes that no single sagittal slice shows.
ACROSS_SLICES = frozenset(
    {
        *("disc_volume_mm3", "canal_area_mm2", "narrowest_area_mm2", "coronal_curve_hint_deg", "dural_sac_area_mm2"),
        *("cord_width_mm", "cord_area_mm2"),
    }
)
BETWEEN_PLATES = frozenset(
    {
        *(f"{part}_height_{place}_mm" for part in ("disc", "body") for place in ("anterior", "middle", "posterior")),
        *("disc_height_index", "wedge_deg", "segmental_angle_deg", "disc_midsagittal_area_mm2", "disc_volume_mm3"),
        *("body_wedge_deg", "wedge_percent", "biconcavity_ratio", "genant_grade"),
        *("c2_c7_angle_deg", "c7_slope_deg", "t1_slope_deg"),
    }
)
DISC_WEDGE = "wedge_deg"
NORM = re.compile(r"(?:^|; )norm -?[\d.].*")  # what spine.measure adds to the reference of a value
DOUBTFUL_NAME = "the name of the level is doubtful, {reason}"
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
    if measurement in ACROSS_SLICES:
        found.add(ACROSS)
    if measurement in BETWEEN_PLATES:
        found.add(PLATES)
    if measurement == DISC_WEDGE:
        found.add(WEDGE)
    return frozenset(found)


def withhold_measurements(measurements: Sequence[Measurement], doubts: Sequence[Doubt]) -> tuple[Measurement, ...]:
    """`measurements` without values that one of `doubts` touches, and without norms of levels that may be others.

    What is left of a level whose name is doubtful says so in its reference.
    """
    kept = []
    for one in measurements:
        structures = structures_of(one.name)
        if one.unit in LENGTHS or one.name in IN_MILLIMETRES:
            structures |= {SIZE}
        reason = _reason(one.subject, one.name, structures, doubts)
        if one.not_measurable is not None:
            kept.append(one)
        elif reason is None:
            kept.append(_doubtfully_named(one, _reason(one.subject, one.name, {NAME}, doubts)))
        else:
            kept.append(Measurement(one.subject, one.name, None, one.unit, not_measurable=reason))
    return tuple(kept)


def _doubtfully_named(one: Measurement, reason: str | None) -> Measurement:
    """`one` with the doubt, and without z-score, percentile and norm, where its level's name is doubtful."""
    if reason is None:
        return one
    compared = one.z is not None or NORM.search(one.reference or "") is not None
    words = [NORM.sub("", one.reference or ""), ("no norm: " if compared else "") + DOUBTFUL_NAME.format(reason=reason)]
    return replace(one, z=None, percentile=None, reference="; ".join(word for word in words if word))


def withhold_grades(
    grades: Sequence[Grade], doubts: Sequence[Doubt], measurements: Sequence[Measurement]
) -> tuple[Grade, ...]:
    """`grades` without those that one of `doubts` touches, or that name a canal which `measurements` could not see.

    A grade of a level whose name is doubtful says so in its evidence.
    """
    unseen = {one.subject: one.not_measurable for one in measurements if one.name == STENOSIS_NEEDS}
    kept = []
    for one in grades:
        reason = _reason(one.level, one.name, _graded_from(one), doubts)
        if reason is None and one.name == STENOSIS:
            reason = unseen.get(one.level)
        if one.not_measurable is not None:
            kept.append(one)
        elif reason is None:
            named = _reason(one.level, one.name, {NAME}, doubts)
            told = () if named is None else (DOUBTFUL_NAME.format(reason=named),)
            kept.append(replace(one, evidence=(*one.evidence, *told)))
        else:
            kept.append(replace(one, grade=None, probabilities=(), confidence=None, evidence=(), not_measurable=reason))
    return tuple(kept)


def _graded_from(grade: Grade) -> frozenset[str]:
    """Structures that `grade` is read from, and the millimetres.

    Patches and features of the grader are in millimetres: with a spacing wrong by 1.3 the first grader gave 24 to
    49 % of 74 to 83 discs of training and validation patients another Pfirrmann grade.
    """
    in_neck = disc_label(grade.level) - DISC_OFFSET >= C7_LABEL
    own = GRADE_STRUCTURES.get(grade.name, EVERY_STRUCTURE)
    return (NECK_STENOSIS if in_neck and grade.name == STENOSIS else own) | {SIZE}


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
