"""Signed distances of vertebrae in their own coordinates: u to the left, h up, p to the back, mm."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lab.synth.plan import SacralPlan, VertebraPlan
from lab.synth.shapes import Field, box2, capsule, ellipsoid, smooth_max, smooth_min

Points = tuple[Field, Field, Field]


class BodyField(NamedTuple):
    """Distances of one vertebral body."""

    solid: Field  # to its surface
    radius: Field  # 0 at the axis, 1 at the wall
    above: Field  # h above the upper end plate's surface
    below: Field  # depth below the lower end plate's surface


def plate_height(p: Field, front_mm: float, rear_mm: float, depth_mm: float) -> Field:
    """Half the height between the rims at `p`, for heights `front_mm` and `rear_mm` at the two edges."""
    return np.float32(0.25 * (front_mm + rear_mm)) + p * np.float32(0.5 * (rear_mm - front_mm) / depth_mm)


def plate_radius(u: Field, p: Field, width_mm: float, depth_mm: float) -> Field:
    """0 at the axis, 1 at the edge of an end plate: round in front, nearly straight behind."""
    x, y = np.abs(u) * np.float32(2 / width_mm), p * np.float32(2 / depth_mm)
    x2, y2 = x * x, y * y
    front = x2 * np.sqrt(x) + y2 * np.sqrt(np.abs(y))
    rear = x2 * x2 + y2 * y2
    return np.where(p < 0, front**0.4, np.sqrt(np.sqrt(rear)))


def hollow(radius: Field) -> Field:
    """1 in the middle of an end plate, 0 on its rim."""
    inside = np.minimum(radius, 1.0)
    return 1.0 - inside * inside * inside


def body_field(points: Points, plan: VertebraPlan, rough: tuple[float, float] = (0.0, 0.0)) -> BodyField:
    """Body with waist, hollow end plates and osteophytes; `rough` is the end-plate irregularity (upper, lower) mm."""
    u, h, p = points
    half = plate_height(p, plan.height_anterior_mm, plan.height_posterior_mm, plan.depth_mm)
    half = np.maximum(half, 1.0)
    relative = np.minimum(np.abs(h) / half, 1.0)
    slim = 1.0 - np.float32(plan.waist) * (1.0 - relative * relative)
    radius = plate_radius(u / slim, p / slim, plan.width_mm, plan.depth_mm)
    wall = (radius - 1.0) * slim * np.float32(plan.depth_mm / 2)
    if plan.osteophyte_anterior_mm + plan.osteophyte_posterior_mm > 0:
        near = np.exp(-np.square((half - np.abs(h)) / 2.6))
        reach = np.where(p < 0, np.float32(plan.osteophyte_anterior_mm), np.float32(plan.osteophyte_posterior_mm))
        wall = wall - near * reach * np.where(h > 0, np.float32(1.0), np.float32(0.7))
    sink = hollow(radius)
    n0, n1, n2, n3 = plan.shape_noise
    wave = np.sin(u * 0.45 + n0) * np.sin(p * 0.55 + n1) + 0.6 * np.sin(p * 1.1 + 3 * n2 + u * 0.3)
    above = h - half + np.float32(plan.concavity_upper_mm) * sink + np.float32(0.5 * rough[0]) * wave
    sunk = sink * (1.0 + np.float32(0.15 * np.tanh(n3)) * p * np.float32(2 / plan.depth_mm))
    below = -h - half + np.float32(plan.concavity_lower_mm) * sunk - np.float32(0.5 * rough[1]) * wave
    round_mm = 0.1 * plan.depth_mm
    solid = smooth_max(smooth_max(wall, above, round_mm), below, round_mm)
    return BodyField(solid, radius, above, below)


class ArchShape(NamedTuple):
    """Sizes of the posterior elements, mm and degrees."""

    pedicle_half_width: float
    pedicle_half_height: float
    pedicle_up: float
    lamina_half_height: float
    lamina_half_thickness: float
    spinous_length: float
    spinous_half_height: float
    spinous_half_width: float
    spinous_slant: float
    transverse_reach: float
    transverse_radius: float
    facet_length: float


# Knots over the vertebra index (0 = L5 ... 22 = C2): general knowledge of medium certainty, judged by eye beside
# real images.
_INDEX = (0, 1, 4, 5, 7, 10, 14, 16, 17, 18, 21, 22)
_ARCH: dict[str, tuple[float, ...]] = {
    "pedicle_half_width": (7.0, 6.0, 4.0, 3.8, 3.5, 2.8, 2.4, 3.4, 3.2, 2.6, 2.4, 3.5),
    "pedicle_half_height": (7.0, 7.2, 7.5, 7.5, 6.5, 6.0, 5.5, 4.5, 3.6, 3.4, 3.4, 4.5),
    "pedicle_up": (5, 5.5, 5.5, 5, 4.5, 4, 3.5, 2.5, 1.5, 1.0, 1.0, 0.0),
    "lamina_half_height": (8.0, 10.5, 11.5, 11.0, 10.5, 9.5, 8.5, 8.0, 7.0, 5.5, 5.0, 7.0),
    "lamina_half_thickness": (3.0, 3.2, 3.2, 3.2, 3.0, 2.8, 2.6, 2.6, 2.2, 1.7, 1.5, 2.6),
    "spinous_length": (19, 26, 27, 24, 28, 34, 32, 29, 26, 19, 13, 17),
    "spinous_half_height": (6.5, 9.5, 10.0, 8.5, 5.5, 4.5, 4.2, 4.0, 3.8, 3.3, 3.1, 5.2),
    "spinous_half_width": (3.2, 3.2, 3.0, 3.0, 2.6, 2.4, 2.4, 2.8, 2.8, 3.0, 3.0, 4.0),
    "spinous_slant": (14, 8, 6, 14, 30, 52, 45, 26, 20, 24, 26, 20),
    "transverse_reach": (42, 42, 36, 20, 26, 30, 32, 34, 32, 26, 25, 24),
    "transverse_radius": (4.5, 3.6, 3.4, 4.0, 4.2, 4.5, 4.5, 4.5, 3.6, 3.4, 3.2, 3.0),
    "facet_length": (13, 14, 14, 12, 9, 8, 8, 8, 7, 6, 6, 6),
}


def arch_shape(plan: VertebraPlan) -> ArchShape:
    """Sizes of the posterior elements of `plan`, scaled to the patient."""
    values = {name: float(np.interp(plan.label - 1, _INDEX, knots)) * plan.arch_scale for name, knots in _ARCH.items()}
    values["spinous_slant"] = values["spinous_slant"] / plan.arch_scale + plan.spinous_drop_deg
    return ArchShape(**values)


def canal_tube(points: Points, plan: VertebraPlan) -> Field:
    """Distance to the bony canal of one vertebra."""
    u, _, p = points
    front = 0.5 * plan.depth_mm * (1 - plan.waist)
    x = u * np.float32(2 / plan.osseous_width_mm)
    y = (p - np.float32(front + plan.osseous_ap_mm / 2)) * np.float32(2 / plan.osseous_ap_mm)
    return (np.sqrt(x * x + y * y) - 1.0) * np.float32(plan.osseous_ap_mm / 2)


def arch_field(points: Points, plan: VertebraPlan) -> Field:
    """Distance to pedicles, laminae, facets, spinous and transverse processes, without the canal."""
    u, h, p = points
    shape, half_depth = arch_shape(plan), 0.5 * plan.depth_mm
    across = np.abs(u)
    side = (across, h, p)
    root = plan.osseous_width_mm / 2 + 0.75 * shape.pedicle_half_width
    rear = half_depth + plan.osseous_ap_mm
    squeeze = np.float32(shape.pedicle_half_width / shape.pedicle_half_height)
    up = shape.pedicle_up
    pedicle = capsule(
        (across, (h - np.float32(up)) * squeeze, p),
        (root, 0.0, 0.5 * half_depth),
        (root, 0.0, rear - 0.3 * plan.osseous_ap_mm),
        shape.pedicle_half_width,
    )
    arch = smooth_min(_lamina(side, shape, rear, root, plan.osseous_ap_mm), _spinous(side, shape, rear), 4.0)
    arch = smooth_min(pedicle, arch, 2.0)
    post = rear - 0.25 * plan.osseous_ap_mm
    width = 0.36 * shape.facet_length * plan.facet_scale
    arch = np.minimum(arch, capsule(side, (root + 2, up, post - 2), (root + 3, up + shape.facet_length, post), width))
    low = -shape.lamina_half_height - 0.55 * shape.facet_length
    arch = np.minimum(arch, capsule(side, (root - 1, up - 6, post + 2), (root - 1, low, post + 4), width))
    if plan.label >= 18:
        arch = np.minimum(arch, _pillar(side, plan, post))
    reach = shape.transverse_reach
    fore = half_depth - 3 if plan.label >= 18 else post - 4
    arch = np.minimum(
        arch, capsule(side, (root, up - 1, post - 5), (reach, up, fore + 0.12 * reach), shape.transverse_radius)
    )
    return np.maximum(arch, -canal_tube(points, plan))


def _lamina(side: Points, shape: ArchShape, rear: float, root: float, canal_mm: float) -> Field:
    across, h, p = side
    middle = np.float32(rear + shape.lamina_half_thickness) - across * np.float32(0.45 * canal_mm / root)
    tilt = np.radians(18.0)
    q, g = p - middle, h + np.float32(0.35 * shape.lamina_half_height)
    along, thick = g * np.cos(tilt) - q * np.sin(tilt), q * np.cos(tilt) + g * np.sin(tilt)
    plate = box2(
        along, thick, (shape.lamina_half_height, shape.lamina_half_thickness), shape.lamina_half_thickness * 0.9
    )
    return smooth_max(plate, across - np.float32(root + 1), 2.0)


def _pillar(side: Points, plan: VertebraPlan, post: float) -> Field:
    """Articular pillar of a cervical vertebra: a slanted block beside the canal."""
    across, h, p = side
    slant, scale = np.radians(38.0), plan.arch_scale
    q, g = p - np.float32(post - 1.5), h + np.float32(1.5)
    along, thick = g * np.cos(slant) - q * np.sin(slant), q * np.cos(slant) + g * np.sin(slant)
    block = box2(along, thick, (0.36 * plan.height_posterior_mm + 3.2, 4.2 * scale), 2.5)
    return smooth_max(
        block, np.abs(across - np.float32(plan.osseous_width_mm / 2 + 4.5)) - np.float32(5.5 * scale), 2.0
    )


def _spinous(side: Points, shape: ArchShape, rear: float) -> Field:
    across, h, p = side
    slant = np.radians(shape.spinous_slant)
    q, g = p - np.float32(rear + 2), h + np.float32(0.45 * shape.lamina_half_height)
    along = q * np.cos(slant) - g * np.sin(slant)
    lift = g * np.cos(slant) + q * np.sin(slant)
    half = shape.spinous_length / 2
    flare = 1.0 + 0.28 * np.clip(along / half - 1.2, -1.3, 0.5)  # the tip is the taller end
    blade = box2(
        along - np.float32(half), lift / flare, (half, shape.spinous_half_height), shape.spinous_half_height * 0.85
    )
    thick = np.float32(shape.spinous_half_width) * (0.85 + 0.3 * np.clip(along / shape.spinous_length, 0, 1.2))
    return smooth_max(blade, across - thick, 1.5)


def dens_field(points: Points, plan: VertebraPlan) -> Field:
    """Distance to the dens of the axis, on top of its body."""
    scale = plan.depth_mm / 15.8
    top = 0.5 * plan.height_posterior_mm
    dens = capsule(points, (0.0, top - 3, -0.5), (0.0, top + 12 * scale, 0.5), 5.2 * scale)
    return np.minimum(dens, ellipsoid(points, (0.0, top - 1, 0.0), (8.5 * scale, 4.5, 6.5 * scale)))


def atlas_field(points: Points, plan: VertebraPlan, axis: VertebraPlan) -> Field:
    """Distance to the atlas in its own frame: origin at the middle of the dens; arches and lateral masses."""
    u, h, p = points
    scale = axis.depth_mm / 15.8
    across = np.abs(u)
    front = -(5.2 * scale + 2.0)
    rear = 5.2 * scale + 2.5 + plan.osseous_ap_mm - 3.0
    ring_p = 0.5 * (front + rear)
    radius = np.sqrt(np.square(u / 1.15) + np.square(p - np.float32(ring_p)))
    ring = radius - np.float32(0.5 * (rear - front) + 3.0)
    tall = np.where(p < np.float32(ring_p), np.float32(5.5 * scale), np.float32(4.5 * scale))
    thick = np.where(p < np.float32(ring_p), np.float32(2.8 * scale), np.float32(2.8 * scale))
    arch = (np.sqrt(np.square(ring / thick) + np.square(h / tall)) - 1.0) * np.float32(2.8 * scale)
    mass = ellipsoid((across, h, p), (17.0 * scale, 0.0, 1.0), (7.0 * scale, 8.0 * scale, 8.5 * scale))
    wing = capsule((across, h, p), (20 * scale, -1, 1), (34 * scale, -2, 2), 3.5 * scale)
    return np.minimum(np.minimum(arch, mass), wing)


def sacral_field(points: Points, plan: SacralPlan, first: bool) -> BodyField:
    """One sacral segment; only the first has a hollow upper plate."""
    u, h, p = points
    t = np.clip(h / np.float32(plan.height_mm) + 0.5, 0.0, 1.0)
    depth = np.float32(plan.depth_lower_mm) + t * np.float32(plan.depth_upper_mm - plan.depth_lower_mm)
    rear = np.float32(plan.depth_upper_mm / 2)
    mid = rear - depth / 2
    x, y = np.abs(u) * np.float32(2 / plan.width_mm), (p - mid) * 2 / depth
    radius = np.sqrt(np.sqrt(np.square(x * x) + np.square(y * y)))
    wall = (radius - 1.0) * depth / 2
    half = np.float32(plan.height_mm / 2)
    above = h - half + (hollow(radius) if first else np.float32(0.0))
    below = -h - half
    solid = smooth_max(smooth_max(wall, above, 0.08 * plan.depth_upper_mm), below, 0.08 * plan.depth_upper_mm)
    return BodyField(solid, radius, above, below)


def sacral_rear_field(points: Points, plan: SacralPlan, index: int) -> Field:
    """Distance to the lateral mass, roof and crest of sacral segment `index`, open at its foramina."""
    u, h, p = points
    across, half = np.abs(u), np.float32(plan.depth_upper_mm / 2)
    canal_ap = plan.sac_ap_mm + 6.0 if index < 3 else 5.0
    long = np.abs(h) - np.float32(plan.height_mm * (0.56 if index == 0 else 0.66))
    wing = np.maximum(across - np.float32(58.0 - 9.0 * index), p - half - np.float32(canal_ap + 2))
    front = -0.55 * half + 0.16 * np.maximum(across - np.float32(plan.width_mm / 2), 0)
    wing = np.maximum(np.maximum(wing, front - p), np.float32(plan.width_mm / 2 - 5) - across)
    hole = np.square(across - np.float32(plan.width_mm / 2 - 1)) + np.square(h + np.float32(0.5 * plan.height_mm))
    wing = np.maximum(np.maximum(wing, long), 5.0 - np.sqrt(hole))
    if index == 4:
        return wing
    roof = np.abs(p - half - np.float32(canal_ap + 2.5) + 0.25 * across) - np.float32(2.6)
    roof = np.maximum(np.maximum(roof, across - np.float32(plan.width_mm / 2 - 4)), np.abs(h) - 0.5 * plan.height_mm)
    crest = ellipsoid((across, h, p), (0.0, 0.0, float(half) + canal_ap + 5), (3.0, 0.38 * plan.height_mm, 7.5))
    return np.minimum(wing, smooth_min(roof, crest, 3.0))
