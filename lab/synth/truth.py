"""The truth of a plan as plain data: what a perfect measurement of the phantom would give."""

from __future__ import annotations

from typing import Any

from lab.synth.bones import plate_height
from lab.synth.canvas import RIM_MM
from lab.synth.plan import DiscPlan, SpinePlan, VertebraPlan


def spine_truth(plan: SpinePlan) -> dict[str, Any]:
    """JSON-ready truth: one entry per vertebra and per disc, lowest first; mm and degrees."""
    return {
        "view": plan.view,
        "numbering_doubtful": plan.numbering_doubtful,
        "transitional": plan.transitional,
        "lordosis_l1_s1_deg": plan.lordosis_deg,
        "scoliosis_deg": plan.scoliosis_deg,
        "age_years": plan.body.age_years,
        "vertebrae": [_vertebra_truth(plan, v) for v in plan.vertebrae],
        "discs": [_disc_truth(d) for d in plan.discs],
    }


def _vertebra_truth(plan: SpinePlan, vertebra: VertebraPlan) -> dict[str, Any]:
    mean = 2 * float(plate_height(0.0, vertebra.height_anterior_mm, vertebra.height_posterior_mm, vertebra.depth_mm))
    return {
        "name": vertebra.name,
        "label": vertebra.label,
        "centre_mm": [float(x) for x in plan.frames[vertebra.label - 1].origin_mm],
        "depth_mid_mm": float(vertebra.depth_mm * (1 - vertebra.waist)),
        "depth_rim_mm": float(vertebra.depth_mm),
        "height_anterior_mm": float(vertebra.height_anterior_mm),
        "height_middle_mm": float(mean - vertebra.concavity_upper_mm - vertebra.concavity_lower_mm),
        "height_posterior_mm": float(vertebra.height_posterior_mm),
        "canal_ap_diameter_mm": float(vertebra.sac_ap_mm),
        "fracture": vertebra.fracture,
        "fracture_loss": float(vertebra.fracture_loss),
    }


def _disc_truth(disc: DiscPlan) -> dict[str, Any]:
    return {
        "level": disc.level,
        "label": disc.label,
        "disc_height_middle_mm": float(disc.height_mm - 2 * RIM_MM),  # of the disc's mask
        "gap_middle_mm": float(disc.height_mm),  # between the bodies' masks
        "wedge_deg": float(disc.wedge_deg),
        "canal_ap_diameter_mm": float(disc.sac_ap_mm),  # what a herniation takes from it comes off
        "herniation_in_canal": bool(disc.herniation_mm > 0.6),
        "slip_mm": float(disc.slip_mm),
        "herniation_mm": float(disc.herniation_mm),
        "stenosis_fraction": float(disc.stenosis),
        "grades": {
            "pfirrmann": int(disc.pfirrmann),
            "modic": int(disc.modic),
            "upper_endplate": bool(disc.schmorl_upper_mm > 0 or disc.endplate_upper_rough_mm > 0.4),
            "lower_endplate": bool(disc.schmorl_lower_mm > 0 or disc.endplate_lower_rough_mm > 0.4),
            "spondylolisthesis": bool(abs(disc.slip_mm) >= 3.0),
            "herniation": disc.herniation != "none",
            "bulging": bool(disc.bulge_mm > 1.5),
            "narrowing": bool(disc.height_loss > 0.25),
            "stenosis": bool(disc.stenosis > 0.33),
        },
    }
