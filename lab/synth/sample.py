"""Draw a synthetic spine: `sample_spine`. Degeneration follows age and level; every draw is kept in the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.random import Generator

from lab.synth.norms import DISCS, SACRUM, VERTEBRAE
from lab.synth.plan import (
    VIEWS,
    BodyPlan,
    DiscPlan,
    Frame,
    SacralPlan,
    SpinePlan,
    VertebraPlan,
    Window,
    rotation,
)
from spine.anatomy import DISC_OFFSET, disc_level

L5, L1, T12, T1, C7, C2, C1 = 0, 4, 5, 16, 17, 22, 23  # indices into the plan's vertebrae
TRANSITIONAL = ("six_lumbar", "four_lumbar", "lumbarised_s1", "sacralised_l5")
LOSS_RANGE = {1: (0.0, 0.03), 2: (0.0, 0.08), 3: (0.0, 0.25), 4: (0.1, 0.45), 5: (0.4, 0.75)}
# Degeneration comes early at these discs (disc index -> steps of Pfirrmann's scale), EVIDENCE section 6.
EARLY = {0: 0.5, 1: 0.5, 2: 0.2, 17: 0.2, 18: 0.5, 19: 0.3}


def sample_spine(rng: Generator, view: str, healthy: bool = False) -> SpinePlan:
    """A random spine shown in `view` ('lumbar', 'thoracolumbar', 'cervical', 'whole'); `healthy` keeps it free of disease."""
    if view not in VIEWS:
        raise ValueError(f"view {view!r} is none of {VIEWS}")
    seed = int(rng.integers(2**31))
    body = _sample_body(rng)
    transitional = str(rng.choice(TRANSITIONAL)) if not healthy and rng.random() < 0.12 else "none"
    vertebrae = _sample_vertebrae(rng, body, transitional, healthy)
    discs = _sample_discs(rng, body, vertebrae, transitional, healthy)
    sacrum = _sample_sacrum(rng, body, transitional)
    slope, vertebrae = _balance(rng, vertebrae, discs)
    discs = _raise_head(rng, discs, vertebrae, slope)
    scoliosis = 0.0 if healthy else float(rng.choice([0.0, 1.0], p=[0.6, 0.4]) * rng.exponential(7.0))
    scoliosis = min(scoliosis, 40.0)
    frames, sacral_frames, lordosis = _place(rng, vertebrae, discs, sacrum, (slope, scoliosis))
    metal = int(rng.integers(1, 24)) if not healthy and rng.random() < 0.03 else 0
    return SpinePlan(
        view=view,
        seed=seed,
        vertebrae=vertebrae,
        discs=discs,
        sacrum=sacrum,
        frames=frames,
        sacral_frames=sacral_frames,
        body=body,
        window=_sample_window(rng, view, frames, sacral_frames),
        conus_level=float(np.clip(rng.normal(4.2, 0.6), 2.6, 5.8)),
        sac_end=float(np.clip(rng.normal(1.0, 0.4), 0.0, 2.2)),
        cord_scale=float(np.clip(rng.normal(1.0, 0.06), 0.8, 1.2)),
        scoliosis_deg=scoliosis,
        lordosis_deg=lordosis,
        transitional=transitional,
        metal_label=metal,
        metal_mm=float(rng.uniform(6, 22)) if metal else 0.0,
        irregularity_mm=float(rng.uniform(0.2, 0.8)),
    )


def _sample_body(rng: Generator) -> BodyPlan:
    male = bool(rng.random() < 0.5)
    age = float(rng.uniform(18, 88))
    fat = float(np.clip(rng.lognormal(np.log(13 if male else 19), 0.5), 4, 60))
    return BodyPlan(
        fat_mm=fat,
        muscle_scale=float(np.clip(rng.normal(1.0, 0.12), 0.7, 1.4)),
        muscle_fat=float(np.clip(rng.beta(1.5, 5) + 0.004 * (age - 40), 0.02, 0.85)),
        belly_mm=float(np.clip(rng.normal(75, 22) + 1.5 * fat, 50, 220)),
        scale=float(np.clip(rng.normal(1.05 if male else 0.95, 0.05), 0.8, 1.2)),
        age_years=age,
        male=male,
    )


def _concavity(rng: Generator, index: int) -> tuple[float, float]:
    upper, lower = (1.5, 2.2) if index < T12 else (1.0, 1.2) if index < C7 else (0.6, 1.3)
    return float(np.clip(rng.normal(upper, 0.5), 0.2, 3.5)), float(np.clip(rng.normal(lower, 0.6), 0.2, 4.0))


def _sample_vertebrae(rng: Generator, body: BodyPlan, transitional: str, healthy: bool) -> tuple[VertebraPlan, ...]:
    canal = float(np.clip(rng.normal(1.0, 0.08), 0.72, 1.25))
    marrow = rng.integers(0, 4)
    wedge_shift = rng.normal(0, 0.8)
    ribless = {"six_lumbar": 6, "four_lumbar": 4}.get(transitional, 5)
    slender = rng.normal(1.0, 0.04)
    out = []
    for index, norm in enumerate(VERTEBRAE):
        depth = norm.depth * body.scale * rng.normal(1.0, 0.03)
        height = norm.height_posterior * body.scale * slender * rng.normal(1.0, 0.03)
        wedge = np.radians(norm.wedge_deg + wedge_shift + rng.normal(0, 1.3))
        upper, lower = _concavity(rng, index)
        osseous = max(norm.osseous_ap * canal, norm.sac_ap * canal + 1.5)
        vertebra = VertebraPlan(
            label=index + 1,
            name=norm.name,
            depth_mm=depth,
            width_mm=norm.width * body.scale * rng.normal(1.0, 0.03),
            height_anterior_mm=height - depth * np.tan(wedge),
            height_posterior_mm=height,
            concavity_upper_mm=upper,
            concavity_lower_mm=lower,
            waist=float(np.clip(rng.normal(0.07, 0.03), 0.0, 0.16)),
            sac_ap_mm=norm.sac_ap * canal * rng.normal(1.0, 0.02),
            sac_width_mm=norm.sac_width * rng.normal(1.0, 0.04),
            osseous_ap_mm=osseous,
            osseous_width_mm=norm.osseous_width * rng.normal(1.0, 0.03),
            marrow=int(np.clip(marrow + rng.integers(-1, 2), 0, 3)),
            arch_scale=float(body.scale * rng.normal(1.0, 0.06)),
            spinous_drop_deg=float(rng.normal(0, 5)),
            lumbar_type=index < ribless,
            shape_noise=tuple(rng.normal(0, 1, 4)),
        )
        out.append(vertebra if healthy else _injure(rng, vertebra, body))
    return tuple(out)


def _injure(rng: Generator, vertebra: VertebraPlan, body: BodyPlan) -> VertebraPlan:
    index = vertebra.label - 1
    if rng.random() < 0.025:
        vertebra = replace(vertebra, haemangioma_mm=float(rng.uniform(3, 9)) * vertebra.depth_mm / 34)
    worn = max(0.0, (body.age_years - 35) / 50)
    if rng.random() < 0.55 * worn:
        vertebra = replace(
            vertebra,
            osteophyte_anterior_mm=float(min(rng.exponential(2.5), 9) * vertebra.depth_mm / 34),
            osteophyte_posterior_mm=float(min(rng.exponential(0.9), 3)),
        )
    vertebra = replace(vertebra, facet_scale=float(1 + 0.5 * worn * rng.random()))
    place = 1.0 if 3 <= index <= 7 else 0.35 if index < C7 else 0.1
    if index < C2 and rng.random() < 0.045 * place * (0.4 + 2 * worn):
        vertebra = _fracture(rng, vertebra)
    return vertebra


def _fracture(rng: Generator, vertebra: VertebraPlan) -> VertebraPlan:
    kind = str(rng.choice(["wedge", "biconcave", "crush"], p=[0.55, 0.3, 0.15]))
    loss = float(rng.uniform(0.15, 0.6))
    front, rear = {"wedge": (1 - loss, 1 - 0.15 * loss), "biconcave": (1 - 0.2 * loss, 1.0), "crush": (1 - loss,) * 2}[
        kind
    ]
    sink = 0.45 * loss * vertebra.height_posterior_mm if kind == "biconcave" else 0.5
    return replace(
        vertebra,
        fracture=kind,
        fracture_loss=loss,
        fracture_fresh=bool(rng.random() < 0.45),
        height_anterior_mm=vertebra.height_anterior_mm * front,
        height_posterior_mm=vertebra.height_posterior_mm * rear,
        concavity_upper_mm=vertebra.concavity_upper_mm + sink,
        concavity_lower_mm=vertebra.concavity_lower_mm + (0.5 * sink if kind == "biconcave" else 0.0),
    )


def _sample_discs(
    rng: Generator, body: BodyPlan, vertebrae: Sequence[VertebraPlan], transitional: str, healthy: bool
) -> tuple[DiscPlan, ...]:
    target = float(np.clip(rng.normal(42, 12), 12, 75))
    bodies = sum(_body_wedge_deg(v) for v in vertebrae[: L1 + 1])
    lumbar = np.clip((target - bodies) / sum(d.wedge_deg for d in DISCS[: L1 + 1]), 0.2, 2.0)
    neck = rng.normal(0, 1.8)
    patient = rng.normal(0, 0.5)
    thick = rng.normal(1.0, 0.08)
    out = []
    for index, norm in enumerate(DISCS):
        grade = 1.6 + 0.033 * (body.age_years - 20) + patient + EARLY.get(index, -0.25) + rng.normal(0, 0.7)
        pfirrmann = int(rng.integers(1, 3)) if healthy else int(np.clip(round(grade), 1, 5))
        loss = float(rng.uniform(*LOSS_RANGE[pfirrmann]))
        if transitional == "sacralised_l5" and index == 0:
            loss = 0.6
        height = norm.height * body.scale * thick * rng.normal(1.0, 0.08) * (1 - loss)
        wedge = norm.wedge_deg * (lumbar if index <= L1 else 1.0) + (neck if index >= C7 else 0.0) + rng.normal(0, 1.0)
        sac = 0.5 * (vertebrae[index].sac_ap_mm + (vertebrae[index - 1].sac_ap_mm if index else 12.0))
        disc = DiscPlan(
            label=DISC_OFFSET + index + 1,
            level=disc_level(DISC_OFFSET + index + 1),
            height_mm=float(height),
            wedge_deg=float(wedge * (1 - 0.6 * loss)),
            pfirrmann=pfirrmann,
            height_loss=loss,
            sac_ap_mm=float(sac * rng.normal(0.97, 0.02)),
            cleft=bool(pfirrmann in (2, 3) and body.age_years > 28 and rng.random() < 0.6),
            bulge_mm=float(rng.uniform(0, 0.6)),
        )
        out.append(disc if healthy else _degenerate(rng, disc, index))
    return _fit_gaps(out, vertebrae)


def _body_wedge_deg(vertebra: VertebraPlan) -> float:
    return float(np.degrees(np.arctan((vertebra.height_anterior_mm - vertebra.height_posterior_mm) / vertebra.depth_mm)))


def _degenerate(rng: Generator, disc: DiscPlan, index: int) -> DiscPlan:
    worn = (disc.pfirrmann - 1) / 4
    size = {True: 1.0, False: 0.55}[index < T12]  # neck and chest are smaller
    changes: dict[str, Any] = {"bulge_mm": float(rng.uniform(0, 0.6) + worn * rng.exponential(1.1) * size)}
    draw = rng.random()
    if disc.pfirrmann >= 2 and draw < 0.28 * (0.3 + worn):
        kind = "extrusion" if draw < 0.08 * (0.3 + worn) else "protrusion"
        depth = rng.uniform(4, 9) if kind == "extrusion" else rng.uniform(2, 5)
        changes |= {
            "herniation": kind,
            "herniation_mm": float(depth * size),
            "herniation_left_mm": float(rng.normal(0, 5) * size),
            "herniation_down_mm": float(rng.normal(2, 5) * size) if kind == "extrusion" else 0.0,
        }
    if disc.pfirrmann >= 3 and rng.random() < 0.35 * worn:
        changes |= {"modic": int(rng.choice([1, 2, 3], p=[0.3, 0.6, 0.1])), "modic_mm": float(rng.uniform(3, 12) * size)}
    for side in ("upper", "lower"):
        if rng.random() < 0.05 + 0.06 * worn:
            changes[f"schmorl_{side}_mm"] = float(rng.uniform(2, 7) * size)
        if rng.random() < 0.5 * worn:
            changes[f"endplate_{side}_rough_mm"] = float(rng.uniform(0.3, 1.6) * size)
    changes["schmorl_back_mm"] = float(rng.normal(0, 5) * size)
    if rng.random() < (0.015 if T12 <= index < T1 else 0.06) * (0.3 + 2 * worn):
        changes["slip_mm"] = float(rng.choice([1, -1], p=[0.75, 0.25]) * rng.uniform(2, 11 if index < 3 else 4) * size)
    if rng.random() < 0.12 + 0.3 * worn:
        loss = float(rng.beta(1.6, 2.2) * 0.9)
        bulge = max(float(changes["bulge_mm"]), rng.uniform(0.2, 0.5) * loss * disc.sac_ap_mm)
        changes |= {"stenosis": loss, "sac_ap_mm": disc.sac_ap_mm * (1 - loss), "bulge_mm": bulge}
    changes["vacuum"] = bool(disc.pfirrmann == 5 and rng.random() < 0.3)
    changes["fissure"] = bool(disc.pfirrmann >= 2 and rng.random() < 0.2)
    return replace(disc, **changes)


def _fit_gaps(discs: Sequence[DiscPlan], vertebrae: Sequence[VertebraPlan]) -> tuple[DiscPlan, ...]:
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


def rim_hollow_mm(vertebrae: Sequence[VertebraPlan], index: int) -> float:
    """What the two end plates' hollows add to the mid-height of disc `index`; S1 is hollow by 1 mm."""
    below = vertebrae[index - 1].concavity_upper_mm if index else 1.0
    return vertebrae[index].concavity_lower_mm + below


