"""Overlap and surface distance of two masks.

Both masks empty: Dice and NSD 1, distances 0. One empty: Dice and NSD 0, distances infinite. What a table does with
those two states is the table's affair (`lab.evaluate.masks` keeps them apart from measured values).

Why not a library for the distances: `surface-distance` 0.1 calls names that NumPy 2 has dropped, `seg-metrics` pulls a
graphical toolkit, and `grand-challenge-metrics` has none. SciPy's exact distance transform does the work; the tests
compare it with SimpleITK and with brute force.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances in mm from each border voxel of one mask to the nearest border voxel of the other, unordered."""

    a_to_b_mm: NDArray[np.float64]
    b_to_a_mm: NDArray[np.float64]
    empty: tuple[bool, bool]  # (a, b)

    def hausdorff_mm(self, percent: float = 95.0) -> float:
        """The larger of the two directed percentiles of distance (Huttenlocher 1993, doi 10.1109/34.232073)."""
        if any(self.empty):
            return _undefined(self.empty)
        return float(max(np.percentile(self.a_to_b_mm, percent), np.percentile(self.b_to_a_mm, percent)))

    def assd_mm(self) -> float:
        """Average symmetric surface distance: mean over the border voxels of both masks together."""
        if any(self.empty):
            return _undefined(self.empty)
        return float(np.concatenate((self.a_to_b_mm, self.b_to_a_mm)).mean())

    def nsd(self, tolerance_mm: float) -> float:
        """Normalised surface distance: share of both borders that lies within `tolerance_mm` of the other.

        Nikolov 2021, doi 10.2196/26151, with border voxels in place of surface elements.
        """
        if any(self.empty):
            return 1.0 if all(self.empty) else 0.0
        both = np.concatenate((self.a_to_b_mm, self.b_to_a_mm))
        return float((both <= tolerance_mm + 1e-9).mean())  # a distance equal to the tolerance counts as within


def dice(a: Mask, b: Mask) -> float:
    """Dice of two masks of one shape, 0..1."""
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2.0 * int(np.count_nonzero(a & b)) / total if total else 1.0


def surface_distances(a: Mask, b: Mask, spacing_mm: tuple[float, ...]) -> SurfaceDistances:
    """One pass from which Hausdorff distance, ASSD and NSD are derived.

    A border voxel has a face neighbour outside the mask. Beyond the image counts as inside, so that the face where the
    field of view cuts a structure is no surface (and a single slice has its contour, not its whole area, as border).

    Args:
        a: mask of any number of axes.
        b: mask of the same shape.
        spacing_mm: voxel size along each axis, in the order of the axes.
    """
    empty = (not a.any(), not b.any())
    if any(empty):
        nothing = np.empty(0)
        return SurfaceDistances(nothing, nothing, empty)
    box = _box_with_margin(a | b)
    border_a, border_b = _border(a[box]), _border(b[box])
    to_a = ndimage.distance_transform_edt(~border_a, spacing_mm)
    to_b = ndimage.distance_transform_edt(~border_b, spacing_mm)
    return SurfaceDistances(to_b[border_a], to_a[border_b], empty)


def assd_mm(a: Mask, b: Mask, spacing_mm: tuple[float, ...]) -> float:
    """Average symmetric surface distance in mm; see `surface_distances`."""
    return surface_distances(a, b, spacing_mm).assd_mm()


def _undefined(empty: tuple[bool, bool]) -> float:
    return 0.0 if all(empty) else float("inf")


def _box_with_margin(mask: Mask) -> tuple[slice, ...]:
    """Bounding box of `mask` and one voxel around it where the image has one.

    Without the margin every tight face of the box would count as the border of the image.
    """
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)


def _border(mask: Mask) -> Mask:
    border = mask & ~ndimage.binary_erosion(mask, border_value=1)
    if border.any():
        return border
    return mask & ~ndimage.binary_erosion(mask, border_value=0)  # the mask fills the image
