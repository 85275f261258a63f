"""One fault tried on process.py: a process of its own, its exit code, its error stream and what it left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spine.resources import output_sockets

ROOT = Path(__file__).resolve().parents[2]
CASE = ROOT / "test" / "input" / "lumbar"
TIMEOUT_S = 3_000  # an emulated processor takes minutes
DONE, UNUSABLE, FAILED, STOPPED = 0, 2, 3, 143
NAMESPACE = ("unshare", "--map-root-user", "--mount", "sh", "-c")
Row = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """One row: how the process is started and which exit codes are right."""

    name: str
    allowed: tuple[int, ...]
    prepare: Callable[[Path, int], dict[str, Any]]  # scratch folder, number of the try -> arguments of `attempt`
    tries: int = 1


def with_arguments(**arguments: Any) -> Callable[[Path, int], dict[str, Any]]:
    """The same `arguments` of `attempt` for every try."""
    return lambda scratch, number: arguments


def attempt(
    scratch: Path,
    flags: Sequence[str] = (),
    case: Path = CASE,
    mounts: str = "",
    environment: dict[str, str] | None = None,
    **more: Any,
) -> tuple[int, str, set[str]]:
    """(exit code, error stream, files in the output folder) of one run of process.py.

    `mounts` are shell commands run in a private mount namespace, where {out} is the output folder. In `more`: `prefix`
    stands before the command, `stop_after_s` sends SIGTERM, `beside` is called with the process in a thread of its own,
    `make_out` False leaves the output folder to the caller, who then says with `ours` how many files are his.
    """
    out = scratch / "out"
    if more.get("make_out", True):
        out.mkdir(parents=True, exist_ok=True)
    command = [*more.get("prefix", ()), sys.executable, str(ROOT / "process.py"), "--input", str(case)]
    command += ["--output", str(out), "--runner", "cpu", *flags]
    if mounts:  # what is mounted over the output folder is seen from inside the namespace only: it is listed there
        script = f'{mounts.format(out=out)} && {{ "$@" >/dev/null; code=$?; cd {out} && find . -type f; exit $code; }}'
        command = [*NAMESPACE, script, "sh", *command]

    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        env={**os.environ, **(environment or {})}, cwd=ROOT,
    )  # fmt: skip
    if "beside" in more:
        threading.Thread(target=more["beside"], args=(process,), daemon=True).start()
    if "stop_after_s" in more:
        time.sleep(more["stop_after_s"])
        process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    if mounts:
        found = set(stdout.splitlines())
    else:
        found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    return process.returncode, stderr, found


def judge(fault: Fault, code: int, stderr: str, files: set[str]) -> str:
    """'' for a fault that was survived, else what was wrong."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    if code == -signal.SIGTERM and code in fault.allowed and not files:
        return ""  # ended by the signal while the interpreter started, before anybody listened
    if code not in fault.allowed:
        return f"exit code {code}: {lines[-1] if lines else 'no message'}"
    complete = len(output_sockets())
    if len(files) not in ((complete,) if code == DONE else (0,)):
        return f"{len(files)} files in the output folder"
    if code == DONE and lines:
        return f"a clean run wrote on the error stream: {lines[-1]}"
    if code != DONE and (not lines or not lines[-1].rstrip().endswith((".", "?"))):
        return "no sentence"
    return "a stack trace" if "Traceback" in stderr else ""


def try_fault(fault: Fault, scratch: Path) -> Row:
    """The row of `fault`: how often it was tried and survived, and the sentences that a user sees."""
    survived, sentences, wrong = 0, dict[str, int](), ""
    for number in range(fault.tries):
        own = Path(tempfile.mkdtemp(prefix=f"{number}-", dir=scratch))
        try:
            arguments = fault.prepare(own, number)
            reason = _missing(arguments)
            if reason:
                return not_tried(fault.name, reason)
            code, stderr, files = attempt(own, **arguments)
            if arguments.get("mounts") and stderr.startswith(("unshare:", "mount:")):
                return not_tried(fault.name, "no mounts are allowed here")
            fault_found = judge(fault, code, stderr, files)
            wrong = fault_found or wrong
            survived += not fault_found
            sentence = (stderr.strip().splitlines() or [_silent(code)])[-1].replace(str(own), "")
            sentences[sentence] = sentences.get(sentence, 0) + 1
        finally:
            shutil.rmtree(own, ignore_errors=True)
    said = " / ".join(f"{count} x {one}" if len(sentences) > 1 else one for one, count in sentences.items())
    return {"fault": fault.name, "tried": fault.tries, "survived": survived, "said": wrong or said}


def not_tried(name: str, reason: str) -> Row:
    """The row of a fault that this machine cannot make."""
    return {"fault": name, "tried": 0, "survived": 0, "said": f"not tried: {reason}"}


def _missing(arguments: dict[str, Any]) -> str:
    """What this machine lacks for a try; '' where nothing is."""
    program = (arguments.get("prefix") or (NAMESPACE if arguments.get("mounts") else (sys.executable,)))[0]
    return "" if shutil.which(program) else f"there is no {program} here"


def _silent(code: int) -> str:
    return "all outputs, no message" if code == DONE else f"ended by signal {-code}, nothing written"
