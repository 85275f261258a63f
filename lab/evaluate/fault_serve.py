"""A serving container between good and bad cases: it keeps answering, and what it answers does not change."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from lab.evaluate.fault_inputs import write_input

ROOT = Path(__file__).resolve().parents[2]
CASE = ROOT / "test" / "input" / "lumbar"
BETWEEN = ("noise instead of a spine", "half of the file", "decompression bomb")
START_S, CASE_S = 300, 600


def serve_rows(scratch: Path) -> list[dict[str, Any]]:
    """One row for each bad case that is put between two good ones in one process."""
    case, out = scratch / "input", scratch / "served"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shutil.copytree(CASE, case)
    command = [sys.executable, str(ROOT / "process.py"), "--serve", "--port", str(port), "--runner", "cpu"]
    process = subprocess.Popen(
        [*command, "--input", str(case), "--output", str(out)], stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    rows = []
    try:
        _wait(port)
        first = (_invoke(port), _mask(out))
        for name in BETWEEN:
            _replace(case, name, scratch)
            bad = _invoke(port)
            empty = not any(path.is_file() for path in out.rglob("*"))
            _replace(case, None, scratch)
            again = (_invoke(port), _mask(out))
            good = first[0] == 201 and again == first and bad == 422 and empty
            said = f"{bad}, then {again[0]} with the same mask" if good else f"{first} {bad} {empty} {again}"
            rows.append({"fault": f"serving: {name}", "tried": 1, "survived": int(good), "said": said})
    finally:
        process.terminate()
        process.communicate(timeout=30)
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


def _wait(port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the server did not get ready")


def _invoke(port: int) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invoke", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=CASE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code


def _mask(out: Path) -> str:
    found = sorted((out / "images").rglob("*.mha"))
    return hashlib.sha256(found[0].read_bytes()).hexdigest() if found else ""
