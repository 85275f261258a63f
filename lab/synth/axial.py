"""Axial lumbar MR slices of the parametric spines, with known truth.

The spine is turned until the planes of the stack are planes of constant `down`; then the painters of the sagittal
phantom draw the bones, discs and canal, and `axial_muscles` and `axial_trunk` all around them. Arrays have the axes
(left, plane, back) while they are painted and (slice, row, column) afterwards: rows run from front to back, columns
from the patient's right to the left, slices towards the feet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import binary_closing

from lab.synth.axial_landmarks import Planes, Pose, level_point, planes_of, stack_pose
from lab.synth.axial_muscles import MusclePlan, paint_muscles, place_muscles, sample_muscles
from lab.synth.axial_trunk import TrunkPlan, paint_pelvis, paint_trunk, sample_trunk
from lab.synth.canal import CanalCourse
from lab.synth.canvas import Canvas, Codes
from lab.synth.paint_canal import paint_epidural, paint_sac
from lab.synth.paint_discs import paint_disc
from lab.synth.paint_sacrum import paint_sacrum, paint_sacrum_rear
from lab.synth.paint_vertebrae import paint_arch, paint_body, paint_nerve, paint_ribs
from lab.synth.plan import SpinePlan
from lab.synth.render import render
from lab.synth.sample import sample_spine
from lab.synth.shapes import smooth_noise
from lab.synth.tissue import PROPERTIES, STRUCTURE_OF_TISSUE, Tissue
from spine.anatomy import AxialStructure, Structure

PIXEL_MM = 0.9
SUBPLANES = 3  # painted for every slice, which is thick
CONTRASTS = ("t2", "t1", "water_fat", "random")
CONTRAST_SHARES = (0.40, 0.18, 0.18, 0.24)
LEVELS = ((-2.2, -0.3), (-1.0, 2.2), (-1.3, 4.6))  # middles of a stack, over the vertebra index
NEAR = 2.0  # vertebrae beyond the stack that are still painted
FAT_OF_TISSUE = np.array([PROPERTIES[t][3] for t in Tissue], np.float32)  # share of fat by code


@dataclass(frozen=True)
class AxialPlan:
    """One axial stack of one patient; `rasterise_axial` is a pure function of it."""

    spine: SpinePlan  # in the patient's own coordinates
    pose: Pose
    muscles: MusclePlan
    trunk: TrunkPlan
    slices: int
    slice_mm: float  # thickness and distance
    field_mm: tuple[float, float]  # rows, columns
    centre_mm: tuple[float, float]  # of the picture from the stack's pivot: back, left
    fold_mm: float  # how much of each side is folded over the other (phase wrap)
    seed: int


@dataclass(frozen=True)
class AxialPhantom:
    """A rasterised stack: fine tissues with SUBPLANES planes to a slice, and what is known of each slice."""

    tissues: Codes  # (slice * SUBPLANES, row, column) codes of Tissue
    labels: Codes  # (slice, row, column) of AxialStructure, at the slice's middle plane
    level: NDArray[np.float32]  # (slice,) vertebra index at the middle plane: 0 = L5, 0.5 = L4/5, -1 = S1
    midline: NDArray[np.float32]  # (slice,) column of the canal's middle
    spacing_mm: tuple[float, float, float]  # slice, row, column
    pose: Pose
    corner_mm: NDArray[np.float64]  # (3,) left, down, back of the middle plane of slice 0 at row 0, column 0, turned

    def fat(self) -> NDArray[np.float32]:
        """(slice, row, column) share of fat in a slice, weighted over its planes as `render` weights them."""
        planes = FAT_OF_TISSUE[self.tissues]
        out: NDArray[np.float32] = 0.25 * planes[::3] + 0.5 * planes[1::3] + 0.25 * planes[2::3]
        return out


def sample_axial(rng: Generator, slices: int = 4) -> AxialPlan:
    """A random stack between T12 and S2, three times in ten beside the sacrum, half of them between L3 and S1."""
    spine = replace(sample_spine(rng, "lumbar"), metal_label=0)
    level = float(rng.uniform(*LEVELS[rng.choice(len(LEVELS), p=(0.3, 0.5, 0.2))]))
    point, tilt = level_point(spine, level)
    along = 1.0 if rng.random() < 0.5 else rng.uniform(0.0, 0.7)
    pose = stack_pose(point, along * tilt + rng.normal(0, 5), rng.normal(0, 3), rng.normal(0, 2.5))
    width = float(rng.uniform(180, 262))
    height = float(width * rng.uniform(0.72, 1.0))
    return dress(
        rng,
        spine,
        pose,
        (slices, float(rng.uniform(3.0, 6.0))),
        (height, width, float(rng.normal(-8, 14)), float(rng.normal(0, 7))),
    )


def dress(
    rng: Generator,
    spine: SpinePlan,
    pose: Pose,
    stack: tuple[int, float],
    view: tuple[float, float, float, float],
    fold: bool = True,
) -> AxialPlan:
    """Muscles and a trunk for `spine`; `stack`: slices and their distance, `view`: field and centre (back, left)."""
    wanted = spine.body.muscle_fat if rng.random() < 0.6 else rng.uniform(0.0, 0.55)
    return AxialPlan(
        spine=spine,
        pose=pose,
        muscles=sample_muscles(rng, spine.body.scale * float(rng.normal(1.0, 0.05)), float(np.clip(wanted, 0.02, 0.6))),
        trunk=sample_trunk(rng, spine.body),
        slices=stack[0],
        slice_mm=stack[1],
        field_mm=(view[0], view[1]),
        centre_mm=(view[2], view[3]),
        fold_mm=float(rng.uniform(8, 30)) if fold and rng.random() < 0.1 else 0.0,
        seed=int(rng.integers(2**31)),
    )


def rasterise_axial(plan: AxialPlan, pixel_mm: float = PIXEL_MM) -> AxialPhantom:
    """Paint `plan`; the same plan and pixel give the same phantom."""
    rng = np.random.default_rng(plan.seed)
    step = plan.slice_mm / SUBPLANES
    columns = round((plan.field_mm[1] + 2 * plan.fold_mm) / pixel_mm)
    shape = (columns, plan.slices * SUBPLANES, round(plan.field_mm[0] / pixel_mm))
    spacing = (pixel_mm, step, pixel_mm)
    centre = np.array([plan.centre_mm[1], 0.0, plan.centre_mm[0]])
    origin = centre - (np.array(shape) - 1) / 2 * np.array(spacing)
    canvas = Canvas(shape, spacing, origin)
    spine = plan.pose.turned(plan.spine)
    planes, course = planes_of(spine, canvas.axes[1].ravel())
    place = place_muscles(canvas.axes, planes, plan.muscles, rng)
    paint_trunk(canvas.codes, place, plan.trunk, rng, spacing)
    labels = paint_muscles(canvas.codes, place, plan.muscles, rng, spacing)
    paint_pelvis(canvas.codes, labels, place, plan.trunk, rng)
    before = canvas.codes.copy()
    _paint_spine(canvas, spine, course, planes, rng)
    wing = _beyond_the_wings(canvas, planes, rng)
    canvas.codes[wing] = before[wing]
    labels[canvas.codes != before] = AxialStructure.BACKGROUND
    _label_spine(labels, canvas.codes, planes, canvas.axes)
    middle = slice(SUBPLANES // 2, None, SUBPLANES)
    labels = _close_bodies(labels[:, middle])
    return AxialPhantom(
        tissues=np.ascontiguousarray(canvas.codes.transpose(1, 2, 0)),
        labels=np.ascontiguousarray(labels.transpose(1, 2, 0)),
        level=planes.level.ravel()[middle],
        midline=((planes.left.ravel() - origin[0]) / pixel_mm).astype(np.float32)[middle],
        spacing_mm=(plan.slice_mm, pixel_mm, pixel_mm),
        pose=plan.pose,
        corner_mm=origin + np.array([0.0, step * (SUBPLANES // 2), 0.0]),
    )


def _paint_spine(canvas: Canvas, plan: SpinePlan, course: CanalCourse, planes: Planes, rng: Generator) -> None:
    """Bones, discs and canal near the stack, in the order of `lab.synth.phantom.rasterise`."""
    low, high = float(planes.level.min()) - NEAR, float(planes.level.max()) + NEAR
    near = [i for i in range(10) if low < i < high]
    canvas.warp = np.stack([smooth_noise(rng, canvas.codes.shape, canvas.spacing, (9.0, 8.0, 8.0)) for _ in range(2)])
    canvas.warp *= np.float32(0.3 * plan.irregularity_mm)
    paint_epidural(canvas, course, rng)
    for index in near:
        paint_nerve(canvas, plan, index)
        paint_arch(canvas, plan, index)
        if not plan.vertebrae[index].lumbar_type:
            paint_ribs(canvas, plan, index)
    if low < -0.5:
        paint_sacrum_rear(canvas, plan)
    for index in [i for i in range(10) if low < i - 0.5 < high]:
        paint_disc(canvas, plan, index)
    for index in near:
        paint_body(canvas, plan, index)
    if low < -0.5:
        paint_sacrum(canvas, plan)
    paint_sac(canvas, course, plan, rng)


def _beyond_the_wings(canvas: Canvas, planes: Planes, rng: Generator) -> NDArray[np.bool_]:
    """Sacral bone that the phantom's square block has too much: wings sweep back and taper towards the joint."""
    x, y = _spine_axes(planes, canvas.axes)
    side = np.abs(x - planes.body_x)
    past = np.maximum(side - planes.half_width + 4, 0)
    front = (
        planes.body_y
        - np.float32(rng.uniform(0.1, 0.7)) * planes.half_depth
        + np.float32(rng.uniform(0.15, 0.6)) * past
    )
    joint = np.float32(rng.uniform(52, 60)) - np.float32(rng.uniform(0.2, 0.5)) * (y + 20)
    rear = np.float32(rng.uniform(8, 18)) - 0.1 * side
    outside = (past > 0) & ((y < front) | (side > joint) | (y > rear + 0.6 * np.maximum(20 - side, 0)))
    rim = (canvas.codes == Tissue.BONE_RIM) & (planes.level < 0)  # of the block, not of the lumbar processes
    return outside & (np.isin(canvas.codes, _SACRAL) | rim)


