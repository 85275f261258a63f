"""Report document -> what the template of the HTML report prints: words and rows only, nothing left to compute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from spine.report import digest, names
from spine.report.clinical_view import Cell, Codes, Option, measured_cell, other_cell, pfirrmann_cell
from spine.report.digest import Document
from spine.report.outcome_view import EVIDENCE_TAG
from spine.report.patient_view import Section, patient_sections
from spine.report.values import NO_REFERENCE, is_missing
from spine.report.words import Words, shortened

DECIMALS = {"mm": 1, "deg": 1, "%": 1, "mm2": 0, "mm3": 0}  # shown, by UCUM unit; ratios and grades: two or none
SIGNS = {"mm2": " mm²", "mm3": " mm³", "deg": "°", "1": ""}  # UCUM units as a person writes them
WHOLE = ("meyerding_grade", "genant_grade")
PEOPLE = 100
LONGEST_REASON = 300  # characters


class Reasons(Codes):
    """Codes that are the reasons themselves: a page has room to say them where they belong."""

    def code(self, reason: str) -> str:
        """`reason`, cut where it is very long."""
        return shortened(reason, LONGEST_REASON)


@dataclass(frozen=True)
class Row:
    """One grade or measurement of a level, a vertebra or the whole spine."""

    key: str  # name in the document
    name: str
    value: str  # '' when it is missing
    detail: str = ""  # z-score and percentile, or probability and evidence
    marked: bool = False
    sure: bool = True  # a marked row that is not sure is set in lighter type
    reason: str = ""  # why it is missing
    note: str = ""  # how it was defined, what it was compared with
    line: bool = False  # whether the picture can show where it was measured
    first: bool = False  # whether it does so as soon as its subject is chosen


@dataclass(frozen=True)
class Part:
    """Everything about one level, vertebra or the spine as a whole."""

    subject: str
    title: str
    grades: tuple[Row, ...]
    measurements: tuple[Row, ...]


@dataclass(frozen=True)
class People:
    """A pictogram: how many of 100 persons, in runs of one class each, and the same in words."""

    option: Option
    classes: tuple[str, ...]  # one a person


def shown_value(name: str, found: Mapping[str, Any], words: Words) -> str:
    """'8.1 mm': a measured value with its unit; `found` is the object of the document."""
    unit = str(found["unit"])
    decimals = 0 if name in WHOLE else DECIMALS.get(unit, 2)
    return words.number(found["value"], decimals) + SIGNS.get(unit, f" {unit}")


def shown_percentile(percentile: float, words: Words) -> str:
    """A whole number; '<1' and '>99' at the ends, because a norm knows no lowest and no highest of all people."""
    if percentile < 1:
        return "<1"
    return ">99" if percentile > 99 else words.number(percentile)


def measurement_row(name: str, found: Mapping[str, Any], line: Mapping[str, Any] | None, words: Words) -> Row:
    """Row of the measurement `name`; `line` is what the picture can draw of it."""
    shown = words.name("names.measurements", name)
    if is_missing(found):
        return Row(name, shown, "", reason=shortened(words.told(str(found["not_measurable"])), LONGEST_REASON))
    z = None if is_missing(found["z"]) else float(found["z"])
    detail = "" if z is None else words.say("html.z", z=words.number(z, 1, signed=True))
    if detail and not is_missing(found["percentile"]):
        detail += words.say("html.percentile", percentile=shown_percentile(found["percentile"], words))
    reference = str(found["reference"])
    return Row(
        name,
        shown,
        shown_value(name, found, words),
        detail,
        digest.is_marked(name, found["value"], z),
        note="" if reference == NO_REFERENCE else EVIDENCE_TAG.sub("", reference).replace("+-", "±"),
        line=line is not None,
        first=line is not None and line["first"],
    )


def grade_row(name: str, found: Mapping[str, Any], words: Words, level: str) -> Row:
    """Row of the grade `name` of `level`: grade, probability of each grade or of presence, and evidence."""
    shown = words.name("names.grades", digest.worn_scale(level) if name == "pfirrmann" else name)
    if is_missing(found):
        return Row(name, shown, "", reason=shortened(words.told(str(found["not_measurable"])), LONGEST_REASON))
    grade, probabilities = found["grade"], found["probabilities"]
    prob = digest.finding_prob(name, found)
    sure = prob >= names.SURE_PROB
    note = "; ".join(_evidence(str(text), words) for text in found["evidence"])
    if name == "pfirrmann":
        each = ", ".join(f"{n}: {words.number(p, 2)}" for n, p in enumerate(probabilities, 1))
        detail = words.say("html.probabilities", items=each) if each else ""
        return Row(name, shown, str(grade), detail, grade >= names.WORN_PFIRRMANN, sure, note=note)
    detail = words.say("html.probability", probability=words.number(prob, 2)) if probabilities else ""
    value = words.say("html.present" if grade else "html.absent")
    return Row(name, shown, value, detail, bool(grade), sure, note=note)


def _evidence(text: str, words: Words) -> str:
    """One piece of evidence with the measurement that it begins with, if any, by its display name."""
    name, _, rest = text.partition(" ")
    known = words.texts["names"]["measurements"]
    return f"{known[name]} {rest}" if name in known else text


def _rows(group: Mapping[str, Any], lines: Mapping[str, Mapping[str, Any]], words: Words) -> tuple[Row, ...]:
    return tuple(measurement_row(name, found, lines.get(name), words) for name, found in group.items())


def level_parts(report: Document, lines: Mapping[str, Mapping[str, Any]], words: Words) -> list[Part]:
    """Every motion segment, highest first."""
    return [
        Part(
            level["level"],
            level["level"],
            tuple(grade_row(name, found, words, level["level"]) for name, found in level["grades"].items()),
            _rows(level["measurements"], lines.get(level["level"], {}), words),
        )
        for level in reversed(report["levels"])
    ]


def other_parts(report: Document, lines: Mapping[str, Mapping[str, Any]], words: Words) -> list[Part]:
    """Alignment, the canal as a whole, then every vertebra, highest first."""
    parts = [
        Part(name, words.say(f"html.{name}"), (), _rows(report[name], lines.get(name, {}), words))
        for name in ("alignment", "canal")
    ]
    for vertebra in reversed(report["vertebrae"]):
        title = vertebra["name"] + (words.say("html.partial") if vertebra["partial"] else "")
        rows = _rows(vertebra["measurements"], lines.get(vertebra["name"], {}), words)
        parts.append(Part(vertebra["name"], title, (), rows))
    return parts


def findings_rows(report: Document, words: Words) -> list[tuple[str, tuple[Cell, ...]]]:
    """(level, cells) of the findings table, highest level first; the codes of a cell are reasons in full."""
    reasons = Reasons()
    rows = []
    for level in reversed(report["levels"]):
        seen = level["confidence"]
        cells = (
            pfirrmann_cell(level, words, reasons),
            other_cell(level, words, reasons),
            *(measured_cell(level, name, words, reasons) for name in names.KEY_MEASUREMENTS),
            Cell("n.m.", codes=(seen["not_measurable"],)) if is_missing(seen) else Cell(words.number(seen, 2)),
        )
        rows.append((level["level"], cells))
    return rows


def people_of(options: Iterable[Option], sure_only: bool = False) -> list[People]:
    """Pictograms: persons up to the lower bound, the expected number and the upper bound have a class of their own.

    `sure_only` draws the expected number alone, as on the patient's page. An option that abstains has no persons.
    """
    found = []
    for option in options:
        if option.expected is None:
            found.append(People(option, ()))
            continue
        bounds = (option.expected,) * 3 if sure_only else (option.low, option.expected, option.high)
        steps = tuple(zip(("sure", "likely", "possible"), bounds, strict=True))
        classes = (next((name for name, bound in steps if n < bound), "rest") for n in range(PEOPLE))
        found.append(People(option, tuple(classes)))
    return found


def patient_page(report: Document, words: Words) -> list[tuple[Section, list[People]]]:
    """Sections of the patient's page with their pictograms."""
    return [(section, people_of(section.options, sure_only=True)) for section in patient_sections(report, words)]
