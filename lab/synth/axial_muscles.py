"""The muscles of the lumbar spine in axial planes: compartments, the fat between them and the fat inside.

A compartment is what its fascia holds: the fat between the fascicles and the fat around the muscle (epimuscular) too,
as in method 1 of Berry et al. 2018 (doi 10.1186/s12891-018-2059-x). The fat between multifidus and erector counts as
the erector's, and so does the fat in front of the erector. Psoas and quadratus have no fat around them. Sizes over
the level are general knowledge of medium certainty (areas at L4/5: EVIDENCE, section 6) and are drawn with a wide
spread. x runs from the spine to the side, y from the middle of the canal to the back, mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lab.synth.axial_landmarks import Planes
from lab.synth.shapes import Field, smooth_max, smooth_noise
from lab.synth.tissue import Tissue
from spine.anatomy import AxialStructure

Codes = NDArray[np.uint8]
Spacing = tuple[float, float, float]

_LEVEL = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.5)
_SEPTUM_DEEP = (29.0, 33.0, 34.0, 33.0, 31.0, 29.0, 27.0, 25.0, 21.0, 18.0, 15.0)  # x where it leaves the bone
_SEPTUM_TOP = (40.0, 42.0, 42.0, 40.0, 35.0, 29.0, 22.0, 15.0, 8.0, 5.0, 3.0)  # x under the fascia
_ERECTOR_EDGE = (44.0, 51.0, 58.0, 66.0, 71.0, 74.0, 76.0, 76.0, 74.0, 70.0, 65.0)
_FLOOR = (13.0, 12.0, 11.0, 6.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0)  # y of the ventral border beside the facets
_DROP = (0.0, 3.0, 6.0, 8.0, 7.0, 6.0, 4.0, 3.0, 2.0, 1.0, 1.0)  # by which the erector reaches further to the front
_BULGE = (2.0, 4.0, 6.0, 9.0, 11.0, 12.0, 12.0, 12.0, 11.0, 10.0, 9.0)  # of the fascia beside the midline
_THICK = (29.0, 37.0, 41.0, 42.0, 41.0, 41.0, 41.0, 40.0, 38.0, 36.0, 34.0)  # least y of the fascia in the midline
_TENT = (6.0, 6.0, 5.0, 3.0, 2.0, 1.0, 0.6, 0.4, 0.3, 0.2, 0.2)  # fat under the fascia over the septum
_PSOAS_X = (17.0, 19.0, 20.0, 21.0, 21.0, 19.5, 17.0, 14.0, 9.5, 6.5, 0.5)  # half axes
_PSOAS_Y = (18.0, 20.0, 21.0, 22.0, 22.0, 21.0, 20.0, 18.0, 14.0, 10.0, 0.5)
_PSOAS_OUT = (26.0, 16.0, 9.0, 4.0, 0.5, -1.5, -2.5, -3.0, -3.5, -4.0, -6.0)  # gap to the body's wall
_PSOAS_BACK = (-24.0, -20.0, -14.0, -8.0, -2.0, 1.0, 4.0, 6.0, 8.0, 9.0, 9.0)  # of the body's middle
_QUADRATUS_X = (0.0, 0.0, 0.0, 4.0, 18.0, 24.0, 25.0, 24.0, 20.0, 14.0, 8.0)  # half axes
_QUADRATUS_Y = (0.0, 0.0, 0.0, 3.0, 5.5, 6.5, 7.0, 7.0, 6.5, 5.5, 4.0)
_QUADRATUS_AT = (76.0, 76.0, 76.0, 78.0, 77.0, 70.0, 64.0, 58.0, 50.0, 44.0, 40.0)


@dataclass(frozen=True)
class MusclePlan:
    """How one patient's muscles differ from the tables. Pairs are (right, left)."""

    scale: float
    multifidus: tuple[float, float]  # width factor
    erector: tuple[float, float]
    psoas: tuple[float, float]
    quadratus: tuple[float, float]
    psoas_shape: tuple[float, float, float]  # factor of x against y, turn (radians), shift to the front (mm)
    quadratus_shift_mm: tuple[float, float]  # to the side, to the back
    quadratus_slope: float  # share of the erector's slope that it follows
    thickness: float  # of the back muscles behind the arches
    curve: float  # of the fascia from side to side, 1/mm
    septum_mm: float  # fat between multifidus and erector
    septum_shift_mm: tuple[float, float]  # of the septum, deep and under the fascia
    floor_mm: float  # shift of the ventral border of the back muscles
    drop: float  # factor of _DROP
    floor_slope: float  # by which that border runs to the back on its way to the side
    cap_mm: float  # fat in front of the erector, thickest beside the facets
    sacral_mm: tuple[float, float]  # beside the sacrum: the erector's edge further to the side, its front to the back
    lean: float  # of the fascicles in the plane, mm to the side for every mm to the back
    tent: float  # factor of the fat under the fascia
    gap_mm: float  # of fat between muscle and bone or fascia, everywhere
    level_shift: float  # the tables slide along the spine by so many vertebrae
    fat: tuple[float, float, float, float]  # share of fat: multifidus, erector, psoas, quadratus
    fat_tilt: tuple[float, float]  # right, left: factor of the share
    streak_mm: tuple[float, float]  # across and along the fascicles
    warp_mm: tuple[float, float]  # wandering of the contours: broad, fine
    one_tissue: bool  # multifidus looks as the erector does


