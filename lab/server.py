"""`process.py --serve` as a process of its own: started, waited for, asked, ended."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
READY_S = 300  # the platform's limit
CASE_S, END_S = 600, 30


@contextmanager
def server(case: Path, output: Path, stderr: int | None = None) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process, ready to read `case` and write `output`, and its address; SIGTERM on the way out.

    `stderr` is handed to subprocess.Popen. Raises SystemExit when the process does not become ready.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "process.py"), "--serve", "--port", str(port), "--runner", "cpu"]
    process = subprocess.Popen([*command, "--input", str(case), "--output", str(output)], stderr=stderr, cwd=ROOT)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(process, address)
        yield process, address
    finally:
        process.terminate()
        process.communicate(timeout=END_S)


def wait_until_ready(process: subprocess.Popen[Any], address: str) -> None:
    """Return once `address` answers that the models are loaded; SystemExit where it never does."""
    end = time.monotonic() + READY_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=10) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the server did not become ready")


def invoke(address: str) -> tuple[int, str]:
    """One case: the status and, where it was refused, what was said."""
    try:
        request = urllib.request.Request(f"{address}/invoke", method="POST")
        with urllib.request.urlopen(request, timeout=CASE_S) as answer:
            return int(answer.status), ""
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode(errors="replace")
