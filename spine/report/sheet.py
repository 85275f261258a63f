"""Paper: A4 pages with a cursor, fonts, styles and safe text. Knows nothing of spines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any
from xml.sax.saxutils import escape

from spine.report.words import shortened

MM = 72 / 25.4  # points in a millimetre
PAGE = (210 * MM, 297 * MM)  # A4
MARGIN = 15 * MM
FOOT = 14 * MM  # lowest point of the text
WIDTH = PAGE[0] - 2 * MARGIN

# Bitstream Vera comes with reportlab, may be embedded freely and holds every letter of Dutch and of our symbols.
REGULAR, BOLD, ITALIC = "Vera", "VeraBd", "VeraIt"

INK, SOFT, RULE, PALE = "#16202B", "#5A6875", "#C9D1D9", "#F1F4F7"
ACCENT, ALERT, NOTICE = "#0B4F8A", "#B34700", "#FFF1CC"

LONGEST_PARAGRAPH = 600  # characters
LONGEST_LIST = 1500  # characters of a list behind a label
TOTAL_PAGES = "TotalPages"  # name of the form that is filled in when the last page is done


def prepare_reportlab() -> None:
    """Make the embedded fonts known to reportlab and switch off its ASCII coding of streams: slow, a quarter larger."""
    from reportlab import rl_config
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    rl_config.useA85 = 0
    known = pdfmetrics.getRegisteredFontNames()
    for name in (REGULAR, BOLD, ITALIC):
        if name not in known:
            pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))
    pdfmetrics.registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD, italic=ITALIC, boldItalic=BOLD)


def printable(text: str, limit: int = LONGEST_PARAGRAPH) -> str:
    """`text` with a question mark for every character that the font cannot draw, cut at `limit` characters."""
    from reportlab.pdfbase import pdfmetrics

    glyphs = pdfmetrics.getFont(REGULAR).face.charToGlyph
    kept = "".join(c if ord(c) in glyphs else "?" for c in text)
    return shortened(kept, limit)


def paragraph(text: str, size: float, color: str = INK, bold: bool = False, **style: Any) -> Any:
    """Wrapped text of any origin: it is never read as markup. Long words are broken, not clipped."""
    return marked_up(escape(printable(text)), size, color, bold, **style)


def marked_up(markup: str, size: float, color: str = INK, bold: bool = False, **style: Any) -> Any:
    """Wrapped text with reportlab's inline markup: whoever calls has escaped what came from outside."""
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph

    options = {"fontName": BOLD if bold else REGULAR, "fontSize": size, "leading": size * 1.36, "textColor": color}
    return Paragraph(markup, ParagraphStyle("text", **{**options, "splitLongWords": 1, **style}))


def labelled(label: str, text: str, size: float, **style: Any) -> Any:
    """A paragraph that begins with a bold label."""
    return marked_up(f"<b>{escape(printable(label))}</b>&nbsp; {escape(printable(text, LONGEST_LIST))}", size, **style)


def height_of(flowable: Any, width: float = WIDTH) -> float:
    """Height that `flowable` takes at `width`, in points."""
    return float(flowable.wrap(width, 10 * PAGE[1])[1])


