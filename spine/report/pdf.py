"""Report document and picture -> spine-report.pdf: the physician's pages, then one page for the patient a language."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

from spine.report import figures, names
from spine.report.clinical_view import (
    Cell,
    Option,
    Table,
    findings_table,
    numbering_line,
    study_lines,
    trend_panels,
)
from spine.report.digest import Document
from spine.report.further import NONE_FURTHER, FurtherPictures
from spine.report.muscle_page import draw_muscle
from spine.report.outcome_view import (
    accelerated_lines,
    method_lines,
    missing_lines,
    no_option_line,
    treatment_options,
)
from spine.report.patient_page import draw_patient_page
from spine.report.picture import Picture
from spine.report.quality_view import doubt_lines, quality_lines
from spine.report.sheet import (
    ACCENT,
    ALERT,
    FOOT,
    INK,
    LONGEST_LIST,
    LONGEST_PARAGRAPH,
    MARGIN,
    MM,
    NOTICE,
    PAGE,
    PALE,
    RULE,
    SOFT,
    WIDTH,
    Sheet,
    height_of,
    labelled,
    marked_up,
    paragraph,
    printable,
)
from spine.report.words import Words, read_words
from spine.report.xray_page import draw_film_page

PATIENT_LANGUAGES = ("en", "nl")
COLUMN_MM = (14, 18, 52, 18, 16, 18, 17, 15, 12)  # of the findings table: 180 in all
LOWEST_PICTURE, HIGHEST_PICTURE = 75 * MM, 128 * MM
AROUND = 78.0  # caption, legend, heading and gaps between the parts of the first page
HEADING = 24.0  # a heading and the gaps around it
FEWEST_REASONS, FEWEST_TIGHT = 4, 2  # are always explained, even if that takes a page more
SECOND_PAGE = 100 * MM  # with less room than this the second part begins on a page of its own
STRAGGLING = 0.3  # of a page: where the physician's last one holds less, its text is set tighter
SMALL, TINY = 7.6, 6.7
HALF = (WIDTH - 6 * MM) / 2


def _cell(cell: Cell, size: float) -> Any:
    text = escape(printable(cell.text, 300))
    codes = f"<super>{escape(' '.join(cell.codes))}</super>" if cell.codes else ""
    missing = cell.text == "n.m."
    if cell.marked:
        return marked_up((f"<b>{text}</b>" if cell.sure else text) + codes, size, ALERT)
    return marked_up(text + codes, size, SOFT if missing else INK)


def _findings(table: Table) -> Any:
    from reportlab.platypus import Table as PdfTable

    size = 7.0 if len(table.rows) <= 12 else 6.2
    pad = 2.4 if len(table.rows) <= 12 else 1.0
    header = [paragraph(text, 6.4, "#FFFFFF", bold=True) for text in table.header]
    rows = [header]
    for row in table.rows:
        rows.append([paragraph(row[0].text, size, INK, bold=True), *(_cell(cell, size) for cell in row[1:])])
    style = [
        ("BACKGROUND", (0, 0), (-1, 0), ACCENT),
        ("ROWBACKGROUNDS", (0, 1), (-1, -1), ["#FFFFFF", PALE]),
        ("LINEBELOW", (0, 1), (-1, -1), 0.3, RULE),
        ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
        ("LEFTPADDING", (0, 0), (-1, -1), 3),
        ("RIGHTPADDING", (0, 0), (-1, -1), 2),
        ("TOPPADDING", (0, 0), (-1, -1), pad),
        ("BOTTOMPADDING", (0, 0), (-1, -1), pad),
    ]
    return PdfTable(rows, colWidths=[mm * MM for mm in COLUMN_MM], repeatRows=1, style=style)


def _head(sheet: Sheet, report: Document, words: Words) -> None:
    use = [
        paragraph(words.say("report.use"), 11, INK, bold=True),
        paragraph(words.say("report.use_more"), SMALL, INK),
    ]
    sheet.boxed(use, NOTICE)
    sheet.flow(paragraph(words.say("report.title"), 15, ACCENT, bold=True), 3)
    for doubt in doubt_lines(report, words):
        sheet.flow(marked_up(escape(printable(doubt, LONGEST_LIST)), SMALL, ALERT, bold=True), 3)
    for label, text in study_lines(report, words):
        sheet.flow(labelled(label, text, SMALL), 1)
    sheet.y -= 5


def _first_page(sheet: Sheet, report: Document, picture: Picture, words: Words) -> None:
    _head(sheet, report, words)
    line, doubtful = numbering_line(report, words)
    numbering = labelled(words.say("report.numbering"), line, SMALL, color=ALERT if doubtful else INK)
    table = findings_table(report, words)
    rest: list[Any] = [numbering]
    if table.rows:
        notes = (marked_up(escape(printable(note, LONGEST_LIST)), TINY, SOFT) for note in table.notes)
        rest += [_findings(table), *notes]
    wanted = sheet.room() - sum(height_of(part) for part in rest) - AROUND
    height = min(max(wanted, LOWEST_PICTURE), HIGHEST_PICTURE)
    _, high = figures.picture_size(picture, height)
    sheet.block(high, lambda top: figures.draw_pictures(sheet, top, picture, height, words), 3)
    captions = [
        words.say("report.picture_overlay", slice=picture.slice_number, count=picture.slice_count),
        words.say("report.picture_plain"),
    ]
    caption_high = _caption_height(picture, height, captions)
    sheet.block(caption_high, lambda top: _captions(sheet, top, picture, height, captions), 5)
    if picture.structures:
        sheet.block(9, lambda top: figures.draw_legend(sheet, top, picture, words), 4)
    sheet.flow(numbering, 3)
    if table.rows:
        sheet.heading(words.say("report.findings"), gap=3)
        sheet.flow(rest[1], 3)
        for note in rest[2:]:
            sheet.flow(note, 1.5)


def _caption_height(picture: Picture, height: float, captions: Sequence[str]) -> float:
    column = figures.picture_size(picture, height)[0] + figures.GUTTER
    return max(height_of(paragraph(text, 6.2), column) for text in captions)


def _captions(sheet: Sheet, top: float, picture: Picture, height: float, captions: Sequence[str]) -> None:
    wide, _ = figures.picture_size(picture, height)
    left = MARGIN + (WIDTH - 2 * wide - figures.GUTTER - figures.BETWEEN) / 2
    column = wide + figures.GUTTER + figures.BETWEEN
    for x, text in zip((left, left + column), captions, strict=True):
        caption = paragraph(text, 6.2, SOFT)
        caption.drawOn(sheet.canvas, x, top - height_of(caption, wide + figures.GUTTER))


def _trends(sheet: Sheet, report: Document, words: Words) -> None:
    if not report["levels"]:
        return
    panels = trend_panels(report, words)
    if all(value is None for panel in panels for _, value, _ in panel.points):
        sheet.heading(words.say("report.trends"))
        sheet.flow(paragraph(words.say("report.no_trends"), SMALL), 4)
        return
    if sheet.tight:
        panels = [panel for panel in panels if any(value is not None for _, value, _ in panel.points)]
    _, height = figures.trend_height(len(report["levels"]), sheet.tight)
    sheet.heading(words.say("report.trends"), keep=height)
    sheet.block(height, lambda top: figures.draw_trends(sheet, top, panels, words), 2)
    with_norms = any(z is not None for panel in panels for _, _, z in panel.points)
    limit = words.number(names.UNUSUAL_Z)
    note = words.say("report.trends_note", low=f"\N{MINUS SIGN}{limit}", high=limit)
    sheet.flow(paragraph(note if with_norms else words.say("report.no_norms"), TINY, SOFT), 4)


def _option_block(sheet: Sheet, pair: Sequence[Option]) -> None:
    """Up to two options side by side: title, pictogram, sentences."""
    titles = [paragraph(option.title, SMALL, INK, bold=True) for option in pair]
    texts = [
        [paragraph(line, TINY, INK if option.expected is not None else SOFT) for line in option.lines]
        for option in pair
    ]
    title_high = max(height_of(title, HALF) for title in titles)
    people_high = figures.PEOPLE_SIZE[1] + 3 if any(option.expected is not None for option in pair) else 0
    text_high = max(sum(height_of(text, HALF) for text in block) for block in texts)

    def draw(top: float) -> None:
        for number, option in enumerate(pair):
            x = MARGIN + number * (HALF + 6 * MM)
            titles[number].drawOn(sheet.canvas, x, top - height_of(titles[number], HALF))
            y = top - title_high - 2
            if option.expected is not None:
                bounds = (option.low, option.expected, option.high)
                figures.draw_people(sheet, x, y, bounds, (figures.SURE, figures.LIKELY, figures.POSSIBLE))
                y -= people_high
            for text in texts[number]:
                y -= height_of(text, HALF)
                text.drawOn(sheet.canvas, x, y)

    sheet.block(title_high + 2 + people_high + text_high, draw, 5)


def _options(sheet: Sheet, report: Document, words: Words) -> None:
    sheet.heading(words.say("report.options"), keep=figures.PEOPLE_SIZE[1] + 70)
    options = treatment_options(report, words)
    if not options:
        sheet.flow(paragraph(no_option_line(report, words), SMALL), 2)
    for start in range(0, len(options), 2):
        _option_block(sheet, options[start : start + 2])
    if any(option.expected is not None for option in options):
        sheet.flow(paragraph(words.say("report.option_legend"), TINY, SOFT), 2)
    caveats = [f"• {words.told(caveat)}" for caveat in report["advice"]["caveats"]]
    for text in _run_on(caveats) if sheet.tight else caveats:
        sheet.flow(paragraph(text, TINY, SOFT, leftIndent=7, firstLineIndent=-7), 1)
    sheet.heading(words.say("report.accelerated"))
    for line in accelerated_lines(report, words):
        sheet.flow(paragraph(line, SMALL), 1)


def _run_on(texts: Sequence[str]) -> list[str]:
    """`texts` one after the other, in as few paragraphs as a paragraph's length allows."""
    joined: list[str] = []
    for text in texts:
        if joined and len(joined[-1]) + len(text) < LONGEST_PARAGRAPH:
            joined[-1] += f" {text}"
        else:
            joined.append(text)
    return joined


