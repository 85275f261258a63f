"""From a synthetic cord on its fine grid to sections as a scanner would show them, and what lies in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from lab.synth.render import render
from lab.synth.shapes import smooth_noise
from lab.synth.tissue import STRUCTURE_OF_TISSUE
from spine.anatomy import Structure
from spine.geometry import Array
from spine.sections import ROW_MM, cut_sections, places_mm, sampled

CLASSES = 3  # neither, fluid and roots, cord
CONTRASTS = {"t2": 0.42, "t2_long": 0.2, "random": 0.13, "t1": 0.11, "stir": 0.08, "water_fat": 0.06}
LENGTH_MM = 62.0  # of canal in one stack
END_ROWS = 12  # of a bank's file, where the sac may end
AROUND_MM = 24.0  # of picture around the canal
MOVED_SHARE = 0.55  # of the T2 stacks have moving fluid
OFF_MM = 1.6  # standard deviation of where the course that is given lies from the middle of the sac
Sections = NDArray[np.float32]


@dataclass(frozen=True)
class Cord:
    """One file of lab.synth.cord_bank."""

    tissues: NDArray[np.uint8]  # (plane, down, back)
    spacing_mm: Array
    course_mm: Array  # (down, 2)


def read_cord(file: Path) -> Cord:
    """The file's content."""
    with np.load(file) as stored:
        return Cord(stored["tissues"], stored["spacing_mm"], stored["course_mm"].astype(np.float64))


def draw_sections(cord: Cord, rng: Generator, count: int, narrowest_share: float = 0.0) -> tuple[Sections, Sections]:
    """`count` neighbouring sections of one stack of `cord`, and the share of each class in them.

    `narrowest_share` of the stacks lie about the narrowest place of the sac: elsewhere few cords are pressed on.

    Returns:
        (count, channels, SIDE, SIDE) and (count, CLASSES, SIDE, SIDE).
    """
    narrowest = _narrowest(cord) if narrowest_share and rng.random() < narrowest_share else None
    part, course_mm, first_row = _cut(cord, narrowest, rng)
    contrast = str(rng.choice(list(CONTRASTS), p=list(CONTRASTS.values())))
    moved = contrast.startswith("t2") and rng.random() < MOVED_SHARE
    picture = render(part, rng, contrast, 1, float(cord.spacing_mm[1]), 0.0, moved)
    stored, to_index = scan(picture, cord.spacing_mm, rng)
    sections_mm = _course(course_mm, cord.spacing_mm[1], rng)
    turned = _turn(rng)
    first = int(rng.integers(0, max(len(sections_mm) - count, 0) + 1))
    if narrowest is not None:
        at = (narrowest - first_row) * cord.spacing_mm[1] / ROW_MM
        first = int(np.clip(at - rng.integers(0, count), 0, max(len(sections_mm) - count, 0)))
    images = cut_sections(stored, to_index, sections_mm, turned)[first : first + count]
    truth = _truth(part, cord.spacing_mm, sections_mm[first : first + count], turned)
    if rng.random() < 0.5:
        images, truth = images[:, :, ::-1], truth[:, :, ::-1]
    if rng.random() < 0.5:  # heads up or down: neighbours change places
        images = images[:, ::-1]
    return np.ascontiguousarray(images), np.ascontiguousarray(truth)


def _narrowest(cord: Cord) -> int:
    """The row, not at an end, where the sac is narrowest."""
    sac = np.isin(STRUCTURE_OF_TISSUE, (Structure.CANAL, Structure.CORD))[cord.tissues].sum((0, 2))
    usual = ndimage.median_filter(sac, 61, mode="nearest")
    share = (sac / np.maximum(usual, 1))[END_ROWS:-END_ROWS]
    return int(np.where(share > 0, share, np.inf).argmin()) + END_ROWS