class Sheet:
    """Pages under construction: `y` is the lowest point used so far, in points from the bottom of page `page`."""

    def __init__(self, title: str, footer: str, page_label: Callable[[int], str], tight: bool = False) -> None:
        from reportlab.pdfgen.canvas import Canvas

        prepare_reportlab()
        self._buffer = BytesIO()
        self.canvas: Any = Canvas(self._buffer, pagesize=PAGE, invariant=1, pageCompression=1)
        self.canvas.setTitle(printable(title))
        self.canvas.setSubject(printable(footer))
        self.canvas.setAuthor("spine")
        self._footer, self._page_label = printable(footer), page_label
        self.page = 0  # counted from 1
        self.tight = tight  # whether what is drawn takes as little room as can be read
        self.y = 0.0
        self._start_page()

    def _start_page(self) -> None:
        self.page += 1
        self.y = PAGE[1] - MARGIN
        line = 9 * MM
        self.canvas.setStrokeColor(RULE)
        self.canvas.setLineWidth(0.5)
        self.canvas.line(MARGIN, line + 3 * MM, PAGE[0] - MARGIN, line + 3 * MM)
        self.text(MARGIN, line, self._footer, 6.5, SOFT)
        self.text(PAGE[0] - MARGIN - 8, line, self._page_label(self.page), 6.5, SOFT, align="right")
        self.canvas.saveState()
        self.canvas.translate(PAGE[0] - MARGIN - 7, line)
        self.canvas.doForm(TOTAL_PAGES)
        self.canvas.restoreState()

    def new_page(self) -> None:
        """Go on at the top of a fresh page."""
        self.canvas.showPage()
        self._start_page()

    def room(self) -> float:
        """Height left on this page."""
        return self.y - FOOT

    def keep(self, height: float) -> None:
        """Go to a new page unless `height` is left on this one or this one is empty."""
        if self.room() < height and self.y < PAGE[1] - MARGIN:
            self.new_page()

    def flow(self, flowable: Any, gap: float = 0.0, x: float = MARGIN, width: float = WIDTH) -> None:
        """Set a paragraph or table at the cursor, split over pages where it does not fit, then leave `gap`."""
        pending = [flowable]
        while pending:
            piece = pending.pop(0)
            height = height_of(piece, width)
            if height > self.room():
                parts = piece.splitOn(self.canvas, width, self.room())
                if len(parts) > 1:
                    pending = [*parts, *pending]
                    continue
                self.keep(height)
                parts = piece.splitOn(self.canvas, width, self.room()) if height > self.room() else []
                if len(parts) > 1:
                    pending = [*parts, *pending]
                    continue
                height = height_of(piece, width)
            piece.drawOn(self.canvas, x, self.y - height)
            self.y -= height
        self.y -= gap

    def block(self, height: float, draw: Callable[[float], None], gap: float = 0.0) -> None:
        """Reserve `height` on one page and call `draw(top)`."""
        self.keep(height)
        draw(self.y)
        self.y -= height + gap

    def heading(self, text: str, size: float = 9.5, gap: float = 4.0, keep: float = 40.0) -> None:
        """A section heading that stays with at least `keep` points of what follows."""
        self.keep(keep + 2 * size)
        self.y -= 4
        self.flow(paragraph(text, size, ACCENT, bold=True), gap)

    def text(self, x: float, y: float, text: str, size: float, color: str = INK, **how: Any) -> None:
        """One line of text at a point; `align` left, centre or right, `bold`."""
        self.canvas.setFont(BOLD if how.get("bold") else REGULAR, size)
        self.canvas.setFillColor(color)
        draw = {"left": "drawString", "centre": "drawCentredString", "right": "drawRightString"}
        getattr(self.canvas, draw[how.get("align", "left")])(x, y, printable(text))

    def boxed(self, flowables: Sequence[Any], fill: str, gap: float = 6.0, pad: float = 5.0) -> None:
        """Paragraphs one below the other on a coloured box."""
        inner = WIDTH - 2 * pad
        heights = [height_of(flowable, inner) for flowable in flowables]
        total = sum(heights) + 2 * pad

        def draw(top: float) -> None:
            self.canvas.setFillColor(fill)
            self.canvas.roundRect(MARGIN, top - total, WIDTH, total, 3, stroke=0, fill=1)
            y = top - pad
            for flowable, height in zip(flowables, heights, strict=True):
                y -= height
                flowable.drawOn(self.canvas, MARGIN + pad, y)

        self.block(total, draw, gap)

    def stamp(
        self, name: str, size: tuple[float, float], place: tuple[float, float], draw: Callable[[Any], None]
    ) -> None:
        """Put the drawing `name` at `place`; `draw(canvas)` makes it on first use, centred above the origin."""
        wide, high = size
        if not self.canvas.hasForm(name):
            self.canvas.beginForm(name, -wide / 2, 0, wide / 2, high)
            draw(self.canvas)
            self.canvas.endForm()
        self.canvas.saveState()
        self.canvas.translate(*place)
        self.canvas.doForm(name)
        self.canvas.restoreState()

    def finish(self) -> bytes:
        """Fill in the number of pages and return the PDF."""
        self.canvas.showPage()
        self.canvas.beginForm(TOTAL_PAGES, 0, -2, 20, 10)
        self.text(0, 0, str(self.page), 6.5, SOFT)
        self.canvas.endForm()
        self.canvas.save()
        return self._buffer.getvalue()