def _small_print(sheet: Sheet, report: Document, words: Words) -> None:
    set_out = _run_on if sheet.tight else list
    quality = [paragraph(line, TINY) for line in set_out(quality_lines(report, words))]
    methods = [paragraph(line, TINY, SOFT) for line in set_out(method_lines(report, words))]
    _missing(sheet, report, words, sum(height_of(line) + 1 for line in (*quality, *methods)) + 2 * HEADING)
    for name, lines in (("quality", quality), ("methods", methods)):
        sheet.heading(words.say(f"report.{name}"))
        for line in lines:
            sheet.flow(line, 1)


def _missing(sheet: Sheet, report: Document, words: Words, below: float) -> None:
    """The reasons, as many as leave `below` points on this page for what follows; the JSON report holds all."""
    lines = missing_lines(report, words)
    sheet.heading(words.say("report.missing"))
    if not lines:
        sheet.flow(paragraph(words.say("report.missing_none"), SMALL), 1)
        return
    count = len(lines)
    while (
        count > (FEWEST_TIGHT if sheet.tight else FEWEST_REASONS)
        and height_of(_reasons(lines, count, words)) > sheet.room() - below
    ):
        count -= 1
    sheet.flow(_reasons(lines, count, words), 1.5)


def _reasons(lines: Sequence[tuple[str, str]], count: int, words: Words) -> Any:
    """The first `count` reasons with what they hold for, one after the other, and how many more there are."""
    said = [
        f"<b>{escape(printable(reason))}:</b> {escape(printable(items, LONGEST_LIST))}."
        for reason, items in lines[:count]
    ]
    if count < len(lines):
        said.append(escape(words.say("report.missing_more", count=len(lines) - count)))
    return marked_up(" ".join(said), TINY)


