"""Does a long cohort hold: memory, and what is left after kill -9? Small synthetic cases through `run_cohort`.

    python -m lab.evaluate.run_endurance --cases 1000 --output DIR --document docs/validation.md

Cases are cut from the bundled phantom, each with a place, gain and noise of its own. After a quarter of them the worker
is killed (SIGKILL), after half the whole run; then the same command is started again. Memory is read from the operating
system while it runs. Written: DIR/endurance.json, and the section between the `<!-- endurance COUNT -->` lines of the
document. With --minutes the trial stops there and the section tells how far it came.
"""

from __future__ import annotations

import argparse
import csv
import json
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import SimpleITK

from lab.evaluate.figures import fill
from lab.evaluate.run_cohort import ATTEMPTS, RECORD
from spine.case import DONE

ROOT = Path(__file__).parents[2]
PHANTOM = ROOT / "test" / "input" / "lumbar" / "images" / "sagittal-spine-mri"
SIZE_VOXELS = (144, 160, 3)  # columns, rows and slices of a small case: 101 x 112 x 12 mm of the phantom
NOISE_SHARE = 0.02  # standard deviation of the noise, of the brightest voxel
BLOCK = 100  # cases a row of the memory table
SAMPLE_SECONDS = 2.0
DOCUMENTS = (
    "images/sagittal-spine-mr-segmentation/output.mha",
    "spine-degeneration-report.json",
    "accelerated-degeneration-likelihood.json",
    "spine-treatment-outcome-prediction.json",
    "spine-report.pdf",
)


def write_cases(folder: Path, count: int) -> list[str]:
    """`count` small images as case0001.mha ...; those that are there already are kept. Their names."""
    phantom = SimpleITK.ReadImage(str(next(PHANTOM.iterdir())))
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"case{number:04d}" for number in range(1, count + 1)]
    for seed, name in enumerate(names):
        path = folder / f"{name}.mha"
        if not path.is_file():
            SimpleITK.WriteImage(small_case(phantom, seed), str(path), True)
    return names


