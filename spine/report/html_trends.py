"""Key measurements along the spine -> places of dots and lines of small charts; the template draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spine.report import digest
from spine.report.clinical_view import Panel
from spine.report.words import Words

WIDTH, ROW, TOP = 260.0, 20.0, 6.0  # of a chart, in its own units
NAMES, NUMBERS = 52.0, 78.0  # room for the names of the levels and for the column of numbers


@dataclass(frozen=True)
class Dot:
    """One level of a chart; `x` is None where nothing was measured."""

    level: str
    y: float
    x: float | None
    text: str
    marked: bool


@dataclass(frozen=True)
class Chart:
    """One measurement along the spine, highest level first; the axis begins at 0."""

    title: str
    width: float
    height: float
    zero: float
    numbers: float  # where the column of numbers begins, beside all dots and lines
    dots: tuple[Dot, ...]
    runs: tuple[str, ...]  # points of the lines that join neighbouring dots
    label: str  # the same in words


def trend_charts(panels: Sequence[Panel], words: Words) -> list[Chart]:
    """One chart a panel that holds any value at all."""
    return [_chart(panel, words) for panel in panels if any(value is not None for _, value, _ in panel.points)]


def _chart(panel: Panel, words: Words) -> Chart:
    values = [value for _, value, _ in panel.points if value is not None]
    low, high = min(0.0, *values), max(0.0, *values)
    scale = (WIDTH - NAMES - NUMBERS) / ((high - low) or 1.0)
    dots = []
    for number, (level, value, z) in enumerate(panel.points):
        y = TOP + ROW * (number + 0.5)
        if value is None:
            dots.append(Dot(level, y, None, "n.m.", False))
            continue
        text = words.number(value, panel.decimals)
        if z is not None:
            text += f" ({words.number(z, 1, signed=True)})"
        marked = digest.is_marked(panel.measurement, value, z)
        dots.append(Dot(level, y, round(NAMES + (value - low) * scale, 1), text, marked))
    return Chart(
        panel.title,
        WIDTH,
        2 * TOP + ROW * len(dots),
        round(NAMES - low * scale, 1),
        WIDTH - NUMBERS + 8,
        tuple(dots),
        tuple(_runs(dots)),
        "; ".join(f"{dot.level} {dot.text}" for dot in dots),
    )


def _runs(dots: Sequence[Dot]) -> list[str]:
    runs: list[list[str]] = [[]]
    for dot in dots:
        if dot.x is None:
            runs.append([])
        else:
            runs[-1].append(f"{dot.x},{dot.y}")
    return [" ".join(run) for run in runs if len(run) > 1]
