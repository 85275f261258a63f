"""Stage 6a: areas, fat and symmetry of the lumbar muscles and the dural sac's area from an axial series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from spine.anatomy import AxialStructure
from spine.geometry import to_lps
from spine.muscle.conform import AxialStack, conform_axial
from spine.muscle.levels import MEASURED_LEVELS, Sections, SliceAt, find_levels
from spine.muscle.limits import read_limits
from spine.muscle.measure import SAC_AREA, Seen, measure_level, missing_level, see
from spine.muscle.segment import Outline, segment_slices
from spine.records import AxialSlice, Doubt, Grade, LabelledSpine, MuscleFindings, Series, Volume
from spine.runners import Runner
from spine.settings import AxialSettings

__all__ = ["measure_muscles", "support_stenosis"]

OTHER_FRAME = (
    "the axial and the sagittal series lie in different frames of reference, so that the level of an axial slice "
    "is not known"
)
NO_OVERLAP = "no slice of the axial series passes through the image of the sagittal series: its levels are not known"
NO_LUMBAR = (
    "muscle is measured at L3/L4, L4/L5 and L5/S1, none of which is in the sagittal series; other muscles, "
    "those of the neck too, are not learnt"
)
LEVEL_NAME = "name"  # structure of a doubt about the name of a level
SEEN_STRUCTURES = (None, "vertebra", "disc")  # a doubt about one of these makes the level of a slice doubtful


def measure_muscles(
    axial: Series,
    levels: LabelledSpine,
    volume: Volume,
    runner: Runner,
    settings: AxialSettings,
    doubts: Sequence[Doubt] = (),
) -> MuscleFindings:
    """Muscles and dural sac at MEASURED_LEVELS on `axial`.

    Args:
        axial: axial MR series, T2 or another contrast on which fat is brighter than muscle; any storage order.
        levels: the labelled sagittal series, which names the slices.
        volume: the sagittal series that `levels` lies on.
        runner: the axial network, (n, 3, H, W) -> probabilities (n, 7, H, W) of anatomy.AxialStructure.
        settings: its pixel.
        doubts: about the outlines of the sagittal series; levels that they touch are not measured.

    Returns:
        Every name of every level with a value or a reason; nothing but a reason where no level can be measured.

    Raises:
        ModelError: the network answers with another number of classes.
    """
    stack = OTHER_FRAME if axial.foreign_frame else conform_axial(axial, settings.pixel_mm)
    if isinstance(stack, str):
        return _nothing(stack, axial)
    if not any(disc.level in MEASURED_LEVELS for disc in levels.discs):
        return _nothing(NO_LUMBAR, axial)
    sections = Sections(stack, levels, volume)
    if not sections.meets:
        return _nothing(NO_OVERLAP, axial)
    found = {level: _withheld(level, doubts) or slices for level, slices in find_levels(stack, levels, volume).items()}
    wanted = {one.index for slices in found.values() if not isinstance(slices, str) for one in slices}
    outlines = segment_slices(stack, sorted(wanted), runner)
    result = MuscleFindings(runner=runner.name if wanted else "", flags=_doubts(stack, levels, axial, doubts))
    elsewhere = _misplaced(found, outlines, sections)
    if elsewhere is not None:
        return replace(result, flags=(*result.flags, f"{axial.slug}: {elsewhere}"), reason=elsewhere)
    for level in MEASURED_LEVELS:
        result = _with_level(result, level, found[level], outlines, sections.stack)
    return result


def support_stenosis(grades: Iterable[Grade], muscle: MuscleFindings) -> tuple[Grade, ...]:
    """`grades` with the dural sac's area beside the evidence of canal stenosis of the same level."""
    areas = {one.subject: one.value for one in muscle.measurements if one.name == SAC_AREA and one.value is not None}
    return tuple(
        replace(one, evidence=(*one.evidence, _sac_said(areas[one.level], one)))
        if one.name == "stenosis" and one.grade is not None and one.level in areas
        else one
        for one in grades
    )


