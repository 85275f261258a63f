"""Outline of a vertebral body on the mid-sagittal section: four curved sides and their corners.

Each side is a parabola fitted robustly to the middle part of the contour; corners are where the parabolas meet.
Rounded corners, osteophytes and the stair-steps of the mask therefore move them little, and the concavity of the
end plates is kept. The local frame (up, front) follows the end plates by iteration, so that the pose of a
vertebra in the image does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from spine.geometry import Array, Curve, elevation_deg, extent, fit_curve, front_of, unit, up_of
from spine.measure.section import MidSurface, Section

OpenSide = Literal["superior", "inferior"] | None

INSET = 0.06  # share of a side left out at either end, one pixel at least: corners are rounded, osteophytes sit there
FEIGNED_BEND = 0.4  # pixels: a wall along the pixel grid looks bent by as much through its steps alone
OPEN_SPAN_MM = 13.0  # of a body without an own opposite side (C2, S1) only this much beside its end plate is used
CORE_HALF_MM = 3.0  # the first guess of a body's height comes from this much about its centre
STEP_NOISE = 0.5  # pixels: the border of a mask runs in steps
SEARCH_DEG = 40  # how far the first guess of a body's direction may be off
MAX_ROUNDS = 6
SETTLED_DEG = 0.1
MIN_SIDE_MM = 4.0  # smaller than any vertebral body
CORNER_MAX_MM = 3.0  # a corner further than this outside the contour is no corner of this body
MAX_CUT_SHARE = 0.1  # of an end plate at the edge of the image; more, and it counts as cut


@dataclass(frozen=True)
class EndPlate:
    """Corners of one end plate and the middle of its curved surface, (down, back) mm."""

    front: Array
    middle: Array
    back: Array

    @property
    def chord(self) -> Array:
        """Back corner to front corner, (2,) mm."""
        return self.front - self.back

    @property
    def elevation_deg(self) -> float:
        """Angle of the chord above the image's horizontal, positive when its front end lies higher."""
        return elevation_deg(self.chord)


@dataclass(frozen=True)
class Outline:
    """Mid-sagittal outline of one body; an end plate that is cut or not the body's own is None."""

    superior: EndPlate | None
    inferior: EndPlate | None
    front_middle: Array  # anterior wall at half height, (down, back) mm
    back_middle: Array  # posterior wall at half height
    centre: Array  # centre of the four corners
    up: Array  # unit vector, (down, back)
    cut: tuple[str, ...]  # end plates that lie at the edge of the image

    @property
    def whole(self) -> bool:
        """Whether both end plates are known."""
        return self.superior is not None and self.inferior is not None


@dataclass(frozen=True)
class _Sides:
    """The four sides in the local frame: u to the front, v up, mm from `origin`."""

    top: Curve  # v(u)
    bottom: Curve
    front: Curve  # u(v)
    back: Curve


@dataclass(frozen=True)
class _Fit:
    """One round of the iteration: everything in the frame of `up`."""

    sides: _Sides
    plates: dict[str, EndPlate]
    hidden: tuple[str, ...]  # end plates at the edge of the image
    up: Array


def fit_outline(
    section: Section, surface: MidSurface, up: Array, open_side: OpenSide = None, cut: bool = False
) -> Outline | None:
    """Fit the outline of a body.

    Args:
        section: the body on the mid-sagittal surface.
        surface: tells where the image ends.
        up: first guess of the direction to the head (2,), right within about 40 degrees.
        open_side: the side where the body goes on without an end plate of its own (dens of C2, rest of S1).
        cut: whether the vertebra is known to be cut by the image; then its edges are looked at more closely.

    Returns:
        None when the contour is too small or too ragged for a fit.
    """
    origin = section.centre_mm
    fit = _fit_frame(section, surface, (origin, _upright(section, up)), (open_side, cut))
    for _ in range(MAX_ROUNDS):
        if fit is None:
            return None
        trusted = [p for n, p in fit.plates.items() if n != open_side and n not in fit.hidden]
        chords = [unit(p.chord) for p in trusted or fit.plates.values()]
        turned = up_of(unit(np.sum(chords, axis=0)))
        if np.degrees(np.arccos(np.clip(turned @ fit.up, -1, 1))) < SETTLED_DEG:
            break
        fit = _fit_frame(section, surface, (origin, turned), (open_side, cut))
    if fit is None:
        return None
    corners = np.stack([[p.front, p.back] for n, p in fit.plates.items() if n != open_side])
    return _outline(fit, origin, open_side) if section.at(corners).max() < CORNER_MAX_MM else None


def _fit_frame(
    section: Section, surface: MidSurface, frame: tuple[Array, Array], kind: tuple[OpenSide, bool]
) -> _Fit | None:
    """Sides and end plates in the frame (origin, up) of a body of a kind (open side, known to be cut)."""
    origin, up = frame
    open_side, cut = kind
    sides = _fit_sides(section, origin, up, open_side)
    if sides is None:
        return None
    plates = {name: _end_plate(sides, name, origin, up) for name in ("superior", "inferior")}
    known = [plate for name, plate in plates.items() if name != open_side]
    if any(np.linalg.norm(plate.chord) < MIN_SIDE_MM for plate in known):
        return None
    hidden = tuple(n for n, p in plates.items() if n != open_side and _is_cut(p, surface, cut))
    return _Fit(sides, plates, hidden, up)


def _upright(section: Section, guess: Array) -> Array:
    """Direction near `guess` along which the bounding box of the body is smallest: a start for the iteration."""
    points = np.argwhere(section.inside) * section.pixel_mm
    angle = np.radians(np.arange(-SEARCH_DEG, SEARCH_DEG + 1, 5))[:, None]
    ups = np.cos(angle) * guess + np.sin(angle) * front_of(guess)  # (angle, 2)
    area = np.ptp(points @ ups.T, axis=0) * np.ptp(points @ front_of(ups).T, axis=0)
    return np.asarray(ups[int(area.argmin())])


