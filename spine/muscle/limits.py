"""The limits of resources/thresholds.json that are meant for axial slices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache

from spine.resources import RESOURCES

PREFIX = "axial_"


@cache
def read_limits() -> Mapping[str, float]:
    """Name without its prefix -> value."""
    table = json.loads((RESOURCES / "thresholds.json").read_text(encoding="utf-8"))["thresholds"]
    return {name.removeprefix(PREFIX): float(row["value"]) for name, row in table.items() if name.startswith(PREFIX)}
