"""A T1-weighted series beside the T2: its signal at the pixels of a patch, found through the geometry of both.

The patient may have moved between the series. Bodies are brighter than discs and fluid on T1, so the shift of a few
pixels that makes them stand out most is taken; where they do not stand out, the series is not used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spine.geometry import Array
from spine.records import Series

MARGIN_PIXELS = 4  # of a patch: the patient is looked for this far away
OUTSIDE_VOXELS = 0.75  # how far outside the outermost voxel centre a place still counts as covered
MIN_COVERED = 0.8  # share of a patch
# Bodies over discs and fluid, as a share of the marrow's signal; below it this is no T1, or the patient moved far.
MIN_CONTRAST = 0.08
NOT_BRIGHTER = "in the second series the bodies are not brighter than disc and fluid: not T1-weighted, or moved away"
MAX_UNLIKE = 0.5  # share of the compared levels that do not match: from here on no level is trusted
UNLIKE = "the T1 series does not match the T2: it may be of another patient, is not T1-weighted or has moved"

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]


def second_plane(series: Series, places_lps: Array, bright: Mask, dark: Mask) -> Plane | str:
    """Signal of `series` at a patch, or why it is not used.

    Args:
        series: T1-weighted, of the same patient and session.
        places_lps: (rows + 2 m, columns + 2 m, 3) patient millimetres of the patch and MARGIN_PIXELS = m around it.
        bright: (rows, columns) bodies.
        dark: (rows, columns) disc and canal.

    Returns:
        (rows, columns) in the stored unit of `series`.
    """
    wide = _sampled(series, places_lps)
    if isinstance(wide, str):
        return wide
    if not bright.any() or not dark.any():
        return "no bodies beside the disc to compare the T1 series with"
    rows, columns = bright.shape
    best, best_contrast = wide[:rows, :columns], -np.inf
    middle = MARGIN_PIXELS
    for down in range(2 * middle + 1):
        for across in range(2 * middle + 1):
            plane = wide[down : down + rows, across : across + columns]
            # a longer way must pay: the patient lies mostly still
            way = 0.01 * float(np.hypot(down - middle, across - middle))
            marrow = float(plane[bright].mean())
            contrast = (marrow - float(plane[dark].mean())) / max(marrow, 1e-6) - way
            if contrast > best_contrast:
                best, best_contrast = plane, contrast
    if best_contrast < MIN_CONTRAST:
        return NOT_BRIGHTER
    return best


def is_unlike(missing: Sequence[str | None]) -> bool:
    """Whether a second series belongs to no level, from why it is not used at each (None where it could be used).

    At a level or two the bodies of a stranger lie by chance where those of the patient do.
    """
    unlike = sum(reason == NOT_BRIGHTER for reason in missing)
    compared = unlike + sum(reason is None for reason in missing)
    return compared > 0 and unlike >= MAX_UNLIKE * compared


def _sampled(series: Series, places_lps: Array) -> Plane | str:
    to_index = np.linalg.inv(series.grid.affine)
    index = places_lps @ to_index[:3, :3].T + to_index[:3, 3]  # (..., ijk)
    last = np.array(series.grid.size) - 1.0
    covered = ((index > -OUTSIDE_VOXELS) & (index < last + OUTSIDE_VOXELS)).all(-1)
    if covered.mean() < MIN_COVERED:
        return "the T1 series does not cover this level"
    index = np.clip(index, 0.0, last)
    low = np.floor(index.min((0, 1))).astype(int)
    high = np.ceil(index.max((0, 1))).astype(int) + 1
    part = series.array[low[2] : high[2], low[1] : high[1], low[0] : high[0]].astype(np.float32)
    place = np.moveaxis(index - low, -1, 0)[::-1]  # (kji, rows, columns)
    return np.asarray(ndimage.map_coordinates(part, place, order=1, mode="nearest"), np.float32)
