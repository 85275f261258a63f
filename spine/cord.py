"""Stage 5c: the cord of the neck, outlined on cross-sections of the canal by a network of its own.

The segmenter knows where the canal lies; its sagittal slices are too thick to show how wide a cord is. Sections of the
stored series at the rows' height, about the middle of that canal, go through a network that has learnt cords of every
shape, place and contrast from synthetic ones. The cord is never wider than the canal; where the network does not
clearly tell it from what lies around, none is told.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spine.anatomy import T1_LABEL, T12_LABEL, Structure
from spine.errors import ModelError
from spine.geometry import Array
from spine.records import CordMap, LabelledSpine, Series, Volume
from spine.runners import Runner
from spine.sections import ROW_MM, ROWS_BESIDE, STEP_MM, cord_at, cut_sections, leaves, places_mm, sampled

CLASSES, FLUID, CORD = 3, 1, 2  # neither, fluid and roots, cord
COURSE_MM = 4.0  # standard deviation of the smoothing of the canal's middle, along the canal
LEAST_PIXELS = 12  # of canal in a row
LEAST_SECTIONS = 8
ROWS_MM = 0.8  # standard deviation of the smoothing of the probabilities, along the canal: a disc presses on 5 mm of it
LEAST_MM2 = 15.0  # a section with less cord tells none; healthy: 47 to 77 mm2 in the neck
LEAST_PROB = 0.8  # mean probability inside the outline, below which a section tells no cord
# A network that has learnt what cords look like draws one where none is seen. So the fluid must differ from the cord by
# so many standard deviations of the noise: 12 and more at the bodies of four volunteers' necks, up to 5.0 in a
# volunteer's pictures without contrast or with the fluid painted over.
LEAST_STEP = 6.0
LEVEL_SECTIONS = 13  # 21 mm: the step is the median over so much of the canal; where a disc presses there is no fluid
FLUID_PERCENTILE = 85.0  # of the fluid's signal: where it moves, some of it is dark
RING_PIXELS, FEW_PIXELS = 3, 6  # fluid is looked at so near to the cord: the wall of the canal is something else
ROW_PLANE = ndimage.generate_binary_structure(3, 1) & np.array([False, True, False])[:, None]  # neighbours in a row


def read_cord(series: Series, volume: Volume, spine: LabelledSpine, runner: Runner) -> LabelledSpine:
    """`spine` with the cord outlined down to T12, where a neck is in view; without a neck as it is.

    Args:
        series: the stored series that `volume` was made from.
        volume: the series on the model's grid.
        spine: labels; CANAL and CORD together are the canal, and nothing outside it changes.
        runner: the network of the cord.

    Raises:
        ModelError: the network answers with another number of classes.
    """
    if not any(v.label >= T1_LABEL for v in spine.vertebrae):
        return spine
    structures, cord = outline_cord(series, volume, spine.structures, _end(spine, volume), runner)
    return replace(spine, structures=structures, cord=cord)


def outline_cord(
    series: Series, volume: Volume, structures: NDArray[np.uint8], end: int, runner: Runner
) -> tuple[NDArray[np.uint8], CordMap | None]:
    """`structures` with the cord above row `end` drawn anew in the canal, and the map it comes from.

    The map is None, and nothing changes, where too little canal is in view. Arguments and errors as read_cord.
    """
    tube = _without_holes(np.isin(structures, (Structure.CANAL, Structure.CORD)))
    tube[:, end:] = False
    middle_mm = canal_course(tube, volume.spacing_mm)
    if len(middle_mm) < LEAST_SECTIONS:
        return structures, None
    stored, to_index = series.array.transpose(2, 1, 0), _to_index(volume)
    sections = cut_sections(stored, to_index, middle_mm)
    answer = runner(sections)
    if answer.shape[1] != CLASSES:
        raise ModelError(f"the network of the cord answers with {answer.shape[1]} classes; {CLASSES} are expected.")
    probability = ndimage.gaussian_filter1d(answer[:, CORD], ROWS_MM / ROW_MM, axis=0, mode="nearest")
    to_grid = np.concatenate((np.diag(1 / np.array(volume.spacing_mm)), np.zeros((3, 1))), 1)
    canal = sampled(tube.astype(np.float32), to_grid, places_mm(middle_mm)) >= 0.5
    told = _told(np.where(canal, probability, np.float32(0)))
    told[~_differ(sections, canal & (answer[:, FLUID] >= 0.5), told >= 0.5)] = 0
    cut = leaves(told >= 0.5, stored.shape, to_index, middle_mm)
    told[cut] = 0
    cord = CordMap(told, cut, middle_mm, STEP_MM, runner.name)
    return _drawn(structures, tube, cord, volume.spacing_mm), cord


def _end(spine: LabelledSpine, volume: Volume) -> int:
    """The first row below the cord: at T12, where that is in view."""
    return int(min((v.centre[1] for v in spine.vertebrae if v.label <= T12_LABEL), default=volume.content[1]))


def _without_holes(tube: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`tube` (slice, row, back) with what it surrounds in the plane of a row."""
    box = ndimage.find_objects(tube.astype(np.uint8))
    if not box:
        return tube
    out = tube.copy()
    out[box[0]] = ndimage.binary_fill_holes(tube[box[0]], ROW_PLANE)
    return out


