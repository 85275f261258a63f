"""Draw what age and disease do to vertebrae and discs; every draw is kept in the plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from numpy.random import Generator

from lab.synth.norms import C2, C7, T1, T12
from lab.synth.plan import BodyPlan, DiscPlan, VertebraPlan


def injure_vertebra(rng: Generator, vertebra: VertebraPlan, body: BodyPlan) -> VertebraPlan:
    """Haemangioma, osteophytes, worn facets and fracture, by age and level."""
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


def degenerate_disc(rng: Generator, disc: DiscPlan, index: int) -> DiscPlan:
    """Bulge, herniation, Modic change, end-plate defects, slip, stenosis and the like, by the disc's grade."""
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
        changes |= {
            "modic": int(rng.choice([1, 2, 3], p=[0.3, 0.6, 0.1])),
            "modic_mm": float(rng.uniform(3, 12) * size),
        }
    for side in ("upper", "lower"):
        if rng.random() < 0.05 + 0.06 * worn:
            changes[f"schmorl_{side}_mm"] = float(rng.uniform(2, 7) * size)
        if rng.random() < 0.5 * worn:
            changes[f"endplate_{side}_rough_mm"] = float(rng.uniform(0.3, 1.6) * size)
    changes["schmorl_back_mm"] = float(rng.normal(0, 5) * size)
    if rng.random() < (0.015 if T12 <= index < T1 else 0.06) * (0.3 + 2 * worn):
        changes["slip_mm"] = float(rng.choice([1, -1], p=[0.75, 0.25]) * rng.uniform(2, 11 if index < 3 else 4) * size)
    if rng.random() < (0.12 + 0.3 * worn) * (0.15 if T12 <= index < T1 else 1.0):
        loss = float(rng.beta(1.6, 2.2) * 0.9)
        bulge = max(float(changes["bulge_mm"]), rng.uniform(0.2, 0.5) * loss * disc.sac_ap_mm)
        changes |= {"stenosis": loss, "sac_ap_mm": disc.sac_ap_mm * (1 - loss), "bulge_mm": bulge}
    changes["vacuum"] = bool(disc.pfirrmann == 5 and rng.random() < 0.3)
    changes["fissure"] = bool(disc.pfirrmann >= 2 and rng.random() < 0.2)
    return replace(disc, **changes)
