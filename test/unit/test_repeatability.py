"""Repeatability: what the disc height index is made of, by hand, and the table of T1 against T2."""

from __future__ import annotations

import pytest

from lab.evaluate.run_repeatability import HEIGHTS, NAME, parts_of, parts_table
from spine.records import Measurement

SIMPSON = "index by Simpson's rule"
WITH_AREA = "index by Simpson's rule and by area over depth, their mean"


def disc(level: str, heights_mm: tuple[float, float, float], index: float, area_mm2: float) -> list[Measurement]:
    """One disc between two flat end plates 40 mm deep."""
    front, _, back = heights_mm
    corners = ((0.0, 40.0, back), (0.0, 0.0, front), (0.0, 40.0, 0.0), (0.0, 0.0, 0.0))
    return [
        *(Measurement(level, name, value, "mm") for name, value in zip(HEIGHTS, heights_mm, strict=True)),
        Measurement(level, NAME, index, "1"),
        Measurement(level, "wedge_deg", 0.0, "deg", points_mm=corners),
        Measurement(level, "disc_midsagittal_area_mm2", area_mm2, "mm2"),
    ]


def test_parts_by_hand():
    found = parts_of(disc("L4/L5", (9.0, 12.0, 9.0), 0.4, 400.0))
    assert found["middle body height"]["L4/L5"] == pytest.approx(25.0)  # 10 mm / 0.4
    assert found[SIMPSON]["L4/L5"] == pytest.approx(11.0 / 25.0)  # (9 + 48 + 9) / 6
    assert found[WITH_AREA]["L4/L5"] == pytest.approx((11.0 + 10.0) / 2 / 25.0)  # 400 mm2 / 40 mm
    assert parts_of([Measurement("L4/L5", NAME, None, "1", not_measurable="cut")]) == {}


def test_table_tells_spread_from_mean_difference():
    parts = {}
    for patient in ("1", "2", "3"):
        parts["spider_t2", patient] = parts_of(disc("L4/L5", (10.0, 10.0, 10.0), 0.40, 400.0))
        parts["spider_t1", patient] = parts_of(disc("L4/L5", (11.0, 11.0, 11.0), 0.44, 440.0))
    row = next(line for line in parts_table(parts).splitlines() if line.startswith(f"| {NAME} "))
    assert row == "| disc_height_index | 3 | +9.5 % | 9.5 % | 0.0 % | 0 % | 100 % |"
    assert parts_table({("spider_t2", "1"): parts["spider_t2", "1"]}).count("|\n") == 2  # heading alone: nothing twice