def sample_muscles(rng: Generator, scale: float, fat: float) -> MusclePlan:
    """Muscles of a patient of `scale` whose back muscles hold about `fat` (0..1)."""
    level = float(np.clip(rng.normal(1.0, 0.14), 0.6, 1.4))

    def pair(spread: float) -> tuple[float, float]:
        both = level * rng.normal(1.0, 0.08)
        return tuple(float(np.clip(both * rng.normal(1.0, spread), 0.5, 1.6)) for _ in range(2))  # type: ignore[return-value]

    low = float(np.clip(fat * rng.uniform(0.3, 1.3), 0.0, 0.6))
    tilt = float(rng.normal(0, 0.15))
    return MusclePlan(
        scale=scale,
        multifidus=tuple(0.25 + 0.75 * w for w in pair(0.06)),  # type: ignore[arg-type]
        erector=tuple(0.45 + 0.55 * w for w in pair(0.04)),  # type: ignore[arg-type]
        psoas=pair(0.07),
        quadratus=pair(0.1),
        psoas_shape=(float(rng.normal(1, 0.12)), float(rng.normal(0, 0.35)), float(rng.normal(0, 4))),
        quadratus_shift_mm=(float(rng.normal(0, 3)), float(rng.normal(0, 2.5))),
        quadratus_slope=float(rng.uniform(0.1, 1.0)),
        thickness=float(np.clip(rng.normal(1.05, 0.15), 0.7, 1.45)),
        curve=float(np.clip(rng.normal(0.0042, 0.0011), 0.0015, 0.0075)),
        septum_mm=float(np.clip(rng.exponential(1.2) + 2.0 * fat, 0.0, 6.0)),
        septum_shift_mm=(float(rng.normal(0, 2.5)), float(rng.normal(0, 5.0))),
        floor_mm=float(rng.normal(0, 2.5)),
        drop=float(np.clip(rng.normal(1.0, 0.5), 0.0, 2.0)),
        floor_slope=float(np.clip(rng.normal(0.4, 0.16), 0.0, 0.8)),
        cap_mm=float(np.clip(rng.exponential(3.0) + 6.0 * fat, 0.0, 12.0)),
        sacral_mm=(float(rng.normal(-1.5, 3.5)), float(rng.normal(3.0, 4.5))),
        lean=float(rng.normal(0, 0.5)),
        tent=float(rng.uniform(0.0, 1.3)),
        gap_mm=float(np.clip(rng.exponential(0.4), 0.0, 1.5)),
        level_shift=float(rng.normal(0, 0.3)),
        fat=(float(np.clip(fat * rng.uniform(0.7, 1.6), 0.0, 0.65)), low, 0.15 * low, 0.3 * low),
        fat_tilt=(1 + tilt, 1 - tilt),
        streak_mm=(float(rng.uniform(1.6, 4.0)), float(rng.uniform(4.0, 14.0))),
        warp_mm=(float(rng.uniform(0.6, 3.2)), float(rng.uniform(0.2, 1.0))),
        one_tissue=bool(rng.random() < 0.6),
    )


