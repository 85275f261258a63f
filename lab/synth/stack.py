"""Stack vertebrae and discs to a spine that stands as spines do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from lab.synth.norms import C1, C2, L1, SACRUM, T1, T12
from lab.synth.plan import DiscPlan, Frame, SacralPlan, VertebraPlan, rotation


def body_wedge_deg(vertebra: VertebraPlan) -> float:
    """Angle between the end plates of a body, positive when the front is taller."""
    return float(
        np.degrees(np.arctan((vertebra.height_anterior_mm - vertebra.height_posterior_mm) / vertebra.depth_mm))
    )


def rim_hollow_mm(vertebrae: Sequence[VertebraPlan], index: int) -> float:
    """What the two end plates' hollows add to the mid-height of disc `index`; S1 is hollow by 1 mm."""
    below = vertebrae[index - 1].concavity_upper_mm if index else 1.0
    return vertebrae[index].concavity_lower_mm + below


def fit_gaps(discs: Sequence[DiscPlan], vertebrae: Sequence[VertebraPlan]) -> tuple[DiscPlan, ...]:
    """No disc is so thin that the rims of its neighbours would meet: at least 1 mm at either edge."""
    out = []
    for index, disc in enumerate(discs):
        hollow = rim_hollow_mm(vertebrae, index)
        depth = vertebrae[index].depth_mm
        half = 0.5 * depth * np.tan(np.radians(abs(disc.wedge_deg)))
        height = max(disc.height_mm, hollow + 1.2)
        sign = np.sign(disc.wedge_deg)
        if height - hollow - half < 1.0:
            wedge = sign * np.degrees(np.arctan(max(height - hollow - 1.0, 0.0) / (0.5 * depth)))
        else:
            wedge = disc.wedge_deg
        out.append(replace(disc, height_mm=float(height), wedge_deg=float(wedge)))
    return tuple(out)


def balance_trunk(
    rng: Generator, vertebrae: Sequence[VertebraPlan], discs: Sequence[DiscPlan]
) -> tuple[float, tuple[VertebraPlan, ...]]:
    """Sacral slope, and thoracic bodies wedged so that T1 leans forward by its usual 22 +- 7 degrees."""
    lordosis = sum(d.wedge_deg for d in discs[: L1 + 1]) + sum(body_wedge_deg(v) for v in vertebrae[: L1 + 1])
    slope = float(np.clip(0.55 * lordosis + 14 + rng.normal(0, 5), 18, 62))
    tilt = -slope + sum(d.wedge_deg for d in discs[:T1]) + sum(body_wedge_deg(v) for v in vertebrae[:T1])
    extra = (-np.clip(rng.normal(22, 8), 5, 42) - tilt) / (T1 - T12)
    out = list(vertebrae)
    for index in range(T12, T1):
        v = vertebrae[index]
        front = v.height_anterior_mm + v.depth_mm * np.tan(np.radians(extra))
        out[index] = replace(v, height_anterior_mm=float(max(front, 0.35 * v.height_posterior_mm)))
    return slope, tuple(out)


def raise_head(
    rng: Generator, discs: Sequence[DiscPlan], vertebrae: Sequence[VertebraPlan], slope: float
) -> tuple[DiscPlan, ...]:
    """Neck discs wedged so that the axis leans forward by 5 +- 6 degrees, as the head lies on the table."""
    tilt = -slope + sum(d.wedge_deg for d in discs) + sum(body_wedge_deg(v) for v in vertebrae[:C2])
    extra = np.clip((-rng.normal(5, 6) - tilt) / (C1 - T1), -3.5, 4.5)
    out = [replace(d, wedge_deg=float(d.wedge_deg + extra)) if i >= T1 else d for i, d in enumerate(discs)]
    return fit_gaps(out, vertebrae)


def place_spine(
    rng: Generator,
    vertebrae: Sequence[VertebraPlan],
    discs: Sequence[DiscPlan],
    sacrum: Sequence[SacralPlan],
    angles_deg: tuple[float, float],
) -> tuple[tuple[Frame, ...], tuple[Frame, ...], float]:
    """Stack the vertebrae from S1's upper end plate (world origin) upwards; returns frames and L1-S1 lordosis.

    `angles_deg` holds the sacral slope and the scoliosis.
    """
    slope, scoliosis_deg = angles_deg
    lordosis = sum(d.wedge_deg for d in discs[: L1 + 1]) + sum(body_wedge_deg(v) for v in vertebrae[: L1 + 1])
    apex, length = rng.uniform(2, 11), rng.uniform(4, 9)
    hand, trunk = rng.choice([-1, 1]), rng.normal(0, 1.2)
    lean = [
        trunk + hand * scoliosis_deg / 2 * np.sin(np.pi * (i - apex) / length) * np.exp(-(((i - apex) / length) ** 2))
        for i in range(len(vertebrae))
    ]
    edge, tilt = np.zeros(3), -slope
    frames: list[Frame] = []
    for index, vertebra in enumerate(vertebrae[:C1]):
        disc = discs[index]
        gap = disc.height_mm - rim_hollow_mm(vertebrae, index)
        below = vertebrae[index - 1].depth_mm if index else sacrum[0].depth_upper_mm
        middle = rotation(tilt + disc.wedge_deg / 2, lean[index], 0)
        edge = edge + middle[1] * gap + middle[2] * ((below - vertebra.depth_mm) / 2 - disc.slip_mm)
        tilt += disc.wedge_deg
        wedge = body_wedge_deg(vertebra)
        axes = rotation(tilt + wedge / 2, lean[index], 0.35 * (lean[index] - trunk))
        half = 0.25 * (vertebra.height_anterior_mm + vertebra.height_posterior_mm)
        frames.append(Frame(edge + axes[1] * half, axes))
        edge = edge + axes[1] * (2 * half)
        tilt += wedge
    frames.append(_place_atlas(rng, frames[C2], vertebrae))
    return tuple(frames), _place_sacrum(rng, sacrum, -slope), float(lordosis)


def _place_atlas(rng: Generator, axis: Frame, vertebrae: Sequence[VertebraPlan]) -> Frame:
    lift = 0.5 * vertebrae[C2].height_posterior_mm + 9.0 * vertebrae[C2].depth_mm / 15.8
    tilt = np.degrees(np.arctan2(axis.axes[1][2], -axis.axes[1][1])) + rng.normal(0, 5)
    return Frame(axis.world(0, lift, 0), rotation(tilt, 0, 0))


def _place_sacrum(rng: Generator, sacrum: Sequence[SacralPlan], tilt: float) -> tuple[Frame, ...]:
    edge, frames = np.zeros(3), []
    bend = np.clip(rng.normal(1.0, 0.25), 0.3, 1.6)
    for index, segment in enumerate(sacrum):
        axes = rotation(tilt, 0, 0)
        frames.append(Frame(edge - axes[1] * (segment.height_mm / 2), axes))
        edge = edge - axes[1] * (segment.height_mm + segment.disc_mm)
        if index + 1 < len(sacrum):
            edge = edge + axes[2] * (segment.depth_lower_mm - sacrum[index + 1].depth_upper_mm) / 2
        tilt += SACRUM[index][4] * bend
    return tuple(frames)
