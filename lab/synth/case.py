"""A synthetic case in the platform's layout, with its truth beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import SimpleITK
from numpy.random import Generator
from numpy.typing import NDArray

from lab.synth.axial_case import placing, write_axial
from lab.synth.phantom import Phantom, rasterise
from lab.synth.plan import SpinePlan, Window, rotation
from lab.synth.render import render
from lab.synth.sample import sample_spine
from spine.anatomy import LAST_VERTEBRA, PARTIAL_OFFSET, Structure

SLICES = 15
SPACING_MM = (4.0, 0.7, 0.7)  # slice, down, back
FIELD_MM = (268.0, 216.0)  # down, back
OBLIQUE_DEG = (2.5, -3.0, 1.5)  # of the stack against the patient: tilt, lean, turn
TOP_VALUE = 700  # grey value of the brightest percent


def write_case(folder: Path, seed: int) -> dict[str, Any]:
    """Write a lumbar case to `folder` and its truth to `folder`.truth.{mha,json}; returns the truth.

    T2 and T1 of the same spine, `SLICES` slices, int16, compressed; an axial T2 stack of the same patient, its classes
    in `folder`.axial.truth.mha; a clinical record; inputs.json. The same seed gives the same bytes.
    """
    plan = _choose_plan(seed)
    step = (SPACING_MM[0] / 3, *SPACING_MM[1:])
    phantom = rasterise(plan, step, 3 * SLICES, _window(plan))
    rng = np.random.default_rng([seed, 1])
    for contrast, slug in (("t2", "sagittal-spine-mri"), ("t1", "sagittal-t1-spine-mri")):
        target = folder / "images" / slug
        target.mkdir(parents=True, exist_ok=True)
        for old in target.glob("*.mha"):
            old.unlink()
        picture = render(phantom.tissues, rng, contrast, 3, SPACING_MM[1], artefacts=0.8)
        picture *= TOP_VALUE / float(np.percentile(picture, 99))
        stored = np.rint(np.clip(picture, 0, 2 * TOP_VALUE)).astype(np.int16)
        write_stack(target / stored_name(rng), stored, SPACING_MM)
    stack = folder / "images" / "axial-t2-spine-mri"
    place = placing(_window(plan), OBLIQUE_DEG)
    write_axial(stack, folder.with_name(folder.name + ".axial.truth.mha"), plan, place, seed)
    mask = mark_partial(phantom.instances[1::3], phantom.structures[1::3])
    write_stack(folder.with_name(folder.name + ".truth.mha"), mask, SPACING_MM)
    truth = truth_in_view(phantom, mask, seed)
    dump(folder.with_name(folder.name + ".truth.json"), truth)
    dump(folder / "clinical-information-spine.json", _clinical(plan))
    dump(
        folder / "inputs.json",
        input_items(folder, ("sagittal-spine-mri", "sagittal-t1-spine-mri", "axial-t2-spine-mri")),
    )
    return truth


def _choose_plan(seed: int) -> SpinePlan:
    """The first quiet spine from `seed` on, with a herniated disc L4/L5 and Modic 2 changes at L5/S1 put into it."""
    for attempt in range(5000):
        plan = sample_spine(np.random.default_rng([seed, 0, attempt]), "lumbar")
        if _is_quiet(plan):
            break
    else:
        raise ValueError(f"no suitable spine found for seed {seed}")
    lowest, second, *rest = plan.discs
    second = replace(
        second,
        pfirrmann=4,
        herniation="extrusion",
        herniation_mm=6.5,
        herniation_left_mm=2.0,
        herniation_down_mm=4.0,
        cleft=False,
    )
    lowest = replace(lowest, pfirrmann=4, modic=2, modic_mm=8.0, cleft=False)
    return replace(plan, discs=(lowest, second, *rest))


def _is_quiet(plan: SpinePlan) -> bool:
    """Middle-aged, straight, no fracture, metal or transitional vertebra, little disease above L4/L5."""
    low, rest = plan.discs[:2], plan.discs[2:9]
    body = 35 < plan.body.age_years < 58 and plan.body.fat_mm < 25 and plan.scoliosis_deg < 6
    body &= plan.metal_label == 0 and plan.transitional == "none" and 32 < plan.lordosis_deg < 55
    body &= all(vertebra.fracture == "none" and vertebra.haemangioma_mm == 0 for vertebra in plan.vertebrae[:9])
    body &= all(disc.pfirrmann <= 3 and disc.modic == 0 and disc.herniation_mm == 0 for disc in rest)
    return body and all(abs(disc.slip_mm) < 1 and disc.stenosis < 0.15 for disc in (*low, *rest))


def _window(plan: SpinePlan) -> Window:
    """About the lower part of L3, so that T11 to S3 are seen; a little more in front of the spine than behind it."""
    centre = plan.frames[2].world(0, -4, -8)
    left = float(np.mean([frame.origin_mm[0] for frame in plan.frames[:6]]))
    return Window((left, float(centre[1]), float(centre[2])), FIELD_MM)


def write_stack(path: Path, array: NDArray[Any], spacing_mm: tuple[float, float, float]) -> None:
    """Write (slice, down, back) as a right-handed oblique sagittal stack in LPS: slices run to the patient's right."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array[::-1]))
    image.SetSpacing(spacing_mm[::-1])
    left, up, back = rotation(*OBLIQUE_DEG)  # rows in (left, down, back)
    axes = [_lps(back), _lps(-up), _lps(-left)]
    image.SetDirection(np.stack(axes, axis=1).ravel().tolist())
    size = (np.array(image.GetSize()) - 1) / 2 * np.array(image.GetSpacing())
    image.SetOrigin((-np.stack(axes, axis=1) @ size).tolist())
    SimpleITK.WriteImage(image, str(path), useCompression=True)