@dataclass(frozen=True)
class Place:
    """Coordinates of every voxel beside the spine, (left, plane, back), and the tables at its planes."""

    x: Field  # from the midline to the patient's left, signed
    side: Field  # |x|
    y: Field  # from the middle of the canal to the back
    planes: Planes
    fascia: Field  # y of the thoracolumbar fascia


def place_muscles(axes: tuple[Field, Field, Field], planes: Planes, plan: MusclePlan, rng: Generator) -> Place:
    """Coordinates in the patient's own frame, with the contours' wandering put in."""
    shape = tuple(max(a.shape[n] for a in axes) for n in range(3))
    spacing = tuple(float(np.ravel(a)[1] - np.ravel(a)[0]) for a in axes)
    left, back = axes[0] - planes.left, axes[2] - planes.back
    x = left * planes.cos + back * planes.sin
    y = back * planes.cos - left * planes.sin
    for amount, cell in zip(plan.warp_mm, (28.0, 9.0), strict=True):
        x, y = (f + np.float32(0.5 * amount) * smooth_noise(rng, shape, spacing, (cell, 30.0, cell)) for f in (x, y))
    side = np.abs(x)
    bulge = planes.table(_LEVEL, _BULGE) * np.float32(plan.scale * plan.thickness)
    tip = np.maximum(planes.tip + 1.0, planes.table(_LEVEL, _THICK) * np.float32(plan.scale * plan.thickness))
    fascia = (
        tip
        + bulge * (1 - np.exp(-np.square(side / np.float32(14 * plan.scale))))
        - np.float32(plan.curve) * (side * side)
    )
    return Place(x.astype(np.float32), side.astype(np.float32), y.astype(np.float32), planes, fascia.astype(np.float32))


def paint_muscles(codes: Codes, place: Place, plan: MusclePlan, rng: Generator, spacing: Spacing) -> Codes:
    """Paint the muscles into `codes` (left, plane, back), in place; returns their compartments as AxialStructure."""
    labels = np.zeros(codes.shape, np.uint8)
    table = _Tables(place, plan)
    trough = place.y > table.floor - 6
    codes[(place.y < place.fascia) & trough & (place.side < table.edge + 6)] = Tissue.VISCERAL_FAT
    sheet = np.abs(place.y - place.fascia) < np.float32(rng.uniform(0.4, 1.0))
    codes[sheet & trough & (place.side < table.edge + 12)] = Tissue.FASCIA
    _paint_middle(codes, place, rng, spacing)
    gap = np.float32(plan.gap_mm)
    quadratus, psoas = _quadratus(place, plan, table) + gap, _psoas(place, plan) + np.float32(0.3) * gap
    solids = {  # the compartment and the muscle in it
        AxialStructure.QUADRATUS_LUMBORUM: (quadratus, quadratus),
        AxialStructure.PSOAS: (psoas, psoas),
        AxialStructure.ERECTOR_SPINAE: (table.erector(fat=True), table.erector() + gap),
        AxialStructure.MULTIFIDUS: (table.multifidus(fat=True), table.multifidus() + gap),
    }
    flesh = np.zeros(codes.shape, bool)
    for structure, (compartment, muscle) in solids.items():
        within = compartment < 0
        codes[within | ((muscle < gap) & (muscle > -0.5))] = Tissue.VISCERAL_FAT
        labels[within] = structure
        inside = within & (muscle < 0)
        codes[inside] = _tissue(structure, plan)
        flesh = (flesh & ~within) | inside
    _infiltrate(codes, np.where(flesh, labels, np.uint8(0)), table, (rng, spacing))
    return labels


def _tissue(structure: AxialStructure, plan: MusclePlan) -> int:
    if structure == AxialStructure.MULTIFIDUS and not plan.one_tissue:
        return int(Tissue.MUSCLE_DEEP)
    return int(Tissue.MUSCLE if structure <= AxialStructure.ERECTOR_SPINAE else Tissue.PSOAS)