def _physicians_pages(report: Document, picture: Picture, words: Words, further: FurtherPictures, tight: bool) -> Sheet:
    """The physician's pages but for that of the film."""
    sheet = Sheet(
        words.say("report.title"),
        words.say("report.footer", version=report["software"]["version"]),
        lambda number: words.say("report.page", number=number, count=""),
        tight,
    )
    _first_page(sheet, report, picture, words)
    sheet.keep(SECOND_PAGE)
    draw_muscle(sheet, report, further.axial, words)
    _trends(sheet, report, words)
    _options(sheet, report, words)
    _small_print(sheet, report, words)
    return sheet


def render_pdf(
    report: Document, picture: Picture, language: str = "en", further: FurtherPictures = NONE_FURTHER
) -> bytes:
    """A4 pages as bytes; equal arguments give equal bytes. `language` is that of the physician's pages.

    `further` holds the axial slice, which stands above the trends, and the radiograph, which has a page of its own.
    """
    words = read_words(language)
    sheet = _physicians_pages(report, picture, words, further, tight=False)
    if sheet.page > 2 and sheet.y > PAGE[1] - MARGIN - STRAGGLING * (PAGE[1] - MARGIN - FOOT):
        tight = _physicians_pages(report, picture, words, further, tight=True)
        sheet = tight if tight.page < sheet.page else sheet
    if further.film is not None:
        draw_film_page(sheet, report, further.film, words)
    for patient_language in PATIENT_LANGUAGES:
        draw_patient_page(sheet, report, read_words(patient_language))
    return sheet.finish()
