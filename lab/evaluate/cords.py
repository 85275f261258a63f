"""Masks of cords and the cord's sections: one as the other, and sizes of both."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spine.geometry import Array
from spine.records import CordMap, Volume
from spine.sections import OFFSETS_MM, STEP_MM, cord_at, places_mm, sampled

Mask = NDArray[np.bool_]
CELL_MM2 = STEP_MM**2


def to_stored(volume: Volume, frame: Array) -> Array:
    """(3, 4): millimetres (slice, down, back, 1) of the model's grid to indices of the grid with `frame`.

    `frame` is the (4, 4) matrix from indices, in the order of an array's axes, to LPS millimetres.
    """
    to_lps = volume.affine @ np.diag([*(1 / s for s in volume.spacing_mm), 1.0])
    return np.asarray((np.linalg.inv(frame) @ to_lps)[:3])


def map_of(mask: Mask, to_index: Array, middle_mm: Array) -> CordMap:
    """The cord of a `mask` as sections about `middle_mm` (section, 3); `to_index` as to_stored gives it."""
    padded = np.pad(mask, 1).astype(np.float32)  # beyond the picture there is none
    beside = to_index + np.array([[0, 0, 0, 1.0]])
    probability = sampled(padded, beside, places_mm(middle_mm)).astype(np.float32)
    return CordMap(probability, np.zeros(len(middle_mm), bool), middle_mm, STEP_MM, "a mask")


def on_grid(cord: CordMap, volume: Volume, frame: Array, shape: tuple[int, ...]) -> Mask:
    """The cord on the grid with `frame` (as in to_stored) and `shape`."""
    to_index = np.vstack((to_stored(volume, frame), (0.0, 0.0, 0.0, 1.0)))
    to_mm = np.linalg.inv(to_index)[:3]
    out = np.zeros(shape, bool)
    for first, plane in enumerate(out):
        index = np.stack(np.meshgrid([first], *(np.arange(n) for n in plane.shape), indexing="ij"), -1)[0]
        plane[...] = cord_at(cord, index @ to_mm[:, :3].T + to_mm[:, 3]) >= 0.5
    return out


def sizes_of(cord: CordMap) -> Array:
    """(section, 3): depth, width (axes of the ellipse with the same moments, mm) and area (mm2) in the rows' plane."""
    inside = cord.probability >= 0.5
    count = inside.sum((1, 2)).astype(np.float64)
    count[count == 0] = np.nan
    axes = []
    for offset in (OFFSETS_MM[None, :], OFFSETS_MM[:, None]):
        mean = (inside * offset).sum((1, 2)) / count
        axes.append(4 * np.sqrt((inside * np.square(offset)).sum((1, 2)) / count - np.square(mean) + CELL_MM2 / 12))
    return np.stack((*axes, count * CELL_MM2), 1)
