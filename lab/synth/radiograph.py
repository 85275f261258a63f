"""Lateral radiographs of the synthetic spines, cervical or lumbar, with landmarks known exactly.

A film is made in two steps: `cast` projects a plan in perspective to a map of attenuation (slow), `develop` exposes it
(fast, and again and again in training). Real radiographs were not at hand: look and variety come from general
knowledge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lab.synth.norms import C1, C7, L1
from lab.synth.plan import SpinePlan
from lab.synth.radiograph_beam import Beam, Shadows, bent, turned
from lab.synth.radiograph_bones import cast_spine, landmarks_world, neighbours_world, sample_look, seen_range
from lab.synth.radiograph_exposure import Exposure, Picture, collimate, expose, letter, sample_exposure, texture
from lab.synth.radiograph_metal import KINDS, cast_implant, cast_jewellery
from lab.synth.radiograph_soft import cast_head, cast_neck, cast_trunk
from lab.synth.sample import sample_spine
from spine.xray.landmarks import LANDMARKS

PIXEL_MM = 0.6
IMPLANT_PROB = 0.1
SPURRED_PROB = 0.6  # of patients with osteophytes on a share of their vertebrae
EDGE_MM = 1.5  # a point nearer to the edge of the film than this is not looked for
MARGIN = {"cervical": ((30, 110), (20, 80)), "lumbar": ((25, 80), (30, 85))}  # mm above and below the levels shown
WIDTH_MM = {"cervical": (165, 245), "lumbar": (175, 275)}


@dataclass(frozen=True)
class Cast:
    """A projected spine before exposure."""

    attenuation: Picture  # (rows, columns)
    points_mm: NDArray[np.float64]  # (78, 2) film mm (row, column) from the upper left corner; nan: other region
    neighbours_mm: NDArray[np.float64]  # (n, 2) film mm of corners that look like landmarks but are none
    pixel_mm: float
    magnification: float  # film mm for each mm in the middle plane of the patient
    region: str
    implant: str  # none, plate, cage, prosthesis, fused, rods
    implant_disc: int  # index of the disc (0 = L5/S1), -1 for none
    plan: SpinePlan


@dataclass(frozen=True)
class FilmTruth:
    """What a perfect reader would say of one film."""

    points_mm: NDArray[np.float64]  # (78, 2) film mm (row, column) from the upper left corner
    visible: NDArray[np.bool_]  # (78,) on the film and not hidden
    magnification: float
    region: str
    implant: str

    def as_json(self) -> dict[str, Any]:
        """JSON-ready: landmarks by name with film mm and visibility; those of the other region are left out."""
        marks = {
            f"{name} {point}": {"film_mm": [round(float(x), 3) for x in at], "visible": bool(seen)}
            for (name, point), at, seen in zip(LANDMARKS, self.points_mm, self.visible, strict=True)
            if np.isfinite(at).all()
        }
        return {
            "region": self.region,
            "magnification": round(self.magnification, 4),
            "implant": self.implant,
            "landmarks": marks,
        }


def render_film(
    plan: SpinePlan, rng: Generator, region: str = "cervical", pixel_mm: float = PIXEL_MM
) -> tuple[Picture, float, FilmTruth]:
    """A lateral film of `plan` without implants or jewellery, in its own posture.

    Returns (rows, columns) float32 with bone bright, superior up, anterior left; its pixel in film mm; the truth.
    """
    film = cast(plan, rng, region, plain=True, pixel_mm=pixel_mm)
    picture, visible, _ = develop(film, rng)
    return picture, pixel_mm, FilmTruth(film.points_mm, visible, film.magnification, region, film.implant)


def cast(
    plan: SpinePlan,
    rng: Generator,
    region: str,
    plain: bool = False,
    pixel_mm: float = PIXEL_MM,
    implant_prob: float = IMPLANT_PROB,
) -> Cast:
    """Project `plan`; `plain` leaves out implants and jewellery and turns the patient little.

    `implant_prob` is that of an implant in a patient whose plan holds none in the region.
    """
    pivot = plan.frames[C7 + 2 if region == "cervical" else 2].origin_mm
    share = 0.3 if plain else 1.0
    tilt = float(rng.normal(0, 7 if region == "cervical" else 5))
    askew = (float(rng.normal(0, 4)) * share, float(rng.normal(0, 3)) * share)
    plan = turned(plan, pivot, (share * tilt, *askew))
    beam = _beam(plan, rng, region, pixel_mm)
    shadows = Shadows(beam)
    look = sample_look(rng, plan.body.age_years)
    cast_spine(shadows, plan, look, seen_range(region))
    for step in (1, 2):  # texture belongs to bone alone, and lies on the film
        layer = shadows.layers[step]
        layer *= texture(rng, layer.shape, pixel_mm * step, look.trabeculae)
    implant, disc = ("none", -1) if plain else _implant(shadows, plan, look, rng, (region, implant_prob))
    (cast_neck if region == "cervical" else cast_trunk)(shadows, plan, rng)
    if region == "cervical":
        cast_head(shadows, plan, rng)
        if not plain and rng.random() < 0.2:
            cast_jewellery(shadows, plan, rng)
    return Cast(
        attenuation=shadows.total(),
        points_mm=beam.project(landmarks_world(plan, region)),
        neighbours_mm=beam.project(neighbours_world(plan, region)),
        pixel_mm=pixel_mm,
        magnification=float(beam.magnification(beam.centre_mm[0])),
        region=region,
        implant=implant,
        implant_disc=disc,
        plan=plan,
    )


def _beam(plan: SpinePlan, rng: Generator, region: str, pixel_mm: float) -> Beam:
    """Source 1.5 to 1.8 m (neck) or 1.0 to 1.5 m (lower back) from the film, the central ray near C5 or L3."""
    far = float(rng.uniform(1500, 1830) if region == "cervical" else rng.uniform(1000, 1500))
    gap = float(rng.uniform(180, 330) if region == "cervical" else rng.uniform(190, 330))
    aim = plan.frames[19 if region == "cervical" else 2].origin_mm
    centre = (float(aim[0]), float(aim[1] + rng.normal(0, 15)), float(aim[2] + rng.normal(-5, 12)))
    scale = far / (far - gap)
    top, bottom = _levels_shown(plan, rng, region)
    (above_low, above_high), (below_low, below_high) = MARGIN[region]
    above = scale * (centre[1] - top) + rng.uniform(above_low, above_high)
    below = scale * (bottom - centre[1]) + rng.uniform(below_low, below_high)
    width = float(rng.uniform(*WIDTH_MM[region]))
    front = width * float(rng.uniform(0.42, 0.62) if region == "cervical" else rng.uniform(0.45, 0.65))
    shape = (int((above + below) / pixel_mm), int(width / pixel_mm))
    return Beam(far - gap, far, centre, (float(above), front), pixel_mm, shape)


def _levels_shown(plan: SpinePlan, rng: Generator, region: str) -> tuple[float, float]:
    """World heights of the highest and the lowest level that the film is meant to show."""
    down = [float(f.origin_mm[1]) for f in plan.frames]
    if region == "cervical":
        top = down[C1] if rng.random() < 0.85 else down[C1 - int(rng.integers(1, 4))] + 20  # the head cut off
        return top, down[C7] if rng.random() < 0.85 else down[C7 + int(rng.integers(1, 3))] - 25
    top = down[L1 + 1] if rng.random() < 0.85 else down[L1 - int(rng.integers(0, 2))]
    return top, 5.0 if rng.random() < 0.92 else -20.0


def _implant(shadows: Shadows, plan: SpinePlan, look: Any, rng: Generator, given: tuple[str, float]) -> tuple[str, int]:
    region, prob = given
    low, high = (17, 22) if region == "cervical" else (1, 5)
    near = low <= plan.metal_label - 1 < high
    if not near and rng.random() > prob:
        return "none", -1
    disc = plan.metal_label - 1 if near else int(rng.integers(low, high))
    kind = str(rng.choice(KINDS[region]))
    cast_implant(shadows, plan, look, kind, disc)
    return kind, disc


def develop(
    film: Cast, rng: Generator, exposure: Exposure | None = None
) -> tuple[Picture, NDArray[np.bool_], NDArray[np.bool_]]:
    """Expose: (picture bone bright 0..1.2, visible (78,), hidden pixels (rows, columns))."""
    look = exposure or sample_exposure(rng, film.attenuation)
    picture, hidden = expose(film.attenuation, film.pixel_mm, look, rng)
    picture, outside = collimate(picture, rng)
    hidden |= outside | letter(picture, rng)
    return picture, visible_points(film.points_mm, hidden, film.pixel_mm), hidden


def visible_points(points_mm: NDArray[np.floating], hidden: NDArray[np.bool_], pixel_mm: float) -> NDArray[np.bool_]:
    """(n,) which of the (n, 2) points lie on the film, off its very edge, and where `hidden` is false."""
    at = np.nan_to_num(points_mm, nan=-1e4) / pixel_mm
    edge, size = EDGE_MM / pixel_mm, np.array(hidden.shape)
    inside = np.all((at > edge) & (at < size - edge), axis=1)
    row, column = np.clip(at.astype(int), 0, size - 1).T
    return inside & ~hidden[row, column]


def sample_patient(rng: Generator, region: str, spurred_prob: float = SPURRED_PROB) -> SpinePlan:
    """A spine for a film: as `sample_spine` draws it, with more osteophytes and, in the neck, more postures."""
    plan = sample_spine(rng, region, healthy=bool(rng.random() < 0.1))
    if rng.random() < spurred_prob:
        share = float(rng.uniform(0.1, 0.8))
        plan = replace(
            plan,
            vertebrae=tuple(
                replace(v, osteophyte_anterior_mm=float(rng.uniform(0.5, 0.33 * v.depth_mm)))
                if rng.random() < share
                else v
                for v in plan.vertebrae
            ),
        )
    return bent(plan, C7, float(np.clip(rng.normal(0, 1.6), -3.2, 3.2))) if region == "cervical" else plan
