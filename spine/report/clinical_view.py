"""Report document -> words, rows and numbers of the physician's pages; layout is left to pdf.py and html_view.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spine.report import digest, names
from spine.report.digest import Document
from spine.report.values import is_missing
from spine.report.words import Words, shortened

TIMES = "\N{MULTIPLICATION SIGN}"
LONGEST_DOUBT, LONGEST_REASON = 240, 200  # characters shown on the first page
MAX_CODES = 8  # reasons explained below the table; the rest are listed in full further on


@dataclass(frozen=True)
class Cell:
    """One cell of the findings table. `codes` refer to the reasons below the table."""

    text: str
    marked: bool = False
    codes: tuple[str, ...] = ()
    sure: bool = True  # a marked cell that is not sure is set in lighter type


@dataclass(frozen=True)
class Panel:
    """One measurement along the spine, highest level first: (level, value, z), None where there is none."""

    measurement: str  # its name in the document
    title: str
    points: tuple[tuple[str, float | None, float | None], ...]
    decimals: int


@dataclass(frozen=True)
class Option:
    """One treatment option: of 100 patients, `expected` (between `low` and `high`) have the outcome."""

    title: str
    lines: tuple[str, ...]
    expected: int | None
    low: int = 0
    high: int = 0


@dataclass(frozen=True)
class Table:
    """The findings by level, highest level first."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]


class Codes:
    """Short letters for reasons, given out in the order in which they are met."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def code(self, reason: str) -> str:
        """The letter of `reason`; '+' for those beyond `MAX_CODES`."""
        if reason not in self.reasons:
            self.reasons[reason] = chr(ord("a") + len(self.reasons)) if len(self.reasons) < MAX_CODES else "+"
        return self.reasons[reason]


def _missing_cell(codes: Codes, *reasons: str) -> Cell:
    return Cell("n.m.", codes=tuple(sorted({codes.code(reason) for reason in reasons})))


def measured_cell(level: Document, name: str, words: Words, codes: Codes) -> Cell:
    """'8.1 (-1.2)': value and z-score of one measurement."""
    value, z = digest.value_of(level, name), digest.z_of(level, name)
    if value is None:
        return _missing_cell(codes, digest.reason_of(level, "measurements", name) or "not listed")
    text = words.number(value, names.KEY_MEASUREMENTS[name])
    if z is not None:
        text += f" ({words.number(z, 1, signed=True)})"
    return Cell(text, marked=digest.is_marked(name, value, z))


def _probability(found: Mapping[str, Any], words: Words) -> str:
    return "" if is_missing(found["confidence"]) else f" ({words.number(found['confidence'], 2)})"


def pfirrmann_cell(level: Document, words: Words, codes: Codes) -> Cell:
    """'4 (0.82)': Pfirrmann grade and its probability."""
    grade = digest.grade_of(level, "pfirrmann")
    if grade is None:
        return _missing_cell(codes, digest.reason_of(level, "grades", "pfirrmann") or "")
    found = level["grades"]["pfirrmann"]
    text = f"{int(grade)}{_probability(found, words)}"
    return Cell(text, marked=grade >= names.WORN_PFIRRMANN, sure=digest.is_sure(level, "pfirrmann"))


def other_cell(level: Document, words: Words, codes: Codes) -> Cell:
    """Modic change (of any type) and flags that are present, each with its probability; codes for those not graded.

    A slip that was measured and that the grade denies is said here as well. Where at most the slip was graded and is
    absent, the cell is not measurable.
    """
    present, reasons, highest = [], [], 0.0
    for name in names.GRADES[1:]:
        grade = digest.grade_of(level, name)
        if grade is None:
            reasons.append(digest.reason_of(level, "grades", name) or "")
        elif grade:
            probability = digest.finding_prob(name, level["grades"][name])
            highest = max(highest, probability)
            present.append(f"{words.name('names.grades', name)} ({words.number(probability, 2)})")
    if digest.denies_slip(level):
        present.append(words.say("report.slip_denied"))
    slip_graded = digest.grade_of(level, "spondylolisthesis") is not None
    if (
        not present and len(reasons) + slip_graded == len(names.GRADES) - 1
    ):  # no slip says nothing of the other findings
        return _missing_cell(codes, *reasons)
    text = "; ".join(present) or words.say("report.none_of_judged" if reasons else "report.none_found")
    explained = _missing_cell(codes, *reasons).codes if reasons else ()
    return Cell(text, marked=bool(present), codes=explained, sure=highest >= names.SURE_PROB)


def scales(report: Document, words: Words) -> str:
    """'Pfirrmann', of a neck 'Miyazaki', or both: the scale of the discs' wear, from the lowest level up."""
    used = dict.fromkeys(digest.worn_scale(level["level"]) for level in report["levels"]) or ("pfirrmann",)
    return " / ".join(words.name("names.grades", scale) for scale in used)


