"""What was found on a lateral radiograph -> `xray` of the report document, and its words for the pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spine.records import FilmPoint, XrayFindings
from spine.report.digest import Document
from spine.report.values import (
    LIKELY_PROB,
    clean_text,
    grade_object,
    is_missing,
    likely_run,
    measurement_object,
    missing,
    rounded,
    run_text,
)
from spine.report.words import Words

NO_FILM = "no X-ray was given"
NOT_JUDGED = "how sure the names of the levels are was not judged"
ALIGNMENT = "xray alignment"
AROUND_MM = 35.0  # of the film shown around the outermost landmarks
# Columns: name -> decimals. One that holds nothing at any level is left out; the reasons stand below the tables.
LEVEL_COLUMNS = {
    "disc_height_anterior_mm": 1,
    "disc_height_posterior_mm": 1,
    "disc_height_index": 2,
    "disc_height_loss_percent": 0,
    "slip_percent": 0,
    "osteophyte_anterior_percent": 0,
}
GRADE_COLUMNS = ("kellgren", "walraevens_height_loss", "walraevens_total", "lane_narrowing", "lane_osteophytes")
BODY_COLUMNS = {
    "body_height_anterior_mm": 1,
    "body_height_posterior_mm": 1,
    "body_ap_depth_mm": 1,
    "wedge_percent": 0,
    "canal_ap_diameter_mm": 1,
    "torg_pavlov_ratio": 2,
}
NARROW_TORG = 0.8  # [V], as resources/xray.json quotes it
MARKED_LOSS_PERCENT, MARKED_OSTEOPHYTE_PERCENT = 25.0, 12.5  # as the limits of the grades
SIGN, OSTEOPHYTE = "low_disc_with_osteophyte", "osteophyte_anterior_percent"
ABSENT = "n.m."
NOTE_LENGTH = 500  # characters of a note: a page cuts longer paragraphs


def xray_object(film: XrayFindings | None) -> dict[str, Any]:
    """`xray` of spine-degeneration-report.json; levels and vertebrae from the lowest up."""
    if film is None:
        return missing(NO_FILM)
    if film.reason is not None:
        return missing(film.reason)
    measured: dict[str, dict[str, Any]] = {}
    for measurement in film.measurements:
        measured.setdefault(measurement.subject, {})[measurement.name] = measurement_object(measurement)
    grades: dict[str, dict[str, Any]] = {}
    for grade in film.grades:
        grades.setdefault(grade.level, {})[grade.name] = grade_object(grade)
    levels = [subject for subject in measured if "/" in subject]
    return {
        "region": film.region,
        "facing": film.facing,
        "negated": film.negated,
        "pixel_plane": film.pixel_plane,
        "doubt": clean_text(film.doubt) if film.doubt else "none",
        "runner": clean_text(film.runner),
        "flags": [clean_text(flag) for flag in film.flags],
        "names_prob": missing(NOT_JUDGED) if film.names_prob is None else rounded(film.names_prob),
        "levels": [
            {"level": level, "measurements": measured[level], "grades": grades.get(level, {})}
            for level in reversed(levels)
        ],
        "vertebrae": [
            {"name": subject, "measurements": measured[subject]}
            for subject in reversed(measured)
            if "/" not in subject and subject != ALIGNMENT
        ],
        "alignment": measured.get(ALIGNMENT, {}),
        "landmarks": [_landmark(point) for point in film.landmarks],
    }


def _landmark(point: FilmPoint) -> dict[str, Any]:
    named = {"vertebra": point.vertebra, "point": point.point}
    if point.pixel is None or point.prob is None or point.error_mm is None:
        return {**named, **missing(point.reason or "not seen")}
    row, column = point.pixel
    return {
        **named,
        "row": rounded(row),
        "column": rounded(column),
        "prob": rounded(point.prob),
        "error_mm": rounded(point.error_mm, "mm"),
    }


@dataclass(frozen=True)
class FilmName:
    """A vertebra's name and its middle."""

    text: str
    x: float
    y: float


@dataclass(frozen=True)
class FilmPicture:
    """The part of the film that holds the landmarks; places are fractions of its width and height."""

    grey: NDArray[np.uint8]  # (down, back), anterior left
    aspect: float  # width over height
    plates: tuple[tuple[float, ...], ...]  # x, y of front and back end of each end plate
    spurs: tuple[tuple[float, ...], ...]  # corner to tip of each osteophyte
    points: tuple[tuple[float, ...], ...]  # x, y of spinolaminar points and the centre of C2
    names: tuple[FilmName, ...]