class _Tables:
    """The borders of the back muscles at every voxel's plane and side."""

    def __init__(self, place: Place, plan: MusclePlan) -> None:
        self.place, self.plan = place, plan
        planes, scale = place.planes, plan.scale
        levels = tuple(k + plan.level_shift for k in _LEVEL)

        def table(values: tuple[float, ...]) -> Field:
            return planes.table(levels, values)

        right = place.x < 0
        inner = np.where(right, np.float32(plan.multifidus[0]), np.float32(plan.multifidus[1]))
        outer = np.where(right, np.float32(plan.erector[0]), np.float32(plan.erector[1]))
        deep, top = (
            table(values) * inner * np.float32(scale) + np.float32(shift)
            for values, shift in zip((_SEPTUM_DEEP, _SEPTUM_TOP), plan.septum_shift_mm, strict=True)
        )
        share = np.clip((place.y - 12) / np.maximum(planes.tip - 12, 6), -0.5, 1.6)
        self.septum = deep + (top - deep) * share
        self.edge = table(_ERECTOR_EDGE) * outer * np.float32(scale)
        lateral = np.maximum(place.side - 32, 0)
        beside = np.clip((place.side - deep + 6) / 8, 0.0, 1.0)  # of the facets: there the erector reaches further
        self.low = np.clip(-0.5 - planes.level, 0.0, 1.0)  # 1 from the first sacral segment on
        aside, backwards = (np.float32(shift) * self.low for shift in plan.sacral_mm)
        self.edge = self.edge + aside
        self.floor = (
            table(_FLOOR)
            + np.float32(plan.floor_mm)
            + (backwards - np.float32(plan.drop) * table(_DROP)) * beside
            + np.float32(plan.floor_slope) * lateral
            + 0.003 * np.square(np.maximum(place.side - 56, 0))
        )
        tent = table(_TENT) * np.float32(plan.tent)
        self.cap = np.float32(plan.cap_mm) * beside * np.exp(-lateral / 22) * (1 - 0.7 * self.low)
        self.roof = place.fascia - 0.8 - tent * np.exp(-np.square((place.side - top) / np.float32(12 * scale)))

    def multifidus(self, fat: bool = False) -> Field:
        """Distance to the multifidus of either side, or to its compartment with the `fat` around the muscle."""
        half = np.float32(0.5 * self.plan.septum_mm)
        roof = self.place.fascia - np.float32(0.4) if fat else self.roof
        wall = smooth_max(3.6 - self.place.side, self.place.side - self.septum + half, 4.0)
        return smooth_max(np.maximum(self.floor - self.place.y, self.place.y - roof), wall, 6.0)

    def erector(self, fat: bool = False) -> Field:
        """Distance to longissimus and iliocostalis of either side, or to the compartment with the `fat` around."""
        half = np.float32((-0.5 if fat else 0.5) * self.plan.septum_mm)
        inner = np.maximum(self.septum + half, 3.6)  # above L4 the erector reaches the midline over the multifidus
        wall = np.maximum(inner - self.place.side, self.place.side - self.edge)
        floor = self.floor - self.cap if fat else self.floor
        roof = self.place.fascia - np.float32(0.4) if fat else self.roof
        trough = np.maximum(floor - self.place.y, self.place.y - roof)
        return smooth_max(trough, wall, 5.0 if fat else 9.0)


def _psoas(place: Place, plan: MusclePlan) -> Field:
    planes = place.planes
    levels = tuple(k + 0.6 * plan.level_shift for k in _LEVEL)
    size = np.where(place.x < 0, *(np.float32(plan.scale * np.sqrt(s)) for s in plan.psoas))
    stretch, turn, shift = plan.psoas_shape
    long = planes.table(levels, _PSOAS_Y) * size
    wide = planes.table(levels, _PSOAS_X) * size * np.float32(stretch)
    hand = np.sign(place.x)
    x = hand * (place.x - planes.body_x) - planes.half_width - planes.table(levels, _PSOAS_OUT) - wide
    y = place.y - planes.body_y - planes.table(levels, _PSOAS_BACK) + np.float32(shift)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    v = v * (1 + 0.012 * u)  # a tear rather than an ellipse
    radius = np.sqrt(np.square(u / np.maximum(wide, 1)) + np.square(v / np.maximum(long, 1)))
    return (radius - 1) * np.minimum(wide, long)


