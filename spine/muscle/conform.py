"""An axial series as stored -> slices in the patient's frame, and the way back.

As for the sagittal series, axes are permuted and flipped, never rotated, and rows and columns are resampled by two
small matrices. Training and inference share `AxialStack.plane` and `network_input`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import AxialStructure
from spine.geometry import Array
from spine.records import Grid, Series
from spine.sampling import MAX_INTENSITY, intensity_offset, intensity_scale, interpolation_matrix, resampling_matrix

Plane = NDArray[np.float32]
# Slice, down, across as LPS unit vectors: towards the head, the back, the patient's left.
CANONICAL = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
MULTIPLE = 32  # rows and columns of the network's input are padded to a multiple of this
NEIGHBOUR_MM = 3.0  # the network has learnt neighbours at least so far away; thinner slices are stepped over
THICK_MM, THICK_SHARE = 2.0, 1.5  # rows or columns coarser than this, and than so many slice distances: another plane
TILT_MAX_DEG = 46.0  # between slices and the patient's axial plane; steeper ones are nearer to coronal
FIELD_MIN_MM = 100.0  # a smaller field holds neither both sides nor the skin behind them
PLANES = ("axial", "coronal", "sagittal")  # by what the slices lie across: `CANONICAL`


@dataclass(frozen=True)
class Group:
    """Parallel, evenly spaced slices of a series: one grid, turned to (slice, down, across)."""

    view: NDArray[np.generic]  # (slice, down, across) of stored values
    grid: Grid
    axes: tuple[int, int, int]  # stored axis (0 = i, 1 = j, 2 = k) that became slice, down, across
    flips: tuple[bool, bool, bool]
    first: int  # stored slice (along k of the series) at which the grid begins, from 0
    rows: Plane  # (row, stored row) resampling
    columns: Plane  # (column, stored column)

    def affine(self, number: int, pixel_mm: float) -> Array:
        """(4, 4): index (0, row, column, 1) of slice `number` of the group -> LPS millimetres."""
        to_stored = np.zeros((4, 4))
        to_stored[3, 3] = 1.0
        for canonical, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            step = 1.0 if canonical == 0 else pixel_mm / self.grid.spacing_mm[axis]
            start = float(number) if canonical == 0 else 0.0
            last = self.grid.size[axis] - 1
            to_stored[axis, canonical] = -step if flip else step
            to_stored[axis, 3] = last - start if flip else start
        return np.asarray(self.grid.affine @ to_stored)


@dataclass(frozen=True)
class AxialStack:
    """Slices of an axial series in the patient's frame, from the feet to the head within each group.

    Slices are made when they are asked for: a series may hold hundreds, of which a few are measured.
    """

    groups: tuple[Group, ...]
    places: tuple[tuple[int, int], ...]  # of each slice: its group and its number in it
    pixel_mm: float
    offset: float  # stored value of a voxel without signal
    scale: float  # brings the 95th percentile of the body to 1, see spine.sampling
    flags: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.places)

    def content(self, index: int) -> tuple[int, int]:
        """Rows and columns of slice `index` that hold image."""
        group = self.groups[self.places[index][0]]
        return group.rows.shape[0], group.columns.shape[0]

    def plane(self, index: int) -> Plane:
        """Slice `index`, float32 (down, across), scaled to about 0..1 in the body, not clipped, not padded."""
        group, number = self._at(index)
        stored = np.asarray(group.view[number], np.float32)
        return np.asarray((group.rows @ stored @ group.columns.T - self.offset) * self.scale, np.float32)

    def affine(self, index: int) -> Array:
        """(4, 4): index (0, row, column, 1) of slice `index` -> LPS millimetres."""
        group, number = self._at(index)
        return group.affine(number, self.pixel_mm)

    def normal(self, index: int) -> Array:
        """(3,) unit vector at right angles to slice `index`, LPS, towards the head."""
        affine = self.affine(index)
        across = np.cross(affine[:3, 2], affine[:3, 1])
        return np.asarray(across / np.linalg.norm(across))

    def distance_mm(self, index: int) -> float:
        """Distance between neighbouring slices around slice `index`."""
        group, _ = self._at(index)
        return group.grid.spacing_mm[group.axes[0]]

    def stored_number(self, index: int) -> int:
        """Number of slice `index` along its stored axis, from 1, in the order of storage."""
        group, number = self._at(index)
        count = group.view.shape[0]
        return group.first + (count - number if group.flips[0] else number + 1)

    def neighbours(self, index: int) -> tuple[int, int]:
        """Slices on either side that enter the network with slice `index`; at an end of a group the last one."""
        group, number = self.places[index]
        step = max(1, int(np.ceil(NEIGHBOUR_MM / self.distance_mm(index) - 1e-6)))
        last = self.groups[group].view.shape[0] - 1
        start = index - number
        return start + max(number - step, 0), start + min(number + step, last)

    def _at(self, index: int) -> tuple[Group, int]:
        group, number = self.places[index]
        return self.groups[group], number


def network_input(stack: AxialStack, index: int) -> Plane:
    """(3, H, W) for the network: slice `index` between its neighbours, clipped, zero padded to MULTIPLE."""
    low, high = stack.neighbours(index)
    rows, columns = stack.content(index)
    padded = np.zeros((3, -(-rows // MULTIPLE) * MULTIPLE, -(-columns // MULTIPLE) * MULTIPLE), np.float32)
    for channel, number in enumerate((low, index, high)):
        np.clip(stack.plane(number), 0.0, MAX_INTENSITY, out=padded[channel, :rows, :columns])
    return padded


def conform_axial(series: Series, pixel_mm: float) -> AxialStack | str:
    """`series` as an AxialStack with pixels of `pixel_mm`, or one sentence that says why it is no axial series."""
    grids, groups, first = series.stacks or (series.grid,), [], 0
    for grid in grids:
        part = series.array[first : first + grid.size[2]]
        group = _group(part, grid, first, pixel_mm)
        if isinstance(group, str):
            return group
        groups.append(group)
        first += grid.size[2]
    offset = intensity_offset(series.array)
    scale = intensity_scale(series.array, offset)
    places = tuple((n, number) for n, group in enumerate(groups) for number in range(group.view.shape[0]))
    flags = ("the axial series has a single slice",) if len(places) == 1 else ()
    return AxialStack(tuple(groups), places, pixel_mm, offset, scale, flags)


def _group(array: NDArray[np.generic], grid: Grid, first: int, pixel_mm: float) -> Group | str:
    axes, flips = axial_axes(grid.direction)
    spacing = [grid.spacing_mm[axis] for axis in axes]
    if max(spacing[1:]) > max(THICK_MM, THICK_SHARE * spacing[0]):
        plane = PLANES[int(np.argmax(spacing))]
        return f"the series in the axial socket is {plane}: axial slices are expected"
    tilt_deg = float(np.degrees(np.arccos(min(abs(grid.affine[2, axes[0]]) / spacing[0], 1.0))))
    if tilt_deg > TILT_MAX_DEG:
        return f"the slices of the axial series are tilted by {tilt_deg:.0f} degrees: axial slices are expected"
    field = [grid.size[axis] * grid.spacing_mm[axis] for axis in axes[1:]]
    if min(field) < FIELD_MIN_MM:
        return (
            f"the axial series shows {field[0]:.0f} x {field[1]:.0f} mm only: "
            f"both sides of the back, at least {FIELD_MIN_MM:.0f} mm, are expected"
        )
    view = array.transpose([2 - axis for axis in axes])
    view = view[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
    rows = resampling_matrix(view.shape[1], spacing[1], pixel_mm)
    columns = resampling_matrix(view.shape[2], spacing[2], pixel_mm)
    return Group(view, grid, axes, flips, first, rows, columns)


def axial_axes(direction: tuple[float, ...]) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Which stored axis (0 = i, 1 = j, 2 = k) runs along slice, down, across, and whether it runs against it.

    `direction` is SimpleITK's 3x3 matrix, row-major. The assignment with the largest sum of |cosines| wins.
    """
    cosines = CANONICAL @ np.reshape(direction, (3, 3))  # (canonical, stored)
    best = max(permutations(range(3)), key=lambda p: sum(abs(cosines[c, p[c]]) for c in range(3)))
    flips = tuple(bool(cosines[c, best[c]] < 0) for c in range(3))
    return (best[0], best[1], best[2]), (flips[0], flips[1], flips[2])