def film_picture(film: XrayFindings | None) -> FilmPicture | None:
    """The picture of the film; without landmarks the whole film; None without a film that could be looked at."""
    if film is None or not film.picture.size:
        return None
    places = {(p.vertebra, p.point): np.array(p.place) for p in film.landmarks if p.place is not None}
    grey, corner = _cropped(film, list(places.values()))
    size = np.array(grey.shape, float)
    at = {key: tuple(float(part) for part in ((place + 0.5 - corner) / size)[::-1]) for key, place in places.items()}
    plates: list[tuple[float, ...]] = []
    spurs: list[tuple[float, ...]] = []
    middles: dict[str, list[tuple[float, ...]]] = {}
    for vertebra in dict.fromkeys(key[0] for key in at):
        for side in ("superior", "inferior"):
            front, back = (at.get((vertebra, f"{side}_{end}")) for end in ("anterior", "posterior"))
            tip = at.get((vertebra, f"{side}_tip"))
            if front is not None and back is not None:
                plates.append((*front, *back))
                middles.setdefault(vertebra, []).append(tuple(np.mean((front, back), axis=0)))
            if front is not None and tip is not None:
                spurs.append((*front, *tip))
    names = tuple(FilmName(name, *map(float, np.mean(ends, axis=0))) for name, ends in middles.items())
    singles = tuple(place for (_, point), place in at.items() if point in ("spinolaminar", "centre"))
    return FilmPicture(grey, float(size[1] / size[0]), tuple(plates), tuple(spurs), singles, names)


