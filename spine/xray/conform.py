"""A radiograph as it was stored -> the network's canvas, and the way back from the canvas to stored pixels.

The canvas has axes (down, back): superior up, anterior left, bone bright. Which way the patient faces and whether a
film is negated cannot be trusted to a header: the network is asked about several readings. MONOCHROME1 (low values
shown bright) is no reason to turn a film over: the DICOM reader has turned such values over already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spine.errors import UnusableImage
from spine.geometry import Array
from spine.records import Series
from spine.xray.spacing import Spacing, film_spacing

Image = NDArray[np.float32]

MULTIPLE = 32  # canvas sides are multiples of this: the network halves them five times
SCALE_PERCENTILES = (1.0, 99.0)  # of the exposed area -> 0 and 1
SCALE_LIMITS = (-0.2, 1.3)
FLAT_SHARE = 0.08  # of the range of the film: a row or column that varies less lies under the collimator
LOOKED_AT = 256  # rows and columns looked at for the exposed area
MIN_PIXELS, MIN_SIDE_MM = 64, 60.0  # four cervical bodies are 70 mm high
MAX_SIDE_MM = 1300.0  # a film of the whole spine; beyond it the spacing is wrong
MAX_STEP_RATIO = 3.0  # of the two pixel spacings
GUESSED_HEIGHTS_MM = (190.0, 260.0, 350.0)  # of a film without a pixel size: collimated neck, neck, lower back


@dataclass(frozen=True)
class Film:
    """One reading of the film on the canvas. Points on it are (down, back) in mm from its upper left corner."""

    canvas: Image  # (rows, columns), multiples of MULTIPLE, zero beyond `content`
    content: tuple[int, int]  # rows and columns that hold film
    pixel_mm: float
    shown: Image  # the whole film as oriented, not resampled, bone bright
    step_mm: tuple[float, float]  # of `shown`, (down, back)
    spacing: Spacing
    transposed: bool = False  # the stored columns run down
    flips: tuple[bool, bool] = (False, False)  # of (down, back) against the stored axes
    negated: bool = False  # against the values as they were read

    @property
    def facing(self) -> str:
        """'left' or 'right': where the patient's front is on the film as it was stored."""
        return "right" if self.flips[1] else "left"

    def stored(self, points_mm: Array) -> Array:
        """Canvas points (..., 2) in mm -> stored pixels (..., 2) as (row, column), pixel centres at whole numbers."""
        index = np.asarray(points_mm, float) / self.step_mm - 0.5
        for axis in (0, 1):
            if self.flips[axis]:
                index[..., axis] = self.shown.shape[axis] - 1 - index[..., axis]
        return index[..., ::-1] if self.transposed else index


def conform_film(series: Series, pixel_mm: float) -> Iterator[Film]:
    """The readings of `series`, bone bright as it is to be after reading, the left-facing one first of each pixel size.

    A film without a pixel size comes in the sizes that films have. Raises UnusableImage for absurd sizes.
    """
    array, step_mm, transposed, flips = _upright(series)
    spacing = film_spacing(series, step_mm)
    steps = [spacing.step_mm]
    if not spacing.known:
        ratio = spacing.step_mm[1] / spacing.step_mm[0]
        steps = [(height / array.shape[0], ratio * height / array.shape[0]) for height in GUESSED_HEIGHTS_MM]
    for step in steps:
        _check_size(array.shape, step, series)
    for step in steps:
        canvas, content = _canvas(array, step, pixel_mm)
        film = Film(canvas, content, pixel_mm, array, step, spacing, transposed, flips)
        yield film
        yield mirrored(film)


def mirrored(film: Film) -> Film:
    """The same film seen from the other side."""
    canvas = np.zeros_like(film.canvas)
    canvas[:, : film.content[1]] = film.canvas[:, : film.content[1]][:, ::-1]
    return replace(film, canvas=canvas, shown=film.shown[:, ::-1], flips=(film.flips[0], not film.flips[1]))


def upturned(film: Film) -> Film:
    """The same film with its lower edge on top: to see whether it lies upside down."""
    canvas = np.zeros_like(film.canvas)
    canvas[: film.content[0]] = film.canvas[: film.content[0]][::-1]
    return replace(film, canvas=canvas, shown=film.shown[::-1], flips=(not film.flips[0], film.flips[1]))


def negative(film: Film) -> Film:
    """The same film with dark for bright."""
    rows, columns = film.content
    canvas = np.zeros_like(film.canvas)
    canvas[:rows, :columns] = scale(-film.canvas[:rows, :columns])
    return replace(film, canvas=canvas, shown=-film.shown, negated=not film.negated)


def scale(array: NDArray[np.floating]) -> Image:
    """Grey values (rows, columns), bone bright -> float32: 1st percentile of the exposed area 0, 99th 1, clipped.

    Shared with training: what the network sees is the same in both. A flat picture becomes zero.
    """
    low, high = np.percentile(array[exposed(array)], SCALE_PERCENTILES)
    if not high > low:
        return np.zeros(array.shape, np.float32)
    return np.asarray(np.clip((array - low) / (high - low), *SCALE_LIMITS), np.float32)


