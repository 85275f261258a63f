"""Paint the sacrum: bodies, rudimentary discs, lateral mass and roof of its canal."""

from __future__ import annotations

import numpy as np

from lab.synth.bones import sacral_field, sacral_rear_field
from lab.synth.canvas import CORTEX_MM, Canvas, paint_rim, put, shell
from lab.synth.plan import SpinePlan
from lab.synth.shapes import smooth_min
from lab.synth.tissue import Tissue


def paint_sacrum_rear(canvas: Canvas, plan: SpinePlan) -> None:
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
    paint_rim(canvas, whole, solid)
    put(canvas, whole, solid < 0, shell(solid, Tissue.SACRUM_MARROW, Tissue.SACRUM_CORTEX), 0)


def paint_sacrum(canvas: Canvas, plan: SpinePlan) -> None:
    """Bodies S1..S5 and the rudimentary discs between them."""
    for index, (segment, frame) in reversed(list(enumerate(zip(plan.sacrum, plan.sacral_frames, strict=True)))):
        reach = segment.depth_upper_mm / 2 + 5
        box = canvas.box(
            frame,
            (-segment.width_mm / 2 - 3, -segment.height_mm / 2 - 3 - segment.disc_mm, -reach),
            (segment.width_mm / 2 + 3, segment.height_mm / 2 + 3, reach),
        )
        if box is None:
            continue
        points = canvas.local(frame, box)
        body = sacral_field(points, segment, index == 0)
        first = index == 0
        if index < 4:
            u, h, p = points
            shift = np.float32(segment.depth_upper_mm / 2 - segment.depth_lower_mm / 2)
            gap = np.abs(h + np.float32(segment.height_mm / 2 + segment.disc_mm / 2)) - np.float32(
                segment.disc_mm / 2 + 0.8
            )
            rest = np.maximum(
                np.abs(p - shift) - np.float32(segment.depth_lower_mm * 0.5), np.abs(u) - segment.width_mm * 0.42
            )
            core = np.maximum(gap + 0.6, rest + 0.12 * segment.depth_lower_mm)
            solid = np.maximum(gap, rest)
            codes = np.where(core < 0, np.uint8(Tissue.SACRUM_DISC), np.uint8(Tissue.SACRUM_CORTEX))
            put(canvas, box, solid < 0, codes, 0)
        marrow, cortex = (Tissue.S1_MARROW, Tissue.S1_CORTEX) if first else (Tissue.SACRUM_MARROW, Tissue.SACRUM_CORTEX)
        codes = shell(body.solid, marrow, cortex)
        codes[(sacral_rear_field(points, segment, index) < -1.0) & (body.above < -1.0)] = marrow
        if first and plan.discs[0].modic:
            code = {1: Tissue.S1_OEDEMA, 2: Tissue.S1_FATTY, 3: Tissue.S1_SCLEROSIS}[plan.discs[0].modic]
            codes[(-body.above < plan.discs[0].modic_mm) & (-body.above > CORTEX_MM)] = code
        paint_rim(canvas, box, body.solid)
        put(canvas, box, body.solid < 0, codes, 0)
