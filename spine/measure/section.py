"""The curved mid-sagittal section: where it runs, and signed distances of structures on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spine.anatomy import Structure
from spine.geometry import Array, fit_curve, to_lps
from spine.records import LabelledSpine, Volume

SLAB_HALF_MM = 2.5  # thinner slices are averaged over +-2.5 mm about the midline, thicker ones interpolated
MIN_CANAL_ROWS = 12  # fewer rows of canal than this do not say where the midline runs
MIDLINE_NOISE = 0.3  # slices: the centroid of a canal that is a few slices wide moves in steps
LONG_CANAL_MM = 300.0  # a whole spine may bend twice: polynomial of higher degree
END_SLOPE_MM = 20.0  # beyond the canal the surface goes on straight, as over its last 20 mm
MAX_DISTANCE_MM = 5.0  # distances are capped: only the neighbourhood of the border matters
BORDER_PIXELS = 1.5  # an outline closer than this to the edge of the image may be cut


@dataclass(frozen=True)
class Section:
    """One structure on the mid-sagittal surface.

    `distance` (rows, columns) is the signed distance to its border in mm, negative inside; its element (0, 0)
    lies at `origin_mm` (down, back).
    """

    distance: Array
    origin_mm: Array
    pixel_mm: Array

    def at(self, points_mm: Array) -> Array:
        """Signed distance in mm at points (..., 2), bilinear; far outside the array it stays positive."""
        index = (points_mm - self.origin_mm) / self.pixel_mm
        place = np.moveaxis(index, -1, 0)
        return np.asarray(ndimage.map_coordinates(self.distance, place, order=1, mode="nearest"), np.float64)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(rows, columns): pixels whose centre lies inside."""
        return self.distance < 0

    @property
    def centre_mm(self) -> Array:
        """Centroid (down, back)."""
        return np.asarray(self.origin_mm + np.argwhere(self.inside).mean(0) * self.pixel_mm)

    @property
    def area_mm2(self) -> float:
        """Area with border pixels counted by the share that lies inside."""
        share = np.clip(0.5 - self.distance / self.pixel_mm.mean(), 0.0, 1.0)
        return float(share.sum() * self.pixel_mm.prod())


@dataclass(frozen=True)
class MidSurface:
    """Mid-sagittal surface of a spine that may bend sideways: one slice position for each row of the grid."""

    slice_at: Array  # (down,), slice index
    volume: Volume

    @property
    def pixel_mm(self) -> Array:
        """(down, back) spacing."""
        return np.array(self.volume.spacing_mm[1:])

    def slice_position(self, points_mm: Array) -> Array:
        """Slice index (...) of the surface at in-plane points (..., 2) mm."""
        rows = points_mm[..., 0] / self.volume.spacing_mm[1]
        return np.interp(rows, np.arange(len(self.slice_at)), self.slice_at)

    def index(self, points_mm: Array) -> Array:
        """In-plane points (..., 2) mm to indices (..., 3) of the grid."""
        return np.concatenate([self.slice_position(points_mm)[..., None], points_mm / self.pixel_mm], axis=-1)

    def lift(self, points_mm: Array) -> Array:
        """In-plane points (..., 2) mm to grid millimetres (..., 3): distances between these are true lengths."""
        return np.asarray(self.index(points_mm) * np.array(self.volume.spacing_mm))

    def lps(self, *points_mm: Array) -> tuple[tuple[float, float, float], ...]:
        """In-plane points (2,) mm as LPS triples, for drawing."""
        lifted = to_lps(self.volume.affine, self.index(np.stack(points_mm)))
        return tuple((float(p[0]), float(p[1]), float(p[2])) for p in np.round(lifted, 3))

    def length_mm(self, a: Array, b: Array) -> float:
        """Distance in space between two in-plane points (2,)."""
        return float(np.linalg.norm(self.lift(a) - self.lift(b)))

    def stretch(self, a: Array, b: Array) -> float:
        """True length over in-plane length between two points: above 1 where the spine leans sideways."""
        flat = float(np.linalg.norm(a - b))
        return self.length_mm(a, b) / flat if flat > 0 else 1.0

    def cut(self, points_mm: Array) -> NDArray[np.bool_]:
        """Whether points (..., 2) lie at the edge of the image content."""
        index = points_mm / self.pixel_mm
        last = np.array(self.volume.content[1:]) - 1
        return np.asarray(((index < BORDER_PIXELS - 0.5) | (index > last - (BORDER_PIXELS - 0.5))).any(-1))

    def section(self, region: NDArray[np.bool_], corner: tuple[int, int, int]) -> Section | None:
        """Section of a structure by shape-based interpolation (Raya & Udupa 1990, doi 10.1109/42.52980).

        Args:
            region: (slice, down, back), True inside the structure.
            corner: grid index of region[0, 0, 0].

        Returns:
            None where the surface does not meet the structure.
        """
        margin = int(np.ceil(MAX_DISTANCE_MM / self.pixel_mm.min()))
        rows = np.arange(corner[1] - margin, corner[1] + region.shape[1] + margin)
        wanted = self.slice_at[np.clip(rows, 0, len(self.slice_at) - 1)]
        half = max(1.0, SLAB_HALF_MM / self.volume.spacing_mm[0])
        pixel = self.pixel_mm
        total = np.zeros((len(rows), region.shape[2] + 2 * margin))
        weights = np.zeros(len(rows))
        for s in range(self.volume.array.shape[0]):
            weight = np.clip(1 - np.abs(s - wanted) / half, 0.0, None)
            if not weight.any():
                continue
            plane = np.zeros(total.shape, np.bool_)
            if 0 <= s - corner[0] < region.shape[0]:
                plane[margin:-margin, margin:-margin] = region[s - corner[0]]
            total += weight[:, None] * _signed_distance(plane, pixel)
            weights += weight
        total /= weights[:, None]
        if not (total < 0).any():
            return None
        origin = (np.array(corner[1:]) - margin) * pixel
        return Section(total, origin, pixel)


