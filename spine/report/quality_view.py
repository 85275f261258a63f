"""Report document -> quality flags and confidence in words, and the warning where the images are doubtful."""

from __future__ import annotations

import re
from collections.abc import Mapping

from spine.report.digest import Document
from spine.report.words import Words
from spine.warned import warns

CHECK_PATIENT = "Check the patient: "  # how the caveats begin that stand on the first page
LEFT_OUT = ": given but not used: "  # in the flag of a series beside the segmented one
FEATURE = re.compile(r"\((\w+) (?=-?[\d.]+, (?:least|most) )")  # '(slice_correlation 0.65, least 0.76)'


def _without_series(flag: str, report: Document) -> str:
    """`flag` without the name of the series that was segmented: the study line names it."""
    return flag.removeprefix(f"{report['input']['series'][0]['slug']}: ")


def image_doubts(report: Document) -> list[str]:
    """Flags of the document that say that the images or all outlines are doubtful, in its order."""
    return [flag for flag in (_without_series(str(flag), report) for flag in report["quality"]["flags"]) if warns(flag)]


def doubt_lines(report: Document, words: Words) -> list[str]:
    """The warnings at the head of the physician's page.

    Doubtful images, then series that were given and left out, then doubts whose images or record they are. Empty where
    there is no such doubt.
    """
    doubts = [_in_words(flag, words).rstrip(".") for flag in image_doubts(report)]
    lines = [words.say("report.doubtful", reasons="; ".join(doubts))] if doubts else []
    lines += [_sentence(flag, report, words) for flag in map(str, report["quality"]["flags"]) if LEFT_OUT in flag]
    return lines + [words.told(text) for text in report["advice"]["caveats"] if text.startswith(CHECK_PATIENT)]


def _in_words(flag: str, words: Words) -> str:
    known: Mapping[str, str] = words.texts["names"]["flags"]
    return known.get(flag) or words.told(FEATURE.sub(lambda match: f"({words.name('names.image', match[1])} ", flag))


def _sentence(flag: str, report: Document, words: Words) -> str:
    """`flag` as a sentence: a capital first, a full stop last."""
    text = _in_words(_without_series(flag, report), words)
    if not text.endswith((".", "!", "?", "…")):
        text += "."
    return text[:1].upper() + text[1:]


def quality_lines(report: Document, words: Words) -> list[str]:
    """Quality flags in words and how far each structure's outline can be trusted."""
    quality = report["quality"]
    lines = [_sentence(str(flag), report, words) for flag in quality["flags"]] or [words.say("report.flags_none")]
    items = [
        f"{words.name('names.structures', name.upper())} {words.number(value, 2)}"
        for name, value in quality["confidence"].items()
    ]
    if items:
        key = "report.confidence" if quality.get("confidence_calibrated") else "report.confidence_raw"
        lines.append(words.say(key, items=", ".join(items)))
    return lines
