"""A cohort on a pool of processes and on a real Dask scheduler: resumes, collects failures, survives killed workers."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import SimpleITK

from lab.evaluate.cases import Case, case_name, find_cases, masks_by_case
from lab.evaluate.run_cohort import OWN_MODEL, RECORD, Task, main, run_cohort, run_local
from lab.evaluate.run_endurance import PHANTOM, small_case
from spine.errors import MissingInput

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not (OWN_MODEL / "settings.json").is_file(), reason="model/ is not in this checkout")


@cache
def phantom() -> SimpleITK.Image:
    return SimpleITK.ReadImage(str(next(PHANTOM.iterdir())))


def put_image(path: Path, seed: int) -> None:
    """Three slices of the bundled phantom with gain and noise of their own: a real case, and a quick one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(small_case(phantom(), seed), str(path))


def put_cases(folder: Path, count: int) -> list[str]:
    names = [f"case{number:02d}" for number in range(count)]
    for seed, name in enumerate(names):
        put_image(folder / f"{name}.nii.gz", seed)
    return names


def records(output: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in output.glob(f"*/{RECORD}")}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_failures_are_collected_and_a_restart_skips_what_is_done(tmp_path, capsys):
    names = put_cases(tmp_path / "cases", 2)
    (tmp_path / "cases" / "broken.nii.gz").write_bytes(b"no image")
    arguments = ["--cases", str(tmp_path / "cases"), "--output", str(tmp_path / "out"), "--workers", "1"]

    assert main(arguments) == 1
    first = records(tmp_path / "out")
    assert {name: first[name]["exit_code"] for name in first} == {**dict.fromkeys(names, 0), "broken": 2}
    assert [row["case"] for row in table(tmp_path / "out" / "failures.csv")] == ["broken"]
    assert sorted(row["case"] for row in table(tmp_path / "out" / "cohort.csv")) == sorted([*names, "broken"])
    assert (tmp_path / "out" / names[0] / "spine-degeneration-report.json").is_file()

    put_image(tmp_path / "cases" / f"{names[1]}.nii.gz", 99)  # new content under an old name
    stamps = {name: (tmp_path / "out" / name / RECORD).stat().st_mtime_ns for name in first}
    capsys.readouterr()
    main(arguments)
    assert "2 were done before, 1 run now" in capsys.readouterr().out
    changed = {name for name in stamps if (tmp_path / "out" / name / RECORD).stat().st_mtime_ns != stamps[name]}
    assert changed == {names[1]}


def test_a_case_that_ends_its_worker_is_told_and_the_others_are_done(tmp_path):
    names = put_cases(tmp_path / "cases", 2)
    os.mkfifo(tmp_path / "cases" / "deadly.nii.gz")  # whoever reads it waits for ever, and is killed here
    killed, over = [], threading.Event()

    def kill() -> None:
        while not over.wait(0.05):
            for attempt in (tmp_path / "out" / ".attempts").glob("deadly~*"):
                worker = int(attempt.name.split("~")[1])
                if worker not in killed:
                    killed.append(worker)
                    os.kill(worker, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    deadly = Case("deadly", (("image", str(tmp_path / "cases" / "deadly.nii.gz")),))
    try:
        cases = [deadly, *find_cases(tmp_path / "cases")]
        told = run_cohort(cases, Task(str(tmp_path / "out"), str(OWN_MODEL)), workers=2, bar=False)
    finally:
        over.set()
        thread.join()
    assert {record["case"]: record["exit_code"] for record in told} == {"deadly": 3, **dict.fromkeys(names, 0)}
    assert len(told) == 3
    assert len(killed) == 2  # in the pool, and once more alone


def start(*command: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", *command], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def wait_until(condition, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_dask_loses_nothing_when_a_worker_is_killed(tmp_path):
    names = put_cases(tmp_path / "cases", 8)
    file = tmp_path / "scheduler.json"
    processes = [start("distributed.cli.dask_scheduler", "--port=0", "--no-dashboard", f"--scheduler-file={file}")]
    try:
        wait_until(file.is_file)
        worker = ("distributed.cli.dask_worker", f"--scheduler-file={file}", "--no-nanny", "--nthreads=1")
        processes += [start(*worker, "--no-dashboard") for _ in range(2)]
        address = json.loads(file.read_text())["address"]
        told = []

        def run() -> None:
            task = Task(str(tmp_path / "out"), str(OWN_MODEL))
            told.extend(run_cohort(find_cases(tmp_path / "cases"), task, scheduler=address, bar=False))

        thread = threading.Thread(target=run)
        thread.start()
        wait_until(lambda: len(records(tmp_path / "out")) >= 2)
        processes[1].send_signal(signal.SIGKILL)  # in the middle: it holds a case, and others are queued on it
        thread.join(120)
        assert not thread.is_alive()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert Counter(record["case"] for record in told) == Counter(names)
    assert {record["exit_code"] for record in told} == {0}
    assert sorted(records(tmp_path / "out")) == names
    assert not list((tmp_path / "out").glob(".attempts/*"))


def test_layouts(tmp_path):
    put_image(tmp_path / "platform" / "a" / "images" / "sagittal-spine-mri" / "x.mha", 0)
    put_image(tmp_path / "bids" / "sub-1" / "anat" / "sub-1_acq-sag_T2w.nii.gz", 0)
    put_image(tmp_path / "bids" / "sub-1" / "anat" / "sub-1_T1w.nii.gz", 0)
    put_image(tmp_path / "bids" / "sub-1" / "anat" / "sub-1_acq-ax_T2w.nii.gz", 0)
    put_image(tmp_path / "flat" / "7_image.nii.gz", 0)
    put_image(tmp_path / "flat" / "7_mask.nii.gz", 0)
    (tmp_path / "list.csv").write_text("case,image,t1\nseven,flat/7_image.nii.gz,\n")

    assert [(case.name, dict(case.files).keys()) for case in find_cases(tmp_path / "platform")] == [("a", {"input"})]
    (bids,) = find_cases(tmp_path / "bids")
    assert bids.name == "sub-1_acq-sag_T2w"
    assert {role: Path(path).name for role, path in bids.files} == {
        "image": "sub-1_acq-sag_T2w.nii.gz", "t1": "sub-1_T1w.nii.gz", "axial": "sub-1_acq-ax_T2w.nii.gz",
    }  # fmt: skip
    assert [case.name for case in find_cases(tmp_path / "flat")] == ["7"]
    assert masks_by_case(tmp_path / "flat") == {"7": tmp_path / "flat" / "7_mask.nii.gz"}
    assert [case.name for case in find_cases(tmp_path / "list.csv")] == ["seven"]
    assert case_name(Path("12_t2_0000.nii.gz")) == "12_t2"
    with pytest.raises(MissingInput, match="no such file"):
        find_cases(tmp_path / "nowhere")


def test_the_content_counts_and_not_the_name(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        put_image(tmp_path / f"{name}.mha", seed)
    a, b, c = find_cases(tmp_path)
    assert a.sha256() == b.sha256() != c.sha256()


def test_nothing_to_do_starts_no_pool(tmp_path):
    run_local([], Task(str(tmp_path), str(OWN_MODEL)), 2, pytest.fail)
