"""Shadows of the spine's own bones on a lateral film, and where their landmarks lie.

Attenuation is what bone adds to the soft tissue that it displaces, per mm at about 65 keV: general knowledge of medium
certainty, drawn with a spread.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lab.synth.bones import (
    Points,
    arch_field,
    arch_shape,
    atlas_field,
    body_field,
    dens_field,
    plate_height,
    sacral_field,
    sacral_rear_field,
)
from lab.synth.norms import C1, C2, C7, T12
from lab.synth.plan import Frame, SpinePlan, VertebraPlan
from lab.synth.radiograph_beam import Shadows, coverage
from lab.synth.shapes import Field
from spine.xray.landmarks import CERVICAL, LANDMARKS

CORTEX, TRABECULAR, TITANIUM = 0.036, 0.0085, 0.15  # attenuation per mm beyond that of soft tissue
SPUR_MIN_MM = 0.6  # smaller osteophytes are not drawn: the tip is the corner
TIP_RADIUS_MM = (0.4, 0.9)
SPUR_SPAN = (0.2, 0.6)  # how far to either side a ridge runs along the rim, share of half the body's width


@dataclass(frozen=True)
class BoneLook:
    """How dense the patient's bone is."""

    cortex: float  # attenuation per mm
    trabecular: float
    shell_mm: float
    trabeculae: float  # relative texture of the bodies


def sample_look(rng: Generator, age_years: float) -> BoneLook:
    """Density falls with age."""
    strength = float(np.clip(rng.normal(1.05 - 0.006 * (age_years - 30), 0.22), 0.3, 1.6))
    return BoneLook(
        cortex=CORTEX * rng.uniform(0.8, 1.15),
        trabecular=TRABECULAR * strength,
        shell_mm=float(rng.uniform(0.5, 1.0)),
        trabeculae=float(rng.uniform(0.0, 0.5)),
    )


@dataclass(frozen=True)
class Spur:
    """An anterior osteophyte: a lip along the rim; in the midline it runs from inside the corner to its tip.

    Places are local (h, p) mm.
    """

    base: tuple[float, float]
    tip: tuple[float, float]  # its very end
    base_radius_mm: float
    tip_radius_mm: float
    span: float  # to either side, share of half the body's width


def corner(vertebra: VertebraPlan, upper: bool, anterior: bool) -> tuple[float, float]:
    """Local (h, p) where wall and end plate of the body would meet in the midline."""
    p = (-0.5 if anterior else 0.5) * vertebra.depth_mm
    half = float(
        plate_height(np.float32(p), vertebra.height_anterior_mm, vertebra.height_posterior_mm, vertebra.depth_mm)
    )
    return (max(half, 1.0) if upper else -max(half, 1.0)), p


def spur(vertebra: VertebraPlan, upper: bool, seed: int) -> Spur | None:
    """The osteophyte at one anterior rim, None where there is none; `seed` is the plan's and fixes its shape.

    One of the two rims, by chance, has the reach of the plan; the other an independent share of it.
    """
    both = np.random.default_rng((seed, vertebra.label))
    first, share = bool(both.random() < 0.5), float(both.uniform(0.0, 1.0))
    reach = vertebra.osteophyte_anterior_mm * (1.0 if first == upper else share)
    if reach < SPUR_MIN_MM:
        return None
    own = np.random.default_rng((seed, vertebra.label, int(upper)))
    slant, thin, span = (
        float(own.uniform(-0.15, 0.6)),
        float(own.uniform(*TIP_RADIUS_MM)),
        float(own.uniform(*SPUR_SPAN)),
    )
    h, p = corner(vertebra, upper, True)
    sign = 1.0 if upper else -1.0
    radius = min(0.6 + 0.32 * reach, 0.25 * vertebra.height_posterior_mm)
    along = np.array([sign * slant, -1.0]) / np.hypot(slant, 1.0)
    end = np.array([h, p]) + reach * along
    return Spur((h - sign * radius, p + 0.9 * radius), (float(end[0]), float(end[1])), radius, min(thin, radius), span)


