"""The surroundings of one disc in its own frame: end plates level, front on the left, fixed size in millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spine.anatomy import DISC_OFFSET, FIRST_VERTEBRA, PARTIAL_OFFSET, Structure
from spine.geometry import FRONT, Array, to_lps, unit, up_of
from spine.grade.second import MARGIN_PIXELS, second_plane
from spine.records import Disc, LabelledSpine, Series, Volume

ROWS, COLUMNS = 48, 64  # up to down, front to back
PIXEL_MM = 0.8
BEHIND_MM = 8.0  # the middle of the patch lies this far behind the middle of the disc, so that the canal is in it
SLAB_HALF_MM = 2.0  # thin slices are averaged to the thickness of the slices that grades were learnt from
CANAL_REACH_MM = 10.0  # rows above and below a disc that say which slice is its middle one
FLUID_REACH_MM = 20.0  # rows above and below a disc whose canal says how bright fluid is
FLUID_PERCENTILE = 90.0
MIN_DISC_PIXELS = 25  # of the middle slice: fewer do not show an axis
MIN_PIXELS = 20  # of marrow or canal, for a reference signal
FLUID_BRIGHT_RATIO = 1.2  # fluid over marrow: above on T2 and STIR, below on T1; as for measurements

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Patch:
    """One disc and what lies around it, all (ROWS, COLUMNS) at PIXEL_MM."""

    image: Plane  # intensity of the volume; 0 outside the image
    disc: Mask  # this disc
    upper: Mask  # body above
    lower: Mask  # body below (S1 below L5)
    canal: Mask
    marrow: float  # median signal of the bodies above and below; NaN where unknown
    fluid: float  # signal of the canal's fluid at the same height; NaN where unknown
    confidence: float  # of the disc
    disc_depth_mm: float
    t1: Plane | None = None  # signal of the second, T1-weighted series
    t1_missing: str | None = None  # why a second series that was given is not used here


def cut_patch(volume: Volume, spine: LabelledSpine, disc: Disc, second: Series | None = None) -> Patch | str:
    """The patch of `disc`, or the reason why there is none; `second` is a T1-weighted series beside `volume`."""
    slices = _slices(volume, spine, disc)
    label = spine.mask[slices]
    own = (label == disc.label).mean(0) >= 0.5
    points = np.argwhere(own) * np.array(volume.spacing_mm[1:])
    if len(points) < MIN_DISC_PIXELS:
        return f"the disc {disc.level} is not seen on the middle slice"
    if _touches_edge(own, volume):
        return f"the disc {disc.level} is cut by the edge of the image"
    front = _axis(points)
    along = points @ front
    depth_mm = float(np.ptp(np.percentile(along, (1, 99))))
    middle = points.mean(0) + front * (np.percentile(along, (1, 99)).mean() - along.mean())
    place = _places(middle, front) / np.array(volume.spacing_mm[1:])[:, None, None]
    image = volume.array[slices].mean(0)
    upper, lower = _bodies(spine, slices, disc.label - DISC_OFFSET)
    structures = spine.structures[slices]
    canal = np.isin(structures, (Structure.CANAL, Structure.CORD)).mean(0) >= 0.5
    near = np.abs(np.arange(image.shape[0]) * volume.spacing_mm[1] - middle[0]) <= FLUID_REACH_MM
    fluid = image[near][canal[near]]
    marrow = image[upper | lower]
    masks = {"disc": own, "upper": upper, "lower": lower, "canal": canal}
    seen = {name: _nearest(mask, place) for name, mask in masks.items()}
    t1: Plane | str | None = None
    if second is not None:
        wide = _places(middle, front, MARGIN_PIXELS) / np.array(volume.spacing_mm[1:])[:, None, None]
        slice_at = np.full(wide.shape[1:], (slices.start + slices.stop - 1) / 2)
        places_lps = to_lps(volume.affine, np.stack([slice_at, *wide], -1))
        t1 = second_plane(second, places_lps, seen["upper"] | seen["lower"], seen["disc"] | seen["canal"])
    return Patch(
        image=ndimage.map_coordinates(image, place, order=1, mode="constant").astype(np.float32),
        **seen,
        marrow=float(np.median(marrow)) if marrow.size >= MIN_PIXELS else np.nan,
        fluid=float(np.percentile(fluid, FLUID_PERCENTILE)) if fluid.size >= MIN_PIXELS else np.nan,
        confidence=disc.confidence,
        disc_depth_mm=depth_mm,
        t1=None if isinstance(t1, str) else t1,
        t1_missing=t1 if isinstance(t1, str) else None,
    )


def _slices(volume: Volume, spine: LabelledSpine, disc: Disc) -> slice:
    """The slices about the middle of the canal at the height of `disc`."""
    reach = int(CANAL_REACH_MM / volume.spacing_mm[1])
    row = round(disc.centre[1])
    rows = slice(max(row - reach, 0), row + reach + 1)
    count = np.isin(spine.structures[:, rows], (Structure.CANAL, Structure.CORD)).sum((1, 2))
    middle = float((count * np.arange(len(count))).sum() / count.sum()) if count.sum() else disc.centre[0]
    half = max(0.5, SLAB_HALF_MM / volume.spacing_mm[0])
    low = max(0, int(np.ceil(middle - half)))
    return slice(low, max(low + 1, min(volume.content[0], int(np.floor(middle + half - 1e-6)) + 1)))


def _touches_edge(own: Mask, volume: Volume) -> bool:
    rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
    _, high, wide = volume.content
    return bool(rows[0] == 0 or rows[-1] >= high - 1 or columns[0] == 0 or columns[-1] >= wide - 1)


def _axis(points: Array) -> Array:
    """Unit vector (2,) along the disc to its front: the first principal axis of its pixels (n, 2)."""
    _, _, axes = np.linalg.svd(points - points.mean(0), full_matrices=False)
    front: Array = unit(np.asarray(axes[0], np.float64))
    return front if front @ FRONT >= 0 else -front


def _places(middle: Array, front: Array, margin: int = 0) -> Array:
    """(2, ROWS + 2 margin, COLUMNS + 2 margin): in-plane millimetres of every pixel of a patch and a margin."""
    down = -up_of(front)
    rows = (np.arange(-margin, ROWS + margin) - (ROWS - 1) / 2) * PIXEL_MM
    columns = (np.arange(-margin, COLUMNS + margin) - (COLUMNS - 1) / 2) * PIXEL_MM + BEHIND_MM
    return np.asarray(middle[:, None, None] + down[:, None, None] * rows[:, None] - front[:, None, None] * columns)


def _bodies(spine: LabelledSpine, slices: slice, k: int) -> tuple[Mask, Mask]:
    """Bodies above and below the disc under vertebra `k` on the averaged slice, (down, back)."""
    label, structures = spine.mask[slices], spine.structures[slices]
    solid = np.isin(structures, (Structure.BODY, Structure.C2))
    upper = solid & np.isin(label, (k, PARTIAL_OFFSET + k))
    if k == FIRST_VERTEBRA:
        lower = structures == Structure.S1
    else:
        lower = solid & np.isin(label, (k - 1, PARTIAL_OFFSET + k - 1))
    return upper.mean(0) >= 0.5, lower.mean(0) >= 0.5


def _nearest(mask: Mask, place: Array) -> Mask:
    sampled = ndimage.map_coordinates(mask.astype(np.float32), place, order=1, mode="constant")
    return np.asarray(sampled >= 0.5)
