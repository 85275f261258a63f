"""Measurements of one vertebral body: heights, depth, wedge, biconcavity, a Genant-style hint."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spine.anatomy import region_of, vertebra_name
from spine.geometry import wrap_deg
from spine.measure.reading import Outcome, Reading
from spine.measure.scene import Scene

UNITS: Mapping[str, str] = {
    "body_height_anterior_mm": "mm",
    "body_height_middle_mm": "mm",
    "body_height_posterior_mm": "mm",
    "body_ap_depth_mm": "mm",
    "endplate_depth_superior_mm": "mm",
    "endplate_depth_inferior_mm": "mm",
    "body_wedge_deg": "deg",
    "wedge_percent": "%",
    "biconcavity_ratio": "1",
    "genant_grade": "1",
}

GENANT_LOSS_PERCENT = (
    20.0,
    25.0,
    40.0,
)  # grade 1, 2, 3 from this loss of height (Genant 1993, 10.1002/jbmr.5650080915)

_WHOLE_NAMES = tuple(n for n in UNITS if not n.startswith("endplate"))


def measure_vertebra(scene: Scene, k: int) -> dict[str, Outcome]:
    """Every name of UNITS for vertebra `k` (2..24 without C1; C1 has no body)."""
    outcomes: dict[str, Outcome] = {}
    for side, plate in (("superior", scene.superior(k)), ("inferior", scene.inferior(k))):
        outcomes[f"endplate_depth_{side}_mm"] = (
            plate
            if isinstance(plate, str)
            else Reading(scene.surface.length_mm(plate.front, plate.back), scene.surface.lps(plate.front, plate.back))
        )
    body = scene.whole_body(k)
    if isinstance(body, str):
        return outcomes | dict.fromkeys(_WHOLE_NAMES, body)
    outline, top, bottom = body
    heights = {
        "anterior": (top.front, bottom.front),
        "middle": (top.middle, bottom.middle),
        "posterior": (top.back, bottom.back),
    }
    for place, ends in heights.items():
        reading = Reading(scene.surface.length_mm(*ends), scene.surface.lps(*ends))
        outcomes[f"body_height_{place}_mm"] = reading
    front_mm, middle_mm, back_mm = (scene.surface.length_mm(*ends) for ends in heights.values())
    walls = (outline.front_middle, outline.back_middle)
    outcomes["body_ap_depth_mm"] = Reading(
        scene.surface.length_mm(*walls), scene.surface.lps(*walls), "wall to wall at half height"
    )
    outcomes["body_wedge_deg"] = Reading(
        wrap_deg(bottom.elevation_deg - top.elevation_deg),
        scene.surface.lps(top.back, top.front, bottom.back, bottom.front),
        "between the end plates, positive when the front is shorter",
    )
    outcomes["wedge_percent"] = Reading(100 * (1 - front_mm / back_mm), note="1 - anterior / posterior height")
    outcomes["biconcavity_ratio"] = Reading(middle_mm / back_mm, note="middle / posterior height")
    outcomes["genant_grade"] = _genant(scene, k, (front_mm, middle_mm, back_mm))
    return outcomes


def _genant(scene: Scene, k: int, heights_mm: tuple[float, float, float]) -> Outcome:
    """Grade 0..3 by the largest loss of height: wedge, biconcave, or crush against the neighbours."""
    if region_of(k) == "cervical":
        return f"Genant's grades are not defined for {vertebra_name(k)}"
    front_mm, middle_mm, back_mm = heights_mm
    losses = {"wedge": 1 - front_mm / back_mm, "biconcave": 1 - middle_mm / back_mm}
    neighbours = [scene.whole_body(n) for n in (k - 1, k + 1)]
    behind = [scene.surface.length_mm(b[1].back, b[2].back) for b in neighbours if not isinstance(b, str)]
    if behind:
        losses["crush"] = 1 - back_mm / float(np.mean(behind))
    shape, loss = max(losses.items(), key=lambda item: item[1])
    percent = max(0.0, 100 * loss)
    grade = sum(percent >= limit for limit in GENANT_LOSS_PERCENT)
    note = f"Genant-style hint from heights alone: largest loss {percent:.0f} % ({shape}); not a diagnosis of fracture"
    return Reading(grade, note=note)
