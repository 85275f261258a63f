"""What else lies in the beam of a lateral film: soft tissue, air, head, shoulders, ribs, pelvis, metal.

Everything is drawn on the film itself, at the magnification of the patient's middle plane. Shapes and sizes are general
knowledge of low certainty: their purpose is variety, not anatomy. No real film was at hand to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.random import Generator

from lab.synth.norms import C1, C7, T12
from lab.synth.plan import SpinePlan
from lab.synth.radiograph_beam import Shadows, coverage
from lab.synth.shapes import Field, smooth_noise

WATER = 0.0195  # attenuation per mm of soft tissue at about 65 keV
SKULL_BONE = 0.03  # beyond soft tissue
Line = Sequence[tuple[float, float]]  # (down, back) world mm


class Course:
    """The spine's course along the rows of one layer, world mm in the middle plane."""

    def __init__(self, plan: SpinePlan, shadows: Shadows, step: int) -> None:
        self.down, self.back = shadows.beam.plane(step)
        frames = [*plan.sacral_frames[::-1], *plan.frames]
        depths = [*(s.depth_lower_mm for s in plan.sacrum[::-1]), *(v.depth_mm for v in plan.vertebrae)]
        heights = np.array([f.origin_mm[1] for f in frames])
        order = np.argsort(heights)
        walls = np.array([f.world(0, 0, -d / 2)[2] for f, d in zip(frames, depths, strict=True)])
        rears = np.array([f.world(0, 0, d / 2)[2] for f, d in zip(frames, depths, strict=True)])
        at = self.down.ravel()
        self.wall = np.interp(at, heights[order], walls[order])[:, None].astype(np.float32)
        self.rear = np.interp(at, heights[order], rears[order])[:, None].astype(np.float32)
        level = np.interp(at, heights[order], np.arange(-5.0, len(plan.frames))[order])
        level = np.where(at < heights.min(), 23 + (heights.min() - at) / 18.0, level)
        self.level = level[:, None].astype(np.float32)

    def table(self, levels: Sequence[float], values: Sequence[float]) -> Field:
        """(rows, 1) values interpolated over the vertebra index."""
        return np.interp(self.level, levels, values).astype(np.float32)


