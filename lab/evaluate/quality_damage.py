"""Damaged copies of real images: what a scanner, a patient or a converter may do to a series; the truth moves along.

Images and truths are (slice, down, back); `strength` runs from 0 (hardly seen) to 1 (hardly usable).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

Image = NDArray[np.float32]
Truth = NDArray[np.uint8]
Pair = tuple[Image, Truth]


def _level(image: Image) -> float:
    """Signal of bright tissue."""
    return float(np.percentile(image[image > 0.08 * image.max()], 95))


def noise(image: Image, truth: Truth, strength: float, rng: Generator) -> Pair:
    """Rician noise of 5 to 60 % of bright tissue."""
    sigma = (0.05 + 0.55 * strength) * _level(image)
    real, imaginary = rng.normal(0, sigma, (2, *image.shape))
    return np.hypot(image + real, imaginary).astype(np.float32), truth


def blur(image: Image, truth: Truth, strength: float, rng: Generator) -> Pair:
    """Gaussian blur in plane of 1 to 7 pixels."""
    sigma = 1.0 + 6.0 * strength
    return ndimage.gaussian_filter(image, (0, sigma, sigma)), truth


def crop(image: Image, truth: Truth, strength: float, rng: Generator) -> Pair:
    """A window of 80 to 25 % of the rows around the spine's middle, somewhere along it."""
    rows = np.flatnonzero((truth > 0).any((0, 2)))
    keep = max(int((0.8 - 0.55 * strength) * image.shape[1]), 48)
    start = int(np.clip(rng.integers(rows[0], rows[-1] + 1) - keep // 2, 0, max(image.shape[1] - keep, 0)))
    return image[:, start : start + keep], truth[:, start : start + keep]


def swap(image: Image, truth: Truth, strength: float, rng: Generator) -> Pair:
    """Slices in a wrong order, with their truth; of one slice the upper and lower half change places."""
    if len(image) > 1:
        order = rng.permutation(len(image))
        return image[order], truth[order]
    middle = image.shape[1] // 2
    return np.roll(image, middle, axis=1), np.roll(truth, middle, axis=1)


def shift(image: Image, truth: Truth, strength: float, rng: Generator) -> Pair:
    """The patient moved by 2 to 25 pixels between slices; one slice is sheared row by row."""
    image, truth = image.copy(), truth.copy()
    reach = 2 + 23 * strength
    lines = [(s, slice(None)) for s in range(len(image))]
    if len(image) == 1:
        lines = [(0, slice(row, row + 24)) for row in range(0, image.shape[1], 24)]
    for index in lines:
        down, back = rng.uniform(-reach, reach, 2).round().astype(int)
        move = (down, back) if len(image) > 1 else (0, back)
        image[index], truth[index] = (np.roll(part[index], move, axis=(0, 1)) for part in (image, truth))
    return image, truth


def wrap(image: Image, truth: Truth, strength: float, rng: Generator) -> Pair:
    """Fold-over: the image comes in once more, moved by 30 to 50 % along one axis, with up to its full signal."""
    axis = int(rng.integers(1, 3))
    moved = np.roll(image, int(rng.uniform(0.3, 0.5) * image.shape[axis]), axis=axis)
    return image + (0.2 + 0.8 * strength) * moved, truth


def ghost(image: Image, truth: Truth, strength: float, rng: Generator) -> Pair:
    """Periodic motion: copies along the phase direction at both sides."""
    step = int(rng.integers(12, 40))
    weight = 0.1 + 0.6 * strength
    copies = sum(weight**n * (np.roll(image, n * step, 2) + np.roll(image, -n * step, 2)) for n in (1, 2))
    return (image + copies).astype(np.float32), truth


def bias(image: Image, truth: Truth, strength: float, rng: Generator) -> Pair:
    """Coil fall-off by a factor of 2 to 60 from one corner to the opposite one."""
    angle = rng.uniform(0, 2 * np.pi)
    down, back = np.meshgrid(*(np.linspace(-1, 1, n) for n in image.shape[1:]), indexing="ij")
    field = np.exp(np.log(2 + 58 * strength) / 2 * (down * np.cos(angle) + back * np.sin(angle)))
    return (image * field).astype(np.float32), truth


def metal(image: Image, truth: Truth, strength: float, rng: Generator) -> Pair:
    """Signal voids with bright rims along the spine: one to six screws' worth."""
    image = image.copy()
    spots = np.argwhere(truth.any(0))
    down, back = np.mgrid[: image.shape[1], : image.shape[2]]
    bright = 1.8 * _level(image)
    for _ in range(1 + round(5 * strength)):
        row, column = spots[rng.integers(len(spots))]
        radii = rng.uniform(8, 14 + 22 * strength, 2)
        far = np.hypot((down - row) / radii[0], (back - column) / radii[1])
        image[:, far < 1.15] = bright
        image[:, far < 1.0] = 0
    return image, truth


def coarse(image: Image, truth: Truth, strength: float, rng: Generator) -> Pair:
    """Detail of 2 to 7 pixels only, as an image has that was stored small and blown up again."""
    factor = 2 + round(5 * strength)
    small = ndimage.zoom(image, (1, 1 / factor, 1 / factor), order=1)
    scale = [1, *(n / m for n, m in zip(image.shape[1:], small.shape[1:], strict=True))]
    return ndimage.zoom(small, scale, order=0)[:, : image.shape[1], : image.shape[2]], truth


def saturate(image: Image, truth: Truth, strength: float, rng: Generator) -> Pair:
    """Bright tissue cut off at 60 to 10 % of its level."""
    return np.minimum(image, (0.6 - 0.5 * strength) * _level(image)), truth


DAMAGES: dict[str, Callable[[Image, Truth, float, Generator], Pair]] = {
    "noise": noise,
    "blur": blur,
    "crop": crop,
    "swap": swap,
    "shift": shift,
    "wrap": wrap,
    "ghost": ghost,
    "bias": bias,
    "metal": metal,
    "coarse": coarse,
    "saturate": saturate,
}


def missing_rows(image: Image, truth: Truth, strength: float, rng: Generator) -> Pair:
    """A band of 12 to 40 rows cut out of the middle half of all slices."""
    start, stop = _band(image, strength, rng)
    return np.delete(image, np.s_[start:stop], 1), np.delete(truth, np.s_[start:stop], 1)


def repeated_rows(image: Image, truth: Truth, strength: float, rng: Generator) -> Pair:
    """A band of 12 to 40 rows of all slices stored twice, one below the other."""
    start, stop = _band(image, strength, rng)
    first, second = (np.concatenate([part[:, :stop], part[:, start:]], 1) for part in (image, truth))
    return first, second


def moved_slice(image: Image, truth: Truth, strength: float, rng: Generator) -> Pair:
    """The patient moved by 8 to 21 pixels for one slice; a single slice stays as it is."""
    image, truth = image.copy(), truth.copy()
    if len(image) > 1:
        angle, place = rng.uniform(0, 2 * np.pi), int(rng.integers(len(image)))
        move = tuple(round((8 + 13 * strength) * way) for way in (np.sin(angle), np.cos(angle)))
        image[place], truth[place] = (np.roll(part[place], move, axis=(0, 1)) for part in (image, truth))
    return image, truth


def _band(image: Image, strength: float, rng: Generator) -> tuple[int, int]:
    """First and last row + 1 of a band of 12 to 40 rows in the middle half."""
    rows, wide = image.shape[1], round(12 + 28 * strength)
    start = int(rng.integers(rows // 4, max(3 * rows // 4 - wide, rows // 4 + 1)))
    return start, start + wide


# Told by rules alone (lab.evaluate.quality_silence): the models of doubt are not fitted to them.
RULED: dict[str, Callable[[Image, Truth, float, Generator], Pair]] = {
    "missing rows": missing_rows,
    "repeated rows": repeated_rows,
    "moved slice": moved_slice,
}