def _lps(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """(left, down, back) -> LPS."""
    return np.array([vector[0], vector[2], -vector[1]])


def stored_name(rng: Generator) -> str:
    """A file name as the platform gives them."""
    return f"{UUID(bytes=rng.bytes(16), version=4)}.mha"


def mark_partial(instances: NDArray[np.uint8], structures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Vertebrae whose body the upper or lower border cuts or leaves out get PARTIAL_OFFSET + label."""
    mask = instances.copy()
    bodies = np.where(np.isin(structures, (Structure.BODY, Structure.C2, Structure.C1)), instances, 0)
    whole = {int(v) for v in np.unique(bodies)} - {int(v) for v in np.unique(bodies[:, [0, -1]])}
    for label in np.unique(instances):
        if 0 < label <= LAST_VERTEBRA and int(label) not in whole:
            mask[instances == label] = PARTIAL_OFFSET + label
    return mask


def truth_in_view(phantom: Phantom, mask: NDArray[np.uint8], seed: int) -> dict[str, Any]:
    """The phantom's truth, of the vertebrae and discs that lie in the image."""
    seen = {int(v) for v in np.unique(mask)}
    truth = dict(phantom.truth)
    truth["seed"] = seed
    truth["vertebrae"] = [
        v | {"partial": PARTIAL_OFFSET + v["label"] in seen}
        for v in truth["vertebrae"]
        if seen & {v["label"], PARTIAL_OFFSET + v["label"]}
    ]
    truth["discs"] = [d for d in truth["discs"] if d["label"] in seen]
    return truth


def _clinical(plan: SpinePlan) -> dict[str, Any]:
    """A plausible record of a patient with leg pain from a herniated disc."""
    worst = max(plan.discs[:2], key=lambda disc: disc.herniation_mm)
    return {
        "age_years": round(plan.body.age_years),
        "sex": "male" if plan.body.male else "female",
        "height_cm": round(176 * plan.body.scale),
        "weight_kg": round(24 * (1.76 * plan.body.scale) ** 2 + plan.body.fat_mm - 12),
        "smoker": False,
        "region": "lumbar",
        "indication": "disc_herniation",
        "odi_percent": 46,
        "nrs_back": 4,
        "nrs_leg": 7,
        "eq5d_index": 0.36,
        "duration_back_pain": "3_to_12_months",
        "duration_leg_pain": "3_to_12_months",
        "walking_distance": "500_to_1000_m",
        "previous_spine_surgery": False,
        "comorbidity": False,
        "sick_pension": False,
        "unemployed": False,
        "employed": True,
        "college_education": True,
        "clinic_type": "public",
        "levels_planned": [worst.level],
    }


def input_items(folder: Path, slugs: tuple[str, ...]) -> list[dict[str, Any]]:
    """What the platform writes to inputs.json for images in the sockets `slugs` and a clinical record."""
    items: list[dict[str, Any]] = []
    for slug in slugs:
        path = f"images/{slug}"
        name = next((folder / path).glob("*.mha")).name
        socket = {"slug": slug, "relative_path": path, "super_kind": "Image", "kind": "Image"}
        items.append({"socket": socket, "image": {"name": name}, "file": None, "value": None})
    record = "clinical-information-spine"
    socket = {"slug": record, "relative_path": f"{record}.json", "super_kind": "Value", "kind": "Anything"}
    items.append({"socket": socket, "image": None, "file": None, "value": None})
    return items


def dump(path: Path, content: Any) -> None:
    """Write JSON."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
