"""A folder of cases through the pipeline, models loaded once a worker; resumable; one machine or many.

    python -m lab.evaluate.run_cohort --cases DIR_OR_CSV --output DIR
    python -m lab.evaluate.run_cohort --cases DIR_OR_CSV --output DIR --scheduler tcp://head-node:8786

Layouts of --cases: see `lab.evaluate.cases.find_cases`. Each case gets a folder of its own in --output, moved there in
one step when it is complete, with the outputs of process.py and `run.json` (content hash, models, seconds, exit code).
A case is skipped on the next start when its content, the models and the software are those of its `run.json`; a failure
of the software (not of the input) is tried again. `cohort.csv` lists every case, `failures.csv` what went wrong.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import functools
import hashlib
import json
import os
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lab.evaluate.cases import Case, find_cases
from spine.case import DONE, SOFTWARE_FAILED, Progress, explain, run_case
from spine.errors import SpineError

RECORD = "run.json"
ATTEMPTS = ".attempts"
COLUMNS = ("case", "exit_code", "sentence", "seconds", "input_sha256", "code_and_models_sha256")
PACKAGE = Path(__file__).parents[2] / "spine"
OWN_MODEL = Path(__file__).parents[2] / "model"
WORKER_ENDED = "The worker ended while it ran this case: more memory may be needed."
Record = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """What every worker needs to know beside the case."""

    output: str
    model: str
    runner: str = "cpu"


@functools.lru_cache(maxsize=1)
def _models(model: str, runner: str) -> Any:
    """The models, once a process."""
    from spine.pipeline import open_models

    return open_models(Path(model), runner)


@functools.lru_cache(maxsize=1)
def code_and_models_sha256(model: str) -> str:
    """Digest of the package's code, of its resources and of the model folder."""
    digest = hashlib.sha256()
    for folder in (PACKAGE, PACKAGE.parent / "resources", Path(model)):
        files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        for path in sorted(files):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def run_one(case: Case, task: Task) -> Record:
    """Run `case` unless it is done; the same function for the local pool and for Dask. Never raises an Exception.

    The work happens in a folder of this attempt alone, so that a second run of the same case (Dask starts one when it
    loses sight of a worker) cannot mix with it; the last step moves the folder to its place.
    """
    start = time.perf_counter()
    output = Path(task.output)
    attempt = output / ATTEMPTS / f"{case.name}~{os.getpid()}~{uuid.uuid4().hex}"
    try:
        attempt.mkdir(parents=True)  # first of all: it tells which case a worker had when it died
        digests = {"input_sha256": case.sha256(), "code_and_models_sha256": code_and_models_sha256(task.model)}
        done = finished(output / case.name, digests)
        if done is not None:
            attempt.rmdir()
            return done
        outcome = run_case(lambda: _pipeline(case, task, attempt), attempt, Progress())
        record = _record(case, outcome.exit_code, outcome.sentence, time.perf_counter() - start) | digests
        (attempt / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        _move(attempt, output / case.name)
    except (OSError, SpineError) as fault:  # a file of the case vanished, the disk is full: told like any failure
        code, sentence = explain(fault, "reading")
        return _record(case, code, sentence, time.perf_counter() - start)
    return record


def _pipeline(case: Case, task: Task, folder: Path) -> Any:
    from spine.pipeline import run

    return run(case.reader(), _models(task.model, task.runner), folder)


def _record(case: Case, exit_code: int, sentence: str, seconds: float) -> Record:
    return {"case": case.name, "exit_code": exit_code, "sentence": sentence, "seconds": round(seconds, 3)}


def _move(attempt: Path, place: Path) -> None:
    """Put a complete folder in its place; an older one there is taken away first."""
    if place.exists():
        old = attempt.with_name(f"{attempt.name}~old")
        os.rename(place, old)
        shutil.rmtree(old, ignore_errors=True)
    os.rename(attempt, place)


def finished(folder: Path, digests: dict[str, str]) -> Record | None:
    """The record of a case that needs no run: done, or refused because of its input, with these very digests."""
    try:
        record: Record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = all(record.get(key) == value for key, value in digests.items())
    return record | {"skipped": True} if same and record.get("exit_code") != SOFTWARE_FAILED else None


def run_local(cases: list[Case], task: Task, workers: int, tell: Callable[[Record], None]) -> None:
    """Run `cases` in a pool of processes on this machine. A case that ends its worker is told as a failure.

    When a worker is killed the pool is lost; what was running then (all that is left, when nothing had begun) is run
    again one by one, so that only the case which ends its worker even alone is given up.
    """
    left = {case.name: case for case in cases}
    while left:
        if _pool(list(left.values()), task, workers, left, tell):
            return
        suspects = [left[name] for name in _running(Path(task.output)) if name in left]
        for suspect in suspects or list(left.values()):
            if not _pool([suspect], task, 1, left, tell):
                _forget(Path(task.output))
                del left[suspect.name]
                tell(_record(suspect, SOFTWARE_FAILED, WORKER_ENDED, 0.0))


def _pool(cases: list[Case], task: Task, workers: int, left: dict[str, Case], tell: Callable[[Record], None]) -> bool:
    """One pool over `cases`; whether it lived to the end. What is told is taken out of `left`."""
    with ProcessPoolExecutor(workers, get_context("spawn"), _end_with_parent) as pool:
        futures = [pool.submit(run_one, case, task) for case in cases]
        try:
            for future in as_completed(futures):
                record = future.result()
                del left[record["case"]]
                tell(record)
        except BrokenProcessPool:
            return False
    return True


def _end_with_parent() -> None:
    """Let this worker end when the process that started it is killed; it would wait for work for ever."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(SOFTWARE_FAILED)

    threading.Thread(target=watch, daemon=True).start()


def _running(output: Path) -> list[str]:
    """Names of the cases whose attempts were not finished; their folders are removed."""
    names = sorted({path.name.split("~")[0] for path in (output / ATTEMPTS).glob("*")})
    _forget(output)
    return names


def _forget(output: Path) -> None:
    shutil.rmtree(output / ATTEMPTS, ignore_errors=True)


def run_dask(cases: list[Case], task: Task, scheduler: str, tell: Callable[[Record], None]) -> None:
    """Run `cases` on the workers of a Dask scheduler, which gives the cases of a lost worker to others.

    A case during which `distributed.scheduler.allowed-failures` (3) workers were lost is told as a failure.
    """
    from distributed import Client, KilledWorker
    from distributed import as_completed as completed

    with Client(scheduler) as client:
        futures = {client.submit(run_one, case, task, pure=False): case for case in cases}
        for future in completed(list(futures)):
            case = futures.pop(future)
            try:
                record = future.result()
            except KilledWorker:
                record = _record(case, SOFTWARE_FAILED, WORKER_ENDED, 0.0)
            future.release()
            tell(record)


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Hold the output folder; a second run on the same folder is refused."""
    output.mkdir(parents=True, exist_ok=True)
    with (output / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SystemExit(f"{output}: another run is writing into this folder.") from None
        yield


def run_cohort(
    cases: list[Case], task: Task, workers: int = 1, scheduler: str | None = None, bar: bool = True
) -> list[Record]:
    """Run every case and write `cohort.csv` and `failures.csv`; the records, sorted by case."""
    output = Path(task.output)
    records: list[Record] = []
    with _alone(output), tqdm(total=len(cases), unit="case", disable=not bar, smoothing=0.1) as progress:
        _forget(output)

        def tell(record: Record) -> None:
            records.append(record)
            failed = sum(one["exit_code"] != DONE for one in records)
            skipped = sum(bool(one.get("skipped")) for one in records)
            progress.set_postfix(failed=failed, skipped=skipped, refresh=False)
            progress.update()

        if scheduler:
            run_dask(cases, task, scheduler, tell)
        else:
            run_local(cases, task, workers, tell)
        _forget(output)
    records.sort(key=lambda record: record["case"])
    _write_table(output / "cohort.csv", records)
    _write_table(output / "failures.csv", [record for record in records if record["exit_code"] != DONE])
    return records


def _write_table(path: Path, records: list[Record]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(records)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when every case is done, 1 when some failed, 2 when there is nothing to run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, required=True, help="folder of cases, or CSV of paths")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=OWN_MODEL)
    parser.add_argument("--runner", default="cpu", choices=("auto", "tensorrt", "cuda", "cpu"))
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) // 2), help="processes here")
    parser.add_argument("--scheduler", help="address of a Dask scheduler, tcp://HOST:PORT, instead of --workers")
    args = parser.parse_args(argv)
    try:
        cases = find_cases(args.cases)
    except SpineError as error:
        print(error, file=sys.stderr)
        return 2
    task = Task(str(args.output.resolve()), str(args.model.resolve()), args.runner)
    start = time.perf_counter()
    records = run_cohort(cases, task, args.workers, args.scheduler)
    minutes = (time.perf_counter() - start) / 60
    failed = [record for record in records if record["exit_code"] != DONE]
    run = sum(not record.get("skipped") for record in records)
    print(f"{len(records)} cases: {len(failed)} failed, {len(records) - run} were done before, {run} run now")
    print(f"{minutes:.1f} minutes, {run / max(minutes, 1e-9):.1f} cases per minute; {args.output / 'cohort.csv'}")
    for record in failed[:10]:
        print(f"  {record['case']}: {record['sentence']}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
