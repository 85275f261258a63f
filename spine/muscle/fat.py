"""Fat inside a muscle's compartment from its intensities, anchored by subcutaneous fat and by muscle.

The receiving coil lies behind the back: intensities first lose a smooth field (`spine.muscle.field`), fitted together
with the signals of lean muscle and of fat under the skin. Then the pixels of a compartment are a mixture of two normal
distributions, whose means are held near those signals by conjugate priors (Fraley and Raftery 2007,
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
from scipy import ndimage

from spine.geometry import Array
from spine.muscle.conform import Plane
from spine.muscle.field import SIGNAL_MIN, Mask, fit_field
from spine.muscle.limits import read_limits

STRIP_FROM_MM, STRIP_TO_MM = 4.0, 60.0  # subcutaneous fat is looked for so far behind the back muscles
UNEVEN_MAX = 0.25  # logarithm: between the fat behind the muscles and the level of fat that the slice asks for
MIXTURE_ROUNDS = 100
MIXTURE_DONE = 1e-5
PRIOR_SHARE = 3.0  # weight of a mean's anchor, in pixels of the compartment: much, or fine streaks would drag it along
SD_MIN_SHARE, SD_MAX_SHARE = 0.04, 0.3  # limits of a component's spread, of the gap between muscle and fat


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
    skin = subcutaneous(grey, back, pixel_mm) & ~muscles
    limits = read_limits()
    if np.count_nonzero(skin) * pixel_mm**2 < limits["subcutaneous_min_mm2"]:
        return "no subcutaneous fat is in view behind the muscles to compare them with"
    inside = muscles & (grey > SIGNAL_MIN)
    if not inside.any():
        return "the muscles have no signal"
    field = fit_field(grey, inside, back, skin)
    if isinstance(field, str):
        return field
    behind = float(np.median((grey / field.factor)[skin]))
    if behind < limits["fat_muscle_ratio_min"] * field.lean:
        return (
            f"fat is only {behind / field.lean:.1f} times as bright as muscle on this series (fat suppressed?): "
            "it cannot be told from muscle"
        )
    if abs(np.log(behind / field.fat)) > UNEVEN_MAX:
        return "the fat behind the muscles is too thin or too uneven to compare them with"
    # One spread for both: a pixel half full of fat would go to the wider of two components.
    gap = field.fat - field.lean
    spread = float(np.clip(field.spread, SD_MIN_SHARE * gap, SD_MAX_SHARE * gap))
    return Scale(field.factor, field.lean, field.fat, spread)


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


def _normal(values: Array, means: Array, spread: Array) -> Array:
    """(component, n) densities of normal distributions."""
    scaled = (values - means[:, None]) / spread[:, None]
    return np.asarray(np.exp(-0.5 * scaled**2) / (np.sqrt(2 * np.pi) * spread[:, None]))


def _shares(densities: Array, weights: Array) -> Array:
    """(component, n) posterior of each component."""
    weighed = np.maximum(weights, 1e-9)[:, None] * densities
    return np.asarray(weighed / np.maximum(weighed.sum(0), 1e-300))
