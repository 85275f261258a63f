"""Overlap and distance of two masks. Both empty: Dice 1 and distance 0; one empty: Dice 0 and distance infinite."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Dice of two masks of one shape, 0..1."""
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else 1.0


def assd_mm(a: NDArray[np.bool_], b: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> float:
    """Average symmetric surface distance in mm: mean over both borders of the distance to the other border.

    A border voxel is one with a face neighbour outside; beyond the image counts as the same as inside it.
    """
    if not a.any() or not b.any():
        return 0.0 if a.any() == b.any() else float("inf")
    box = ndimage.find_objects((a | b).astype(np.uint8))[0]
    border_a, border_b = _border(a[box]), _border(b[box])
    to_a = ndimage.distance_transform_edt(~border_a, spacing_mm)
    to_b = ndimage.distance_transform_edt(~border_b, spacing_mm)
    distances = np.concatenate((to_b[border_a], to_a[border_b]))
    return float(distances.mean())


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask & ~ndimage.binary_erosion(mask, border_value=1)