def _spine_axes(planes: Planes, axes: tuple[NDArray[np.float32], ...]) -> tuple[NDArray[np.float32], ...]:
    left, back = axes[0] - planes.left, axes[2] - planes.back
    return left * planes.cos + back * planes.sin, back * planes.cos - left * planes.sin


_SACRAL = (Tissue.SACRUM_MARROW, Tissue.SACRUM_CORTEX)
_BODY = (Structure.BODY, Structure.DISC, Structure.S1)
_SAC = (Structure.CANAL, Structure.CORD)
# Dark rims belong to the compartments' surroundings, but a dark line inside a body's outline is the body's.
_BODY_TISSUES = (Tissue.END_PLATE, Tissue.BASIVERTEBRAL)


def _label_spine(labels: Codes, codes: Codes, planes: Planes, axes: tuple[NDArray[np.float32], ...]) -> None:
    """Bodies with discs, sacral bodies within their width, and the sac."""
    structures = STRUCTURE_OF_TISSUE[codes]
    labels[np.isin(structures, _BODY) | np.isin(codes, _BODY_TISSUES)] = AxialStructure.BODY
    x, y = _spine_axes(planes, axes)
    within = (np.abs(x - planes.body_x) < planes.half_width) & (np.abs(y - planes.body_y) < planes.half_depth + 1)
    labels[(structures == Structure.SACRUM) & within] = AxialStructure.BODY
    labels[np.isin(structures, _SAC)] = AxialStructure.SAC


