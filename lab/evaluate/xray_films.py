"""Synthetic lateral films through `spine.xray`, beside what a perfect reader would say of them. No torch."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.synth.radiograph import Cast, develop
from lab.synth.radiograph_bank import draw_cast
from lab.synth.radiograph_exposure import Exposure, sample_exposure
from spine.records import Grade, Grid, Measurement, Series, XrayFindings
from spine.runners import Runner
from spine.settings import XraySettings
from spine.xray import analyse_radiograph
from spine.xray.decode import Landmark
from spine.xray.expected import read_limits
from spine.xray.grade import grade_film
from spine.xray.landmarks import LANDMARKS
from spine.xray.measure import level_sizes, measure_film
from spine.xray.scene import draw_scene
from spine.xray.withhold import NAMES_OFF

SLUG = "lateral-spine-xray"
EXPOSED = 9  # first number of the seeds of exposures
STEPS = 4000  # grey values from black to white of the stored film
METAL = ("plate", "cage", "prosthesis", "rods")
FAINT_PHOTONS, STEEP_CURVE, HAZY_SCATTER = 700.0, 1.2, 0.25  # noisier, harder, paler than these is a nuisance


@dataclass(frozen=True)
class Film:
    """One synthetic film as a hospital would store it, with its truth."""

    name: str
    series: Series
    cast: Cast
    visible: NDArray[np.bool_]  # (78,)
    mirrored: bool  # stored with the patient's front on the right
    negated: bool  # stored with bone dark
    nuisances: tuple[str, ...]


def draw_film(family: str, region: str, index: int, store: Path | None = None) -> Film:
    """Film `index` of a family: half of them stored mirrored, a tenth negated.

    Projections, slow to make, are kept in the folder `store` (pickled: read only what this wrote) where there is one.
    """
    kept = store / f"{family}_{region}_{index:04d}.pickle" if store else None
    if kept and kept.exists():
        cast = pickle.loads(kept.read_bytes())
    else:
        cast, _ = draw_cast(family, region, index)
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(pickle.dumps(cast))
    rng = np.random.default_rng([EXPOSED, *family.encode(), *region.encode(), index])
    exposure = sample_exposure(rng, cast.attenuation)
    picture, visible, hidden = develop(cast, rng, exposure)
    mirrored, negated = bool(rng.random() < 0.5), bool(rng.random() < 0.1)
    stored = picture[:, ::-1] if mirrored else picture
    stored = (1.2 - stored if negated else stored) * STEPS
    return Film(
        name=f"{family}_{region}_{index:04d}",
        series=film_series(np.clip(stored, 0, 65535).astype(np.uint16), cast.pixel_mm),
        cast=cast,
        visible=visible,
        mirrored=mirrored,
        negated=negated,
        nuisances=tuple(_nuisances(cast, exposure, visible, hidden)),
    )


def film_series(picture: NDArray[Any], pixel_mm: float) -> Series:
    """A picture (rows, columns) as the reader hands it on."""
    rows, columns = picture.shape
    grid = Grid((columns, rows, 1), (pixel_mm, pixel_mm, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    return Series(SLUG, "film", picture[None], grid)


def _nuisances(cast: Cast, exposure: Exposure, visible: NDArray[np.bool_], hidden: NDArray[np.bool_]) -> Iterator[str]:
    at = cast.points_mm / cast.pixel_mm
    inside = np.isfinite(at).all(1) & np.all(np.nan_to_num(at, nan=-1) > 3, axis=1)
    inside &= np.all(np.nan_to_num(at, nan=1e9) < np.array(hidden.shape) - 3, axis=1)
    low = np.array([name in ("C6", "C7", "T1") for name, _ in LANDMARKS])
    if (inside & low & ~visible).any():
        yield "shoulders over C6 to T1"
    if exposure.photons < FAINT_PHOTONS:
        yield "noisy"
    if exposure.scatter > HAZY_SCATTER:
        yield "low contrast by scatter"
    if exposure.curve > STEEP_CURVE:
        yield "hard film curve"
    if cast.implant in METAL:
        yield "metal"
    if cast.plan.scoliosis_deg > 10:
        yield "scoliosis over 10 degrees"


def true_findings(film: Film) -> tuple[tuple[Measurement, ...], tuple[Grade, ...]]:
    """What `spine.xray` would measure and grade on points without any error, hidden ones included."""
    marks = {
        key: Landmark((float(at[0]), float(at[1])), 1.0, 0.0)
        for key, at in zip(LANDMARKS, film.cast.points_mm, strict=True)
        if np.isfinite(at).all()
    }
    scene = draw_scene(marks, {}, film.cast.region, True)
    sizes = level_sizes(scene)
    return measure_film(scene, sizes), grade_film(scene, sizes)


def read_film(film: Film, runner: Runner, settings: XraySettings) -> dict[str, Any]:
    """One case as plain data: every landmark's error, every measurement and grade beside its truth."""
    everything = {**read_limits(), "osteophytes_are_trusted": 1.0}  # what is withheld from readers is measured here
    findings = analyse_radiograph(film.series, runner, settings, everything)
    truth, grades = true_findings(film)
    return {
        "film": film.name,
        "region": film.cast.region,
        "nuisances": list(film.nuisances),
        "implant": film.cast.implant,
        "magnification": round(film.cast.magnification, 4),
        "found_region": findings.region,
        "facing_right": bool(findings.facing == ("right" if film.mirrored else "left")),
        "names_prob": findings.names_prob,
        "names_doubted": any(NAMES_OFF in flag for flag in findings.flags),
        "polarity_right": bool(findings.negated == film.negated),
        "landmarks": list(_landmarks(film, findings)),
        "measurements": list(_measurements(findings, truth)),
        "grades": list(_grades(findings, grades)),
    }


