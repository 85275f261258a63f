"""Alignment of the whole spine: lordosis, slopes, cervical offset, a hint at a sideways curve."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spine.anatomy import C2_LABEL, C7_LABEL, L1_LABEL, T1_LABEL, vertebra_label
from spine.geometry import Array, elevation_deg, patient_horizontal, wrap_deg
from spine.measure.outline import EndPlate
from spine.measure.reading import Outcome, Reading
from spine.measure.scene import S1_KEY, Scene, first_reason

UNITS: Mapping[str, str] = {
    "lumbar_lordosis_l1_s1_deg": "deg",
    "lordosis_l4_s1_deg": "deg",
    "c2_c7_angle_deg": "deg",
    "c2_c7_sva_mm": "mm",
    "t1_slope_deg": "deg",
    "c7_slope_deg": "deg",
    "coronal_curve_hint_deg": "deg",
}

SUPINE = "lying in the scanner, not standing"
CURVE_MIN_BODIES = 4
L4_LABEL = vertebra_label("L4")


def measure_alignment(scene: Scene) -> dict[str, Outcome]:
    """Every name of UNITS."""
    s1 = scene.superior(S1_KEY)
    horizontal = patient_horizontal(scene.volume.affine)
    return {
        "lumbar_lordosis_l1_s1_deg": _cobb(scene, scene.superior(L1_LABEL), s1, "superior end plates of L1 and S1"),
        "lordosis_l4_s1_deg": _cobb(scene, scene.superior(L4_LABEL), s1, "superior end plates of L4 and S1"),
        "c2_c7_angle_deg": _cobb(
            scene, scene.inferior(C2_LABEL), scene.inferior(C7_LABEL), "inferior end plates of C2 and C7"
        ),
        "c2_c7_sva_mm": _cervical_offset(scene, horizontal),
        "t1_slope_deg": _slope(scene, scene.superior(T1_LABEL), horizontal),
        "c7_slope_deg": _slope(scene, scene.superior(C7_LABEL), horizontal),
        "coronal_curve_hint_deg": _coronal_curve(scene),
    }


def _cobb(scene: Scene, upper: EndPlate | str, lower: EndPlate | str, ends: str) -> Outcome:
    if isinstance(upper, str) or isinstance(lower, str):
        return first_reason(upper, lower) or ""
    points = scene.surface.lps(upper.back, upper.front, lower.back, lower.front)
    angle = wrap_deg(upper.elevation_deg - lower.elevation_deg)
    return Reading(angle, points, f"Cobb, {ends}; lordosis is positive; {SUPINE}")


def _slope(scene: Scene, plate: EndPlate | str, horizontal: Array | None) -> Outcome:
    if isinstance(plate, str):
        return plate
    if horizontal is None:
        return "the image does not say where the patient's front is"
    note = (
        f"superior end plate against the patient's back-to-front axis, positive when its front end is lower; {SUPINE}"
    )
    return Reading(-elevation_deg(plate.chord, horizontal), scene.surface.lps(plate.back, plate.front), note)


def _cervical_offset(scene: Scene, horizontal: Array | None) -> Outcome:
    c2, c7 = scene.outline(C2_LABEL), scene.superior(C7_LABEL)
    if isinstance(c2, str) or isinstance(c7, str):
        return first_reason(c2, c7) or ""
    if c2.inferior is None:
        return "the inferior end plate of C2 is cut by the edge of the image"
    if horizontal is None:
        return "the image does not say where the patient's front is"
    note = f"centre of the body of C2 before the upper back corner of C7; {SUPINE}"
    return Reading(float((c2.centre - c7.back) @ horizontal), scene.surface.lps(c2.centre, c7.back), note)


def _coronal_curve(scene: Scene) -> Outcome:
    """Largest difference in sideways lean of the canal's midline between two bodies in view."""
    if scene.volume.content[0] < 3:
        return "fewer than three slices show no sideways curve"
    centres = np.array([o.centre for k, o in scene.outlines.items() if k != S1_KEY and not o.cut])
    if len(centres) < CURVE_MIN_BODIES:
        return f"fewer than {CURVE_MIN_BODIES} whole vertebrae are in view"
    step = np.array([5.0, 0.0])
    lean_deg = []
    for centre in centres:
        above, below = scene.surface.lift(centre - step), scene.surface.lift(centre + step)
        lean_deg.append(float(np.degrees(np.arctan2(above[0] - below[0], below[1] - above[1]))))
    note = f"a hint only: sideways bend of the canal's midline; {SUPINE}; not a Cobb angle of a standing radiograph"
    return Reading(max(lean_deg) - min(lean_deg), note=note)
