"""Numbers that a grade rests on: measurements, and signal and shape of the disc, its end plates and the canal.

All are plain floats, NaN where unknown; the order of FEATURES is part of the network's contract.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import DISC_OFFSET, FIRST_VERTEBRA, disc_label, vertebra_name
from spine.geometry import Array
from spine.grade.patch import COLUMNS, PIXEL_MM, ROWS, Mask, Patch
from spine.records import Measurement

MEASURED = (
    "disc_height_anterior_mm",
    "disc_height_middle_mm",
    "disc_height_posterior_mm",
    "disc_height_index",
    "wedge_deg",
    "segmental_angle_deg",
    "slip_mm",
    "slip_percent",
    "disc_midsagittal_area_mm2",
    "bulge_anterior_mm",
    "bulge_posterior_mm",
    "canal_ap_diameter_mm",
    "canal_ap_diameter_min_mm",
    "canal_narrowing_percent",
    "disc_csf_signal_ratio",
    "nucleus_csf_signal_ratio",
)
BODY_MEASURED = (
    "body_height_anterior_mm",
    "body_height_middle_mm",
    "body_height_posterior_mm",
    "body_ap_depth_mm",
    "endplate_depth_superior_mm",
    "endplate_depth_inferior_mm",
    "biconcavity_ratio",
)
BINS = 5  # from front to back
COMPARED = (  # with the other discs of the same spine
    "disc_height_middle_mm",
    "disc_height_index",
    "disc_midsagittal_area_mm2",
    "canal_ap_diameter_min_mm",
    "disc_marrow",
    "core_marrow",
    "disc_fluid",
    "height_mean",
    "canal_low",
    "reach_back",
)
STRIP_MM = 5.0  # marrow beside an end plate
FAR_MM = 8.0  # marrow that the end plate does not reach
BRIGHT = 0.6  # share of fluid's signal

_SIDES = ("upper", "lower")
_PATCH = (
    "confidence",
    "depth",
    "fluid_marrow",
    *(f"height_{b}" for b in range(BINS)),
    *(f"signal_fluid_{b}" for b in range(BINS)),
    *(f"signal_marrow_{b}" for b in range(BINS)),
    "height_mean",
    "height_depth",
    "disc_fluid",
    "disc_marrow",
    "core_fluid",
    "core_marrow",
    "core_spread",
    "core_layer",
    "rim_core",
    "signal_p10",
    "signal_p90",
    "bright_share",
    "reach_back",
    "reach_front",
    "step_back",
    "step_front",
    "step_size",
    "canal_width",
    "canal_width_low",
    "canal_width_ratio",
    "canal_signal",
    "canal_low",
    "canal_row_low",
    "behind_dark",
    *(
        f"{side}_{name}"
        for side in _SIDES
        for name in ("strip", "front", "mid", "back", "top", "bottom", "spread", "rough", "dent", "bow", "gap", "far")
    ),
)
FEATURES: tuple[str, ...] = (
    "level",
    *MEASURED,
    "slip_size",
    *(f"{side}_{name}" for side in _SIDES for name in BODY_MEASURED),
    *_PATCH,
    *(f"{name}_of_best" for name in COMPARED),
    *(f"{name}_of_usual" for name in COMPARED),
    *(f"{name}_above" for name in COMPARED),
    *(f"{name}_below" for name in COMPARED),
)

Numbers = dict[str, float]


def spine_features(patches: Mapping[str, Patch], measurements: Sequence[Measurement]) -> NDArray[np.float32]:
    """(level, feature) in the order of `patches`, level name -> patch; NaN where unknown."""
    values = {(m.subject, m.name): m.value for m in measurements if m.value is not None}
    rows = {level: _level(level, patch, values) for level, patch in patches.items()}
    for level, row in list(rows.items()):
        row.update(_compared(level, rows))
    table = [[row.get(name, np.nan) for name in FEATURES] for row in rows.values()]
    return np.asarray(table, np.float32).reshape(len(rows), len(FEATURES))


def _level(level: str, patch: Patch, values: Mapping[tuple[str, str], float]) -> Numbers:
    k = disc_label(level) - DISC_OFFSET
    row: Numbers = {"level": float(k)}
    row |= dict.fromkeys(COMPARED, np.nan)
    row |= {name: values.get((level, name), np.nan) for name in MEASURED}
    row["slip_size"] = abs(row["slip_mm"])
    below = vertebra_name(k - 1) if k > FIRST_VERTEBRA else "S1"
    for side, body in zip(_SIDES, (vertebra_name(k), below), strict=True):
        row |= {f"{side}_{name}": values.get((body, name), np.nan) for name in BODY_MEASURED}
    return row | patch_features(patch)


def _compared(level: str, rows: Mapping[str, Numbers]) -> Numbers:
    """Ratios with the best and the usual disc of the spine, and with both neighbours."""
    k = disc_label(level) - DISC_OFFSET
    by_k = {disc_label(name) - DISC_OFFSET: row for name, row in rows.items()}
    found: Numbers = {}
    for name in COMPARED:
        own = rows[level][name]
        others = np.array([row[name] for row in rows.values() if np.isfinite(row[name])])
        if len(others):
            found[f"{name}_of_best"] = _ratio(own, float(others.max()))
            found[f"{name}_of_usual"] = _ratio(own, float(np.median(others)))
        for where, other in (("above", by_k.get(k + 1)), ("below", by_k.get(k - 1))):
            if other is not None:
                found[f"{name}_{where}"] = _ratio(own, other[name])
    return found


def _ratio(a: float, b: float) -> float:
    return float(np.clip(a / b, -5.0, 5.0)) if np.isfinite(a) and np.isfinite(b) and abs(b) > 1e-6 else np.nan


def patch_features(patch: Patch) -> Numbers:
    """Every name of _PATCH that this patch shows."""
    columns = np.flatnonzero(patch.disc.any(0))
    row: Numbers = {
        "confidence": patch.confidence,
        "depth": patch.disc_depth_mm,
        "fluid_marrow": _ratio(patch.fluid, patch.marrow),
    }
    if len(columns) < BINS:
        return row
    row |= _disc(patch, columns) | _reach(patch, columns) | _canal(patch)
    for side, body, sign in (("upper", patch.upper, -1), ("lower", patch.lower, 1)):
        row |= {f"{side}_{name}": value for name, value in _end_plate(patch, body, columns, sign).items()}
    return row


def _disc(patch: Patch, columns: NDArray[np.intp]) -> Numbers:
    row: Numbers = {}
    for b, part in enumerate(np.array_split(columns, BINS)):
        inside = patch.disc[:, part]
        signal = float(patch.image[:, part][inside].mean())
        row[f"height_{b}"] = float(inside.sum(0).mean()) * PIXEL_MM
        row[f"signal_fluid_{b}"] = _ratio(signal, patch.fluid)
        row[f"signal_marrow_{b}"] = _ratio(signal, patch.marrow)
    values = patch.image[patch.disc]
    core = _core(patch.disc, columns)
    inner, rim = patch.image[core], patch.image[patch.disc & ~core]
    mean, middle = float(values.mean()), float(inner.mean()) if inner.size else np.nan
    low, high = (float(v) for v in np.percentile(values, (10, 90)))
    height = float(patch.disc[:, columns].sum(0).mean()) * PIXEL_MM
    row |= {"height_mean": height, "height_depth": height / (len(columns) * PIXEL_MM)}
    row |= {"disc_fluid": _ratio(mean, patch.fluid), "disc_marrow": _ratio(mean, patch.marrow)}
    row |= {"core_fluid": _ratio(middle, patch.fluid), "core_marrow": _ratio(middle, patch.marrow)}
    row |= {"signal_p10": _ratio(low, patch.marrow), "signal_p90": _ratio(high, patch.marrow)}
    row["core_spread"] = _ratio(float(inner.std()), middle) if inner.size else np.nan
    row["core_layer"] = _layer(patch, core)
    row["rim_core"] = _ratio(float(rim.mean()), middle) if rim.size else np.nan
    row["bright_share"] = float((values > BRIGHT * patch.fluid).mean()) if np.isfinite(patch.fluid) else np.nan
    return row


def _core(disc: Mask, columns: NDArray[np.intp]) -> Mask:
    """Middle half of the disc from front to back and middle 60 % from above to below."""
    core = np.zeros_like(disc)
    quarter = len(columns) // 4
    for c in columns[quarter : len(columns) - quarter]:
        rows = np.flatnonzero(disc[:, c])
        cut = int(0.2 * len(rows))
        core[rows[cut : len(rows) - cut], c] = True
    return core


def _layer(patch: Patch, core: Mask) -> float:
    """Signal of the core's middle layer over its outer layers: below 1 where a dark cleft crosses the nucleus."""
    rows = np.flatnonzero(core.any(1))
    if len(rows) < 3:
        return np.nan
    profile = [float(patch.image[r][core[r]].mean()) for r in rows]
    third = len(profile) // 3
    outer = float(np.mean(profile[:third] + profile[-third:]))
    return _ratio(float(np.mean(profile[third:-third])), outer)


