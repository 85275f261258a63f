"""The lateral radiograph: landmarks, what is measured between them, and grades by rule.

    findings = analyse_radiograph(study.xray, models.xray, settings.xray)

Nothing found here is pooled with what MR shows: heights on the two differ systematically.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from spine.errors import ModelError, UnusableImage
from spine.records import FilmPoint, Series, XrayFindings
from spine.runners import Runner
from spine.settings import XraySettings
from spine.xray.chain import choose
from spine.xray.conform import Film, conform_film, mirrored, negative, resample, scale, upturned
from spine.xray.decode import Key, Landmark, read_peaks
from spine.xray.expected import POINTS, read_limits
from spine.xray.grade import grade_film
from spine.xray.landmarks import LANDMARKS, TIPS
from spine.xray.measure import level_sizes, measure_film
from spine.xray.names import Evidence, longest_step, names_margin, names_prob
from spine.xray.plausible import believable, plates_of
from spine.xray.scene import draw_scene
from spine.xray.verdict import header_flags, metal_flag
from spine.xray.withhold import ANCHORS, NAMES_OFF, OSTEOPHYTES, doubtful_names, told_grades, told_measurements

__all__ = ["Reading", "analyse_radiograph", "surest_reading", "unused_film"]

FEWEST_PLATES = 4  # end plates, of two vertebrae at least: fewer are no spine
SURE_MEAN_PROB = 0.5  # mean peak below which a reading is looked at in the negative too, and flagged
CLEARLY = 1.15  # a reading must beat the opposite one by this factor, or which way the patient faces is doubtful
PICTURE_MM, LONGEST_PIXELS = 0.35, 1100  # pixels of the picture for the report
UNUSED = "given but not used: "  # as spine.read says of a file that cannot be read
OTHER_VIEWS = ("AP", "PA")  # view positions of DICOM that are not lateral
NOT_LATERAL = "the header says that this is no lateral view"
UPSIDE_DOWN = "the film lies upside down: nothing was measured"
NO_SPINE = "no spine was recognised on the film: it may be no lateral film of neck or lower back, upside down, or poor"


@dataclass(frozen=True)
class Reading:
    """What the network sees on one reading of the film."""

    film: Film
    region: str
    kept: Mapping[Key, Landmark]
    reasons: Mapping[Key, str]
    evidence: Evidence  # for the names
    names_prob: float  # that the names are right
    names_doubt: str | None  # why they may be wrong

    @property
    def score(self) -> float:
        """Sum of the peaks that can be believed."""
        return sum(mark.prob for mark in self.kept.values())

    @property
    def mean_prob(self) -> float:
        """Mean peak, 0 without landmarks."""
        return self.score / len(self.kept) if self.kept else 0.0

    @property
    def shows_spine(self) -> bool:
        """Whether enough end plates of one spine are there."""
        plates = plates_of(self.kept, self.region)
        return len(plates) >= FEWEST_PLATES and len({plate.vertebra for plate in plates}) > 1


def analyse_radiograph(
    series: Series, runner: Runner, settings: XraySettings, limits: Mapping[str, float] | None = None
) -> XrayFindings:
    """Everything that the landmarks of one lateral film tell.

    The network is asked about the film and its mirror image, about the negatives where both look poor, and upside down
    where neither C2 nor the sacrum is found; the surest reading is taken. A film without a recognisable spine gives
    findings that say so, and no number; so does one that is far too small or too large. What cannot be trusted is
    withheld with its reason (spine.xray.withhold).

    Args:
        series: the film.
        runner: its network.
        settings: group `xray`.
        limits: `osteophytes_are_trusted` (0 or 1) is read from it; None: the limits of resources/thresholds.json.

    Raises:
        ModelError: the network is another one.
    """
    try:
        films = list(conform_film(series, settings.pixel_mm))
    except UnusableImage as fault:
        return unused_film(UNUSED + str(fault).removeprefix(f"{series.slug}: ").rstrip("."))
    best, readings = surest_reading(films, runner, settings)
    reason = _refusal(series, best)
    if reason is None and not _is_anchored(best):
        over = [_read(upturned(film), runner, settings) for film in (best.film, mirrored(best.film))]
        reason = UPSIDE_DOWN if max(reading.score for reading in over) > best.score else None
    if reason is not None:
        return XrayFindings(
            (), (), (reason,), (), *_picture(films[0]), *_plane(films[0]), runner=runner.name, reason=reason
        )
    scene = draw_scene(best.kept, best.reasons, best.region, best.film.spacing.known)
    sizes = level_sizes(scene)
    spurs = bool((read_limits() if limits is None else limits)["osteophytes_are_trusted"])
    names = best.names_doubt is None
    return XrayFindings(
        told_measurements(measure_film(scene, sizes), spurs, names),
        told_grades(grade_film(scene, sizes), spurs, names),
        tuple(_flags(series, best, readings)),
        tuple(_landmarks(best, spurs)),
        *_picture(best.film),
        *_plane(best.film),
        region=best.region,
        facing=best.film.facing,
        negated=best.film.negated,
        runner=runner.name,
        names_prob=round(best.names_prob, 4),
    )


def surest_reading(films: list[Film], runner: Runner, settings: XraySettings) -> tuple[Reading, list[Reading]]:
    """The reading of the highest score and all that were tried: also the negatives of `films` where these look poor."""
    readings = [_read(film, runner, settings) for film in films]
    best = max(readings, key=lambda reading: reading.score)
    if not best.shows_spine or best.mean_prob < SURE_MEAN_PROB:
        readings += [_read(negative(film), runner, settings) for film in films]
        best = max(readings, key=lambda reading: reading.score)
    return best, readings


def unused_film(reason: str) -> XrayFindings:
    """The findings of a film that was given and cannot be looked at: `reason` and no picture."""
    return XrayFindings((), (), (reason,), (), np.zeros((0, 0), np.uint8), 1.0, "none", reason=reason)


def _read(film: Film, runner: Runner, settings: XraySettings) -> Reading:
    heatmaps = runner(film.canvas[None, None])[0]
    if len(heatmaps) != len(LANDMARKS):
        raise ModelError(f"the film's network answers with {len(heatmaps)} channels; {len(LANDMARKS)} are expected.")
    candidates = read_peaks(heatmaps, film.content, settings)
    kept = {}
    for region in POINTS:
        chosen, unsuited = choose(candidates, region, settings.visible_prob_min)
        marks, reasons = believable(chosen, region)
        kept[region] = marks, {**unsuited, **reasons}
    region = max(kept, key=lambda name: sum(mark.prob for mark in kept[name][0].values()))
    marks, reasons = kept[region]
    doubt = doubtful_names({plate.vertebra for plate in plates_of(marks, region)}, region)
    margin = names_margin(heatmaps, marks, region, settings.pixel_mm)
    evidence = Evidence(margin, longest_step(marks, region), doubt is None)
    prob = names_prob(evidence, settings)
    if doubt is None and prob < settings.names_prob_min:
        doubt = f"the names of the levels are right with a probability of {prob:.2f} only: {NAMES_OFF}"
    return Reading(film, region, marks, reasons, evidence, prob, doubt)


def _refusal(series: Series, best: Reading) -> str | None:
    if series.tags.get("view_position") in OTHER_VIEWS:
        return f"{NOT_LATERAL} ({series.tags['view_position']})"
    return None if best.shows_spine else NO_SPINE


def _flags(series: Series, best: Reading, readings: list[Reading]) -> Iterator[str]:
    if best.film.spacing.doubt:
        yield best.film.spacing.doubt.rstrip(".")
    yield from header_flags(series.tags, best.region)
    metal = metal_flag(best.film.canvas, best.kept, best.region, best.film.pixel_mm)
    if metal is not None:
        yield metal
    opposite = [
        reading.score
        for reading in readings
        if reading.film.facing != best.film.facing and reading.film.negated == best.film.negated and reading.shows_spine
    ]
    if opposite and max(opposite) * CLEARLY > best.score:
        yield "which way the patient faces is doubtful: front and back may be exchanged in every number of the film"
    if best.names_doubt is not None:
        yield best.names_doubt
    if best.film.negated:
        yield "the film is a negative of what its header says (bone dark) and was read turned over"
    if best.mean_prob < SURE_MEAN_PROB:
        yield f"the landmarks are unsure: mean peak {best.mean_prob:.2f}, {SURE_MEAN_PROB:.2f} is usual at least"
    if best.reasons:
        vertebrae = ", ".join(dict.fromkeys(vertebra for vertebra, _ in best.reasons))
        yield f"landmarks that break a rule of anatomy were left out ({vertebrae})"


def _is_anchored(best: Reading) -> bool:
    """Whether the vertebra that names are counted from is there."""
    return any(plate.vertebra == ANCHORS[best.region] for plate in plates_of(best.kept, best.region))


def _landmarks(best: Reading, osteophytes: bool) -> Iterator[FilmPoint]:
    picture_mm = _picture_mm(best.film)
    for vertebra, point in LANDMARKS:
        if (vertebra, point) not in POINTS[best.region]:
            continue
        mark = best.kept.get((vertebra, point))
        if mark is None:
            reason = best.reasons.get((vertebra, point), "not seen: hidden or outside the film")
            yield FilmPoint(vertebra, point, reason=reason)
            continue
        if point in TIPS and not osteophytes:
            yield FilmPoint(vertebra, point, reason=OSTEOPHYTES)
            continue
        row, column = best.film.stored(np.array(mark.place_mm)).round(2)
        down, back = (place / picture_mm - 0.5 for place in mark.place_mm)
        yield FilmPoint(vertebra, point, mark.prob, mark.sd_mm, (float(row), float(column)), (down, back))


def _plane(film: Film) -> tuple[str, str | None]:
    return film.spacing.plane, film.spacing.doubt


def _picture_mm(film: Film) -> float:
    rows, columns = film.shown.shape
    return float(max(PICTURE_MM, rows * film.step_mm[0] / LONGEST_PIXELS, columns * film.step_mm[1] / LONGEST_PIXELS))


def _picture(film: Film) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], float]:
    """The film as it was read, 0..255 between percentiles of its exposed area, and the size of its pixels."""
    picture_mm = _picture_mm(film)
    grey = np.clip(scale(resample(film.shown, film.step_mm, picture_mm)), 0.0, 1.0)
    return (255 * grey).round().astype(np.uint8), picture_mm
