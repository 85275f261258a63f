"""Tools: cross-sections of the canal, cut from a stored series as the network of the cord sees them, and their cord."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spine.geometry import Array
from spine.records import CordMap

SIDE = 40  # samples across and to the back
STEP_MM = 0.8
ROW_MM = 1.6  # distance of two sections
ROWS_BESIDE = (-4, -2, -1, 0, 1, 2, 4)  # sections that enter as channels
FINE_MM = 0.2  # each sample is the mean of four, so far off along the rows and to the back: stored pixels may be finer
BRIGHTEST = 4.0  # standard deviations above the mean of a section: fat and fluid beyond say no more

# Positions of the samples, mm from the middle of a section.
OFFSETS_MM = (np.arange(SIDE) - (SIDE - 1) / 2) * STEP_MM


def cut_sections(
    array: NDArray[np.generic], to_index: Array, course_mm: Array, turned: Array | None = None
) -> NDArray[np.float32]:
    """Sections of a series at right angles to its rows.

    Args:
        array: (a, b, c) the stored series.
        to_index: (3, 4) matrix from millimetres (slice, down, back, 1) to indices of `array`.
        course_mm: (n, 3) middle of each section (slice, down, back), ROW_MM apart.
        turned: (3, 3) change of the sections about their middles, for training.

    Returns:
        (n, len(ROWS_BESIDE), SIDE, SIDE): channel, across, back; each section with its neighbours has a mean of 0 and
        a standard deviation of 1. Outside the series its border is repeated.
    """
    total = np.zeros((len(course_mm), SIDE, SIDE))
    for down_mm in (-FINE_MM, FINE_MM):
        for back_mm in (-FINE_MM, FINE_MM):
            total += sampled(array, to_index, places_mm(course_mm + np.array([0.0, down_mm, back_mm]), turned))
    rows = np.clip(np.arange(len(total))[:, None] + ROWS_BESIDE, 0, len(total) - 1)
    return normalised(total[rows])


def places_mm(course_mm: Array, turned: Array | None = None) -> Array:
    """(n, SIDE, SIDE, 3) millimetres (slice, down, back) of the samples of sections about `course_mm` (n, 3)."""
    across, back = np.meshgrid(OFFSETS_MM, OFFSETS_MM, indexing="ij")
    grid = np.stack((across, np.zeros_like(across), back), -1)
    return np.asarray(course_mm[:, None, None] + (grid if turned is None else grid @ turned.T))


def sampled(array: NDArray[np.generic], to_index: Array, place_mm: Array) -> Array:
    """`array` (a, b, c) at places (..., 3) mm, linear; beyond its border the border is repeated."""
    index = place_mm @ to_index[:, :3].T + to_index[:, 3]
    return np.asarray(ndimage.map_coordinates(array, np.moveaxis(index, -1, 0), np.float32, order=1, mode="nearest"))


def leaves(inside: NDArray[np.bool_], shape: tuple[int, ...], to_index: Array, course_mm: Array) -> NDArray[np.bool_]:
    """(n,): whether `inside` (n, across, back) of sections, or a sample beside it, lies beyond an array of `shape`."""
    index = places_mm(course_mm) @ to_index[:, :3].T + to_index[:, 3]
    # Beyond the middle of the last slice nothing is known.
    beyond = ((index < 0) | (index > np.array(shape) - 1)).any(-1)
    around = np.zeros((3, 3, 3), bool)
    around[1] = True
    return np.asarray((ndimage.binary_dilation(inside, around) & beyond).any((1, 2)))


def normalised(sections: Array) -> NDArray[np.float32]:
    """Sections (n, channel, across, back), each with its channels brought to a mean of 0 and a spread of 1."""
    centred = sections - sections.mean((1, 2, 3), keepdims=True)
    spread = centred.std((1, 2, 3), keepdims=True)
    return np.asarray(np.minimum(centred / np.where(spread > 0, spread, 1.0), BRIGHTEST), np.float32)


def cord_at(cord: CordMap, places_mm: Array) -> NDArray[np.float32]:
    """Probability of the cord at places (..., 3) mm (slice, down, back) of the model's grid; 0 beyond the sections."""
    middle_mm = cord.middle_mm
    index = [np.interp(places_mm[..., 1], middle_mm[:, 1], np.arange(len(middle_mm)), -2.0, -2.0)]
    for axis in (0, 2):
        middle = np.interp(places_mm[..., 1], middle_mm[:, 1], middle_mm[:, axis])
        index.append((places_mm[..., axis] - middle) / cord.step_mm + (cord.probability.shape[1] - 1) / 2)
    return np.asarray(ndimage.map_coordinates(cord.probability, np.stack(index), order=1, mode="constant"))