def _reach(patch: Patch, columns: NDArray[np.intp]) -> Numbers:
    """How far the disc reaches behind and before the bodies beside it, mm."""
    ends = [np.flatnonzero(body.any(0)) for body in (patch.upper, patch.lower)]
    backs = [float(np.percentile(c, 97)) for c in ends if len(c)]
    fronts = [float(np.percentile(c, 3)) for c in ends if len(c)]
    if not backs:
        return {}
    return _step(patch) | {
        "reach_back": (float(columns[-1]) - float(np.mean(backs))) * PIXEL_MM,
        "reach_front": (float(np.mean(fronts)) - float(columns[0])) * PIXEL_MM,
    }


def _step(patch: Patch) -> Numbers:
    """Offset along the disc of the body above against the body below, mm; positive when it lies further forward."""
    rows = np.flatnonzero(patch.disc.any(1))
    middle, near = int(rows.mean()), int(len(rows) / 2 + STRIP_MM / PIXEL_MM)
    above = np.flatnonzero(patch.upper[max(middle - near, 0) : middle].any(0))
    below = np.flatnonzero(patch.lower[middle : middle + near].any(0))
    if len(above) < BINS or len(below) < BINS:
        return {}
    back = float(below[-1] - above[-1]) * PIXEL_MM
    front = float(below[0] - above[0]) * PIXEL_MM
    return {"step_back": back, "step_front": front, "step_size": abs(back + front) / 2}


