"""The bundled neck: T2 and lateral film of one synthetic patient in the platform's layout, with the truth beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lab.synth.case import (
    SLICES,
    TOP_VALUE,
    dump,
    input_items,
    mark_partial,
    stored_name,
    truth_in_view,
    write_stack,
)
from lab.synth.norms import T1
from lab.synth.phantom import rasterise
from lab.synth.plan import SpinePlan, Window
from lab.synth.radiograph_case import write_film
from lab.synth.render import render
from lab.synth.sample import sample_spine

SPACING_MM = (3.3, 0.6, 0.6)  # slice, down, back
FIELD_MM = (206.0, 158.0)
C6, C5 = 18, 19  # indices of the vertebrae, and of the discs below them
MRI, FILM = "sagittal-spine-mri", "lateral-spine-xray"


def write_neck(folder: Path, seed: int) -> dict[str, Any]:
    """Write a cervical case to `folder` and its truth to `folder`.truth.{mha,json}; returns the truth.

    T2, `SLICES` slices, int16, compressed; a lateral film of the same patient; a clinical record; inputs.json. The same
    seed gives the same bytes.
    """
    plan = _choose_plan(seed)
    phantom = rasterise(plan, (SPACING_MM[0] / 3, *SPACING_MM[1:]), 3 * SLICES, _window(plan))
    rng = np.random.default_rng([seed, 1])
    picture = render(phantom.tissues, rng, "t2", 3, SPACING_MM[1], artefacts=0.8)
    picture *= TOP_VALUE / float(np.percentile(picture, 99))
    for slug in (MRI, FILM):
        target = folder / "images" / slug
        target.mkdir(parents=True, exist_ok=True)
        for old in target.glob("*.mha"):
            old.unlink()
    stored = np.rint(np.clip(picture, 0, 2 * TOP_VALUE)).astype(np.int16)
    write_stack(folder / "images" / MRI / stored_name(rng), stored, SPACING_MM)
    mask = mark_partial(phantom.instances[1::3], phantom.structures[1::3])
    write_stack(folder.with_name(folder.name + ".truth.mha"), mask, SPACING_MM)
    truth = truth_in_view(phantom, mask, seed)
    film_rng = np.random.default_rng([seed, 9])
    truth["film"] = write_film(folder / "images" / FILM / stored_name(rng), plan, film_rng, "cervical")
    dump(folder.with_name(folder.name + ".truth.json"), truth)
    dump(folder / "clinical-information-spine.json", _clinical(plan))
    dump(folder / "inputs.json", input_items(folder, (MRI, FILM)))
    return truth


def _choose_plan(seed: int) -> SpinePlan:
    """The first quiet neck from `seed` on, with a narrow, herniated disc C5/C6 put into it."""
    for attempt in range(5000):
        plan = sample_spine(np.random.default_rng([seed, 0, attempt]), "cervical")
        if _is_quiet(plan):
            break
    else:
        raise ValueError(f"no suitable neck found for seed {seed}")
    disc = plan.discs[C5]
    worn = replace(disc, pfirrmann=4, herniation="protrusion", herniation_mm=2.5, herniation_left_mm=2.0, bulge_mm=1.0)
    return replace(plan, discs=(*plan.discs[:C5], worn, *plan.discs[C5 + 1 :]))


def _is_quiet(plan: SpinePlan) -> bool:
    """Middle-aged, straight, no fracture or metal, every disc of the neck sound but perhaps that to be replaced."""
    neck = plan.discs[T1 - 1 :]
    body = 35 < plan.body.age_years < 60 and plan.scoliosis_deg < 4
    body &= plan.metal_label == 0 and plan.transitional == "none"
    body &= all(vertebra.fracture == "none" for vertebra in plan.vertebrae[T1 - 3 :])
    body &= all(disc.pfirrmann <= 3 and disc.herniation_mm == 0 and disc.modic == 0 for disc in neck)
    return body and all(abs(disc.slip_mm) < 1 and disc.stenosis < 0.15 for disc in neck)


def _window(plan: SpinePlan) -> Window:
    """About C6, so that C1 to T5 are seen."""
    centre = plan.frames[C6].world(0, 2, 2)
    left = float(np.mean([frame.origin_mm[0] for frame in plan.frames[T1 - 1 :]]))
    return Window((left, float(centre[1]), float(centre[2])), FIELD_MM)


def _clinical(plan: SpinePlan) -> dict[str, Any]:
    """A plausible record of a patient with arm pain from the disc C5/C6."""
    return {
        "age_years": round(plan.body.age_years),
        "sex": "male" if plan.body.male else "female",
        "height_cm": round(176 * plan.body.scale),
        "weight_kg": round(24 * (1.76 * plan.body.scale) ** 2 + plan.body.fat_mm - 12),
        "smoker": False,
        "region": "cervical",
        "indication": "cervical_radiculopathy",
        "ndi_percent": 44,
        "nrs_neck": 5,
        "nrs_arm": 7,
        "eq5d_index": 0.42,
        "duration_neck_pain": "3_to_12_months",
        "duration_arm_pain": "3_to_12_months",
        "previous_spine_surgery": False,
        "comorbidity": False,
        "sick_pension": False,
        "unemployed": False,
        "employed": True,
        "college_education": True,
        "clinic_type": "public",
        "levels_planned": [plan.discs[C5].level],
    }
