"""Whether the lumbar bodies are as large as a person's, and as high as their depth lets expect.

Persons differ by some 7 % in the height and 10 % in the depth of their bodies. All bodies in view and the canal behind
them are pooled, and both directions are judged at once: a spacing that is wrong in one of them, or in both, moves
heights, or depths and canal, or all of them by the same factor. The spreads are those of sound pictures
(resources/thresholds.json).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from spine.geometry import Array
from spine.quality.spacing import PLATES, SIZE
from spine.records import Doubt, Measurement
from spine.resources import RESOURCES

BODIES = ("L1", "L2", "L3", "L4", "L5")
FRONT, BACK = "body_height_anterior_mm", "body_height_posterior_mm"
DEPTH, CANAL = "body_ap_depth_mm", "canal_ap_diameter_mm"
FEWEST = 3  # bodies: of fewer one fracture or one cut outline decides
ALONG_BACK = np.array([0.0, 1.0, 1.0])  # height, depth, canal: which of them a factor from front to back moves
SEXES = ("female", "male")
DISC_MIDDLE, BODY_MIDDLE = "disc_height_middle_mm", "body_height_middle_mm"
STATURE_CM = (120.0, 220.0)  # for which the equations of resources/norms.json are used


def scale_doubts(
    measurements: Sequence[Measurement], limits: Mapping[str, float], clinical: Mapping[str, Any] | None = None
) -> list[Doubt]:
    """A doubt about all millimetres where the lumbar bodies are those of no usual person.

    Args:
        measurements: of every body in view; fewer than FEWEST lumbar ones say nothing.
        limits: those of resources/thresholds.json.
        clinical: stature or sex, if known, move what is expected, and depths spread less within a sex.
    """
    sizes = body_sizes(measurements)
    if sizes is None:
        return []
    known = clinical or {}
    usual = usual_mm(limits) * np.exp(expected_logs(known))
    if strangeness(np.log(sizes / usual), limits, known.get("sex") in SEXES) <= limits["body_strangeness_max"]:
        return []
    reason = (
        f"the voxel spacing may be wrong: the lumbar bodies are {sizes[0]:.0f} mm high and {sizes[1]:.0f} mm deep, "
        f"where about {usual[0]:.0f} and {usual[1]:.0f} mm are usual (a child, or an adult of rare size, has such too)"
    )
    return [Doubt(None, SIZE, reason)]


def tall_disc_doubts(measurements: Sequence[Measurement], limits: Mapping[str, float]) -> list[Doubt]:
    """Doubts about discs that are as high as the body beside them, and about the end plates on either side.

    Bone that is as dark as a disc (Modic changes of both end plates, sclerosis) is outlined as disc: synthetic discs of
    10 mm were found 20 and 26 mm high.
    """
    found = {(one.subject, one.name): one.value for one in measurements if one.value is not None}
    doubts = []
    for (level, name), height_mm in found.items():
        bodies = [found.get((body, BODY_MIDDLE)) for body in level.split("/")] if name == DISC_MIDDLE else []
        beside_mm = min((body for body in bodies if body is not None), default=np.inf)
        if height_mm < limits["disc_tall_min_mm"] or height_mm <= limits["disc_over_body_max"] * beside_mm:
            continue
        reason = (
            f"{level} was outlined {height_mm:.0f} mm high, a body beside it {beside_mm:.0f} mm: bone as dark as a "
            "disc may have been taken for one"
        )
        doubts += [Doubt(level, None, reason), *(Doubt(body, PLATES, reason) for body in level.split("/"))]
    return doubts


def body_sizes(measurements: Sequence[Measurement]) -> Array | None:
    """(3,) mm: height (mean of front and back), depth, canal behind, medians over the lumbar bodies measured whole.

    The canal is NaN where it was not measured; None with fewer than FEWEST bodies. One fracture moves medians little.
    """
    told = {(m.subject, m.name): m.value for m in measurements if m.value is not None and m.value > 0}
    rows = [[told.get((body, name)) for name in (FRONT, BACK, DEPTH)] for body in BODIES]
    whole = np.array([row for row in rows if None not in row], np.float64).reshape(-1, 3)
    if len(whole) < FEWEST:
        return None
    canal = [told[body, CANAL] for body in BODIES if (body, CANAL) in told]
    behind = float(np.median(canal)) if len(canal) >= FEWEST else np.nan
    return np.array([np.median(whole[:, :2].mean(1)), np.median(whole[:, 2]), behind])


def usual_mm(limits: Mapping[str, float]) -> Array:
    """(3,): height, depth and canal that are usual."""
    return np.array([limits[f"lumbar_{name}_mm"] for name in ("body_height", "body_depth", "canal")])


def strangeness(logs: Array, limits: Mapping[str, float], one_sex: bool = False) -> float:
    """How far the factors (from head to foot, from front to back) that `logs` tell lie from 1, in standard deviations.

    `logs` (3,) are those of height, depth and canal over the usual; NaN where unknown. The factors are their
    generalised least squares estimate, the distance is Mahalanobis'. `one_sex`: the spread is that within a sex.
    """
    known = np.isfinite(logs)
    depth = "body_depth_of_one_sex" if one_sex else "body_depth"
    spread = np.array([limits[f"lumbar_{name}_spread"] for name in ("body_height", depth, "canal")])
    with_height = np.array([1.0, limits["lumbar_height_depth_correlation"], limits["lumbar_height_canal_correlation"]])
    correlation = np.eye(3)
    correlation[0], correlation[:, 0] = with_height, with_height
    inverse = np.linalg.inv((correlation * np.outer(spread, spread))[np.ix_(known, known)])
    design = np.stack([1.0 - ALONG_BACK, ALONG_BACK], 1)[known]
    pull = design.T @ inverse @ logs[known]
    return float(np.sqrt(pull @ np.linalg.solve(design.T @ inverse @ design, pull)))


def expected_logs(clinical: Mapping[str, Any]) -> Array:
    """(3,) logarithms by which height, depth and canal of a person of this stature, or else sex, differ from the usual.

    Bodies by the equations for stature of CELavecchia/LMG, or by L5 on CT (sources in resources/norms.json); no source
    tells how the lumbar canal goes with either.
    """
    norms, stature = _norms(), clinical.get("height_cm")
    if stature is not None and STATURE_CM[0] <= float(stature) <= STATURE_CM[1]:
        own, usual = (_predicted_mm(float(cm), norms) for cm in (stature, _scaling(norms)["reference_stature_cm"]))
        return np.array([*np.log(own / usual), 0.0])
    sex = clinical.get("sex")
    if sex not in SEXES:
        return np.zeros(3)
    rows = [_l5(norms, name) for name in (BACK, "endplate_depth_superior_mm")]
    return np.array([*(np.log(row[sex]["mean"] / np.mean([row[s]["mean"] for s in SEXES])) for row in rows), 0.0])


@cache
def _norms() -> Mapping[str, Any]:
    table: dict[str, Any] = json.loads((RESOURCES / "norms.json").read_text(encoding="utf-8"))
    return table


def _scaling(norms: Mapping[str, Any]) -> Mapping[str, float]:
    scaling: Mapping[str, float] = norms["stature_scaling"]
    return scaling


def _l5(norms: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The norm of `name` at L5 that tells the sexes apart."""
    return next(r for r in norms["norms"] if r["measurement"] == name and "L5" in r["subjects"] and SEXES[0] in r)


def _predicted_mm(stature_cm: float, norms: Mapping[str, Any]) -> Array:
    """(2,): height and depth of a lumbar body."""
    scaling = _scaling(norms)
    spine_cm = (stature_cm - scaling["spine_offset_cm"]) / scaling["spine_slope"]
    height_mm = scaling["height_mm_per_cm"] * spine_cm
    return np.array([height_mm, scaling["depth_per_height"] * height_mm + scaling["depth_offset_mm"]])
