"""Level names as a sequence model: every numbering of the column gets a probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import C2_LABEL, FIRST_VERTEBRA, vertebra_name
from spine.records import Numbering

# Mid-sagittal area (mm2) and distance to the centre of the next body below (mm), L5 first, up to C3.
# From the depths and heights of Panjabi 1991/1992 (scaled to living heights) and the disc heights of the
# generator; between the tabulated levels linear. Used only when no anchor is in view, with wide spreads.
AREA_MM2 = np.array(
    [905, 930, 935, 915, 885, 800, 740, 690, 640, 590, 545, 505, 465, 430, 395, 360, 320, 265, 245, 225, 205, 190]
)
PITCH_MM = np.array(
    [37, 37, 37, 36.5, 35, 33, 30.5, 28.5, 27, 26, 25, 24.5, 24, 23.5, 23, 22, 21, 19.5, 18.5, 18, 18, 17.5]
)
AREA_SPREAD, PITCH_SPREAD, SIZE_SPREAD = 0.18, 0.10, 0.12  # relative; the last is a person's own size
ANCHOR_ODDS = 400.0  # a clear sacrum or axis against none, before the sizes are looked at
CONUS_LABEL, CONUS_SPREAD = 5.3, 1.0  # the conus ends at L1/L2, give or take a level (general knowledge)
CONUS_SAYS_AT_MOST = 4.0  # log odds: the cord's tip is easily missed, so it alone never decides
OUTLIER = 9.0  # squared deviations count up to three spreads: a fractured or badly cut body decides nothing
LEVELS_AGREE = 0.4  # weight of the sizes: errors of neighbouring levels go together
DOUBT_BELOW = 0.90
TRANSITIONAL_SHARE = 0.04  # numberings by the sacrum that a whole-spine count would correct (4 or 6 lumbar-type)


@dataclass(frozen=True)
class Evidence:
    """What bears on the numbering. Bodies are C3..L5 and C2, lowest first; S1 is not among them."""

    areas_mm2: NDArray[np.float64]
    centres_mm: NDArray[np.float64]  # (n, 2)
    whole: NDArray[np.bool_]  # bodies not cut by the border
    sacrum: float  # 0..1: how surely S1 lies right below the lowest body
    axis: float  # 0..1: how surely the highest body is C2
    room_below_mm: float  # image below the lowest body's centre
    conus: float | None  # index (fractional) of the body beside the tip of the cord


def number_levels(evidence: Evidence) -> tuple[int, Numbering]:
    """(label of the lowest body, the record). Without bodies the label is L5's and the method 'none'."""
    count = len(evidence.areas_mm2)
    if count == 0:
        return FIRST_VERTEBRA, Numbering("none", 0.0, (), "No vertebral body was found.")
    top = C2_LABEL - count + 1  # highest label that the lowest body can have
    if top < FIRST_VERTEBRA:
        return FIRST_VERTEBRA, Numbering("none", 0.0, (), f"{count} bodies were found, more than a spine has.")
    starts = range(FIRST_VERTEBRA, top + 1)
    score = np.array([_sizes(evidence, s) + _anchors(evidence, s, top) for s in starts])
    probability = np.exp(score - score.max())
    probability /= probability.sum()
    best = int(probability.argmax())
    method = _method(evidence, best, top)
    shown = float(probability[best]) * (1.0 - TRANSITIONAL_SHARE if "sacrum" in method else 1.0)
    order = [int(n) for n in probability.argsort()[::-1] if n != best and probability[n] > 0.01][:3]
    alternatives = tuple((vertebra_name(starts[n]), round(float(probability[n]), 4)) for n in order)
    return starts[best], Numbering(method, round(shown, 4), alternatives, _doubt(method, shown, starts[best]))


def _sizes(evidence: Evidence, start: int) -> float:
    """Log-likelihood of areas and distances if the lowest body is `start`, the person's size fitted."""
    count = len(evidence.areas_mm2)
    levels = np.minimum(np.arange(start - 1, start - 1 + count), len(AREA_MM2) - 1)
    usable = evidence.whole & (np.arange(start, start + count) < C2_LABEL)
    pitch = np.linalg.norm(np.diff(evidence.centres_mm, axis=0), axis=1)
    ratios = np.concatenate(
        (0.5 * np.log(evidence.areas_mm2[usable] / AREA_MM2[levels[usable]]), np.log(pitch / PITCH_MM[levels[1:]]))
    )
    spreads = np.concatenate((np.full(usable.sum(), AREA_SPREAD / 2), np.full(len(pitch), PITCH_SPREAD)))
    if not len(ratios):
        return 0.0
    weight = 1 / spreads**2
    size = float(np.median(ratios)) / (1 + 1 / (SIZE_SPREAD**2 * weight.sum()))
    misfit = np.minimum((ratios - size) ** 2 * weight, OUTLIER)
    return float(-0.5 * (LEVELS_AGREE * misfit.sum() + min((size / SIZE_SPREAD) ** 2, OUTLIER)))


def _anchors(evidence: Evidence, start: int, top: int) -> float:
    odds = 0.0
    lowest_is_l5 = start == FIRST_VERTEBRA
    odds += np.log(ANCHOR_ODDS) * evidence.sacrum * (1.0 if lowest_is_l5 else -1.0)
    odds += np.log(ANCHOR_ODDS) * evidence.axis * (1.0 if start == top else -1.0)
    if evidence.sacrum < 0.2 and lowest_is_l5 and evidence.room_below_mm > 45.0:
        odds -= 1.5  # room for a sacrum, and none was seen
    if evidence.axis < 0.2 and start == top:
        odds -= 1.5
    if evidence.conus is not None:
        odds -= min(0.5 * ((start + evidence.conus - CONUS_LABEL) / CONUS_SPREAD) ** 2, CONUS_SAYS_AT_MOST)
    return float(odds)


def _method(evidence: Evidence, best: int, top: int) -> str:
    by_sacrum = evidence.sacrum >= 0.5 and best == 0
    by_axis = evidence.axis >= 0.5 and best + FIRST_VERTEBRA == top
    if by_sacrum and by_axis:
        return "sacrum and axis"
    if by_sacrum or by_axis:
        return "sacrum" if by_sacrum else "axis"
    return "sizes"


def _doubt(method: str, probability: float, start: int) -> str | None:
    if method == "sizes":
        return "Neither the sacrum nor the axis (C2) is in view: levels are named by the size of the bodies only."
    if probability < DOUBT_BELOW:
        return f"The lowest vertebra is {vertebra_name(start)} with a probability of {probability:.2f} only."
    return None
