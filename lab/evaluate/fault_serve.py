"""A serving container between good and bad cases: it keeps answering, and what it answers does not change."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

from lab.evaluate.fault_inputs import write_input
from lab.server import ROOT, invoke, server

CASE = ROOT / "test" / "input" / "lumbar"
BETWEEN = ("noise instead of a spine", "half of the file", "decompression bomb")


def serve_rows(scratch: Path) -> list[dict[str, Any]]:
    """One row for each bad case that is put between two good ones in one process."""
    case, out = scratch / "input", scratch / "served"
    shutil.copytree(CASE, case)
    rows = []
    with server(case, out, stderr=subprocess.PIPE) as (process, address):
        first = (invoke(address)[0], _mask(out))
        for name in BETWEEN:
            _replace(case, name, scratch)
            bad = invoke(address)[0]
            empty = not any(path.is_file() for path in out.rglob("*"))
            _replace(case, None, scratch)
            again = (invoke(address)[0], _mask(out))
            good = first[0] == 201 and again == first and bad == 422 and empty
            said = f"{bad}, then {again[0]} with the same mask" if good else f"{first} {bad} {empty} {again}"
            rows.append({"fault": f"serving: {name}", "tried": 1, "survived": int(good), "said": said})
    good = process.returncode == 0
    said = "ended in order" if good else f"exit code {process.returncode}"
    return [*rows, {"fault": "serving: SIGTERM when idle", "tried": 1, "survived": int(good), "said": said}]


def _replace(case: Path, name: str | None, scratch: Path) -> None:
    """Put another case where the server reads, as the platform does between two jobs."""
    shutil.rmtree(case)
    if name is None:
        shutil.copytree(CASE, case)
    else:
        write_input(name, CASE, case)


def _mask(out: Path) -> str:
    found = sorted((out / "images").rglob("*.mha"))
    return hashlib.sha256(found[0].read_bytes()).hexdigest() if found else ""
