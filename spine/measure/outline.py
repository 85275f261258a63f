"""Outline of a vertebral body on the mid-sagittal section: four curved sides and their corners.

The largest quadrilateral inside the convex hull gives first corners. Each side between them is then traced at
right angles to its own chord and fitted robustly by a parabola; corners are where neighbouring parabolas meet.
Rounded corners, small osteophytes and the stair-steps of the mask therefore move them little, the concavity of
the end plates is kept, and the pose of the body in the image does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from spine.geometry import Array, Curve, elevation_deg, fit_curve, leaving, unit, up_of
from spine.measure.section import MidSurface, Section

OpenSide = Literal["superior", "inferior"] | None

INSET = 0.06  # share of a side left out at either end, one pixel at least: corners are rounded, osteophytes sit there
STEP_NOISE = 0.5  # pixels: the border of a mask runs in steps
FEIGNED_BEND = 0.4  # pixels: a wall along the pixel grid looks bent by as much through its steps alone
DENT_MM, SPUR_MM = 8.0, 4.0  # a side is looked for this far inside and outside the chord of its corners
OPEN_SPAN_MM = 13.0  # of C2, whose body goes on as the dens, only this much above its end plate is used
ROUNDED_MM = 1.0  # a rounded or chamfered corner lies at most this far outside the contour
STRAY_MM = 3.0  # sides that meet further out than this beyond it do not make a corner: the first guess stays
MEETING_ROUNDS = 6
MIN_SIDE_MM = 4.0  # smaller than any vertebral body
MIN_PIXELS = 12
MAX_CUT_SHARE = 0.1  # of an end plate at the edge of the image; more, and it counts as cut
SUPERIOR, FRONT_WALL, INFERIOR, BACK_WALL = range(4)  # sides in the order in which they follow each other


@dataclass(frozen=True)
class EndPlate:
    """Corners of one end plate and the middle of its curved surface, (down, back) mm."""

    front: Array
    middle: Array
    back: Array
    direction: Array  # unit vector of the whole surface, back to front: surer than its corners

    @property
    def chord(self) -> Array:
        """Back corner to front corner, (2,) mm."""
        return self.front - self.back

    @property
    def elevation_deg(self) -> float:
        """Angle of the surface above the image's horizontal, positive when its front end lies higher."""
        return elevation_deg(self.direction)


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


@dataclass(frozen=True)
class _Side:
    """One side: `curve` gives the height above the chord, outward, along it, both mm."""

    start: Array
    along: Array
    length_mm: float
    curve: Curve

    @property
    def direction(self) -> Array:
        """Unit vector (2,) of the fitted side as a whole, from its start on."""
        tilt = float(self.curve.coefficients[1]) / self.curve.scale if len(self.curve.coefficients) > 1 else 0.0
        return unit(self.along + tilt * up_of(self.along))

    def project(self, point: Array) -> Array:
        """`point` moved at right angles to the chord onto the side, at most SPUR_MM beyond its ends."""
        s = float(np.clip((point - self.start) @ self.along, -SPUR_MM, self.length_mm + SPUR_MM))
        return np.asarray(self.start + s * self.along + float(self.curve(s)) * up_of(self.along))


def fit_outline(
    section: Section, surface: MidSurface, up: Array, open_side: OpenSide = None, cut: bool = False
) -> Outline | None:
    """Fit the outline of a body.

    Args:
        section: the body on the mid-sagittal surface.
        surface: tells where the image ends.
        up: direction to the head (2,), right within about 40 degrees: it only tells the sides apart.
        open_side: the side where the body goes on without an end plate of its own (dens of C2, rest of S1).
        cut: whether the vertebra is known to be cut by the image; then its edges are looked at more closely.

    Returns:
        None when the contour is too small or too ragged for a fit.
    """
    corners = _first_corners(section, up, open_side)
    sides: list[_Side] = []
    for _ in range(2):
        if corners is None or min(np.linalg.norm(corners - np.roll(corners, 1, 0), axis=1)) < MIN_SIDE_MM:
            return None
        fitted = [_fit_side(section, corners, n, open_side) for n in range(4)]
        sides = [side for side in fitted if side is not None]
        if len(sides) < 4:
            return None
        corners = _meeting_points(section, sides, corners)
    return None if corners is None else _outline(surface, (sides, corners), (open_side, cut))


def _outline(surface: MidSurface, fit: tuple[list[_Side], Array], kind: tuple[OpenSide, bool]) -> Outline:
    sides, corners = fit
    open_side, known_cut = kind
    ends = {
        "superior": (corners[1], corners[0], sides[SUPERIOR]),
        "inferior": (corners[2], corners[3], sides[INFERIOR]),
    }
    plates = {
        n: EndPlate(f, side.project((f + b) / 2), b, side.direction if n == "superior" else -side.direction)
        for n, (f, b, side) in ends.items()
    }
    own = {n: p for n, p in plates.items() if n != open_side}
    hidden = tuple(n for n, p in own.items() if _is_cut(p, surface, known_cut))
    trusted = [p for n, p in own.items() if n not in hidden] or list(own.values())
    walls = [(corners[1] + corners[2]) / 2, (corners[3] + corners[0]) / 2]
    return Outline(
        superior=None if "superior" in hidden else own.get("superior"),
        inferior=None if "inferior" in hidden else own.get("inferior"),
        front_middle=sides[FRONT_WALL].project(walls[0]),
        back_middle=sides[BACK_WALL].project(walls[1]),
        centre=corners.mean(0),
        up=up_of(unit(np.sum([p.direction for p in trusted], axis=0))),
        cut=hidden,
    )


