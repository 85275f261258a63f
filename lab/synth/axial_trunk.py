"""The trunk around the lumbar spine in axial planes: skin, fat, wall of the belly, pelvis, viscera, vessels.

General knowledge of low certainty, drawn with a wide spread: nothing here has a label, it only has to be there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lab.synth.axial_muscles import Place, Spacing
from lab.synth.plan import BodyPlan
from lab.synth.shapes import Field, smooth_noise
from lab.synth.tissue import Tissue

Codes = NDArray[np.uint8]
_LEVEL = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0)
# Ilium: its rear and its front end (x, y) and its half thickness, over the level; none above L4/5.
_REAR_X = (42.0, 50.0, 60.0, 76.0, 98.0, 108.0)
_REAR_Y = (40.0, 38.0, 30.0, 14.0, -4.0, -16.0)
_FRONT_X = (108.0, 114.0, 118.0, 120.0, 121.0, 118.0)
_FRONT_Y = (-40.0, -44.0, -42.0, -38.0, -30.0, -24.0)
_BOW = (-17.0, -16.0, -10.0, -3.0, 0.0, 0.0)  # towards the sacroiliac joint
_ILIUM = (9.0, 8.0, 7.0, 6.0, 4.0, -4.0)
_GLUTEUS = (30.0, 26.0, 20.0, 12.0, 3.0, -2.0)  # thickness of the gluteal muscles behind it
_ILIACUS = (16.0, 13.0, 10.0, 7.0, 3.0, -2.0)


@dataclass(frozen=True)
class TrunkPlan:
    """The patient around spine and muscles, mm."""

    half_width_mm: float
    front_mm: float  # skin of the belly in front of the canal
    fat_mm: float  # behind the fascia
    flat: float  # how far the back is pressed flat by lying, 0..1
    wall_mm: float  # muscles of the belly's wall, at the side
    crest_shift: float  # the pelvis slides along the spine by so many vertebrae
    latissimus_mm: float


def sample_trunk(rng: Generator, body: BodyPlan) -> TrunkPlan:
    """A trunk that fits `body`."""
    fat = body.fat_mm * rng.uniform(0.5, 1.6)
    return TrunkPlan(
        half_width_mm=float(np.clip(132 * body.scale + 1.2 * fat + rng.normal(0, 10), 115, 230)),
        front_mm=float(np.clip(50 * body.scale + body.belly_mm * rng.uniform(0.8, 1.1), 90, 260)),
        fat_mm=float(np.clip(fat, 2, 70)),
        flat=float(rng.uniform(0.2, 0.95)),
        wall_mm=float(rng.uniform(9, 28)),
        crest_shift=float(rng.normal(0.0, 0.4)),
        latissimus_mm=float(rng.uniform(-2, 7)),
    )


def paint_trunk(codes: Codes, place: Place, plan: TrunkPlan, rng: Generator, spacing: Spacing) -> None:
    """Fill `codes` (left, plane, back) with everything but the spine and its muscles, in place."""
    side, y = place.side, place.y
    behind = place.fascia + np.float32(plan.fat_mm) + np.float32(plan.flat * 0.0045) * side * side
    centre = np.float32(0.5 * (30.0 - plan.front_mm))
    oval = np.power(side / np.float32(plan.half_width_mm), 2.4) + np.power(
        np.abs(y - centre) / np.float32(0.5 * plan.front_mm + 45 + plan.fat_mm), 2.4
    )
    inside = (oval < 1) & (y < behind) & (y > -plan.front_mm)
    codes[inside] = Tissue.SUBCUTANEOUS_FAT
    codes[inside & ((y > behind - 1.8) | (oval > 0.97) | (y < 2.0 - plan.front_mm))] = Tissue.SKIN
    broad = smooth_noise(rng, codes.shape, spacing, (26.0, 24.0, 26.0))
    fine = smooth_noise(rng, codes.shape, spacing, (9.0, 12.0, 9.0))
    codes[(codes == Tissue.SUBCUTANEOUS_FAT) & (np.abs(broad + 0.25 * fine) < 0.03)] = Tissue.SEPTUM
    _paint_wall(codes, place, plan, rng, (broad, fine))
    _paint_latissimus(codes, place, plan)


def _paint_wall(codes: Codes, place: Place, plan: TrunkPlan, rng: Generator, noise: tuple[Field, Field]) -> None:
    """Oblique and transverse muscles in three layers, the cavity inside them."""
    side, y = place.side, place.y
    outer = np.float32(plan.half_width_mm - 4 - 0.55 * plan.fat_mm)
    half = np.float32(0.5 * (plan.front_mm - 0.7 * plan.fat_mm) + 12)
    middle = np.float32(14.0) - half
    radius = np.power(side / outer, 2.5) + np.power(np.abs(y - middle) / half, 2.5)
    depth = (1 - np.power(radius, 0.4)) * np.minimum(outer, half) + 0.8 * noise[0]  # mm inside the wall's surface
    ventral = y < 16
    thick = np.float32(plan.wall_mm) * np.clip(0.45 + side / (1.4 * outer), 0.4, 1.0)
    band = (depth > 0) & (depth < thick) & ventral
    codes[band] = Tissue.MUSCLE
    for share in (0.36, 0.7):
        layer = band & (np.abs(depth - share * thick) < 0.6 + 0.3 * noise[1])
        codes[layer] = Tissue.MUSCLE_FAT
    cavity = (depth >= thick) & (y < np.minimum(place.fascia, 14))
    codes[cavity] = Tissue.VISCERAL_FAT
    _paint_viscera(codes, rng, cavity, place, noise)


def _paint_viscera(
    codes: Codes, rng: Generator, cavity: NDArray[np.bool_], place: Place, noise: tuple[Field, Field]
) -> None:
    broad, fine = noise
    planes = place.planes
    ahead = planes.body_y - planes.half_depth - place.y  # in front of the bodies
    level = planes.level + 0.2 * broad
    ring = broad + 0.2 * fine
    bowel = (
        cavity & (ahead > rng.uniform(2, 30) - 0.25 * np.maximum(place.side - 60, 0)) & (ring > rng.uniform(-0.6, 0.4))
    )
    codes[bowel] = Tissue.BOWEL_WALL
    core = bowel & (ring > 0.75)
    codes[core] = rng.choice([Tissue.BOWEL_CONTENT, Tissue.BOWEL_FLUID], p=[0.7, 0.3])
    codes[core & (fine < -0.9)] = Tissue.AIR
    liver = cavity & (level > rng.uniform(1.6, 4.5)) & (place.x < -40) & (ahead > rng.uniform(-30, 10))
    codes[liver] = Tissue.LIVER
    for hand, low in ((1, rng.uniform(1.6, 3.0)), (-1, rng.uniform(1.3, 2.8))):
        grow = np.clip(level - low, 0, 1)
        apart = np.square((hand * place.x - 66) / (24 * grow + 0.1)) + np.square((ahead + 8) / (22 * grow + 0.1))
        codes[cavity & (apart < 1)] = Tissue.KIDNEY
        codes[cavity & (apart < 0.25) & (fine > 0)] = Tissue.VISCERAL_FAT
        codes[cavity & (np.square(hand * place.x - 58) + np.square(ahead + 12 + 3 * broad) < 5)] = Tissue.SLOW_BLOOD
    _paint_loops(codes, rng, cavity, (place.x, ahead))
    _paint_vessels(codes, rng, place, ahead)


_LOOPS = (
    Tissue.PSOAS,
    Tissue.MUSCLE,
    Tissue.BOWEL_WALL,
    Tissue.FLOWING_BLOOD,
    Tissue.BOWEL_FLUID,
    Tissue.BOWEL_CONTENT,
)


def _paint_loops(codes: Codes, rng: Generator, cavity: NDArray[np.bool_], at: tuple[Field, Field]) -> None:
    """Round or long loops of bowel, some as dark as muscle, also beside and in front of the psoas."""
    x, ahead = at
    for _ in range(int(rng.integers(2, 9))):
        size = rng.uniform(6, 22)
        u, v = x - np.float32(rng.uniform(-105, 105)), ahead - np.float32(rng.uniform(-22, 60))
        turn = rng.uniform(0, np.pi)
        long = (u * np.cos(turn) + v * np.sin(turn)) / np.float32(size * rng.uniform(1.0, 2.2))
        dist = np.square(long) + np.square((v * np.cos(turn) - u * np.sin(turn)) / np.float32(size))
        codes[cavity & (dist < 1)] = rng.choice(_LOOPS)
        if rng.random() < 0.4:
            codes[cavity & (dist < 0.5)] = rng.choice(_LOOPS)


def _paint_vessels(codes: Codes, rng: Generator, place: Place, ahead: Field) -> None:
    """Aorta to the left, cava to the right, dividing about L4."""
    split = rng.uniform(0.2, 1.2)
    apart = np.clip(split - place.planes.level, 0, 2.2) * 14
    for hand, centre, size in ((1, rng.uniform(2, 14), 9.0), (-1, rng.uniform(6, 16), 10.5)):
        across = size * np.where(place.planes.level > split, 1.0, 0.62) * rng.uniform(0.8, 1.15)
        flat = across * rng.uniform(0.6, 1.0)
        down = np.clip(split - place.planes.level, 0, 2.2) * rng.uniform(-8, 4)  # iliac vessels fall back beside L5
        dist = np.square((hand * place.x - centre - apart) / across) + np.square((ahead - flat - 2.5 - down) / flat)
        codes[dist < 1] = Tissue.BOWEL_WALL
        slow = hand == -1 or rng.random() < 0.25
        codes[dist < 0.8] = Tissue.SLOW_BLOOD if slow else Tissue.FLOWING_BLOOD


def _paint_latissimus(codes: Codes, place: Place, plan: TrunkPlan) -> None:
    """A thin sheet behind the erector, from L4 upwards: muscle that is not the erector's."""
    thick = np.clip(place.planes.level - 0.8, 0, 1.0) * np.float32(plan.latissimus_mm)
    over = place.y - place.fascia - 1.2
    codes[(over > 0) & (over < thick) & (place.side > 42) & (place.side < 100) & (codes > 0)] = Tissue.MUSCLE