def _cut(cord: Cord, narrowest: int | None, rng: Generator) -> tuple[NDArray[np.uint8], Array, int]:
    """A length of canal with what lies around it, the middle of its sac in it (down, 2) in mm, and its first row."""
    rows = round(LENGTH_MM / cord.spacing_mm[1])
    last = max(cord.tissues.shape[1] - rows, 0)
    first = int(rng.integers(0, last + 1))
    if narrowest is not None:
        first = int(np.clip(narrowest - rng.integers(rows // 4, 3 * rows // 4), 0, last))
    course_mm = cord.course_mm[first : first + rows]
    low, high = course_mm[:, 1].min() - AROUND_MM, course_mm[:, 1].max() + AROUND_MM
    left = int(np.clip(low / cord.spacing_mm[2], 0, cord.tissues.shape[2] - 2))
    right = int(np.clip(high / cord.spacing_mm[2], left + 2, cord.tissues.shape[2]))
    part = cord.tissues[:, first : first + rows, left:right]
    return part, course_mm - np.array([0.0, left * cord.spacing_mm[2]]), first


def scan(picture: NDArray[np.float32], spacing_mm: Array, rng: Generator) -> tuple[NDArray[np.float32], Array]:
    """A stored series of `picture` (plane, down, back), and the matrix (3, 4) from its millimetres to stored indices.

    Half of the series have nearly cubic voxels, half thick slices; each axis is blurred as a scanner does, by a
    Gaussian or with the ringing of a cut-off.
    """
    if rng.random() < 0.5:
        pixel = rng.uniform(0.75, 1.25)
        stored_mm = np.array([pixel * rng.uniform(0.85, 1.2), pixel, pixel])
    else:
        pixel = rng.uniform(0.4, 0.95)
        stored_mm = np.array([rng.uniform(2.0, 4.4), pixel, pixel])
    ringing, width = rng.random() < 0.35, rng.uniform(0.32, 0.6)
    out, start_mm = picture, np.zeros(3)
    for axis in range(3):
        start_mm[axis] = rng.uniform(-0.5, 0.5) * stored_mm[axis]
        thick = stored_mm[0] > 2.0 and axis == 0
        kernel = _box if thick else _sinc if ringing else _gauss
        matrix = kernel(out.shape[axis], float(spacing_mm[axis]), float(stored_mm[axis]), float(start_mm[axis]), width)
        out = np.moveaxis(np.tensordot(matrix, out, (1, axis)), 0, axis)
    out = np.abs(out) * _coil(out.shape, stored_mm, rng)
    top = float(np.percentile(out, 99)) or 1.0
    noise = top * np.exp(rng.uniform(np.log(0.004), np.log(0.07)))
    shape = out.shape
    out = np.hypot(out + noise * rng.standard_normal(shape, np.float32), noise * rng.standard_normal(shape, np.float32))
    to_index = np.concatenate((np.diag(1 / stored_mm), -(start_mm / stored_mm)[:, None]), 1)
    return out.astype(np.float32), to_index


def _apart(size: int, fine_mm: float, coarse_mm: float, start_mm: float) -> Array:
    """(coarse, fine): distance of the samples, in coarse steps."""
    count = max(2, int((size * fine_mm - start_mm) / coarse_mm))
    at = start_mm + np.arange(count)[:, None] * coarse_mm
    return np.asarray((np.arange(size)[None] * fine_mm - at) / coarse_mm)


def _weights(weight: Array) -> NDArray[np.float32]:
    total = weight.sum(1, keepdims=True)
    return (weight / np.where(np.abs(total) > 1e-6, total, 1.0)).astype(np.float32)


def _gauss(size: int, fine_mm: float, coarse_mm: float, start_mm: float, width: float) -> NDArray[np.float32]:
    return _weights(np.exp(-0.5 * np.square(_apart(size, fine_mm, coarse_mm, start_mm) / width)) + 1e-9)


def _sinc(size: int, fine_mm: float, coarse_mm: float, start_mm: float, width: float) -> NDArray[np.float32]:
    apart = _apart(size, fine_mm, coarse_mm, start_mm)
    return _weights(np.sinc(apart) * np.exp(-0.5 * np.square(apart / (6 * width))))


def _box(size: int, fine_mm: float, coarse_mm: float, start_mm: float, width: float) -> NDArray[np.float32]:
    """A slice, 0.8 to 1 of the distance to the next thick, with soft edges."""
    apart = np.abs(_apart(size, fine_mm, coarse_mm, start_mm))
    return _weights(1 / (1 + np.exp(np.clip((apart - 0.4 - 0.15 * width) / 0.07, -30, 30))) + 1e-9)


def _coil(shape: tuple[int, ...], spacing_mm: Array, rng: Generator) -> NDArray[np.float32]:
    """Sensitivity: falls off along the rows and from the back, with a smooth bias."""
    down = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :, None]
    back = np.arange(shape[2], dtype=np.float32)[None, None] * np.float32(spacing_mm[2])
    field = np.exp(np.float32(rng.normal(0, 0.5)) * down + np.float32(abs(rng.normal(0, 0.012))) * back)
    cells = (40.0, 40.0, 40.0)
    bias = smooth_noise(rng, shape, tuple(float(s) for s in spacing_mm), cells)
    return np.asarray(field * np.exp(np.float32(0.1 * rng.uniform(0, 1)) * bias), np.float32)


def _course(course_mm: Array, row_mm: float, rng: Generator) -> Array:
    """(n, 3) middles of sections along the sac, off it as a network's canal is."""
    rows = np.arange(0, len(course_mm) - 1, ROW_MM / row_mm)
    middle = np.stack([np.interp(rows, np.arange(len(course_mm)), c) for c in course_mm.T], 1)
    off = np.stack([smooth_noise(rng, (len(rows),), (ROW_MM,), (25.0,)) for _ in range(2)], 1) * OFF_MM / 1.35
    off += rng.normal(0, 0.6 * OFF_MM, 2)
    middle = ndimage.gaussian_filter1d(middle + off, 2.0, axis=0, mode="nearest")
    return np.stack((middle[:, 0], rows * row_mm, middle[:, 1]), 1)


def _turn(rng: Generator) -> Array:
    """(3, 3) change of a section about its middle: turned in its plane, larger or smaller, sheared along the rows."""
    angle = np.radians(rng.normal(0, 7))
    scale, stretch = np.exp(rng.normal(0, 0.08)), np.exp(rng.normal(0, 0.05))
    turned = np.eye(3)
    turned[np.ix_((0, 2), (0, 2))] = [
        [scale * stretch * np.cos(angle), -scale / stretch * np.sin(angle)],
        [scale * stretch * np.sin(angle), scale / stretch * np.cos(angle)],
    ]
    turned[1, 2] = rng.normal(0, 0.12)
    return turned


def _truth(tissues: NDArray[np.uint8], spacing_mm: Array, middle_mm: Array, turned: Array) -> Sections:
    """(n, CLASSES, SIDE, SIDE): share of each class, linear between the voxels of the fine grid."""
    structures = STRUCTURE_OF_TISSUE[tissues]
    to_index = np.concatenate((np.diag(1 / spacing_mm), np.zeros((3, 1))), 1)
    place_mm = places_mm(middle_mm, turned)
    fluid, cord = (
        sampled((structures == s).astype(np.float32), to_index, place_mm) for s in (Structure.CANAL, Structure.CORD)
    )
    return np.stack((1 - fluid - cord, fluid, cord), 1).astype(np.float32)
