"""Tools: signed distances in millimetres (negative inside), smooth noise. All float32, all broadcast."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Field = NDArray[np.float32]


def smooth_max(a: Field, b: Field, round_mm: float) -> Field:
    """Intersection of two solids with edges rounded over `round_mm` (Quilez' polynomial smooth maximum)."""
    blend = np.maximum(round_mm - np.abs(a - b), 0.0) / round_mm
    return np.maximum(a, b) + blend * blend * np.float32(round_mm * 0.25)


def smooth_min(a: Field, b: Field, round_mm: float) -> Field:
    """Union of two solids with the notch between them filled over `round_mm`."""
    return -smooth_max(-a, -b, round_mm)


def capsule(
    points: tuple[Field, Field, Field], start: tuple[float, ...], end: tuple[float, ...], radius: float
) -> Field:
    """Distance to the segment from `start` to `end` less `radius`; `points` are three coordinate fields."""
    along = np.subtract(end, start)
    length2 = float(along @ along) or 1.0
    rel = [c - np.float32(s) for c, s in zip(points, start, strict=True)]
    t = sum((r * np.float32(a / length2) for r, a in zip(rel, along, strict=True)), start=np.float32(0.0))
    t = np.clip(t, 0.0, 1.0)
    squares = sum((np.square(r - t * np.float32(a)) for r, a in zip(rel, along, strict=True)), start=np.float32(0.0))
    return np.sqrt(squares) - np.float32(radius)


def box2(x: Field, y: Field, half: tuple[float, float], round_mm: float) -> Field:
    """Distance to a rectangle of half sides `half` with corners rounded by `round_mm`."""
    dx = np.abs(x) - np.float32(half[0] - round_mm)
    dy = np.abs(y) - np.float32(half[1] - round_mm)
    outside = np.sqrt(np.square(np.maximum(dx, 0.0)) + np.square(np.maximum(dy, 0.0)))
    return outside + np.minimum(np.maximum(dx, dy), 0.0) - np.float32(round_mm)


def ellipsoid(points: tuple[Field, ...], centre: tuple[float, ...], radii: tuple[float, ...]) -> Field:
    """Approximate distance to an ellipsoid: (|x / r| - 1) * least radius."""
    total = sum((np.square((c - m) / r) for c, m, r in zip(points, centre, radii, strict=True)), start=np.float32(0.0))
    return (np.sqrt(total) - 1.0) * np.float32(min(radii))


def _interpolation(fine: int, spacing: float, cell: float) -> NDArray[np.float32]:
    """(fine, coarse) linear-smoothstep weights from a coarse lattice of `cell` mm to `fine` samples."""
    at = np.arange(fine) * spacing / cell
    left = np.floor(at).astype(int)
    t = at - left
    t = t * t * (3 - 2 * t)
    matrix = np.zeros((fine, int(left.max()) + 2), np.float32)
    matrix[np.arange(fine), left] = 1 - t
    matrix[np.arange(fine), left + 1] = t
    return matrix


def smooth_noise(rng: Generator, shape: tuple[int, ...], spacing: tuple[float, ...], cell: tuple[float, ...]) -> Field:
    """Value noise of about unit variance; `spacing` and `cell` in mm along each axis of `shape`."""
    matrices = [_interpolation(n, s, c) for n, s, c in zip(shape, spacing, cell, strict=True)]
    field = rng.standard_normal(tuple(m.shape[1] for m in matrices), np.float32)
    for axis, matrix in enumerate(matrices):
        field = np.moveaxis(np.tensordot(matrix, field, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(field * np.float32(1.35 ** len(shape)))
