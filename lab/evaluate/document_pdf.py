"""The validation document as PDF, with the library that the report of a patient is made with."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from matplotlib import get_data_path
from reportlab.lib import colors
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Image, LongTable, Paragraph, SimpleDocTemplate, Spacer, TableStyle

from lab.evaluate.charts import PNG_PER_INCH
from lab.evaluate.contents import Block, Heading, Note, Pictures, Table

PAGE = landscape(A4)  # the widest table has ten columns
MARGIN = 14 * mm
WIDTH = PAGE[0] - 2 * MARGIN
PICTURE_MAX_HEIGHT = 70 * mm
FONT, BOLD = "DejaVuSans", "DejaVuSans-Bold"  # come with matplotlib; the built-in fonts know Latin letters only
LETTER, PADDING, WIDEST = 4.7, 8.0, 44  # points a letter of size 7, points a cell, letters of the widest column


def write_pdf(blocks: Sequence[Block], title: str, path: Path) -> None:
    """Set `blocks` on pages with numbers and write them to `path`; the same blocks give the same bytes."""
    for name in (FONT, BOLD):
        pdfmetrics.registerFont(TTFont(name, str(Path(get_data_path()) / "fonts" / "ttf" / f"{name}.ttf")))
    document = SimpleDocTemplate(
        str(path), pagesize=PAGE, title=title, invariant=1,
        leftMargin=MARGIN, rightMargin=MARGIN, topMargin=MARGIN, bottomMargin=MARGIN,
    )  # fmt: skip
    story = [part for block in blocks for part in _set(block)]
    document.build(story, onFirstPage=_number, onLaterPages=_number)


def _number(canvas: Any, document: Any) -> None:
    canvas.setFont(FONT, 7)
    canvas.drawRightString(PAGE[0] - MARGIN, MARGIN / 2, str(document.page))


def _style(size: float, **more: Any) -> ParagraphStyle:
    return ParagraphStyle("block", fontName=more.pop("font", FONT), fontSize=size, leading=1.3 * size, **more)


def _set(block: Block) -> list[Any]:
    """Flowables of one block."""
    if isinstance(block, Heading):
        size = {1: 16, 2: 12}.get(block.level, 10)
        return [Paragraph(escape(block.text), _style(size, font=BOLD, spaceBefore=8, spaceAfter=4, keepWithNext=1))]
    if isinstance(block, Note):
        banner = {"backColor": colors.HexColor("#fff4d6"), "borderPadding": 4} if block.style == "banner" else {}
        size = 8 if block.style == "note" else 9
        return [Paragraph(escape(block.text), _style(size, spaceBefore=2, spaceAfter=6, **banner))]
    return _table(block) if isinstance(block, Table) else _pictures(block)


def _table(block: Table) -> list[Any]:
    sides = [{} if words or not place else {"alignment": TA_RIGHT} for place, words in enumerate(block.words)]
    head = [Paragraph(escape(t), _style(7, font=BOLD, **side)) for t, side in zip(block.titles, sides, strict=True)]
    body = [
        [Paragraph(escape(cell), _style(7, **side)) for cell, side in zip(row, sides, strict=True)]
        for row in block.rows
    ]
    lines = TableStyle(
        [
            ("LINEBELOW", (0, 0), (-1, -1), 0.3, colors.HexColor("#dddddd")),
            ("BACKGROUND", (0, 0), (-1, 0), colors.HexColor("#f3f5f7")),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            *((side, (0, 0), (-1, -1), 2) for side in ("TOPPADDING", "BOTTOMPADDING", "LEFTPADDING", "RIGHTPADDING")),
        ]
    )
    return [LongTable([head, *body], _widths(block), repeatRows=1, style=lines, hAlign="LEFT"), Spacer(1, 5)]


def _widths(block: Table) -> list[float]:
    """Column widths by the longest text of each; where the page is too narrow, down to the longest word of each."""
    columns = [(title, *column) for title, *column in zip(block.titles, *block.rows, strict=True)]
    least = [LETTER * max(len(word) for text in column for word in (*text.split(), "")) + PADDING for column in columns]
    wanted = [LETTER * min(WIDEST, max(map(len, column))) + PADDING for column in columns]
    wanted = [max(pair) for pair in zip(least, wanted, strict=True)]
    spare = max(0.0, min(1.0, (WIDTH - sum(least)) / max(sum(wanted) - sum(least), 1e-9)))
    scale = min(1.0, WIDTH / sum(least))
    return [scale * (low + spare * (full - low)) for low, full in zip(least, wanted, strict=True)]


def _pictures(block: Pictures) -> list[Any]:
    """Four pictures a row, two where one of them is wide; captions below."""
    if not block.pictures:
        return []
    images = [Image(io.BytesIO(chart.png)) for chart, _, _ in block.pictures]
    wide = any(image.imageWidth > 1.6 * image.imageHeight for image in images)
    per_row = 2 if wide else 4
    room = WIDTH / per_row - 3 * mm
    for image in images:
        scale = min(72 / PNG_PER_INCH, room / image.imageWidth, PICTURE_MAX_HEIGHT / image.imageHeight)
        image.drawWidth, image.drawHeight = image.imageWidth * scale, image.imageHeight * scale
    captions = (Paragraph(escape(caption), _style(7)) for _, _, caption in block.pictures)
    cells: list[Any] = [list(pair) for pair in zip(images, captions, strict=True)]
    cells += [""] * (-len(cells) % per_row)
    rows = [cells[start : start + per_row] for start in range(0, len(cells), per_row)]
    style = TableStyle([("VALIGN", (0, 0), (-1, -1), "TOP")])
    return [LongTable(rows, [WIDTH / per_row] * per_row, style=style, hAlign="LEFT"), Spacer(1, 5)]
