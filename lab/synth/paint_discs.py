"""Paint discs: nucleus, annulus, fissures, herniations."""

from __future__ import annotations

import numpy as np

from lab.synth.bones import body_field, plate_radius, sacral_field
from lab.synth.canvas import RIM_MM, Canvas, Codes, put
from lab.synth.plan import DiscPlan, Frame, SpinePlan
from lab.synth.shapes import Field
from lab.synth.tissue import Tissue


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


def _disc_surfaces(canvas: Canvas, plan: SpinePlan, index: int, box: tuple[slice, ...]) -> tuple[Field, Field]:
    """Distances below the upper vertebra and above the lower one, positive inside the disc."""
    disc = plan.discs[index]
    upper = body_field(
        canvas.local(plan.frames[index], box), plan.vertebrae[index], (0.0, disc.endplate_upper_rough_mm)
    )
    if index:
        rough = (disc.endplate_lower_rough_mm, 0.0)
        lower = body_field(canvas.local(plan.frames[index - 1], box), plan.vertebrae[index - 1], rough)
    else:
        lower = sacral_field(canvas.local(plan.sacral_frames[0], box), plan.sacrum[0], True)
    return upper.below, lower.above


def paint_disc(canvas: Canvas, plan: SpinePlan, index: int) -> None:
    """Disc `index` (0 = L5/S1) with its end plates and herniation."""
    disc = plan.discs[index]
    frame, depth, width = _disc_frame(plan, index)
    tall = disc.height_mm / 2 + 0.25 * depth + 9
    margin = 4 + disc.bulge_mm + disc.herniation_mm + abs(disc.slip_mm)
    box = canvas.box(
        frame, (-width / 2 - margin, -tall, -depth / 2 - margin), (width / 2 + margin, tall, depth / 2 + margin)
    )
    if box is None:
        return
    u, h, p = canvas.local(frame, box)
    below, above = _disc_surfaces(canvas, plan, index, box)
    radius = plate_radius(u, p, width, depth)
    room = np.minimum(below, above)
    out = (radius - 1.0) * np.float32(depth / 2)
    inside = (out < disc.bulge_mm) & (below + above < disc.height_mm + 0.35 * depth)
    past = np.maximum(out, 0)  # beyond the rims: a round margin, free of the end plates
    inside &= room > RIM_MM * (1 - 0.8 * np.minimum(past, 1)) + 0.7 * np.square(past / max(disc.bulge_mm, 0.5))
    plate = (room > -0.2) & (out < 0) & ~inside
    put(canvas, box, plate, int(Tissue.END_PLATE), 0)
    t = above / np.maximum(below + above, 0.5)
    put(canvas, box, inside, _disc_tissue(disc, (u, h, p), radius, t, depth), disc.label)
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
    canvas: Canvas, box: tuple[slice, ...], points: tuple[Field, Field, Field], disc: DiscPlan, depth: float
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
    put(canvas, box, (body < 1) & (p > base - 0.5 * reach), int(Tissue.HERNIATION), disc.label)
