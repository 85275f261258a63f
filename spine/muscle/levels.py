"""Which slices of an axial stack lie in which disc: the geometry of both series, nothing of their content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import (
    CANAL_LABEL,
    DISC_OFFSET,
    FIRST_VERTEBRA,
    LAST_VERTEBRA,
    PARTIAL_OFFSET,
    Structure,
    disc_label,
    disc_level,
    vertebra_name,
)
from spine.geometry import Array, to_lps, unit
from spine.muscle.conform import AxialStack
from spine.muscle.limits import read_limits
from spine.records import LabelledSpine, Volume

MEASURED_LEVELS = ("L5/S1", "L4/L5", "L3/L4")  # lowest first
SLICES_MAX = 3  # averaged at a level
CORE_MM = 8.0  # around the axis: there a disc's extent along a slice's normal is its height, not its tilted rim
STEP_MM = 3.0  # between the points of a slice at which the sagittal series' names are read
NAMED_MIN_MM2 = 60.0  # a slice that meets less of a body or disc is not named after it
MISSING_AXIS = "the vertebrae beside the disc are not both in view, so that the tilt of the slices is not known"


@dataclass(frozen=True)
class SliceAt:
    """One slice of a level."""

    index: int  # in the stack
    offset_mm: float  # from the disc's middle along the slice's normal, positive towards the head
    tilt_deg: float  # between the slice's normal and the axis of the spine


@dataclass(frozen=True)
class Sections:
    """Where the planes of an axial stack meet the labelled sagittal series."""

    stack: AxialStack
    spine: LabelledSpine
    volume: Volume

    @cached_property
    def names(self) -> tuple[str | None, ...]:
        """Of each slice the body ('L4', 'S1') or disc ('L4/L5') that it cuts most of; None where it meets neither."""
        return tuple(self._name(*self._cut(index)) for index in range(len(self.stack)))

    @cached_property
    def meets(self) -> bool:
        """Whether any slice passes through the sagittal series' image."""
        return any(self._cut(index)[0].size for index in range(len(self.stack)))

    def body_place(self, index: int) -> Array | None:
        """(3,) LPS middle of the bodies and discs that slice `index` cuts in the sagittal series."""
        points, labels, structures = self._cut(index)
        bony = _is_column(labels, structures)
        return None if np.count_nonzero(bony) * STEP_MM**2 < NAMED_MIN_MM2 else points[bony].mean(0)

    def _cut(self, index: int) -> tuple[Array, NDArray[np.uint8], NDArray[np.uint8]]:
        """LPS points (n, 3) of slice `index` inside the sagittal image, with its mask and structures there."""
        step = STEP_MM / self.stack.pixel_mm
        rows, columns = self.stack.content(index)
        down, across = np.meshgrid(np.arange(0, rows, step), np.arange(0, columns, step), indexing="ij")
        flat = np.stack([np.zeros(down.size), down.ravel(), across.ravel()], -1)
        points = to_lps(self.stack.affine(index), flat)
        place = np.rint(to_lps(_inverse(self.volume.affine), points)).astype(int)
        inside = ((place >= 0) & (place < np.array(self.volume.content))).all(-1)
        s, d, b = place[inside].T
        return points[inside], self.spine.mask[s, d, b], self.spine.structures[s, d, b]

    def _name(self, _: Array, labels: NDArray[np.uint8], structures: NDArray[np.uint8]) -> str | None:
        bony = _is_column(labels, structures)
        found = np.where(structures == Structure.S1, 0, np.where(labels > DISC_OFFSET, labels, _whole(labels)))[bony]
        values, counts = np.unique(found, return_counts=True)
        if not len(values) or counts.max() * STEP_MM**2 < NAMED_MIN_MM2:
            return None
        most = int(values[counts.argmax()])
        if most > DISC_OFFSET:
            return disc_level(most)
        return vertebra_name(most) if FIRST_VERTEBRA <= most <= LAST_VERTEBRA else "S1"


