"""What stands behind an equation, in words: origin, cohort, performance, source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spine.fuse.models import OutcomeModel, read_table

LOCAL_ORIGIN = "local cohort on a published prior"
LOCAL_METRICS = {
    "auc": "AUC",
    "calibration_intercept": "calibration intercept",
    "calibration_slope": "calibration slope",
}


def evidence(model: OutcomeModel) -> dict[str, Any]:
    """What stands behind `model`, JSON-ready."""
    facts = model.facts
    sources = read_table()["sources"]
    return {
        "origin": LOCAL_ORIGIN if model.origin == "local" else "published equation",
        "n": facts["n"],
        "population": facts["population"],
        "outcome_definition": facts["outcome_definition"],
        "performance": _performance(model),
        "source": sources[facts["source"]]["citation"] if facts["source"] in sources else facts["source"],
        "checked": facts["tag"],
    }


def _performance(model: OutcomeModel) -> str:
    """Published performance as its source states it; of a local equation one sentence from fusion.json."""
    found = model.facts["performance"]
    if isinstance(found, str):
        return found
    corrected = found.get("optimism_corrected", {})
    parts = [text for name, words in LOCAL_METRICS.items() if (text := _estimate(words, corrected.get(name)))]
    if not parts:
        return "performance on the local cohort is not stated"
    sentence = f"on that cohort, corrected for optimism: {', '.join(parts)}"
    before = found.get("published_equation")
    shown = _estimate("AUC", before.get("auc")) if isinstance(before, Mapping) else None
    return f"{sentence}; the published equation on the same patients: {shown}" if shown else sentence


def _estimate(words: str, value: Any) -> str | None:
    """'AUC 0.61 (90 % interval 0.51 to 0.71)'; None when one of the three could not be estimated."""
    numbers = [value.get(part) for part in ("value", "low", "high")] if isinstance(value, Mapping) else []
    if len(numbers) != 3 or not all(isinstance(number, int | float) for number in numbers):
        return None
    middle, low, high = numbers
    return f"{words} {middle:.2f} (90 % interval {low:.2f} to {high:.2f})"
