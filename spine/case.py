"""One case from start to sentence: the core that exec and serve share.

What a stage raises becomes an exit code and one sentence here, and nowhere else.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from spine.errors import SpineError
from spine.records import Report

DONE, SOFTWARE_FAILED, INTERRUPTED, TERMINATED = 0, 3, 130, 143
LOADING = "loading the models"  # what happens before the first stage
# How libraries that have no MemoryError say so.
OUT_OF_MEMORY = (
    "failed to map segment",
    "Cannot allocate memory",
    "Resource temporarily unavailable",
    "bad_alloc",
    "can't alloc",
)
# Stages that hold the images' headers and the names of files: what a library says there may tell who the patient is.
NAMES_AT_HAND = ("read", "export")
MAX_SENTENCE = 1_000  # characters of a message that go to a user


class Stopped(BaseException):
    """The process was asked to end; not an Exception, so that no stage takes it for a fault of its own."""


class Stop:
    """The wish to end, set by a signal handler (a plain flag: a handler must not take locks).

    With `at_once` the handler also ends the running case, by Stopped or KeyboardInterrupt: once, and only within
    `interruptible`, so that neither cleaning up nor the last sentence is disturbed.
    """

    def __init__(self, at_once: bool = False) -> None:
        self.wanted = False
        self._at_once, self._open = at_once, False

    def listen(self) -> None:
        """Hear SIGTERM and SIGINT, unless the parent had them ignored; process 1 of a container hears nothing else."""
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._end)

    def _end(self, number: int, _: object) -> None:
        self.wanted = True
        if self._open:
            self._open = False
            raise KeyboardInterrupt if number == signal.SIGINT else Stopped

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within, a signal may end the case. Raises Stopped where one came before."""
        if self._at_once and self.wanted:
            raise Stopped
        self._open = self._at_once
        try:
            yield
        finally:
            self._open = False


class Progress:
    """Hears the stages of a case: remembers the last for messages, ends the case when asked, may draw a bar."""

    def __init__(self, stop: Stop | None = None, bar: bool = False) -> None:
        self.stage = LOADING
        self.stop = stop or Stop()
        self._bar: Any = None
        self._wants_bar = bar

    def __call__(self, stage: str) -> None:
        """`stage` starts. Raises Stopped when the process was asked to end."""
        if self._wants_bar:
            self._draw(stage)
        self.stage = stage
        if self.stop.wanted:
            raise Stopped

    def _draw(self, stage: str) -> None:
        if self._bar is None:
            from tqdm import tqdm

            from spine.pipeline import STAGES

            self._bar = tqdm(
                total=len(STAGES), bar_format="{desc:<8} {bar} {n_fmt}/{total_fmt} [{elapsed}]", leave=False
            )
        self._bar.set_description_str(stage, refresh=False)
        self._bar.update(0 if self.stage == LOADING else 1)
        self._bar.refresh()

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.close()


@dataclass(frozen=True)
class Outcome:
    """How a case ended."""

    exit_code: int
    sentence: str  # '' when it was done
    report: Report | None = None
    trace: str = ""


def run_case(work: Callable[[], Report], output_dir: Path, progress: Progress) -> Outcome:
    """Run `work`: no output of an earlier case lies in `output_dir` before, and none at all after a failure.

    Never raises: whatever happens is told by the Outcome.
    """
    discard: Callable[[Path], None] | None = None
    try:
        from spine.write import clear_outputs, discard_outputs  # heavy: with little memory this alone may fail

        discard = discard_outputs
        clear_outputs(output_dir)
        with progress.stop.interruptible():
            report = work()
        return Outcome(DONE, "", report)
    except BaseException as fault:
        if discard is not None:
            discard(output_dir)
        code, sentence = explain(fault, progress.stage)
        return Outcome(code, sentence, trace="".join(traceback.format_exception(fault)))
    finally:
        progress.close()


def explain(fault: BaseException, stage: str) -> tuple[int, str]:
    """Exit code and the one sentence, on one line, for whatever ended a case in `stage`."""
    text = " ".join(str(fault).split())
    if isinstance(fault, SpineError):
        return fault.exit_code, text[:MAX_SENTENCE] or f"The software failed in {stage}: {type(fault).__name__}."
    if isinstance(fault, Stopped):
        return TERMINATED, f"The software was asked to stop in {stage}: no results were written."
    if isinstance(fault, KeyboardInterrupt):
        return INTERRUPTED, f"The software was interrupted in {stage}: no results were written."
    if isinstance(fault, MemoryError) or any(sign in text for sign in OUT_OF_MEMORY):
        return SOFTWARE_FAILED, f"The software ran out of memory in {stage}: more memory or a smaller image is needed."
    if isinstance(fault, OSError):
        text = fault.strerror or ""  # without the file's name
    detail = f": {text.rstrip('.')}" if text and stage not in NAMES_AT_HAND else ""
    return SOFTWARE_FAILED, f"The software failed in {stage}: {type(fault).__name__}{detail}."[:MAX_SENTENCE]


def summary(report: Report, output_dir: Path) -> tuple[str, ...]:
    """For a person at a terminal: what was found, what stands out, what was not measurable, where the results lie."""
    from spine.report import summary_lines

    where = f"Results: {output_dir} (spine-report.pdf, spine-degeneration-report.json, segmentation in images)."
    return (*summary_lines(report.report), where)


def reserve_streams() -> None:
    """Open the null device for each of the standard streams that is closed: no file may take its number.

    What is written to the error stream's number would go into that file.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def say(stream: TextIO | None, text: str) -> None:
    """Write `text` to `stream`; go on all the same where that is closed or full, or knows fewer characters.

    The outputs and the exit code are what counts, and Python would change the code of a process whose stream is full.
    """
    if stream is None:  # closed before the process started
        return
    try:
        encoding = stream.encoding or "utf-8"  # a stream in memory has none
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, stream.fileno())  # what is still in its buffer goes there when the process ends
        os.close(sink)
