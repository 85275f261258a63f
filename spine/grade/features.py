"""Numbers that a grade rests on: measurements, and signal and shape of the disc, its end plates and the canal.

All are plain floats, NaN where unknown; the order of FEATURES is part of the network's contract.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import DISC_OFFSET, FIRST_VERTEBRA, disc_label, region_of, vertebra_name
from spine.grade.end_plates import SIDES, STRIP_MM, STRIP_NAMES, T1_NAMES, end_plate, ratio
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
BRIGHT = 0.6  # share of fluid's signal
# Slip at which a segment of the training patients usually stands: the median of those without spondylolisthesis is
# -0.4 mm above L1, -1.1 mm at L1/L2 and below, for the rear corner of an inferior end plate is the rounder one.
USUAL_SLIP_MM = {"lumbar": -1.1, "thoracic": -0.4, "cervical": 0.0}

SLIP = ("slip_forward", "slip_backward")
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
    "t1_disc",
    "t1_canal",
    *(
        f"{side}_{name}"
        for side in SIDES
        for name in (*STRIP_NAMES, "rough", "dent", "bow", "gap", "far", *(T1_NAMES[n] for n in STRIP_NAMES))
    ),
)
FEATURES: tuple[str, ...] = (
    "level",
    *MEASURED,
    *SLIP,
    *(f"{side}_{name}" for side in SIDES for name in BODY_MEASURED),
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
    slip_mm = row["slip_mm"] - USUAL_SLIP_MM[region_of(k)]
    row |= {"slip_forward": np.maximum(slip_mm, 0.0), "slip_backward": np.maximum(-slip_mm, 0.0)}  # NaN stays NaN
    below = vertebra_name(k - 1) if k > FIRST_VERTEBRA else "S1"
    for side, body in zip(SIDES, (vertebra_name(k), below), strict=True):
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
            found[f"{name}_of_best"] = ratio(own, float(others.max()))
            found[f"{name}_of_usual"] = ratio(own, float(np.median(others)))
        for where, other in (("above", by_k.get(k + 1)), ("below", by_k.get(k - 1))):
            if other is not None:
                found[f"{name}_{where}"] = ratio(own, other[name])
    return found


def patch_features(patch: Patch) -> Numbers:
    """Every name of _PATCH that this patch shows."""
    columns = np.flatnonzero(patch.disc.any(0))
    row: Numbers = {
        "confidence": patch.confidence,
        "depth": patch.disc_depth_mm,
        "fluid_marrow": ratio(patch.fluid, patch.marrow),
    }
    if len(columns) < BINS:
        return row
    row |= _disc(patch, columns) | _reach(patch, columns) | _canal(patch)
    for side, sign in zip(SIDES, (-1, 1), strict=True):
        row |= {f"{side}_{name}": value for name, value in end_plate(patch, columns, sign).items()}
    if patch.t1 is not None:
        marrow = float(np.median(patch.t1[patch.upper | patch.lower]))
        row["t1_disc"] = ratio(float(patch.t1[patch.disc].mean()), marrow)
        row["t1_canal"] = ratio(float(patch.t1[patch.canal].mean()), marrow) if patch.canal.any() else np.nan
    return row


def _disc(patch: Patch, columns: NDArray[np.intp]) -> Numbers:
    row: Numbers = {}
    for b, part in enumerate(np.array_split(columns, BINS)):
        inside = patch.disc[:, part]
        signal = float(patch.image[:, part][inside].mean())
        row[f"height_{b}"] = float(inside.sum(0).mean()) * PIXEL_MM
        row[f"signal_fluid_{b}"] = ratio(signal, patch.fluid)
        row[f"signal_marrow_{b}"] = ratio(signal, patch.marrow)
    values = patch.image[patch.disc]
    core = _core(patch.disc, columns)
    inner, rim = patch.image[core], patch.image[patch.disc & ~core]
    mean, middle = float(values.mean()), float(inner.mean()) if inner.size else np.nan
    low, high = (float(v) for v in np.percentile(values, (10, 90)))
    height = float(patch.disc[:, columns].sum(0).mean()) * PIXEL_MM
    row |= {"height_mean": height, "height_depth": height / (len(columns) * PIXEL_MM)}
    row |= {"disc_fluid": ratio(mean, patch.fluid), "disc_marrow": ratio(mean, patch.marrow)}
    row |= {"core_fluid": ratio(middle, patch.fluid), "core_marrow": ratio(middle, patch.marrow)}
    row |= {"signal_p10": ratio(low, patch.marrow), "signal_p90": ratio(high, patch.marrow)}
    row["core_spread"] = ratio(float(inner.std()), middle) if inner.size else np.nan
    row["core_layer"] = _layer(patch, core)
    row["rim_core"] = ratio(float(rim.mean()), middle) if rim.size else np.nan
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
    return ratio(float(np.mean(profile[third:-third])), outer)


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
        "canal_width_ratio": ratio(float(width[at_disc & seen].min()), usual),
        "canal_signal": ratio(float(np.mean(signal)), patch.fluid),
        "canal_low": ratio(float(np.mean(signal)), float(body_signal.mean())) if body_signal.size else np.nan,
        "canal_row_low": ratio(min(signal), patch.fluid),
        "behind_dark": ratio(float(behind.mean()), patch.fluid) if behind.size else np.nan,
    }