def _outline(fit: _Fit, origin: Array, open_side: OpenSide) -> Outline:
    superior, inferior = fit.plates["superior"], fit.plates["inferior"]
    centre = (superior.front + superior.back + inferior.front + inferior.back) / 4
    half_v = float((centre - origin) @ fit.up)
    front = front_of(fit.up)
    known = {n: (None if n == open_side or n in fit.hidden else p) for n, p in fit.plates.items()}
    return Outline(
        superior=known["superior"],
        inferior=known["inferior"],
        front_middle=origin + half_v * fit.up + float(fit.sides.front(half_v)) * front,
        back_middle=origin + half_v * fit.up + float(fit.sides.back(half_v)) * front,
        centre=centre,
        up=fit.up,
        cut=fit.hidden,
    )


def _fit_sides(section: Section, origin: Array, up: Array, open_side: OpenSide) -> _Sides | None:
    step = float(section.pixel_mm.mean())
    reach = section.reach_mm + 2 * step
    line = np.arange(-reach, reach + step, step)
    points = origin + line[:, None, None] * up + line[None, :, None] * front_of(up)  # (v, u, 2)
    distance = section.at(points)
    bottom, top = extent(line, distance.T)  # for each u
    back, front = extent(line, distance)  # for each v
    core = np.abs(line) < CORE_HALF_MM
    if not (np.isfinite(bottom[core]).any() and np.isfinite(top[core]).any()):
        return None
    low, high = float(np.nanmedian(bottom[core])), float(np.nanmedian(top[core]))
    if open_side == "superior":
        high = min(high, low + OPEN_SPAN_MM)
    elif open_side == "inferior":
        low = max(low, high - OPEN_SPAN_MM)
    traces = (line, np.stack([bottom, top, back, front]))
    sides = _fit_round(traces, (low, high), ((low, high), (low, high)), open_side)
    if sides is None:
        return None
    spans = []
    for wall in (sides.back, sides.front):
        spans.append((float(sides.bottom(float(wall(low)))), float(sides.top(float(wall(high))))))
    return _fit_round(traces, (low, high), (spans[0], spans[1]), open_side)


def _fit_round(
    traces: tuple[Array, Array],
    heights: tuple[float, float],
    spans: tuple[tuple[float, float], tuple[float, float]],
    open_side: OpenSide,
) -> _Sides | None:
    """Walls over `spans` (of the back and the front wall, in v), then end plates between the walls.

    `traces` are positions (n,) and border positions (bottom, top at each u; back, front at each v) there.
    """
    line, (bottom, top, back, front) = traces[0], traces[1]
    back_wall, front_wall = _fit_wall(line, back, spans[0]), _fit_wall(line, front, spans[1])
    if front_wall is None or back_wall is None:
        return None
    below, above = ((float(back_wall(v)), float(front_wall(v))) for v in heights)
    lower = _flat(heights[0]) if open_side == "inferior" else _fit_side(line, bottom, below)
    upper = _flat(heights[1]) if open_side == "superior" else _fit_side(line, top, above)
    return None if lower is None or upper is None else _Sides(upper, lower, front_wall, back_wall)


def _flat(v: float) -> Curve:
    return Curve(0.0, 1.0, np.array([v]))


def _fit_side(line: Array, values: Array, limits: tuple[float, float], degree: int = 2) -> Curve | None:
    low, high = limits
    step = line[1] - line[0]
    inset = max(INSET * (high - low), step)
    use = (line > low + inset) & (line < high - inset)
    return fit_curve(line[use], values[use], degree, STEP_NOISE * step)


def _fit_wall(line: Array, values: Array, limits: tuple[float, float]) -> Curve | None:
    """A wall, whose bend is shrunk when it is small; end plates keep theirs, for their concavity is measured.

    Non-negative garrote (Breiman 1995, doi 10.1080/00401706.1995.10484371).
    """
    curve = _fit_side(line, values, limits)
    if curve is None:
        return None
    bend = float(curve.coefficients[2])
    feigned = FEIGNED_BEND * (line[1] - line[0])
    kept = bend * (1 - (feigned / bend) ** 2) if abs(bend) > feigned else 0.0
    bow = Curve(curve.centre, curve.scale, np.array([0.0, 0.0, kept]))
    straight = _fit_side(line, values - bow(line), limits, degree=1)
    if straight is None:
        return None
    return Curve(curve.centre, curve.scale, np.append(straight.coefficients, kept))


def _end_plate(sides: _Sides, name: str, origin: Array, up: Array) -> EndPlate:
    plate = sides.top if name == "superior" else sides.bottom
    front = front_of(up)
    corners = []
    for wall in (sides.front, sides.back):
        v = float(plate(plate.centre))
        for _ in range(8):  # the sides are nearly at right angles: the iteration contracts quickly
            u = float(wall(v))
            v = float(plate(u))
        corners.append((u, v))
    middle_u = (corners[0][0] + corners[1][0]) / 2
    at = [origin + u * front + v * up for u, v in (*corners, (middle_u, float(plate(middle_u))))]
    return EndPlate(front=at[0], middle=at[2], back=at[1])


def _is_cut(plate: EndPlate, surface: MidSurface, suspected: bool) -> bool:
    """Whether an end plate runs along the edge of the image; of a vertebra known to be cut, one corner suffices."""
    share = np.linspace(0, 1, 21)[:, None]
    points = plate.back + share * plate.chord
    at_edge = float(surface.cut(points).mean())
    return at_edge > (0.0 if suspected else MAX_CUT_SHARE)
