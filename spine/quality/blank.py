"""Parts of the image without signal (a blacked-out or filled band, a void about metal) and what they take away."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spine.anatomy import CANAL_LABEL, LAST_VERTEBRA, PARTIAL_OFFSET, Structure
from spine.quality.corridor import corridor_of
from spine.records import Doubt, LabelledSpine, Volume

PLANES_READ = 15  # slices looked at, evenly over those that hold a labelled structure
SMOOTH_PX = 5  # noise is averaged over squares of this side before signal is told from none
BODIES, DISCS = "the body of", "the disc"
WHOLE_CANAL = "canal"  # subject of the measurements that are taken over all levels in view
FILLED_RANGE = 1e-3  # of bright tissue: the noise of any real picture varies more from voxel to voxel


def blank_doubts(spine: LabelledSpine, volume: Volume, noise: float, limits: Mapping[str, float]) -> tuple[Doubt, ...]:
    """Doubts for every body and disc that lies in or at a part of the image without signal, and for the whole canal.

    Args:
        spine: labelled instances on the grid of `volume`.
        volume: the image, (slice, down, back), scaled so that bright tissue is about 1.
        noise: standard deviation of the image's noise on the same scale.
        limits: those of resources/thresholds.json.
    """
    slices = np.flatnonzero((spine.mask > 0).any((1, 2)))
    if not slices.size:
        return ()
    planes = np.unique(np.linspace(slices[0], slices[-1], PLANES_READ).round().astype(int))
    blank = blank_map(volume, planes, noise, limits)
    gone_mm2 = _gone_mm2(spine, volume, planes, limits)
    reach = max(1, round(limits["blank_reach_mm"] / volume.spacing_mm[1]))
    discs = spine.mask[planes]
    bodies = _bodies(discs, spine.structures[planes])
    names = {(BODIES, body.label): body.name for body in spine.vertebrae}
    names |= {(DISCS, disc.label): disc.level for disc in spine.discs}
    found = []
    for kind, labels in ((BODIES, bodies), (DISCS, discs)):
        for label, box in enumerate(ndimage.find_objects(labels), start=1):
            if box is None or (kind, label) not in names:
                continue
            name = names[kind, label]
            inside, beside = _blank_shares(blank, labels, label, box, reach)
            if inside > limits["blank_share_max"]:
                reason = f"the image holds no signal over {100 * inside:.0f} % of {kind} {name}"
                found.append(Doubt(name, None, f"{reason} (blacked out, filled or void)"))
            elif beside > limits["blank_share_max"]:
                touched = "vertebra" if kind == BODIES else None
                found.append(Doubt(name, touched, f"the image holds no signal right above or below {kind} {name}"))
            elif (gone := gone_mm2[box[0], box[1]].sum(1).max()) > limits["blank_corridor_mm2"]:
                place = f"over {gone:.0f} mm2 of the spine beside {kind} {name}"
                found.append(Doubt(name, None, f"the image holds one value only {place} (blacked out or filled)"))
    found.sort(key=lambda doubt: doubt.structure is not None)  # what is lost whole gives the reason first
    # The narrowest place of the whole canal may be where the image is blank, or an artefact of it.
    return (*found, Doubt(WHOLE_CANAL, None, found[0].reason)) if found else ()


def blank_map(volume: Volume, planes: NDArray[np.intp], noise: float, limits: Mapping[str, float]) -> NDArray[np.bool_]:
    """(plane, down, back): where a whole square of `blank_square_mm` holds no signal, or the same signal everywhere.

    Cortical bone, a worn disc and gas are as dark, but not over such a square.
    """
    array = volume.array[planes]
    floor = max(limits["blank_level"], limits["blank_noise_factor"] * noise)
    dark = ndimage.uniform_filter(array, (1, SMOOTH_PX, SMOOTH_PX)) < floor
    opened = _opened(dark | _filled(array), volume, limits["blank_square_mm"])
    _, high, wide = volume.content
    opened[:, high:], opened[:, :, wide:] = False, False  # padding is no part of the image
    return opened


def _gone_mm2(
    spine: LabelledSpine, volume: Volume, planes: NDArray[np.intp], limits: Mapping[str, float]
) -> NDArray[np.float64]:
    """(plane, down): area of the spine's corridor in each row that holds the same value over a whole square.

    Vessels, bowel gas and worn discs are dark, but their noise is not taken away.
    """
    _, high, wide = volume.content
    array = volume.array[planes]
    # Fluid may be as bright as the stored numbers go: only within an outline is the largest value a fault.
    cut_off = array >= array.max() - FILLED_RANGE
    same = _opened(_filled(array) & ~cut_off, volume, limits["blank_square_mm"])
    same[:, high:], same[:, :, wide:] = False, False
    corridor = corridor_of(spine, volume, limits["blank_reach_mm"])
    return np.asarray((same & corridor).sum(2) * volume.spacing_mm[1] * volume.spacing_mm[2], np.float64)


def _filled(array: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(plane, down, back): where a voxel and its neighbours have the same value."""
    around = (1, 3, 3)
    return np.asarray(ndimage.maximum_filter(array, around) - ndimage.minimum_filter(array, around) < FILLED_RANGE)


def _opened(inside: NDArray[np.bool_], volume: Volume, square_mm: float) -> NDArray[np.bool_]:
    """`inside` without what a square of this side does not fit into."""
    side = [max(1, round(square_mm / mm)) for mm in volume.spacing_mm[1:]]
    return np.asarray(ndimage.grey_opening(inside.astype(np.uint8), (1, *side)) > 0)


def _blank_shares(
    blank: NDArray[np.bool_], labels: NDArray[np.uint8], label: int, box: tuple[slice, ...], reach: int
) -> tuple[float, float]:
    """Shares of blank voxels in `label`, and in the `reach` rows right above or right below it (the larger)."""
    rows = slice(max(box[1].start - reach, 0), box[1].stop + reach)
    at = (box[0], rows, box[2])
    inside, void = labels[at] == label, blank[at]
    beside = 0.0
    for there, here in ((slice(reach, None), slice(None, -reach)), (slice(None, -reach), slice(reach, None))):
        moved = np.zeros_like(inside)
        moved[:, there] = inside[:, here]
        moved &= ~inside
        beside = max(beside, float(void[moved].mean()) if moved.any() else 0.0)
    return float(void[inside].mean()), beside


def _bodies(mask: NDArray[np.uint8], structures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Vertebra label 1..24 of the bodies, whole or cut by the border, without their arches; C1 is its arch."""
    label = np.where((mask > CANAL_LABEL) & (mask <= PARTIAL_OFFSET + LAST_VERTEBRA), mask - PARTIAL_OFFSET, mask)
    solid = np.isin(structures, (Structure.BODY, Structure.C2, Structure.C1))
    return np.where(solid & (label <= LAST_VERTEBRA), label, 0).astype(np.uint8)
