"""The landmarks of one film, drawn many times within their error: what every number on it is computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spine.geometry import Array, unit, up_of
from spine.records import Measurement
from spine.xray.decode import Key, Landmark
from spine.xray.expected import POINTS, quoted
from spine.xray.landmarks import CORNERS
from spine.xray.spacing import NO_UNIT

DRAWS = 500
SEED = 20260
INTERVAL_PERCENTILES = (5.0, 95.0)
MILLIMETRES = ("mm", "mm2")
HIDDEN = {  # what hides a vertebra as a rule
    "C7": "hidden by the shoulders or outside the film",
    "T1": "hidden by the shoulders or outside the film",
    "T12": "hidden by the diaphragm or outside the film",
}


@dataclass(frozen=True)
class Plates:
    """One end plate in every draw; corners are (draws, 2)."""

    front: Array
    back: Array

    @property
    def chord(self) -> Array:
        """Back to front (draws, 2)."""
        return self.front - self.back

    @property
    def depth(self) -> Array:
        """(draws,) length of the chord."""
        return np.asarray(np.linalg.norm(self.chord, axis=-1))

    @property
    def middle(self) -> Array:
        """(draws, 2) between the corners."""
        return (self.front + self.back) / 2


@dataclass(frozen=True)
class Scene:
    """Points (DRAWS + 1, 2) as (down, back) in mm of the film: first as found, then drawn within their error."""

    points: Mapping[Key, Array]
    reasons: Mapping[Key, str]
    region: str
    known_mm: bool

    def point(self, vertebra: str, name: str) -> Array | str:
        """A landmark in every draw, or why it is missing."""
        found = self.points.get((vertebra, name))
        return self.missing(vertebra, name) if found is None else found

    def missing(self, vertebra: str, name: str) -> str:
        """Why a landmark is not there; a vertebra that is not seen at all is named as such."""
        reason = self.reasons.get((vertebra, name))
        if reason is not None:
            return reason
        if not any(key[0] == vertebra and key[1] in CORNERS for key in (*self.points, *self.reasons)):
            return f"{vertebra} is not seen: {HIDDEN.get(vertebra, 'hidden or outside the film')}"
        return f"the {name.replace('_', ' ')} point of {vertebra} is not seen"

    def plate(self, vertebra: str, side: str) -> Plates | str:
        """The 'superior' or 'inferior' end plate of `vertebra`, or why it is missing."""
        ends = [self.point(vertebra, f"{side}_{end}") for end in ("anterior", "posterior")]
        reasons = [end for end in ends if isinstance(end, str)]
        if reasons:
            return reasons[0]
        front, back = (np.asarray(end) for end in ends)
        return Plates(front, back)


Values = Array | str  # (DRAWS + 1,) or the reason why there are none


def draw_scene(kept: Mapping[Key, Landmark], reasons: Mapping[Key, str], region: str, known_mm: bool) -> Scene:
    """`kept` landmarks and DRAWS random ones around each, normal, independent, from a fixed seed.

    A landmark's noise depends on the landmark alone, so that one missing point changes no other number.
    """
    points = {}
    for number, key in enumerate(POINTS[region]):
        mark = kept.get(key)
        if mark is not None:
            noise = np.random.default_rng([SEED, number]).normal(0.0, mark.sd_mm, (DRAWS + 1, 2))
            noise[0] = 0.0
            points[key] = np.array(mark.place_mm) + noise
    return Scene(points, dict(reasons), region, known_mm)


def angle_deg(chord: Array) -> Array:
    """(n,) elevation of back-to-front chords (n, 2) above the film's horizontal, degrees."""
    return np.degrees(np.arctan2(-chord[..., 0], -chord[..., 1]))


def wrapped_deg(angles: Array) -> Array:
    """Brought to [-180, 180)."""
    return (angles + 180.0) % 360.0 - 180.0


def bisector(upper: Plates, lower: Plates) -> tuple[Array, Array]:
    """Unit vectors (n, 2) to the front and upward of the line that halves the angle between two end plates."""
    front = unit(unit(upper.chord) + unit(lower.chord))
    return front, up_of(front)


def along(vectors: Array, directions: Array) -> Array:
    """(n,) scalar products of (n, 2) and (n, 2)."""
    return np.asarray((vectors * directions).sum(-1))


def measured(scene: Scene, subject: str, name: str, unit_: str, values: Values, note: str | None = None) -> Measurement:
    """One Measurement with its 90 % interval over the draws; in millimetres only where the film's are known."""
    if isinstance(values, str):
        return Measurement(subject, name, None, unit_, not_measurable=values)
    if unit_ in MILLIMETRES and not scene.known_mm:
        return Measurement(subject, name, None, unit_, not_measurable=NO_UNIT)
    low, high = np.percentile(values[1:], INTERVAL_PERCENTILES)
    said = quoted(name, subject)
    reference = "; ".join(part for part in (note, said) if part) or None
    value = round(float(values[0]), 4) + 0.0
    interval = (round(float(low), 4) + 0.0, round(float(high), 4) + 0.0)
    return Measurement(subject, name, value, unit_, reference=reference, interval_90=interval)
