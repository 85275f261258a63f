"""The hand-written limits of resources/thresholds.json, each with its unit and source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache

from spine.resources import RESOURCES


@lru_cache(maxsize=1)
def read_thresholds() -> Mapping[str, float]:
    """Name -> value."""
    table = json.loads((RESOURCES / "thresholds.json").read_text(encoding="utf-8"))
    return {name: float(row["value"]) for name, row in table["thresholds"].items()}
