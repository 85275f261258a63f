"""The canal's centreline on the mid-sagittal section, and diameters at right angles to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import Structure
from spine.geometry import Array, arc_length, extent, front_of, moving_mean, unit
from spine.measure.cord_line import CordLine, moving_known_mean, trace_cord
from spine.measure.section import MidSurface, Section
from spine.records import CordMap

RAY_MM = 20.0  # half a ray across the canal; no canal is that deep
SMOOTH_MM = 8.0  # half-width of the mean that smooths the centreline
WINDOW_MM = 2.0  # diameters are means over +-2 mm along the canal: single rows of a mask run in steps
MIN_ROWS = 8
SEARCH_MM = 60.0  # the canal lies no further than this behind the middle of a body or disc


@dataclass(frozen=True)
class CanalLine:
    """Points along the canal from above, on the mid-sagittal surface; in-plane (down, back) mm.

    Diameters are NaN where the canal leaves the image or is not seen.
    """

    points: Array  # (n, 2)
    front: Array  # (n, 2) unit vectors across the canal, to the front
    front_wall: Array  # (n, 2)
    back_wall: Array  # (n, 2)
    ap_mm: Array  # (n,) smoothed along the canal
    cord: CordLine

    def nearest(self, point: Array, up: Array | None) -> int | None:
        """Index where the plane through `point` at right angles to `up` meets the canal.

        Without `up` the point of the canal that is nearest. None where the canal is not seen there.
        """
        away = np.linalg.norm(self.points - point, axis=1)
        gap = away if up is None else np.abs((self.points - point) @ up)
        n = int(np.where(away < SEARCH_MM, gap, np.inf).argmin())
        limit = SEARCH_MM if up is None else 2 * WINDOW_MM
        return n if np.isfinite(self.ap_mm[n]) and gap[n] < limit and away[n] < SEARCH_MM else None


def trace_canal(
    structures: NDArray[np.uint8], first_slice: int, surface: MidSurface, cord: CordMap | None
) -> CanalLine | None:
    """Trace canal and cord; None where hardly any canal is seen.

    Args:
        structures: (slice, down, back) slab about the midline, values of anatomy.Structure.
        first_slice: grid index of its first slice.
        surface: the mid-sagittal surface.
        cord: its sections, where they were read.
    """
    canal = _section(structures, (Structure.CANAL, Structure.CORD), first_slice, surface)
    if canal is None:
        return None
    rows = np.flatnonzero(canal.inside.any(1))
    if len(rows) < MIN_ROWS:
        return None
    points = _row_centres(canal, rows)
    half = max(1, round(SMOOTH_MM / surface.pixel_mm[0]))
    ray = np.arange(-RAY_MM, RAY_MM + 1e-6, surface.pixel_mm.mean() / 2)
    for _ in range(3):
        points = moving_mean(points, half)
        front = front_of(unit(-np.gradient(points, axis=0)))
        back_at, front_at = _span(ray, canal.at(points[:, None] + ray[:, None] * front[:, None]))
        middle = np.nan_to_num((back_at + front_at) / 2)
        centred = points + middle[:, None] * front
        line, points = points, centred
    front_wall, back_wall = line + front_at[:, None] * front, line + back_at[:, None] * front
    ends = np.array([rows[0], rows[-1]]) * canal.pixel_mm[0] + canal.origin_mm[0]
    for wall in (front_wall, back_wall):  # a ray that ends where the canal itself ends measures nothing
        lost = (wall[:, 0] < ends[0] + canal.pixel_mm[0]) | (wall[:, 0] > ends[1] - canal.pixel_mm[0])
        lost |= surface.cut(wall) & np.isfinite(wall[:, 0])
        front_at = np.where(lost, np.nan, front_at)
    step = float(np.median(np.diff(arc_length(line))))
    window = max(1, round(WINDOW_MM / max(step, 1e-3)))
    ap_mm = moving_known_mean(front_at - back_at, window)
    return CanalLine(
        line, front, front_wall, back_wall, ap_mm, trace_cord(line, (front_wall, back_wall), surface, cord, window)
    )


def _section(
    structures: NDArray[np.uint8], members: tuple[Structure, ...], first_slice: int, surface: MidSurface
) -> Section | None:
    wanted = np.zeros(256, np.bool_)
    wanted[list(members)] = True
    region = wanted[structures]
    rows, columns = np.flatnonzero(region.any((0, 2))), np.flatnonzero(region.any((0, 1)))
    if not len(rows):
        return None
    part = region[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return surface.section(part, (first_slice, int(rows[0]), int(columns[0])))


def _row_centres(canal: Section, rows: NDArray[np.intp]) -> Array:
    columns = np.arange(canal.distance.shape[1])
    every = np.arange(rows[0], rows[-1] + 1)
    count = canal.inside.sum(1)[rows]
    centre = (canal.inside @ columns)[rows] / count
    centre = np.interp(every, rows, centre)
    return np.asarray(canal.origin_mm + np.stack([every, centre], -1) * canal.pixel_mm)


def _span(ray: Array, distance: Array) -> tuple[Array, Array]:
    """Where the inside stretch about the middle of each ray (n, m) begins and ends; NaN where there is none."""
    outside = distance >= 0
    middle = len(ray) // 2
    after = outside[:, middle:].argmax(1) + middle  # first sample outside on the front's side
    before = middle - outside[:, middle::-1].argmax(1)
    keep = np.arange(len(ray))
    stretch = np.where((keep > before[:, None]) & (keep < after[:, None]), distance, np.abs(distance))
    known = ~outside[:, middle] & outside[:, middle:].any(1) & outside[:, : middle + 1].any(1)
    low, high = extent(ray, stretch)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)