def paint_pelvis(codes: Codes, labels: Codes, place: Place, plan: TrunkPlan, rng: Generator) -> None:
    """Ilium with the gluteal muscles behind and the iliacus in front of it; bone takes what lies in its way."""
    planes = place.planes
    levels = tuple(k + plan.crest_shift for k in _LEVEL)
    rear, front = ([planes.table(levels, v) for v in pair] for pair in ((_REAR_X, _REAR_Y), (_FRONT_X, _FRONT_Y)))
    half = planes.table(levels, _ILIUM)
    if float(half.max()) <= 0:
        return
    dx, dy = front[0] - rear[0], front[1] - rear[1]
    length = np.sqrt(dx * dx + dy * dy)
    u = ((place.side - rear[0]) * dx + (place.y - rear[1]) * dy) / length
    out = ((place.side - rear[0]) * -dy + (place.y - rear[1]) * dx) / length  # above 0 to the back and side
    bow = planes.table(levels, _BOW) + np.float32(rng.normal(0.0, 4.0))
    out = out - bow * np.sin(np.clip(u / length, 0, 1) * np.float32(np.pi))
    past = np.maximum(np.maximum(-u, u - length), 0.0)
    solid = np.sqrt(past * past + out * out) - half
    free = (codes > 0) & (place.y < place.fascia + np.float32(0.7 * plan.fat_mm))
    ends = (u > 4) & (u < length)
    behind = ends & (out > 0) & (half > 0) & (labels > 0)  # what the ilium cuts off is none of the back muscles
    labels[behind], codes[behind] = 0, Tissue.VISCERAL_FAT
    grown = rng.uniform(0.6, 1.4)
    gluteus = planes.table(levels, _GLUTEUS) * np.float32(grown)
    iliacus = planes.table(levels, _ILIACUS) * np.float32(grown)
    codes[free & ends & (labels == 0) & (out > 0) & (out < half + gluteus * np.clip(u / 25, 0.1, 1))] = Tissue.MUSCLE
    codes[free & (u > 18) & (u < length) & (labels == 0) & (out < 0) & (out > -half - iliacus)] = Tissue.MUSCLE
    bone = (solid < 0) & (codes > 0)
    codes[bone] = np.where(solid > -1.3, np.uint8(Tissue.SKULL), np.uint8(Tissue.BONE_MARROW))[bone]
    codes[(solid >= 0) & (solid < 0.8) & (codes > 0) & (labels == 0)] = Tissue.VISCERAL_FAT
    labels[bone] = 0
