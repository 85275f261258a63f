"""Rasterise a plan: fine tissues on a sagittal grid, with network classes, instances and truth.

Axes of all arrays: (slice, down, back): slices run towards the patient's left, rows towards the feet, columns
towards the back, as in `spine.records.Volume`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lab.synth.bones import (
    BodyField,
    arch_field,
    arch_shape,
    atlas_field,
    body_field,
    canal_tube,
    dens_field,
    plate_radius,
    sacral_field,
    sacral_rear_field,
)
from lab.synth.canal import CanalCourse, canal_course
from lab.synth.head import paint_face, paint_neck, paint_skull
from lab.synth.plan import DiscPlan, Frame, SpinePlan, VertebraPlan, Window
from lab.synth.shapes import Field, capsule, ellipsoid, smooth_min, smooth_noise
from lab.synth.surround import outline, paint_skin_and_back
from lab.synth.tissue import STRUCTURE_OF_TISSUE as STRUCTURE_OF_TISSUE
from lab.synth.tissue import Tissue
from lab.synth.truth import spine_truth
from lab.synth.viscera import paint_viscera
from spine.anatomy import C2_LABEL, CANAL_LABEL, Structure

Codes = NDArray[np.uint8]
CORTEX_MM = 0.8
END_PLATE_MM = 0.55


@dataclass(frozen=True)
class Phantom:
    """A rasterised spine."""

    tissues: Codes  # (slice, down, back) codes of `Tissue`
    instances: Codes  # (slice, down, back): 1..24 vertebra, 201..223 disc, 100 canal and cord
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]  # world position of voxel (0, 0, 0)
    truth: dict[str, Any]

    @property
    def structures(self) -> Codes:
        """(slice, down, back) values of `spine.anatomy.Structure`."""
        return STRUCTURE_OF_TISSUE[self.tissues]


class _Canvas:
    """The grid while it is painted."""

    def __init__(self, shape: tuple[int, int, int], spacing: tuple[float, float, float], origin: NDArray[np.float64]):
        self.codes: Codes = np.zeros(shape, np.uint8)
        self.instances: Codes = np.zeros(shape, np.uint8)
        self.spacing, self.origin = spacing, origin
        grids = [np.float32(o) + np.arange(n, dtype=np.float32) * np.float32(s) for n, s, o in zip(shape, spacing, origin, strict=True)]
        self.axes: tuple[Field, Field, Field] = (grids[0][:, None, None], grids[1][None, :, None], grids[2][None, None, :])
        self.warp: Field | None = None  # (2, slice, down, back) displacement down and back

    def box(self, frame: Frame, low: tuple[float, ...], high: tuple[float, ...]) -> tuple[slice, ...] | None:
        """Slices of the grid that hold the local box from `low` to `high` (u, h, p), None when outside."""
        corners = np.array([[(low, high)[i][0], (low, high)[j][1], (low, high)[k][2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        world = frame.origin_mm + corners @ frame.axes
        first = np.floor((world.min(0) - self.origin) / self.spacing).astype(int)
        last = np.ceil((world.max(0) - self.origin) / self.spacing).astype(int) + 1
        first, last = np.maximum(first, 0), np.minimum(last, self.codes.shape)
        if np.any(first >= last):
            return None
        return tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))

    def local(self, frame: Frame, box: tuple[slice, ...]) -> tuple[Field, Field, Field]:
        """Coordinates (u, h, p) of the voxels of `box` in `frame`."""
        left = self.axes[0][box[0]] - np.float32(frame.origin_mm[0])
        down = self.axes[1][:, box[1]] - np.float32(frame.origin_mm[1])
        back = self.axes[2][:, :, box[2]] - np.float32(frame.origin_mm[2])
        if self.warp is not None:
            down, back = down + self.warp[(0, *box)], back + self.warp[(1, *box)]
        matrix = frame.axes.astype(np.float32)
        return tuple(left * m[0] + down * m[1] + back * m[2] for m in matrix)  # type: ignore[return-value]


def rasterise(
    plan: SpinePlan,
    spacing_mm: tuple[float, float, float],
    slices: int = 13,
    window: Window | None = None,
) -> Phantom:
    """Paint `plan` on a grid of `slices` sagittal slices with `spacing_mm` (slice, down, back).

    The grid covers `window` (default: the plan's own). The same plan and grid give the same phantom.
    """
    window = window or plan.window
    rows, columns = (max(8, int(round(s / d))) for s, d in zip(window.size_mm, spacing_mm[1:], strict=True))
    shape = (slices, rows, columns)
    origin = np.asarray(window.centre_mm) - (np.array(shape) - 1) / 2 * np.array(spacing_mm)
    rng = np.random.default_rng(plan.seed)
    canvas = _Canvas(shape, spacing_mm, origin)
    down = canvas.axes[1].ravel()
    canal = canal_course(plan, down)
    course = outline(plan, canal, down, spacing_mm[1])
    paint_skin_and_back(canvas.codes, rng, plan, course, canvas.axes, spacing_mm)
    paint_viscera(canvas.codes, rng, course, canvas.axes, spacing_mm)
    paint_neck(canvas.codes, rng, course, canvas.axes, spacing_mm)
    _paint_head(canvas, plan, rng)
    if plan.irregularity_mm > 0:
        canvas.warp = np.stack([smooth_noise(rng, shape, spacing_mm, (9.0, 8.0, 8.0)) for _ in range(2)])
        canvas.warp *= np.float32(0.3 * plan.irregularity_mm)
    _paint_epidural(canvas, canal, rng)
    for index in range(len(plan.vertebrae) - 1):
        _paint_nerve(canvas, plan, index)
        _paint_arch(canvas, plan, index)
        if not plan.vertebrae[index].lumbar_type and index < 17:
            _paint_ribs(canvas, plan, index)
    _paint_sacrum_rear(canvas, plan)
    for index in range(len(plan.discs)):
        _paint_disc(canvas, plan, index)
    for index in range(len(plan.vertebrae) - 1):
        _paint_body(canvas, plan, index)
    _paint_sacrum(canvas, plan)
    _paint_axis_and_atlas(canvas, plan)
    _paint_sac(canvas, canal, plan, rng)
    _paint_metal(canvas, plan, rng)
    return Phantom(
        canvas.codes, canvas.instances, spacing_mm, (float(origin[0]), float(origin[1]), float(origin[2])), spine_truth(plan)
    )


def _put(canvas: _Canvas, box: tuple[slice, ...], where: NDArray[np.bool_], code: int | Codes, label: int) -> None:
    block = canvas.codes[box]
    block[where] = code if isinstance(code, int) else code[where]
    canvas.instances[box][where] = label


def _around_canal(canvas: _Canvas, canal: CanalCourse, side_mm: float) -> tuple[slice, ...]:
    """The box of the grid that holds the canal, `side_mm` to either side; columns 14 mm more than the canal."""
    reach = canal.osseous_ap.max() + 14
    limits = (
        (float(canal.left.min()) - side_mm, float(canal.left.max()) + side_mm),
        (float(canal.back.min()) - reach, float(canal.back.max()) + reach),
    )
    cut = []
    for axis, (low, high) in zip((0, 2), limits, strict=True):
        first, last = ((v - canvas.origin[axis]) / canvas.spacing[axis] for v in (low, high))
        cut.append(slice(int(max(first, 0)), int(max(np.ceil(last) + 1, 0))))
    return cut[0], slice(None), cut[1]


def _paint_epidural(canvas: _Canvas, canal: CanalCourse, rng: Generator) -> None:
    """Fat, veins and yellow ligament in the bony canal, fat in the foramina."""
    box = _around_canal(canvas, canal, 32.0)
    codes = canvas.codes[box]
    left, down, back = canvas.axes[0][box[0]], canvas.axes[1], canvas.axes[2][:, :, box[2]]
    front = (canal.back - canal.sac_ap / 2 - canal.front_gap)[None, :, None]
    bone = np.maximum(canal.osseous_ap, canal.sac_ap + canal.front_gap + 1.0)[None, :, None]
    bone = bone * np.sqrt(np.clip((canal.sac_end_mm + 55 - down) / 30, 1e-4, 1.0))
    x = (left - canal.left[None, :, None]) / (canal.osseous_width[None, :, None] / 2)
    y = (back - front - bone / 2) / (bone / 2)
    below = (down > canal.foramen_mm) & (down < canal.sac_end_mm + 55)
    x2 = x * x
    flavum = (x2 < 0.9) & (y > 0) & (x2 + np.square(y / 1.22) < 1) & below
    foramen = (x2 > 0.6) & (x2 < 3.0) & (y > -1.0) & (y < 0.55) & below
    codes[foramen] = Tissue.EPIDURAL_FAT
    codes[flavum] = Tissue.FLAVUM
    tube = (x2 + y * y < 1) & below
    codes[tube] = Tissue.EPIDURAL_FAT
    thick = canal.tight[None, :, None] > 0.2 + 0.25 * x2  # the yellow ligament fills a tight canal from behind
    codes[tube & thick & (back > (canal.back + canal.sac_ap / 2)[None, :, None] - 1)] = Tissue.FLAVUM
    if rng.random() < 0.6:
        codes[tube & (x2 < 0.5) & (y < -0.72)] = Tissue.EPIDURAL_VEIN
        codes[tube & (x2 > 0.35) & (y < 0)] = Tissue.EPIDURAL_VEIN


def _paint_nerve(canvas: _Canvas, plan: SpinePlan, index: int) -> None:
    """The root ganglion below the pedicle."""
    vertebra, frame = plan.vertebrae[index], plan.frames[index]
    shape = arch_shape(vertebra)
    low = shape.pedicle_up - shape.pedicle_half_height - 4.5
    out, rear = vertebra.osseous_width_mm / 2 + 4, vertebra.depth_mm / 2 + 4
    size = (9.0, 3.6, 3.0) if vertebra.label < 7 else (6.0, 2.6, 2.4)
    box = canvas.box(frame, (-out - 10, low - 6, rear - 5), (out + 10, low + 6, rear + 5))
    if box is None:
        return
    u, h, p = canvas.local(frame, box)
    nerve = ellipsoid((np.abs(u), h + 0.25 * (np.abs(u) - out), p), (out, low, rear), size) < 0
    canvas.codes[box][nerve & (canvas.codes[box] == Tissue.EPIDURAL_FAT)] = Tissue.NERVE


def _paint_head(canvas: _Canvas, plan: SpinePlan, rng: Generator) -> None:
    frame = plan.frames[-1]
    box = canvas.box(frame, (-80, -70, -125), (80, 140, 110))
    if box is not None:
        points = canvas.local(frame, box)
        paint_face(canvas.codes[box], points, rng)
        paint_skull(canvas.codes[box], points, rng)


def _shell(solid: Field, marrow: int, cortex: int, thickness: float = CORTEX_MM) -> Codes:
    return np.where(solid > -np.float32(thickness), np.uint8(cortex), np.uint8(marrow))


def _paint_arch(canvas: _Canvas, plan: SpinePlan, index: int) -> None:
    vertebra, frame = plan.vertebrae[index], plan.frames[index]
    reach = vertebra.depth_mm / 2 + vertebra.osseous_ap_mm
    shape = arch_shape(vertebra)
    slant = np.radians(shape.spinous_slant)
    up = shape.pedicle_up + shape.facet_length * (1 + 0.4 * vertebra.facet_scale) + 2
    drop = shape.spinous_length * np.sin(slant) + 1.3 * shape.spinous_half_height + 0.45 * shape.lamina_half_height
    drop = max(drop, 1.4 * shape.lamina_half_height + 0.55 * shape.facet_length) + 5
    rear = shape.spinous_length * np.cos(slant) + 1.3 * shape.spinous_half_height * np.sin(slant) + 5
    box = canvas.box(frame, (-52, -drop, 0), (52, up, reach + rear))
    if box is None:
        return
    points = canvas.local(frame, box)
    solid = arch_field(points, vertebra)
    _put(canvas, box, solid < 0, _shell(solid, Tissue.ARCH_MARROW, Tissue.ARCH_CORTEX), vertebra.label)
    if index + 1 < len(plan.frames):
        gap = (np.abs(solid) < 0.5) & (solid > 0) & (np.abs(points[0]) > 12) & (points[1] > 4)
        canvas.codes[box][gap & (canvas.codes[box] < Tissue.CSF)] = Tissue.FACET_FLUID


def _paint_ribs(canvas: _Canvas, plan: SpinePlan, index: int) -> None:
    """Heads and necks of the ribs: bone that is background."""
    vertebra, frame = plan.vertebrae[index], plan.frames[index]
    box = canvas.box(frame, (-75, -25, -15), (75, 25, 50))
    if box is None:
        return
    u, h, p = canvas.local(frame, box)
    side, half = (np.abs(u), h, p), vertebra.depth_mm / 2
    top = 0.4 * vertebra.height_posterior_mm
    neck = (vertebra.width_mm / 2 + 14, top - 4, half + 14)
    solid = np.minimum(
        capsule(side, (vertebra.width_mm / 2 + 3, top, half - 4), neck, 4.5),
        capsule(side, neck, (neck[0] + 40, top - 16, half + 26), 5.0),
    )
    free = (solid < 0) & (STRUCTURE_OF_TISSUE[canvas.codes[box]] == Structure.BACKGROUND)
    canvas.codes[box][free] = _shell(solid, Tissue.BONE_MARROW, Tissue.SKULL)[free]


def _disc_frame(plan: SpinePlan, index: int) -> tuple[Frame, float, float]:
    """Middle frame of a disc with depth and width."""
    upper, v = plan.frames[index], plan.vertebrae[index]
    if index:
        lower, w = plan.frames[index - 1], plan.vertebrae[index - 1]
        top = lower.world(0, 0.25 * (w.height_anterior_mm + w.height_posterior_mm), 0)
        depth, width, axes = w.depth_mm, w.width_mm, lower.axes
    else:
        lower, s = plan.sacral_frames[0], plan.sacrum[0]
        top, depth, width, axes = lower.world(0, s.height_mm / 2, 0), s.depth_upper_mm, s.width_mm, lower.axes
    base = upper.world(0, -0.25 * (v.height_anterior_mm + v.height_posterior_mm), 0)
    mean = upper.axes + axes
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    return Frame(0.5 * (top + base), mean), 0.5 * (depth + v.depth_mm), 0.5 * (width + v.width_mm)


def _disc_surfaces(canvas: _Canvas, plan: SpinePlan, index: int, box: tuple[slice, ...]) -> tuple[Field, Field]:
    """Distances below the upper vertebra and above the lower one, positive inside the disc."""
    disc = plan.discs[index]
    upper = body_field(canvas.local(plan.frames[index], box), plan.vertebrae[index], (0.0, disc.endplate_upper_rough_mm))
    if index:
        rough = (disc.endplate_lower_rough_mm, 0.0)
        lower = body_field(canvas.local(plan.frames[index - 1], box), plan.vertebrae[index - 1], rough)
    else:
        lower = sacral_field(canvas.local(plan.sacral_frames[0], box), plan.sacrum[0], True)
    return upper.below, lower.above


def _paint_disc(canvas: _Canvas, plan: SpinePlan, index: int) -> None:
    disc = plan.discs[index]
    frame, depth, width = _disc_frame(plan, index)
    tall = disc.height_mm / 2 + 0.25 * depth + 9
    margin = 4 + disc.bulge_mm + disc.herniation_mm + abs(disc.slip_mm)
    box = canvas.box(frame, (-width / 2 - margin, -tall, -depth / 2 - margin), (width / 2 + margin, tall, depth / 2 + margin))
    if box is None:
        return
    u, h, p = canvas.local(frame, box)
    below, above = _disc_surfaces(canvas, plan, index, box)
    radius = plate_radius(u, p, width, depth)
    room = np.minimum(below, above)
    out = (radius - 1.0) * np.float32(depth / 2)
    inside = (room > END_PLATE_MM) & (out < disc.bulge_mm) & (below + above < disc.height_mm + 0.35 * depth)
    bulging = room - 0.6 * np.maximum(out, 0)  # the margin is round
    inside &= bulging > END_PLATE_MM
    plate = (room > -0.2) & (out < 0) & ~inside
    _put(canvas, box, plate, int(Tissue.END_PLATE), 0)
    t = above / np.maximum(below + above, 0.5)
    _put(canvas, box, inside, _disc_tissue(disc, (u, h, p), radius, t, depth), disc.label)
    if disc.herniation != "none":
        _paint_herniation(canvas, box, (u, h, p), disc, depth)


def _disc_tissue(disc: DiscPlan, points: tuple[Field, Field, Field], radius: Field, t: Field, depth: float) -> Codes:
    u, _, p = points
    nucleus = int(Tissue.NUCLEUS_1) + disc.pfirrmann - 1
    flat = np.square(u / (0.62 * depth)) + np.square((p - np.float32(0.04 * depth)) / (0.37 * depth))
    inner = flat * flat + np.square(np.square((t - 0.5) * 1.95))  # a lens
    rim = radius + 0.12 * np.abs(t - 0.5) > 0.86
    codes = np.where(rim, np.uint8(Tissue.ANNULUS_OUTER), np.uint8(Tissue.ANNULUS_INNER))
    if disc.pfirrmann >= 4:
        codes[codes == Tissue.ANNULUS_INNER] = nucleus
    codes[inner < 1] = nucleus
    if disc.cleft:
        codes[(np.abs(t - 0.5) < 0.09) & (inner < 0.6)] = Tissue.CLEFT
    if disc.vacuum:
        codes[(np.abs(t - 0.5) < 0.16) & (radius < 0.6)] = Tissue.VACUUM
    if disc.fissure:
        codes[(p > 0.4 * depth) & (np.abs(t - 0.45) < 0.12) & (np.abs(u) < 5) & (radius < 1.0)] = Tissue.FISSURE
    return codes


def _paint_herniation(
    canvas: _Canvas, box: tuple[slice, ...], points: tuple[Field, Field, Field], disc: DiscPlan, depth: float
) -> None:
    u, h, p = points
    base = depth / 2 + disc.bulge_mm
    reach = disc.herniation_mm
    tall = max(0.55 * reach, disc.height_mm * (0.45 if disc.herniation == "protrusion" else 0.3))
    wide = reach * (1.6 if disc.herniation == "protrusion" else 1.0)
    drop = np.clip((p - base) / reach, 0, 1) * disc.herniation_down_mm
    body = (
        np.square((u - disc.herniation_left_mm) / wide)
        + np.square((h + drop) / tall)
        + np.square((p - base + 0.15 * reach) / (1.15 * reach))
    )
    _put(canvas, box, (body < 1) & (p > base - 0.5 * reach), int(Tissue.HERNIATION), disc.label)


def _paint_body(canvas: _Canvas, plan: SpinePlan, index: int) -> None:
    vertebra, frame = plan.vertebrae[index], plan.frames[index]
    half_w, half_d = vertebra.width_mm / 2 + 5, vertebra.depth_mm / 2 + 5 + vertebra.osteophyte_anterior_mm
    tall = max(vertebra.height_anterior_mm, vertebra.height_posterior_mm) / 2 + 4
    box = canvas.box(frame, (-half_w, -tall, -half_d), (half_w, tall, half_d))
    if box is None:
        return
    points = canvas.local(frame, box)
    below_disc = plan.discs[index]
    above_disc = plan.discs[index + 1] if index + 1 < len(plan.discs) else None
    rough = (above_disc.endplate_lower_rough_mm if above_disc else 0.0, below_disc.endplate_upper_rough_mm)
    body = body_field(points, vertebra, rough)
    axis = vertebra.label == C2_LABEL
    marrow, cortex = (Tissue.C2_MARROW, Tissue.C2_CORTEX) if axis else (Tissue.MARROW_A + vertebra.marrow, Tissue.CORTEX)
    codes = _shell(body.solid, marrow, cortex)
    root = arch_field(points, vertebra) < -1.2  # marrow runs on into the pedicles
    codes[root & (np.minimum(-body.above, -body.below) > 1.0)] = marrow
    if not axis:
        _paint_lesions(codes, points, body, vertebra)
        _paint_plate_changes(codes, points, body.above, above_disc, lower=True)
        _paint_plate_changes(codes, points, body.below, below_disc, lower=False)
    ligament = (body.solid > 0) & (body.solid < 1.0) & (np.abs(points[0]) < 0.4 * vertebra.width_mm)
    free = canvas.codes[box]
    free[ligament & (STRUCTURE_OF_TISSUE[free] == 0) & (free != Tissue.END_PLATE)] = Tissue.LIGAMENT
    _put(canvas, box, body.solid < 0, codes, vertebra.label)


def _paint_lesions(codes: Codes, points: tuple[Field, Field, Field], body: BodyField, vertebra: VertebraPlan) -> None:
    u, h, p = points
    half = vertebra.depth_mm / 2
    vein = (p > 0.35 * half) & (np.abs(u) < 5) & (np.abs(h) < 0.5 + 2.2 * np.clip(p / half - 0.35, 0, 1))
    codes[vein] = Tissue.BASIVERTEBRAL
    if vertebra.fracture_fresh and vertebra.fracture != "none":
        band = 0.45 * vertebra.height_posterior_mm
        codes[(-body.above < band + 0.15 * p) & (body.solid < -CORTEX_MM)] = Tissue.OEDEMA
    if vertebra.haemangioma_mm > 0:
        n0, n1, _, _ = vertebra.shape_noise
        centre = (2.5 * n0, 1.5 * n1, -0.2 * half)
        dist = sum(np.square(c - m) for c, m in zip(points, centre, strict=True))
        codes[(dist < vertebra.haemangioma_mm**2) & (body.solid < -CORTEX_MM)] = Tissue.HAEMANGIOMA


_MODIC = {1: Tissue.OEDEMA, 2: Tissue.FATTY_MARROW, 3: Tissue.SCLEROSIS}


def _paint_plate_changes(
    codes: Codes, points: tuple[Field, Field, Field], past: Field, disc: DiscPlan | None, lower: bool
) -> None:
    """Modic change and Schmorl node beside an end plate; `past` is the distance beyond the plate's surface."""
    if disc is None:
        return
    u, _, p = points
    if disc.modic:
        reach = disc.modic_mm * (0.65 + 0.35 * np.sin(0.13 * p + 0.11 * u + disc.label))
        codes[(-past < reach) & (-past > CORTEX_MM)] = _MODIC[disc.modic]
    depth = disc.schmorl_lower_mm if lower else disc.schmorl_upper_mm
    if depth > 0:
        bowl = np.square(u / (1.3 * depth)) + np.square((p - disc.schmorl_back_mm) / (1.2 * depth)) + np.square(past / depth)
        codes[bowl < 1.0] = Tissue.CORTEX
        codes[bowl < 0.6] = Tissue.SCHMORL


def _paint_sacrum_rear(canvas: _Canvas, plan: SpinePlan) -> None:
    """Lateral mass, roof and crest of the sacrum, as one solid."""
    boxes = []
    for segment, frame in zip(plan.sacrum, plan.sacral_frames, strict=True):
        tall, rear = 0.65 * segment.height_mm, segment.depth_upper_mm / 2 + 30
        boxes.append(canvas.box(frame, (-62, -tall, -22), (62, tall, rear)))
    seen = [b for b in boxes if b is not None]
    if not seen:
        return
    whole = tuple(slice(min(b[a].start for b in seen), max(b[a].stop for b in seen)) for a in range(3))
    solid = np.full([s.stop - s.start for s in whole], 9.0, np.float32)
    for index, box in enumerate(boxes):
        if box is not None:
            part = tuple(slice(b.start - w.start, b.stop - w.start) for b, w in zip(box, whole, strict=True))
            points = canvas.local(plan.sacral_frames[index], box)
            solid[part] = smooth_min(solid[part], sacral_rear_field(points, plan.sacrum[index], index), 5.0)
    _put(canvas, whole, solid < 0, _shell(solid, Tissue.SACRUM_MARROW, Tissue.SACRUM_CORTEX), 0)


def _paint_sacrum(canvas: _Canvas, plan: SpinePlan) -> None:
    for index, (segment, frame) in reversed(list(enumerate(zip(plan.sacrum, plan.sacral_frames, strict=True)))):
        reach = segment.depth_upper_mm / 2 + 5
        box = canvas.box(
            frame, (-segment.width_mm / 2 - 3, -segment.height_mm / 2 - 3 - segment.disc_mm, -reach), (segment.width_mm / 2 + 3, segment.height_mm / 2 + 3, reach)
        )
        if box is None:
            continue
        points = canvas.local(frame, box)
        body = sacral_field(points, segment, index == 0)
        first = index == 0
        if index < 4:
            u, h, p = points
            shift = np.float32(segment.depth_upper_mm / 2 - segment.depth_lower_mm / 2)
            gap = np.abs(h + np.float32(segment.height_mm / 2 + segment.disc_mm / 2)) - np.float32(segment.disc_mm / 2 + 0.8)
            rest = np.maximum(np.abs(p - shift) - np.float32(segment.depth_lower_mm * 0.5), np.abs(u) - segment.width_mm * 0.42)
            core = np.maximum(gap + 0.6, rest + 0.12 * segment.depth_lower_mm)
            solid = np.maximum(gap, rest)
            codes = np.where(core < 0, np.uint8(Tissue.SACRUM_DISC), np.uint8(Tissue.SACRUM_CORTEX))
            _put(canvas, box, solid < 0, codes, 0)
        marrow, cortex = (Tissue.S1_MARROW, Tissue.S1_CORTEX) if first else (Tissue.SACRUM_MARROW, Tissue.SACRUM_CORTEX)
        codes = _shell(body.solid, marrow, cortex)
        codes[(sacral_rear_field(points, segment, index) < -1.0) & (body.above < -1.0)] = marrow
        if first and plan.discs[0].modic:
            code = {1: Tissue.S1_OEDEMA, 2: Tissue.S1_FATTY, 3: Tissue.S1_SCLEROSIS}[plan.discs[0].modic]
            codes[(-body.above < plan.discs[0].modic_mm) & (-body.above > CORTEX_MM)] = code
        _put(canvas, box, body.solid < 0, codes, 0)


def _paint_axis_and_atlas(canvas: _Canvas, plan: SpinePlan) -> None:
    axis, atlas = plan.vertebrae[-2], plan.vertebrae[-1]
    frame = plan.frames[-2]
    box = canvas.box(frame, (-14, -4, -14), (14, 34, 14))
    if box is not None:
        dens = dens_field(canvas.local(frame, box), axis)
        codes = _shell(dens, Tissue.C2_MARROW, Tissue.C2_CORTEX)
        inside = canvas.codes[box] == Tissue.C2_MARROW
        _put(canvas, box, (dens < 0) & ~inside, codes, axis.label)
    frame = plan.frames[-1]
    box = canvas.box(frame, (-42, -16, -26), (42, 16, 45))
    if box is not None:
        ring = atlas_field(canvas.local(frame, box), atlas, axis)
        free = STRUCTURE_OF_TISSUE[canvas.codes[box]] != Structure.C2
        _put(canvas, box, (ring < 0) & free, _shell(ring, Tissue.C1_MARROW, Tissue.C1_CORTEX), atlas.label)


def _paint_sac(canvas: _Canvas, canal: CanalCourse, plan: SpinePlan, rng: Generator) -> None:
    """Sac with fluid, roots and cord. Arches yield to it, bodies and discs do not."""
    box = _around_canal(canvas, canal, 18.0)
    block, labels = canvas.codes[box], canvas.instances[box]
    left, down, back = canvas.axes[0][box[0]], canvas.axes[1], canvas.axes[2][:, :, box[2]]
    course = down.ravel()
    taper = np.sqrt(np.clip((canal.sac_end_mm - course) / 14.0, 0.0, 1.0))
    half_ap = (canal.sac_ap / 2 * taper + 1e-3)[None, :, None]
    half_w = (canal.sac_width / 2 * taper + 1e-3)[None, :, None]
    x = left - canal.left[None, :, None]
    y = back - canal.back[None, :, None]
    if canvas.warp is not None:
        y = y + 0.4 * canvas.warp[(1, *box)]
    radius = np.square(x / half_w) + np.square(y / half_ap)
    structure = STRUCTURE_OF_TISSUE[block]
    free = (labels == 0) & (structure == Structure.BACKGROUND) | (structure == Structure.POSTERIOR)
    sac = (radius < 1) & free & (down > canal.foramen_mm)
    codes = np.full(block.shape, Tissue.CSF, np.uint8)
    _paint_roots(codes, (x, y / half_ap), course, canal, rng)
    _paint_cord(codes, (x, y), course, canal, plan)
    block[sac] = codes[sac]
    labels[sac] = CANAL_LABEL
    dura = (radius >= 1) & (radius < 1.12) & (block == Tissue.EPIDURAL_FAT)
    block[dura] = Tissue.LIGAMENT


def _paint_roots(
    codes: Codes, at: tuple[Field, Field], down: NDArray[np.float32], canal: CanalCourse, rng: Generator
) -> None:
    """Roots of the cauda equina: behind under the conus, spreading forward on their way down."""
    x, y = at
    rows = np.flatnonzero(down > canal.conus_mm)
    if not rows.size:
        return
    below = (slice(None), slice(int(rows[0]), None))
    past = np.clip((down[below[1]] - canal.conus_mm) / 160.0, 0.0, 1.0)[None, :, None]
    for _ in range(9):
        start, drift = rng.uniform(0.05, 0.75), rng.uniform(-0.9, 0.2)
        side, spread = rng.uniform(-3, 3), rng.uniform(-5, 5)
        path = start + drift * past + 0.08 * np.sin(18 * past + rng.uniform(0, 6))
        thread = (np.abs(y[below] - path) < 0.11) & (np.abs(x[below] - side - spread * past) < 2.6)
        codes[below][thread] = Tissue.ROOTS


def _paint_cord(
    codes: Codes, at: tuple[Field, Field], down: NDArray[np.float32], canal: CanalCourse, plan: SpinePlan
) -> None:
    x, y = at
    taper = np.sqrt(np.clip((canal.conus_mm - down) / 38.0, 0.0, 1.0))
    room = np.minimum(canal.cord_ap, 0.86 * canal.sac_ap)
    half_ap = (room / 2 * taper + 1e-3)[None, :, None]
    half_w = (canal.cord_width / 2 * taper + 1e-3)[None, :, None]
    offset = (-0.08 * canal.sac_ap * np.clip((canal.conus_mm - down) / 60 - 0.3, -1, 0.4))[None, :, None]
    radius = np.square(x / half_w) + np.square((y - offset) / half_ap)
    codes[radius < 1] = Tissue.CORD
    codes[radius < 0.22] = Tissue.CORD_GREY
    for index, disc in enumerate(plan.discs):
        if index > 15 and disc.stenosis > 0.45:
            middle = plan.frames[index].origin_mm[1] + 0.5 * plan.vertebrae[index].height_posterior_mm
            near = np.abs(down - middle)[None, :, None] < 5.0
            codes[(radius < 0.5) & near] = Tissue.MYELOPATHY


def _paint_metal(canvas: _Canvas, plan: SpinePlan, rng: Generator) -> None:
    if not plan.metal_label:
        return
    frame = plan.frames[plan.metal_label - 1]
    depth = plan.vertebrae[plan.metal_label - 1].depth_mm
    reach = plan.metal_mm
    box = canvas.box(frame, (-40, -2 * reach, -depth), (40, 2 * reach, 2 * depth + 20))
    if box is None:
        return
    u, h, p = canvas.local(frame, box)
    side = rng.uniform(8, 16)
    void = np.square((np.abs(u) - side) / (0.7 * reach)) + np.square(h / reach) + np.square((p - 0.4 * depth) / (1.6 * reach))
    canvas.codes[box][void < 1] = Tissue.METAL
    canvas.instances[box][void < 1] = 0
