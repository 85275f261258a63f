"""The probability that a film's vertebrae bear their right names, fitted on synthetic validation films.

Called by `python -m lab.evaluate.run_xray --calibrate`. Every film is read as it is, and several times with a part
of it cut off, so that the anchor of the names (C2, the sacrum) is often gone: few whole films are named wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from sklearn.linear_model import LogisticRegression

from lab.evaluate.xray_films import Film, film_series
from lab.evaluate.xray_table import GROSS_MM, WRONG_SHARE
from spine.runners import Runner
from spine.settings import XraySettings
from spine.xray import Reading, surest_reading
from spine.xray.conform import conform_film
from spine.xray.landmarks import LANDMARKS
from spine.xray.names import Evidence

CUT_SHARE = (0.05, 0.4)  # of the film's rows
TOWARDS_ANCHOR = 0.7  # how often the cut end is the one with the anchor
CUTS, CUT_WEIGHT = 4, 0.25  # cut readings of a film, and what one of them counts beside the whole film
STRENGTH = (
    100.0  # inverse strength of the penalty on the coefficients; weaker fits miss the one film that skips a level
)


@dataclass(frozen=True)
class Named:
    """One reading of one film: what spoke for its names, and whether they were right."""

    film: str
    evidence: Evidence
    right: bool
    weight: float


def named_readings(film: Film, runner: Runner, settings: XraySettings) -> Iterator[Named]:
    """The film as it is and with parts cut off; readings without a spine are left out."""
    for one, weight in ((film, 1.0), *((cut_film(film, number), CUT_WEIGHT) for number in range(CUTS))):
        best, _ = surest_reading(list(conform_film(one.series, settings.pixel_mm)), runner, settings)
        if best.shows_spine:
            yield Named(film.name, best.evidence, not is_named_off(best, one), weight)


def cut_film(film: Film, number: int = 0) -> Film:
    """`film` without a part of its upper or lower rows, mostly on the side that names are counted from.

    Another `number` cuts off another part.
    """
    rng = np.random.default_rng([77, number, *film.name.encode()])
    pixels = film.series.array[0]
    rows = int(rng.uniform(*CUT_SHARE) * len(pixels))
    above = (rng.random() < TOWARDS_ANCHOR) == (film.cast.region == "cervical")
    left = pixels[rows:] if above else pixels[:-rows]
    points_mm = film.cast.points_mm - ([rows * film.cast.pixel_mm, 0.0] if above else 0.0)
    series = film_series(left, film.cast.pixel_mm)
    return replace(film, series=series, cast=replace(film.cast, points_mm=points_mm))


def is_named_off(reading: Reading, film: Film) -> bool:
    """As lab.evaluate.xray_table counts it: another region, or too many landmarks a level away from their truth."""
    far = []
    for key, mark in reading.kept.items():
        true_mm = film.cast.points_mm[LANDMARKS.index(key)]
        row, _ = reading.film.stored(np.array(mark.place_mm))
        off_mm = ((row + 0.5) * film.cast.pixel_mm - true_mm[0]) / film.cast.magnification
        if np.isfinite(off_mm):
            far.append(abs(off_mm) > GROSS_MM)
    return reading.region != film.cast.region or bool(far and np.mean(far) > WRONG_SHARE)


def fit_names(readings: list[Named]) -> dict[str, float]:
    """Settings `names_*` of a penalised logistic regression; both right and wrong names must occur."""
    if len({one.right for one in readings}) < 2:
        raise SystemExit("all names are right, or all wrong: more films are needed to fit their probability.")
    given = [[one.evidence.margin, one.evidence.step, one.evidence.counted] for one in readings]
    model = LogisticRegression(C=STRENGTH, max_iter=1000)
    model.fit(np.array(given, float), [one.right for one in readings], [one.weight for one in readings])
    margin, step, counted = (round(float(c), 2) for c in model.coef_[0])
    bias = round(float(model.intercept_[0]), 2)
    return {"names_bias": bias, "names_margin": margin, "names_step": step, "names_counted": counted}
