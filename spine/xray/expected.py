"""The hand-written sizes of resources/xray.json and the limits of resources/thresholds.json that begin with 'xray_'."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import Any

from spine.resources import RESOURCES
from spine.xray.landmarks import CERVICAL, LUMBAR

CERVICAL_REGION, LUMBAR_REGION = "cervical", "lumbar"
POINTS: Mapping[str, tuple[tuple[str, str], ...]] = {CERVICAL_REGION: CERVICAL, LUMBAR_REGION: LUMBAR}
PREFIX = "xray_"


def vertebrae_of(region: str) -> tuple[str, ...]:
    """Vertebrae with landmarks, the uppermost first: 'C2' ... 'T1' or 'T12' ... 'S1'."""
    return tuple(dict.fromkeys(vertebra for vertebra, _ in POINTS[region]))


def levels_of(region: str) -> tuple[str, ...]:
    """Motion segments between the vertebrae with landmarks, the uppermost first."""
    names = vertebrae_of(region)
    return tuple(f"{upper}/{lower}" for upper, lower in pairwise(names))


@cache
def read_sizes() -> dict[str, Any]:
    """The whole of resources/xray.json."""
    table: dict[str, Any] = json.loads((RESOURCES / "xray.json").read_text(encoding="utf-8"))
    return table


@cache
def read_limits() -> Mapping[str, float]:
    """Limits of resources/thresholds.json that are meant for radiographs, without their prefix."""
    table = json.loads((RESOURCES / "thresholds.json").read_text(encoding="utf-8"))["thresholds"]
    return {name.removeprefix(PREFIX): float(row["value"]) for name, row in table.items() if name.startswith(PREFIX)}


@cache
def quoted(measurement: str, subject: str) -> str | None:
    """What the evidence says of `measurement` at `subject` on radiographs, in words; None where it says nothing."""
    for row in read_sizes()["quoted"]:
        if row["measurement"] == measurement and subject in row["subjects"]:
            return str(row["text"])
    return None