def _signed_distance(plane: NDArray[np.bool_], pixel_mm: Array) -> Array:
    """Distance to the border of `plane` (rows, columns), which runs half-way between unlike pixels."""
    if not plane.any():
        return np.full(plane.shape, MAX_DISTANCE_MM)
    shift = pixel_mm.mean() / 2
    outside = ndimage.distance_transform_edt(~plane, sampling=pixel_mm)
    within = ndimage.distance_transform_edt(plane, sampling=pixel_mm)
    return np.asarray(np.clip(np.where(plane, shift - within, outside - shift), -MAX_DISTANCE_MM, MAX_DISTANCE_MM))


def _continued(line: Array, start: int, rows: int, row_mm: float) -> Array:
    """`line` over rows from `start`, continued straight on to all `rows` with the slope of its ends."""
    reach = max(1, min(len(line) - 1, round(END_SLOPE_MM / row_mm)))
    before = line[0] + (line[0] - line[reach]) / reach * np.arange(start, 0, -1)
    after = line[-1] + (line[-1] - line[-1 - reach]) / reach * np.arange(1, rows - start - len(line) + 1)
    return np.concatenate([before, line, after])


def find_mid_surface(spine: LabelledSpine, volume: Volume) -> MidSurface:
    """The surface through the middle of the canal; of the bodies where no canal is seen; else the middle slice."""
    slices, rows = spine.structures.shape[:2]
    middle = np.full(rows, (volume.content[0] - 1) / 2)
    if slices == 1:
        return MidSurface(np.zeros(rows), volume)
    for members in ((Structure.CANAL, Structure.CORD), (Structure.BODY, Structure.S1, Structure.C2)):
        wanted = np.zeros(256, np.uint8)
        wanted[list(members)] = 1
        count = wanted[spine.structures].sum(2, dtype=np.int32)  # (slice, down)
        total = count.sum(0)
        seen = np.flatnonzero(total)
        if len(seen) < MIN_CANAL_ROWS:
            continue
        centre = (np.arange(slices) @ count)[seen] / total[seen]
        length_mm = (seen[-1] - seen[0]) * volume.spacing_mm[1]
        degree = 3 if length_mm < LONG_CANAL_MM else 5
        curve = fit_curve(seen.astype(np.float64), centre, degree, MIDLINE_NOISE, np.sqrt(total[seen]))
        if curve is not None:
            line = _continued(curve(np.arange(seen[0], seen[-1] + 1)), seen[0], rows, volume.spacing_mm[1])
            return MidSurface(np.clip(line, 0, slices - 1), volume)
    return MidSurface(middle, volume)
