"""Draw a synthetic spine: `sample_spine`. Degeneration follows age and level; every draw is kept in the plan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from lab.synth.disease import degenerate_disc, injure_vertebra
from lab.synth.norms import C7, DISCS, L1, SACRUM, T12, VERTEBRAE
from lab.synth.plan import (
    VIEWS,
    BodyPlan,
    DiscPlan,
    Frame,
    SacralPlan,
    SpinePlan,
    VertebraPlan,
    Window,
)
from lab.synth.stack import balance_trunk, body_wedge_deg, fit_gaps, place_spine, raise_head
from spine.anatomy import DISC_OFFSET, disc_level

TRANSITIONAL = ("six_lumbar", "four_lumbar", "lumbarised_s1", "sacralised_l5")


# Loss of height by Pfirrmann's grade, as a fraction: general knowledge of medium certainty.
LOSS_RANGE = {1: (0.0, 0.03), 2: (0.0, 0.08), 3: (0.0, 0.25), 4: (0.1, 0.45), 5: (0.4, 0.75)}


# Discs that degenerate early (disc index -> steps of Pfirrmann's scale), EVIDENCE section 6.
EARLY = {0: 0.5, 1: 0.5, 2: 0.2, 17: 0.2, 18: 0.5, 19: 0.3}


def sample_spine(rng: Generator, view: str, healthy: bool = False) -> SpinePlan:
    """A random spine shown in `view`, one of VIEWS; `healthy` keeps it free of disease."""
    if view not in VIEWS:
        raise ValueError(f"view {view!r} is none of {VIEWS}")
    seed = int(rng.integers(2**31))
    body = _sample_body(rng)
    transitional = str(rng.choice(TRANSITIONAL)) if not healthy and rng.random() < 0.12 else "none"
    vertebrae = _sample_vertebrae(rng, body, transitional, healthy)
    discs = _sample_discs(rng, body, vertebrae, transitional, healthy)
    sacrum = _sample_sacrum(rng, body, transitional)
    slope, vertebrae = balance_trunk(rng, vertebrae, discs)
    discs = raise_head(rng, discs, vertebrae, slope)
    scoliosis = 0.0 if healthy else float(rng.choice([0.0, 1.0], p=[0.6, 0.4]) * rng.exponential(7.0))
    scoliosis = min(scoliosis, 40.0)
    frames, sacral_frames, lordosis = place_spine(rng, vertebrae, discs, sacrum, (slope, scoliosis))
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
        out.append(vertebra if healthy else injure_vertebra(rng, vertebra, body))
    return tuple(out)


def _sample_discs(
    rng: Generator, body: BodyPlan, vertebrae: Sequence[VertebraPlan], transitional: str, healthy: bool
) -> tuple[DiscPlan, ...]:
    target = float(np.clip(rng.normal(42, 12), 12, 75))
    bodies = sum(body_wedge_deg(v) for v in vertebrae[: L1 + 1])
    lumbar = np.clip((target - bodies) / sum(d.wedge_deg for d in DISCS[: L1 + 1]), 0.2, 2.0)
    neck = rng.normal(0, 1.8)
    patient = rng.normal(0, 0.5)
    thick = rng.normal(1.0, 0.08)
    out = []
    for index, norm in enumerate(DISCS):
        grade = (
            1.6
            + 0.033 * (body.age_years - 20)
            + patient
            + EARLY.get(index, -0.7 if L1 < index < C7 else -0.2)
            + rng.normal(0, 0.7)
        )
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
        out.append(disc if healthy else degenerate_disc(rng, disc, index))
    return fit_gaps(out, vertebrae)


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
