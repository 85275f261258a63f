"""The cord of the neck, outlined again on the image: half-way between the signals of cord and fluid.

The network knows where canal and cord lie but has learnt the cord from synthetic images only. Within its canal the
border of the cord is a step between two signals, blurred by the scanner and by resampling. Rays in the plane of every
row run from the cord's course to the wall of the canal; along each the layer of fluid is fitted whose blurred picture
is nearest to the signal, so that a layer thinner than the blur does not move the border, as the half-way signal alone
would. A ray that meets no fluid tells no border: there the cord is as wide as beside it, but never wider than the
canal. Radii are smoothed along the cord and around it, where the low harmonics of an ellipse are kept. Signals are
taken twice, the second time inside and outside the first outline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from spine.anatomy import Structure
from spine.geometry import Array

RAYS = 16
REACH_MM, STEP_MM, LEAST_MM = 9.0, 0.4, 1.6  # half the width of no cord is more, half the depth of none is less
COURSE_MM = 6.0  # standard deviation of the smoothing of the course, along the cord
LEVEL_MM = 10.0  # ... of the two signals: coils fall off slowly
RADIUS_MM = 1.5  # ... of the radii: a disc that presses on the cord is longer than that
LONG_MM = 10.0  # ... of the radii that stand in where no fluid is met
OUTLIER_MM = 1.5  # a border so far from those is hardly believed
CORE_MM = 2.0  # this far around its course everything is cord
CORE_SHARE = 0.75  # ... and within this share of its radius, once that is known
SEARCH_MM = 3.0  # the course is looked for this far around where network and neighbours put it
FLUID_PERCENTILE = 85.0  # of the canal's signal in a row: fluid, and not its brightest voxels
MIN_CORD_MM2 = 25.0  # in a row, from which the network's own cord says where the course runs; healthy: 47 to 77
LAYERS_MM = (0.4, 0.8, 1.2, 1.6, 2.4, 3.2, 8.0)  # thickness of the fluid around the cord
BEYOND_MM = 1.2  # a profile is read this far beyond the canal's wall: there its layer of fluid has ended
# Standard deviation of the blur. In the plane: a point spread as wide as a stored pixel, and two linear interpolations;
# across: a slice as thick as the distance to the next, and one interpolation.
BLUR_PIXELS, BLUR_SLICES = 0.8, 0.5
MIN_GAIN = 0.25  # squared error, in steps between the signals, that a layer of fluid must explain: else there is none
FAINT = 0.02  # weight of a border that is only known from beside it
PASSES = 2
# Below these no border is told; engineering choice, developed on synthetic necks of several contrasts.
MIN_CONTRAST = 0.2  # step over the larger of the two signals
MIN_STEP_OVER_NOISE = 4.0
HARMONICS = (0, 1, 2, 4)
ROW_PLANE = ndimage.generate_binary_structure(3, 1) & np.array([False, True, False])[:, None]  # neighbours in a row


@dataclass(frozen=True)
class _Levels:
    """Signals of each row (n,): `sign` is 1 where the fluid is the brighter (T2), else -1; signals times sign."""

    sign: int
    cord: Array
    fluid: Array
    noise: Array  # standard deviation

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
        A new array; nothing outside the canal changes. A hole in the canal is no border: it is filled.
    """
    tube = _without_holes(np.isin(structures, (Structure.CANAL, Structure.CORD)))
    tube[:, end:] = False
    rows = np.flatnonzero(tube.sum((0, 2)) >= RAYS)
    if len(rows) < RAYS:
        return structures
    rows = np.arange(rows[0], rows[-1] + 1)
    part = tube[:, rows]
    inside = _found(part, (structures == Structure.CORD)[:, rows] & part, image[:, rows], spacing_mm)
    out = structures.copy()
    block = out[:, rows]
    block[part] = Structure.CANAL
    block[inside] = Structure.CORD
    out[:, rows] = block
    return out


