"""Tools: axes, planes and millimetres; pure numpy.

In-plane points and directions have axes (down, back): (-1, 0) points to the head, (0, -1) to the front.
Points of the grid in millimetres have axes (slice, down, back) and are index times spacing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

UP: Array = np.array([-1.0, 0.0])  # towards the head
FRONT: Array = np.array([0.0, -1.0])  # towards the belly

SAGITTAL_MIN_COSINE = 0.7  # an image axis further than 45 degrees from its patient axis says nothing about posture
TUKEY_BIWEIGHT = (
    4.685  # 95 % efficiency at the normal distribution (Beaton & Tukey 1974, 10.1080/00401706.1974.10489171)
)
MAD_TO_SD = 1.4826
ROBUST_ROUNDS = 3


def unit(vector: Array) -> Array:
    """`vector` (..., n) at length 1; a zero vector stays zero."""
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    return np.asarray(np.divide(vector, length, out=np.zeros(np.shape(vector)), where=length > 0))


def front_of(up: Array) -> Array:
    """In-plane direction (..., 2) that points to the front when `up` (..., 2) points to the head."""
    return np.stack([-up[..., 1], up[..., 0]], axis=-1)


def up_of(front: Array) -> Array:
    """In-plane direction (..., 2) that points to the head when `front` (..., 2) points to the front."""
    return np.stack([front[..., 1], -front[..., 0]], axis=-1)


def elevation_deg(chord: Array, horizontal: Array = FRONT) -> float:
    """Angle of a back-to-front `chord` (2,) above `horizontal` (2,), degrees in (-180, 180]."""
    return float(np.degrees(np.arctan2(chord @ up_of(horizontal), chord @ horizontal)))


def wrap_deg(angle_deg: float) -> float:
    """`angle_deg` brought to [-180, 180)."""
    return (angle_deg + 180.0) % 360.0 - 180.0


def to_lps(affine: Array, index: Array) -> Array:
    """Index (..., 3) to LPS millimetres (..., 3) by `affine` (4, 4)."""
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])


def patient_horizontal(affine: Array) -> Array | None:
    """In-plane unit vector (2,) along the patient's back-to-front axis; None where the plane is not sagittal.

    `affine` (4, 4) maps (slice, down, back) to LPS. In a supine patient this is the vertical of the room.
    """
    axes = unit(affine[:3, :3].T)  # rows: slice, down, back in LPS
    if -axes[1, 2] < SAGITTAL_MIN_COSINE or axes[2, 1] < SAGITTAL_MIN_COSINE:
        return None
    return -unit(axes[1:, 1])


def extent(positions: Array, distance: Array) -> tuple[Array, Array]:
    """First and last zero crossing of signed distances along lines, interpolated linearly.

    Args:
        positions: (n,) ascending positions along each line, mm.
        distance: (..., n) signed distance at them, negative inside.

    Returns:
        Two arrays (...): where the line enters the region first and leaves it last, mm; NaN where it misses
        the region or where the region reaches past either end of the line.
    """
    inside = distance < 0
    n = len(positions)
    first = inside.argmax(-1)
    last = n - 1 - inside[..., ::-1].argmax(-1)
    usable = inside.any(-1) & (first > 0) & (last < n - 1)
    low = _crossing(positions, distance, np.maximum(first - 1, 0), first)
    high = _crossing(positions, distance, np.minimum(last + 1, n - 1), last)
    return np.where(usable, low, np.nan), np.where(usable, high, np.nan)


def leaving(positions: Array, distance: Array) -> Array:
    """Last zero crossing (...) from inside to outside along lines, mm; arguments as in `extent`.

    NaN where a line is nowhere inside or still inside at its end; it may begin inside.
    """
    inside = distance < 0
    n = len(positions)
    last = n - 1 - inside[..., ::-1].argmax(-1)
    usable = inside.any(-1) & (last < n - 1)
    return np.where(usable, _crossing(positions, distance, np.minimum(last + 1, n - 1), last), np.nan)


def _crossing(positions: Array, distance: Array, outer: NDArray[np.intp], inner: NDArray[np.intp]) -> Array:
    d_outer = np.take_along_axis(distance, outer[..., None], -1)[..., 0]
    d_inner = np.take_along_axis(distance, inner[..., None], -1)[..., 0]
    gap = d_outer - d_inner
    share = np.divide(d_outer, gap, out=np.zeros_like(gap), where=gap != 0)
    return np.asarray(positions[outer] + share * (positions[inner] - positions[outer]))


@dataclass(frozen=True)
class Curve:
    """Polynomial y(x) = sum of `coefficients[i]` * ((x - centre) / scale) ** i."""

    centre: float
    scale: float
    coefficients: Array

    def __call__(self, x: Array | float) -> Array:
        """Values y at `x`."""
        t = (x - self.centre) / self.scale
        total: Array | float = 0.0
        for coefficient in self.coefficients[::-1]:
            total = total * t + coefficient
        return np.asarray(total)


def fit_curve(x: Array, y: Array, degree: int, noise: float, weight: Array | None = None) -> Curve | None:
    """Robust polynomial through (n,) points by Tukey's biweight; None with fewer than degree + 2 finite points.

    `noise` is the least standard deviation that y is credited with: without it, the few points on the next step
    of a staircase would count as outliers.
    """
    usable = np.isfinite(x) & np.isfinite(y)
    if np.count_nonzero(usable) < degree + 2:
        return None
    x, y = x[usable], y[usable]
    base = np.ones(len(x)) if weight is None else weight[usable]
    centre = float((x.min() + x.max()) / 2)
    scale = float(max((x.max() - x.min()) / 2, 1e-6))
    t = (x - centre) / scale
    powers = np.stack([t**n for n in range(degree + 1)])
    robust = base
    for _ in range(ROBUST_ROUNDS):
        weighted = powers * robust
        normal = weighted @ powers.T
        normal.flat[:: degree + 2] += 1e-9 * normal[0, 0] + 1e-12
        coefficients = np.asarray(np.linalg.solve(normal, weighted @ y), np.float64)
        residual = np.abs(y - coefficients @ powers)
        spread = MAD_TO_SD * float(np.sort(residual)[len(residual) // 2])
        robust = base * np.clip(1 - (residual / (TUKEY_BIWEIGHT * max(spread, noise))) ** 2, 0.0, None) ** 2
    return Curve(centre, scale, coefficients)


def moving_mean(values: Array, half: int) -> Array:
    """Mean of `values` (n, ...) over 2 * half + 1 neighbours along axis 0; ends are continued point-symmetrically."""
    if half < 1 or len(values) < 3:
        return np.array(values, np.float64)
    half = min(half, len(values) - 1)
    pad = [(half, half)] + [(0, 0)] * (values.ndim - 1)
    total = np.cumsum(np.pad(values, pad, mode="reflect", reflect_type="odd"), axis=0)
    total = np.concatenate([np.zeros_like(total[:1]), total])
    window = 2 * half + 1
    return np.asarray((total[window:] - total[:-window]) / window)


def arc_length(points: Array) -> Array:
    """Length along a polyline (n, d) from its first point, (n,)."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])
