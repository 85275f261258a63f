"""Drawings of the PDF: the two pictures, the trend panels, the pictograms. Each draws downward from `top`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spine.report import digest, names
from spine.report.clinical_view import Panel
from spine.report.picture import PALETTE, Mark, Picture
from spine.report.sheet import ACCENT, ALERT, BOLD, INK, MARGIN, MM, PALE, REGULAR, RULE, SOFT, WIDTH, Sheet, printable
from spine.report.words import Words

GUTTER = 17 * MM  # room for the names of the levels beside the coloured picture
BETWEEN = 5 * MM
JPEG_QUALITY = 84
EDGE = 7.0  # from a letter of direction to the edge of the picture, in points
NAME_HIGH, NAME_WIDE, LETTER_HIGH = 10.0, 18.0, 6.0  # room that a name and a letter need around their middle
Z_LIMIT = 3.5  # half width of the strip of z-scores; dots beyond it lie on its edge
STRIP = 13 * MM
PEOPLE_WIDE, PEOPLE_HIGH = 20, 5
PERSON_WIDE, PERSON_HIGH = 3.7 * MM, 4.1 * MM
PEOPLE_SIZE = (PEOPLE_WIDE * PERSON_WIDE, PEOPLE_HIGH * PERSON_HIGH)
SURE, LIKELY, POSSIBLE, REST = "#0B4F8A", "#4E93CC", "#B9D7EE", "#DDE2E7"


def jpeg(pixels: NDArray[np.uint8]) -> Any:
    """Pixels as a JPEG that reportlab embeds as it is: a tenth of the size of a lossless picture."""
    from PIL import Image
    from reportlab.lib.utils import ImageReader

    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    stream.seek(0)
    return ImageReader(stream)


def picture_size(picture: Picture, height: float) -> tuple[float, float]:
    """(width, height) in points of each of the two pictures: at most `height` high, both beside each other."""
    widest = (WIDTH - GUTTER - BETWEEN) / 2
    wide_mm, high_mm = picture.size_mm
    scale = min(widest / wide_mm, height / high_mm)
    return wide_mm * scale, high_mm * scale


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """`places` moved apart as little as needed to lie `gap` apart within low..high; order is kept."""
    if not places:
        return []
    gap = min(gap, (high - low) / max(len(places) - 1, 1))
    order = np.argsort(np.asarray(places), kind="stable")
    placed = np.asarray(places, float)[order]
    steps = gap * np.arange(len(placed))
    # Least-squares fit of a non-decreasing sequence to the places less their steps (pool adjacent violators).
    pools: list[list[float]] = []
    for value in placed - steps:
        pools.append([value])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    fitted = np.concatenate([np.full(len(pool), np.mean(pool)) for pool in pools])
    result = np.empty(len(placed))
    result[order] = np.clip(fitted, low, high - steps[-1]) + steps
    return [float(value) for value in result]


def halo_text(sheet: Sheet, x: float, y: float, text: str, size: float) -> None:
    """White letters with a dark outline, readable on any grey or colour."""
    canvas, shown = sheet.canvas, printable(text)
    for mode, color in ((1, "#000000"), (0, "#FFFFFF")):
        canvas.saveState()  # once a pass: reportlab does not write the way back to render mode 0
        canvas.setStrokeColor("#000000")
        canvas.setLineJoin(1)
        canvas.setLineWidth(size / 4)
        line = canvas.beginText()
        line.setFont(BOLD, size)
        line.setTextRenderMode(mode)
        line.setFillColor(color)
        line.setTextOrigin(x - canvas.stringWidth(shown, BOLD, size) / 2, y - size * 0.36)
        line.textOut(shown)
        canvas.drawText(line)
        canvas.restoreState()


def clear_place(wanted: float, taken: Sequence[float], apart: float, length: float) -> float:
    """Place on an edge of `length`, as near to `wanted` as keeps `apart` from all of `taken`; else the freest one."""
    steps = np.linspace(apart, max(length - apart, apart), 41)
    places = [wanted, *sorted((float(step) for step in steps), key=lambda place: abs(place - wanted))]
    gaps = [min((abs(place - other) for other in taken), default=apart) for place in places]
    return next((place for place, gap in zip(places, gaps, strict=True) if gap >= apart), places[int(np.argmax(gaps))])


def _directions(
    sheet: Sheet,
    box: tuple[float, float, float, float],
    words: Words,
    names_at: Sequence[tuple[float, float]] = (),
    lines_at: Sequence[float] = (),
) -> None:
    """Letters on the four edges, beside the names (x, y from the lower left corner) and the lines that leave right."""
    x, y, wide, high = box
    near = EDGE + NAME_HIGH
    top = clear_place(wide / 2, [at for at, up in names_at if up > high - near], NAME_WIDE, wide)
    bottom = clear_place(wide / 2, [at for at, up in names_at if up < near], NAME_WIDE, wide)
    back = clear_place(high / 2, lines_at, LETTER_HIGH, high)
    places = (
        ("front", EDGE, high / 2),
        ("back", wide - EDGE, back),
        ("head", top, high - EDGE),
        ("foot", bottom, EDGE),
    )
    for name, dx, dy in places:
        halo_text(sheet, x + dx, y + dy, words.say(f"report.{name}"), 7.5)


def _scale_bar(sheet: Sheet, box: tuple[float, float, float, float], width_mm: float, words: Words) -> None:
    x, y, wide, _ = box
    bar_mm = next((mm for mm in (50, 20, 10, 5, 1) if mm < 0.45 * width_mm), None)
    if bar_mm is None:
        return
    length = bar_mm * wide / width_mm
    sheet.canvas.setLineCap(0)
    for color, thick in (("#000000", 2.6), ("#FFFFFF", 1.4)):
        sheet.canvas.setStrokeColor(color)
        sheet.canvas.setLineWidth(thick)
        sheet.canvas.line(x + 6, y + 6, x + 6 + length, y + 6)
    halo_text(sheet, x + 6 + length / 2, y + 13, words.say("report.scale", mm=bar_mm), 6)


def _name_size(marks: Sequence[Mark]) -> float:
    return 6.5 if len(marks) <= 14 else 5.6


def _placed_names(high: float, marks: Sequence[Mark]) -> list[float]:
    """Heights above the lower edge at which the names of the disc levels stand beside a picture `high` points high."""
    return spread([high * (1 - mark.y) for mark in marks], _name_size(marks) * 1.25, 3, high - 3)


def _name_levels(sheet: Sheet, box: tuple[float, float, float, float], marks: Sequence[Mark]) -> None:
    """Names of the disc levels in the gutter on the right, each tied to its disc by a thin line."""
    x, y, wide, high = box
    size, canvas = _name_size(marks), sheet.canvas
    for mark, above in zip(marks, _placed_names(high, marks), strict=True):
        at, placed = y + high * (1 - mark.y), y + above
        canvas.setStrokeColor("#FFFFFF")
        canvas.setLineWidth(0.45)
        canvas.line(x + wide * mark.x, at, x + wide, placed)
        canvas.setFillColor("#FFFFFF")
        canvas.circle(x + wide * mark.x, at, 0.9, stroke=0, fill=1)
        canvas.setStrokeColor(SOFT)
        canvas.line(x + wide, placed, x + wide + 4, placed)
        sheet.text(x + wide + 6, placed - size * 0.36, mark.text[:12], size, INK, bold=True)


def draw_pictures(sheet: Sheet, top: float, picture: Picture, height: float, words: Words) -> None:
    """The slice with coloured structures and names, and the same slice as recorded, centred side by side."""
    wide, high = picture_size(picture, height)
    left = MARGIN + (WIDTH - 2 * wide - GUTTER - BETWEEN) / 2
    right = left + wide + GUTTER + BETWEEN
    for x, pixels in ((left, picture.overlay), (right, picture.plain)):
        sheet.canvas.drawImage(jpeg(pixels), x, top - high, wide, high)
    box = (left, top - high, wide, high)
    _name_levels(sheet, box, picture.discs)
    named = [(wide * mark.x, high * (1 - mark.y)) for mark in picture.vertebrae]
    _directions(sheet, box, words, named, _placed_names(high, picture.discs))
    _directions(sheet, (right, top - high, wide, high), words)
    closest = min(np.diff(sorted(mark.y for mark in picture.vertebrae)), default=1.0) * high
    size = float(np.clip(0.6 * closest, 4.2, 7.0))
    for mark in picture.vertebrae:
        halo_text(sheet, left + wide * mark.x, top - high * mark.y, mark.text[:8], size)
    _scale_bar(sheet, (right, top - high, wide, high), picture.size_mm[0], words)


def draw_legend(sheet: Sheet, top: float, picture: Picture, words: Words) -> None:
    """One row of coloured squares with the names of the structures that the picture shows."""
    items = [(PALETTE[s], words.name("names.structures", s.name)) for s in picture.structures]
    widths = [sheet.canvas.stringWidth(text, REGULAR, 6.8) + 18 for _, text in items]
    x = MARGIN + (WIDTH - sum(widths)) / 2
    for (color, text), width in zip(items, widths, strict=True):
        sheet.canvas.setFillColorRGB(*(part / 255 for part in color))
        sheet.canvas.rect(x, top - 7, 6.5, 6.5, stroke=0, fill=1)
        sheet.text(x + 9, top - 6, text, 6.8, INK)
        x += width


def trend_height(levels: int, tight: bool = False) -> tuple[float, float]:
    """(height of one row, height of the whole figure) in points; `tight`: rows no higher than their letters need."""
    row = 8.0 if tight else float(np.clip(72 * MM / max(levels, 1), 8.0, 16.0))
    return row, row * levels + 26


def draw_trends(sheet: Sheet, top: float, panels: Sequence[Panel], words: Words) -> None:
    """Panels side by side that share their rows: one row a level, the highest on top."""
    levels = [point[0] for point in panels[0].points]
    row, _ = trend_height(len(levels), sheet.tight)
    names_wide = 15 * MM
    panel_wide = (WIDTH - names_wide) / len(panels)
    first = top - 15
    for number, level in enumerate(levels):
        y = first - row * (number + 0.5)
        if number % 2 == 0:
            sheet.canvas.setFillColor(PALE)
            sheet.canvas.rect(MARGIN, y - row / 2, WIDTH, row, stroke=0, fill=1)
        sheet.text(MARGIN + 3, y - 2.4, level, 6.8, INK, bold=True)
    for number, panel in enumerate(panels):
        x = MARGIN + names_wide + number * panel_wide
        sheet.text(x, top - 9, panel.title, 7, INK, bold=True)
        with_z = any(z is not None for _, _, z in panel.points)
        wide = panel_wide - (STRIP + 5 * MM if with_z else 3 * MM)
        _draw_values(sheet, (x, first, wide, row), panel, words)
        if with_z:
            _draw_strip(sheet, (x + wide, first, STRIP, row), panel, words)


def _draw_values(sheet: Sheet, box: tuple[float, float, float, float], panel: Panel, words: Words) -> None:
    """Dots joined by a line from row to row; the axis begins at 0. The numbers stand in a column on the right."""
    x, first, wide, row = box
    canvas = sheet.canvas
    canvas.setStrokeColor(RULE)
    canvas.setLineWidth(0.6)
    canvas.line(x, first - row * len(panel.points), x, first)
    values = [value for _, value, _ in panel.points if value is not None]
    if not values:
        sheet.text(x + 5, first - row * len(panel.points) / 2 - 2, words.say("report.no_data"), 6.5, SOFT)
        return
    low, high = min(0.0, *values), max(0.0, *values)
    scale = (wide - 11 * MM) / ((high - low) or 1.0)  # what is left holds the column of numbers
    places = [
        None if value is None else (x + 4 + (value - low) * scale, first - row * (number + 0.5))
        for number, (_, value, _) in enumerate(panel.points)
    ]
    canvas.setStrokeColor(ACCENT)
    canvas.setLineWidth(0.9)
    for before, after in itertools.pairwise(places):
        if before and after:
            canvas.line(*before, *after)
    for number, ((_, value, z), place) in enumerate(zip(panel.points, places, strict=True)):
        if value is None or place is None:
            sheet.text(x + 5, first - row * (number + 0.5) - 2.2, "n.m.", 6.2, SOFT)
            continue
        marked = digest.is_marked(panel.measurement, value, z)
        canvas.setFillColor(ALERT if marked else ACCENT)
        canvas.circle(*place, 2.1, stroke=0, fill=1)
        shown, ink = words.number(value, panel.decimals), ALERT if marked else INK
        sheet.text(x + wide - 2 * MM, place[1] - 2.3, shown, 6.5, ink, bold=marked, align="right")


def _draw_strip(sheet: Sheet, box: tuple[float, float, float, float], panel: Panel, words: Words) -> None:
    """z-scores of the same rows: grey within the usual range, dots at the edge lie beyond it."""
    x, first, wide, row = box
    canvas, middle, scale = sheet.canvas, x + wide / 2, wide / (2 * Z_LIMIT)
    usual, bottom = names.UNUSUAL_Z * scale, first - row * len(panel.points)
    canvas.setFillColor("#D3DAE1")
    canvas.rect(middle - usual, bottom, 2 * usual, first - bottom, stroke=0, fill=1)
    canvas.setStrokeColor("#FFFFFF")
    canvas.setLineWidth(0.8)
    canvas.line(middle, bottom, middle, first)
    for tick in (-names.UNUSUAL_Z, 0.0, names.UNUSUAL_Z):
        sheet.text(middle + tick * scale, bottom - 7, words.number(tick, 0, signed=True), 5.4, SOFT, align="centre")
    sheet.text(x - 4, bottom - 7, "z", 5.4, SOFT)
    for number, (_, value, z) in enumerate(panel.points):
        if z is not None and value is not None:
            at = middle + float(np.clip(z, -Z_LIMIT, Z_LIMIT)) * scale
            canvas.setFillColor(ALERT if digest.is_marked(panel.measurement, value, z) else ACCENT)
            canvas.circle(at, first - row * (number + 0.5), 1.8, stroke=0, fill=1)


def draw_people(sheet: Sheet, x: float, top: float, bounds: Sequence[int], colors: Sequence[str]) -> None:
    """100 persons: the first bounds[0] in colors[0], from there to bounds[1] in colors[1], ..., the rest pale."""
    for number in range(PEOPLE_WIDE * PEOPLE_HIGH):
        color = next((c for bound, c in zip(bounds, colors, strict=True) if number < bound), REST)
        column, row = number % PEOPLE_WIDE, number // PEOPLE_WIDE
        place = (x + (column + 0.5) * PERSON_WIDE, top - (row + 1) * PERSON_HIGH)
        sheet.stamp(f"Person{color[1:]}", (PERSON_WIDE, PERSON_HIGH), place, partial(_person, color))


def _person(color: str, canvas: Any) -> None:
    """One person standing on the origin, `PERSON_HIGH` high."""
    unit = PERSON_HIGH / 10
    canvas.setFillColor(color)
    canvas.circle(0, 8.3 * unit, 1.45 * unit, stroke=0, fill=1)
    path = canvas.beginPath()
    path.moveTo(-2.5 * unit, unit)
    path.lineTo(-2.5 * unit, 4.4 * unit)
    path.curveTo(-2.5 * unit, 7.3 * unit, 2.5 * unit, 7.3 * unit, 2.5 * unit, 4.4 * unit)
    path.lineTo(2.5 * unit, unit)
    path.close()
    canvas.drawPath(path, stroke=0, fill=1)