def _without_holes(tube: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`tube` (slice, row, back) with what it surrounds in the plane of a row."""
    box = ndimage.find_objects(tube.astype(np.uint8))
    if not box:
        return tube
    out = tube.copy()
    out[box[0]] = ndimage.binary_fill_holes(tube[box[0]], ROW_PLANE)
    return out


def _found(
    tube: NDArray[np.bool_],
    own: NDArray[np.bool_],
    image: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
) -> NDArray[np.bool_]:
    """The cord in the canal `tube` (slice, row, back), of which `own` is the network's."""
    course = _course(tube, own, spacing_mm)
    sign = _sign(image, tube, own if own.any() else _core(tube, course, spacing_mm))
    levels = _first_levels(image, tube, course, sign, spacing_mm)
    course = _recentred(image, tube, course, levels, spacing_mm)
    levels = _first_levels(image, tube, course, sign, spacing_mm)
    inside = np.zeros(tube.shape, bool)
    for _ in range(PASSES):
        radius, weight, wall = _radii(image, tube, course, levels, spacing_mm)
        radius = np.clip(_smooth_radii(radius, weight, spacing_mm[1]), LEAST_MM, wall)
        inside = _drawn(tube, course, radius, spacing_mm)
        core = _drawn(tube, course, CORE_SHARE * radius, spacing_mm)
        around = _drawn(tube, course, radius + spacing_mm[2], spacing_mm)
        levels = _levels(image, tube, (core, around), sign, spacing_mm)
    inside[:, ~levels.seen] = False
    return inside


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


def _core(tube: NDArray[np.bool_], course: Array, spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    """(slice, row, back): what is cord for sure while no radius is known."""
    return tube & (_away_mm(tube.shape, course, spacing_mm) < max(CORE_MM, 0.55 * spacing_mm[0]))


def _sign(image: NDArray[np.float32], tube: NDArray[np.bool_], cord: NDArray[np.bool_]) -> int:
    """1 where fluid is brighter than the cord: on T2 moving fluid is dark in places, but on T1 it is nowhere bright."""
    rest = _inner(tube) & ~cord
    if not rest.any():
        return 1
    low, high = np.percentile(image[rest], (100 - FLUID_PERCENTILE, FLUID_PERCENTILE))
    usual = float(np.median(image[cord]))
    return 1 if high - usual >= usual - low else -1


def _inner(tube: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`tube` without a pixel along its wall to the front and to the back."""
    return np.asarray(ndimage.binary_erosion(tube, np.ones((1, 1, 3), bool)))


def _first_levels(
    image: NDArray[np.float32],
    tube: NDArray[np.bool_],
    course: Array,
    sign: int,
    spacing_mm: tuple[float, float, float],
) -> _Levels:
    """Signals while no radius is known: of the core around the course, and of the rest of the canal."""
    core = _core(tube, course, spacing_mm)
    return _levels(image, tube, (core, core), sign, spacing_mm)


def _levels(
    image: NDArray[np.float32],
    tube: NDArray[np.bool_],
    regions: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    sign: int,
    spacing_mm: tuple[float, float, float],
) -> _Levels:
    """Signals along the canal: of the cord in the first region, of the fluid outside the second and inside the wall."""
    rows = tube.shape[1]
    core, around = regions
    inner = _inner(tube) & ~around
    cord = np.array([np.median(image[:, r][core[:, r]]) if core[:, r].any() else np.nan for r in range(rows)])
    fluid = np.array(
        [np.percentile(sign * image[:, r][inner[:, r]], FLUID_PERCENTILE) if inner[:, r].any() else np.nan
         for r in range(rows)]
    )  # fmt: skip
    smooth = _filled(np.stack((sign * cord, fluid), 1), LEVEL_MM / spacing_mm[1])
    change = np.abs(np.gradient(image, axis=1))  # along the cord nothing but noise changes from row to row
    own = np.array([np.median(change[:, r][core[:, r]]) if core[:, r].any() else np.nan for r in range(rows)])
    own = ndimage.median_filter(own, 2 * round(LEVEL_MM / spacing_mm[1]) + 1, mode="nearest")
    noise = 1.4826 * np.sqrt(2) * _filled(own[:, None], 1.0)[:, 0]
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
    weight = alike * _inner(tube) * np.exp(-0.5 * np.square(_away_mm(tube.shape, course, spacing_mm) / SEARCH_MM))
    total = weight.sum((0, 2))
    across = (weight.sum(2).T @ np.arange(tube.shape[0])) * spacing_mm[0]
    back = (weight.sum(0) @ np.arange(tube.shape[2])) * spacing_mm[2]
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.stack((across, back), 1) / total[:, None]
    found[~levels.seen | (total <= 0)] = np.nan
    moved = np.clip(found - course, -SEARCH_MM, SEARCH_MM)
    return course + _filled(moved, COURSE_MM / spacing_mm[1])


def _radii(
    image: NDArray[np.float32],
    tube: NDArray[np.bool_],
    course: Array,
    levels: _Levels,
    spacing_mm: tuple[float, float, float],
) -> tuple[Array, Array, Array]:
    """(row, RAYS) radius of the cord's border, its weight and the radius of the canal's wall, mm.

    Rays run at even angles from the back. A weight of 0: no fluid is seen there, so no border.
    """
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
    step = np.maximum(levels.fluid - levels.cord, 1e-6)[:, None, None]
    share = np.clip((signal - levels.cord[:, None, None]) / step, 0.0, 1.0)  # 0 cord and wall, 1 fluid
    heard = distance <= wall[..., None] + BEYOND_MM
    radius, weight = np.zeros(wall.shape), np.zeros(wall.shape)
    for n in range(RAYS):
        blur_mm = np.hypot(
            np.cos(angle[n]) * BLUR_PIXELS * spacing_mm[2], np.sin(angle[n]) * BLUR_SLICES * spacing_mm[0]
        )
        radius[:, n], gain = _best_step(share[:, n], heard[:, n], distance, float(blur_mm))
        weight[:, n] = np.where(gain < MIN_GAIN, 0.0, np.minimum(gain, 1.0))
    return radius, weight, wall


def _best_step(share: Array, heard: NDArray[np.bool_], distance: Array, blur_mm: float) -> tuple[Array, Array]:
    """Where the blurred layer of fluid that fits each profile (row, distance) best begins, and the error it explains.

    The layers of LAYERS_MM begin every STEP_MM / 2. Both results are (row,): mm, and squared steps.
    """
    begin = np.arange(LEAST_MM, REACH_MM - STEP_MM, STEP_MM / 2)
    width = np.array(LAYERS_MM)[:, None, None]
    rise = special.ndtr((distance - begin[:, None]) / blur_mm)
    fall = special.ndtr((distance - begin[:, None] - width) / blur_mm)
    layers = (rise - fall).reshape(-1, len(distance))
    known = share * heard
    gain = 2 * known @ layers.T - heard @ np.square(layers).T  # fall of the squared error against no layer at all
    best = gain.argmax(1)
    return np.tile(begin, len(LAYERS_MM))[best], np.take_along_axis(gain, best[:, None], 1)[:, 0]


def _smooth_radii(radius: Array, weight: Array, row_mm: float) -> Array:
    """(row, RAYS) smooth along the rows and, with HARMONICS only, around; without a border as the cord beside it."""
    far, _ = _weighted_mean(radius, weight, LONG_MM / row_mm)
    far = _around(far, weight=np.where(np.isfinite(far), 1.0, 0.0))
    weight = np.where(np.abs(radius - far) > OUTLIER_MM, 0.1 * weight, weight)
    near, heard = _weighted_mean(radius, weight, RADIUS_MM / row_mm)
    mixed = np.where(np.isfinite(near), (heard * near + FAINT * far) / (heard + FAINT), far)
    return _around(mixed, heard + FAINT)


def _weighted_mean(values: Array, weight: Array, sigma: float) -> tuple[Array, Array]:
    """Gaussian mean of `values` (row, m) along the rows, NaN where no weight is near, and the mean weight."""
    total = ndimage.gaussian_filter1d(weight, sigma, axis=0, mode="nearest")
    sums = ndimage.gaussian_filter1d(values * weight, sigma, axis=0, mode="nearest")
    return np.where(total > 1e-6, sums / np.maximum(total, 1e-6), np.nan), total


def _around(radius: Array, weight: Array) -> Array:
    """`radius` (row, RAYS) as the least-squares sum of the waves HARMONICS; rows without any weight are 0."""
    angle = 2 * np.pi * np.arange(RAYS) / RAYS
    waves = np.stack([f(n * angle) for n in HARMONICS for f in ((np.cos, np.sin) if n else (np.cos,))], 1)
    known = np.where(weight > 0, radius, 0.0)
    mean = (weight * known).sum(1) / np.maximum(weight.sum(1), 1e-9)
    normal = np.einsum("rm,mi,mj->rij", weight, waves, waves) + FAINT * np.eye(waves.shape[1])
    right = np.einsum("rm,rm,mi->ri", weight, known - mean[:, None], waves)
    return np.asarray(mean[:, None] + np.linalg.solve(normal, right[..., None])[..., 0] @ waves.T)


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
