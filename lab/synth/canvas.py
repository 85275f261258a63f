"""Tools: the grid while it is painted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lab.synth.plan import Frame
from lab.synth.shapes import Field
from lab.synth.tissue import STRUCTURE_OF_TISSUE, Tissue
from spine.anatomy import Structure

Codes = NDArray[np.uint8]
Box = tuple[slice, ...]
CORTEX_MM = 0.3  # inner part of the shell, inside the mask
RIM_MM = 0.7  # outer part of the shell, outside the mask


class Canvas:
    """The grid while it is painted."""

    def __init__(self, shape: tuple[int, int, int], spacing: tuple[float, float, float], origin: NDArray[np.float64]):
        self.codes: Codes = np.zeros(shape, np.uint8)
        self.instances: Codes = np.zeros(shape, np.uint8)
        self.spacing, self.origin = spacing, origin
        grids = [
            np.float32(o) + np.arange(n, dtype=np.float32) * np.float32(s)
            for n, s, o in zip(shape, spacing, origin, strict=True)
        ]
        self.axes: tuple[Field, Field, Field] = (
            grids[0][:, None, None],
            grids[1][None, :, None],
            grids[2][None, None, :],
        )
        self.warp: Field | None = None  # (2, slice, down, back) displacement down and back

    def box(self, frame: Frame, low: tuple[float, ...], high: tuple[float, ...]) -> tuple[slice, ...] | None:
        """Slices of the grid that hold the local box from `low` to `high` (u, h, p), None when outside."""
        corners = np.array(
            [[(low, high)[i][0], (low, high)[j][1], (low, high)[k][2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
        )
        world = frame.origin_mm + corners @ frame.axes
        first = np.floor((world.min(0) - self.origin) / self.spacing).astype(int)
        last = np.ceil((world.max(0) - self.origin) / self.spacing).astype(int) + 1
        first, last = np.maximum(first, 0), np.minimum(last, self.codes.shape)
        if np.any(first >= last):
            return None
        return tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))

    def local(self, frame: Frame, box: tuple[slice, ...]) -> tuple[Field, Field, Field]:
        """Coordinates (u, h, p) of the voxels of `box` in `frame`."""
        left = self.axes[0][box[0]] - np.float32(frame.origin_mm[0])
        down = self.axes[1][:, box[1]] - np.float32(frame.origin_mm[1])
        back = self.axes[2][:, :, box[2]] - np.float32(frame.origin_mm[2])
        if self.warp is not None:
            down, back = down + self.warp[(0, *box)], back + self.warp[(1, *box)]
        matrix = frame.axes.astype(np.float32)
        return tuple(left * m[0] + down * m[1] + back * m[2] for m in matrix)  # type: ignore[return-value]


def put(canvas: Canvas, box: tuple[slice, ...], where: NDArray[np.bool_], code: int | Codes, label: int) -> None:
    """Paint `code` (one, or one per voxel) and the instance `label` into `box` where `where` is true."""
    block = canvas.codes[box]
    block[where] = code if isinstance(code, int) else code[where]
    canvas.instances[box][where] = label


def paint_rim(canvas: Canvas, box: tuple[slice, ...], solid: Field) -> None:
    """Dark outer shell around a bone where nothing but background lies."""
    block = canvas.codes[box]
    rim = (solid >= 0) & (solid < RIM_MM) & (STRUCTURE_OF_TISSUE[block] == Structure.BACKGROUND)
    block[rim] = Tissue.BONE_RIM


def shell(solid: Field, marrow: int, cortex: int, thickness: float = CORTEX_MM) -> Codes:
    """Marrow inside, cortex within `thickness` mm of the surface; `solid` is the distance to it, negative inside."""
    return np.where(solid > -np.float32(thickness), np.uint8(cortex), np.uint8(marrow))
