"""Report document -> the plain-language page for the patient (about B1) in one language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spine.report import digest, names
from spine.report.clinical_view import Option
from spine.report.digest import Document
from spine.report.muscle_view import patient_lines
from spine.report.outcome_view import frequencies
from spine.report.quality_view import image_doubts
from spine.report.values import is_missing
from spine.report.words import Words
from spine.report.xray_view import NO_FILM, film_sign_levels

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
            *_film(report, words),
        ),
    )


def _film(report: Document, words: Words) -> tuple[str, ...]:
    """A word on the radiograph, where one was given."""
    if is_missing(report["xray"]):
        given = report["xray"]["not_measurable"] != NO_FILM
        return (words.say("patient.xray_none"),) if given else ()
    said = words.say("patient.xray", region=words.name("patient.regions", report["xray"]["region"]))
    worn = film_sign_levels(report)
    return (f"{said} {words.say('patient.xray_wear', levels=words.listing(worn))}" if worn else said,)


def _told(report: Document, name: str, key: str, levels: list[str], words: Words) -> str:
    """'A disc that bulges a little at L5/S1. Perhaps also at L4/L5.': the sure levels first."""
    sure = [level["level"] for level in report["levels"] if level["level"] in levels and digest.is_sure(level, name)]
    unsure = [level for level in levels if level not in sure]
    if not sure:
        text = words.say(key, levels=words.listing(unsure))
        return words.say("patient.perhaps", finding=text[:1].lower() + text[1:])
    text = words.say(key, levels=words.listing(sure))
    return f"{text} {words.say('patient.perhaps_also', levels=words.listing(unsure))}" if unsure else text


def _wear_bullet(report: Document, words: Words) -> list[str]:
    """Worn discs; where none is worn the levels that this holds for, unless every disc was judged."""
    worn = digest.levels_with(report, "pfirrmann", names.WORN_PFIRRMANN)
    if worn:
        return [_told(report, "pfirrmann", "patient.worn", worn, words)]
    judged = [level["level"] for level in report["levels"] if digest.grade_of(level, "pfirrmann") is not None]
    if len(judged) == len(report["levels"]):
        return [words.say("patient.not_worn")]
    return [words.say("patient.not_worn_at", levels=words.listing(judged))] if judged else []


def _slip_bullets(report: Document, words: Words) -> list[str]:
    """Marked slips by direction, and where the grade of the same level does not see them."""
    bullets, slips = [], digest.slipped(report)
    denied = {level["level"] for level in report["levels"] if digest.denies_slip(level)}
    for key, sign in (("patient.slip_forward", 1), ("patient.slip_backward", -1)):
        levels = [level for level, value in slips if value * sign > 0]
        if levels:
            text = words.say(key, levels=words.listing(levels), least=words.number(names.MARKED_SLIP_MM))
            if denied & set(levels):
                unseen = [level for level in levels if level in denied]
                text += " " + words.say("patient.slip_denied", levels=words.listing(unseen))
            bullets.append(text)
    return bullets


def _graded_bullets(report: Document, words: Words) -> list[str]:
    bullets, slipped = _wear_bullet(report, words), {level for level, _ in digest.slipped(report)}
    flags = {name: digest.levels_with(report, name) for name in names.GRADES[1:]}
    # a slip that was measured is told with its direction, not twice
    flags["spondylolisthesis"] = [level for level in flags["spondylolisthesis"] if level not in slipped]
    bullets += _slip_bullets(report, words)
    bullets += [_told(report, name, f"patient.flags.{name}", levels, words) for name, levels in flags.items() if levels]
    bullets += patient_lines(report, words)
    complete = all(digest.grade_of(level, name) is not None for level in report["levels"] for name in names.GRADES)
    if not any(flags.values()) and not slipped and complete:
        bullets.append(words.say("patient.no_flags"))
    return bullets


def _found(report: Document, words: Words) -> Section:
    found = _graded_bullets(report, words)
    opening = [words.say("patient.doubt")] if digest.is_numbering_doubtful(report) else []
    opening.append(words.say("patient.found_lead" if found else "patient.nothing_judged"))
    closing = [words.say("patient.common")]
    if any(level["level"].startswith("L") for level in report["levels"]):
        closing.append(words.say("patient.common_lumbar"))
    return Section(words.say("patient.found_heading"), tuple(opening), tuple(found), closing=(" ".join(closing),))


def _not_told(report: Document, words: Words) -> Section:
    unjudged = [
        words.name("patient.grades", name)
        for name in names.GRADES
        if any(digest.grade_of(level, name) is None for level in report["levels"])
    ]
    measured = all(
        digest.value_of(level, name) is not None for level in report["levels"] for name in names.KEY_MEASUREMENTS
    )
    text = (
        words.say("patient.missing", items=words.listing(list(dict.fromkeys(unjudged))))
        if unjudged
        else words.say("patient.missing_none" if measured else "patient.missing_sizes")
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
    if image_doubts(report):
        sections.insert(0, Section(words.say("patient.image_heading"), (words.say("patient.image_doubt"),)))
    if report["levels"]:
        sections += [_found(report, words), _not_told(report, words), _options(report, words)]
        sections.append(Section(words.say("patient.ask_heading"), (), tuple(words.lines("patient.ask"))))
    sections.append(Section(words.say("patient.urgent_heading"), (), tuple(words.lines("patient.urgent"))))
    return sections