def _whole(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.where((labels > PARTIAL_OFFSET) & (labels < DISC_OFFSET), labels - PARTIAL_OFFSET, labels)


def _is_column(labels: NDArray[np.uint8], structures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Bodies, discs and the body of S1; neither arches nor canal."""
    named = (labels > 0) & (labels != CANAL_LABEL) & np.isin(structures, (Structure.BODY, Structure.DISC))
    return np.asarray(named | (structures == Structure.S1))


def find_levels(stack: AxialStack, spine: LabelledSpine, volume: Volume) -> Mapping[str, tuple[SliceAt, ...] | str]:
    """For each of MEASURED_LEVELS the slices through its disc, nearest to its middle first, or why there are none.

    A slice lies in a disc when the plane passes through the disc's core; where slices lie so far apart that none
    does, the nearest one counts if it is at most half a slice distance from the disc's middle. Of several groups of
    slices through a disc the one that is tilted least against the spine is taken.
    """
    return {level: _level(level, stack, spine, volume) for level in MEASURED_LEVELS}


def _level(level: str, stack: AxialStack, spine: LabelledSpine, volume: Volume) -> tuple[SliceAt, ...] | str:
    label = disc_label(level)
    voxels = np.argwhere(spine.mask == label)
    if not len(voxels):
        return f"the sagittal series shows no disc {level}"
    points = to_lps(volume.affine, voxels.astype(float))
    centre, axis = points.mean(0), spine_axis(label - DISC_OFFSET, spine, volume)
    if axis is None:
        return MISSING_AXIS
    core = points[np.linalg.norm(np.cross(points - centre, axis), axis=1) < CORE_MM]
    found, nearest_mm = [], np.inf
    for index in range(len(stack)):
        normal = stack.normal(index)
        offset_mm = float((stack.affine(index)[:3, 3] - centre) @ normal)
        if not _holds(centre, stack, index):
            continue
        nearest_mm = min(nearest_mm, abs(offset_mm))
        half_mm = float(np.ptp((core if len(core) else points) @ normal)) / 2
        if abs(offset_mm) <= max(half_mm, stack.distance_mm(index) / 2):
            tilt_deg = float(np.degrees(np.arccos(np.clip(abs(normal @ axis), 0.0, 1.0))))
            found.append(SliceAt(index, offset_mm, tilt_deg))
    if not found:
        return _none_near(level, nearest_mm)
    return _best_group(found, stack, level)


def _best_group(found: list[SliceAt], stack: AxialStack, level: str) -> tuple[SliceAt, ...] | str:
    straightest = min(found, key=lambda one: (round(one.tilt_deg), abs(one.offset_mm)))
    limit = read_limits()["tilt_max_deg"]
    if straightest.tilt_deg > limit:
        return f"the axial slices at {level} are tilted by {straightest.tilt_deg:.0f} degrees against the spine"
    group = stack.places[straightest.index][0]
    same = [one for one in found if stack.places[one.index][0] == group]
    return tuple(sorted(same, key=lambda one: abs(one.offset_mm))[:SLICES_MAX])


def _none_near(level: str, nearest_mm: float) -> str:
    if not np.isfinite(nearest_mm):
        return f"no axial slice covers the disc {level}"
    return f"no axial slice lies in the disc {level}: the nearest passes {nearest_mm:.0f} mm from its middle"


def _holds(point: Array, stack: AxialStack, index: int) -> bool:
    """Whether slice `index` shows the place straight above or below which the LPS `point` (3,) lies."""
    _, row, column = to_lps(_inverse(stack.affine(index)), point)
    rows, columns = stack.content(index)
    return bool(0 <= row < rows and 0 <= column < columns)


def _inverse(affine: Array) -> Array:
    return np.asarray(np.linalg.inv(affine), np.float64)


def spine_axis(upper: int, spine: LabelledSpine, volume: Volume) -> Array | None:
    """(3,) LPS unit vector to the head through the bodies beside the disc below vertebra `upper`; None if unknown."""
    centres = {vertebra.label: np.array(vertebra.centre) for vertebra in spine.vertebrae if not vertebra.partial}
    sacral = np.argwhere(spine.structures == Structure.S1)
    if len(sacral):
        centres.setdefault(FIRST_VERTEBRA - 1, sacral.mean(0))
    if upper not in centres or upper - 1 not in centres:
        return None
    return unit(to_lps(volume.affine, centres[upper]) - to_lps(volume.affine, centres[upper - 1]))