def _cropped(film: XrayFindings, places: Sequence[NDArray[Any]]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """The film around `places` (down, back) in its pixels, and the upper left corner of the part."""
    if not places:
        return film.picture, np.zeros(2)
    margin = AROUND_MM / film.picture_mm
    low = np.maximum(np.min(places, axis=0) - margin, 0).astype(int)
    high = np.minimum(np.max(places, axis=0) + margin, film.picture.shape).astype(int)
    return film.picture[low[0] : high[0], low[1] : high[1]], low


@dataclass(frozen=True)
class FilmCell:
    """A value with its interval or probability, or 'n.m.'."""

    text: str
    beside: str = ""  # '4.6 to 5.8'; of a grade its probability
    marked: bool = False


@dataclass(frozen=True)
class FilmTable:
    """A table of one page; the first cell of a row names it."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[FilmCell, ...], ...]


@dataclass(frozen=True)
class FilmPage:
    """The words of the film's page."""

    lines: tuple[str, ...]  # what it is, how it lies, what is doubtful
    reason: str  # why nothing was found; '' where something was
    tables: tuple[FilmTable, ...]  # levels, bodies, alignment
    notes: tuple[str, ...]
    adjacent: tuple[str, ...] = ()  # levels next to a planned operation
    picture: str = ""  # what the colours of the picture are; '' where nothing is drawn


def film_page(report: Document, words: Words) -> FilmPage:
    """The words of `xray` of a report whose case had a film."""
    xray = report["xray"]
    if is_missing(xray):
        none = words.say("xray.none", reason=xray["not_measurable"])
        return FilmPage((), none, (), ())
    shown = {"region": words.say(f"xray.regions.{xray['region']}"), "side": words.say(f"xray.sides.{xray['facing']}")}
    lines = (words.say("xray.line", **shown), *(f"{_capital(words.told(flag)).rstrip('.')}." for flag in xray["flags"]))
    tables = (
        _levels(xray, words),
        _bodies(xray, words),
        FilmTable(
            words.say("xray.alignment"),
            (words.say("xray.column_angle"), words.say("xray.column_value")),
            tuple(
                (FilmCell(_angle_name(name, words)), _value(found, 1, words))
                for name, found in xray["alignment"].items()
            ),
        ),
    )
    beside = report["advice"].get("adjacent_segments")
    said = () if beside is None else (*map(words.told, beside["sentences"]), *_half(beside, words))
    adjacent = () if beside is None else (*said, words.told(beside["caveat"]))
    osteophytes = (words.say("xray.note_osteophytes"),) if _any_osteophyte(xray) else ()
    notes = (words.say("xray.note"), *osteophytes, *_reasons(xray, words))
    return FilmPage(lines, "", tables, notes, adjacent, _picture_said(xray, words))


def _half(beside: Document, words: Words) -> tuple[str, ...]:
    return (words.say("xray.adjacent_half"),) if "osteophyte_half" in beside else ()


def _any_osteophyte(xray: Document) -> bool:
    """Whether the film's page tells an osteophyte of any level."""
    return any(not is_missing(level["measurements"].get(OSTEOPHYTE, missing(""))) for level in xray["levels"])


def _picture_said(xray: Document, words: Words) -> str:
    """What the colours of the picture are."""
    return words.say("xray.picture_osteophytes" if _any_osteophyte(xray) else "xray.picture")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _angle_name(name: str, words: Words) -> str:
    unit = "mm" if name.endswith("_mm") else "°"
    return f"{words.name('names.measurements', name)}, {unit}"


def _levels(xray: Document, words: Words) -> FilmTable:
    levels = list(reversed(xray["levels"]))
    columns = {
        name: [_value(level["measurements"][name], decimals, words, name) for level in levels]
        for name, decimals in LEVEL_COLUMNS.items()
    }
    columns |= {name: [_grade(level["grades"].get(name), words) for level in levels] for name in GRADE_COLUMNS}
    shown = {name: cells for name, cells in columns.items() if any(cell.text != ABSENT for cell in cells)}
    header = (words.say("xray.column_level"), *(words.say(f"xray.columns.{name}") for name in shown))
    rows = zip(map(_level_name, levels), *shown.values(), strict=True)
    return FilmTable(words.say("xray.levels"), header, tuple(rows))


def _level_name(level: Document) -> FilmCell:
    return FilmCell(level["level"], marked=_shows_wear(level["grades"]))


def _bodies(xray: Document, words: Words) -> FilmTable:
    shown = [part for part in reversed(xray["vertebrae"]) if "body_ap_depth_mm" in part["measurements"]]
    columns = [name for name in BODY_COLUMNS if any(name in part["measurements"] for part in shown)]
    header = [words.say("xray.column_body"), *(words.say(f"xray.columns.{name}") for name in columns)]
    rows = [
        (
            FilmCell(part["name"]),
            *(_value(part["measurements"][name], BODY_COLUMNS[name], words, name) for name in columns),
        )
        for part in shown
    ]
    return FilmTable(words.say("xray.bodies"), tuple(header), tuple(rows))


def _value(found: Document, decimals: int, words: Words, name: str = "") -> FilmCell:
    """The value and its 90 % interval, or 'n.m.'; the reasons stand below the tables."""
    if is_missing(found):
        return FilmCell(ABSENT)
    ends = [words.number(end, decimals) for end in found.get("interval_90", ())]
    beside = words.say("xray.interval", low=ends[0], high=ends[1]) if ends else ""
    return FilmCell(words.number(found["value"], decimals), beside, _is_marked(name, found))


def _is_marked(name: str, found: Document) -> bool:
    """Whether the value is beyond its limit, and more than the error of measuring."""
    value, ends = float(found["value"]), found.get("interval_90")
    if ends and ends[0] <= 0 <= ends[1]:
        return False
    if name == "torg_pavlov_ratio":
        return value <= NARROW_TORG
    limits = {
        "disc_height_loss_percent": MARKED_LOSS_PERCENT,
        "osteophyte_anterior_percent": MARKED_OSTEOPHYTE_PERCENT,
    }
    return name in limits and value >= limits[name]


def _grade(found: Document | None, words: Words) -> FilmCell:
    if found is None or is_missing(found):
        return FilmCell(ABSENT)
    low, high, prob = likely_run(found["probabilities"])
    return FilmCell(run_text(low, high), words.number(prob, 2), _is_probable(found, 2))


def _is_probable(found: Document, lowest: int) -> bool:
    return int(found["grade"]) >= lowest and found["confidence"] >= LIKELY_PROB


def _reasons(xray: Document, words: Words) -> list[str]:
    """Every reason for an 'n.m.' once, with where it holds."""
    places: dict[str, dict[str, None]] = {}
    groups = [(level["level"], {**level["measurements"], **level["grades"]}) for level in xray["levels"]]
    groups += [(part["name"], part["measurements"]) for part in xray["vertebrae"]]
    groups.append((words.say("xray.alignment"), xray["alignment"]))
    for where, group in groups:
        for found in group.values():
            if is_missing(found):
                places.setdefault(found["not_measurable"], {})[where] = None
    notes: list[str] = []
    for item in (f"{_capital(words.told(reason))} ({', '.join(where)})" for reason, where in places.items()):
        if notes and len(notes[-1]) + len(item) < NOTE_LENGTH:
            notes[-1] += f"; {item}"
        else:
            notes.append(item)
    return [words.say("xray.missing", items=items) for items in notes]


def film_sign_levels(report: Document) -> list[str]:
    """Levels of the film, highest first, whose disc is low and has an anterior osteophyte, more likely than not."""
    if is_missing(report["xray"]):
        return []
    return [level["level"] for level in reversed(report["xray"]["levels"]) if _shows_wear(level["grades"])]


def _shows_wear(grades: Mapping[str, Any]) -> bool:
    """By the combined grade of the neck; of the lower back by both of Lane's grades."""
    if SIGN in grades:
        return not is_missing(grades[SIGN]) and bool(grades[SIGN]["grade"])
    found = [grades.get(name) for name in ("lane_narrowing", "lane_osteophytes")]
    return all(one is not None and not is_missing(one) and _is_probable(one, 1) for one in found)