def _first_corners(section: Section, up: Array, open_side: OpenSide) -> Array | None:
    """Corners (4, 2) of the largest quadrilateral: superior back and front, inferior front and back."""
    points = section.origin_mm + np.argwhere(section.inside) * section.pixel_mm
    if open_side == "superior" and len(points):
        height = points @ up
        points = points[height < np.percentile(height, 2) + OPEN_SPAN_MM]
    if len(points) < MIN_PIXELS:
        return None
    try:
        hull = points[ConvexHull(points).vertices]
    except QhullError:  # all pixels on one line
        return None
    quad = _largest_quadrilateral(hull)
    if np.sum((quad - quad.mean(0)) * up_of(np.roll(quad, -1, 0) - quad)) < 0:
        quad = quad[::-1]  # the outside shall lie on the same hand everywhere
    facing = unit(up_of(np.roll(quad, -1, 0) - quad)) @ up
    return np.roll(quad, -int(facing.argmax()), axis=0)


def _largest_quadrilateral(hull: Array) -> Array:
    """Four vertices (4, 2) of the convex polygon `hull` (n, 2) that span the largest area.

    Each pair of vertices is taken as a diagonal; the furthest vertex on either side of it completes the best
    quadrilateral with that diagonal.
    """
    diagonal = hull[None] - hull[:, None]  # (i, k, 2)
    away = hull[None, None] - hull[:, None, None]  # (i, 1, j, 2)
    cross = diagonal[:, :, None, 0] * away[..., 1] - diagonal[:, :, None, 1] * away[..., 0]  # (i, k, j)
    area = cross.max(2) - cross.min(2)
    i, k = np.unravel_index(int(area.argmax()), area.shape)
    order = sorted({int(i), int(k), int(cross[i, k].argmax()), int(cross[i, k].argmin())})
    return hull[order] if len(order) == 4 else hull[[order[0], *order, *order][:4]]


def _fit_side(section: Section, corners: Array, n: int, open_side: OpenSide) -> _Side | None:
    start, end = corners[n], corners[(n + 1) % 4]
    along, length = unit(end - start), float(np.linalg.norm(end - start))
    if (n == SUPERIOR and open_side == "superior") or (n == INFERIOR and open_side == "inferior"):
        return _Side(start, along, length, Curve(0.0, 1.0, np.zeros(1)))
    step = float(section.pixel_mm.mean())
    inset = max(INSET * length, step)
    s = np.linspace(inset, length - inset, max(4, int((length - 2 * inset) / step) + 1))
    ray = np.arange(-DENT_MM, SPUR_MM + 1e-6, step)
    points = start + s[:, None, None] * along + ray[None, :, None] * up_of(along)
    height = leaving(ray, section.at(points))
    curve = fit_curve(s, height, 2, STEP_NOISE * step)
    if curve is not None and n in (FRONT_WALL, BACK_WALL):
        curve = _straightened(curve, s, height, step)
    return None if curve is None else _Side(start, along, length, curve)


def _straightened(curve: Curve, s: Array, height: Array, step: float) -> Curve | None:
    """A wall, whose bend is shrunk when it is small; end plates keep theirs, for their concavity is measured.

    Non-negative garrote (Breiman 1995, doi 10.1080/00401706.1995.10484371).
    """
    bend = float(curve.coefficients[2])
    kept = bend * (1 - (FEIGNED_BEND * step / bend) ** 2) if abs(bend) > FEIGNED_BEND * step else 0.0
    bow = Curve(curve.centre, curve.scale, np.array([0.0, 0.0, kept]))
    line = fit_curve(s, height - bow(s), 1, STEP_NOISE * step)
    if line is None:
        return None
    tilt = float(line.coefficients[1]) * curve.scale / line.scale
    level = float(line(curve.centre))
    return Curve(curve.centre, curve.scale, np.array([level, tilt, kept]))


def _meeting_points(section: Section, sides: list[_Side], corners: Array) -> Array:
    """Where each side meets the one before it, (4, 2); brought to ROUNDED_MM outside the contour if further out.

    Where the sides miss each other, the corner given stays.
    """
    points = np.array(corners)
    for n, (before, after) in enumerate(pairwise([sides[-1], *sides])):
        for _ in range(
            MEETING_ROUNDS
        ):  # alternating projections contract by the squared cosine of the angle between the sides
            points[n] = after.project(before.project(points[n]))
    step = section.pixel_mm.mean() * np.eye(2)
    far = section.at(points)[:, None] - ROUNDED_MM
    slope = section.at(points[:, None] + step) - section.at(points[:, None] - step)  # (4, 2)
    return np.asarray(np.where(far > STRAY_MM, corners, points - np.clip(far, 0, None) * unit(slope)))


def _is_cut(plate: EndPlate, surface: MidSurface, suspected: bool) -> bool:
    """Whether an end plate runs along the edge of the image; of a vertebra known to be cut, one corner suffices."""
    share = np.linspace(0, 1, 21)[:, None]
    points = plate.back + share * plate.chord
    at_edge = float(surface.cut(points).mean())
    return at_edge > (0.0 if suspected else MAX_CUT_SHARE)
