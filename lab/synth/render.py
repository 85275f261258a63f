"""Tissues -> MR slices: signal of water and fat, texture, coil, blur, ghosts, noise.

Signals follow the spin-echo and inversion-recovery equations (Bernstein, Handbook of MRI Pulse Sequences, 2004) with
drawn repetition, echo and inversion times; fat is bright on T2 as with echo trains. Everything else is drawn within
what clinical scanners show. Speed: see `lab.synth.cohort`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import fft

from lab.synth.shapes import Field, smooth_noise
from lab.synth.tissue import PROPERTIES, STRUCTURE_OF_TISSUE, Tissue
from spine.anatomy import Structure

CONTRASTS = ("t1", "t2", "stir", "water_fat", "random", "t2_long")
_ROW = np.array([PROPERTIES[t] for t in Tissue], np.float64)
_DENSITY, _T1, _T2, _FAT, _GRAIN = (np.ascontiguousarray(c) for c in _ROW.T)
_BODIES = [int(t) for t in Tissue if "MARROW" in t.name]


def signal_tables(rng: Generator, contrast: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(tissues,) mean signal of the water and of the fat in every tissue; muscle is of the order of 0.1 to 0.3."""
    if contrast not in CONTRASTS:
        raise ValueError(f"contrast {contrast!r} is none of {CONTRASTS}")
    n = len(_DENSITY)
    t1 = _T1 * rng.normal(1.0, 0.07, n)
    t2 = _T2 * rng.normal(1.0, 0.1, n)
    density = _DENSITY * np.clip(rng.normal(1.0, 0.07, n), 0.6, 1.4)
    fat = _FAT.copy()
    fat[_BODIES] += rng.normal(0.07, 0.1)  # red or yellow marrow
    fat = np.clip(fat + rng.normal(0, 0.03, n) * (_FAT > 0.02), 0.0, 1.0)
    relax = {"t1": _spin_t1, "t2": _spin_t2, "stir": _stir, "water_fat": _water_fat, "random": _any}
    relax["t2_long"] = _spin_t2_long
    water, grease = relax[contrast](rng, t1, t2)
    water, grease = density * (1 - fat) * water, fat * grease * np.clip(_DENSITY + 0.25, 0, 1)
    return water.astype(np.float32), grease.astype(np.float32)


Signals = tuple[NDArray[np.float64], NDArray[np.float64]]


def _spin_echo(t1: NDArray[np.float64], t2: NDArray[np.float64], tr: float, te: float) -> NDArray[np.float64]:
    return (1 - np.exp(-tr / t1)) * np.exp(-te / t2)


def _spin_t1(rng: Generator, t1: NDArray[np.float64], t2: NDArray[np.float64]) -> Signals:
    tr, te = rng.uniform(380, 800), rng.uniform(7, 14)
    return _spin_echo(t1, t2, tr, te), np.full_like(t1, (1 - np.exp(-tr / 280)) * np.exp(-te / 90))


def _spin_t2(rng: Generator, t1: NDArray[np.float64], t2: NDArray[np.float64]) -> Signals:
    tr, te = rng.uniform(2500, 5500), rng.uniform(70, 125)
    return _spin_echo(t1, t2, tr, te), np.full_like(t1, np.exp(-te / rng.uniform(95, 180)))


def _spin_t2_long(rng: Generator, t1: NDArray[np.float64], t2: NDArray[np.float64]) -> Signals:
    """Long echo trains, as 3-D series of the neck have them: bright fluid, all else dark."""
    tr, te = rng.uniform(1500, 4000), rng.uniform(120, 240)
    return _spin_echo(t1, t2, tr, te), np.full_like(t1, np.exp(-te / rng.uniform(80, 150)))


def _stir(rng: Generator, t1: NDArray[np.float64], t2: NDArray[np.float64]) -> Signals:
    tr, te, ti = rng.uniform(3000, 5500), rng.uniform(35, 80), rng.uniform(140, 180)
    recovered = np.abs(1 - 2 * np.exp(-ti / t1) + np.exp(-tr / t1))
    return recovered * np.exp(-te / t2), np.full_like(t1, rng.uniform(0.0, 0.06))


def _water_fat(rng: Generator, t1: NDArray[np.float64], t2: NDArray[np.float64]) -> Signals:
    water, grease = (_spin_t2 if rng.random() < 0.6 else _spin_t1)(rng, t1, t2)
    kind = rng.integers(0, 4)  # water, fat, opposed phase, fat-suppressed with a remainder
    if kind == 0:
        return water, grease * rng.uniform(0, 0.05)
    if kind == 1:
        return water * rng.uniform(0, 0.06), grease
    return water, grease * (-rng.uniform(0.6, 1.0) if kind == 2 else rng.uniform(0.03, 0.2))


def _any(rng: Generator, t1: NDArray[np.float64], t2: NDArray[np.float64]) -> Signals:
    """Some physical contrast, then each tissue pulled towards a drawn brightness."""
    relax = (_spin_t1, _spin_t2, _stir)[rng.integers(0, 3)]
    water, grease = relax(rng, t1, t2)
    pull = rng.uniform(0.3, 1.0)
    top = float(np.max(water))
    drawn = rng.uniform(0.0, top, len(t1)) / np.maximum(_DENSITY, 0.2)
    water = (1 - pull) * water + pull * drawn
    return water, (1 - pull) * grease + pull * rng.uniform(0, top)