def _sample_sacrum(rng: Generator, body: BodyPlan, transitional: str) -> tuple[SacralPlan, ...]:
    out = []
    for index, (upper, lower, width, height, _, sac) in enumerate(SACRUM):
        square = transitional == "lumbarised_s1" and index == 0
        thin = rng.uniform(0.8, 4.0) if index == 0 else rng.uniform(0.6, 2.0)
        out.append(
            SacralPlan(
                depth_upper_mm=upper * body.scale * rng.normal(1, 0.04),
                depth_lower_mm=(upper * 0.92 if square else lower) * body.scale * rng.normal(1, 0.05),
                width_mm=width * body.scale,
                height_mm=height * body.scale * rng.normal(1, 0.05),
                disc_mm=float(rng.uniform(5, 8) if square else thin),
                sac_ap_mm=sac * rng.normal(1, 0.1),
            )
        )
    return tuple(out)


def _balance(
    rng: Generator, vertebrae: Sequence[VertebraPlan], discs: Sequence[DiscPlan]
) -> tuple[float, tuple[VertebraPlan, ...]]:
    """Sacral slope, and thoracic bodies wedged so that T1 leans forward by its usual 22 +- 7 degrees."""
    lordosis = sum(d.wedge_deg for d in discs[: L1 + 1]) + sum(_body_wedge_deg(v) for v in vertebrae[: L1 + 1])
    slope = float(np.clip(0.55 * lordosis + 14 + rng.normal(0, 5), 18, 62))
    tilt = -slope + sum(d.wedge_deg for d in discs[:T1]) + sum(_body_wedge_deg(v) for v in vertebrae[:T1])
    extra = (-np.clip(rng.normal(22, 8), 5, 42) - tilt) / (T1 - T12)
    out = list(vertebrae)
    for index in range(T12, T1):
        v = vertebrae[index]
        front = v.height_anterior_mm + v.depth_mm * np.tan(np.radians(extra))
        out[index] = replace(v, height_anterior_mm=float(max(front, 0.35 * v.height_posterior_mm)))
    return slope, tuple(out)


