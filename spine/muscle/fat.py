"""Fat inside a muscle's compartment from its intensities, anchored by subcutaneous fat and by muscle.

The receiving coil lies behind the back: intensities first lose a smooth field, fitted to the logarithm of the signal of
lean muscle and of subcutaneous fat, each with a level of its own; which pixels are lean is found along the way (after
Wells 1996, doi 10.1109/42.511747). Then the pixels of a compartment are a mixture of two normal distributions, whose
means are held near those of muscle and of subcutaneous fat by conjugate priors (Fraley and Raftery 2007,
doi 10.1007/s00357-007-0004-5), and of pixels that are partly filled, spread evenly between the two (Santago and Gage
1993, doi 10.1109/42.241885). Streaks of fat are thinner than pixels: two components alone would count such pixels as
all or nothing.

What it cannot see: fat that is spread evenly through all muscles, the psoas too, and so belongs to the mode that is
called muscle. Water that is as bright as fat (oedema) counts as fat. Where muscle is hardly brighter than noise the
field between muscle and skin is a guess. It is no proton density fat fraction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spine.geometry import MAD_TO_SD, Array
from spine.muscle.conform import Plane
from spine.muscle.limits import read_limits

Mask = NDArray[np.bool_]

FIELD_TERMS = ((1, 0), (2, 0), (0, 1), (1, 1), (0, 2))  # powers of down and across
FIELD_ROUNDS = 25
# Of the pixels: a field that few pixels ask for stays flat. The coil lies behind the back, so the field changes mostly
# from front to back; from side to side it would take one muscle's fat for brightness.
FIELD_RIDGE, FIELD_RIDGE_ACROSS = 0.001, 0.1
# Standard deviation of lean muscle in the logarithm of its signal: wide while the field is unknown, then its own.
FIELD_SPREADS = (0.5, 0.2)
LEAN_PERCENTILE = 35.0  # of the muscles' pixels: lean, unless most are fat
SIGNAL_MIN = 0.02  # scaled intensity; noise alone lies below
STRIP_FROM_MM, STRIP_TO_MM = 4.0, 60.0  # subcutaneous fat is looked for so far behind the back muscles
MIXTURE_ROUNDS = 100
MIXTURE_DONE = 1e-5
PRIOR_SHARE = 3.0  # weight of a mean's anchor, in pixels of the compartment: much, or fine streaks would drag it along
SD_MIN_SHARE, SD_MAX_SHARE = 0.04, 0.3  # limits of a component's spread, of the gap between muscle and fat
BINS = 128


@dataclass(frozen=True)
class Scale:
    """Field and anchors of one slice. Intensities divided by `field` are comparable over the slice."""

    field: Plane  # (down, across), 1 on average inside the muscles
    muscle: float
    fat: float
    spread: float  # standard deviation of both


def fit_scale(grey: Plane, muscles: Mask, back: Mask, pixel_mm: float) -> Scale | str:
    """Field and anchors of a slice, or why fat and muscle cannot be told apart on it.

    Args:
        grey: (down, across) intensities, fat brighter than muscle.
        muscles: every muscle that was outlined.
        back: the outlined muscles of the back; behind them lies the subcutaneous fat.
        pixel_mm: of all three.
    """
    skin = subcutaneous(grey, back, pixel_mm)
    limits = read_limits()
    if np.count_nonzero(skin) * pixel_mm**2 < limits["subcutaneous_min_mm2"]:
        return "no subcutaneous fat is in view behind the muscles to compare them with"
    inside = muscles & (grey > SIGNAL_MIN)
    if not inside.any():
        return "the muscles have no signal"
    field = _fit_field(grey, inside, skin)
    even = np.asarray(grey / field, np.float64)
    fat, fat_sd = _middle(even[skin])
    muscle, muscle_sd = _mode(even[inside], fat)
    if fat < limits["fat_muscle_ratio_min"] * muscle:
        return (
            f"fat is only {fat / muscle:.1f} times as bright as muscle on this series (fat suppressed?): "
            "it cannot be told from muscle"
        )
    # One spread for both: a pixel half full of fat would go to the wider of two components.
    gap, spread = fat - muscle, max(muscle_sd, fat_sd)
    return Scale(field, muscle, fat, float(np.clip(spread, SD_MIN_SHARE * gap, SD_MAX_SHARE * gap)))


def fat_fraction(grey: Plane, compartment: Mask, scale: Scale) -> float:
    """Share of fat (0..1) inside `compartment` (down, across).

    The weight of the fat component, and of each pixel that is partly filled the share that its intensity tells.
    """
    values = np.asarray((grey / scale.field)[compartment], np.float64)
    anchors = np.array([scale.muscle, scale.fat])
    values = np.clip(values, *anchors)  # vessels and fluid do not move the means
    means, weights = anchors.copy(), np.full(3, 1 / 3)
    prior = PRIOR_SHARE * len(values)
    partly = np.full((1, len(values)), 1 / (scale.fat - scale.muscle))
    spread = np.full(2, scale.spread)
    for _ in range(MIXTURE_ROUNDS):
        share = _shares(np.concatenate([_normal(values, means, spread), partly]), weights)
        total = share.sum(1)
        means = (share[:2] @ values + prior * anchors) / (total[:2] + prior)
        moved = float(np.abs(total / len(values) - weights).max())
        weights = total / len(values)
        if moved < MIXTURE_DONE:
            break
    filled = np.clip((values - means[0]) / (means[1] - means[0]), 0.0, 1.0)
    return float((share[1] + share[2] * filled).mean())


def subcutaneous(grey: Plane, back: Mask, pixel_mm: float) -> Mask:
    """Fat under the skin behind the muscles `back` (down, across): the bright part of the strip up to the air."""
    columns = np.flatnonzero(back.any(0))
    if not len(columns):
        return np.zeros_like(back)
    rows = np.arange(back.shape[0])[:, None]
    last = np.where(back.any(0), back.shape[0] - 1 - back[::-1].argmax(0), -1)
    # Columns between the muscles (over the spinous process) begin where their neighbours do.
    inner = np.arange(columns[0], columns[-1] + 1)
    last[inner] = ndimage.maximum_filter1d(last, 9)[inner]
    behind = (rows - last) * pixel_mm
    strip = (last >= 0) & (behind >= STRIP_FROM_MM) & (behind <= STRIP_TO_MM) & (grey > SIGNAL_MIN)
    if not strip.any():
        return strip
    # Skin, fascia and air are darker than fat; the bright half of the strip's range is fat alone.
    bright = float(np.percentile(grey[strip], 90))
    core = strip & (grey > 0.6 * bright)
    return np.asarray(ndimage.binary_opening(core, np.ones((2, 2), bool)))


def _fit_field(grey: Plane, muscles: Mask, skin: Mask) -> Plane:
    """(down, across) smooth factor: exp of a polynomial fitted to muscle without fat and to the fat under the skin.

    Each has a level of its own. Fat inside a muscle has no part in it: it is thinner than a pixel and darker for that.
    """
    both = muscles | skin
    basis = _polynomials(grey.shape, muscles)
    points, value = basis[:, both], np.log(np.maximum(grey[both], SIGNAL_MIN)).astype(np.float64)
    is_skin = skin[both]
    lean = float(np.percentile(value[~is_skin], LEAN_PERCENTILE))
    coefficients = np.zeros(len(basis))
    stiff = np.diag([FIELD_RIDGE if across == 0 else FIELD_RIDGE_ACROSS for _, across in FIELD_TERMS])
    for spread in np.geomspace(*FIELD_SPREADS, FIELD_ROUNDS):
        flat = value - coefficients @ points
        weight = np.where(is_skin, 1.0, np.exp(-0.5 * ((flat - lean) / spread) ** 2))
        levels = [np.average(flat[part], weights=weight[part]) for part in (~is_skin, is_skin)]
        lean = float(levels[0])
        residual = value - np.where(is_skin, levels[1], lean)
        weighed = points * weight
        coefficients = np.linalg.solve(weighed @ points.T + stiff * weight.sum(), weighed @ residual)
    field = np.exp(np.tensordot(coefficients, basis, 1))
    return np.asarray(field / field[muscles].mean(), np.float32)


def _polynomials(shape: tuple[int, ...], where: Mask) -> Array:
    """(term, down, across) monomials without the constant, over the extent of `where` scaled to about -1..1."""
    rows, columns = np.nonzero(where)
    scale = max(float(np.ptp(columns)), 1.0) / 2
    down = (np.arange(shape[0])[:, None] - rows.mean()) / scale
    across = (np.arange(shape[1])[None] - columns.mean()) / scale
    limit = 1.5  # beyond the muscles and the skin behind them the field is not asked for and must not run away
    down, across = np.clip(down, -limit, limit), np.clip(across, -limit, limit)
    return np.stack([down**n * across**m for n, m in FIELD_TERMS])


def _normal(values: Array, means: Array, spread: Array) -> Array:
    """(component, n) densities of normal distributions."""
    scaled = (values - means[:, None]) / spread[:, None]
    return np.asarray(np.exp(-0.5 * scaled**2) / (np.sqrt(2 * np.pi) * spread[:, None]))


def _shares(densities: Array, weights: Array) -> Array:
    """(component, n) posterior of each component."""
    weighed = np.maximum(weights, 1e-9)[:, None] * densities
    return np.asarray(weighed / np.maximum(weighed.sum(0), 1e-300))


def _middle(values: Array) -> tuple[float, float]:
    """Median and standard deviation by the median absolute deviation."""
    middle = float(np.median(values))
    return middle, MAD_TO_SD * float(np.median(np.abs(values - middle)))


def _mode(values: Array, fat: float) -> tuple[float, float]:
    """Mode of muscle and its standard deviation, from the values below it: above lie those that hold fat."""
    dark = values[values < 0.75 * fat]
    if len(dark) < BINS:
        dark = values
    counts, edges = np.histogram(dark, BINS, (0.0, float(dark.max())))
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), BINS / 32, mode="constant")
    at = int(smooth.argmax())
    mode = float(edges[at] + edges[at + 1]) / 2
    below = mode - dark[dark < mode]
    return mode, MAD_TO_SD * float(np.median(below)) if len(below) else 0.0
