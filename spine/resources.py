"""Tools: the hand-written facts in `resources/` that reading and writing share: sockets and JSON schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

RESOURCES = Path(__file__).resolve().parent.parent / "resources"


@dataclass(frozen=True)
class Socket:
    """One input or output of the algorithm on the platform."""

    slug: str
    relative_path: str  # folder of an image, file of anything else
    super_kind: str  # 'Image', 'Value' (JSON) or 'File'
    proposed: bool  # ours to request from the platform
    title: str
    schema: str | None = None  # file in resources/ that a 'Value' must satisfy


@lru_cache(maxsize=1)
def _all_sockets() -> dict[str, tuple[Socket, ...]]:
    table = json.loads((RESOURCES / "sockets.json").read_text(encoding="utf-8"))
    return {side: tuple(Socket(**row) for row in rows) for side, rows in table.items()}


def input_sockets() -> tuple[Socket, ...]:
    """Inputs of resources/sockets.json in its order."""
    return _all_sockets()["inputs"]


def output_sockets() -> tuple[Socket, ...]:
    """Outputs of resources/sockets.json in its order."""
    return _all_sockets()["outputs"]


def extra_outputs() -> tuple[Socket, ...]:
    """Files that a user may ask for beside the outputs; the platform knows none of them."""
    return _all_sockets()["extras"]


@lru_cache(maxsize=8)
def load_schema(name: str) -> Any:
    """The JSON document `resources/<name>`: a schema, or the table of codes."""
    return json.loads((RESOURCES / name).read_text(encoding="utf-8"))


@lru_cache(maxsize=8)
def _validator(schema: str) -> Any:
    from jsonschema.validators import validator_for

    loaded = load_schema(schema)
    return validator_for(loaded)(loaded)


def violations(document: Any, schema: str) -> Iterator[Any]:
    """Where `document` breaks the schema `resources/<schema>`, of the draft it states: jsonschema ValidationErrors."""
    found: Iterator[Any] = _validator(schema).iter_errors(document)
    return found