def _close_bodies(labels: Codes) -> Codes:
    """Dark shells between a disc and the bodies that the same oblique plane meets are the bodies' too."""
    body = labels == AxialStructure.BODY
    disk = np.hypot(*np.mgrid[-4:5, -4:5]) < 4.3
    closed = binary_closing(body, disk[:, None, :])
    labels[closed & (labels == AxialStructure.BACKGROUND)] = AxialStructure.BODY
    return labels


def picture(
    plan: AxialPlan, phantom: AxialPhantom, rng: Generator, contrast: str, artefacts: float = 1.0
) -> NDArray[np.float32]:
    """(slice, row, column) MR slices, sides folded where the plan says so: `crop_fold` the labels alike."""
    image = render(phantom.tissues.transpose(0, 2, 1), rng, contrast, SUBPLANES, phantom.spacing_mm[1], artefacts)
    image = image.transpose(0, 2, 1)
    width = _fold_pixels(plan, phantom)
    if not width:
        return np.ascontiguousarray(image)
    inner = image[:, :, width:-width].copy()
    inner[:, :, -width:] += image[:, :, :width]
    inner[:, :, :width] += image[:, :, -width:]
    return inner


def crop_fold(plan: AxialPlan, phantom: AxialPhantom, array: NDArray[np.generic]) -> NDArray[np.generic]:
    """`array` (slice, row, column) of the phantom without the sides that `picture` folds away."""
    width = _fold_pixels(plan, phantom)
    return array[:, :, width:-width] if width else array


def _fold_pixels(plan: AxialPlan, phantom: AxialPhantom) -> int:
    return round(plan.fold_mm / phantom.spacing_mm[2])


def draw_contrast(rng: Generator) -> str:
    """One of CONTRASTS, by their shares."""
    return str(rng.choice(CONTRASTS, p=CONTRAST_SHARES))