def spur_field(points: Points, ridge: Spur, width_mm: float, depth_mm: float) -> Field:
    """Distance to a lip that follows the round rim, reaches furthest in the midline and ends bluntly to the sides.

    Along a beam near its tip it is several millimetres of cortical bone: on a film a beak with a sharp end. Exact in
    the midline, a lower bound of nearness elsewhere.
    """
    u, h, p = points
    along = np.subtract(ridge.tip, ridge.base)
    length = float(np.hypot(*along))
    along = along / length
    run = length - ridge.tip_radius_mm
    half_mm = ridge.span * width_mm / 2
    side = np.minimum(np.abs(u) / np.float32(half_mm), 1.0)
    reach = np.sqrt(1.0 - side * side)
    rim = np.minimum(np.abs(u) * np.float32(2 / width_mm), 1.0)  # as in lab.synth.bones.plate_radius
    back = np.float32(depth_mm / 2) * (1.0 - (1.0 - rim * rim * np.sqrt(rim)) ** np.float32(0.4))
    dh, dp = h - np.float32(ridge.base[0]), p - back - np.float32(ridge.base[1])
    t = np.clip((dh * np.float32(along[0]) + dp * np.float32(along[1])) / np.float32(run), 0.0, reach)
    off_h, off_p = dh - t * np.float32(run * along[0]), dp - t * np.float32(run * along[1])
    past = np.maximum(np.abs(u) - np.float32(half_mm), 0.0)
    radius = np.float32(ridge.base_radius_mm) + t * np.float32(ridge.tip_radius_mm - ridge.base_radius_mm)
    return np.sqrt(off_h * off_h + off_p * off_p + past * past) - radius


def spinolaminar_point(vertebra: VertebraPlan) -> tuple[float, float]:
    """Local (h, p) of the front of the lamina in the midline at mid-height of the body, found on the solid itself."""
    start = 0.5 * vertebra.depth_mm + 0.45 * vertebra.osseous_ap_mm
    p = np.arange(start, start + vertebra.osseous_ap_mm + 12.0, 0.05, dtype=np.float32)
    line = arch_field((np.zeros_like(p), np.zeros_like(p), p), vertebra)
    inside = np.flatnonzero(line < 0)
    return 0.0, float(p[inside[0]]) if inside.size else start + 0.55 * vertebra.osseous_ap_mm


def landmarks_world(plan: SpinePlan, region: str) -> NDArray[np.float64]:
    """(78, 3) world mm of the landmarks in the order of spine.xray.landmarks; nan: they are of the other region."""
    out = np.full((len(LANDMARKS), 3), np.nan)
    names = {v.name: i for i, v in enumerate(plan.vertebrae)}
    for channel, (name, point) in enumerate(LANDMARKS):
        if (channel < len(CERVICAL)) != (region == "cervical"):
            continue
        if name == "S1":
            out[channel] = _sacral_point(plan, point)
        else:
            index = names[name]
            h, p = _local(plan.vertebrae[index], point, plan.seed)
            out[channel] = plan.frames[index].world(0.0, h, p)
    return out


def neighbours_world(plan: SpinePlan, region: str) -> NDArray[np.float64]:
    """(n, 3) corners that look like landmarks but are none: of the vertebrae next to the last ones, and of S1 below."""
    wanted = [("T1", False), ("T2", True), ("T2", False), ("T3", True)]
    if region == "lumbar":
        wanted = [("T12", True), ("T11", False), ("T11", True), ("T10", False), ("T10", True)]
    names = {v.name: i for i, v in enumerate(plan.vertebrae)}
    out = []
    for name, upper in wanted:
        index = names[name]
        for anterior in (True, False):
            h, p = corner(plan.vertebrae[index], upper, anterior)
            out.append(plan.frames[index].world(0.0, h, p))
    for segment, frame in zip(plan.sacrum[:2], plan.sacral_frames[:2], strict=True):
        if region == "lumbar":
            half, rear = segment.height_mm / 2, segment.depth_upper_mm / 2
            out += [frame.world(0.0, -half, rear), frame.world(0.0, -half, rear - segment.depth_lower_mm)]
    return np.stack(out)


