"""Report document -> treatment options, accelerated degeneration, what is missing and methods in words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from spine.report import digest, names
from spine.report.clinical_view import Option
from spine.report.digest import Document
from spine.report.values import is_missing
from spine.report.words import Words, shortened

EVIDENCE_TAG = re.compile(r" \[(?:V|M-hi|M-med|M-lo|synthesis, untagged)\]")  # of EVIDENCE's sources: for developers
LEVEL_NAME = re.compile(r"\b[CTLS]\d{1,2}(?:/[CTLS]\d{1,2})?\b")
NORM_VALUES = re.compile(
    r"^.*?norm [\d.-]+(?: \+- [\d.]+)? \[[^\]]*\], "
)  # differs by level; the source is what counts
MAX_REFERENCES = 8
LONGEST_MODEL = 120  # characters
MAX_PER_REASON = 40  # names listed for one reason


def of_100(probability: float) -> int:
    """Natural frequency: `probability` as a whole number of 100 people."""
    return round(100 * min(max(probability, 0.0), 1.0))


def frequencies(option: Document) -> tuple[int, int, int] | None:
    """(expected, low, high) of 100; None when the option abstains."""
    if option["abstained"]:
        return None
    low, high = (of_100(bound) for bound in option["interval_90"])
    return of_100(option["probability"]), low, high


def _option(option: Document, words: Words) -> Option:
    title = words.say(
        "report.option_title",
        treatment=words.name("names.treatments", option["treatment"]),
        outcome=words.name("names.outcomes", option["outcome"]),
    )
    found = frequencies(option)
    if found is None:
        return Option(title, (words.say("report.option_abstained", reason=option["reason"]),), None)
    expected, low, high = found
    horizon = option["horizon_months"]
    months = "" if is_missing(horizon) else words.say("report.option_horizon", months=words.number(horizon))
    lines = [words.say("report.option_line", n=expected, low=low, high=high, horizon=months), _model(option, words)]
    published = option.get("published_equation")
    if isinstance(published, Mapping):
        lines.append(_published(published, words))
    if option["missing"]:
        lines.append(
            words.say(
                "report.option_missing",
                missing=", ".join(_plain("clinical", name, words) for name in option["missing"]),
            )
        )
    if option.get("warnings"):
        lines.append(
            words.say("report.option_warning", warnings="; ".join(words.told(str(text)) for text in option["warnings"]))
        )
    return Option(title, tuple(lines), expected, low, high)


def _published(found: Mapping[str, Any], words: Words) -> str:
    """The answer of the published equation, beside that of one fitted on a local cohort."""
    low, high = (of_100(bound) for bound in found["interval_90"])
    return words.say(
        "report.option_published",
        n=of_100(found["probability"]),
        low=low,
        high=high,
        months=words.number(found["horizon_months"]),
        model=shortened(_plain("models", found["model"], words), LONGEST_MODEL),
    )


def _plain(group: str, key: object, words: Words) -> str:
    """Words for an item of the record or an equation that is known by the name of a variable."""
    return str(words.texts["names"][group].get(key, str(key).replace("_", " ")))


def _model(option: Document, words: Words) -> str:
    """Name of the equation, the size of its cohort and its published performance, as far as they are stated."""
    name = "n.m." if is_missing(option["model"]) else shortened(_plain("models", option["model"], words), LONGEST_MODEL)
    line = words.say("report.option_model", model=name)
    evidence = option.get("evidence")
    if isinstance(evidence, Mapping) and "n" in evidence and "performance" in evidence:
        performance = words.told(EVIDENCE_TAG.sub("", str(evidence["performance"])))
        line += " " + words.say("report.option_evidence", n=evidence["n"], performance=performance)
    return line


def treatment_options(report: Document, words: Words) -> list[Option]:
    """All options of the document in its order."""
    return [_option(option, words) for option in report["advice"]["options"]]


def no_option_line(report: Document, words: Words) -> str:
    """Why there is no option at all."""
    indication = report["advice"]["indication"]
    reason = words.say("report.options_reason_none")
    return words.say("report.options_none", reason=indication["not_measurable"] if is_missing(indication) else reason)


def accelerated_lines(report: Document, words: Words) -> list[str]:
    """Likelihood of accelerated degeneration and its baseline, disc age, change since an earlier study; or why not."""
    found = report["degeneration"]["accelerated"]
    changes = change_lines(report, words)
    if found["abstained"]:
        return [words.say("report.accelerated_none", reason=found["reason"]), *changes]
    low, high = (words.number(bound, 2) for bound in found["interval_90"])
    lines = [words.say("report.accelerated_line", likelihood=words.number(found["likelihood"], 2), low=low, high=high)]
    baseline, threshold = (found.get(name, {"not_measurable": ""}) for name in ("without_images", "threshold_years"))
    if not is_missing(baseline) and not is_missing(threshold):
        shown = words.number(baseline, 2)
        lines.append(words.say("report.accelerated_baseline", baseline=shown, years=words.number(threshold)))
    if not is_missing(found["disc_age_years"]) and not is_missing(found["disc_age_interval_90"]):
        low, high = (words.number(bound) for bound in found["disc_age_interval_90"])
        lines.append(words.say("report.accelerated_age", age=words.number(found["disc_age_years"]), low=low, high=high))
    return [*lines, *changes]


def change_lines(report: Document, words: Words) -> list[str]:
    """What has changed since the earlier study beyond measurement error, or why that is not known; else nothing."""
    found = report["degeneration"].get("progression")
    if found is None:
        return []
    if is_missing(found):
        return [words.say("report.change_none", reason=found["not_measurable"])]
    years = found["interval_years"]
    time = (
        words.say("report.change_no_time")
        if is_missing(years)
        else words.say("report.change_time", years=words.number(years, 1))
    )
    rows = found["levels"]
    items = [text for row in rows for text in _changes(row, words)]
    heights = sum(not is_missing(row["height"]) for row in rows)
    grades = sum(not is_missing(row["grades"]["pfirrmann"]) for row in rows)
    counts = {"heights": heights, "grades": grades}
    lines = [words.say("report.change_line", time=time, items="; ".join(items) or words.say("report.change_nothing"))]
    lines.append(words.say("report.change_compared", **counts))
    bodies = found["same_person"]
    if not is_missing(bodies):  # that it could not be checked stands on the first page
        shown = {name: words.number(bodies[f"{name}_change_mm"], 1, signed=True) for name in ("depth", "height")}
        lines.append(words.say("report.change_person", count=bodies["bodies"], **shown))
    if "in doubt:" in found["same_levels"]:
        lines.append(words.say("report.change_doubt"))
    return lines


def _changes(row: Mapping[str, Any], words: Words) -> list[str]:
    """Height of one level where it changed beyond measurement error, and its Pfirrmann grade where it rose."""
    texts, height, grade = [], row["height"], row["grades"]["pfirrmann"]
    if not is_missing(height) and height["beyond_measurement_error"]:
        low, high = (words.number(bound, 1, signed=True) for bound in sorted(-b for b in height["interval_90_mm"]))
        shown = {"change": words.number(-height["loss_mm"], 1, signed=True), "low": low, "high": high}
        texts.append(words.say("report.change_height", level=row["level"], **shown))
    if not is_missing(grade) and grade["increase"] > 0:
        shown = {"before": grade["before"], "now": grade["now"]}
        probability = words.number(grade["probability_of_increase"], 2)
        texts.append(words.say("report.change_grade", level=row["level"], probability=probability, **shown))
    return texts


def _display(name: str, words: Words) -> str:
    """Name of a grade or a measurement in this language."""
    group = "names.grades" if name in names.GRADES else "names.measurements"
    return words.name(group, name)


def _places(places: Sequence[str], everywhere: Sequence[Sequence[str]], words: Words) -> str:
    """' (L5/S1, L4/L5)', ' (all but L1/L2)', or nothing when it holds everywhere or has no place."""
    whole = next((group for group in everywhere if places and set(places) <= set(group)), [])
    others = [place for place in whole if place not in places]
    if not others:
        return ""
    if len(others) < len(places):
        return f" ({words.say('report.missing_but', places=', '.join(others))})"
    return f" ({', '.join(places)})"


def _without_own_level(reason: str, found: Mapping[str, Sequence[str]]) -> str:
    """`reason` with the name of a level or vertebra left out where it holds for just that one."""
    places = {place for listed in found.values() for place in listed}
    mentions = set(LEVEL_NAME.findall(reason))
    if not places or len(mentions) != 1:
        return reason
    mention = mentions.pop()
    own = all(mention == place or mention in place.split("/") for place in places)
    return digest.impersonal(reason, mention) if own else reason


def _merged(missing: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, dict[str, list[str]]]:
    """Reasons that are the same but for their own level become one; a reason that stays alone keeps its words."""
    general = {reason: _without_own_level(reason, found) for reason, found in missing.items()}
    shared = Counter(general.values())
    merged: dict[str, dict[str, list[str]]] = {}
    for reason, found in missing.items():
        entry = merged.setdefault(general[reason] if shared[general[reason]] > 1 else reason, {})
        for name, places in found.items():
            entry.setdefault(name, []).extend(places)
    return merged


def missing_lines(report: Document, words: Words) -> list[tuple[str, str]]:
    """(reason, what it holds for), commonest reason first; names that miss at the same places stand together."""
    everywhere = [
        [level["level"] for level in report["levels"]],
        [vertebra["name"] for vertebra in report["vertebrae"]],
    ]
    lines = []
    for reason, found in _merged(digest.missing_by_reason(report)).items():
        together: dict[str, list[str]] = {}
        for name, places in list(found.items())[:MAX_PER_REASON]:
            together.setdefault(_places(places, everywhere, words), []).append(_display(name, words))
        items = [", ".join(listed) + where for where, listed in together.items()]
        if len(found) > MAX_PER_REASON:
            items.append(words.say("report.and_more", count=len(found) - MAX_PER_REASON))
        lines.append((words.told(reason), "; ".join(items)))
    return lines


def method_lines(report: Document, words: Words) -> list[str]:
    """How the numbers came about."""
    software, contrast = report["software"], report["input"]["contrast"]
    models = [f"{name} {digest_[:16]}…" for name, digest_ in software["models"].items()]
    lines = [
        words.say(
            "report.method_software",
            name=software["name"],
            version=software["version"],
            format=report["version"],
            runner=software["runner"],
            seconds=words.number(sum(software["seconds"].values()), 1),
            memory=words.number(software["peak_memory_mb"]),
        ),
        words.say("report.method_models", models=", ".join(models))
        if models
        else words.say("report.method_models_none"),
        words.say("report.method_image", digest=report["provenance"]["image_sha256"]),
    ]
    if not is_missing(contrast):
        lines.append(words.say("report.method_contrast", rule=contrast["rule"]))
    references = list(dict.fromkeys(NORM_VALUES.sub("", text) for text in report["provenance"]["references"]))
    shown = references[:MAX_REFERENCES]
    if len(references) > len(shown):
        shown.append(words.say("report.and_more", count=len(references) - len(shown)))
    lines.append(
        words.say("report.method_references", references=" | ".join(shown))
        if references
        else words.say("report.method_references_none")
    )
    return lines
