"""The film's page of the PDF: the picture with its landmarks, and the tables. Words come from xray_view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from spine.report.digest import Document
from spine.report.figures import halo_text, jpeg
from spine.report.sheet import (
    ACCENT,
    ALERT,
    INK,
    MARGIN,
    MM,
    PALE,
    RULE,
    SOFT,
    WIDTH,
    Sheet,
    height_of,
    marked_up,
    paragraph,
    printable,
)
from spine.report.words import Words
from spine.report.xray_view import ABSENT, FilmCell, FilmPage, FilmPicture, FilmTable, film_page

PLATE, SPUR, POINT = "#FFD23F", "#FF4B3E", "#56B4E9"
LOWEST, HIGHEST, WIDEST = 62 * MM, 118 * MM, 105 * MM  # of the picture
GAP = 4.0  # between the parts below it
BESIDE = 6 * MM  # between the picture and the table on its right
ROW_SIZE, BESIDE_SIZE, NOTE_SIZE = 7.2, 5.6, 6.7
NAME_COLUMN = 15 * MM


def draw_film_page(sheet: Sheet, report: Document, picture: FilmPicture, words: Words) -> None:
    """A page of its own for the film; the picture is as large as the rest leaves room for."""
    page = film_page(report, words)
    sheet.new_page()
    sheet.flow(paragraph(words.say("xray.title"), 15, ACCENT, bold=True), 4)
    for line in page.lines:
        sheet.flow(paragraph(line, 7.6), 1.5)
    if page.reason:
        sheet.flow(paragraph(page.reason, 8.5, ALERT, bold=True), 3)
    below = list(_below(page, words))
    room = sheet.room() - sum(height_of(part) + GAP for part in below) - 2 * GAP
    sheet.y -= 2
    _picture_and_side(sheet, page, picture, words, float(np.clip(room, LOWEST, HIGHEST)))
    for part in below:
        sheet.flow(part, GAP)


def _below(page: FilmPage, words: Words) -> Iterator[Any]:
    """Everything under the picture, from the top down."""
    for table in page.tables[:2]:
        yield paragraph(table.title, 9.5, ACCENT, bold=True)
        yield _table(table, WIDTH)
    if page.adjacent:
        yield paragraph(words.say("xray.adjacent"), 9.5, ACCENT, bold=True)
    for text in page.adjacent:
        yield paragraph(text, NOTE_SIZE)
    for note in page.notes[1:]:
        yield paragraph(note, NOTE_SIZE, SOFT)


def _picture_and_side(sheet: Sheet, page: FilmPage, picture: FilmPicture, words: Words, height: float) -> None:
    """The picture on the left, alignment, caption and first note on the right of it."""
    high = min(height, WIDEST / picture.aspect)
    wide = high * picture.aspect
    x, room = MARGIN + wide + BESIDE, WIDTH - wide - BESIDE
    parts: list[Any] = []
    if len(page.tables) > 2:
        parts = [paragraph(page.tables[2].title, 9.5, ACCENT, bold=True), _table(page.tables[2], room)]
    parts += [paragraph(text, NOTE_SIZE, SOFT) for text in (page.picture, *page.notes[:1]) if text]
    tallest = max(high, sum(height_of(part, room) + 5 for part in parts))

    def draw(top: float) -> None:
        _draw_film(sheet, (MARGIN, top - high, wide, high), picture)
        y = top
        for part in parts:
            y -= height_of(part, room)
            part.drawOn(sheet.canvas, x, y)
            y -= 5

    sheet.block(tallest, draw, 6)


def _draw_film(sheet: Sheet, box: tuple[float, float, float, float], picture: FilmPicture) -> None:
    x, y, wide, high = box
    canvas = sheet.canvas
    canvas.drawImage(jpeg(picture.grey), x, y, wide, high)
    canvas.setLineCap(1)
    for color, lines, thick in ((PLATE, picture.plates, 0.9), (SPUR, picture.spurs, 1.3)):
        canvas.setStrokeColor(color)
        canvas.setLineWidth(thick)
        for x1, y1, x2, y2 in lines:
            canvas.line(x + wide * x1, y + high * (1 - y1), x + wide * x2, y + high * (1 - y2))
    canvas.setFillColor(PLATE)
    for x1, y1, x2, y2 in picture.plates:
        for px, py in ((x1, y1), (x2, y2)):
            canvas.circle(x + wide * px, y + high * (1 - py), 1.0, stroke=0, fill=1)
    canvas.setFillColor(POINT)
    for px, py in picture.points:
        canvas.circle(x + wide * px, y + high * (1 - py), 1.3, stroke=0, fill=1)
    closest = min(np.diff(sorted(name.y for name in picture.names)), default=1.0) * high
    for name in picture.names:
        size = float(np.clip(0.5 * closest, 4.5, 7.5))
        halo_text(sheet, x + wide * name.x, y + high * (1 - name.y), name.text, size)


def _table(table: FilmTable, width: float) -> Any:
    from reportlab.platypus import Table

    header = [paragraph(text, 5.8, "#FFFFFF", bold=True) for text in table.header]
    columns = len(table.header)
    rows = [[_cell(cell, number == 0, columns > 2) for number, cell in enumerate(row)] for row in table.rows]
    first = NAME_COLUMN if columns > 2 else 0.62 * width
    widths = [first, *[(width - first) / (columns - 1)] * (columns - 1)]
    return Table([header, *rows], colWidths=widths, repeatRows=1, style=_style())


def _cell(cell: FilmCell, first: bool, stacked: bool) -> Any:
    from xml.sax.saxutils import escape

    color = ALERT if cell.marked else SOFT if cell.text == ABSENT else INK
    text = escape(printable(cell.text))
    beside = f'<font size="{BESIDE_SIZE}" color="{SOFT}">{escape(printable(cell.beside))}</font>' if cell.beside else ""
    return marked_up(f"{text}{'<br/>' if stacked else ' &nbsp; '}{beside}" if beside else text, ROW_SIZE, color, first)


def _style() -> Sequence[tuple[Any, ...]]:
    return [
        ("BACKGROUND", (0, 0), (-1, 0), ACCENT),
        ("ROWBACKGROUNDS", (0, 1), (-1, -1), ["#FFFFFF", PALE]),
        ("LINEBELOW", (0, 1), (-1, -1), 0.3, RULE),
        ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
        ("LEFTPADDING", (0, 0), (-1, -1), 3),
        ("RIGHTPADDING", (0, 0), (-1, -1), 2),
        ("TOPPADDING", (0, 0), (-1, -1), 1.6),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1.6),
    ]
