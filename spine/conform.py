"""Stage 2: a stored series to the model's grid, and labels on the model's grid back to the stored one.

The image's own axes are kept: axes are permuted and flipped, never rotated, and rows and columns are
resampled by two small matrices, so that the way back is exact and cheap. Training uses the same functions.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import Structure
from spine.arrays import largest
from spine.errors import UnusableImage
from spine.records import LabelledSpine, Segmentation, Series, Study, Volume
from spine.sampling import (
    MAX_INTENSITY,
    intensity_offset,
    intensity_scale,
    interpolation_matrix,
    resampling_matrix,
)
from spine.settings import GridSettings

# Slice, down, back as LPS unit vectors: towards the left, the feet, the back.
CANONICAL = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
# Voxels on the model's grid. Each is kept with ten probabilities: at this number the whole path needs about 3 GB, and
# it needs no more for larger series, whose slices are averaged further than usual.
GRID_VOXELS_MAX = 64_000_000
THICK_STACK_MM = 2.0  # rows or columns coarser than this, and coarser than the slices: not a sagittal stack


def conform_study(study: Study, grid: GridSettings) -> Volume:
    """The primary series of `study` as a Volume.

    Raises:
        UnusableImage: not a sagittal series, or too large.
    """
    return conform_series(study.primary, grid)


def conform_series(series: Series, grid: GridSettings) -> Volume:
    """One sagittal MR series on the model's grid: (slice, down, back), see records.Volume."""
    if series.array.size > grid.max_voxels:
        raise UnusableImage(
            f"{series.slug}: the series has {series.array.size / 1e6:.0f} million voxels; "
            f"at most {grid.max_voxels / 1e6:.0f} million are read."
        )
    axes, flips = anatomical_axes(series.grid.direction)
    spacing = tuple(series.grid.spacing_mm[a] for a in axes)
    _refuse_other_planes(series, spacing)
    array = to_canonical(series.array, axes, flips)
    offset = intensity_offset(array)
    scale = intensity_scale(array, offset)
    rows = resampling_matrix(array.shape[1], spacing[1], grid.pixel_mm)
    columns = resampling_matrix(array.shape[2], spacing[2], grid.pixel_mm)
    padded = [-(-m.shape[0] // grid.multiple) * grid.multiple for m in (rows, columns)]
    usual = thinning_factor(spacing[0], array.shape[0], grid.slice_mm_min)
    factor = max(usual, min(affordable_factor(array.shape[0], *padded), array.shape[0]))
    slices = -(-array.shape[0] // factor)
    out = np.zeros((slices, *padded), np.float32)
    for s in range(slices):
        slab = array[s * factor : (s + 1) * factor]
        plane = slab[0].astype(np.float32) if len(slab) == 1 else slab.mean(0, dtype=np.float32)
        out[s, : rows.shape[0], : columns.shape[0]] = rows @ plane @ columns.T
    if offset:  # resampling keeps a constant, so it may be taken off here; padding stays zero
        out[:, : rows.shape[0], : columns.shape[0]] -= offset
    np.multiply(out, scale, out=out)
    np.clip(out, 0.0, MAX_INTENSITY, out=out)
    return Volume(
        array=out,
        spacing_mm=(spacing[0] * factor, grid.pixel_mm, grid.pixel_mm),
        content=(slices, rows.shape[0], columns.shape[0]),
        affine=_volume_affine(series, axes, flips, factor, grid.pixel_mm),
        source=series.grid,
        axes=axes,
        flips=flips,
        flags=("one_slice",) * (slices == 1) + ("slices_averaged",) * (factor > usual),
    )


def anatomical_axes(direction: tuple[float, ...]) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Which stored axis (0 = i, 1 = j, 2 = k) runs along slice, down, back, and whether it runs against it.

    `direction` is SimpleITK's 3x3 matrix, row-major. The assignment with the largest sum of |cosines| wins.
    """
    cosines = CANONICAL @ np.reshape(direction, (3, 3))  # (canonical, stored)
    best = max(permutations(range(3)), key=lambda p: sum(abs(cosines[c, p[c]]) for c in range(3)))
    flips = tuple(bool(cosines[c, best[c]] < 0) for c in range(3))
    return (best[0], best[1], best[2]), (flips[0], flips[1], flips[2])


def to_canonical(
    array: NDArray[np.generic], axes: tuple[int, int, int], flips: tuple[bool, ...]
) -> NDArray[np.generic]:
    """View of `array` (k, j, i) with axes (slice, down, back)."""
    view = array.transpose([2 - a for a in axes])
    return view[tuple(slice(None, None, -1) if f else slice(None) for f in flips)]


def from_canonical(array: NDArray[np.uint8], axes: tuple[int, int, int], flips: tuple[bool, ...]) -> NDArray[np.uint8]:
    """Inverse of `to_canonical`: (slice, down, back) to a contiguous (k, j, i)."""
    view = array[tuple(slice(None, None, -1) if f else slice(None) for f in flips)]
    order = [2 - a for a in axes]
    return np.ascontiguousarray(view.transpose(np.argsort(order)))


def thinning_factor(slice_mm: float, slices: int, slice_mm_min: float) -> int:
    """How many neighbouring slices are averaged into one, so that slices lie about `slice_mm_min` apart or more."""
    return max(1, min(int(slice_mm_min / slice_mm + 0.25), slices))


def affordable_factor(slices: int, rows: int, columns: int) -> int:
    """How many neighbouring slices must become one for the model's grid to hold at most GRID_VOXELS_MAX voxels."""
    return -(-slices // max(1, GRID_VOXELS_MAX // (rows * columns)))


def restore(spine: LabelledSpine, segmentation: Segmentation, volume: Volume) -> NDArray[np.uint8]:
    """`spine.mask` on the stored grid: uint8 (k, j, i).

    The border of a structure comes from its interpolated probability, so it is as smooth as the stored grid
    allows; the instance of a voxel is that of the nearest voxel of the same kind on the model's grid.
    """
    size = [volume.source.size[a] for a in volume.axes]
    spacing = [volume.source.spacing_mm[a] for a in volume.axes]
    out = np.zeros(size, np.uint8)
    occupied = np.argwhere(spine.mask.any(0))
    if len(occupied):
        low, high = occupied.min(0), occupied.max(0) + 1
        down, fine_down, rows = _axis_window(size[1], spacing[1], volume, 1, (low[0], high[0]))
        back, fine_back, columns = _axis_window(size[2], spacing[2], volume, 2, (low[1], high[1]))
        mask, structures = spine.mask[:, down, back], segmentation.structures[:, down, back]
        planes = _FinePlanes(segmentation.probabilities[:, :, down, back], structures, mask, (rows, columns))
        for fine, position in enumerate(_slice_positions(size[0], volume)):
            out[fine, fine_down, fine_back] = planes.at(position)
    return from_canonical(out, volume.axes, volume.flips)


class _FinePlanes:
    """Model slices brought to the stored in-plane grid one after another; keeps the two that are in use."""

    def __init__(
        self,
        probabilities: NDArray[np.float16],
        structures: NDArray[np.uint8],
        mask: NDArray[np.uint8],
        matrices: tuple[NDArray[np.float32], NDArray[np.float32]],
    ) -> None:
        self._probabilities, self._structures, self._mask = probabilities, structures, mask
        self._rows, self._columns = matrices
        self._near_row, self._near_column = self._rows.argmax(1), self._columns.argmax(1)
        self._kept: dict[int, tuple[NDArray[np.float32], list[NDArray[np.uint8]]]] = {}

    def at(self, position: float) -> NDArray[np.uint8]:
        """Labels of the stored slice that lies at `position` on the model's slice axis."""
        low = int(position)
        share = position - low
        pair = (low, low + 1) if share > 0 else (low, low)
        self._kept = {s: self._kept[s] if s in self._kept else self._plane(s) for s in set(pair)}
        (p0, n0), (p1, n1) = self._kept[pair[0]], self._kept[pair[1]]
        kind = largest(p0 if share == 0 else (1 - share) * p0 + share * p1)
        first, second = (n0, n1) if share <= 0.5 else (n1, n0)
        out = np.zeros(kind.shape, np.uint8)
        for n in range(1, len(KINDS)):
            rows, columns = np.nonzero(kind == n)
            near = self._near_row[rows], self._near_column[columns]
            label = first[n - 1][near]
            # Where the nearer slice holds nothing of that kind, the other one tells.
            out[rows, columns] = np.where(label == 0, second[n - 1][near], label)
        out[out == _REMOVED] = 0
        return out

    def _plane(self, s: int) -> tuple[NDArray[np.float32], list[NDArray[np.uint8]]]:
        """Probability of each kind on the stored grid, and the labels of each but the background on the model's."""
        probability = np.empty((len(KINDS), len(self._rows), len(self._columns)), np.float32)
        labels = []
        kind_of = _KIND_OF[self._structures[s]]
        # What the network called S1 and label.py found to be L5: there the probability of S1 speaks for a vertebra.
        renamed = (self._structures[s] == Structure.S1) & (self._mask[s] > 0)
        kind_of[renamed] = _VERTEBRA
        moved = self._probabilities[Structure.S1, s] * _spread(renamed.astype(np.uint8))
        label = np.where(self._mask[s] == 0, np.uint8(_REMOVED), self._mask[s])
        for n, members in enumerate(KINDS):
            merged = self._probabilities[list(members), s].sum(0, dtype=np.float32)
            if n == _BACKGROUND:
                merged -= moved
            elif n == _VERTEBRA:
                merged += moved
            probability[n] = self._rows @ merged @ self._columns.T
            if n:
                labels.append(_spread(np.where(kind_of == n, label, np.uint8(0))))
        return probability, labels


# What a voxel of the output can be: background (the sacrum has no label there), vertebra, disc, canal.
KINDS: tuple[tuple[int, ...], ...] = (
    (Structure.BACKGROUND, Structure.S1, Structure.SACRUM),
    (Structure.BODY, Structure.POSTERIOR, Structure.C2, Structure.C1),
    (Structure.DISC,),
    (Structure.CANAL, Structure.CORD),
)
_BACKGROUND, _VERTEBRA = 0, 1  # places in KINDS
_KIND_OF = np.array([next(n for n, k in enumerate(KINDS) if structure in k) for structure in Structure], np.uint8)
_REMOVED = 255  # found by the network, taken out again by label.py
_SPREAD = 2  # voxels: interpolated borders lie at most one voxel away from those on the model's grid


def _spread(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels grown into the zeros around them by _SPREAD voxels."""
    for _ in range(_SPREAD):
        grown = label.copy()
        np.maximum(grown[1:], label[:-1], out=grown[1:])
        np.maximum(grown[:-1], label[1:], out=grown[:-1])
        wide = grown.copy()
        np.maximum(wide[:, 1:], grown[:, :-1], out=wide[:, 1:])
        np.maximum(wide[:, :-1], grown[:, 1:], out=wide[:, :-1])
        label = np.where(label == 0, wide, label)
    return label


def _axis_window(
    size: int, spacing_mm: float, volume: Volume, axis: int, occupied: tuple[int, int]
) -> tuple[slice, slice, NDArray[np.float32]]:
    """(window on the model's axis, window on the stored axis, matrix between them) around the `occupied` range."""
    matrix = interpolation_matrix(size, spacing_mm, volume.content[axis], volume.spacing_mm[axis])
    low, high = max(occupied[0] - 1, 0), min(occupied[1] + 1, volume.content[axis])
    fine = np.flatnonzero(matrix[:, low:high].any(1))
    window = slice(int(fine[0]), int(fine[-1]) + 1)
    part = matrix[window, low:high]
    return slice(low, high), window, part / part.sum(1, keepdims=True)


def _slice_positions(size: int, volume: Volume) -> NDArray[np.float64]:
    """Position of each stored slice on the model's slice axis, clamped to its ends."""
    factor = round(volume.spacing_mm[0] / volume.source.spacing_mm[volume.axes[0]])
    starts = np.arange(0, size, factor)
    centres = (starts + np.minimum(starts + factor, size) - 1) / 2
    positions: NDArray[np.float64] = np.interp(np.arange(size), centres, np.arange(len(starts), dtype=float))
    return positions


def _refuse_other_planes(series: Series, spacing: tuple[float, ...]) -> None:
    if max(spacing[1:]) > THICK_STACK_MM and max(spacing[1:]) > 1.5 * spacing[0]:
        raise UnusableImage(
            f"{series.slug}: a sagittal series is expected, but the samples lie {spacing[0]:.2f} mm apart from side to "
            f"side, {spacing[1]:.2f} mm from head to foot and {spacing[2]:.2f} mm from front to back."
        )


def _volume_affine(
    series: Series, axes: tuple[int, int, int], flips: tuple[bool, ...], factor: int, pixel_mm: float
) -> NDArray[np.float64]:
    """(4, 4): index on the model's grid -> LPS millimetres."""
    to_stored = np.zeros((4, 4))
    to_stored[3, 3] = 1.0
    for canonical, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        step = factor if canonical == 0 else pixel_mm / series.grid.spacing_mm[axis]
        start = (factor - 1) / 2 if canonical == 0 else 0.0
        last = series.grid.size[axis] - 1
        to_stored[axis, canonical] = -step if flip else step
        to_stored[axis, 3] = last - start if flip else start
    return series.grid.affine @ to_stored
