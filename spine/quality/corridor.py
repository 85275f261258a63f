"""Where the spine runs in the image: from the front of its bodies to the back of its canal, row by row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import Structure
from spine.records import LabelledSpine, Volume

SOLID = (Structure.BODY, Structure.C2)
FLUID = (Structure.CANAL, Structure.CORD)
NEIGHBOURS = 2  # on either side, whose depth a body that lost its front is credited with


def corridor_of(spine: LabelledSpine, volume: Volume, reach_mm: float) -> NDArray[np.bool_]:
    """(down, back): True from `reach_mm` in front of the bodies to the back of the canal, highest to lowest body.

    A body that lost its front to a fault of the image counts as deep as its neighbours.
    """
    rows = np.array([round(body.centre[1]) for body in spine.vertebrae], int)
    shape = (spine.structures.shape[1], spine.structures.shape[2])
    if not len(rows):
        return np.zeros(shape, np.bool_)
    solid: NDArray[np.bool_] = np.asarray(np.isin(spine.structures, SOLID).any(0))
    fluid: NDArray[np.bool_] = np.asarray(np.isin(spine.structures, FLUID).any(0))
    front = np.array([_first(solid[row]) for row in rows], np.float64)
    behind = np.array([_last(solid[row]) for row in rows], np.float64)
    depth: NDArray[np.float64] = np.subtract(behind, front)
    usual = [float(np.median(depth[max(n - NEIGHBOURS, 0) : n + NEIGHBOURS + 1])) for n in range(len(depth))]
    front = behind - np.maximum(depth, usual) - reach_mm / volume.spacing_mm[2]
    every, order = np.arange(shape[0]), rows.argsort()
    low = np.interp(every, rows[order], front[order])
    high = np.interp(every, rows[order], behind[order])
    canal = np.flatnonzero([bool(line.any()) for line in fluid])
    if len(canal):
        last = [float(_last(fluid[row])) for row in canal]
        high = np.maximum(high, np.interp(every, canal, last))
    columns = np.arange(shape[1])
    inside: NDArray[np.bool_] = (columns >= low[:, None]) & (columns <= high[:, None])
    inside[: rows.min()], inside[rows.max() + 1 :] = False, False
    return inside


def _first(line: NDArray[np.bool_]) -> int:
    return int(line.argmax())


def _last(line: NDArray[np.bool_]) -> int:
    return len(line) - 1 - int(line[::-1].argmax())
