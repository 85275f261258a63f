"""The cord along the canal: depth, width and area of its sections at right angles to the canal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spine.geometry import Array, unit
from spine.measure.section import MidSurface
from spine.records import CordMap
from spine.sections import cord_at

LEAST_MM2 = 15.0  # a section of less is no cord: healthy ones have 47 to 77 mm2 in the neck, pressed ones half of it
REACH_MM, STEP_MM = 12.0, 0.5  # of a section about the canal's line; half the width of no cord is more
EDGE_PROB = 0.5


@dataclass(frozen=True)
class CordLine:
    """Sizes (n,) at the points of a canal's line, smoothed along it; NaN where no cord is told.

    Depth and width are the axes, to the front and across, of the ellipse with the second moments of the section, as the
    norms are measured (the Spinal Cord Toolbox takes the axes of skimage's regionprops; De Leener 2017, doi
    10.1016/j.neuroimage.2016.10.009).
    """

    ap_mm: Array
    width_mm: Array
    area_mm2: Array
    cut: NDArray[np.bool_]  # where the series ends at the cord


def trace_cord(
    line: Array, walls: tuple[Array, Array], surface: MidSurface, cord: CordMap | None, window: int
) -> CordLine:
    """Sections of `cord` in the planes across the canal; none where a plane meets one of the map's that tells none.

    Args:
        line: (n, 2) the canal's line on `surface`, (down, back) mm.
        walls: where the planes leave the canal in front and behind, each (n, 2).
        surface: the mid-sagittal surface.
        cord: None where it was not read.
        window: sizes are means over so many points to either side.
    """
    if cord is None:
        unknown = np.full(len(line), np.nan)
        return CordLine(unknown, unknown, unknown, np.zeros(len(line), bool))
    front = unit(walls[0] - walls[1])
    reach = np.arange(-REACH_MM, REACH_MM + 1e-6, STEP_MM)
    across, ahead = np.meshgrid(reach, reach, indexing="ij")
    place_mm = np.repeat(surface.lift(line)[:, None, None], len(reach), 1).repeat(len(reach), 2)
    place_mm[..., 0] += across
    place_mm[..., 1:] += ahead[None, :, :, None] * front[:, None, None]
    inside = cord_at(cord, place_mm) >= EDGE_PROB
    touched = inside[:, [0, -1]].any((1, 2)) | inside[:, :, [0, -1]].any((1, 2))
    count = inside.sum((1, 2)).astype(np.float64)
    empty = np.asarray(~(cord.probability >= EDGE_PROB).any((1, 2)))
    untold = _meets(cord.middle_mm, empty, walls) | ~np.isfinite(walls[0] - walls[1]).all(1)
    count[touched | untold | (count * STEP_MM**2 < LEAST_MM2)] = np.nan
    ap, width, area = (
        moving_known_mean(v, window)
        for v in (_axis_mm(inside, ahead, count), _axis_mm(inside, across, count), count * STEP_MM**2)
    )
    return CordLine(ap, width, area, _meets(cord.middle_mm, cord.cut, walls))


def _meets(middle_mm: Array, marked: NDArray[np.bool_], walls: tuple[Array, Array]) -> NDArray[np.bool_]:
    """(n,): whether the rows between two walls meet a `marked` section or go beyond them all; False where unknown."""
    down = np.stack([wall[:, 0] for wall in walls])
    known = np.isfinite(down).all(0)
    place = (np.where(known, down, middle_mm[0, 1]) - middle_mm[0, 1]) / (middle_mm[1, 1] - middle_mm[0, 1])
    first, last = np.floor(place.min(0)).astype(int), np.ceil(place.max(0)).astype(int)
    beyond = (first < 0) | (last > len(marked) - 1)
    before = np.concatenate(([0], np.cumsum(marked)))
    first, last = np.clip(first, 0, len(marked) - 1), np.clip(last, 0, len(marked) - 1)
    return np.asarray(known & (beyond | (before[last + 1] > before[first])))


def _axis_mm(inside: NDArray[np.bool_], offset: Array, count: Array) -> Array:
    """(n,): axis along `offset` of the ellipse with the second moment of `inside` (n, across, ahead)."""
    mean = (inside * offset).sum((1, 2)) / count
    square = (inside * np.square(offset)).sum((1, 2)) / count
    return np.asarray(4 * np.sqrt(np.maximum(square - np.square(mean) + STEP_MM**2 / 12, 0)))


def moving_known_mean(values: Array, half: int) -> Array:
    """Mean of the known neighbours; unknown stays unknown."""
    known = np.isfinite(values)
    size = 2 * half + 1
    total = ndimage.uniform_filter1d(np.where(known, values, 0.0), size, mode="constant")
    share = ndimage.uniform_filter1d(known.astype(np.float64), size, mode="constant")
    return np.where(known, total / np.maximum(share, 1e-9), np.nan)
