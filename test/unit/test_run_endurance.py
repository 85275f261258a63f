"""The endurance trial's cases, its counting of files and its tables; the trial itself is a command."""

from __future__ import annotations

import json
import time

import numpy as np
import SimpleITK

from lab.evaluate.run_endurance import (
    DOCUMENTS,
    PHANTOM,
    SIZE_VOXELS,
    Trial,
    checked,
    memory_by_block,
    section,
    small_case,
    write_cases,
)


def test_every_case_is_another_picture_on_the_phantoms_axes():
    phantom = SimpleITK.ReadImage(str(next(PHANTOM.iterdir())))
    one, same, other = (small_case(phantom, seed) for seed in (1, 1, 2))
    assert one.GetSize() == SIZE_VOXELS
    assert one.GetDirection() == phantom.GetDirection()
    arrays = [SimpleITK.GetArrayFromImage(image) for image in (one, same, other)]
    assert np.array_equal(arrays[0], arrays[1])
    assert not np.array_equal(arrays[0], arrays[2])
    assert arrays[0].std() > 20  # there is a spine in it


def put_result(folder, exit_code=0, whole=True):
    for name in DOCUMENTS if whole else DOCUMENTS[:1]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x", encoding="utf-8")
    (folder / "run.json").write_text(json.dumps({"exit_code": exit_code}), encoding="utf-8")


def test_what_is_lost_doubled_or_not_whole_is_counted(tmp_path):
    names = write_cases(tmp_path / "cases", 4)
    assert names == ["case0001", "case0002", "case0003", "case0004"]
    output = tmp_path / "results"
    put_result(output / names[0])
    put_result(output / names[1], exit_code=3)
    put_result(output / names[2], whole=False)
    trial = Trial(tmp_path / "cases", output, 4, time.monotonic() + 60)
    before = trial.done() | {names[0]: 1}  # an older time stamp: it was written again
    (output / "cohort.csv").write_text("case\ncase0001\ncase0001\ncase0002\n", encoding="utf-8")
    (output / ".attempts" / "case0004~1~2").mkdir(parents=True)
    found = checked(trial, names, before)
    assert found == {
        "cases": 4, "with_result": 3, "lost": 1, "strange": 0, "doubled_in_table": 1, "rows_in_table": 3,
        "run_twice_after_the_restart": 1, "incomplete_folders": 1, "done": 2, "failed": 1, "unfinished_attempts": 1,
    }  # fmt: skip


def test_memory_is_told_every_hundred_cases():
    samples = [(0, 300.0, 40.0), (50, 310.0, 40.0), (99, 340.0, 41.0), (120, 320.0, 42.0)]
    rows = memory_by_block(samples)
    assert [row["cases_done"] for row in rows] == ["0 to 99", "100 to 199"]
    assert [(row["worker_median_mb"], row["worker_largest_mb"], row["samples"]) for row in rows] == [
        (310, 340, 3), (320, 320, 1),
    ]  # fmt: skip
    assert memory_by_block([]) == []


def test_a_trial_that_was_stopped_says_so():
    counts = {
        "cases": 1000, "with_result": 280, "lost": 720, "doubled_in_table": 0, "run_twice_after_the_restart": 0,
        "incomplete_folders": 0, "done": 280, "failed": 0,
    }  # fmt: skip
    text = section(
        counts
        | {"complete": False, "worker_after_cases": 250, "wall_minutes": 84.0, "processor_seconds_per_case": 0.5}
        | {"memory": memory_by_block([(250, 300.0, 40.0)])}
    )
    assert "stopped by its time limit after 280 cases" in text
    assert "worker killed (SIGKILL) after 250 cases" in text
    assert "whole run killed" not in text
    assert "| 280 | 280 | 0 | not finished | 0 | 0 | 0 |" in text
