"""From attenuation to the picture that a detector or a scanned film shows, and what of it can still be seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, uniform_filter, zoom

from lab.synth.shapes import smooth_noise

Picture = NDArray[np.float32]

BONE_STEP = 0.12  # attenuation across the edge of a vertebral body
SEEN_RATIO = 2.5  # contrast of that edge over the noise of an area of 3 mm^2 below which a point counts as hidden
SEEN_SLOPE = 0.12  # share of the film curve's steepest slope below which it counts as hidden
LETTERS = ("L", "R", "LAT", "LEFT", "AUFNAHME", "STANDING", "12:07", "AP", "XR", "FLEX", "3")


@dataclass(frozen=True)
class Exposure:
    """How the picture was taken and shown."""

    photons: float  # per square mm, without a patient, over those at the reference attenuation
    reference: float  # attenuation at which the exposure was set
    scatter: float  # of the primary beam's mean
    blur_mm: float
    curve: float  # steepness of the film curve, 0 for linear in attenuation
    middle: float  # attenuation in the middle of the curve, relative to the reference
    wide_mm: float  # scale of edge enhancement, 0 for none
    enhance: float
    flatten: float  # share of the slowly varying part that is taken away, as digital processing does
    gamma: float
    electronic: float


def sample_exposure(rng: Generator, attenuation: Picture) -> Exposure:
    """A random exposure set for the middle of the picture `attenuation`."""
    rows, columns = attenuation.shape
    middle = attenuation[rows // 4 : 3 * rows // 4, columns // 3 : 2 * columns // 3]
    digital = rng.random() < 0.75
    return Exposure(
        photons=float(np.exp(rng.uniform(np.log(250), np.log(9000)))),
        reference=float(np.median(middle)),
        scatter=float(rng.uniform(0.02, 0.35)),
        blur_mm=float(rng.uniform(0.15, 0.6)),
        curve=float(rng.uniform(0.0, 0.9) if digital else rng.uniform(0.7, 1.8)),
        middle=float(rng.normal(0.2, 0.35)),
        wide_mm=float(rng.uniform(2, 12)) if digital and rng.random() < 0.6 else 0.0,
        enhance=float(rng.uniform(0.2, 1.4)),
        flatten=float(rng.uniform(0.0, 0.75)) if digital else 0.0,
        gamma=float(np.exp(rng.normal(0, 0.2))),
        electronic=float(rng.uniform(0.001, 0.012)),
    )


def expose(attenuation: Picture, pixel_mm: float, look: Exposure, rng: Generator) -> tuple[Picture, NDArray[np.bool_]]:
    """The picture (rows, columns), bone bright in arbitrary units, and where bone edges cannot be seen in it."""
    primary = np.exp(np.float32(look.reference) - attenuation)
    primary = np.minimum(primary, np.float32(60.0))  # the detector saturates in bare air
    veil = np.float32(look.scatter) * _slow(np.minimum(primary, 6.0), 25.0 / pixel_mm)
    arrived = primary + veil + np.float32(look.electronic)
    noise = np.sqrt(arrived / np.float32(look.photons * pixel_mm**2))
    seen = gaussian_filter(arrived, look.blur_mm / pixel_mm)
    seen = seen + noise * _grain(rng, attenuation.shape, pixel_mm)
    shown = -np.log(np.maximum(seen, np.float32(0.3 * look.electronic)))
    contrast = BONE_STEP * primary / arrived
    hidden = contrast < SEEN_RATIO * noise / arrived * np.float32(pixel_mm / 3**0.5)
    slow = _slow(shown, 22.0 / pixel_mm)
    shown = shown - np.float32(look.flatten) * (slow - np.float32(np.median(slow)))
    if look.curve > 0:
        bent = np.tanh(np.float32(look.curve) * (shown - np.float32(look.middle)))
        hidden |= 1 - bent * bent < SEEN_SLOPE
        shown = bent / np.float32(look.curve)
    if look.wide_mm > 0:
        shown = shown + np.float32(look.enhance) * (shown - gaussian_filter(shown, look.wide_mm / pixel_mm))
    return _gamma(shown, look.gamma), uniform_filter(hidden.astype(np.float32), round(3 / pixel_mm)) > 0.5


def _gamma(shown: Picture, gamma: float) -> Picture:
    low, high = np.percentile(shown[::4, ::4], (0.5, 99.5))
    share = np.clip((shown - low) / max(float(high - low), 1e-6), 0, 1.2)
    return np.asarray(share ** np.float32(gamma), np.float32)


def _slow(picture: Picture, sigma: float) -> Picture:
    """Gaussian blur of a wide `sigma` (pixels), on every sixth pixel."""
    small = gaussian_filter(picture[::6, ::6], sigma / 6)
    out = zoom(small, 6, order=1, mode="nearest", grid_mode=True)
    return out[: picture.shape[0], : picture.shape[1]]


def _grain(rng: Generator, shape: tuple[int, ...], pixel_mm: float) -> Picture:
    white = rng.standard_normal(shape, np.float32)
    spread = rng.uniform(0.0, 0.35) / pixel_mm
    return white if spread < 0.25 else gaussian_filter(white, spread) * np.float32(1 + 3 * spread)


def collimate(picture: Picture, rng: Generator) -> tuple[Picture, NDArray[np.bool_]]:
    """Unexposed borders, straight or a little askew; returns the picture and what lies under the collimator."""
    rows, columns = picture.shape
    down, across = np.mgrid[0:rows, 0:columns].astype(np.float32)
    outside = np.zeros(picture.shape, bool)
    if rng.random() < 0.4:
        for axis, size in ((down, rows), (across, columns)):
            other = across / columns if axis is down else down / rows
            for far in (False, True):
                depth = rng.uniform(0, 0.07) * size + rng.normal(0, 4) * other
                outside |= (size - 1 - axis if far else axis) < depth
    border = float(rng.choice([0.0, 0.05, 1.0, 1.1]))
    return np.where(outside, np.float32(border), picture), outside


def letter(picture: Picture, rng: Generator) -> NDArray[np.bool_]:
    """Lead letters and burned-in text near the corners, painted in place; returns the pixels that they cover."""
    covered = np.zeros(picture.shape, bool)
    rows, columns = picture.shape
    for _ in range(int(rng.integers(0, 4))):
        size = int(rng.uniform(10, 30))
        font = ImageFont.load_default(size)
        text = str(rng.choice(LETTERS))
        left, top, right, bottom = font.getbbox(text)
        stamp = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
        ImageDraw.Draw(stamp).text((2 - left, 2 - top), text, fill=255, font=font)
        mark = np.asarray(stamp.rotate(float(rng.choice([0, 0, 0, 90, 8, -8])), expand=True), np.float32) / 255
        tall, wide = mark.shape
        if tall + 4 >= rows // 3 or wide + 4 >= columns // 2:
            continue
        row = int(rng.choice([rng.uniform(2, 0.12 * rows), rows - tall - rng.uniform(2, 0.12 * rows)]))
        column = int(rng.choice([rng.uniform(2, 0.15 * columns), columns - wide - rng.uniform(2, 0.15 * columns)]))
        box = (slice(max(row, 0), max(row, 0) + tall), slice(max(column, 0), max(column, 0) + wide))
        mark = mark[: picture[box].shape[0], : picture[box].shape[1]]
        picture[box] += mark * (np.float32(rng.choice([1.15, 1.15, 0.0])) - picture[box])
        covered[box] |= mark > 0.5
    return covered


def texture(rng: Generator, shape: tuple[int, int], pixel_mm: float, strength: float) -> Picture:
    """Trabecular texture: relative change of a bone's shadow, fine and mostly along the body's axis."""
    fine = smooth_noise(rng, (1, *shape), (1.0, pixel_mm, pixel_mm), (1.0, 2.6, 1.1))[0]
    return np.float32(1.0) + np.float32(0.25 * strength) * np.clip(fine / 2, -1.5, 1.5)