def ramp(distance: Field, soft_mm: float) -> Field:
    """1 well inside (negative distance), 0 outside, smooth over `soft_mm`."""
    t = np.clip(0.5 - distance / np.float32(soft_mm), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def stroke(down: Field, back: Field, line: Line, radius_mm: float) -> Field:
    """Signed distance to a band of half width `radius_mm` along a polyline."""
    out = np.full((down.shape[0], back.shape[1]), 1e3, np.float32)
    for (d0, b0), (d1, b1) in pairwise(line):
        length2 = (d1 - d0) ** 2 + (b1 - b0) ** 2 or 1.0
        t = np.clip(((down - d0) * np.float32(d1 - d0) + (back - b0) * np.float32(b1 - b0)) / np.float32(length2), 0, 1)
        squares = np.square(down - d0 - t * np.float32(d1 - d0)) + np.square(back - b0 - t * np.float32(b1 - b0))
        out = np.minimum(out, squares)
    return np.sqrt(out) - np.float32(radius_mm)


def tube(distance: Field, radius_mm: float, wall_mm: float) -> Field:
    """Chord through the wall of a tube at signed `distance` from its outline, mm."""
    off = np.square(np.minimum(distance + np.float32(radius_mm), radius_mm))
    inner = max(radius_mm - wall_mm, 0.0)
    return 2 * (np.sqrt(np.maximum(radius_mm**2 - off, 0.0)) - np.sqrt(np.maximum(inner**2 - off, 0.0)))


def ball(down: Field, back: Field, centre: tuple[float, float], radius_mm: float, wall_mm: float) -> Field:
    """Chord through the wall of a hollow ball."""
    off = np.square(down - np.float32(centre[0])) + np.square(back - np.float32(centre[1]))
    inner = radius_mm - wall_mm
    return 2 * (np.sqrt(np.maximum(radius_mm**2 - off, 0)) - np.sqrt(np.maximum(inner**2 - off, 0)))


def cast_neck(shadows: Shadows, plan: SpinePlan, rng: Generator) -> None:
    """Soft tissue of the neck with the shoulders and the air of throat and windpipe."""
    course, scale = Course(plan, shadows, 4), plan.body.scale
    back = course.back
    girth = rng.uniform(0.85, 1.35)
    front = course.wall - course.table((12, 16, 18, 20, 22, 24), (95, 66, 52, 54, 82, 105)) * np.float32(scale)
    spine_mm = course.table((14, 17, 20, 22.5, 25), (58, 56, 44, 46, 60))
    rear = course.rear + spine_mm * np.float32(scale * girth) + np.float32(0.5 * plan.body.fat_mm)
    across = np.clip(2 * (back - 0.5 * (front + rear)) / (rear - front), -1, 1)
    wide = course.table((12, 16, 18, 21, 23, 26), (230, 150, 112, 108, 125, 145)) * np.float32(scale * girth)
    thick = wide * np.power(np.maximum(1 - np.abs(across) ** 2.4, 0), np.float32(0.42))
    shadow = np.float32(WATER) * thick
    shadow += _shoulders(course, plan, rng)
    noise = smooth_noise(rng, (1, *shadow.shape), (1.0, 1.0, 1.0), (1.0, 10.0, 8.0))[0]
    shadows.layers[4] += shadow + np.float32(0.03) * noise
    _cast_airway(shadows, plan, rng)


def _shoulders(course: Course, plan: SpinePlan, rng: Generator) -> Field:
    """Both shoulders; their tops lie between C6 and T2 and differ by side."""
    c7 = plan.frames[C7].origin_mm
    top = c7[1] + float(rng.choice([rng.uniform(-12, 14), rng.uniform(5, 60)], p=[0.35, 0.65]))
    out = np.zeros((course.down.shape[0], course.back.shape[1]), np.float32)
    for side in (-1.0, 1.0):
        crown = c7[2] + rng.uniform(-28, 22)
        line = top + side * rng.uniform(0, 9) + 0.5 * np.abs(course.back - np.float32(crown)) ** 1.25 / 7
        share = ramp(line - course.down, float(rng.uniform(12, 34)))
        depth = np.clip((course.down - line) / 70.0, 0.0, 1.0)
        out += np.float32(WATER * plan.body.scale) * share * (rng.uniform(45, 95) + rng.uniform(40, 90) * depth)
        out += np.float32(0.25) * np.exp(-np.square((line + 8 - course.down) / 6.0)) * float(rng.random() < 0.6)
    return out


def _cast_airway(shadows: Shadows, plan: SpinePlan, rng: Generator) -> None:
    course = Course(plan, shadows, 2)
    swell = rng.uniform(0.8, 1.4)
    fore = course.table((14, 16, 18.4, 19.4, 23, 25), (14, 13, 12, 4.8, 4.2, 9)) * np.float32(swell)
    wide = course.table((15, 18.5, 19.3, 20.5, 22, 24, 26), (15, 15, 7, 12, 9, 12, 20)) * np.float32(
        rng.uniform(0.7, 1.4)
    )
    ahead = course.wall - fore - course.back
    middle = np.abs(ahead - wide / 2) - wide / 2
    lumen = ramp(middle, 1.6) * ramp(course.level - np.float32(rng.uniform(24.5, 27)), 2.0)
    deep = course.table((15, 18.5, 19.3, 21, 24), (15, 16, 6, 28, 30))
    shadows.layers[2] -= np.float32(WATER) * lumen * deep * np.float32(rng.uniform(0.7, 1.1))


def cast_head(shadows: Shadows, plan: SpinePlan, rng: Generator) -> None:
    """Skull, its base, jaw, teeth, hyoid: given in the frame of the atlas, both sides a little apart."""
    down, back = shadows.beam.plane(2)
    atlas, scale = plan.frames[C1], plan.body.scale
    nod = np.radians(rng.normal(0, 4))

    def at(h: float, p: float) -> tuple[float, float]:
        point = atlas.world(0, h * np.cos(nod) - p * np.sin(nod), p * np.cos(nod) + h * np.sin(nod))
        return float(point[1]), float(point[2])

    layer = shadows.layers[2]
    radius = 78.0 * scale * rng.uniform(0.94, 1.06)
    vault = at(14 + 0.8 * radius, 4 + 0.28 * radius)
    bone = np.float32(SKULL_BONE * rng.uniform(0.7, 1.2))
    layer += bone * ball(down, back, vault, radius, rng.uniform(5, 8)) + np.float32(WATER) * 0.55 * ball(
        down, back, vault, radius, radius - 1
    )
    for side in (-1.0, 1.0):
        shift = side * rng.uniform(0, 4)
        petrous = stroke(down, back, (at(24 + shift, 26), at(22 + shift, -12)), 11.0)
        layer += bone * ramp(petrous, 8.0) * np.float32(rng.uniform(18, 34))
        mastoid = stroke(down, back, (at(16 + shift, 14 + shift), at(4 + shift, 8 + shift)), 8.5)
        layer += bone * ramp(mastoid, 5.0) * np.float32(rng.uniform(8, 20))
        _cast_jaw(layer, (down, back), at, rng, shift)
    face = stroke(down, back, (at(30, -40), at(0, -70)), 30.0)
    layer += bone * ramp(face, 22.0) * np.float32(rng.uniform(4, 12))
    palate = stroke(down, back, (at(1, -40), at(0, -92)), 2.6)
    layer += bone * ramp(palate, 1.5) * np.float32(rng.uniform(8, 20))
    _cast_teeth(layer, (down, back), at, rng)
    _cast_hyoid(shadows, plan, rng)


def _cast_jaw(layer: Field, grid: tuple[Field, Field], at, rng: Generator, shift: float) -> None:  # type: ignore[no-untyped-def]
    jut, drop = rng.normal(0, 4), rng.normal(0, 5)
    points = ((20, -18), (-4, -26), (-30 + drop, -30 + jut), (-40 + drop, -50 + jut), (-46 + drop, -92 + jut))
    line = [at(h + 0.5 * shift, p + shift) for h, p in points]
    bone = stroke(*grid, line, float(rng.uniform(9, 13)))
    body = coverage(bone, 1.2)
    rim = body - coverage(bone + 2.2, 1.2)
    layer += np.float32(SKULL_BONE) * (body * np.float32(rng.uniform(3, 8)) + rim * np.float32(rng.uniform(4, 9)))


def _cast_teeth(layer: Field, grid: tuple[Field, Field], at, rng: Generator) -> None:  # type: ignore[no-untyped-def]
    if rng.random() < 0.15:
        return
    filled = rng.uniform(0, 0.5)
    for row, height in ((0, -10.0), (1, -24.0)):
        for tooth in range(6):
            if rng.random() < 0.12:
                continue
            p = -52.0 - 8.5 * tooth + rng.normal(0, 0.6)
            crown, root = at(height, p), at(height + (13 if row == 0 else -13), p)
            shape = stroke(*grid, (crown, root), float(rng.uniform(2.8, 4.2)))
            layer += np.float32(rng.uniform(0.25, 0.6)) * ramp(shape, 1.5)
            if rng.random() < filled:
                spot = stroke(*grid, (crown, crown), float(rng.uniform(1.5, 4.5)))
                layer += np.float32(rng.uniform(1.0, 3.5)) * ramp(spot, 1.0)


def _cast_hyoid(shadows: Shadows, plan: SpinePlan, rng: Generator) -> None:
    down, back = shadows.beam.plane(2)
    level = plan.frames[19 if rng.random() < 0.6 else 20]
    depth = plan.vertebrae[20].depth_mm / 2
    start = level.world(0, rng.normal(2, 5), -depth - rng.uniform(14, 20))
    end = level.world(0, rng.normal(-3, 5), -depth - rng.uniform(32, 46))
    for shift in rng.uniform(-3, 3, 2):
        line = ((start[1] + shift, start[2]), (end[1] + shift, end[2] + shift))
        shadows.layers[2] += np.float32(0.1) * ramp(stroke(down, back, line, 2.0), 1.6)
    if rng.random() < 0.4:  # ossified thyroid cartilage
        low = plan.frames[18].world(0, rng.normal(0, 4), -depth - rng.uniform(18, 26))
        shape = stroke(down, back, ((low[1] - 9, low[2]), (low[1] + 9, low[2] + 2)), float(rng.uniform(1, 4)))
        noise = smooth_noise(rng, (1, *shape.shape), (1.0, 1.0, 1.0), (1.0, 4.0, 4.0))[0]
        shadows.layers[2] += np.float32(0.09) * ramp(shape, 2.0) * np.clip(noise + 0.4, 0, 1.5)


def cast_trunk(shadows: Shadows, plan: SpinePlan, rng: Generator) -> None:
    """Belly, chest with its air, ribs, pelvis and bowel gas of a lumbar film."""
    course, body = Course(plan, shadows, 4), plan.body
    front = course.wall - np.float32(body.belly_mm * rng.uniform(0.9, 1.3))
    rear = course.rear + np.float32(62 * body.scale + 0.9 * body.fat_mm)
    rear = rear + course.table((-5, -2, 0, 3), (40, 26, 8, 0))
    across = np.clip(2 * (course.back - 0.5 * (front + rear)) / (rear - front), -1, 1)
    wide = np.float32(body.scale * rng.uniform(230, 330) + 2.0 * body.fat_mm)
    thick = wide * np.power(np.maximum(1 - np.abs(across) ** 2.6, 0), np.float32(0.4))
    noise = smooth_noise(rng, (1, *thick.shape), (1.0, 1.0, 1.0), (1.0, 12.0, 12.0))[0]
    shadow = np.float32(0.93 * WATER) * thick + np.float32(rng.uniform(0.02, 0.09)) * noise
    for _ in range(2):  # both domes of the diaphragm: behind, the lung reaches down to L1
        dome = plan.frames[T12 + 1].origin_mm[1] + rng.normal(-6, 14)
        bow = dome - 0.004 * rng.uniform(0.6, 1.5) * np.square(course.back - (course.wall - 60))
        bow = bow + rng.uniform(0.15, 0.5) * (course.back - course.wall)
        shadow -= np.float32(WATER * rng.uniform(45, 75)) * ramp(course.down - bow, float(rng.uniform(4, 18)))
    shadows.layers[4] += np.maximum(shadow, 0.2)
    _cast_ribs(shadows, plan, rng)
    _cast_pelvis(shadows, plan, rng)
    _cast_bowel(shadows, plan, rng)


def _cast_ribs(shadows: Shadows, plan: SpinePlan, rng: Generator) -> None:
    down, back = shadows.beam.plane(2)
    for index in range(T12, T12 + 4):
        vertebra, frame = plan.vertebrae[index], plan.frames[index]
        if vertebra.lumbar_type:
            continue
        length = rng.uniform(60, 150) if index > T12 else rng.uniform(25, 110)
        for _ in range(2):
            start = frame.world(0, 0.3 * vertebra.height_posterior_mm, vertebra.depth_mm / 2 + 2)
            slope = rng.uniform(0.35, 0.8)
            line = [
                (start[1], start[2]),
                (start[1] + 10, start[2] + 26),
                *((start[1] + 18 + slope * t, start[2] + 26 - 0.85 * t) for t in (0.3 * length, length)),
            ]
            radius = float(rng.uniform(4.5, 6.5))
            wall = tube(stroke(down, back, line, radius), radius, float(rng.uniform(0.6, 1.2)))
            shadows.layers[2] += np.float32(0.02) * wall


def _cast_pelvis(shadows: Shadows, plan: SpinePlan, rng: Generator) -> None:
    down, back = shadows.beam.plane(2)
    top = 0.5 * (plan.frames[0].origin_mm + plan.frames[1].origin_mm)
    for _ in range(2):
        crown = (top[1] + rng.normal(2, 10), top[2] + rng.normal(8, 8))
        radius = rng.uniform(72, 92)
        dist = np.hypot((down - np.float32(crown[0] + radius)) * np.float32(0.9), back - np.float32(crown[1]))
        edge = dist - np.float32(radius)
        inside = coverage(edge, 1.6)
        rim = inside - coverage(edge + np.float32(rng.uniform(3, 6)), 2.5)
        fade = np.clip((down - np.float32(crown[0])) / 60.0, 0.0, 1.0)
        shadows.layers[2] += np.float32(rng.uniform(0.08, 0.2)) * inside * (0.6 + fade)
        shadows.layers[2] += np.float32(rng.uniform(0.08, 0.25)) * rim


def _cast_bowel(shadows: Shadows, plan: SpinePlan, rng: Generator) -> None:
    down, back = shadows.beam.plane(2)
    for _ in range(int(rng.integers(0, 9))):
        frame = plan.frames[int(rng.integers(0, 5))]
        middle = frame.world(0, rng.normal(0, 15), -rng.uniform(5, 110))
        size = rng.uniform(8, 26, 2)
        off = np.sqrt(np.square((down - middle[1]) / size[0]) + np.square((back - middle[2]) / size[1])) - 1
        shadows.layers[2] -= np.float32(rng.uniform(0.15, 0.7)) * ramp(off * np.float32(size.min()), 4.0)
    if plan.body.age_years > 55 and rng.random() < 0.5:  # calcified wall of the aorta
        line = [
            (f.origin_mm[1], f.world(0, 0, -0.5 * v.depth_mm - 3 - rng.uniform(0, 5))[2])
            for f, v in zip(plan.frames[1:5], plan.vertebrae[1:5], strict=True)
        ]
        shape = stroke(down, back, line, 0.8)
        noise = smooth_noise(rng, (1, *shape.shape), (1.0, 1.0, 1.0), (1.0, 8.0, 8.0))[0]
        shadows.layers[2] += np.float32(0.15) * ramp(shape, 1.4) * np.clip(noise, 0, 1.5)
