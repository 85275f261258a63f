"""The patient's page of the PDF: sections and pictograms. Words come from patient_view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spine.report import figures
from spine.report.clinical_view import Option
from spine.report.digest import Document
from spine.report.patient_view import Section, patient_sections
from spine.report.sheet import ACCENT, INK, MARGIN, MM, NOTICE, WIDTH, Sheet, height_of, paragraph
from spine.report.words import Words

HALF = (WIDTH - 6 * MM) / 2


def _section_parts(section: Section, scale: float) -> list[Any]:
    body: dict[str, Any] = {"size": 9.2 * scale, "leading": 12.9 * scale}
    parts = [paragraph(section.heading, 10.8 * scale, ACCENT, bold=True, spaceBefore=7 * scale)]
    parts += [paragraph(text, **body) for text in section.paragraphs]
    parts += [paragraph(f"• {text}", **body, leftIndent=12, firstLineIndent=-9) for text in section.bullets]
    return parts


def _patient_height(sections: Sequence[Section], scale: float) -> float:
    total = 0.0
    for section in sections:
        total += sum(height_of(part) + 2 for part in _section_parts(section, scale)) + 8 * scale
        total += sum(height_of(paragraph(text, 9.2 * scale, leading=12.9 * scale)) for text in section.closing)
        if section.options:
            total += figures.PEOPLE_SIZE[1] + 60 * scale
    return total


def draw_patient_page(sheet: Sheet, report: Document, words: Words) -> None:
    """One page where it can be: the letters shrink a little before a second page begins."""
    sheet.new_page()
    sheet.flow(paragraph(words.say("patient.title"), 17, ACCENT, bold=True), 6)
    sheet.boxed([paragraph(words.say("patient.lead"), 9.4, INK, leading=13.2)], NOTICE, 4)
    sections = patient_sections(report, words)
    scale = next((s for s in (1.1, 1.0, 0.92, 0.85) if _patient_height(sections, s) < sheet.room()), 0.85)
    for section in sections:
        sheet.y -= 8 * scale
        heading, *parts = _section_parts(section, scale)
        sheet.keep(height_of(heading) + 30)
        for part in (heading, *parts):
            sheet.flow(part, 2)
        if section.options:
            _patient_options(sheet, section.options, scale)
        for text in section.closing:
            sheet.flow(paragraph(text, 9.2 * scale, leading=12.9 * scale), 0)


def _patient_options(sheet: Sheet, options: Sequence[Option], scale: float) -> None:
    titles = [paragraph(option.title, 9.2 * scale, bold=True) for option in options]
    texts = [paragraph(option.lines[0], 9.2 * scale, leading=12.5 * scale) for option in options]
    title_high = max(height_of(title, HALF) for title in titles)
    text_high = max(height_of(text, HALF) for text in texts)

    def draw(top: float) -> None:
        for number, option in enumerate(options):
            x = MARGIN + number * (HALF + 6 * MM)
            titles[number].drawOn(sheet.canvas, x, top - height_of(titles[number], HALF))
            figures.draw_people(sheet, x, top - title_high - 2, (option.expected or 0,), (figures.SURE,))
            below = top - title_high - figures.PEOPLE_SIZE[1] - 4
            texts[number].drawOn(sheet.canvas, x, below - height_of(texts[number], HALF))

    sheet.block(title_high + figures.PEOPLE_SIZE[1] + text_high + 6, draw, 3)
