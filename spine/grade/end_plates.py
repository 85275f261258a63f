"""One end plate: the marrow beside it against marrow further away, on one or two series, and its border's shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spine.geometry import Array
from spine.grade.patch import PIXEL_MM, ROWS, Mask, Patch, Plane

SIDES = ("upper", "lower")  # of the disc
STRIP_MM = 5.0  # marrow beside an end plate
FAR_MM = 8.0  # marrow that the end plate does not reach
MIN_PIXELS = 5
PARTS = ("front", "mid", "back")
STRIP_NAMES = (*PARTS, "strip", "top", "bottom", "spread")
T1_NAMES = {name: f"t1_{name}" for name in STRIP_NAMES}  # the same of the second, T1-weighted series


def ratio(a: float, b: float) -> float:
    """`a` over `b` within -5..5; NaN where either is unknown or `b` is nothing."""
    return float(np.clip(a / b, -5.0, 5.0)) if np.isfinite(a) and np.isfinite(b) and abs(b) > 1e-6 else np.nan


def end_plate(patch: Patch, columns: NDArray[np.intp], sign: int) -> dict[str, float]:
    """Numbers of the end plate above (`sign` -1) or below (1) the disc that fills `columns`.

    STRIP_NAMES: signal of the 5 mm beside it over marrow more than 8 mm away, of the whole strip, its thirds from
    front to back, its 90th and 10th percentile and its spread; with prefix t1_ of the second series where there is
    one. 'far' is that marrow over fluid, 'gap' the distance to the body, the rest the border's shape, mm.
    """
    body = patch.upper if sign < 0 else patch.lower
    edge = np.array([_edge(patch.disc[:, c], sign) for c in columns], np.float64)
    row = _shape(columns.astype(np.float64), edge * sign)
    distance = (np.arange(ROWS)[:, None] - edge[None]) * sign * PIXEL_MM  # (row, column of the disc)
    inside = body[:, columns]
    strip, far = inside & (distance < STRIP_MM), inside & (distance > FAR_MM)
    if strip.sum() < MIN_PIXELS or far.sum() < MIN_PIXELS:
        return row
    row |= _signal(patch.image[:, columns], strip, far)
    if patch.t1 is not None:
        row |= {T1_NAMES[name]: value for name, value in _signal(patch.t1[:, columns], strip, far).items()}
    row["far"] = ratio(float(np.median(patch.image[:, columns][far])), patch.fluid)
    first = np.where(inside, distance, np.inf).min(0)
    row["gap"] = float(np.clip(first[np.isfinite(first)], 0, 10).mean())
    return row


def _signal(image: Plane, strip: Mask, far: Mask) -> dict[str, float]:
    usual = float(np.median(image[far]))
    row = {}
    for name, part in zip(PARTS, np.array_split(np.arange(image.shape[1]), len(PARTS)), strict=True):
        values = image[:, part][strip[:, part]]
        row[name] = ratio(float(values.mean()), usual) if values.size else np.nan
    low, high = (float(v) for v in np.percentile(image[strip], (10, 90)))
    row |= {"strip": ratio(float(image[strip].mean()), usual), "top": ratio(high, usual)}
    return row | {"bottom": ratio(low, usual), "spread": ratio(float(image[strip].std()), usual)}


def _edge(column: Mask, sign: int) -> int:
    rows = np.flatnonzero(column)
    return int(rows[-1] if sign > 0 else rows[0])


def _shape(x: Array, outward: Array) -> dict[str, float]:
    """Roughness, deepest dent and bow (mm) of a disc's border; `outward` (n,) grows away from the disc."""
    if len(x) < 8:
        return {}
    x, outward = x[2:-2], outward[2:-2]
    t = (x - x.mean()) / max(float(np.ptp(x)) / 2, 1.0)
    curve = np.polynomial.polynomial.polyfit(t, outward, 2)
    rest = (outward - np.polynomial.polynomial.polyval(t, curve)) * PIXEL_MM
    return {"rough": float(rest.std()), "dent": float(rest.max()), "bow": float(-curve[2] * PIXEL_MM)}