def table_note(report: Document, words: Words) -> str:
    """What the marks of the findings table mean, and which of its measurements have no norms."""
    limits = {"z": words.number(names.UNUSUAL_Z), "pfirrmann": names.WORN_PFIRRMANN, "scale": scales(report, words)}
    slip = words.number(names.MARKED_SLIP_MM)
    note = words.say("report.table_note", **limits, slip=slip, sure=words.number(names.SURE_PROB, 1))
    without = [words.name("names.columns", name) for name in digest.without_norms(report)]
    more = [words.say("report.without_norms", items=words.listing(without))] if without else []
    more += [words.say("report.neck_note")] if digest.neck_heights_told(report) else []
    return " ".join([note, *more])


def table_header(report: Document, words: Words) -> list[str]:
    """Column titles of the findings table; '(z)' where the column holds any z-score."""
    columns = []
    for name in names.KEY_MEASUREMENTS:
        title = words.name("names.columns", name)
        with_z = any(digest.z_of(level, name) is not None for level in report["levels"])
        columns.append(words.say("report.column_with_z", column=title) if with_z else title)
    scale = scales(report, words)
    first = [words.say(f"report.column_{name}", scale=scale) for name in ("level", "pfirrmann", "other")]
    return [*first, *columns, words.say("report.column_seen")]


def findings_table(report: Document, words: Words) -> Table:
    """Rows of the findings table with the reasons that their codes stand for."""
    codes = Codes()
    rows = []
    for level in reversed(report["levels"]):
        seen = level["confidence"]
        rows.append(
            (
                Cell(level["level"]),
                pfirrmann_cell(level, words, codes),
                other_cell(level, words, codes),
                *(measured_cell(level, name, words, codes) for name in names.KEY_MEASUREMENTS),
                _missing_cell(codes, seen["not_measurable"]) if is_missing(seen) else Cell(words.number(seen, 2)),
            )
        )
    notes = [table_note(report, words)]
    if codes.reasons:
        explained = [
            f"{code} = {shortened(words.told(reason), LONGEST_REASON)}"
            for reason, code in codes.reasons.items()
            if code != "+"
        ]
        if "+" in codes.reasons.values():
            explained.append(f"+ = {words.say('report.more_codes')}")
        notes.insert(0, words.say("report.codes", codes="; ".join(explained)))
    return Table(tuple(table_header(report, words)), tuple(rows), tuple(notes))


def study_lines(report: Document, words: Words) -> list[tuple[str, str]]:
    """(label, text) of the study and patient lines: only what the input holds."""
    given = report["input"]
    contrast, region = given["contrast"], given["region"]
    shown = (
        words.say("report.contrast_missing", reason=contrast["not_measurable"])
        if is_missing(contrast)
        else words.say(
            "report.contrast", guess=contrast["guess"], ratio=words.number(contrast["csf_to_marrow_ratio"], 2)
        )
    )
    study = words.say(
        "report.study_line",
        slug=given["series"][0]["slug"],
        size=f" {TIMES} ".join(str(n) for n in given["grid"]["size"]),
        spacing=f" {TIMES} ".join(words.number(s, 2) for s in given["grid"]["spacing_mm"]),
        contrast=shown,
        region=words.say("report.region_missing") if is_missing(region) else words.name("names.regions", region),
    )
    return [(words.say("report.study"), study), (words.say("report.patient"), _patient_line(given["clinical"], words))]


def _patient_line(clinical: Document, words: Words) -> str:
    if is_missing(clinical):
        return words.say("report.patient_none")
    parts = []
    if isinstance(clinical.get("age_years"), int | float):
        parts.append(words.say("report.patient_age", age=words.number(clinical["age_years"])))
    if clinical.get("sex"):
        parts.append(words.name("names.sex", clinical["sex"]))
    if clinical.get("indication"):
        parts.append(words.name("names.indications", clinical["indication"]))
    return ", ".join(parts) or words.say("report.patient_no_age")


def numbering_line(report: Document, words: Words) -> tuple[str, bool]:
    """Statement on the level names, and whether they are in doubt."""
    numbering = report["numbering"]
    if not report["vertebrae"] and not report["levels"]:
        return words.say("report.nothing_found"), True
    doubtful = digest.is_numbering_doubtful(report)
    method = words.name("names.numbering", numbering["method"])
    line = words.say(
        "report.numbering_line",
        method=method[:1].upper() + method[1:],
        probability=words.number(numbering["probability"], 2),
    )
    others = [
        f"{shortened(other['lowest_vertebra'], 12)} ({words.number(other['probability'], 2)})"
        for other in numbering["alternatives"]
    ]
    if others:
        line += " " + words.say("report.numbering_alternatives", alternatives=", ".join(others))
    if doubtful:
        reason = "" if numbering["doubt"] == "none" else f" {shortened(words.told(numbering['doubt']), LONGEST_DOUBT)}"
        line = f"{words.say('report.numbering_doubtful')}{reason} {line}"
    return line, doubtful


def trend_panels(report: Document, words: Words) -> list[Panel]:
    """Key measurements along the spine."""
    return [
        Panel(
            name,
            words.name("names.panels", name),
            tuple(
                (level["level"], digest.value_of(level, name), digest.z_of(level, name))
                for level in reversed(report["levels"])
            ),
            names.KEY_MEASUREMENTS[name],
        )
        for name in names.TREND_MEASUREMENTS
    ]
