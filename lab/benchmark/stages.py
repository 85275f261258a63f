"""One study through the whole path: cold, a process a case; warm, with the models loaded."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from lab.benchmark.cases import ROOT
from spine import pipeline
from spine.read import read_study
from spine.runners import Runner

MB = 1e6
POLL_S = 0.02


def cold(case: Path, output: Path) -> dict[str, float]:
    """`process.py` from start to outputs: wall seconds, its peak memory, what it read and wrote."""
    output.mkdir()
    command = [sys.executable, str(ROOT / "process.py"), "--input", str(case), "--output", str(output)]
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen([*command, "--runner", "cpu"], stdout=subprocess.DEVNULL, stderr=errors)
        usage, peak_mb = watch(process)
        wall_s = time.perf_counter() - start
        errors.seek(0)
        told = errors.read().decode(errors="replace")
    if process.returncode != 0 or told:
        raise SystemExit(f"process.py ended with {process.returncode}: {told}")
    return {
        "wall_s": round(wall_s, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(peak_mb),
        "input_mb": round(_bytes(case) / MB, 2),
        "output_mb": round(_bytes(output) / MB, 2),
    }


def watch(process: subprocess.Popen[bytes]) -> tuple[resource.struct_rusage, float]:
    """Wait for `process`: what it used, and its peak memory in MB.

    The peak is read from /proc while it runs: the one that the system reports afterwards counts the parent's too.
    """
    status, peak_mb = Path(f"/proc/{process.pid}/status"), 0.0
    while True:
        done, code, usage = os.wait4(process.pid, os.WNOHANG)
        if done:
            process.returncode = os.waitstatus_to_exitcode(code)
            return usage, peak_mb
        with suppress(OSError):
            peak_mb = max(peak_mb, high_water_mb(status.read_text(encoding="ascii")))
        time.sleep(POLL_S)


def high_water_mb(status: str) -> float:
    """VmHWM of the text of a /proc/PID/status; 0 once the process has let its memory go."""
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) * 1024 / MB if lines else 0.0


def start_s() -> float:
    """Seconds of `process.py --help`: Python, and the imports before the arguments are known to be good."""
    start = time.perf_counter()
    subprocess.run([sys.executable, str(ROOT / "process.py"), "--help"], stdout=subprocess.DEVNULL, check=True)
    return round(time.perf_counter() - start, 3)


def warm(case: Path, output: Path, repeats: int, between: Callable[[], None]) -> dict[str, Any]:
    """Seconds of each stage and of the network's calls alone, `repeats` times; the first case, left out, compiles.

    `between` is called before each case. `shape` is that of one input of the network, `inputs` their number.
    """
    models = pipeline.open_models(ROOT / "model", "cpu")
    timed = Timed(models.segmenter)
    runs = []
    for _ in range(repeats + 1):
        between()
        timed.reset()
        marks = Marks()
        with threadpool_limits(1, user_api="blas"):  # as process.py has it
            pipeline.run(partial(read_study, case), replace(models, segmenter=timed), output, marks)
        runs.append({**marks.seconds(), "network": round(timed.seconds, 3)})
    return {"runs": runs[1:], "shape": timed.shape, "inputs": timed.inputs}


class Marks:
    """When each stage started, as the pipeline tells it."""

    def __init__(self) -> None:
        self._starts: list[tuple[str, float]] = []

    def __call__(self, stage: str) -> None:
        """`stage` starts."""
        self._starts.append((stage, time.perf_counter()))

    def seconds(self) -> dict[str, float]:
        """Wall seconds of each stage, and of all."""
        names, starts = zip(*self._starts, strict=True)
        ends = (*starts[1:], time.perf_counter())
        each = {name: round(end - start, 3) for name, start, end in zip(names, starts, ends, strict=True)}
        return {**each, "total": round(ends[-1] - starts[0], 3)}


class Timed:
    """A runner whose calls are timed."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.shape: tuple[int, ...] = ()
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        self.seconds, self.inputs = 0.0, 0

    @property
    def name(self) -> str:
        """The runner's own."""
        return self._runner.name

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The runner's answer."""
        start = time.perf_counter()
        answer = self._runner(batch)
        self.seconds += time.perf_counter() - start
        self.inputs += len(batch)
        self.shape = (1, *batch.shape[1:])
        return answer


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
