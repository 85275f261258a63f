"""Signal of a disc and of its nucleus relative to the fluid in the canal, or to muscle."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import DISC_OFFSET, Structure, disc_level
from spine.geometry import Array, front_of, unit
from spine.measure.reading import Outcome, Reading
from spine.measure.scene import MIN_CONFIDENCE, Box, Scene

UNITS: Mapping[str, str] = {
    "disc_csf_signal_ratio": "1",
    "nucleus_csf_signal_ratio": "1",
    "disc_muscle_signal_ratio": "1",
    "nucleus_muscle_signal_ratio": "1",
}

CSF_PERCENTILE = 85.0  # of the canal beside the cord: roots, fat septa and flow voids are darker than fluid
CSF_REACH_MM = 20.0  # fluid is taken this far above and below the disc, so that the coil's shading cancels
CSF_SIDE_MM = 6.0  # and this far to either side of the midline
CSF_MIN_VOXELS = 30
FLUID_BRIGHT_RATIO = 1.2  # fluid over vertebral marrow: above on T2 and STIR, below on T1; engineering choice
NUCLEUS_DEPTH_SHARE = 0.5  # middle half of the disc from front to back
NUCLEUS_INNER_SHARE = 0.4  # and only voxels at least this share of the greatest depth away from its border
NUCLEUS_SIDE_MM = 8.0
MUSCLE_PERCENTILE = 40.0  # of the tissue beside the spinous processes: muscle is darker than the fat between
MUSCLE_SIDE_MM = (10.0, 30.0)  # from the midline
MUSCLE_BEHIND_MM = (8.0, 35.0)  # behind the canal's back wall
MUSCLE_MIN_VOXELS = 200
AIR = 0.02  # of the intensity scale: below is air or padding


class SignalMeter:
    """Reads the signal of the discs of one scene."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def at_disc(self, k: int) -> dict[str, Outcome]:
        """Every name of UNITS for the disc below vertebra `k`."""
        scene = self._scene
        if k not in scene.discs or k not in scene.disc_boxes:
            return dict.fromkeys(UNITS, f"no disc is seen at {disc_level(DISC_OFFSET + k)}")
        disc = scene.discs[k]
        if disc.confidence < MIN_CONFIDENCE:
            reason = f"the disc {disc.level} is unsure: confidence {disc.confidence:.2f} is below {MIN_CONFIDENCE:.2f}"
            return dict.fromkeys(UNITS, reason)
        box = scene.disc_boxes[k]
        inside = scene.spine.mask[box] == DISC_OFFSET + k
        values = scene.volume.array[box]
        parts: dict[str, float | str] = {"disc": float(values[inside].mean())}
        nucleus = inside & self._nucleus(k, box)
        parts["nucleus"] = float(values[nucleus].mean()) if nucleus.any() else "the disc is too thin for a nucleus"
        fluid, muscle = self._csf(k), self.muscle
        outcomes: dict[str, Outcome] = {}
        for part, signal in parts.items():
            note = f"mean of the {'whole disc' if part == 'disc' else 'core of the disc'} over "
            outcomes[f"{part}_csf_signal_ratio"] = _ratio(signal, fluid, note + "the canal's fluid at the same height")
            outcomes[f"{part}_muscle_signal_ratio"] = _ratio(signal, muscle, note + "an estimate of back muscle")
        return outcomes

    @cached_property
    def marrow(self) -> float | None:
        """Median of the bodies near the midline; None where there are none."""
        slab = self._middle(CSF_SIDE_MM)
        values = self._scene.volume.array[slab][self._scene.spine.structures[slab] == Structure.BODY]
        return float(np.median(values)) if values.size else None

    @cached_property
    def muscle(self) -> float | str:
        """Signal of the muscle behind the canal, or why it is not known.

        An estimate: no muscle is segmented; a percentile of the unnamed tissue where multifidus lies.
        """
        line, surface, volume = self._scene.canal, self._scene.surface, self._scene.volume
        if line is None:
            return "the canal is not seen, so that the muscle behind it is not found"
        rows = np.round(line.back_wall[:, 0] / volume.spacing_mm[1])
        known = np.isfinite(rows) & (rows >= 0) & (rows < volume.content[1])
        rows, behind = rows[known].astype(int), line.back_wall[known, 1]
        if not len(rows):
            return "the canal's back wall is not seen, so that the muscle behind it is not found"
        columns = np.arange(volume.content[2]) * volume.spacing_mm[2]
        depth = columns - behind[:, None]
        zone = (depth > MUSCLE_BEHIND_MM[0]) & (depth < MUSCLE_BEHIND_MM[1])  # (row, back)
        side = np.abs(np.arange(volume.content[0])[:, None] - surface.slice_at[rows]) * volume.spacing_mm[0]
        beside = (side > MUSCLE_SIDE_MM[0]) & (side < MUSCLE_SIDE_MM[1])  # (slice, row)
        found = []
        for s in np.flatnonzero(beside.any(1)):
            use = zone & beside[s][:, None]
            values = volume.array[s, rows, : volume.content[2]]
            tissue = (self._scene.spine.structures[s, rows, : volume.content[2]] == Structure.BACKGROUND) & (
                values > AIR
            )
            found.append(values[use & tissue])
        tissue_values = np.concatenate(found) if found else np.zeros(0)
        if tissue_values.size < MUSCLE_MIN_VOXELS:
            return "no slice shows the muscle beside the spinous processes"
        return float(np.percentile(tissue_values, MUSCLE_PERCENTILE))

    def _csf(self, k: int) -> float | str:
        """Signal of the fluid about the disc below vertebra `k`, or why it is not known."""
        scene = self._scene
        half = int(CSF_REACH_MM / scene.volume.spacing_mm[1])
        row = round(scene.discs[k].centre[1])
        rows = slice(max(row - half, 0), row + half + 1)
        slab = self._middle(CSF_SIDE_MM)
        fluid = scene.volume.array[slab, rows][scene.spine.structures[slab, rows] == Structure.CANAL]
        if fluid.size < CSF_MIN_VOXELS:
            return "too little of the canal's fluid is in view at this level"
        signal = float(np.percentile(fluid, CSF_PERCENTILE))
        if self.marrow is not None and signal < FLUID_BRIGHT_RATIO * self.marrow:
            return "the canal's fluid is not bright in this series (T1-weighted, or no fluid left at this level)"
        return signal

    def _middle(self, side_mm: float) -> slice:
        """Slices within `side_mm` of the mid-sagittal surface's mean position."""
        volume = self._scene.volume
        middle = float(self._scene.surface.slice_at.mean())
        half = max(0.5, side_mm / volume.spacing_mm[0])
        return slice(max(0, int(np.ceil(middle - half))), min(volume.content[0], int(middle + half) + 1))

    def _nucleus(self, k: int, box: Box) -> NDArray[np.bool_]:
        """Core of the disc's box: (slice, down, back)."""
        scene, section = self._scene, self._scene.disc_sections.get(k)
        shape = tuple(s.stop - s.start for s in box)
        if section is None:
            return np.zeros(shape, np.bool_)
        rows, columns = np.meshgrid(*(np.arange(s.start, s.stop) for s in box[1:]), indexing="ij")
        points = np.stack([rows, columns], -1) * scene.surface.pixel_mm
        distance = section.at(points)
        inner = distance < NUCLEUS_INNER_SHARE * section.distance.min()
        along = points @ front_of(self._up(k))
        low, high = np.percentile(along[distance < 0], (2, 98)) if (distance < 0).any() else (0.0, 0.0)
        core = np.abs(along - (low + high) / 2) <= NUCLEUS_DEPTH_SHARE * (high - low) / 2
        slices = np.arange(box[0].start, box[0].stop)
        side = np.abs(slices[:, None] - scene.surface.slice_at[box[1]]) * scene.volume.spacing_mm[0]
        near = side <= max(NUCLEUS_SIDE_MM, 0.5 * scene.volume.spacing_mm[0] + 1e-6)
        return np.asarray((inner & core)[None] & near[:, :, None])

    def _up(self, k: int) -> Array:
        ups = [o.up for n in (k, k - 1) if (o := self._scene.outlines.get(n)) is not None]
        return unit(np.sum(ups, axis=0)) if ups else np.array([-1.0, 0.0])


def _ratio(signal: float | str, against: float | str, note: str) -> Outcome:
    if isinstance(signal, str):
        return signal
    if isinstance(against, str):
        return against
    return Reading(signal / against, note=note) if against > 0 else "the tissue compared with has no signal"