def _quadratus(place: Place, plan: MusclePlan, table: _Tables) -> Field:
    planes = place.planes
    levels = tuple(k + plan.level_shift for k in _LEVEL)
    size = np.where(place.x < 0, *(np.float32(plan.scale * np.sqrt(s)) for s in plan.quadratus))
    wide, thick = (planes.table(levels, v) * size for v in (_QUADRATUS_X, _QUADRATUS_Y))
    aside, backwards = plan.quadratus_shift_mm
    x = place.side - planes.table(levels, _QUADRATUS_AT) * np.float32(plan.scale) - np.float32(aside)
    slope = np.float32(plan.floor_slope * plan.quadratus_slope)
    y = place.y - table.floor + thick + np.float32(1.5 - backwards) - slope * x
    radius = np.sqrt(np.square(x / np.maximum(wide, 1)) + np.square(y / np.maximum(thick, 1)))
    return np.maximum((radius - 1) * np.minimum(wide, thick), place.y - table.floor + table.cap + 1.0)


def _paint_middle(codes: Codes, place: Place, rng: Generator, spacing: Spacing) -> None:
    """Interspinales and the ligaments between the spinous processes, with fat."""
    noise = smooth_noise(rng, codes.shape, spacing, (4.0, 8.0, 6.0))
    middle = (place.side < 3.4) & (place.y > 6) & (place.y < place.planes.tip)
    codes[middle] = np.where(noise > 0.3, np.uint8(Tissue.MUSCLE_FAT), np.uint8(Tissue.INTERSPINOUS))[middle]


def _leaning_noise(rng: Generator, shape: tuple[int, ...], spacing: Spacing, cell: Spacing, lean: float) -> Field:
    """(left, plane, back) noise whose streaks run to the back and lean away from the midline."""
    wide, planes, deep = shape
    extra = int(abs(lean) * deep) + 1
    noise = smooth_noise(rng, (wide + 2 * extra, planes, deep), spacing, cell)
    hand = np.where(np.arange(wide) < wide // 2, -1.0, 1.0)
    index = np.arange(wide)[:, None] + extra + (hand[:, None] * lean * np.arange(deep)).astype(np.intp)
    out: Field = noise[index[:, None, :], np.arange(planes)[None, :, None], np.arange(deep)[None, None, :]]
    return out


def _infiltrate(codes: Codes, labels: Codes, table: _Tables, draw: tuple[Generator, Spacing]) -> None:
    """Fat in streaks and patches: first medial and deep in the multifidus, at the rims and in front of the erector."""
    rng, spacing = draw
    place, plan = table.place, table.plan
    across, along = plan.streak_mm
    streak = _leaning_noise(rng, codes.shape, spacing, (across, 8.0, along), plan.lean)
    patch = smooth_noise(rng, codes.shape, spacing, (9.0, 12.0, 9.0))
    score = streak + np.float32(rng.uniform(0.3, 1.0)) * patch
    low = np.clip(1.5 - place.planes.level, 0.0, 3.0)  # fat comes from below
    bias = {
        AxialStructure.MULTIFIDUS: 1.8 * np.exp(-place.side / 9.0)
        + np.float32(rng.uniform(0.8, 3.0)) * np.exp(-np.maximum(place.y - 12, 0) / 8.0),
        AxialStructure.ERECTOR_SPINAE: np.float32(rng.uniform(0.0, 2.5))
        * np.exp(-np.maximum(place.y - table.floor, 0) / 7.0)
        + 1.2 * np.exp(-np.maximum(place.fascia - place.y, 0) / 7.0)
        + np.exp(-np.square((place.side - 46.0 * plan.scale) / 2.5)),
        AxialStructure.PSOAS: np.float32(0.0) * place.side,
        AxialStructure.QUADRATUS_LUMBORUM: np.float32(0.0) * place.side,
    }
    for (structure, lean), share in zip(bias.items(), plan.fat, strict=True):
        inside = labels == structure
        wanted = share * (0.7 + 0.3 * low) * np.where(place.x < 0, *(np.float32(t) for t in plan.fat_tilt))
        if not inside.any() or share < 0.01:
            continue
        total = score + np.float32(rng.uniform(0.3, 1.3)) * lean
        ranks = np.empty(int(inside.sum()), np.float32)
        ranks[np.argsort(total[inside])] = np.linspace(0, 1, len(ranks), dtype=np.float32)
        fat = ranks > 1 - np.broadcast_to(wanted, codes.shape)[inside] / 0.75
        block = codes[inside]
        block[fat] = Tissue.MUSCLE_FAT
        codes[inside] = block