def small_case(phantom: SimpleITK.Image, seed: int) -> SimpleITK.Image:
    """A window of `phantom` at a random place near its middle, with random gain and noise."""
    generator = np.random.default_rng(seed)
    room = np.asarray(phantom.GetSize()) - SIZE_VOXELS
    start = np.clip(room // 2 + generator.integers(-12, 13, 3) * (1, 1, 0), 0, room)
    window = SimpleITK.RegionOfInterest(phantom, SIZE_VOXELS, [int(one) for one in start])
    array = SimpleITK.GetArrayFromImage(window).astype(float)
    array = array * generator.uniform(0.8, 1.2) + generator.normal(0, NOISE_SHARE * array.max(), array.shape)
    image = SimpleITK.GetImageFromArray(np.clip(array, 0, None).astype(np.int16))
    image.CopyInformation(window)
    return image


@dataclass
class Trial:
    """One cohort that is watched, killed and started again."""

    cases: Path
    output: Path
    count: int
    deadline: float  # time.monotonic()
    samples: list[tuple[int, float, float]] = field(default_factory=list)  # cases done, MB of the workers, of the run
    processor_seconds: float = 0.0

    def start(self) -> subprocess.Popen[bytes]:
        """The command of docs/validation.md with one worker."""
        words = ["--cases", str(self.cases), "--output", str(self.output), "--workers", "1"]
        log = (self.output.parent / "run.log").open("ab")
        with log:
            command = [sys.executable, "-m", "lab.evaluate.run_cohort", *words]
            return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def done(self) -> dict[str, int]:
        """Case -> time stamp of its record."""
        return {path.parent.name: path.stat().st_mtime_ns for path in self.output.glob(f"*/{RECORD}")}

    def watch(self, run: subprocess.Popen[bytes], until: int) -> bool:
        """Sample memory until `until` cases are done or the run ends; False when the deadline came first."""
        used: dict[int, float] = {}
        while run.poll() is None and time.monotonic() < self.deadline:
            done = len(self.done())
            if done >= until:
                break
            workers = _sizes(run.pid, used)
            if workers and done < self.count:
                self.samples.append((done, max(workers), _resident_mb(psutil.Process(run.pid))))
            time.sleep(SAMPLE_SECONDS)
        self.processor_seconds += sum(used.values())
        return time.monotonic() < self.deadline

    def kill(self, run: subprocess.Popen[bytes], worker_only: bool = False) -> None:
        """SIGKILL to the largest worker, or to the run; then wait until its workers have seen that and are gone."""
        children = psutil.Process(run.pid).children(recursive=True)
        if worker_only:
            max(children, key=_resident_mb).send_signal(signal.SIGKILL)
            return
        run.send_signal(signal.SIGKILL)
        run.wait()
        _, alive = psutil.wait_procs(children, timeout=60)
        if alive:
            raise RuntimeError(f"{len(alive)} workers outlived their run")


def _resident_mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / 1e6
    except psutil.NoSuchProcess:
        return 0.0


def _sizes(pid: int, used: dict[int, float]) -> list[float]:
    """Resident MB of every worker of the run `pid`; their processor seconds are noted in `used`."""
    sizes = []
    for child in psutil.Process(pid).children(recursive=True):
        try:
            times = child.cpu_times()
            used[child.pid] = times.user + times.system
            sizes.append(_resident_mb(child))
        except psutil.NoSuchProcess:
            continue
    return sizes


def run_trial(cases: Path, output: Path, count: int, minutes: float) -> dict[str, Any]:
    """Write the cases, run, kill a worker, kill the run, run again; what was found."""
    names = write_cases(cases, count)
    trial = Trial(cases, output, count, time.monotonic() + 60 * minutes)
    output.mkdir(parents=True, exist_ok=True)
    if trial.done():
        raise SystemExit(f"{output} holds results of an earlier trial: give an empty folder.")
    begun = time.monotonic()
    run = trial.start()
    killed: dict[str, int] = {}
    before: dict[str, int] = {}
    in_time = trial.watch(run, count // 4)
    if in_time:
        killed["worker_after_cases"] = len(trial.done())
        trial.kill(run, worker_only=True)
        in_time = trial.watch(run, count // 2)
    if in_time:
        trial.kill(run)
        before = trial.done()
        killed["run_after_cases"] = len(before)
        run = trial.start()
        in_time = trial.watch(run, count + 1)
    if not in_time:
        trial.kill(run)
    seconds = time.monotonic() - begun
    return {"complete": in_time, **killed, **checked(trial, names, before)} | {
        "wall_minutes": round(seconds / 60, 1),
        "processor_seconds_per_case": round(trial.processor_seconds / max(1, len(trial.done())), 2),
        "memory": memory_by_block(trial.samples),
    }


def checked(trial: Trial, names: list[str], before: dict[str, int]) -> dict[str, Any]:
    """What is there at the end, counted from the files."""
    after = trial.done()
    codes = Counter(json.loads((trial.output / name / RECORD).read_text())["exit_code"] for name in after)
    table = trial.output / "cohort.csv"
    rows: Counter[str] = Counter()
    if table.is_file():
        with table.open(encoding="utf-8", newline="") as file:
            rows.update(row["case"] for row in csv.DictReader(file))
    return {
        "cases": trial.count,
        "with_result": len(after),
        "lost": len(set(names) - set(after)),
        "strange": len(set(after) - set(names)),
        "doubled_in_table": sum(number > 1 for number in rows.values()),
        "rows_in_table": sum(rows.values()),
        "run_twice_after_the_restart": sum(after[name] != stamp for name, stamp in before.items() if name in after),
        "incomplete_folders": sum(_incomplete(trial.output / name) for name in after),
        "done": codes[DONE],
        "failed": sum(codes.values()) - codes[DONE],
        "unfinished_attempts": len(list((trial.output / ATTEMPTS).glob("*"))),
    }


def _incomplete(folder: Path) -> bool:
    return not all((folder / name).is_file() for name in DOCUMENTS)


def memory_by_block(samples: list[tuple[int, float, float]]) -> list[dict[str, Any]]:
    """Median and largest resident memory of worker and run, a row every 100 finished cases."""
    rows = []
    for block in range(max((done for done, _, _ in samples), default=-1) // BLOCK + 1):
        own = [(worker, run) for done, worker, run in samples if done // BLOCK == block]
        if own:
            rows.append(
                {
                    "cases_done": f"{block * BLOCK} to {(block + 1) * BLOCK - 1}",
                    "samples": len(own),
                    "worker_median_mb": round(statistics.median(worker for worker, _ in own)),
                    "worker_largest_mb": round(max(worker for worker, _ in own)),
                    "run_median_mb": round(statistics.median(run for _, run in own)),
                }
            )
    return rows


def section(found: dict[str, Any]) -> str:
    """The part of the document, in Markdown."""
    how = "to the end" if found["complete"] else f"stopped by its time limit after {found['with_result']} cases"
    kills = [
        f"{what} killed (SIGKILL) after {found[key]} cases"
        for key, what in (("worker_after_cases", "worker"), ("run_after_cases", "whole run"))
        if key in found
    ]
    lines = [
        f"{found['cases']} small synthetic cases ({SIZE_VOXELS[2]} slices of {SIZE_VOXELS[1]} x {SIZE_VOXELS[0]}), one "
        f"worker, {how}; {', '.join(kills) or 'nothing was killed'}"
        + ("; the same command started again." if "run_after_cases" in found else "."),
        "",
        "| with a result | done | failed | lost | doubled | run again after the restart | folders not whole |",
        "|---|---|---|---|---|---|---|",
        f"| {found['with_result']} | {found['done']} | {found['failed']} | "
        f"{found['lost'] if found['complete'] else 'not finished'} | "
        f"{found['doubled_in_table']} | {found['run_twice_after_the_restart']} | {found['incomplete_folders']} |",
        "",
        f"{found['processor_seconds_per_case']:.2f} processor seconds a case, models' loading included; "
        f"{found['wall_minutes']:.0f} minutes on a machine that was busy with other work.",
        "",
        "| cases done | worker, median MB | worker, largest MB | run itself, MB |",
        "|---|---|---|---|",
    ]
    for row in found["memory"]:
        lines.append(
            f"| {row['cases_done']} | {row['worker_median_mb']} | {row['worker_largest_mb']} | {row['run_median_mb']} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """0 when every case has exactly one result, 1 when not or when the time was over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--output", type=Path, required=True, help="empty folder for cases and results")
    parser.add_argument("--minutes", type=float, default=600.0, help="stop after this time")
    parser.add_argument("--document", type=Path, help="Markdown file with `<!-- endurance COUNT -->` lines to fill")
    options = parser.parse_args(arguments)
    output = options.output.resolve()
    found = run_trial(output / "cases", output / "results", options.cases, options.minutes)
    (output / "endurance.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if options.document:
        text = options.document.read_text(encoding="utf-8")
        options.document.write_text(fill(text, f"endurance {options.cases}", section(found)), encoding="utf-8")
    print(section(found))
    faults = ("lost", "strange", "doubled_in_table", "run_twice_after_the_restart", "incomplete_folders", "failed")
    return int(not found["complete"] or any(found[name] for name in faults))


if __name__ == "__main__":
    sys.exit(main())
