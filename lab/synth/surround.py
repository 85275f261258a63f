"""The patient around the spine: outline, skin, fat, muscles of the back. Viscera and head lie in `viscera`, `head`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from lab.synth.bones import arch_shape
from lab.synth.canal import CanalCourse
from lab.synth.plan import SpinePlan
from lab.synth.shapes import Field, smooth_noise
from lab.synth.tissue import Tissue

Codes = NDArray[np.uint8]

# Over the vertebra index (-5 = S5 ... 27 = skull). General knowledge of low certainty, looked at beside real images.
_INDEX = (-5, -3, -1, 0, 2, 4, 7, 12, 16, 18, 20, 22, 24, 27)
_MUSCLE = (6, 10, 22, 30, 36, 36, 34, 34, 42, 46, 44, 42, 36, 26)  # mm from the canal's middle to the fascia, at least
_BULGE = (4, 8, 10, 10, 9, 8, 6, 4, 2, 0, 0, 0, 0, 0)  # mm by which the muscles beside the midline stand out
_FAT = (1.9, 1.9, 1.7, 1.3, 0.95, 0.75, 0.6, 0.55, 0.9, 0.8, 0.55, 0.5, 0.35, 0.3)  # share of the fat behind L3
_FRONT = (1.2, 1.2, 1.1, 1.05, 1.0, 1.0, 1.05, 1.0, 0.65, 0.0, 0.0, 0.0, 0.0, 0.0)  # share of the belly
_FRONT_MM = (0, 0, 0, 0, 0, 0, 10, 30, 30, 62, 52, 78, 100, 105)  # and mm, in front of the bodies
_WIDE = (160, 165, 165, 160, 150, 145, 150, 165, 175, 95, 62, 62, 72, 75)  # half width


@dataclass(frozen=True)
class Rows:
    """Course of the patient along the rows, mm; all of shape (1, rows, 1)."""

    left: Field
    back: Field  # middle of the canal
    level: Field  # vertebra index, fractions between
    fascia: Field  # back of the muscles in the midline, world
    bulge: Field
    skin: Field
    front: Field  # anterior skin, world
    wall: Field  # anterior wall of the vertebral bodies, world
    wide: Field

    def band(self, low: float, high: float) -> slice:
        """Rows whose level lies within `low` .. `high`."""
        hit = np.flatnonzero((self.level.ravel() >= low) & (self.level.ravel() <= high))
        return slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, 0)


def _levels(plan: SpinePlan, down_mm: Field) -> NDArray[np.float64]:
    heights = np.array([f.origin_mm[1] for f in (*plan.sacral_frames[::-1], *plan.frames)])
    index = np.array([*range(-5, 0), *range(len(plan.frames))], float)
    order = np.argsort(heights)
    level = np.interp(down_mm, heights[order], index[order])
    level = np.where(down_mm < heights.min(), 23 + (heights.min() - down_mm) / 18.0, level)
    return np.where(down_mm > heights.max(), -5.0, level)


def _spinous_tips(plan: SpinePlan) -> NDArray[np.float64]:
    """(vertebrae,) distance of the tip of the spinous process behind the canal's middle."""
    tips = []
    for vertebra in plan.vertebrae[:-1]:
        shape = arch_shape(vertebra)
        reach = shape.spinous_length * np.cos(np.radians(shape.spinous_slant)) + 3.0
        tips.append(0.5 * vertebra.osseous_ap_mm + 2.0 + reach)
    return np.array([*tips, 18.0])


def outline(plan: SpinePlan, canal: CanalCourse, down_mm: Field, row_mm: float) -> Rows:
    """Outline of back and front at every row."""
    level = _levels(plan, down_mm)
    body = plan.body
    soft = max(18.0 / row_mm, 1.0)

    def smooth(values: NDArray[np.floating], times: float = 1.0) -> NDArray[np.float64]:
        return gaussian_filter1d(np.asarray(values, float), times * soft, mode="nearest")

    table = {name: np.interp(level, _INDEX, values) for name, values in _TABLES.items()}
    tips = np.interp(level, range(-3, len(plan.vertebrae)), [10.0, 17.0, 24.0, *_spinous_tips(plan)])
    muscle = np.maximum(smooth(np.maximum(table["muscle"] * body.muscle_scale, tips + 2.0)), tips - 2.0)
    fascia = smooth(canal.back) + smooth(muscle, 0.6)
    skin = smooth(fascia + table["fat"] * body.fat_mm + 2.5)
    depth = np.interp(
        level, range(len(plan.vertebrae)), [*(v.depth_mm for v in plan.vertebrae[:-1]), plan.vertebrae[-2].depth_mm]
    )
    wall = canal.back - canal.sac_ap / 2 - canal.front_gap - depth * np.sqrt(1 + canal.slope**2)
    front = table["front"] * body.belly_mm + table["front_mm"] * body.scale
    belly = smooth(smooth(wall, 2.0) - smooth(front, 0.5), 0.4)

    def rows(values: NDArray[np.floating]) -> Field:
        return np.asarray(values, np.float32)[None, :, None]

    return Rows(
        left=rows(canal.left),
        back=rows(canal.back),
        level=rows(level),
        fascia=rows(fascia),
        bulge=rows(table["bulge"] * body.muscle_scale),
        skin=rows(skin),
        front=rows(belly),
        wall=rows(smooth(wall, 0.8)),
        wide=rows(table["wide"] * body.scale),
    )


