"""The axial slice with its compartments, and the block of the physician's pages that shows muscle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import AxialStructure
from spine.records import AxialSlice, MuscleFindings
from spine.report.digest import Document
from spine.report.figures import halo_text, jpeg
from spine.report.muscle_view import MuscleRow, muscle_rows, sac_lines, table_header
from spine.report.picture import FILL, Colour, Grey, enlarged_labels, outlines, window
from spine.report.sheet import ACCENT, INK, MARGIN, MM, PALE, REGULAR, RULE, SOFT, WIDTH, Sheet, height_of, paragraph
from spine.report.values import is_missing
from spine.report.words import Words, shortened

DRAWN_LEVEL = "L4/L5"  # where there is a choice
PALETTE: Mapping[AxialStructure, tuple[int, int, int]] = {
    AxialStructure.MULTIFIDUS: (230, 159, 0),
    AxialStructure.ERECTOR_SPINAE: (0, 158, 115),
    AxialStructure.PSOAS: (204, 121, 167),
    AxialStructure.QUADRATUS_LUMBORUM: (240, 228, 66),
    AxialStructure.BODY: (0, 114, 178),
    AxialStructure.SAC: (86, 180, 233),
}
PICTURE_MM = 0.35  # pixel of the picture
AROUND_MM = 14.0  # kept around the structures
PICTURE_WIDE, PICTURE_HIGH = 78 * MM, 72 * MM
TINY, SMALL = 6.7, 7.6


@dataclass(frozen=True)
class AxialPicture:
    """One axial slice, the radiological way: the patient's right is on the left, the front on top."""

    plain: Grey  # (down, across)
    overlay: Colour  # (down, across, 3)
    level: str
    number: int
    pixel_mm: float
    structures: tuple[AxialStructure, ...]


def axial_picture(muscle: MuscleFindings | None) -> AxialPicture | None:
    """The slice nearest to the middle of DRAWN_LEVEL, else of the highest level measured; None without one."""
    if muscle is None or not muscle.slices:
        return None
    wanted = [one for one in muscle.slices if one.level == DRAWN_LEVEL] or [
        one for one in muscle.slices if one.level == muscle.slices[-1].level
    ]
    return _drawn(min(wanted, key=lambda one: abs(one.offset_mm)))


def _drawn(one: AxialSlice) -> AxialPicture:
    from PIL import Image

    rows, columns = _shown_part(one)
    labels, grey = one.labels[rows, columns], window(one.grey[rows, columns])
    size = tuple(max(round(n * one.pixel_mm / PICTURE_MM), 1) for n in labels.shape[::-1])
    plain = np.asarray(Image.fromarray(grey).resize((size[0], size[1]), Image.Resampling.BICUBIC))
    enlarged = enlarged_labels(labels, (size[0], size[1]))
    present = tuple(structure for structure in PALETTE if (enlarged == structure).any())
    return AxialPicture(plain, _painted(plain, enlarged), one.level, one.number, PICTURE_MM, present)


def _shown_part(one: AxialSlice) -> tuple[slice, slice]:
    """Rows and columns around the structures; the whole slice where there are none."""
    margin = round(AROUND_MM / one.pixel_mm)
    parts = []
    for axis, size in ((1, one.labels.shape[0]), (0, one.labels.shape[1])):
        used = np.flatnonzero(one.labels.any(axis))
        parts.append(slice(max(used[0] - margin, 0), min(used[-1] + 1 + margin, size)) if len(used) else slice(0, size))
    return parts[0], parts[1]


def _painted(grey: Grey, labels: NDArray[np.uint8]) -> Colour:
    lookup = np.zeros((len(AxialStructure), 3), np.float32)
    for structure, rgb in PALETTE.items():
        lookup[structure] = rgb
    opacity = np.where(outlines(labels), np.float32(1), np.float32(FILL)) * (labels > 0)
    mixed = grey[..., None] * (1 - opacity[..., None]) + lookup[labels] * opacity[..., None]
    return np.asarray(mixed.round(), np.uint8)