def _canal(patch: Patch) -> Numbers:
    """Width and signal of the canal at the disc against the bodies above and below."""
    width = patch.canal.sum(1) * PIXEL_MM
    rows = np.flatnonzero(patch.disc.any(1))
    at_disc = np.zeros(ROWS, np.bool_)
    at_disc[max(rows[0] - 2, 0) : rows[-1] + 3] = True
    seen = width > 0
    if not (at_disc & seen).any():
        return {}
    away = width[~at_disc & seen]
    usual = float(np.median(away)) if away.size else np.nan
    signal = [float(patch.image[r][patch.canal[r]].mean()) for r in np.flatnonzero(at_disc & seen)]
    body_signal = patch.image[~at_disc][patch.canal[~at_disc]]
    column = np.flatnonzero(patch.disc.any(0))[-1]
    behind = patch.image[at_disc, min(column + 1, COLUMNS - 1) : min(column + 8, COLUMNS)]
    return {
        "canal_width": float(width[at_disc & seen].mean()),
        "canal_width_low": float(width[at_disc & seen].min()),
        "canal_width_ratio": _ratio(float(width[at_disc & seen].min()), usual),
        "canal_signal": _ratio(float(np.mean(signal)), patch.fluid),
        "canal_low": _ratio(float(np.mean(signal)), float(body_signal.mean())) if body_signal.size else np.nan,
        "canal_row_low": _ratio(min(signal), patch.fluid),
        "behind_dark": _ratio(float(behind.mean()), patch.fluid) if behind.size else np.nan,
    }


def _end_plate(patch: Patch, body: Mask, columns: NDArray[np.intp], sign: int) -> Numbers:
    """Signal of the marrow beside an end plate and the shape of the disc's border there.

    `sign` is -1 for the body above and 1 for the body below.
    """
    edge = np.array([_edge(patch.disc[:, c], sign) for c in columns], np.float64)
    row = _shape(columns.astype(np.float64), edge * sign)
    distance = (np.arange(ROWS)[:, None] - edge[None]) * sign * PIXEL_MM  # (row, column of the disc)
    inside = body[:, columns]
    strip, far = inside & (distance < STRIP_MM), inside & (distance > FAR_MM)
    if strip.sum() < BINS or far.sum() < BINS:
        return row
    image = patch.image[:, columns]
    usual = float(np.median(image[far]))
    thirds = np.array_split(np.arange(len(columns)), 3)
    for name, part in zip(("front", "mid", "back"), thirds, strict=True):
        values = image[:, part][strip[:, part]]
        row[name] = _ratio(float(values.mean()), usual) if values.size else np.nan
    low, high = (float(v) for v in np.percentile(image[strip], (10, 90)))
    row |= {"strip": _ratio(float(image[strip].mean()), usual), "top": _ratio(high, usual)}
    row |= {"bottom": _ratio(low, usual), "spread": _ratio(float(image[strip].std()), usual)}
    row["far"] = _ratio(usual, patch.fluid)
    first = np.where(inside, distance, np.inf).min(0)
    row["gap"] = float(np.clip(first[np.isfinite(first)], 0, 10).mean())
    return row


def _edge(column: Mask, sign: int) -> int:
    rows = np.flatnonzero(column)
    return int(rows[-1] if sign > 0 else rows[0])


def _shape(x: Array, outward: Array) -> Numbers:
    """Roughness, deepest dent and bow (mm) of a disc's border; `outward` (n,) grows away from the disc."""
    if len(x) < 8:
        return {}
    x, outward = x[2:-2], outward[2:-2]
    t = (x - x.mean()) / max(float(np.ptp(x)) / 2, 1.0)
    curve = np.polynomial.polynomial.polyfit(t, outward, 2)
    rest = (outward - np.polynomial.polynomial.polyval(t, curve)) * PIXEL_MM
    return {"rough": float(rest.std()), "dent": float(rest.max()), "bow": float(-curve[2] * PIXEL_MM)}
