"""The cord along the canal: depth, width and area of its sections at right angles to the canal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spine.geometry import Array
from spine.measure.section import MidSurface
from spine.records import CordMap
from spine.sections import cord_at

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


def trace_cord(line: Array, front: Array, surface: MidSurface, cord: CordMap | None, window: int) -> CordLine:
    """Sections of `cord` in the planes across the canal.

    Args:
        line: (n, 2) the canal's line on `surface`, (down, back) mm.
        front: (n, 2) unit vectors across the canal, to the front.
        surface: the mid-sagittal surface.
        cord: None where it was not read.
        window: sizes are means over so many points to either side.
    """
    if cord is None:
        unknown = np.full(len(line), np.nan)
        return CordLine(unknown, unknown, unknown, np.zeros(len(line), bool))
    reach = np.arange(-REACH_MM, REACH_MM + 1e-6, STEP_MM)
    across, ahead = np.meshgrid(reach, reach, indexing="ij")
    place_mm = np.repeat(surface.lift(line)[:, None, None], len(reach), 1).repeat(len(reach), 2)
    place_mm[..., 0] += across
    place_mm[..., 1:] += ahead[None, :, :, None] * front[:, None, None]
    inside = cord_at(cord, place_mm) >= EDGE_PROB
    touched = inside[:, [0, -1]].any((1, 2)) | inside[:, :, [0, -1]].any((1, 2))
    count = inside.sum((1, 2)).astype(np.float64)
    count[(count == 0) | touched] = np.nan
    ap, width, area = (
        moving_known_mean(v, window)
        for v in (_axis_mm(inside, ahead, count), _axis_mm(inside, across, count), count * STEP_MM**2)
    )
    cut = np.interp(line[:, 0], cord.middle_mm[:, 1], cord.cut.astype(float), 0, 0) > 0
    return CordLine(ap, width, area, cut)


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
