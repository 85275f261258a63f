"""Faults and foreign images on process.py itself: the right exit code, one sentence, all files or none; determinism."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lab.evaluate.fault_inputs import MAKERS, write_input
from lab.evaluate.faults import CASE, all_faults, judge, try_fault
from spine import memory, runners
from spine.case import explain
from spine.conform import conform_study
from spine.errors import InputError, ModelError, UnusableImage
from spine.label import label_levels
from spine.pipeline import open_models, run
from spine.quality import judge_quality
from spine.read import read_study
from spine.segment import segment_volume

MODEL = Path(__file__).parents[2] / "model"
TRIED_HERE = ("model: quality.json changed", "input: relative path with ..")
AFTER_THE_NETWORK = ("noise instead of a spine", "water phantom", "segmentation mask", "CT numbers")
BEFORE_THE_NETWORK = [
    name for name, (code, _) in MAKERS.items() if code and name not in (*AFTER_THE_NETWORK, "field of view of 3 cm")
]


@pytest.fixture(scope="module")
def models():
    return open_models(MODEL, "cpu")


@pytest.mark.parametrize("name", TRIED_HERE)
def test_faults_end_in_one_sentence(tmp_path, name):
    fault = next(fault for fault in all_faults() if fault.name == name)
    row = try_fault(fault, tmp_path)
    if not row["tried"]:
        pytest.skip(row["said"])
    assert row["survived"] == row["tried"], row["said"]


def test_what_counts_as_survived():
    fault = all_faults()[0]
    complete = {str(n) for n in range(5)}
    assert judge(fault, 0, "", complete) == ""
    assert judge(fault, 0, "", set()) == "0 files in the output folder"
    assert judge(fault, 1, "Traceback\nError: x", set()) == "exit code 1: Error: x"
    refused = replace(fault, allowed=(2,))
    assert judge(refused, 2, "x: it is damaged.", set()) == ""
    assert judge(refused, 2, "x: it is damaged.", {"a"}) == "1 files in the output folder"
    assert judge(refused, 2, "oops", set()) == "no sentence"
    assert judge(refused, 2, "Traceback\nIt is damaged.", set()) == "a stack trace"


@pytest.mark.parametrize("name", BEFORE_THE_NETWORK)
def test_other_inputs_are_refused_before_anything_is_written(tmp_path, models, name):
    case = write_input(name, CASE, tmp_path / "case")
    models = replace(models, segmenter=None)  # the network must not be asked
    with pytest.raises(InputError) as caught:
        run(partial(read_study, case), models, tmp_path / "out")
    assert str(caught.value).endswith((".", "?"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("noise instead of a spine", "no vertebral body was recognised|with a probability of"),
        ("water phantom", "no vertebral body was recognised|with a probability of"),
        ("segmentation mask", "2 grey levels only"),
        ("CT numbers", "-500 or less, as on CT"),
    ],
)
def test_what_is_no_spine_is_refused(tmp_path, models, name, reason):
    study = read_study(write_input(name, CASE, tmp_path / "case"))
    middle = study.sagittal.array.shape[0] // 2
    grid = replace(study.sagittal.grid, size=(*study.sagittal.grid.size[:2], 1))
    series = replace(study.sagittal, array=study.sagittal.array[middle : middle + 1], grid=grid)
    volume = conform_study(replace(study, sagittal=series), models.settings.grid)
    segmentation = segment_volume(volume, models.segmenter, models.settings.segmenter)
    with pytest.raises(UnusableImage, match=reason) as caught:
        judge_quality(series, volume, segmentation, label_levels(segmentation, volume), models.quality)
    assert str(caught.value).startswith("No spine was found in sagittal-spine-mri: ")


def test_one_and_two_threads_answer_alike(models, monkeypatch):
    volume = conform_study(read_study(CASE), models.settings.grid)
    middle = volume.array.shape[0] // 2
    volume = replace(volume, array=volume.array[middle : middle + 1], content=(1, *volume.content[1:]))
    answers = []
    for threads in (1, 2):
        monkeypatch.setattr(runners, "available_threads", lambda threads=threads: threads)
        settings = models.settings.segmenter
        runner = runners.open_runner(MODEL / settings.file, settings.sha256, "cpu")
        assert f"{threads} thread" in runner.name
        answers.append(segment_volume(volume, runner, settings))
    np.testing.assert_array_equal(answers[0].structures, answers[1].structures)
    np.testing.assert_array_equal(answers[0].probabilities, answers[1].probabilities)


def test_a_case_that_cannot_fit_ends_in_a_sentence(tmp_path, models, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1_000_000)
    with pytest.raises(MemoryError, match="MB are needed, 1 MB are free") as caught:
        run(partial(read_study, CASE), models, tmp_path / "out")
    code, sentence = explain(caught.value, "conform")
    assert code == 3
    assert sentence.startswith("The software ran out of memory in conform")
    assert not (tmp_path / "out").exists()


def test_a_foreign_network_under_the_name_of_ours_is_refused(models):
    with pytest.raises(ModelError, match=r"the network takes \d channels; 3 are given"):
        segment_volume(conform_study(read_study(CASE), models.settings.grid), models.grader, models.settings.segmenter)


def test_libraries_without_a_memory_error_are_understood():
    fault = ImportError("x.so: failed to map segment from shared object")
    assert explain(fault, "label") == explain(MemoryError(), "label")


def test_memory_follows_the_container(tmp_path, monkeypatch):
    limit, use = tmp_path / "memory.max", tmp_path / "memory.current"
    monkeypatch.setattr(memory, "CGROUP_MEMORY", ((limit, use),))
    unlimited = memory.available_bytes()
    limit.write_text("5000000\n")
    use.write_text("4000000\n")
    assert memory.available_bytes() == 1_000_000
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 500000\nactive_file 100000\n")
    assert memory.available_bytes() == 1_600_000  # pages of files are given back
    limit.write_text("max\n")
    assert memory.available_bytes() == pytest.approx(unlimited, rel=0.5)
    memory.require_memory(1000)
