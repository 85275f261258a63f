"""What the DICOM and the FHIR objects both say: a finished report, place by place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from spine import anatomy
from spine.export.codes import Code, code, structure_code
from spine.resources import load_schema

TEXTS = "texts/en.json"  # the objects are in English
MISSING = "not_measurable"
FIRST_PFIRRMANN = 1  # grade of the first of its probabilities
UNPROVEN = "grades of the neck are unproven and are told in the report only"


@dataclass(frozen=True)
class Finding:
    """The answer to one grade, or the reason why there is none."""

    name: str
    answer: int | bool | None  # Pfirrmann grade, or whether the finding is present
    probability: float | None = None  # of the Pfirrmann grade, or of the finding's presence
    missing: str | None = None


@dataclass(frozen=True)
class Place:
    """What was found at one place."""

    title: str  # 'L5/S1', 'L5', 'alignment'
    site: Code
    structure: Code
    label: int | None  # in the mask, where the place is one structure of it
    measurements: Mapping[str, Mapping[str, Any]]  # measurement objects of the report
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()  # sentences that a reader of the place must see


def places(report: Mapping[str, Any]) -> Iterator[Place]:
    """The places of spine-degeneration-report.json: discs and vertebrae from the lowest up, then the whole spine."""
    spine, canal = code("structures", "spine"), code("structures", "canal")
    for level in report["levels"]:
        findings = tuple(_finding(name, grade, level["level"]) for name, grade in level["grades"].items())
        structure, site = structure_code(level["disc_label"]), code("levels", level["level"])
        yield Place(level["level"], site, structure, level["disc_label"], level["measurements"], findings)
    for vertebra in report["vertebrae"]:
        structure = structure_code(vertebra["label"])
        label = vertebra["label"] + (anatomy.PARTIAL_OFFSET if vertebra["partial"] else 0)
        yield Place(vertebra["name"], structure, structure, label, vertebra["measurements"])
    yield Place("canal", canal, canal, anatomy.CANAL_LABEL, report["canal"])
    yield Place("alignment", spine, spine, None, report["alignment"])
    for level in report["muscle"].get("levels", ()):  # its Goutallier grades have no code here
        yield Place(f"muscle {level['level']}", code("levels", level["level"]), spine, None, level["measurements"])
    yield Place("degeneration", spine, spine, None, _degeneration(report["degeneration"]["accelerated"]))
    numbering = report["numbering"]
    certain = {"value": numbering["probability"], "unit": "1", "reference": f"numbered by: {numbering['method']}"}
    yield Place("numbering", spine, spine, None, {"numbering_prob": certain}, notes=_doubts(report))
    yield Place("quality", spine, spine, None, {}, notes=(report["provenance"]["intended_use"], *_flags(report)))


def notes(report: Mapping[str, Any]) -> tuple[str, ...]:
    """What must go with every copy of the results: what they are for, doubts about the levels, flags of the case."""
    return (report["provenance"]["intended_use"], *_doubts(report), *_flags(report))


def _doubts(report: Mapping[str, Any]) -> tuple[str, ...]:
    doubt = report["numbering"]["doubt"]
    return () if doubt == "none" else (doubt,)


def _flags(report: Mapping[str, Any]) -> tuple[str, ...]:
    """Flags of the case as sentences: some are names, which the texts of the pages spell out."""
    sentences = load_schema(TEXTS)["names"]["flags"]
    return tuple(sentences.get(flag, flag) for flag in report["quality"]["flags"])


def _degeneration(accelerated: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Disc age and likelihood as measurement objects."""
    found = {
        "disc_age_years": (accelerated["disc_age_years"], "a"),
        "accelerated_degeneration_prob": (accelerated["likelihood"], "1"),
    }
    return {
        name: value if isinstance(value, Mapping) else {"value": value, "unit": unit}
        for name, (value, unit) in found.items()
    }


def _finding(name: str, grade: Mapping[str, Any], level: str) -> Finding:
    """One grade object of the report.

    Grades of the neck were never checked on patients, and a record system has no place for that: it gets none. Of
    a Modic change only its presence is passed on: the image does not tell its type (see spine.grade.evidence).
    """
    if MISSING in grade:
        return Finding(name, None, missing=grade[MISSING])
    if level.startswith("C"):
        return Finding(name, None, missing=UNPROVEN)
    answer, probabilities = grade["grade"], grade["probabilities"]
    if name == "pfirrmann":
        return Finding(name, answer, probabilities[answer - FIRST_PFIRRMANN] if probabilities else None)
    if name == "modic":
        return Finding(name, answer > 0, round(1.0 - probabilities[0], 4) if probabilities else None)
    return Finding(name, bool(answer), probabilities[0] if probabilities else None)


def number(measurement: Mapping[str, Any], key: str) -> float | None:
    """`value`, `z` or `percentile` of a measurement object; None where it is absent or not measurable."""
    value = measurement.get(key)
    return None if value is None or isinstance(value, Mapping) else float(value)
