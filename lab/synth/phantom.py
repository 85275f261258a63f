"""Rasterise a plan: fine tissues on a sagittal grid, with network classes, instances and truth.

Axes of all arrays: (slice, down, back): slices run towards the patient's left, rows towards the feet, columns
towards the back, as in `spine.records.Volume`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from lab.synth.canal import canal_course
from lab.synth.canvas import Canvas, Codes
from lab.synth.head import paint_face, paint_neck, paint_skull
from lab.synth.paint_canal import paint_epidural, paint_sac
from lab.synth.paint_discs import paint_disc
from lab.synth.paint_sacrum import paint_sacrum, paint_sacrum_rear
from lab.synth.paint_vertebrae import paint_arch, paint_axis_and_atlas, paint_body, paint_nerve, paint_ribs
from lab.synth.plan import SpinePlan, Window
from lab.synth.shapes import smooth_noise
from lab.synth.surround import outline, paint_skin_and_back
from lab.synth.tissue import STRUCTURE_OF_TISSUE, Tissue
from lab.synth.truth import spine_truth
from lab.synth.viscera import paint_viscera


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
    rows, columns = (max(8, round(s / d)) for s, d in zip(window.size_mm, spacing_mm[1:], strict=True))
    shape = (slices, rows, columns)
    origin = np.asarray(window.centre_mm) - (np.array(shape) - 1) / 2 * np.array(spacing_mm)
    rng = np.random.default_rng(plan.seed)
    canvas = Canvas(shape, spacing_mm, origin)
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
    paint_epidural(canvas, canal, rng)
    for index in range(len(plan.vertebrae) - 1):
        paint_nerve(canvas, plan, index)
        paint_arch(canvas, plan, index)
        if not plan.vertebrae[index].lumbar_type and index < 17:
            paint_ribs(canvas, plan, index)
    paint_sacrum_rear(canvas, plan)
    for index in range(len(plan.discs)):
        paint_disc(canvas, plan, index)
    for index in range(len(plan.vertebrae) - 1):
        paint_body(canvas, plan, index)
    paint_sacrum(canvas, plan)
    paint_axis_and_atlas(canvas, plan)
    paint_sac(canvas, canal, plan, rng)
    _paint_metal(canvas, plan, rng)
    return Phantom(
        canvas.codes,
        canvas.instances,
        spacing_mm,
        (float(origin[0]), float(origin[1]), float(origin[2])),
        spine_truth(plan),
    )


def _paint_head(canvas: Canvas, plan: SpinePlan, rng: Generator) -> None:
    frame = plan.frames[-1]
    box = canvas.box(frame, (-80, -70, -125), (80, 140, 110))
    if box is not None:
        points = canvas.local(frame, box)
        paint_face(canvas.codes[box], points, rng)
        paint_skull(canvas.codes[box], points, rng)


def _paint_metal(canvas: Canvas, plan: SpinePlan, rng: Generator) -> None:
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
    void = (
        np.square((np.abs(u) - side) / (0.7 * reach))
        + np.square(h / reach)
        + np.square((p - 0.4 * depth) / (1.6 * reach))
    )
    canvas.codes[box][void < 1] = Tissue.METAL
    canvas.instances[box][void < 1] = 0