_TABLES = {"muscle": _MUSCLE, "bulge": _BULGE, "fat": _FAT, "front": _FRONT, "front_mm": _FRONT_MM, "wide": _WIDE}


def paint_skin_and_back(
    codes: Codes,
    rng: Generator,
    plan: SpinePlan,
    rows: Rows,
    axes: tuple[Field, Field, Field],
    spacing: tuple[float, ...],
) -> None:
    """Fill `codes` (slice, down, back) with skin, subcutaneous fat and the muscles behind the spine, in place."""
    left, _, back = axes
    side = np.abs(left - rows.left)
    curve = 0.0018 * side * side  # the back is round from side to side
    stand = rows.bulge * (1 - np.exp(-np.square(side / 13.0)))
    fascia = rows.fascia + stand - curve
    skin = rows.skin + 0.55 * stand - curve
    front = rows.front + curve
    codes[(back < skin) & (back > front) & (side < rows.wide)] = Tissue.SUBCUTANEOUS_FAT
    codes[(codes > 0) & ((back > skin - 1.8) | (back < front + 1.8))] = Tissue.SKIN
    first = int(np.clip((float(rows.back.min()) - 14 - float(back.ravel()[0])) / spacing[2], 0, codes.shape[2] - 1))
    behind = (slice(None), slice(None), slice(first, None))
    _paint_back(codes[behind], rng, plan, rows, (left - rows.left, back[:, :, first:]), fascia, spacing)


def _sheared_noise(
    rng: Generator, shape: tuple[int, ...], spacing: tuple[float, ...], cell: tuple[float, ...], slant: float
) -> Field:
    """Noise whose streaks run down and back by `slant` columns a row."""
    n, rows, columns = shape
    extra = int(abs(slant) * rows) + 1
    wide = smooth_noise(rng, (n, rows, columns + extra), spacing, cell)
    shift = (np.arange(rows) * abs(slant)).astype(np.intp)
    if slant > 0:
        shift = extra - 1 - shift
    at = np.arange(rows)[:, None] * (columns + extra) + shift[:, None] + np.arange(columns)[None, :]
    return np.take(wide.reshape(n, -1), at, axis=1)


def _paint_back(
    codes: Codes,
    rng: Generator,
    plan: SpinePlan,
    rows: Rows,
    at: tuple[Field, Field],
    fascia: Field,
    spacing: tuple[float, ...],
) -> None:
    offset, back = at
    side = np.abs(offset)
    behind = back - rows.back
    fine = _sheared_noise(rng, codes.shape, spacing, (7.0, 16.0, 2.4), rng.uniform(0.2, 0.5))
    broad = smooth_noise(rng, codes.shape, spacing, (18.0, 24.0, 14.0))
    septa = (codes == Tissue.SUBCUTANEOUS_FAT) & (np.abs(broad + 0.25 * fine) < 0.035)
    codes[septa] = Tissue.SEPTUM
    room = fascia - back
    muscle = (room > 0) & (behind > -12) & (side < 78) & (codes > 0)
    thick = fascia - rows.back
    plane = behind - 0.55 * thick + 0.12 * side - 1.5 * broad  # between the deep and the superficial muscles
    codes[muscle] = np.where(plane < 0, np.uint8(Tissue.MUSCLE_DEEP), np.uint8(Tissue.MUSCLE))[muscle]
    low = np.clip((2.5 - rows.level) / 5.0, 0.0, 1.0)  # fat replaces muscle from below
    fatty = plan.body.muscle_fat * (0.75 + 0.9 * low)
    between = np.exp(-np.square(plane / 2.5)) + 0.8 * np.exp(-np.square((side - 24.0 - 3.0 * broad) / 3.0))
    limit = 3.7 - 4.6 * fatty - 1.5 * between - 0.9 * low * (plane < 0)
    streak = muscle & (fine + 0.45 * broad > limit)
    middle = muscle & (side < 3.2) & (rows.level < 17 + 0.5 * broad)
    codes[middle] = np.where(fine + 0.3 * broad > 0.2, np.uint8(Tissue.MUSCLE_FAT), np.uint8(Tissue.INTERSPINOUS))[
        middle
    ]
    codes[streak & ~middle] = Tissue.MUSCLE_FAT
    codes[muscle & (room < 1.3)] = Tissue.FASCIA
    neck = muscle & (rows.level > 17 + 0.5 * broad) & (side < 2.2) & (behind > 14)  # ligamentum nuchae between fat
    codes[neck] = np.where(fine > -0.3, np.uint8(Tissue.MUSCLE_FAT), np.uint8(Tissue.LIGAMENT))[neck]