def canal_course(tube: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> Array:
    """(section, 3): middle of the canal (slice, down, back) in mm, ROW_MM apart from its first to its last row."""
    count = tube.sum((0, 2))
    rows = np.flatnonzero(count >= LEAST_PIXELS)
    if not len(rows):
        return np.zeros((0, 3))
    across = (tube.sum(2).T @ np.arange(tube.shape[0]))[rows] / count[rows] * spacing_mm[0]
    back = (tube.sum(0) @ np.arange(tube.shape[2]))[rows] / count[rows] * spacing_mm[2]
    every = np.arange(rows[0], rows[-1] + 1)
    smooth = [
        ndimage.gaussian_filter1d(np.interp(every, rows, v), COURSE_MM / spacing_mm[1], mode="nearest")
        for v in (across, back)
    ]
    down = np.arange(every[0] * spacing_mm[1], every[-1] * spacing_mm[1] + 1e-6, ROW_MM)
    return np.stack([np.interp(down, every * spacing_mm[1], smooth[0]), down,
                     np.interp(down, every * spacing_mm[1], smooth[1])], 1)  # fmt: skip


def _to_index(volume: Volume) -> Array:
    """(3, 4): millimetres (slice, down, back, 1) of the model's grid to stored indices (i, j, k)."""
    to_lps = volume.affine @ np.diag([*(1 / s for s in volume.spacing_mm), 1.0])
    return np.asarray((np.linalg.inv(volume.source.affine) @ to_lps)[:3])


def _told(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """`probability` (section, across, back) of the largest piece of each section, where it is clearly told."""
    kept = np.zeros_like(probability)
    for out, section in zip(kept, probability, strict=True):
        pieces, count = ndimage.label(section >= 0.5)
        if not count:
            continue
        inside = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
        if inside.sum() * STEP_MM**2 >= LEAST_MM2 and section[inside].mean() >= LEAST_PROB:
            own = ndimage.binary_dilation(inside, iterations=2)
            out[own] = section[own]
    return kept


def _differ(sections: NDArray[np.float32], fluid: NDArray[np.bool_], cord: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(section,): whether `fluid` (section, across, back) differs from `cord` in the picture, beyond its noise."""
    own, above, below = (sections[:, ROWS_BESIDE.index(n)] for n in (0, -1, 1))
    pixel = np.ones((1, 3, 3), bool)
    core = ndimage.binary_erosion(cord, pixel)
    sac = ndimage.binary_erosion(fluid | cord, pixel)  # its wall is blurred into what lies beyond
    ring = fluid & sac & ~ndimage.binary_dilation(cord, pixel) & ndimage.binary_dilation(cord, pixel, RING_PIXELS)
    steps = np.full(len(sections), np.nan)
    for n in np.flatnonzero((core.sum((1, 2)) >= FEW_PIXELS) & (ring.sum((1, 2)) >= FEW_PIXELS)):
        usual = np.median(own[n][core[n]])
        # Beyond the ends of the canal the last section stands in for the missing one: no difference, no noise.
        noise = 1.0484 * max(np.median(np.abs(own[n] - other[n])[core[n]]) for other in (above, below))
        ends = np.percentile(own[n][ring[n]], (100 - FLUID_PERCENTILE, FLUID_PERCENTILE))
        steps[n] = np.abs(ends - usual).max() / max(noise, 1e-3)
    known = np.flatnonzero(np.isfinite(steps))
    if not len(known):
        return np.zeros(len(sections), bool)
    full = np.interp(np.arange(len(steps)), known, steps[known])
    return np.asarray(ndimage.median_filter(full, LEVEL_SECTIONS, mode="nearest") >= LEAST_STEP)


def _drawn(
    structures: NDArray[np.uint8], tube: NDArray[np.bool_], cord: CordMap, spacing_mm: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """`structures` with CORD where the map tells it inside `tube`, CANAL in the rest of `tube`."""
    voxels = np.argwhere(tube)
    out = structures.copy()
    out[tuple(voxels.T)] = np.where(
        cord_at(cord, voxels * np.array(spacing_mm)) >= 0.5, np.uint8(Structure.CORD), np.uint8(Structure.CANAL)
    )
    return out
