"""One case from start to sentence: the core that exec and serve share.

What a stage raises becomes an exit code and one sentence here, and nowhere else.
"""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spine.errors import SpineError
from spine.records import Report

DONE, SOFTWARE_FAILED, INTERRUPTED, TERMINATED = 0, 3, 130, 143
LOADING = "loading the models"  # what happens before the first stage
# How libraries that have no MemoryError say so.
OUT_OF_MEMORY = ("failed to map segment", "Cannot allocate memory", "Resource temporarily unavailable", "bad_alloc")
MAX_SENTENCE = 1_000  # characters of a message that go to a user


class Stopped(BaseException):
    """The process was asked to end; not an Exception, so that no stage takes it for a fault of its own."""


class Stop:
    """The wish to end, set by a signal handler (a plain flag: a handler must not take locks)."""

    wanted = False


def stop_on_sigterm() -> None:
    """Let SIGTERM end the case of this process by Stopped; Python as process 1 of a container would ignore it."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # cleaning up is not disturbed
        raise Stopped

    signal.signal(signal.SIGTERM, end)


class Progress:
    """Hears the stages of a case: remembers the last for messages, ends the case when asked, may draw a bar."""

    def __init__(self, stop: Stop | None = None, bar: bool = False) -> None:
        self.stage = LOADING
        self._stop = stop
        self._bar: Any = None
        self._wants_bar = bar

    def __call__(self, stage: str) -> None:
        """`stage` starts. Raises Stopped when the process was asked to end."""
        if self._wants_bar:
            self._draw(stage)
        self.stage = stage
        if self._stop is not None and self._stop.wanted:
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
    from spine.write import clear_outputs

    try:
        clear_outputs(output_dir)
        return Outcome(DONE, "", work())
    except BaseException as fault:
        with suppress(SpineError):
            clear_outputs(output_dir)
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
    detail = f": {text.rstrip('.')}" if text else ""
    return SOFTWARE_FAILED, f"The software failed in {stage}: {type(fault).__name__}{detail}."[:MAX_SENTENCE]


def summary(report: Report, output_dir: Path) -> tuple[str, ...]:
    """For a person at a terminal: what was found, what stands out, what was not measurable, where the results lie."""
    from spine.report import summary_lines

    where = f"Results: {output_dir} (spine-report.pdf, spine-degeneration-report.json, segmentation in images)."
    return (*summary_lines(report.report), where)
