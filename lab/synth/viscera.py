"""What lies in front of the thoracic and lumbar spine: vessels, psoas, bowel, liver, kidneys, lungs, heart."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lab.synth.shapes import Field, smooth_noise
from lab.synth.surround import Rows
from lab.synth.tissue import Tissue

Codes = NDArray[np.uint8]
DIAPHRAGM = 6.5  # vertebra index at the middle of the spine


def paint_viscera(
    codes: Codes, rng: Generator, rows: Rows, axes: tuple[Field, Field, Field], spacing: tuple[float, ...]
) -> None:
    """Paint belly and chest in front of the canal of `codes` (slice, down, back), in place."""
    band = rows.band(-6, 18.5)
    last = int(np.clip((float(rows.back.max()) - float(axes[2].ravel()[0])) / spacing[2], 0, codes.shape[2]))
    block = codes[:, band, :last]
    if block.size == 0:
        return
    left, back = axes[0] - rows.left[:, band], axes[2][:, :, :last]
    noise = tuple(smooth_noise(rng, block.shape, spacing, cell) for cell in ((30.0, 34.0, 30.0), (11.0, 12.0, 9.0)))
    ahead = rows.wall[:, band] - back
    level = rows.level[:, band] + 0.3 * noise[0] + 0.012 * ahead
    wall = rows.front[:, band] + np.float32(rng.uniform(10, 34)) + 0.0018 * left * left
    inner = (back < rows.back[:, band] - 8) & (back > wall) & (block > 0)
    block[(back <= wall) & (back > wall - rng.uniform(4, 11)) & (block > 0)] = Tissue.MUSCLE  # wall of the belly
    belly, chest = inner & (level < DIAPHRAGM), inner & (level >= DIAPHRAGM)
    _paint_belly(block, rng, belly, level, (left, ahead), noise)
    _paint_chest(block, rng, chest, rows.level[:, band], (left, ahead), noise)
    _paint_vessels(block, rng, inner, rows.level[:, band], (left, ahead))


def _paint_belly(
    codes: Codes,
    rng: Generator,
    where: NDArray[np.bool_],
    level: Field,
    at: tuple[Field, Field],
    noise: tuple[Field, ...],
) -> None:
    left, ahead = at
    broad, fine = noise
    codes[where] = Tissue.VISCERAL_FAT
    ring = broad + 0.14 * fine
    bowel = where & (ahead > rng.uniform(14, 34)) & (ring > rng.uniform(-0.5, 0.5))
    codes[bowel] = Tissue.BOWEL_WALL
    core = bowel & (ring > 0.7)
    codes[core] = rng.choice([Tissue.BOWEL_CONTENT, Tissue.BOWEL_FLUID], p=[0.75, 0.25])
    codes[core & (fine < -1.0)] = Tissue.AIR
    organ = where & (level > rng.uniform(3.0, 5.6)) & (ahead > rng.uniform(16, 45))
    codes[organ & (fine + 0.5 * broad < 2.2)] = Tissue.LIVER if rng.random() < 0.6 else Tissue.BOWEL_WALL
    codes[organ & (fine + 0.5 * broad > 2.9)] = Tissue.SLOW_BLOOD
    side = np.abs(left)
    grow = np.clip((4.6 - level) / 4.0, 0.15, 1.0)
    psoas = where & (np.square((side - 34) / (20 * grow + 2)) + np.square((ahead + 17) / (22 * grow + 2)) < 1)
    psoas &= level < 4.6
    codes[psoas] = np.where(fine > 2.3, np.uint8(Tissue.MUSCLE_FAT), np.uint8(Tissue.PSOAS))[psoas]
    kidney = where & (np.square((side - 62) / 26) + np.square((ahead + 10) / 24) + np.square((level - 4.2) / 1.7) < 1)
    codes[kidney] = Tissue.KIDNEY


def _paint_chest(
    codes: Codes,
    rng: Generator,
    where: NDArray[np.bool_],
    level: Field,
    at: tuple[Field, Field],
    noise: tuple[Field, ...],
) -> None:
    left, ahead = at
    broad, fine = noise
    side = np.abs(left)
    codes[where] = Tissue.VISCERAL_FAT
    mixed = where & (broad + 0.4 * fine > 0.3 - 0.35 * np.clip(level - 13, 0, 3))
    codes[mixed] = Tissue.MUSCLE
    apex = level + 0.0009 * np.square(ahead - 35) < 15.2
    lung = where & apex & ((side > 20 + 4 * broad) | (ahead > rng.uniform(30, 55) + 4 * broad))
    codes[lung] = np.where(fine > 2.2, np.uint8(Tissue.SLOW_BLOOD), np.uint8(Tissue.LUNG))[lung]
    heart = lung & (side < 50) & (ahead > 32) & (level < 12.5 + 0.8 * broad) & (level > 6)
    codes[heart] = np.where(fine > -0.8, np.uint8(Tissue.HEART), np.uint8(Tissue.MUSCLE))[heart]
    codes[where & (np.square(left / 8) + np.square((ahead - 22) / 5) < 1)] = Tissue.OESOPHAGUS
    pipe = where & (np.square(left / 9) + np.square((ahead - 36) / 8) < 1) & (level > 11.5)
    codes[pipe] = Tissue.AIR


def _paint_vessels(
    codes: Codes, rng: Generator, where: NDArray[np.bool_], level: Field, at: tuple[Field, Field]
) -> None:
    left, ahead = at
    split = rng.uniform(0.2, 1.2)  # bifurcation, about L4
    apart = np.clip(split - level, 0, 4) * 9
    for hand, centre, radius in ((1, rng.uniform(3, 15), 9.0), (-1, rng.uniform(6, 16), 10.5)):
        flat = radius * rng.uniform(0.65, 1.0)
        reach = flat + rng.uniform(1.5, 5)
        dist = np.square((hand * left - centre - apart) / radius) + np.square((ahead - reach) / flat)
        vessel = where & (dist < 1) & (level > -2.5) & (level < (15.0 if hand == 1 else DIAPHRAGM))
        slow = hand == -1 or rng.random() < 0.25
        codes[vessel] = Tissue.BOWEL_WALL
        codes[vessel & (dist < 0.8)] = Tissue.SLOW_BLOOD if slow else Tissue.FLOWING_BLOOD