def render(
    tissues: NDArray[np.uint8],
    rng: Generator,
    contrast: str,
    subslices: int = 1,
    pixel_mm: float = 0.8,
    artefacts: float = 1.0,
    flow: bool = False,
) -> NDArray[np.float32]:
    """MR slices of a stack of tissue planes.

    `tissues` uint8 (plane, down, back). With `subslices` = 1 every plane becomes a slice. With 3, each three planes
    (before, middle, after) become one thick slice with weights 1/4, 1/2, 1/4; its labels are those of the middle.
    `contrast` is one of CONTRASTS. `artefacts` scales coil fall-off, noise, ghosts and blur (0 = none).
    With `flow` the fluid around the cord loses signal in streaks, as pulsating fluid does in spin echoes. Returns
    float32 (slice, down, back), 0 or more, body of the order of 1.
    """
    water, fat = signal_tables(rng, contrast)
    middle = tissues[subslices // 2 :: subslices]
    both = water + fat
    image = _slices(both, tissues, subslices)
    image *= _texture(rng, (water, fat), middle)
    if flow:
        image *= _moving_fluid(rng, middle, pixel_mm)
    axis, pixels = _chemical_shift(rng, artefacts)
    if pixels:
        grease = _slices(fat, middle, 1)
        image += _shift(grease, axis, pixels) - grease
    np.abs(image, out=image)
    scale = float(np.percentile(image[len(image) // 2, ::3, ::3], 98)) or 1.0
    image *= np.float32(1.0 / scale)
    if artefacts > 0:
        image *= _coil(rng, middle, pixel_mm, artefacts)
        image = _scan(rng, image, artefacts)
        _add_noise(rng, image, artefacts)
    return image


def _slices(table: NDArray[np.float32], tissues: NDArray[np.uint8], subslices: int) -> Field:
    lookup = np.zeros(256, np.float32)
    lookup[: len(table)] = table
    if subslices == 1:
        return lookup[tissues]
    lookup *= np.float32(0.25)
    planes = lookup[tissues]
    middle = planes[1::3] * np.float32(2.0)
    middle += planes[::3]
    middle += planes[2::3]
    return middle


_POOL_SIDE = 1024


@lru_cache(maxsize=1)
def _noise_pool() -> NDArray[np.float32]:
    """White noise to cut from: drawing it afresh would cost more than the rest of a slice."""
    return np.random.default_rng(20240229).standard_normal(4_000_037, np.float32)


@lru_cache(maxsize=8)
def _texture_pool(cell: float) -> Field:
    """(side, side) smooth noise with `cell` pixels between knots."""
    rng = np.random.default_rng(int(cell * 1000))
    return smooth_noise(rng, (_POOL_SIDE, _POOL_SIDE), (1.0, 1.0), (cell, cell))


def _cut(rng: Generator, cell: float, shape: tuple[int, ...]) -> Field:
    """A random cut of the texture pool for each slice, (slice, down, back)."""
    pool = _texture_pool(cell)
    out = np.empty(shape, np.float32)
    for plane in out:
        r, c = (int(rng.integers(0, max(_POOL_SIDE - n, 1))) for n in plane.shape)
        cut = pool[r : r + plane.shape[0], c : c + plane.shape[1]]
        plane[...] = 0
        plane[: cut.shape[0], : cut.shape[1]] = cut
    return out


def _texture(rng: Generator, tables: tuple[NDArray[np.float32], ...], tissues: NDArray[np.uint8]) -> Field:
    """Mottling as a factor (slice, down, back): fat and water vary against each other."""
    water, fat = tables
    lean = (fat - water) / (np.abs(fat) + np.abs(water) + 1e-6)
    grain = np.zeros(256, np.float32)
    grain[: len(_GRAIN)] = _GRAIN * rng.uniform(0.4, 1.2) * (0.5 + lean)
    mottle = _cut(rng, (1.7, 2.2, 2.8, 3.6)[rng.integers(0, 4)], tissues.shape)
    mottle *= np.float32(0.4)
    mottle += np.float32(0.35) * _cut(rng, (8.0, 12.0, 18.0)[rng.integers(0, 3)], tissues.shape)
    mottle *= grain[tissues]
    np.clip(mottle, -0.7, 0.7, out=mottle)
    mottle += 1.0
    return mottle


def _moving_fluid(rng: Generator, tissues: NDArray[np.uint8], pixel_mm: float) -> Field:
    """Signal that is left (slice, down, back): long dark streaks in the fluid, in some patients over its whole depth.

    Time-of-flight and dephasing losses are usual around the cord, most in the chest (Lisanti et al. 2007, doi
    10.2214/AJR.05.0003); how deep, long and wide they are is drawn.
    """
    cells = (3.0, rng.uniform(10, 40) / pixel_mm, rng.uniform(2, 6) / pixel_mm)
    noise = smooth_noise(rng, tissues.shape, (1.0, 1.0, 1.0), cells)
    down = np.linspace(-1, 1, tissues.shape[1], dtype=np.float32)[None, :, None]
    noise += np.float32(rng.uniform(0, 1.2)) * down  # more towards the chest
    lost = np.float32(rng.uniform(0.2, 1.0)) / (1 + np.exp(np.clip((rng.uniform(-0.6, 1.5) - noise) / 0.25, -30, 30)))
    return np.where(tissues == Tissue.CSF, 1 - lost, np.float32(1.0))


def _chemical_shift(rng: Generator, artefacts: float) -> tuple[int, float]:
    """Axis and pixels by which fat lies beside water."""
    return int(rng.integers(1, 3)), float(rng.normal(0, 0.8) * artefacts) if rng.random() < 0.5 else 0.0


def _shift(image: Field, axis: int, pixels: float) -> Field:
    whole = int(np.floor(pixels))
    part = np.float32(pixels - whole)
    return np.roll(image, whole, axis) * (1 - part) + np.roll(image, whole + 1, axis) * part


def _coil(rng: Generator, tissues: NDArray[np.uint8], pixel_mm: float, artefacts: float) -> Field:
    """(1, down, back) sensitivity: bright at the back for a spine coil, with a smooth bias over it."""
    _, rows, columns = tissues.shape
    spine = STRUCTURE_OF_TISSUE[tissues[len(tissues) // 2, ::4]]
    wanted = np.nonzero(spine != Structure.BACKGROUND)[1]
    centre = float(np.median(wanted)) if wanted.size else columns / 2
    back = (np.arange(columns, dtype=np.float32) - np.float32(centre)) * np.float32(pixel_mm)
    strength = rng.beta(1.6, 1.8) * min(artefacts, 1.5)
    depth = np.exp(rng.uniform(np.log(50), np.log(260)))
    falloff = np.exp(np.clip(back + 20, -250, 90) / depth).astype(np.float32)
    field = (1 - strength) + strength * falloff
    if rng.random() < 0.45 * artefacts:  # saturation band in front of the spine
        edge, soft = rng.uniform(-60, -16), rng.uniform(1.5, 9)
        field = field * (1 - np.float32(rng.uniform(0.5, 1.0)) / (1 + np.exp(np.clip((back - edge) / soft, -30, 30))))
    down = np.linspace(-1, 1, rows, dtype=np.float32)
    ends = 1.0 - np.float32(rng.uniform(0, 0.7) ** 2) * np.abs(down + np.float32(rng.normal(0, 0.3))) ** 3
    bias = smooth_noise(rng, (1, rows, columns), (1.0, pixel_mm, pixel_mm), (1.0, 90.0, 70.0))[0]
    bias = np.exp(np.float32(0.07 * artefacts * rng.uniform(0, 1.6)) * bias)
    return (field[None, :] * np.maximum(ends, 0.1)[:, None] * bias)[None]


def _window(rng: Generator, frequency: NDArray[np.float64], artefacts: float) -> Field:
    """k-space weight along one axis: a Gaussian blur, and sometimes a hard edge (Gibbs ringing)."""
    sigma = rng.uniform(0.35, 0.85) * artefacts
    weight = np.exp(-2 * np.square(np.pi * sigma * frequency))
    if rng.random() < 0.5:
        edge = rng.uniform(0.3, 0.5)
        weight = weight / (1 + np.exp((np.abs(frequency) - edge) / 0.012))
    return weight.astype(np.float32)


def _scan(rng: Generator, image: Field, artefacts: float) -> Field:
    """Blur, ringing and ghosts, in k-space."""
    _, rows, columns = image.shape
    space = fft.rfft2(image, axes=(1, 2))
    space *= _window(rng, np.abs(fft.fftfreq(rows)), artefacts)[None, :, None]
    space *= _window(rng, fft.rfftfreq(columns), artefacts)[None, None, :]
    if rng.random() < 0.3 * artefacts:
        cycles, size = rng.uniform(3, 30), rng.uniform(0.0, 0.12)
        line = np.arange(rows)
        space *= (1 + size * np.sin(2 * np.pi * cycles * line / rows + rng.uniform(0, 6)))[None, :, None].astype(
            np.float32
        )
    return np.asarray(fft.irfft2(space, s=(rows, columns), axes=(1, 2)), np.float32)


def _add_noise(rng: Generator, image: Field, artefacts: float) -> None:
    """Rician noise, in place: the magnitude of a signal with complex Gaussian noise."""
    level = np.float32(np.exp(rng.uniform(np.log(0.004), np.log(0.05))) * artefacts)
    pool = _noise_pool()
    offset = int(rng.integers(0, max(pool.size - image.size - 4096, 1)))
    noise = np.resize(pool, image.size + 4096) if pool.size < image.size + 4096 else pool[offset:]
    image += (level * noise[: image.size]).reshape(image.shape)
    image *= image
    image += np.square(level * noise[4096 : 4096 + image.size]).reshape(image.shape)
    np.sqrt(image, out=image)