def _raise_head(rng: Generator, discs: Sequence[DiscPlan], vertebrae: Sequence[VertebraPlan], slope: float) -> tuple[DiscPlan, ...]:
    """Neck discs wedged so that the axis leans forward by 5 +- 6 degrees, as the head lies on the table."""
    tilt = -slope + sum(d.wedge_deg for d in discs) + sum(_body_wedge_deg(v) for v in vertebrae[:C2])
    extra = np.clip((-rng.normal(5, 6) - tilt) / (C1 - T1), -3.5, 4.5)
    out = [replace(d, wedge_deg=float(d.wedge_deg + extra)) if i >= T1 else d for i, d in enumerate(discs)]
    return _fit_gaps(out, vertebrae)


def _place(
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
    lordosis = sum(d.wedge_deg for d in discs[: L1 + 1]) + sum(_body_wedge_deg(v) for v in vertebrae[: L1 + 1])
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
        wedge = _body_wedge_deg(vertebra)
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


def _sample_window(rng: Generator, view: str, frames: Sequence[Frame], sacral_frames: Sequence[Frame]) -> Window:
    """Centre and field of view: lumbar about L3, thoracolumbar about T12, cervical about C5, whole: anywhere."""
    level = {"lumbar": rng.normal(1.6, 0.6), "thoracolumbar": rng.uniform(2.5, 8), "cervical": rng.uniform(16.8, 20.5)}
    at = int(np.clip(round(level.get(view, rng.uniform(0, 20))), 0, 22))
    low, high = {"lumbar": (220, 310), "thoracolumbar": (260, 319), "cervical": (190, 290), "whole": (280, 319)}[view]
    down = float(rng.uniform(low, high))
    forward = rng.normal(-12, 14) if view != "cervical" else rng.normal(2, 14)
    centre = frames[at].origin_mm + np.array([0.0, rng.normal(0, 8), forward])
    centre[0] = np.mean([f.origin_mm[0] for f in frames[max(0, at - 4) : at + 5]]) + rng.normal(0, 3)
    across = float(np.clip(down * rng.uniform(0.8, 1.05), 170, 319))
    return Window((float(centre[0]), float(centre[1]), float(centre[2])), (down, across))
