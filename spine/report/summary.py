"""A finished report document -> three lines for the terminal."""

from __future__ import annotations

from spine.report import digest, names
from spine.report.digest import Document
from spine.report.values import is_missing
from spine.report.words import MINUS, Words, read_words

MAX_REASONS = 3
DECIMALS = {"disc_height_index": 2, "canal_ap_diameter_mm": 1, "slip_mm": 1}


def _found_line(report: Document, words: Words) -> str:
    numbering, levels = report["numbering"], report["levels"]
    method = words.name("names.numbering", numbering["method"])
    if not levels:
        return words.say("summary.found_none", method=method)
    contrast, region = report["input"]["contrast"], report["input"]["region"]
    doubt = ""
    if digest.is_numbering_doubtful(report):
        stated = numbering["doubt"].rstrip(".")
        doubt = words.say("summary.doubt", doubt=words.say("summary.doubt_unstated") if stated == "none" else stated)
    return words.say(
        "summary.found" if len(levels) > 1 else "summary.found_one",
        count=len(levels),
        lowest=levels[0]["level"],
        highest=levels[-1]["level"],
        region=words.say("report.region_missing") if is_missing(region) else words.name("names.regions", region),
        contrast="contrast n.m." if is_missing(contrast) else contrast["guess"],
        method=method,
        probability=words.number(numbering["probability"], 2),
        doubt=doubt,
    )


def _findings_line(report: Document, words: Words) -> str:
    items = []
    worn = digest.proven(digest.levels_with(report, "pfirrmann", names.WORN_PFIRRMANN))
    if worn:
        shown = words.name("names.grades", "pfirrmann")
        items.append(words.say("summary.pfirrmann", scale=shown, least=names.WORN_PFIRRMANN, levels=", ".join(worn)))
    for name in names.GRADES[1:]:
        levels = digest.proven(digest.levels_with(report, name))
        if levels:
            shown = words.name("names.grades", name)
            items.append(words.say("summary.flag", name=shown, levels=", ".join(levels)))
    items += [
        words.say(f"summary.{x.name}", value=words.number(x.value, DECIMALS[x.name]), level=x.level)
        for x in digest.extremes(report)
    ]
    return words.say("summary.findings", items="; ".join(items) or words.say("summary.findings_none"))


def _missing_line(report: Document, words: Words) -> str:
    items = []
    for reason, found in list(digest.missing_by_reason(report).items())[:MAX_REASONS]:
        count = sum(max(len(places), 1) for places in found.values())
        key = "summary.missing_item" if count > 1 else "summary.missing_item_one"
        items.append(words.say(key, count=count, reason=reason))
    return words.say("summary.missing", items="; ".join(items)) if items else words.say("summary.missing_none")


def summary_lines(report: Document, language: str = "en") -> tuple[str, str, str]:
    """What was found with its numbering, the most important findings, and what was not measurable."""
    words = read_words(language)
    found, findings, missing = (
        line(report, words).replace(MINUS, "-") for line in (_found_line, _findings_line, _missing_line)
    )
    return found, findings, missing
