"""How probable it is that the vertebrae of a film bear their right names.

A film is named wrongly in two ways. The whole chain of end plates may be a level off: so each corner is asked again
where it was found how much more the network sees the vertebra it was named after there than the one above or below. Or
a vertebra was passed over, and all that lie above it are a level off: then one step of the chain is too long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from spine.settings import XraySettings
from spine.xray.chain import usual_gap_mm
from spine.xray.decode import HEATMAP_STEP, Key, Landmark
from spine.xray.expected import vertebrae_of
from spine.xray.landmarks import CORNERS, LANDMARKS
from spine.xray.plausible import PLATES, plates_of

NOTHING = 0.02  # peaks below this are noise and speak for nothing
SHIFTS = (-1, 1)  # levels up and down


@dataclass(frozen=True)
class Evidence:
    """What speaks for the names of a film."""

    margin: float  # what `names_margin` gives
    step: float  # what `longest_step` gives
    counted: bool  # names can be counted from C2 or the sacrum without a gap (spine.xray.withhold)


def names_margin(heatmaps: NDArray[np.float32], kept: Mapping[Key, Landmark], region: str, pixel_mm: float) -> float:
    """Mean natural logarithm by which the corners' names beat those a level off; of the two directions the smaller.

    Args:
        heatmaps: (78, rows, columns) in 0..1, in the order of LANDMARKS.
        kept: the landmarks that were found, canvas mm (down, back).
        region: 'cervical' or 'lumbar'.
        pixel_mm: of the canvas.

    Returns 0 where no corner has a neighbour to be mistaken for.
    """
    names = vertebrae_of(region)
    margins = []
    for shift in SHIFTS:
        gains = []
        for (vertebra, point), mark in kept.items():
            place = names.index(vertebra) + shift
            if point not in CORNERS or not 0 <= place < len(names) or (names[place], point) not in LANDMARKS:
                continue
            own, other = (_heat(heatmaps, (name, point), mark, pixel_mm) for name in (vertebra, names[place]))
            gains.append(np.log((own + NOTHING) / (other + NOTHING)))
        if gains:
            margins.append(float(np.mean(gains)))
    return min(margins, default=0.0)


def _heat(heatmaps: NDArray[np.float32], key: Key, mark: Landmark, pixel_mm: float) -> float:
    """Highest value of the map of `key` within a pixel of `mark`."""
    row, column = (int(place / (HEATMAP_STEP * pixel_mm)) for place in mark.place_mm)
    near = heatmaps[LANDMARKS.index(key), max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    return float(near.max(initial=0.0))


def longest_step(kept: Mapping[Key, Landmark], region: str) -> float:
    """Natural logarithm of the longest step of the chain over the usual one, against the film's own median step.

    A step leads from one upper end plate to the next upper one, or from one lower one to the next; its usual length is
    that of resources/xray.json. Returns 0 where there are fewer than two steps; a vertebra passed over gives about 0.6.
    """
    plates = plates_of(kept, region)
    ratios = []
    for side in PLATES:
        for upper, lower in pairwise(plate for plate in plates if plate.side == side):
            length_mm = float(np.linalg.norm(lower.middle - upper.middle))
            ratios.append(length_mm / usual_gap_mm(upper, lower, region))
    return float(np.log(max(ratios) / np.median(ratios))) if len(ratios) > 1 else 0.0


def names_prob(evidence: Evidence, settings: XraySettings) -> float:
    """Probability that no vertebra's name is a level off, by a logistic model fitted on synthetic films.

    Args:
        evidence: of the film.
        settings: group `xray`; fitted by lab.evaluate.xray_names.
    """
    logit = settings.names_bias + settings.names_margin * evidence.margin + settings.names_counted * evidence.counted
    logit += settings.names_step * evidence.step
    return float(1.0 / (1.0 + np.exp(-logit)))