def restore_slice(labels: NDArray[np.uint8], stack: AxialStack, index: int) -> NDArray[np.uint8]:
    """Labels (down, across) of slice `index`, of the stack's pixels, on the pixels stored (in the stack's turn).

    Each structure is interpolated apart and the strongest wins, so that borders stay smooth.
    """
    group = stack.groups[stack.places[index][0]]
    _, rows, columns = group.view.shape
    down_mm, across_mm = (group.grid.spacing_mm[axis] for axis in group.axes[1:])
    down = interpolation_matrix(rows, down_mm, group.rows.shape[0], stack.pixel_mm)
    across = interpolation_matrix(columns, across_mm, group.columns.shape[0], stack.pixel_mm)
    shares = np.stack([down @ (labels == value).astype(np.float32) @ across.T for value in AxialStructure])
    return np.asarray(shares.argmax(0), np.uint8)


def restore_labels(labels: dict[int, NDArray[np.uint8]], stack: AxialStack, series: Series) -> NDArray[np.uint8]:
    """Labels of slices, by their index in `stack`, on the stored grid of `series`: uint8 (k, j, i), 0 elsewhere."""
    whole = np.zeros(series.array.shape, np.uint8)
    for index, plane in labels.items():
        group = stack.groups[stack.places[index][0]]
        part = whole[group.first : group.first + group.grid.size[2]]
        view = part.transpose([2 - axis for axis in group.axes])
        view = view[tuple(slice(None, None, -1) if flip else slice(None) for flip in group.flips)]
        view[stack.places[index][1]] = restore_slice(plane, stack, index)
    return whole
