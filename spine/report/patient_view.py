"""Report document -> the plain-language page for the patient (about B1) in one language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spine.report import digest, names
from spine.report.clinical_view import Option
from spine.report.digest import Document
from spine.report.outcome_view import frequencies
from spine.report.values import is_missing
from spine.report.words import Words

MAX_OPTIONS = 2  # pictograms on the patient's page; the physician's pages show all


@dataclass(frozen=True)
class Section:
    """A heading with its paragraphs, bullet points and pictograms."""

    heading: str
    paragraphs: tuple[str, ...]
    bullets: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    closing: tuple[str, ...] = ()


def _looked(report: Document, words: Words) -> Section:
    heading = words.say("patient.looked_heading")
    levels = [level["level"] for level in report["levels"]]
    if not levels:
        return Section(heading, (words.say("patient.looked_none"),))
    region = report["input"]["region"]
    shown = words.say("patient.region_unknown") if is_missing(region) else words.name("patient.regions", region)
    key = "patient.looked" if len(levels) > 1 else "patient.looked_one"
    upper, lower = levels[0].split("/")
    return Section(
        heading,
        (
            words.say(key, region=shown, count=len(levels), lowest=levels[0], highest=levels[-1])
            + " "
            + words.say("patient.disc", level=levels[0], upper=upper, lower=lower)
            + " "
            + words.say("patient.letters"),
        ),
    )


def _graded_bullets(report: Document, words: Words) -> list[str]:
    bullets = []
    graded = [level for level in report["levels"] if digest.grade_of(level, "pfirrmann") is not None]
    worn = digest.levels_with(report, "pfirrmann", names.WORN_PFIRRMANN)
    if worn:
        bullets.append(words.say("patient.worn", levels=words.listing(worn)))
    elif graded:
        bullets.append(words.say("patient.not_worn"))
    flags = [name for name in names.GRADES[1:] if digest.levels_with(report, name)]
    bullets += [
        words.say(f"patient.flags.{name}", levels=words.listing(digest.levels_with(report, name))) for name in flags
    ]
    complete = all(digest.grade_of(level, name) is not None for level in report["levels"] for name in names.GRADES)
    if not flags and complete:
        bullets.append(words.say("patient.no_flags"))
    return bullets


def _size_bullets(report: Document, words: Words) -> list[str]:
    keys = {"disc_height_index": "patient.thinnest", "canal_ap_diameter_mm": "patient.narrowest"}
    sizes = [
        words.say(keys[found.name], level=found.level, value=words.number(found.value))
        for found in digest.extremes(report)
        if found.name in keys
    ]
    return [" ".join([*sizes, words.say("patient.facts_note")])] if sizes else []


def _found(report: Document, words: Words) -> Section:
    graded, sizes = _graded_bullets(report, words), _size_bullets(report, words)
    opening = [words.say("patient.doubt")] if digest.is_numbering_doubtful(report) else []
    opening.append(words.say("patient.found_lead" if graded or sizes else "patient.nothing_judged"))
    closing = [words.say("patient.common")]
    if any(level["level"].startswith("L") for level in report["levels"]):
        closing.append(words.say("patient.common_lumbar"))
    return Section(words.say("patient.found_heading"), tuple(opening), (*graded, *sizes), closing=(" ".join(closing),))


def _not_told(report: Document, words: Words) -> Section:
    unjudged = [
        words.name("patient.grades", name)
        for name in names.GRADES
        if any(digest.grade_of(level, name) is None for level in report["levels"])
    ]
    text = (
        words.say("patient.missing", items=words.listing(list(dict.fromkeys(unjudged))))
        if unjudged
        else words.say("patient.missing_none")
    )
    return Section(words.say("patient.missing_heading"), (text,))


def may_inform_patients(option: Document) -> bool:
    """Whether the equation was fitted on patients of this hospital.

    Patients are not given forecasts of models that were not validated on the hospital's own data (Dutch guideline on
    cervical radicular syndrome, module on prediction models); physicians see them, with that caveat.
    """
    evidence = option.get("evidence")
    return isinstance(evidence, Mapping) and str(evidence.get("origin", "")).startswith("local")


def _option(option: Document, words: Words) -> Option | None:
    found = frequencies(option)
    if found is None or not may_inform_patients(option):
        return None
    months = option["horizon_months"]
    horizon = "" if is_missing(months) else words.say("patient.horizon", months=words.number(months))
    line = words.say(
        "patient.option",
        n=found[0],
        outcome=words.name("patient.outcomes", option["outcome"]),
        horizon=horizon,
        low=found[1],
        high=found[2],
    )
    return Option(words.name("patient.treatments", option["treatment"]), (line,), *found)


def _options(report: Document, words: Words) -> Section:
    heading = words.say("patient.options_heading")
    shown = [option for option in (_option(o, words) for o in report["advice"]["options"]) if option is not None]
    if not shown:
        held_back = any(not option["abstained"] for option in report["advice"]["options"])
        return Section(heading, (words.say("patient.options_held" if held_back else "patient.options_none"),))
    closing = words.say("patient.options_note")
    if len(shown) > MAX_OPTIONS:
        closing += " " + words.say("patient.options_more", count=len(shown) - MAX_OPTIONS)
    return Section(
        heading, (words.say("patient.options_lead"),), options=tuple(shown[:MAX_OPTIONS]), closing=(closing,)
    )


def patient_sections(report: Document, words: Words) -> list[Section]:
    """Sections of the patient's page, top to bottom."""
    sections = [_looked(report, words)]
    if report["levels"]:
        sections += [_found(report, words), _not_told(report, words), _options(report, words)]
        sections.append(Section(words.say("patient.ask_heading"), (), tuple(words.lines("patient.ask"))))
    sections.append(Section(words.say("patient.urgent_heading"), (), tuple(words.lines("patient.urgent"))))
    return sections
