"""SIGTERM in every stage of a case and between its files, in both forms of the container.

Each try is a process of its own with a small case and the real models. It must end within the platform's five seconds
(those in which a busy machine gave it no processor are not counted) with exit code 143 (exec) or 0 (serve) and one
sentence, and leave all outputs or none. The first try of a mark sends the signal at once, the others after a pause, so
that it meets other places of the stage.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.evaluate.fault_marks import LOADING, STARTED
from lab.evaluate.run_endurance import write_cases
from lab.server import READY_S, ROOT, invoke, wait_until_ready
from spine.case import DONE, TERMINATED
from spine.pipeline import STAGES
from spine.resources import output_sockets

PLATFORM_S = 5.0  # between SIGTERM and SIGKILL
POLL_S = 0.02
PAUSES_S = (0.0, 0.1)  # from the mark to the signal, one a try
MADE = "made output.mha"  # the last output in the hidden folder; the next step moves the first into place
PLACED = ("placed output.mha", "placed accelerated-degeneration-likelihood.json", "placed spine-report.pdf")
EXEC_MARKS = (STARTED, LOADING, *STAGES, MADE, *PLACED)
SERVE_MARKS = (*STAGES, MADE, *PLACED)


@dataclass
class Try:
    """How one process took the signal."""

    code: int
    seconds: float  # to its end, without those in which it had to wait for a processor
    files: int
    lines: list[str] = field(default_factory=list)  # error stream; in serve the answer to the client

    def wrong(self, allowed: Sequence[int]) -> str:
        """'' where all is well."""
        complete = len(output_sockets())
        if self.code == -signal.SIGTERM and self.code in allowed and not self.files:
            return ""  # before the process listens, the signal itself ends it; nothing is written by then
        if self.code not in allowed:
            return f"exit code {self.code}: {self.lines[-1] if self.lines else 'no message'}"
        if self.files not in (0, complete):
            return f"{self.files} of {complete} files were left"
        if self.seconds > PLATFORM_S:
            return f"it took {self.seconds:.1f} s"
        if self.files == 0 and (len(self.lines) != 1 or not self.lines[0].endswith(".")):
            return f"{len(self.lines)} lines instead of one sentence"
        return ""


def small_input(scratch: Path) -> Path:
    """A small case in the platform's layout."""
    folder = scratch / "small" / "images" / "sagittal-spine-mri"
    write_cases(folder, 1)
    return scratch / "small"


class Marked:
    """A process that tells its marks."""

    def __init__(self, case: Path, out: Path, *flags: str) -> None:
        ours, theirs = os.pipe()
        command = [sys.executable, "-m", "lab.evaluate.fault_marks", str(theirs)]
        command += ["--input", str(case), "--output", str(out), "--runner", "cpu", *flags]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT, pass_fds=(theirs,)
        )
        os.close(theirs)
        self._marks = os.fdopen(ours)
        self._out = out

    def end_at(self, mark: str, pause_s: float) -> Try:
        """SIGTERM `pause_s` after `mark`, and what came of it."""
        while (line := self._marks.readline()) and line.strip() != mark:
            pass
        time.sleep(pause_s)
        start, waited_s = time.monotonic(), self._waited_s()
        self.process.send_signal(signal.SIGTERM)
        last_s = waited_s
        while self.process.poll() is None and time.monotonic() < start + READY_S:
            last_s = self._waited_s() or last_s
            time.sleep(POLL_S)
        seconds = time.monotonic() - start - (last_s - waited_s)
        _, stderr = self.process.communicate(timeout=READY_S)
        self._marks.close()
        files = sum(path.is_file() for path in self._out.rglob("*"))
        return Try(self.process.returncode, seconds, files, [one for one in stderr.splitlines() if one.strip()])

    def _waited_s(self) -> float:
        """Seconds that the process was ready but had no processor: those of a machine busy with other work."""
        try:
            return int(Path(f"/proc/{self.process.pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
        except (OSError, IndexError):  # ended, or a kernel without it
            return 0.0


def exec_try(case: Path, out: Path, mark: str, pause_s: float) -> Try:
    """One case, one process."""
    return Marked(case, out).end_at(mark, pause_s)


def serve_try(case: Path, out: Path, mark: str, pause_s: float) -> Try:
    """One case in a server; the sentence is what the client was told, if the server still told it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    marked = Marked(case, out, "--serve", "--port", str(port))
    address = f"http://127.0.0.1:{port}"
    wait_until_ready(marked.process, address)
    answers: list[tuple[int, str]] = []

    def ask() -> None:
        try:
            answers.append(invoke(address))
        except OSError:  # the server left without an answer: a case in native code is not waited for
            answers.append((0, "The connection was closed."))

    client = threading.Thread(target=ask)
    client.start()
    found = marked.end_at(mark, pause_s)
    client.join()
    status, text = answers[0]
    if status == 201 and not found.files:
        return Try(-1, found.seconds, found.files, ["201 was answered and nothing is there"])
    if status == 503 and found.lines != [text.strip()]:
        return Try(-1, found.seconds, found.files, [f"the log says {found.lines}, the client was told {text}"])
    return Try(found.code, found.seconds, found.files, [text.strip()])


def signal_rows(scratch: Path, only: str = "") -> list[dict[str, Any]]:
    """A row for each mark and form, of those whose name holds `only`."""
    case = small_input(scratch)
    forms = (("exec", exec_try, EXEC_MARKS, (TERMINATED, DONE)), ("serve", serve_try, SERVE_MARKS, (DONE,)))
    rows = []
    for form, attempt, marks, allowed in forms:
        for mark in marks:
            if only not in name_of(form, mark):
                continue
            tries = []
            for pause_s in PAUSES_S:
                out = Path(tempfile.mkdtemp(prefix="out-", dir=scratch))
                tries.append(attempt(case, out, mark, pause_s))
                shutil.rmtree(out)
            rows.append(row(form, mark, tries, (*allowed, -signal.SIGTERM) if mark == STARTED else allowed))
    return rows


def name_of(form: str, mark: str) -> str:
    """The fault in the table."""
    return f"SIGTERM, {form}: {mark}"


def row(form: str, mark: str, tries: Sequence[Try], allowed: Sequence[int]) -> dict[str, Any]:
    """What the tries of one mark came to."""
    wrong = [fault for one in tries if (fault := one.wrong(allowed))]
    stopped = [one for one in tries if not one.files]
    said = f"{stopped[0].lines[-1]} " if stopped and stopped[0].lines else ""
    said = said or ("ended by the signal " if stopped else "")
    done = len(tries) - len(stopped)
    said += f"({len(stopped)} stopped with nothing left, {done} already complete; at most "
    said += f"{max(one.seconds for one in tries):.1f} s)"
    return {
        "fault": name_of(form, mark),
        "tried": len(tries),
        "survived": len(tries) - len(wrong),
        "said": "; ".join(wrong) or said,
    }
