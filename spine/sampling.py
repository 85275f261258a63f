"""Tools: intensity scale and resampling matrices that training and every conforming stage share; pure numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BODY_FRACTION = 0.08  # voxels brighter than this share of the 99.5th percentile count as body
BODY_PERCENTILE = 95.0  # of the body, becomes 1
MAX_INTENSITY = 2.5
SIGNED_PERCENTILE = 0.1  # of a signed image, is its background: the few voxels below are faults or ringing


def intensity_offset(array: NDArray[np.generic]) -> float:
    """What a voxel without signal is stored as: 0 for an image whose minimum is 0, so that it is left as it is.

    Else the minimum; of a signed image the SIGNED_PERCENTILE. With it, `a * x + b` (a > 0) gives the same Volume as
    `x`, where the background of a signed image fills that percentile.
    """
    lowest = float(array.min())
    return float(np.percentile(_lattice(array), SIGNED_PERCENTILE)) if lowest < 0 else lowest


def intensity_scale(array: NDArray[np.generic], offset: float = 0.0) -> float:
    """Factor that brings the BODY_PERCENTILE of the body, above `offset`, to 1; robust against air and hot pixels."""
    sample = _lattice(array)
    if offset:
        sample = sample - np.float32(offset)
    top = float(np.percentile(sample, 99.5))
    body = sample[sample > BODY_FRACTION * top]
    level = float(np.percentile(body, BODY_PERCENTILE)) if body.size else 0.0
    return 1.0 / level if level > 0 else 1.0


def _lattice(array: NDArray[np.generic]) -> NDArray[np.float32]:
    """At most about a million voxels on a regular lattice, flat."""
    step = max(1, int((array.size / 1e6) ** (1 / 3)))
    return np.asarray(array[:: 1 if array.shape[0] < 32 else step, ::step, ::step], np.float32).ravel()


def resampling_matrix(size: int, spacing_mm: float, target_mm: float) -> NDArray[np.float32]:
    """(new size, size): linear resampling from `spacing_mm` to `target_mm` with a triangle filter against aliasing.

    New sample n lies at n * target_mm from the first stored sample: both grids share their first sample's centre.
    """
    count = max(1, int(np.floor((size - 1) * spacing_mm / target_mm + 1e-6)) + 1)
    position = np.arange(count)[:, None] * (target_mm / spacing_mm)
    width = max(1.0, target_mm / spacing_mm)
    weight = np.clip(1.0 - np.abs(position - np.arange(size)[None]) / width, 0.0, None)
    matrix: NDArray[np.float32] = (weight / weight.sum(1, keepdims=True)).astype(np.float32)
    return matrix


def interpolation_matrix(size: int, spacing_mm: float, source_size: int, source_mm: float) -> NDArray[np.float32]:
    """(size, source_size): linear interpolation of a grid of `source_mm` at `size` samples `spacing_mm` apart."""
    position = np.clip(np.arange(size) * (spacing_mm / source_mm), 0, source_size - 1)
    weight = np.clip(1.0 - np.abs(position[:, None] - np.arange(source_size)[None]), 0.0, None)
    matrix: NDArray[np.float32] = weight.astype(np.float32)
    return matrix
