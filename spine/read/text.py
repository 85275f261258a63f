"""Hostile text: JSON from outside, and outside names shown in messages."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from spine.errors import InputError

MAX_SHOWN = 80  # characters of an outside text that a message repeats


def printable(text: str, limit: int = MAX_SHOWN) -> str:
    """`text` on one line, without control characters, at most `limit` characters."""
    clean = "".join(c if c.isprintable() else "?" for c in text)
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def kind_of(path: Path) -> str:
    """What lies at `path` where it is no regular file, in a word for a message."""
    mode = path.stat().st_mode
    kinds = ((stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"))
    return next((name for test, name in kinds if test(mode)), "device")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{printable(key)} is given twice")
        found[key] = value
    return found


def json_document(path: Path, where: str, max_bytes: int, error: type[InputError]) -> Any:
    """The strict JSON document in `path`: UTF-8, no NaN or Infinity, no key twice, at most `max_bytes`.

    Raises `error` with one sentence that starts with `where`.
    """
    if path.exists() and not path.is_file():  # opening a pipe would wait for its writer for ever
        raise error(f"{where}: a regular file is expected, not a {kind_of(path)}.")
    try:
        with path.open("rb") as file:
            raw = file.read(max_bytes + 1)
    except OSError as fault:
        raise error(f"{where}: the file cannot be read ({fault.strerror}).") from fault
    if len(raw) > max_bytes:
        raise error(f"{where}: the file is larger than {max_bytes} bytes.")
    try:
        return json.loads(raw.decode("utf-8-sig"), parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except UnicodeDecodeError as fault:
        raise error(f"{where}: the file is not UTF-8 text; JSON is expected.") from fault
    except RecursionError as fault:
        raise error(f"{where}: the JSON is nested too deeply.") from fault
    except ValueError as fault:
        raise error(f"{where}: the file is not valid JSON ({printable(str(fault), 120)}).") from fault