def _sac_said(area_mm2: float, stenosis: Grade) -> str:
    limits = read_limits()
    absolute, relative = limits["sac_absolute_mm2"], limits["sac_relative_mm2"]
    said = f"{SAC_AREA} {area_mm2:.0f} mm2 on the axial slices, "
    if area_mm2 >= relative:
        said += f"not below {relative:g} mm2"
    else:
        said += f"below {absolute:g} mm2 (absolute)" if area_mm2 < absolute else f"below {relative:g} mm2 (relative)"
    denied = bool(stenosis.grade) != (area_mm2 < relative)
    return f"{said}, the grade says otherwise: look at the image" if denied else said


def _nothing(reason: str, axial: Series) -> MuscleFindings:
    return MuscleFindings(flags=(f"{axial.slug}: {reason}",), reason=reason)


def _withheld(level: str, doubts: Sequence[Doubt]) -> str | None:
    for doubt in doubts:
        if doubt.structure in SEEN_STRUCTURES and doubt.subject in (None, level, *level.split("/")):
            return doubt.reason
    return None


def _doubts(stack: AxialStack, levels: LabelledSpine, axial: Series, doubts: Sequence[Doubt]) -> tuple[str, ...]:
    flags = [f"{axial.slug}: {flag}" for flag in stack.flags]
    named = [d for d in doubts if d.structure == LEVEL_NAME and d.subject in (None, *MEASURED_LEVELS)]
    if levels.numbering.doubt is not None or named:
        flags.append(f"{axial.slug}: the levels of its slices are as doubtful as those of the sagittal series")
    return tuple(flags)


def _with_level(
    result: MuscleFindings,
    level: str,
    slices: tuple[SliceAt, ...] | str,
    outlines: dict[int, Outline],
    stack: AxialStack,
) -> MuscleFindings:
    """`result` with what was measured at `level`, or with the reason why nothing was."""
    flags: tuple[str, ...] = ()
    if isinstance(slices, str):
        measurements, grades = missing_level(level, slices)
        shown: tuple[AxialSlice, ...] = ()
    else:
        seen = [see(one, outlines[one.index], stack.pixel_mm) for one in slices]
        measurements, grades, flags = measure_level(level, seen, stack.pixel_mm)
        shown = tuple(_shown(level, one, stack) for one in seen)
    return replace(
        result,
        measurements=(*result.measurements, *measurements),
        grades=(*result.grades, *grades),
        slices=(*result.slices, *shown),
        flags=(*result.flags, *flags),
    )


def _misplaced(
    found: Mapping[str, tuple[SliceAt, ...] | str], outlines: dict[int, Outline], sections: Sections
) -> str | None:
    """Why nothing of the axial series counts: at some level its vertebra lies elsewhere than on the sagittal series.

    Told of the level where it lies farthest away. The other levels may agree by chance, as two people's spines do.
    """
    apart = {level: _apart_mm(at, outlines, sections) for level, at in found.items() if not isinstance(at, str)}
    level, farthest_mm = max(apart.items(), key=lambda one: one[1], default=("", 0.0))
    if farthest_mm <= read_limits()["misplaced_max_mm"]:
        return None
    return (
        f"at {level} the vertebra lies {farthest_mm:.0f} mm away from where the sagittal series shows it: the patient "
        "moved between the series, one of them states a wrong place, or they are of two people; no level is measured"
    )


def _apart_mm(slices: tuple[SliceAt, ...], outlines: dict[int, Outline], sections: Sections) -> float:
    """How far the vertebra lies from where it is expected, the median over `slices`; 0 where none shows it."""
    apart = []
    for one in slices:
        body = np.argwhere(outlines[one.index].labels == AxialStructure.BODY)
        expected = sections.body_place(one.index)
        if len(body) and expected is not None:
            place = to_lps(sections.stack.affine(one.index), np.array([0.0, *body.mean(0)]))
            apart.append(float(np.linalg.norm(place - expected)))
    return float(np.median(apart)) if apart else 0.0


def _shown(level: str, one: Seen, stack: AxialStack) -> AxialSlice:
    return AxialSlice(
        level=level,
        number=stack.stored_number(one.at.index),
        grey=one.outline.grey,
        labels=one.outline.labels,
        left=one.outline.left,
        pixel_mm=stack.pixel_mm,
        tilt_deg=one.at.tilt_deg,
        offset_mm=one.at.offset_mm,
    )