def _sacral_point(plan: SpinePlan, point: str) -> NDArray[np.float64]:
    first = plan.sacrum[0]
    p = (0.5 if point == "superior_posterior" else -0.5) * first.depth_upper_mm
    return plan.sacral_frames[0].world(0.0, first.height_mm / 2, p)


def _local(vertebra: VertebraPlan, point: str, seed: int) -> tuple[float, float]:
    if point == "centre":
        return 0.0, 0.0
    if point == "spinolaminar":
        return spinolaminar_point(vertebra)
    upper = point.startswith("superior")
    if point.endswith("tip"):
        ridge = spur(vertebra, upper, seed)
        return ridge.tip if ridge else corner(vertebra, upper, True)
    return corner(vertebra, upper, point.endswith("anterior"))


def cast_spine(shadows: Shadows, plan: SpinePlan, look: BoneLook, indices: range) -> None:
    """Bodies, arches, dens and atlas of the vertebrae `indices` (0 = L5), and the sacrum where L5 is among them."""
    for index in indices:
        if index < C1:
            _cast_body(shadows, plan, look, index)
            _cast_arch(shadows, plan, look, index)
    if C1 in indices:
        _cast_top(shadows, plan, look)
    if 0 in indices:
        _cast_sacrum(shadows, plan, look)


def _bone(solid: Field, look: BoneLook, shell_mm: float) -> Field:
    inner = coverage(solid + np.float32(shell_mm))
    return np.float32(look.cortex) * (coverage(solid) - inner) + np.float32(look.trabecular) * inner


def _cast_body(shadows: Shadows, plan: SpinePlan, look: BoneLook, index: int) -> None:
    vertebra = plan.vertebrae[index]
    plain = replace(vertebra, osteophyte_anterior_mm=0.0)
    ridges = [r for r in (spur(vertebra, True, plan.seed), spur(vertebra, False, plan.seed)) if r]
    rough = (
        plan.discs[index + 1].endplate_lower_rough_mm if index + 1 < len(plan.discs) else 0.0,
        plan.discs[index].endplate_upper_rough_mm,
    )
    sclerosis = (_sclerosis(plan, index + 1), _sclerosis(plan, index))

    def density(points: Points) -> Field:
        body = body_field(points, plain, rough)
        solid = body.solid
        for ridge in ridges:
            solid = np.minimum(solid, spur_field(points, ridge, vertebra.width_mm, vertebra.depth_mm))
        mu = _bone(solid, look, look.shell_mm)
        for past, (reach, extra) in zip((body.above, body.below), sclerosis, strict=True):
            if reach > 0:
                mu = mu + coverage(solid) * np.float32(extra) * np.exp(np.minimum(past, 0) / np.float32(reach))
        return mu

    reach = 1.0 + max((abs(r.tip[1]) - vertebra.depth_mm / 2 for r in ridges), default=0.0)
    tall = max(vertebra.height_anterior_mm, vertebra.height_posterior_mm) / 2 + 1.5 + 0.5 * reach
    low = np.array([-vertebra.width_mm / 2 - 1, -tall, -vertebra.depth_mm / 2 - reach - 1.0])
    high = np.array([vertebra.width_mm / 2 + 1, tall, vertebra.depth_mm / 2 + vertebra.osteophyte_posterior_mm + 1.5])
    shadows.cast(plan.frames[index], (low, high), density)