def draw_muscle(sheet: Sheet, report: Document, picture: AxialPicture | None, words: Words) -> None:
    """The block of the physician's pages: nothing without an axial series, the reason where it was of no use."""
    if is_missing(report["muscle"]):
        return
    table = _table(muscle_rows(report, words), words)
    notes = [paragraph(text, TINY, SOFT) for text in (words.say("muscle.note"), words.say("muscle.note_fat"))]
    sacs = paragraph(f"{words.say('muscle.sac_title')} {' '.join(sac_lines(report, words))}", SMALL)
    high = 0.0 if picture is None else _picture_size(picture)[1] + 26
    sheet.heading(words.say("muscle.title"), keep=high + min(height_of(table), 120))
    if picture is not None:
        sheet.block(high, lambda top: _draw_pictures(sheet, top, picture, words), 4)
    sheet.flow(table, 4)
    sheet.flow(sacs, 3)
    for note in notes:
        sheet.flow(note, 1.5)


def _picture_size(picture: AxialPicture) -> tuple[float, float]:
    rows, columns = picture.plain.shape
    scale = min(PICTURE_WIDE / columns, PICTURE_HIGH / rows)
    return columns * scale, rows * scale


def _draw_pictures(sheet: Sheet, top: float, picture: AxialPicture, words: Words) -> None:
    """The slice with colours and without, sides marked, a legend below."""
    wide, high = _picture_size(picture)
    left = MARGIN + (WIDTH - 2 * wide - 6 * MM) / 2
    for x, pixels in ((left, picture.overlay), (left + wide + 6 * MM, picture.plain)):
        sheet.canvas.drawImage(jpeg(pixels), x, top - high, wide, high)
        halo_text(sheet, x + 7, top - high / 2, words.say("muscle.right_short"), 8)
        halo_text(sheet, x + wide - 7, top - high / 2, words.say("muscle.left_short"), 8)
        halo_text(sheet, x + wide / 2, top - 7, words.say("report.front"), 7)
    caption = words.say("muscle.picture", level=picture.level, number=picture.number)
    sheet.text(MARGIN + WIDTH / 2, top - high - 9, caption, TINY, SOFT, align="centre")
    items = [(PALETTE[s], words.name("muscle.structures", s.name)) for s in picture.structures]
    widths = [sheet.canvas.stringWidth(text, REGULAR, TINY) + 18 for _, text in items]
    x = MARGIN + (WIDTH - sum(widths)) / 2
    for (color, text), width in zip(items, widths, strict=True):
        sheet.canvas.setFillColorRGB(*(part / 255 for part in color))
        sheet.canvas.rect(x, top - high - 22, 6.5, 6.5, stroke=0, fill=1)
        sheet.text(x + 9, top - high - 21, text, TINY, INK)
        x += width


def _table(rows: Sequence[MuscleRow], words: Words) -> Any:
    from reportlab.platypus import Table

    header = [paragraph(text, 6.4, "#FFFFFF", bold=True) for text in table_header(words)]
    body: list[list[Any]] = [header]
    style: list[tuple[Any, ...]] = [
        ("BACKGROUND", (0, 0), (-1, 0), ACCENT), ("LINEBELOW", (0, 1), (-1, -1), 0.3, RULE),
        ("ROWBACKGROUNDS", (0, 1), (-1, -1), ["#FFFFFF", PALE]), ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
        ("LEFTPADDING", (0, 0), (-1, -1), 3), ("RIGHTPADDING", (0, 0), (-1, -1), 2),
        ("TOPPADDING", (0, 0), (-1, -1), 1.6), ("BOTTOMPADDING", (0, 0), (-1, -1), 1.6),
    ]  # fmt: skip
    last = ""
    for row in rows:
        level = paragraph(row.level if row.level != last else "", 7, INK, bold=True)
        last = row.level
        reason = shortened("; ".join(row.reasons), 240)
        number = len(body)
        if not any(row.cells):
            said = words.say("html.missing", reason=reason)
            body.append([level, paragraph(row.name, 7), paragraph(said, 6.4, SOFT), *[""] * (len(header) - 3)])
            style.append(("SPAN", (2, number), (-1, number)))
            continue
        shown = [paragraph(cell or "n.m.", 7, INK if cell else SOFT) for cell in row.cells]
        name = row.name if not row.reasons else f"{row.name} ({reason})"
        body.append([level, paragraph(name, 7), *shown])
    wide = [14 * MM, 54 * MM, *[16 * MM] * 7]
    return Table(body, colWidths=wide, repeatRows=1, style=style)
