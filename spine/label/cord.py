"""The cord of the neck, outlined again on the image: half-way between the signals of cord and fluid.

The network knows where canal and cord lie but has learnt the cord from synthetic images only. Within its canal the
border of the cord is a step between two signals, so it is where the signal is half-way between them (the border of a
step that any symmetric blur leaves in place). Rays in the plane of every row run from the cord's course to the wall of
the canal; where no fluid lies between cord and wall the wall is the border, and where a layer of fluid is too thin to
reach its own signal the brightest place of the layer is. Radii are smoothed along the cord and around it, where the low
harmonics of an ellipse are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spine.anatomy import Structure
from spine.geometry import Array

RAYS = 16
REACH_MM, STEP_MM, LEAST_MM = 9.0, 0.4, 1.6  # half the width of no cord is more, half the depth of none is less
COURSE_MM = 6.0  # standard deviation of the smoothing of the course, along the cord
LEVEL_MM = 10.0  # ... of the two signals: coils fall off slowly
RADIUS_MM = 1.5  # ... of the radii: a disc that presses on the cord is longer than that
CORE_MM = 2.0  # this far around its course everything is cord
SEARCH_MM = 3.0  # the course is looked for this far around where network and neighbours put it
FLUID_PERCENTILE = 85.0  # of the canal's signal in a row: fluid, and not its brightest voxels
MIN_CORD_MM2 = 25.0  # in a row, from which the network's own cord says where the course runs; healthy: 47 to 77
PEAK_SHARE = 0.25  # of the step: a rise by less is no fluid
# Below these no border is told; engineering choice, developed on synthetic necks of several contrasts.
MIN_CONTRAST = 0.2  # step over the larger of the two signals
MIN_STEP_OVER_NOISE = 4.0
HARMONICS = (0, 1, 2, 4)


@dataclass(frozen=True)
class _Levels:
    """Signals of each row (n,): `sign` is 1 where the fluid is the brighter (T2), else -1; signals times sign."""

    sign: int
    cord: Array
    fluid: Array
    noise: float

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Whether cord and fluid differ enough for a border."""
        step = self.fluid - self.cord
        larger = np.maximum(np.abs(self.fluid), np.abs(self.cord))
        return np.asarray((step > MIN_CONTRAST * larger) & (step > MIN_STEP_OVER_NOISE * self.noise))


def outline_cord(
    structures: NDArray[np.uint8], image: NDArray[np.float32], spacing_mm: tuple[float, float, float], end: int
) -> NDArray[np.uint8]:
    """Structures with the cord above row `end` outlined again; CANAL where its border cannot be seen.

    Args:
        structures: (slice, down, back), values of anatomy.Structure; CANAL and CORD together are the canal.
        image: the same shape, any contrast.
        spacing_mm: (slice, down, back).
        end: first row that is left as it is.

    Returns:
        A new array; nothing outside the canal changes.
    """
    tube = np.isin(structures, (Structure.CANAL, Structure.CORD))
    tube[:, end:] = False
    rows = np.flatnonzero(tube.sum((0, 2)) >= RAYS)
    if len(rows) < RAYS:
        return structures
    rows = np.arange(rows[0], rows[-1] + 1)
    own = (structures == Structure.CORD) & tube
    course = _course(tube[:, rows], own[:, rows], spacing_mm)
    levels = _levels(image[:, rows], tube[:, rows], course, spacing_mm)
    course = _recentred(image[:, rows], tube[:, rows], course, levels, spacing_mm)
    levels = _levels(image[:, rows], tube[:, rows], course, spacing_mm)
    radius, wall = _radii(image[:, rows], tube[:, rows], course, levels, spacing_mm)
    radius = np.minimum(_smooth_radii(radius, spacing_mm[1]), wall)
    inside = _drawn(tube[:, rows], course, radius, spacing_mm)
    inside[:, ~levels.seen] = False
    out = structures.copy()
    block = out[:, rows]
    block[tube[:, rows]] = Structure.CANAL
    block[inside] = Structure.CORD
    out[:, rows] = block
    return out


