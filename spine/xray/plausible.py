"""Which landmarks can be believed: order of the corners, of the levels, and sizes against the neighbours.

The network names each point on its own, so it can put a corner of C5 on C6. Points that break a rule of anatomy are
taken out and say why. Angles and ratios decide, so that films without a pixel size are judged alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from spine.geometry import FRONT, Array, elevation_deg, unit, up_of
from spine.xray.decode import Key, Landmark
from spine.xray.expected import POINTS, read_sizes, vertebrae_of
from spine.xray.landmarks import CENTRE, SPINOLAMINAR, TIPS

PLATES = ("superior", "inferior")
MAX_TILT_DEG = 75.0  # of an end plate against the film's horizontal; the steepest is S1
SAME_PLACE = 0.35  # of the depth of an end plate: two landmarks of one kind and different vertebrae lie further apart
DEPTH_RATIO = (0.62, 1.6)  # depth of an end plate over what its neighbours let expect
HEIGHT_RATIO = (0.35, 1.7)  # of a body; a collapsed one keeps about 0.4
PITCH_RATIO = (0.55, 1.6)  # distance of like end plates over what the neighbours let expect: a missed level gives 2
OVERLAP = 0.15  # of the depth of an end plate by which two facing plates may overlap: osteophytes, tilt of the tube
TIP_REACH, TIP_BEHIND = 0.8, 0.25  # of the depth: how far an osteophyte's tip may lie from its corner, and behind it
WALL_REACH = (0.3, 2.2)  # of the depth: how far the spinolaminar line lies behind the body
CENTRE_REACH = (0.15, 1.6)  # of the depth: how far the centre of C2 lies above its lower end plate


@dataclass(frozen=True)
class Plate:
    """One end plate: its corners (2,) in mm and how sure the weaker of them is."""

    vertebra: str
    side: str
    front: Array
    back: Array
    prob: float

    @property
    def chord(self) -> Array:
        """Back to front."""
        return self.front - self.back

    @property
    def depth_mm(self) -> float:
        """Length of the chord."""
        return float(np.linalg.norm(self.chord))

    @property
    def middle(self) -> Array:
        """Between the corners."""
        return (self.front + self.back) / 2


def believable(found: Mapping[Key, Landmark], region: str) -> tuple[dict[Key, Landmark], dict[Key, str]]:
    """The landmarks of `region` that keep the rules, and why each other one that was found does not."""
    kept = {key: mark for key, mark in found.items() if key in POINTS[region]}
    reasons: dict[Key, str] = {}
    for rule in (_twice, _tilted, _twisted, _odd_sizes, _odd_order, _odd_single_points):
        for key, why in list(rule(kept, region)):
            if kept.pop(key, None) is not None:
                reasons[key] = why
    return kept, reasons


def plates_of(kept: Mapping[Key, Landmark], region: str) -> list[Plate]:
    """The end plates of which both corners are there, from the uppermost down."""
    found = []
    for vertebra in vertebrae_of(region):
        for side in PLATES:
            marks = [kept.get((vertebra, f"{side}_{end}")) for end in ("anterior", "posterior")]
            if marks[0] is not None and marks[1] is not None:
                places = [np.array(mark.place_mm) for mark in marks if mark is not None]
                prob = min(mark.prob for mark in marks if mark is not None)
                found.append(Plate(vertebra, side, places[0], places[1], prob))
    return found


def _of_plate(plate: Plate) -> tuple[Key, ...]:
    return tuple((plate.vertebra, f"{plate.side}_{end}") for end in ("anterior", "posterior", "tip"))


def _expected_mm(plate: Plate, region: str) -> float:
    return float(read_sizes()["expected"][region][f"{plate.side}_depth_mm"][plate.vertebra])


def _size_factor(plates: list[Plate], region: str) -> float:
    """Size of this spine on this film over the expected one: the median over its end plates."""
    return float(np.median([plate.depth_mm / _expected_mm(plate, region) for plate in plates])) if plates else 1.0


Removals = Iterator[tuple[Key, str]]


def _twice(kept: Mapping[Key, Landmark], region: str) -> Removals:
    """Two vertebrae with the same point at the same place: the weaker one is wrong."""
    depths_mm = [plate.depth_mm for plate in plates_of(kept, region)]
    if not depths_mm:
        return
    for one, other in combinations(kept, 2):
        if one[1] != other[1] or one[0] == other[0]:
            continue
        gap_mm = np.hypot(*np.subtract(kept[one].place_mm, kept[other].place_mm))
        if gap_mm < SAME_PLACE * np.median(depths_mm):
            weaker = min(one, other, key=lambda key: kept[key].prob)
            stronger = other if weaker == one else one
            yield weaker, f"this point of {weaker[0]} was found where that of {stronger[0]} is"


def _tilted(kept: Mapping[Key, Landmark], region: str) -> Removals:
    for plate in plates_of(kept, region):
        if abs(elevation_deg(plate.chord, FRONT)) > MAX_TILT_DEG:
            for key in _of_plate(plate):
                yield key, f"the {plate.side} end plate of {plate.vertebra} stands upright or back to front"


def _twisted(kept: Mapping[Key, Landmark], region: str) -> Removals:
    """A body whose lower end plate does not lie below its upper one."""
    plates = {(plate.vertebra, plate.side): plate for plate in plates_of(kept, region)}
    for vertebra in vertebrae_of(region):
        upper, lower = (plates.get((vertebra, side)) for side in PLATES)
        if upper is None or lower is None:
            continue
        up = up_of(unit(upper.chord + lower.chord))
        edges = ((upper.front - lower.front) @ up, (upper.back - lower.back) @ up)
        if min(edges) <= 0:
            for key in (*_of_plate(upper), *_of_plate(lower)):
                yield key, f"the corners of {vertebra} lie in no possible order"


def _odd_sizes(kept: Mapping[Key, Landmark], region: str) -> Removals:
    """End plates and bodies whose size their neighbours do not let expect."""
    plates = plates_of(kept, region)
    if len(plates) < 3:
        return
    factor = _size_factor(plates, region)
    for plate in plates:
        ratio = plate.depth_mm / (factor * _expected_mm(plate, region))
        if not DEPTH_RATIO[0] <= ratio <= DEPTH_RATIO[1]:
            for key in _of_plate(plate):
                yield key, f"the {plate.side} end plate of {plate.vertebra} is {ratio:.1f} times the size expected"
    heights = read_sizes()["expected"][region]["height_mm"]
    for upper, lower in pairwise(plates):
        if upper.vertebra != lower.vertebra:
            continue
        ratio = float(np.linalg.norm(upper.middle - lower.middle)) / (factor * heights[upper.vertebra])
        if not HEIGHT_RATIO[0] <= ratio <= HEIGHT_RATIO[1]:
            for key in (*_of_plate(upper), *_of_plate(lower)):
                yield key, f"the body of {upper.vertebra} is {ratio:.1f} times the height expected"


def _odd_order(kept: Mapping[Key, Landmark], region: str) -> Removals:
    """End plates that do not follow one another down the spine at believable distances: the weaker of each pair."""
    plates = plates_of(kept, region)
    factor = _size_factor(plates, region)
    while plates:
        bad = next((pair for pair in _pairs(plates) if not _follow(*pair, factor, region)), None)
        if bad is None:
            return
        weaker = min(bad, key=lambda plate: plate.prob)
        plates.remove(weaker)
        for key in _of_plate(weaker):
            yield key, f"the {weaker.side} end plate of {weaker.vertebra} does not lie where its neighbours let expect"


def _pairs(plates: list[Plate]) -> Iterator[tuple[Plate, Plate]]:
    """Each plate with the next, and with the next one of its own side."""
    yield from pairwise(plates)
    for side in PLATES:
        same = [plate for plate in plates if plate.side == side]
        yield from pairwise(same)


def _follow(upper: Plate, lower: Plate, factor: float, region: str) -> bool:
    """Whether `lower` lies below `upper`, and like sides as far below as the levels between them ask for."""
    down = -up_of(unit(upper.chord + lower.chord))
    gap_mm = float((lower.middle - upper.middle) @ down)
    if upper.side != lower.side:
        return gap_mm > -OVERLAP * min(upper.depth_mm, lower.depth_mm)
    expected = read_sizes()["expected"][region]
    names = vertebrae_of(region)
    crossed = names[names.index(upper.vertebra) : names.index(lower.vertebra) + 1]
    bodies = crossed[:-1] if upper.side == "superior" else crossed[1:]
    discs = [f"{one}/{other}" for one, other in pairwise(crossed)]
    pitch_mm = factor * (
        sum(expected["height_mm"][name] for name in bodies) + sum(expected["disc_mm"][name] for name in discs)
    )
    length_mm = float(np.linalg.norm(lower.middle - upper.middle))
    return gap_mm > 0 and PITCH_RATIO[0] <= length_mm / pitch_mm <= PITCH_RATIO[1]


def _odd_single_points(kept: Mapping[Key, Landmark], region: str) -> Removals:
    """Tips away from their corner, spinolaminar points and the centre of C2 away from their body."""
    plates = {(plate.vertebra, plate.side): plate for plate in plates_of(kept, region)}
    for key, mark in list(kept.items()):
        vertebra, point = key
        place = np.array(mark.place_mm)
        side = "superior" if point == TIPS[0] else "inferior"
        if point not in (*TIPS, SPINOLAMINAR, CENTRE):
            continue
        plate = plates.get((vertebra, side)) or plates.get((vertebra, "superior"))
        if plate is None:
            yield key, f"no end plate of {vertebra} is seen to compare it with"
        elif not in_place(place, plate, point):
            yield key, f"this point lies too far from the body of {vertebra}"


def in_place(place: Array, plate: Plate, point: str) -> bool:
    """Whether a tip, a spinolaminar point or the centre of C2 at `place` (2,) can belong to the body of `plate`."""
    front = unit(plate.chord)
    depth_mm = plate.depth_mm
    if point in TIPS:
        step = place - plate.front
        return bool(np.linalg.norm(step) <= TIP_REACH * depth_mm and step @ front >= -TIP_BEHIND * depth_mm)
    if point == SPINOLAMINAR:
        behind = float((plate.back - place) @ front) / depth_mm
        return WALL_REACH[0] <= behind <= WALL_REACH[1]
    above = float((place - plate.middle) @ up_of(front)) / depth_mm
    return CENTRE_REACH[0] <= above <= CENTRE_REACH[1]
