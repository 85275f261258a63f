"""Implants on a lateral film: plate and screws, cage, disc prosthesis, rods; fused levels; jewellery."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lab.synth.bones import Points
from lab.synth.plan import Frame, SpinePlan
from lab.synth.radiograph_beam import Shadows, coverage
from lab.synth.radiograph_bones import TITANIUM, BoneLook
from lab.synth.radiograph_soft import ramp, stroke
from lab.synth.shapes import Field, box2, capsule

KINDS = {"cervical": ("plate", "cage", "prosthesis", "fused"), "lumbar": ("rods", "cage", "prosthesis", "fused")}


def cast_implant(shadows: Shadows, plan: SpinePlan, look: BoneLook, kind: str, disc: int) -> None:
    """One of KINDS at disc `disc` (0 = L5/S1; at least 1: there is no implant at the sacrum here)."""
    if kind == "fused":
        _cast_bridge(shadows, plan, look, disc)
    elif kind == "rods":
        for index in (disc, disc - 1):
            _cast_pedicle_screws(shadows, plan, index)
        _cast_rods(shadows, plan, disc)
    elif kind == "plate":
        _cast_plate(shadows, plan, disc)
        _cast_bridge(shadows, plan, look, disc)
    else:
        _cast_spacer(shadows, plan, disc, kind)


def _between(plan: SpinePlan, disc: int) -> tuple[Frame, float, float, float]:
    """Frame in the middle of a disc space, its height at mid-depth, depth and width."""
    upper, lower = plan.frames[disc], plan.frames[disc - 1]
    v, w = plan.vertebrae[disc], plan.vertebrae[disc - 1]
    base = upper.world(0, -0.25 * (v.height_anterior_mm + v.height_posterior_mm), 0)
    top = lower.world(0, 0.25 * (w.height_anterior_mm + w.height_posterior_mm), 0)
    axes = upper.axes + lower.axes
    axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    height = float((base - top) @ axes[1])
    return Frame(0.5 * (base + top), axes), height, 0.5 * (v.depth_mm + w.depth_mm), 0.5 * (v.width_mm + w.width_mm)


def _reach(u: float, h: float, p: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array([-u, -h, -p]), np.array([u, h, p])


def _cast_bridge(shadows: Shadows, plan: SpinePlan, look: BoneLook, disc: int) -> None:
    frame, height, depth, width = _between(plan, disc)

    def density(points: Points) -> Field:
        u, h, p = points
        solid = np.maximum(box2(h, p, (height / 2 + 2.5, 0.44 * depth), 1.0), np.abs(u) - np.float32(0.42 * width))
        return np.float32(1.3 * look.trabecular) * coverage(solid)

    shadows.cast(frame, _reach(0.45 * width, height / 2 + 3, 0.5 * depth), density)


def _cast_spacer(shadows: Shadows, plan: SpinePlan, disc: int, kind: str) -> None:
    frame, height, depth, width = _between(plan, disc)
    thin = 0.09 * depth

    def density(points: Points) -> Field:
        u, h, p = points
        side = np.abs(u) - np.float32(0.36 * width)
        if kind == "prosthesis":
            plates = box2(np.abs(h) - np.float32(height / 2), p, (thin / 2, 0.42 * depth), 0.3)
            keel = box2(np.abs(h) - np.float32(height / 2 + 1.2), p, (1.2, 0.15 * depth), 0.3)
            solid = np.minimum(np.maximum(plates, side), np.maximum(keel, np.abs(u) - np.float32(1.0)))
            return np.float32(TITANIUM) * coverage(solid)
        marks = box2(h, np.abs(p) - np.float32(0.3 * depth), (height / 2, 0.6), 0.3)
        shell = box2(h, p, (height / 2, 0.36 * depth), 1.0)
        cage = np.float32(0.004) * coverage(np.maximum(shell, side))
        return cage + np.float32(0.3) * coverage(np.maximum(marks, np.abs(np.abs(u) - 5) - np.float32(0.6)))

    shadows.cast(frame, _reach(0.4 * width, height / 2 + 3, 0.55 * depth), density)


def _cast_plate(shadows: Shadows, plan: SpinePlan, disc: int) -> None:
    frame, height, depth, _ = _between(plan, disc)
    tall = height / 2 + 0.42 * plan.vertebrae[disc].height_posterior_mm

    def density(points: Points) -> Field:
        u, h, p = points
        plate = np.maximum(box2(h, p + np.float32(depth / 2 + 1.6), (tall, 1.1), 0.6), np.abs(u) - np.float32(8.0))
        across, high = np.abs(u), np.abs(h)
        screws = capsule((across, high, p), (6, tall - 3, -depth / 2 - 1), (5, tall - 1.5, 0.25 * depth), 1.8)
        return np.float32(TITANIUM) * coverage(np.minimum(plate, screws))

    shadows.cast(frame, (np.array([-9, -tall - 3, -depth / 2 - 4]), np.array([9, tall + 3, 0.4 * depth])), density)


def _cast_pedicle_screws(shadows: Shadows, plan: SpinePlan, index: int) -> None:
    vertebra, depth = plan.vertebrae[index], plan.vertebrae[index].depth_mm
    side = vertebra.osseous_width_mm / 2 + 5

    def density(points: Points) -> Field:
        u, h, p = points
        screw = capsule((np.abs(u), h, p), (side + 4, 6, depth / 2 + 28), (side - 6, 3, -0.2 * depth), 2.9)
        return np.float32(TITANIUM) * coverage(screw)

    low, high = np.array([-side - 8, -2.0, -0.35 * depth]), np.array([side + 8, 11.0, depth / 2 + 32])
    shadows.cast(plan.frames[index], (low, high), density)


def _cast_rods(shadows: Shadows, plan: SpinePlan, disc: int) -> None:
    down, back = shadows.beam.plane(2)
    ends = [
        plan.frames[i].world(0, 6 + lift, plan.vertebrae[i].depth_mm / 2 + 30)
        for i, lift in ((disc, 7), (disc - 1, -7))
    ]
    for shift in (-2.5, 2.5):
        line = [(float(e[1]), float(e[2]) + shift) for e in ends]
        shadows.layers[2] += np.float32(TITANIUM * 5) * ramp(stroke(down, back, line, 2.8), 1.2)


def cast_jewellery(shadows: Shadows, plan: SpinePlan, rng: Generator) -> None:
    """An ear-ring below the skull's base and a chain round the neck, each at times."""
    down, back = shadows.beam.plane(2)
    atlas, c7 = plan.frames[-1].origin_mm, plan.frames[17].origin_mm
    if rng.random() < 0.6:
        for _ in range(2):
            centre = atlas[1] + rng.uniform(-20, 15), atlas[2] - rng.uniform(-6, 30)
            ring = np.abs(np.hypot(down - centre[0], back - centre[1]) - rng.uniform(2, 11)) - 0.8
            shadows.layers[2] += np.float32(rng.uniform(0.8, 2.5)) * ramp(ring.astype(np.float32), 1.2)
    if rng.random() < 0.6:
        sag = rng.uniform(5, 35)
        line = [(c7[1] + rng.normal(0, 1) - 12 + sag * t * t, c7[2] + 45 - 110 * t) for t in np.linspace(0, 1, 24)]
        shadows.layers[2] += np.float32(rng.uniform(0.5, 1.8)) * ramp(stroke(down, back, line, 0.9), 1.2)