def _sclerosis(plan: SpinePlan, disc: int) -> tuple[float, float]:
    """(depth mm, attenuation per mm) of the dense bone beside disc `disc` (0 = L5/S1)."""
    if disc >= len(plan.discs):
        return 0.0, 0.0
    worn = plan.discs[disc]
    if worn.modic == 3:
        return 3.5, 0.012
    return (1.0 + 0.6 * (worn.pfirrmann - 3), 0.006 * (worn.pfirrmann - 2)) if worn.pfirrmann >= 3 else (0.0, 0.0)


def _cast_arch(shadows: Shadows, plan: SpinePlan, look: BoneLook, index: int) -> None:
    vertebra = plan.vertebrae[index]
    shape = arch_shape(vertebra)
    slant = np.radians(shape.spinous_slant)
    up = shape.pedicle_up + shape.facet_length * (1 + 0.4 * vertebra.facet_scale) + 2
    drop = shape.spinous_length * np.sin(slant) + 1.3 * shape.spinous_half_height + 0.45 * shape.lamina_half_height
    drop = max(drop, 1.4 * shape.lamina_half_height + 0.55 * shape.facet_length) + 3
    rear = vertebra.depth_mm / 2 + vertebra.osseous_ap_mm + shape.spinous_length * np.cos(slant)
    rear += 1.3 * shape.spinous_half_height * np.sin(slant) + 5
    front = 0.5 * vertebra.depth_mm - 1.0  # in front of this the body has been cast
    across = max(shape.transverse_reach + shape.transverse_radius, vertebra.osseous_width_mm / 2 + 12) + 1

    def density(points: Points) -> Field:
        return _bone(np.maximum(arch_field(points, vertebra), np.float32(front) - points[2]), look, look.shell_mm)

    low, high = np.array([-across, -drop, front - 1]), np.array([across, up, rear])
    shadows.cast(plan.frames[index], (low, high), density, step=2)


def _cast_top(shadows: Shadows, plan: SpinePlan, look: BoneLook) -> None:
    axis, atlas = plan.vertebrae[C2], plan.vertebrae[C1]
    top = 0.5 * axis.height_posterior_mm - 2.0  # below this the body of C2 has been cast

    def dens(points: Points) -> Field:
        return _bone(np.maximum(dens_field(points, axis), np.float32(top) - points[1]), look, look.shell_mm)

    def ring(points: Points) -> Field:
        return _bone(atlas_field(points, atlas, axis), look, look.shell_mm)

    shadows.cast(plan.frames[C2], (np.array([-12.0, top - 1, -12.0]), np.array([12.0, 34.0, 12.0])), dens)
    shadows.cast(plan.frames[C1], (np.array([-40.0, -14.0, -24.0]), np.array([40.0, 14.0, 44.0])), ring, step=2)


def _cast_sacrum(shadows: Shadows, plan: SpinePlan, look: BoneLook) -> None:
    for index, (segment, frame) in enumerate(zip(plan.sacrum, plan.sacral_frames, strict=True)):

        def density(points: Points, index: int = index) -> Field:
            body = sacral_field(points, plan.sacrum[index], index == 0).solid
            rear = sacral_rear_field(points, plan.sacrum[index], index)
            front = _bone(body, look, look.shell_mm)
            # the wide lateral mass holds little but fat
            return front + np.float32(0.45) * _bone(np.maximum(rear, -body), look, look.shell_mm)

        tall = 0.65 * segment.height_mm
        low = np.array([-60.0, -tall, -segment.depth_upper_mm / 2 - 4])
        high = np.array([60.0, tall, segment.depth_upper_mm / 2 + 28])
        shadows.cast(frame, (low, high), density, step=1 if index == 0 else 2)


def seen_range(region: str) -> range:
    """Indices (0 = L5) of the vertebrae that may lie on a film of `region`."""
    return range(C7 - 4, C1 + 1) if region == "cervical" else range(0, T12 + 4)


def frame_of(plan: SpinePlan, name: str) -> Frame:
    """Frame of the vertebra `name`."""
    return plan.frames[[v.name for v in plan.vertebrae].index(name)]
