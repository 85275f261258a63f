"""Paint the canal: epidural fat, ligaments, sac, roots and cord."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lab.synth.canal import CanalCourse
from lab.synth.canvas import Canvas, Codes
from lab.synth.plan import SpinePlan
from lab.synth.shapes import Field
from lab.synth.tissue import STRUCTURE_OF_TISSUE, Tissue
from spine.anatomy import CANAL_LABEL, Structure


def _around_canal(canvas: Canvas, canal: CanalCourse, side_mm: float) -> tuple[slice, ...]:
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


def paint_epidural(canvas: Canvas, canal: CanalCourse, rng: Generator) -> None:
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
    behind = back - (canal.back + canal.sac_ap / 2)[None, :, None]
    thick = behind > 25.0 * (0.3 + 0.2 * x2 - canal.tight[None, :, None])  # the yellow ligament narrows a tight canal
    codes[tube & thick & (behind > -1)] = Tissue.FLAVUM
    if rng.random() < 0.6:
        codes[tube & (x2 < 0.5) & (y < -0.72)] = Tissue.EPIDURAL_VEIN
        codes[tube & (x2 > 0.35) & (y < 0)] = Tissue.EPIDURAL_VEIN


def paint_sac(canvas: Canvas, canal: CanalCourse, plan: SpinePlan, rng: Generator) -> None:
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
    dura = (radius >= 1) & (radius < 1.22) & ((block == Tissue.EPIDURAL_FAT) | (block == Tissue.EPIDURAL_VEIN))
    block[dura] = Tissue.LIGAMENT


def _paint_roots(
    codes: Codes, at: tuple[Field, Field], down: NDArray[np.float32], canal: CanalCourse, rng: Generator
) -> None:
    """Roots of the cauda equina: behind under the conus, spreading forward on their way down."""
    x, y = at
    rows = np.flatnonzero(down > canal.conus_mm - 30)
    if not rows.size:
        return
    below = (slice(None), slice(int(rows[0]), None))
    past = np.clip((down[below[1]] - canal.conus_mm) / 160.0, -0.2, 1.0)[None, :, None]
    for begin in np.linspace(-0.18, 0.45, 12):
        start, drift = rng.uniform(0.05, 0.75), rng.uniform(-0.9, 0.2)
        side, spread = rng.uniform(-3, 3), rng.uniform(-5, 5)
        path = start + drift * past + 0.08 * np.sin(18 * past + rng.uniform(0, 6))
        thread = (np.abs(y[below] - path) < 0.11) & (np.abs(x[below] - side - spread * past) < 2.6) & (past > begin)
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
