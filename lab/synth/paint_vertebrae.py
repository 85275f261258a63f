"""Paint presacral vertebrae: arches, nerves, ribs, bodies with their lesions, axis and atlas."""

from __future__ import annotations

import numpy as np

from lab.synth.bones import (
    BodyField,
    arch_field,
    arch_shape,
    atlas_field,
    body_field,
    dens_field,
)
from lab.synth.canvas import CORTEX_MM, RIM_MM, Canvas, Codes, paint_rim, put, shell
from lab.synth.plan import DiscPlan, SpinePlan, VertebraPlan
from lab.synth.shapes import Field, capsule, ellipsoid
from lab.synth.tissue import STRUCTURE_OF_TISSUE, Tissue
from spine.anatomy import C2_LABEL, Structure


def paint_nerve(canvas: Canvas, plan: SpinePlan, index: int) -> None:
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


def paint_arch(canvas: Canvas, plan: SpinePlan, index: int) -> None:
    """Posterior elements of vertebra `index` (0 = L5)."""
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
    paint_rim(canvas, box, solid)
    put(canvas, box, solid < 0, shell(solid, Tissue.ARCH_MARROW, Tissue.ARCH_CORTEX), vertebra.label)
    facet = (solid >= RIM_MM) & (solid < RIM_MM + 0.6) & (np.abs(points[0]) > 11) & (points[1] > shape.pedicle_up + 4)
    canvas.codes[box][facet & (canvas.codes[box] == Tissue.MUSCLE_DEEP)] = Tissue.FACET_FLUID


def paint_ribs(canvas: Canvas, plan: SpinePlan, index: int) -> None:
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
    canvas.codes[box][free] = shell(solid, Tissue.BONE_MARROW, Tissue.SKULL)[free]


def paint_body(canvas: Canvas, plan: SpinePlan, index: int) -> None:
    """Body of vertebra `index` with its lesions, and the ligaments along it."""
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
    marrow, cortex = (
        (Tissue.C2_MARROW, Tissue.C2_CORTEX) if axis else (Tissue.MARROW_A + vertebra.marrow, Tissue.CORTEX)
    )
    codes = shell(body.solid, marrow, cortex)
    root = arch_field(points, vertebra) < -1.2  # marrow runs on into the pedicles
    codes[root & (np.minimum(-body.above, -body.below) > 1.0)] = marrow
    if not axis:
        _paint_lesions(codes, points, body, vertebra)
        _paint_plate_changes(codes, points, body.above, above_disc, lower=True)
        _paint_plate_changes(codes, points, body.below, below_disc, lower=False)
    ligament = (body.solid > RIM_MM) & (body.solid < RIM_MM + 0.6) & (np.abs(points[0]) < 0.4 * vertebra.width_mm)
    free = canvas.codes[box]
    free[ligament & (STRUCTURE_OF_TISSUE[free] == 0) & (free != Tissue.END_PLATE)] = Tissue.LIGAMENT
    paint_rim(canvas, box, body.solid)
    put(canvas, box, body.solid < 0, codes, vertebra.label)


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
        codes[(-past < reach) & (-past > CORTEX_MM + 0.3)] = _MODIC[disc.modic]
    depth = disc.schmorl_lower_mm if lower else disc.schmorl_upper_mm
    if depth > 0:
        bowl = (
            np.square(u / (1.3 * depth))
            + np.square((p - disc.schmorl_back_mm) / (1.2 * depth))
            + np.square(past / depth)
        )
        codes[bowl < 1.0] = Tissue.CORTEX
        codes[bowl < 0.6] = Tissue.SCHMORL


def paint_axis_and_atlas(canvas: Canvas, plan: SpinePlan) -> None:
    """Dens of C2 and the whole of C1."""
    axis, atlas = plan.vertebrae[-2], plan.vertebrae[-1]
    frame = plan.frames[-2]
    box = canvas.box(frame, (-14, -4, -14), (14, 34, 14))
    if box is not None:
        dens = dens_field(canvas.local(frame, box), axis)
        codes = shell(dens, Tissue.C2_MARROW, Tissue.C2_CORTEX)
        inside = canvas.codes[box] == Tissue.C2_MARROW
        paint_rim(canvas, box, dens)
        put(canvas, box, (dens < 0) & ~inside, codes, axis.label)
    frame = plan.frames[-1]
    box = canvas.box(frame, (-42, -16, -26), (42, 16, 45))
    if box is not None:
        ring = atlas_field(canvas.local(frame, box), atlas, axis)
        free = STRUCTURE_OF_TISSUE[canvas.codes[box]] != Structure.C2
        paint_rim(canvas, box, ring)
        put(canvas, box, (ring < 0) & free, shell(ring, Tissue.C1_MARROW, Tissue.C1_CORTEX), atlas.label)
