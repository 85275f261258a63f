"""What can be measured of an input image without knowing what it shows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spine.records import Series, Volume

Planes = NDArray[np.float32]  # (slice, down, back), scaled so that bright tissue is about 1

PLANES_READ = 5  # slices looked at, evenly over the stack
BODY_LEVEL = 0.08  # of bright tissue: darker voxels are air, void or cortical bone; as spine.conform counts the body
STORED_SAMPLES = 200_000  # stored voxels looked at for their grey levels
HOUNSFIELD_TISSUE = -500.0  # below it lies air on the Hounsfield scale, where air is -1000 by definition
SPIKE = 20.0  # the largest value over the 99.9th percentile, from which it is a fault of a few voxels
# Immerkaer 1996, Comput Vis Image Underst 64:300, doi 10.1006/cviu.1996.0060: mask blind to planes and edges.
NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
FINE_PX, COARSE_PX = 0.7, 2.1  # scales of the two gradients whose ratio is the sharpness
COARSE_STEP = 4  # pixels: neighbouring slices are compared on every fourth
EDGE_NOISE = 0.02  # least change across a border that is told from none


def image_features(series: Series, volume: Volume) -> dict[str, float]:
    """Name -> value of `series` as stored and as `volume` (slice, down, back); quantities end in their unit.

    `noise`: standard deviation relative to bright tissue (Immerkaer 1996). `sharpness`: 99th percentile of the gradient
    at 0.7 pixels over that at 2.1 (1: no fine detail). `bias`: largest absolute log ratio of tissue signal between
    opposite thirds. `edge_ratio`: change across opposite borders over change between two far lines (small: fold-over
    or a cut body that continues). `void_share`: dark voxels closed in by tissue. `slice_correlation`: the smallest
    between neighbouring slices, 1 for a single slice.
    """
    high, wide = volume.content[1:]
    return {
        "height_mm": high * volume.spacing_mm[1],
        "depth_mm": wide * volume.spacing_mm[2],
        "thickness_mm": volume.array.shape[0] * volume.spacing_mm[0],
        "slice_mm": volume.spacing_mm[0],
        "pixel_mm": max(series.grid.spacing_mm[axis] for axis in volume.axes[1:]),
        "oblique_deg": oblique_deg(volume),
        **plane_features(volume),
        **_stored_features(series),
    }


def plane_features(volume: Volume, part: slice = slice(None)) -> dict[str, float]:
    """Of image_features what is measured on planes: those of the slices `part`, all of them unless told."""
    high, wide = volume.content[1:]
    slab = volume.array[part, :high, :wide]
    picked = np.unique(np.linspace(0, slab.shape[0] - 1, PLANES_READ).round().astype(int))
    planes = slab[picked]
    body = planes > BODY_LEVEL
    return {
        "dark_share": 1.0 - float(body.mean()),
        "median_level": float(np.median(planes)),
        "noise": _noise(planes, body),
        "sharpness": _sharpness(planes),
        "contrast": float(planes[body].std()) if body.any() else 0.0,
        "bias": _bias(planes, body),
        "edge_ratio": min(_edge_ratio(planes, 1), _edge_ratio(planes, 2)),
        "void_share": _void_share(body),
        "slice_correlation": _slice_correlation(slab),
    }


def oblique_deg(volume: Volume) -> float:
    """Angle between the slice axis and the patient's left-right axis, 0..90 degrees."""
    axis = volume.affine[:3, 0]
    return float(np.degrees(np.arccos(min(1.0, abs(axis[0]) / max(float(np.linalg.norm(axis)), 1e-9)))))


def _stored_features(series: Series) -> dict[str, float]:
    """Stored grey levels: how many, share at the top, share as dark as air on CT, median of the others."""
    step = max(1, int(np.ceil((series.array.size / STORED_SAMPLES) ** (1 / 3))))
    sample = np.asarray(series.array[:: 1 if series.array.shape[0] < 32 else step, ::step, ::step]).ravel()
    lowest, highest = float(sample.min()), float(sample.max())
    usual = float(np.percentile(sample, 99.9))
    if highest - lowest > SPIKE * (usual - lowest):  # a few hot voxels are no saturation
        highest = usual
    bright = sample > lowest + 0.05 * (highest - lowest)
    top = np.count_nonzero(sample == sample.max())
    tissue = sample[sample > HOUNSFIELD_TISSUE]
    return {
        "grey_levels": float(len(np.unique(sample))),
        "saturated_share": int(top) / max(int(np.count_nonzero(bright)), 1),
        "below_tissue_share": float(np.mean(sample <= HOUNSFIELD_TISSUE)),
        "tissue_level": float(np.median(tissue)) if tissue.size else HOUNSFIELD_TISSUE,
    }


def _noise(planes: Planes, body: NDArray[np.bool_]) -> float:
    response = np.abs(ndimage.convolve(planes, NOISE_MASK[None], mode="nearest"))
    inside = response[body]
    return float(np.sqrt(np.pi / 2) / 6 * inside.mean()) if inside.size else 0.0


def _sharpness(planes: Planes) -> float:
    fine, coarse = (
        float(np.percentile(np.stack([ndimage.gaussian_gradient_magnitude(plane, scale) for plane in planes]), 99.0))
        for scale in (FINE_PX, COARSE_PX)
    )
    return fine / coarse if coarse > 0 else 0.0


def _bias(planes: Planes, body: NDArray[np.bool_]) -> float:
    found = 0.0
    for axis in (1, 2):
        size = planes.shape[axis]
        ends = (slice(0, size // 3), slice(size - size // 3, size))
        levels = []
        for end in ends:
            part = (slice(None), end) if axis == 1 else (slice(None), slice(None), end)
            inside = planes[part][body[part]]
            levels.append(float(inside.mean()) if inside.size > 100 else 0.0)
        if min(levels) > 0:
            found = max(found, abs(float(np.log(levels[0] / levels[1]))))
    return found


def _edge_ratio(planes: Planes, axis: int) -> float:
    """Mean change from the first to the last line along `axis` over that from the first to the middle one; at most 2.

    Borders without signal say nothing: 2.
    """
    lines = np.moveaxis(planes, axis, 0)
    if len(lines) < 8 or min(lines[1].mean(), lines[-2].mean()) < BODY_LEVEL:
        return 2.0
    across = float(np.abs(lines[1] - lines[-2]).mean())
    usual = float(np.abs(lines[1] - lines[len(lines) // 2]).mean())
    return min(2.0, (across + EDGE_NOISE) / (usual + EDGE_NOISE))


def _void_share(body: NDArray[np.bool_]) -> float:
    coarse = body[:, ::2, ::2]
    closed = np.stack([ndimage.binary_fill_holes(ndimage.binary_closing(plane, iterations=2)) for plane in coarse])
    return int(np.count_nonzero(closed & ~coarse)) / max(int(np.count_nonzero(closed)), 1)


def _slice_correlation(array: Planes) -> float:
    coarse = array[:, ::COARSE_STEP, ::COARSE_STEP].reshape(len(array), -1).astype(np.float64)
    coarse = coarse - coarse.mean(1, keepdims=True)
    lengths = np.linalg.norm(coarse, axis=1)
    found = [
        float(one @ two / (a * b))
        for (one, a), (two, b) in pairwise(zip(coarse, lengths, strict=True))
        if min(a, b) > 1e-6
    ]
    return min(found, default=1.0)
