"""A picture and its mask from disk, on the model's in-plane grid; what cannot be trusted is refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from lab.train import sources
from lab.train.sources import UnusableData

SAGITTAL = "PIL"  # axes (i, j, k) run to the back, to the feet and to the left: numpy (slice, down, back)
# Half a pixel over a picture of 500 pixels: more misplaces labels.
SPACING_SHARE = 1e-3
COSINE = 2e-3
# nnU-Net's own check only warns of another origin. Up to a voxel it is a matter of rounding, or of corners against
# centres, and is ignored; more may be a mask of another field of view.
ORIGIN_VOXELS = 1.0


@dataclass(frozen=True)
class Pair:
    """`volume` float16, scaled, and `labels` in their own integers, (slice, down, back), square pixels.

    `values` are the labels that the file holds: a small region may be lost between the pixels of the new grid.
    """

    volume: NDArray[np.float16]
    labels: NDArray[np.integer]
    values: frozenset[int]
    slice_mm: float
    origin_ignored: bool


def read_pair(image: Path, mask: Path, pixel_mm: float) -> Pair:
    """The picture `image` with its labels, at `pixel_mm` in the sagittal plane.

    Raises:
        UnusableData: a file cannot be read as a volume, holds what is no number or no whole label, has pixels that are
            not square, or the mask's size, spacing, direction or origin is not that of the picture.
    """
    picture, drawn = _read(image), _read(mask)
    origin_ignored = _check_geometry(image, picture, mask, drawn)
    picture, drawn = (SimpleITK.DICOMOrient(v, SAGITTAL) for v in (picture, drawn))
    back_mm, down_mm, slice_mm = picture.GetSpacing()
    if abs(back_mm - down_mm) > 0.01 * back_mm:
        raise UnusableData(f"{image}: pixels of {back_mm:.4g} x {down_mm:.4g} mm; resample to square pixels first.")
    intensities = SimpleITK.GetArrayFromImage(picture).astype(np.float32)
    if not np.isfinite(intensities).all():
        raise UnusableData(f"{image}: holds NaN or infinite intensities.")
    volume = np.stack([sources.resample(p, back_mm, pixel_mm) for p in intensities])
    labels = _whole(mask, SimpleITK.GetArrayFromImage(drawn))
    values = frozenset(np.unique(labels).tolist())
    labels = np.stack([sources.resample_labels(p, back_mm, pixel_mm) for p in labels])
    return Pair(sources.scaled(volume), labels, values, float(slice_mm), origin_ignored)


def _read(file: Path) -> SimpleITK.Image:
    try:
        image = SimpleITK.ReadImage(str(file))
    except RuntimeError as error:
        raise UnusableData(f"{file}: cannot be read; it is missing, cut off or no image.") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise UnusableData(f"{file}: is no volume of one channel, but of size {image.GetSize()}.")
    if "complex" in image.GetPixelIDTypeAsString():
        raise UnusableData(f"{file}: holds complex numbers.")
    return image


def _check_geometry(image: Path, picture: SimpleITK.Image, mask: Path, drawn: SimpleITK.Image) -> bool:
    """Refuse a mask that lies elsewhere than its picture; true where the origin differs by less than a voxel."""
    if picture.GetSize() != drawn.GetSize():
        raise UnusableData(f"{mask}: size {drawn.GetSize()}, its image has {picture.GetSize()}.")
    spacing = np.array(picture.GetSpacing())
    if np.any(np.abs(np.array(drawn.GetSpacing()) - spacing) > SPACING_SHARE * spacing):
        raise UnusableData(f"{mask}: spacing {_short(drawn.GetSpacing())} mm, its image has {_short(spacing)} mm.")
    if np.abs(np.subtract(drawn.GetDirection(), picture.GetDirection())).max() > COSINE:
        raise UnusableData(f"{mask}: its axes point elsewhere than those of {image.name}.")
    apart_mm = np.linalg.norm(np.subtract(drawn.GetOrigin(), picture.GetOrigin()))
    if apart_mm > ORIGIN_VOXELS * spacing.min():
        raise UnusableData(
            f"{mask}: origin {_short(drawn.GetOrigin())} mm, {apart_mm:.3g} mm from that of its image; if the voxels "
            "do lie on each other, copy the image's header into the mask."
        )
    return bool(apart_mm > SPACING_SHARE * spacing.min())


def _whole(mask: Path, labels: NDArray[np.generic]) -> NDArray[np.integer]:
    """Labels in their own integer type; whole numbers stored as floats become integers."""
    if np.issubdtype(labels.dtype, np.integer):
        return labels
    if not np.isfinite(labels).all() or np.any(labels != np.round(labels)):
        raise UnusableData(f"{mask}: holds values that are no whole numbers; labels must not be interpolated.")
    return labels.astype(np.int64)


def _short(values: object) -> tuple[float, ...]:
    return tuple(round(float(v), 4) for v in np.asarray(values))