def _landmarks(film: Film, findings: XrayFindings) -> Iterator[dict[str, Any]]:
    """Errors in mm of the patient's middle plane; a point that was found where none can be seen is false."""
    found = {(p.vertebra, p.point): p for p in findings.landmarks if p.pixel is not None}
    width = film.series.array.shape[2]
    for key, at, seen in zip(LANDMARKS, film.cast.points_mm, film.visible, strict=True):
        mark = found.get(key)
        entry: dict[str, Any] = {"name": " ".join(key), "visible": bool(seen), "found": mark is not None}
        if mark is not None and mark.pixel is not None and np.isfinite(at).all():
            row, column = mark.pixel
            column = width - 1 - column if film.mirrored else column
            place = (np.array([row, column]) + 0.5) * film.cast.pixel_mm
            error = (place - at) / film.cast.magnification
            entry |= {
                "error_mm": [round(float(e), 3) for e in error],
                "said_mm": round(float(mark.error_mm or 0) / film.cast.magnification, 3),
                "prob": round(float(mark.prob or 0), 3),
            }
        if seen or entry["found"]:
            yield entry


def _measurements(findings: XrayFindings, truth: tuple[Measurement, ...]) -> Iterator[dict[str, Any]]:
    found = {(m.subject, m.name): m for m in findings.measurements}
    for true in truth:
        mine = found.get((true.subject, true.name))
        if true.value is None:
            continue
        entry = {"subject": true.subject, "name": true.name, "true": round(true.value, 3), "value": None}
        if mine is not None and mine.value is not None:
            entry |= {"value": round(mine.value, 3), "interval_90": mine.interval_90}
        yield entry


def _grades(findings: XrayFindings, truth: tuple[Grade, ...]) -> Iterator[dict[str, Any]]:
    found = {(g.level, g.name): g for g in findings.grades}
    for true in truth:
        mine = found.get((true.level, true.name))
        if true.grade is not None:
            value = None if mine is None or mine.grade is None else int(mine.grade)
            yield {"level": true.level, "name": true.name, "true": int(true.grade), "value": value}
