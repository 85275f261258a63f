"""Measurements -> lines on the pictures of the HTML report: where each was measured, with its value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from spine.records import LabelledSpine, Measurement
from spine.report.html_pictures import Frame
from spine.report.values import clean_text

# Drawn as soon as a level is chosen; the rest waits for its box to be ticked.
DRAWN_FIRST = frozenset(
    {
        "disc_height_anterior_mm",
        "disc_height_middle_mm",
        "disc_height_posterior_mm",
        "canal_ap_diameter_mm",
        "slip_mm",
        "body_height_anterior_mm",
        "body_height_middle_mm",
        "body_height_posterior_mm",
        "lumbar_lordosis_l1_s1_deg",
        "c2_c7_angle_deg",
        "narrowest_ap_diameter_mm",
    }
)
# Lines of one kind share a colour and a dash; the number beside each line tells them apart without either.
KINDS: Mapping[str, tuple[str, ...]] = {
    "height": ("height",),
    "canal": ("canal", "narrowest", "space_available", "cord"),
    "corners": ("slip", "meyerding"),  # measured along the bisector of two end plates: its two corners are marked
}
OTHER_KIND = "angle"  # angles and depths of end plates
SAME_SLICE_MM = 2.5  # sections are averaged over this far on either side: their lines count as lying in the slice


def kind_of(name: str) -> str:
    """Which kind of line the measurement `name` is: a key of `KINDS` or `OTHER_KIND`."""
    return next((kind for kind, marks in KINDS.items() if any(mark in name for mark in marks)), OTHER_KIND)


def drawn_lines(measurements: Iterable[Measurement], frame: Frame) -> dict[str, dict[str, dict[str, Any]]]:
    """subject -> measurement -> its line: `ends` ((x1, y1, x2, y2) in mm each), kind, slice, offset_mm, first.

    Points come in pairs, each the two ends of one line (records.Measurement.points_mm); a measurement without them,
    or without a value, has no line.
    """
    lines: dict[str, dict[str, dict[str, Any]]] = {}
    for one in measurements:
        points = one.points_mm
        if one.value is None or len(points) < 2 or len(points) % 2 or not np.isfinite(points).all():
            continue
        index = frame.index_of(points)
        position = float(index[:, 0].mean())
        lines.setdefault(one.subject, {})[clean_text(one.name)] = {
            "ends": np.round(frame.place(index).reshape(-1, 4), 2).tolist(),
            "kind": kind_of(one.name),
            "slice": frame.nearest(position),
            "offset_mm": round(frame.offset_mm(position), 1),
            "first": one.name in DRAWN_FIRST,
        }
    return lines


def subject_places(
    spine: LabelledSpine, frame: Frame, lines: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> dict[str, dict[str, Any]]:
    """Where each disc level and vertebra lies: x and y in mm and the slice; what has only lines lies amid them."""
    places = {}
    for subject, centre in (
        *((disc.level, disc.centre) for disc in spine.discs),
        *((vertebra.name, vertebra.centre) for vertebra in spine.vertebrae),
    ):
        x, y = frame.place(np.asarray(centre, float))
        places[subject] = {"x": round(float(x), 1), "y": round(float(y), 1), "slice": frame.nearest(centre[0])}
    for subject, found in lines.items():
        if subject not in places:
            ends = np.concatenate([np.reshape(line["ends"], (-1, 2)) for line in found.values()])
            x, y = ends.mean(0)
            first = next(iter(found.values()))
            places[subject] = {"x": round(float(x), 1), "y": round(float(y), 1), "slice": first["slice"]}
    return places