def exposed(array: NDArray[np.floating]) -> tuple[slice, slice]:
    """Rows and columns of the film inside the collimator: the outermost ones whose values vary."""
    thinned = array[:: -(-array.shape[0] // LOOKED_AT), :: -(-array.shape[1] // LOOKED_AT)]
    low, high = np.percentile(thinned, SCALE_PERCENTILES)
    spans = []
    for axis in (0, 1):
        edges = np.percentile(thinned, (5, 95), axis=1 - axis)
        varied = np.flatnonzero(edges[1] - edges[0] > FLAT_SHARE * (high - low))
        step = -(-array.shape[axis] // LOOKED_AT)
        spans.append(slice(int(varied[0]) * step, int(varied[-1] + 1) * step) if len(varied) > 1 else slice(None))
    return spans[0], spans[1]


def resample(array: Image, step_mm: tuple[float, float], pixel_mm: float) -> Image:
    """`array` (rows, columns) of pixels `step_mm` on square pixels of `pixel_mm`: block means, then linear between.

    Output pixel n has its centre at (n + 0.5) * pixel_mm.
    """
    blocks = [max(min(int(pixel_mm / step), count), 1) for step, count in zip(step_mm, array.shape, strict=True)]
    rows, columns = (count // block for count, block in zip(array.shape, blocks, strict=True))
    if max(blocks) > 1:
        whole = array[: rows * blocks[0], : columns * blocks[1]].reshape(rows, blocks[0], columns, blocks[1])
        array = whole.mean(3, dtype=np.float32).mean(1, dtype=np.float32)
    for axis in (0, 1):
        array = _interpolated(array, axis, step_mm[axis] * blocks[axis], pixel_mm)
    return array


def _interpolated(array: Image, axis: int, step_mm: float, pixel_mm: float) -> Image:
    count = max(round(array.shape[axis] * step_mm / pixel_mm), 1)
    place = np.clip((np.arange(count) + 0.5) * pixel_mm / step_mm - 0.5, 0, array.shape[axis] - 1)
    below = np.minimum(place.astype(int), max(array.shape[axis] - 2, 0))
    weight = (place - below).astype(np.float32)
    weight = weight[:, None] if axis == 0 else weight[None]
    upper = np.minimum(below + 1, array.shape[axis] - 1)
    mixed = np.take(array, below, axis) * (1 - weight) + np.take(array, upper, axis) * weight
    return np.asarray(mixed, np.float32)


def _canvas(array: Image, step_mm: tuple[float, float], pixel_mm: float) -> tuple[Image, tuple[int, int]]:
    scaled = scale(resample(array, step_mm, pixel_mm))
    rows, columns = scaled.shape
    canvas = np.zeros([-(-side // MULTIPLE) * MULTIPLE for side in scaled.shape], np.float32)
    canvas[:rows, :columns] = scaled
    return canvas, (rows, columns)


def _upright(series: Series) -> tuple[Image, tuple[float, float], bool, tuple[bool, bool]]:
    """The film with rows to the feet and columns to the back, as far as its header tells; else as it is stored.

    Radiographs state no position as a rule; a picture that was cut or projected from a volume may.
    """
    plane = np.asarray(series.array[0], np.float32)
    finite = np.isfinite(plane)
    if not finite.all():
        plane = np.where(finite, plane, plane[finite].min() if finite.any() else 0.0).astype(np.float32)
    step_mm = (series.grid.spacing_mm[1], series.grid.spacing_mm[0])
    direction = np.reshape(series.grid.direction, (3, 3))  # LPS; columns are the axes i, j, k
    if abs(direction[0, 2]) < np.sqrt(0.5):
        return plane, step_mm, False, (False, False)
    transposed = abs(direction[2, 0]) > abs(direction[2, 1])  # the stored columns run along the body
    down, back = (direction[:, 0], direction[:, 1]) if transposed else (direction[:, 1], direction[:, 0])
    flips = (bool(down[2] > 0), bool(back[1] < 0))
    if transposed:
        plane, step_mm = plane.T, (step_mm[1], step_mm[0])
    plane = plane[:: -1 if flips[0] else 1, :: -1 if flips[1] else 1]
    return np.ascontiguousarray(plane), step_mm, bool(transposed), flips


def _check_size(shape: tuple[int, ...], step_mm: tuple[float, float], series: Series) -> None:
    sides_mm = [count * step for count, step in zip(shape, step_mm, strict=True)]
    shown = f"{shape[1]} x {shape[0]} pixels, {sides_mm[1]:.0f} x {sides_mm[0]:.0f} mm"
    if min(shape) < MIN_PIXELS or min(sides_mm) < MIN_SIDE_MM:
        raise UnusableImage(
            f"{series.slug}: the radiograph has {shown}; at least {MIN_PIXELS} pixels and {MIN_SIDE_MM:.0f} mm a side "
            "are expected."
        )
    ratio = max(step_mm) / min(step_mm)
    if max(sides_mm) > MAX_SIDE_MM or ratio > MAX_STEP_RATIO:
        raise UnusableImage(
            f"{series.slug}: the radiograph has {shown} with pixels of {step_mm[1]:g} x {step_mm[0]:g} mm; "
            f"at most {MAX_SIDE_MM:.0f} mm a side and nearly square pixels are expected."
        )
