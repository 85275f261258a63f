"""Where the spine lies in every axial plane: the facts that muscles and trunk are drawn around.

World axes are those of `lab.synth.plan`, turned so that the planes of an axial stack are planes of constant `down`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lab.synth.bones import arch_shape
from lab.synth.canal import CanalCourse, canal_course
from lab.synth.plan import Frame, SpinePlan
from lab.synth.shapes import Field

USED = 10  # vertebrae from L5 upward that an axial lumbar stack can meet


@dataclass(frozen=True)
class Pose:
    """How an axial stack lies in the patient: turned = matrix @ (world - pivot_mm)."""

    matrix: NDArray[np.float64]  # (3, 3)
    pivot_mm: NDArray[np.float64]  # (3,)

    def turned(self, plan: SpinePlan) -> SpinePlan:
        """`plan` in the coordinates of the stack."""

        def turn(frame: Frame) -> Frame:
            return Frame(self.matrix @ (frame.origin_mm - self.pivot_mm), frame.axes @ self.matrix.T)

        return replace(
            plan,
            frames=tuple(turn(f) for f in plan.frames),
            sacral_frames=tuple(turn(f) for f in plan.sacral_frames),
        )


def disc_centre(plan: SpinePlan, index: int) -> NDArray[np.float64]:
    """(3,) world middle of disc `index` (0 = L5/S1)."""
    upper = plan.frames[index].world(0, -0.5 * _height(plan, index), 0)
    if index:
        lower = plan.frames[index - 1].world(0, 0.5 * _height(plan, index - 1), 0)
    else:
        lower = plan.sacral_frames[0].world(0, 0.5 * plan.sacrum[0].height_mm, 0)
    return 0.5 * (upper + lower)


def _height(plan: SpinePlan, index: int) -> float:
    vertebra = plan.vertebrae[index]
    return 0.5 * (vertebra.height_anterior_mm + vertebra.height_posterior_mm)


def level_point(plan: SpinePlan, level: float) -> tuple[NDArray[np.float64], float]:
    """World point on the axis of the bodies at `level` (0 = middle of L5, 0.5 = L4/5, -1 = S1) and its tilt in degrees.

    A tilt above 0 leans the upper end backwards.
    """
    frames = [*plan.sacral_frames[2::-1], *plan.frames[:USED]]
    at = np.clip(level + 3, 0, len(frames) - 1.001)
    low, part = int(at), at % 1
    point = (1 - part) * frames[low].origin_mm + part * frames[low + 1].origin_mm
    up = (1 - part) * frames[low].axes[1] + part * frames[low + 1].axes[1]
    return point, float(np.degrees(np.arctan2(up[2], -up[1])))


def stack_pose(point_mm: NDArray[np.float64], tilt_deg: float, roll_deg: float = 0.0, turn_deg: float = 0.0) -> Pose:
    """Planes through `point_mm` at right angles to a spine leaning by `tilt_deg`, rolled to a side and turned."""
    a, b, c = np.radians([tilt_deg, roll_deg, turn_deg])
    tilt = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    roll = np.array([[np.cos(b), np.sin(b), 0], [-np.sin(b), np.cos(b), 0], [0, 0, 1]])
    turn = np.array([[np.cos(c), 0, np.sin(c)], [0, 1, 0], [-np.sin(c), 0, np.cos(c)]])
    return Pose(turn @ roll @ tilt, np.asarray(point_mm, float))


@dataclass(frozen=True)
class Planes:
    """One value per plane, mm; all float32 of shape (1, planes, 1). x runs to the left, y to the back."""

    level: Field  # vertebra index: 0 = L5, 0.5 = L4/5, -1 = S1
    left: Field  # middle of the canal
    back: Field
    cos: Field  # of the vertebra's turn about its long axis
    sin: Field
    body_x: Field  # middle of the body from the middle of the canal
    body_y: Field
    half_width: Field  # of the body
    half_depth: Field
    tip: Field  # of the spinous process behind the middle of the canal

    def table(self, levels: tuple[float, ...], values: tuple[float, ...]) -> Field:
        """(1, planes, 1) values between knots over the level."""
        return np.interp(self.level, levels, values).astype(np.float32)


def planes_of(plan: SpinePlan, down_mm: Field) -> tuple[Planes, CanalCourse]:
    """Landmarks of the (turned) `plan` in the planes at `down_mm`, shape (planes,)."""
    course = canal_course(plan, down_mm)
    frames = [*plan.sacral_frames[2::-1], *plan.frames[:USED]]
    widths = [*(s.width_mm for s in plan.sacrum[2::-1]), *(v.width_mm for v in plan.vertebrae[:USED])]
    depths = [*(s.depth_upper_mm for s in plan.sacrum[2::-1]), *(v.depth_mm for v in plan.vertebrae[:USED])]
    tips = [14.0, 19.0, 25.0, *(_tip(plan, i) for i in range(USED))]
    height = np.array([f.origin_mm[1] for f in frames])
    order = np.argsort(height)

    def along(values: list[float] | NDArray[np.float64]) -> NDArray[np.float64]:
        return np.interp(down_mm, height[order], np.asarray(values, float)[order])

    turn = along([np.arctan2(f.axes[0][2], f.axes[0][0]) for f in frames])
    x = along([f.origin_mm[0] for f in frames]) - course.left
    y = along([f.origin_mm[2] for f in frames]) - course.back
    columns = {
        "level": along(np.arange(-3.0, USED)),
        "left": course.left,
        "back": course.back,
        "cos": np.cos(turn),
        "sin": np.sin(turn),
        "body_x": x * np.cos(turn) + y * np.sin(turn),
        "body_y": y * np.cos(turn) - x * np.sin(turn),
        "half_width": along(widths) / 2,
        "half_depth": along(depths) / 2 * np.minimum(np.sqrt(1 + course.slope**2), 1.4),
        "tip": along(tips),
    }
    return Planes(**{k: np.asarray(v, np.float32)[None, :, None] for k, v in columns.items()}), course


def _tip(plan: SpinePlan, index: int) -> float:
    vertebra = plan.vertebrae[index]
    shape = arch_shape(vertebra)
    return 0.5 * vertebra.osseous_ap_mm + 5.0 + shape.spinous_length * float(np.cos(np.radians(shape.spinous_slant)))
