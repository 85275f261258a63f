"""Candidates of every landmark -> the chain of end plates down the spine that suits all of them together.

On its own, the highest peak of a map may lie one level off: vertebrae look alike. So each corner keeps several
candidate places, each end plate the pairs of them, and the best chain of plates from the uppermost down is found by
dynamic programming: peaks speak for a place, sizes and distances unlike the usual ones of this spine against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from spine.geometry import Array, unit
from spine.xray.decode import Key, Landmark
from spine.xray.expected import POINTS, read_sizes, vertebrae_of
from spine.xray.landmarks import CORNERS, TIPS
from spine.xray.plausible import Plate, in_place, plates_of

# Standard deviations that a place may be off before it costs half a natural logarithm of its peak. Choices.
CHORD_SD, TILT_SD_DEG, SIDE_SD, GAP_SD = 0.18, 18.0, 0.35, 0.15  # log length; degrees; shares of the depth and of a gap
MAX_TILT_DEG = 75.0
SKIP_COST = 1.0  # of an end plate left out between two others: it must be on the film; a choice
OVERLAP = 0.15  # of the depth: facing plates may overlap by this
DOUBT_SHARE = 0.75  # of the threshold of visibility: a peak of this height speaks neither for nor against its place
UNSUITED = "what was found for this point does not suit the other points"
Candidates = Mapping[Key, Sequence[Landmark]]  # the surest first


@dataclass(frozen=True)
class PlateStates:
    """The states of one end plate: every believable pair of corner candidates. Arrays run over the states."""

    vertebra: str
    side: str
    pairs: tuple[tuple[Landmark, Landmark], ...]  # (front, back)
    reward: Array
    middle: Array  # (n, 2)
    chord: Array  # (n, 2), back to front
    depth_mm: float  # usual depth for this spine

    @property
    def tilt_deg(self) -> Array:
        """(n,) elevation of the chord."""
        return np.degrees(np.arctan2(-self.chord[:, 0], -self.chord[:, 1]))


def choose(candidates: Candidates, region: str, visible_prob_min: float) -> tuple[dict[Key, Landmark], dict[Key, str]]:
    """The landmarks of `region` that suit one another, and why points that were seen are not among them."""
    corners = best_chain(candidates, region, DOUBT_SHARE * visible_prob_min)
    chosen = {}
    for (vertebra, point), mark in corners.items():
        side = point.split("_", maxsplit=1)[0]
        if max(corners[vertebra, f"{side}_{end}"].prob for end in ("anterior", "posterior")) >= visible_prob_min:
            chosen[vertebra, point] = mark
    plates = {(plate.vertebra, plate.side): plate for plate in plates_of(chosen, region)}
    for vertebra, point in POINTS[region]:
        side = "superior" if point == TIPS[0] else "inferior"
        plate = plates.get((vertebra, side)) or plates.get((vertebra, "superior"))
        if point in CORNERS or plate is None:
            continue
        near = (
            mark for mark in candidates.get((vertebra, point), ()) if in_place(np.array(mark.place_mm), plate, point)
        )
        surest = next((mark for mark in near if mark.prob >= visible_prob_min), None)
        if surest is not None:
            chosen[vertebra, point] = surest
    seen = (key for key in POINTS[region] if key in candidates and candidates[key][0].prob >= visible_prob_min)
    return chosen, {key: UNSUITED for key in seen if key not in chosen}


def best_chain(candidates: Candidates, region: str, doubt_prob: float) -> dict[Key, Landmark]:
    """The corners of the best chain of `region`. A peak of `doubt_prob` speaks neither for nor against a place."""
    factor = _size_factor(candidates, region)
    plates = [
        found
        for vertebra in vertebrae_of(region)
        for side in ("superior", "inferior")
        if (found := _plates(candidates, vertebra, side, (region, factor, doubt_prob))) is not None
    ]
    best: list[Array] = []
    came: list[list[tuple[int, int] | None]] = []
    for place, plate in enumerate(plates):
        total = np.zeros(len(plate.pairs))
        steps: list[tuple[int, int] | None] = [None] * len(plate.pairs)
        for earlier in range(place):
            joined = best[earlier][:, None] + _step(plates[earlier], plate, region, factor)
            above = joined.argmax(0)
            for state in np.flatnonzero(joined.max(0) > total):
                total[state], steps[state] = joined[above[state], state], (earlier, int(above[state]))
        best.append(total + plate.reward)
        came.append(steps)
    return _traced(plates, best, came)


def _traced(
    plates: Sequence[PlateStates], best: Sequence[Array], came: Sequence[Sequence[tuple[int, int] | None]]
) -> dict[Key, Landmark]:
    """Corners along the best chain, from its lower end up."""
    ends = [(float(total.max()), place) for place, total in enumerate(best)]
    found: dict[Key, Landmark] = {}
    if not ends or max(ends)[0] <= 0:
        return found
    place = max(ends)[1]
    at: tuple[int, int] | None = (place, int(best[place].argmax()))
    while at is not None:
        plate = plates[at[0]]
        for end, mark in zip(("anterior", "posterior"), plate.pairs[at[1]], strict=True):
            found[plate.vertebra, f"{plate.side}_{end}"] = mark
        at = came[at[0]][at[1]]
    return found


def _size_factor(candidates: Candidates, region: str) -> float:
    """Size of this spine over the usual one: the median over the end plates that the surest candidates make."""
    ratios = []
    for side in ("superior", "inferior"):
        for vertebra, usual in read_sizes()["expected"][region][f"{side}_depth_mm"].items():
            ends = [candidates.get((vertebra, f"{side}_{end}"), ()) for end in ("anterior", "posterior")]
            if ends[0] and ends[1]:
                ratios.append(float(np.linalg.norm(np.subtract(ends[0][0].place_mm, ends[1][0].place_mm))) / usual)
    return float(np.median(ratios)) if ratios else 1.0


def _plates(candidates: Candidates, vertebra: str, side: str, given: tuple[str, float, float]) -> PlateStates | None:
    """States of an end plate, or None where there is no believable pair of corners."""
    region, factor, doubt_prob = given
    ends = [candidates.get((vertebra, f"{side}_{end}"), ()) for end in ("anterior", "posterior")]
    pairs = tuple(product(ends[0], ends[1]))
    usual = read_sizes()["expected"][region][f"{side}_depth_mm"].get(vertebra)
    if not pairs or usual is None:
        return None
    places = np.array([[front.place_mm, back.place_mm] for front, back in pairs])
    chord = places[:, 0] - places[:, 1]
    peaks = np.array([front.prob * back.prob for front, back in pairs])
    length = np.maximum(np.linalg.norm(chord, axis=1), 1e-6)
    odd = (np.log(length / (factor * usual)) / CHORD_SD) ** 2
    plate = PlateStates(
        vertebra, side, pairs, np.log(peaks / doubt_prob**2) - odd / 2, places.mean(1), chord, factor * usual
    )
    plate.reward[np.abs(plate.tilt_deg) > MAX_TILT_DEG] = -np.inf
    return plate


def _step(upper: PlateStates, lower: PlateStates, region: str, factor: float) -> Array:
    """(states of upper, states of lower): what the way from one plate to the next speaks against their being such."""
    front = unit(unit(upper.chord)[:, None] + unit(lower.chord)[None])
    way = lower.middle[None] - upper.middle[:, None]
    depth_mm = (upper.depth_mm + lower.depth_mm) / 2
    aside = (way * front).sum(-1) / depth_mm
    down = way[..., 0] * -front[..., 1] + way[..., 1] * front[..., 0]
    usual_mm = factor * usual_gap_mm(upper, lower, region)
    levels = max(usual_mm / depth_mm, 1.0)
    gap = (np.linalg.norm(way, axis=-1) - usual_mm) / (GAP_SD * (usual_mm / np.sqrt(levels) + depth_mm / 2))
    tilt = (upper.tilt_deg[:, None] - lower.tilt_deg[None]) / TILT_SD_DEG
    # Over a longer way more curve is usual, and the odd sizes of single levels even out.
    cost = (gap**2 + (aside / (SIDE_SD * levels)) ** 2 + (tilt / levels) ** 2) / 2
    cost += SKIP_COST * (_number(lower, region) - _number(upper, region) - 1)
    least = -OVERLAP * depth_mm if upper.side != lower.side and upper.vertebra != lower.vertebra else 0.0
    return np.where(down > least, -cost, -np.inf)


def _number(plate: PlateStates, region: str) -> int:
    """Place of an end plate among all of the region, from the uppermost down."""
    return 2 * vertebrae_of(region).index(plate.vertebra) + (plate.side == "inferior")


def usual_gap_mm(upper: PlateStates | Plate, lower: PlateStates | Plate, region: str) -> float:
    """Usual distance between two end plates: bodies and discs between them."""
    expected = read_sizes()["expected"][region]
    names = vertebrae_of(region)
    first, last = names.index(upper.vertebra), names.index(lower.vertebra)
    discs = sum(expected["disc_mm"][f"{names[n]}/{names[n + 1]}"] for n in range(first, last))
    bodies = [
        *([upper.vertebra] if upper.side == "superior" else []),
        *names[first + 1 : last],
        *([lower.vertebra] if lower.side == "inferior" else []),
    ]
    if first == last:
        bodies = bodies[:1]
    return float(discs + sum(expected["height_mm"].get(name, 0.0) for name in bodies))
