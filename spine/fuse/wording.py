"""Fields and values of the clinical record in words, for sentences that a physician reads."""

from __future__ import annotations

from spine.fuse.models import Predictor
from spine.resources import load_schema

SCHEMA = "clinical.schema.json"
COMPARED = {"lt": "less than", "gt": "more than"}


def plain(code: str) -> str:
    """A code of the record in words: 'disc_herniation' -> 'disc herniation', 'lt_3_months' -> 'less than 3 months'."""
    return " ".join(COMPARED.get(part, part) for part in code.split("_"))


def called(field: str) -> str:
    """What the schema calls `field`, without remarks: 'duration_back_pain' -> 'duration of back pain'."""
    title = str(load_schema(SCHEMA)["properties"].get(field, {}).get("title", plain(field)))
    return title.partition(";")[0].removesuffix(", score only")


def shown(predictor: Predictor, number: float) -> str:
    """`number` of a continuous predictor as the record holds it: the nearest of its words, else the number."""
    if not predictor.codes:
        return f"{number:g}"
    return plain(min(predictor.codes, key=lambda word: abs(predictor.codes[word] - number)))