def _centroids(region: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> Array:
    """(row, 2): mean (slice, back) of each row of `region` (slice, row, back) in mm; NaN where it is empty."""
    count = region.sum((0, 2)).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        across = (region.sum(2).T @ np.arange(region.shape[0])) / count
        back = (region.sum(0) @ np.arange(region.shape[2])) / count
    return np.stack((across * spacing_mm[0], back * spacing_mm[2]), 1)


def _filled(values: Array, sigma: float) -> Array:
    """`values` (row, m) smoothed along the rows, unknown ones (NaN) interpolated; zeros where none is known."""
    out = np.zeros_like(values)
    index = np.arange(len(values))
    for m in range(values.shape[1]):
        known = np.isfinite(values[:, m])
        if known.any():
            full = np.interp(index, index[known], values[known, m])
            out[:, m] = ndimage.gaussian_filter1d(full, sigma, mode="nearest")
    return out


def _course(tube: NDArray[np.bool_], own: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> Array:
    """(row, 2): middle of the cord (slice, back) in mm: the canal's, moved by where the network's cord lies in it."""
    sigma = COURSE_MM / spacing_mm[1]
    canal = _centroids(tube, spacing_mm)
    beside = _centroids(own, spacing_mm) - canal
    beside[own.sum((0, 2)) * spacing_mm[0] * spacing_mm[2] < MIN_CORD_MM2] = np.nan
    return _filled(canal, sigma / 3) + _filled(beside, sigma)


def _away_mm(shape: tuple[int, ...], course: Array, spacing_mm: tuple[float, float, float]) -> Array:
    """(slice, row, back): distance from the course in the plane of the row."""
    across = np.arange(shape[0])[:, None] * spacing_mm[0] - course[:, 0]
    back = np.arange(shape[2])[:, None] * spacing_mm[2] - course[:, 1]
    return np.asarray(np.sqrt(np.square(across)[:, :, None] + np.square(back.T)[None]))


def _levels(
    image: NDArray[np.float32], tube: NDArray[np.bool_], course: Array, spacing_mm: tuple[float, float, float]
) -> _Levels:
    """Signals of cord and fluid along the course. The fluid is taken a pixel inside the canal's wall."""
    rows = tube.shape[1]
    away = _away_mm(tube.shape, course, spacing_mm)
    core = tube & (away < max(CORE_MM, 0.55 * spacing_mm[0]))
    inner = ndimage.binary_erosion(tube, np.ones((1, 1, 3), bool)) & ~core
    cord = np.array([np.median(image[:, r][core[:, r]]) if core[:, r].any() else np.nan for r in range(rows)])
    rest = float(np.median(image[inner])) if inner.any() else 0.0
    sign = 1 if rest >= np.nanmedian(cord) else -1
    fluid = np.array(
        [np.percentile(sign * image[:, r][inner[:, r]], FLUID_PERCENTILE) if inner[:, r].any() else np.nan
         for r in range(rows)]
    )  # fmt: skip
    smooth = _filled(np.stack((sign * cord, fluid), 1), LEVEL_MM / spacing_mm[1])
    spread = np.abs(sign * image - smooth[:, 0, None])[core]
    noise = 1.4826 * float(np.median(spread)) if spread.size else np.inf
    return _Levels(sign, smooth[:, 0], smooth[:, 1], noise)


def _recentred(
    image: NDArray[np.float32],
    tube: NDArray[np.bool_],
    course: Array,
    levels: _Levels,
    spacing_mm: tuple[float, float, float],
) -> Array:
    """The course moved to the middle of what looks like cord near it."""
    step = np.maximum(levels.fluid - levels.cord, 1e-6)[:, None]
    alike = np.clip((levels.fluid[:, None] - levels.sign * image) / step, 0.0, 1.0)
    inner = ndimage.binary_erosion(tube, np.ones((1, 1, 3), bool))
    weight = alike * inner * np.exp(-0.5 * np.square(_away_mm(tube.shape, course, spacing_mm) / SEARCH_MM))
    total = weight.sum((0, 2))
    across = (weight.sum(2).T @ np.arange(tube.shape[0])) * spacing_mm[0]
    back = (weight.sum(0) @ np.arange(tube.shape[2])) * spacing_mm[2]
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.stack((across, back), 1) / total[:, None]
    found[~levels.seen | (total <= 0)] = np.nan
    moved = np.clip(found - course, -SEARCH_MM, SEARCH_MM)
    return course + _filled(moved, COURSE_MM / 2 / spacing_mm[1])


def _radii(
    image: NDArray[np.float32],
    tube: NDArray[np.bool_],
    course: Array,
    levels: _Levels,
    spacing_mm: tuple[float, float, float],
) -> tuple[Array, Array]:
    """(row, RAYS) radius of the cord's border and of the canal's wall, mm, on rays at even angles from the back."""
    distance = np.arange(0.0, REACH_MM, STEP_MM)
    angle = 2 * np.pi * np.arange(RAYS) / RAYS
    across = (course[:, 0, None, None] + np.sin(angle)[:, None] * distance) / spacing_mm[0]
    back = (course[:, 1, None, None] + np.cos(angle)[:, None] * distance) / spacing_mm[2]
    row = np.broadcast_to(np.arange(len(course))[:, None, None], across.shape)
    place = np.stack((across, row, back))
    signal = ndimage.map_coordinates(levels.sign * image, place, order=1, mode="nearest")
    free = ndimage.map_coordinates(tube.astype(np.float32), place, order=1, mode="constant") > 0.5
    steps = np.where(free.all(-1), len(distance), (~free).argmax(-1))
    wall = np.maximum(steps - 0.5, 0) * STEP_MM
    index = np.arange(len(distance))
    usable = (index < steps[..., None]) & (distance >= LEAST_MM)
    peak_at = np.where(usable, signal, -np.inf).argmax(-1)
    peak = np.take_along_axis(signal, peak_at[..., None], -1)[..., 0]
    step = (levels.fluid - levels.cord)[:, None]
    half = levels.cord[:, None] + 0.5 * step
    low = (signal < half[..., None]) & (index < peak_at[..., None])
    last = len(distance) - 1 - low[..., ::-1].argmax(-1)  # outermost place below half inside the peak
    last = np.where(low.any(-1), np.minimum(last, len(distance) - 2), 0)
    before = np.take_along_axis(signal, last[..., None], -1)[..., 0]
    after = np.take_along_axis(signal, last[..., None] + 1, -1)[..., 0]
    gap = np.where(after > before, after - before, 1.0)
    crossing = (last + np.clip((half - before) / gap, 0.0, 1.0)) * STEP_MM
    thin = peak < half + 0.1 * step
    radius = np.where(thin, peak_at * STEP_MM, crossing)
    radius = np.where(peak < levels.cord[:, None] + PEAK_SHARE * step, wall, radius)
    return np.maximum(radius, LEAST_MM), wall


def _smooth_radii(radius: Array, row_mm: float) -> Array:
    """`radius` (row, RAYS) without single outliers, smooth along the rows, with HARMONICS only around the cord."""
    size = 2 * max(1, round(RADIUS_MM / row_mm)) + 1
    ring = np.pad(radius, ((0, 0), (1, 1)), mode="wrap")
    steady = ndimage.median_filter(ring, (size, 3), mode="nearest")[:, 1:-1]
    steady = ndimage.gaussian_filter1d(steady, RADIUS_MM / row_mm, axis=0, mode="nearest")
    waves = np.fft.rfft(steady, axis=1)
    waves[:, [n for n in range(waves.shape[1]) if n not in HARMONICS]] = 0
    return np.asarray(np.fft.irfft(waves, RAYS, axis=1))


def _drawn(
    tube: NDArray[np.bool_], course: Array, radius: Array, spacing_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """(slice, row, back): voxels of `tube` nearer to the course than `radius` (row, RAYS) at their angle."""
    s, r, c = np.nonzero(tube)
    across = s * spacing_mm[0] - course[r, 0]
    back = c * spacing_mm[2] - course[r, 1]
    turn = (np.arctan2(across, back) / (2 * np.pi) * RAYS) % RAYS
    low = np.floor(turn).astype(np.intp) % RAYS
    share = turn - np.floor(turn)
    limit = radius[r, low] * (1 - share) + radius[r, (low + 1) % RAYS] * share
    out = np.zeros(tube.shape, bool)
    near = np.hypot(across, back) < limit
    out[s[near], r[near], c[near]] = True
    return out
