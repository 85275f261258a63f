"""Neck in front of the spine, face, skull base and brain."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lab.synth.shapes import Field, smooth_noise
from lab.synth.surround import Rows
from lab.synth.tissue import Tissue

Codes = NDArray[np.uint8]
SHOULDER = 16.5  # vertebra index above which the neck begins, at the middle of the spine


def paint_neck(
    codes: Codes, rng: Generator, rows: Rows, axes: tuple[Field, Field, Field], spacing: tuple[float, ...]
) -> None:
    """Paint pharynx, larynx, gullet, vessels and muscles in front of the cervical spine, in place."""
    band = rows.band(14.0, 60)
    last = int(np.clip((float(rows.back.max()) - float(axes[2].ravel()[0])) / spacing[2], 0, codes.shape[2]))
    block = codes[:, band, :last]
    if block.size == 0:
        return
    left, back = axes[0] - rows.left[:, band], axes[2][:, :, :last]
    broad = smooth_noise(rng, block.shape, spacing, (16.0, 16.0, 12.0))
    fine = smooth_noise(rng, block.shape, spacing, (7.0, 6.0, 2.5))
    ahead, side = rows.wall[:, band] - back, np.abs(left)
    level = rows.level[:, band] + 0.2 * broad + 0.02 * ahead
    where = (block > 0) & (back < rows.back[:, band] - 6) & (level > SHOULDER)
    where &= back > rows.front[:, band] + rng.uniform(4, 10)
    codes_of = np.where(broad + 0.3 * fine > 0.9, np.uint8(Tissue.GLAND), np.uint8(Tissue.MUSCLE))
    codes_of[np.abs(broad - 0.4) < 0.22] = Tissue.MUSCLE_FAT
    block[where] = codes_of[where]
    retro = np.interp(rows.level[:, band], (16, 18.5, 19.5, 23), (13.0, 12.0, 5.0, 4.0)).astype(np.float32)
    bend = 1.5 * broad
    block[where & (side < 22) & (ahead < 5 + bend)] = Tissue.MUSCLE  # longus colli
    block[where & (side < 16) & (ahead > 5 + bend) & (ahead < 6.2 + bend)] = Tissue.VISCERAL_FAT
    gullet = where & (side < 9) & (ahead > 6.2 + bend) & (ahead < retro + bend) & (level < 19.5)
    block[gullet] = Tissue.OESOPHAGUS
    lumen = ahead - retro - bend
    wide = np.interp(rows.level[:, band], (15, 18.5, 19.3, 20.5, 22, 24), (15, 15, 8, 11, 9, 11)).astype(np.float32)
    airway = where & (side < 11) & (lumen > 0) & (lumen < wide + 2.5)
    block[airway] = Tissue.MUCOSA
    block[airway & (side < 8.5) & (lumen > 1.2) & (lumen < wide)] = Tissue.AIR
    thyroid = where & (np.square((side - 16) / 9) + np.square((ahead - 22) / 11) + np.square((level - 17.3) / 1.2) < 1)
    block[thyroid] = Tissue.GLAND
    vessel = where & (np.square((side - 22) / 5.5) + np.square((ahead - 9) / 5.5) < 1)
    block[vessel] = Tissue.FLOWING_BLOOD


def paint_face(block: Codes, points: tuple[Field, Field, Field], rng: Generator) -> None:
    """Tongue, jaw, palate and nose; `points` are (u, h, p) in the frame of the atlas."""
    u, h, p = points
    side, flesh = np.abs(u), block > 0
    tongue = np.square(u / 27) + np.square((h + 28) / 22) + np.square((p + 64) / 30) < 1
    block[flesh & tongue] = Tissue.MUSCLE_DEEP
    jaw = np.square((np.sqrt(np.square(side) + np.square(p + 55)) - 38) / 7) + np.square((h + 42) / 12) < 1
    jaw &= flesh & (p < -50)
    block[jaw] = Tissue.BONE_MARROW
    teeth = flesh & (np.abs(h + 24) < 8) & (np.abs(p + 94) < 4) & (side < 25)
    block[teeth] = Tissue.TOOTH
    palate = flesh & (np.abs(h + 4) < 2.5) & (p < -36) & (p > -92) & (side < 22)
    block[palate] = Tissue.SKULL
    nose = flesh & (h > 0) & (h < 36) & (p < -34) & (p > -95) & (side < 16)
    conchae = np.sin(0.42 * h + 0.15 * np.sin(0.12 * p)) + 0.6 * np.sin(0.9 * u) > -0.1
    block[nose] = np.where(conchae, np.uint8(Tissue.MUCOSA), np.uint8(Tissue.AIR))[nose]
    sinus = flesh & (np.square((h - 40) / 12) + np.square((p + 36) / 13) + np.square(u / 14) < 1)
    block[sinus] = Tissue.AIR if rng.random() < 0.8 else Tissue.MUCOSA


def paint_skull(block: Codes, points: tuple[Field, Field, Field], rng: Generator) -> None:
    """Occiput, clivus, brainstem, cerebellum and cisterns; `points` are (u, h, p) in the frame of the atlas."""
    u, h, p = points
    ball = np.sqrt(np.square(h - 66) + np.square(p - 24) + np.square(u)) - 60
    face = p < -4 - 0.75 * (h - 16)
    scalp = (ball < 14) & (h > 10) & ~face & (block == Tissue.AIR)
    block[scalp] = np.where(ball > 12.2, np.uint8(Tissue.SKIN), np.uint8(Tissue.SUBCUTANEOUS_FAT))[scalp]
    inside = block > 0
    hole = (np.abs(p - 16) < 16) & (np.abs(u) < 15)
    skull = inside & (ball < 8) & ~face & (h > 4) & ~(hole & (h < 22))
    block[skull] = np.where(np.abs(ball - 4) < 2.0, np.uint8(Tissue.BONE_MARROW), np.uint8(Tissue.SKULL))[skull]
    clivus = inside & face & (p > -22 - 0.75 * (h - 16)) & (h > 14) & (h < 52) & (np.abs(u) < 15)
    block[clivus] = Tissue.BONE_MARROW
    block[clivus & (p > -6 - 0.75 * (h - 16))] = Tissue.SKULL
    cavity = skull & (ball < 0)
    cavity |= inside & hole & (h > 14) & (h < 24) & ~face
    block[cavity] = Tissue.CISTERN
    stem_p = np.interp(h, (10, 30, 60), (13.0, 6.0, -4.0)).astype(np.float32)
    stem_r = np.interp(h, (10, 24, 30, 36, 60), (5.0, 7.0, 10.0, 12.5, 12.0)).astype(np.float32)
    stem = np.sqrt(np.square(p - stem_p) + np.square(u * 0.75)) < stem_r
    ripple = 0.8 * np.sin(1.4 * p + 0.7 * h) * np.sin(1.1 * h + rng.uniform(0, 6))
    cerebellum = (ball < -3 + ripple) & (p > stem_p + stem_r + 3 + ripple) & (h > 19 + 0.1 * (p - 30) + ripple)
    block[cavity & (stem | cerebellum)] = Tissue.BRAIN
