"""Faults and foreign images on process.py itself: the right exit code, one sentence, all files or none; determinism."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lab.evaluate.fault_attempt import CASE, Fault, judge, try_fault, with_arguments
from lab.evaluate.fault_inputs import MAKERS, write_input
from lab.evaluate.fault_signals import Try, exec_try, row, serve_try, small_input
from lab.evaluate.faults import all_faults, merged
from spine import memory, runners
from spine.case import explain
from spine.conform import conform_series, conform_study
from spine.errors import InputError, ModelError, UnusableImage
from spine.label import label_levels
from spine.pipeline import open_models, run
from spine.quality import judge_quality
from spine.quality.order import order_doubts
from spine.quality.thresholds import read_thresholds
from spine.read import read_study
from spine.segment import segment_volume

MODEL = Path(__file__).parents[2] / "model"
TRIED_HERE = ("model: quality.json changed", "input: relative path with ..")
TURNED = ("upside down", "back in front", "rotated by 180 degrees")
AFTER_THE_NETWORK = (
    "noise instead of a spine",
    "water phantom",
    "segmentation mask",
    "CT numbers",
    "negative",
    *TURNED,
)
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


def test_every_fault_has_a_name_of_its_own():
    names = [fault.name for fault in all_faults()]
    assert len(names) == len(set(names))
    assert all(fault.tries >= 1 for fault in all_faults())


@pytest.mark.parametrize(
    ("attempt", "mark", "allowed"), [(exec_try, "made output.mha", (143,)), (serve_try, "segment", (0,))]
)
def test_sigterm_in_the_middle_of_a_real_case(tmp_path, attempt, mark, allowed):
    (tmp_path / "out").mkdir()
    found = attempt(small_input(tmp_path), tmp_path / "out", mark, 0.0)
    assert found.wrong(allowed) == ""
    assert found.files == 0
    assert found.lines[0].startswith("The software was asked to stop in ")


def test_what_counts_as_a_signal_survived():
    stopped = Try(143, 1.0, 0, ["The software was asked to stop in read: no results were written."])
    assert stopped.wrong((143, 0)) == ""
    assert Try(143, 1.0, 3, stopped.lines).wrong((143,)) == "3 of 5 files were left"
    assert Try(143, 5.1, 0, stopped.lines).wrong((143,)) == "it took 5.1 s"
    assert Try(1, 1.0, 0, ["Traceback"]).wrong((143,)) == "exit code 1: Traceback"
    assert Try(143, 1.0, 0, ["a.", "b."]).wrong((143,)) == "2 lines instead of one sentence"
    told = row("exec", "read", [stopped, Try(0, 2.0, 5)], (143, 0))
    assert (told["tried"], told["survived"]) == (2, 2)
    assert told["said"].endswith("(1 stopped with nothing left, 1 already complete; at most 2.0 s)")


def test_a_try_that_this_machine_cannot_make_is_no_try(tmp_path):
    told = try_fault(Fault("x", (0,), with_arguments(prefix=("no-such-program",)), 3), tmp_path)
    assert (told["tried"], told["said"]) == (0, "not tried: there is no no-such-program here")


def test_rows_that_were_tried_again_take_the_place_of_the_old():
    old = {"inputs": [{"fault": "a", "tried": 1}, {"fault": "b", "tried": 1}], "signals": [{"fault": "c"}]}
    new = merged(old, "inputs", [{"fault": "b", "tried": 2}, {"fault": "d", "tried": 1}])
    assert [(row["fault"], row["tried"]) for row in new["inputs"]] == [("a", 1), ("b", 2), ("d", 1)]
    assert new["signals"] == old["signals"]


def test_no_duration_and_no_decision_depends_on_the_date():
    """Dates may jump: only the monotonic clock measures, and only FHIR and DICOM say when they were made."""
    calls = re.compile(r"\btime\.time\(|\.now\(|\.today\(|\.utcnow\(|localtime|gmtime")
    files = [MODEL.parent / "process.py", *(MODEL.parent / "spine").rglob("*.py")]
    found = {path.relative_to(MODEL.parent).as_posix() for path in files if calls.search(path.read_text("utf-8"))}
    assert found == {"spine/export/fhir.py"}


def test_avx_512_can_be_kept_from_the_convolutions():
    """What the row 'held to AVX2' really changes: OpenVINO's convolutions, not all of its kernels."""
    script = (
        "import sys, openvino as ov\n"
        "core = ov.Core()\n"
        "model = core.read_model(sys.argv[1])\n"
        "shape = [d.get_length() if d.is_static else 32 for d in model.input(0).get_partial_shape()]\n"
        "model.reshape([1, *shape[1:]])\n"
        "compiled = core.compile_model(model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})\n"
        "infos = [op.get_rt_info() for op in compiled.get_runtime_model().get_ops()]\n"
        "print(*(info['primitiveType'].astype(str) for info in infos if 'primitiveType' in info))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(MODEL / "segmenter.onnx")], capture_output=True, text=True, check=True,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}, timeout=120,
    )  # fmt: skip
    convolutions = {kind for kind in done.stdout.split() if "conv" in kind}
    assert convolutions
    assert not any("avx512" in kind for kind in convolutions)


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
        ("negative", "nothing is dark, as on a negative"),
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


def test_a_picture_on_its_head_is_refused(tmp_path, models):
    series = read_study(write_input("upside down", CASE, tmp_path / "case")).primary
    middle = series.array.shape[0] // 2
    grid = replace(series.grid, size=(*series.grid.size[:2], 1))
    one = replace(series, array=series.array[middle : middle + 1], grid=grid)
    volume = conform_series(one, models.settings.grid)
    with pytest.raises(UnusableImage, match="seems to be upside down: the geometry in its header is wrong"):
        judge_quality(one, volume, *models.read(volume), models.quality, models.read)


@pytest.mark.parametrize(
    ("name", "flag"),
    [("every other slice first", "slices_out_of_order"), ("one slice stored twice", "slices_repeated")],
)
def test_slices_that_do_not_follow_each_other_are_told(tmp_path, models, name, flag):
    series = read_study(write_input(name, CASE, tmp_path / "case")).primary
    flags, doubts = order_doubts(series, conform_series(series, models.settings.grid), read_thresholds())
    assert flags == (flag,)
    assert doubts
    sound = read_study(CASE).primary
    assert order_doubts(sound, conform_series(sound, models.settings.grid), read_thresholds()) == ((), ())


def test_an_offset_of_the_stored_numbers_is_taken_off(tmp_path, models):
    moved = read_study(write_input("stored with an offset of -1000", CASE, tmp_path / "case")).primary
    plain = read_study(CASE).primary
    found, expected = (conform_series(one, models.settings.grid).array for one in (moved, plain))
    # The background of this case is noise: of the signed copy the lowest thousandth is taken off, not the very minimum.
    np.testing.assert_allclose(found, expected, atol=3e-3)


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
    monkeypatch.setattr(memory, "CGROUP_MEMORY", ((tmp_path, "memory.max", "memory.current"),))
    monkeypatch.setattr(memory, "OWN_CGROUPS", tmp_path / "own")
    unlimited = memory.available_bytes()
    limit, use, stat = (tmp_path / name for name in ("memory.max", "memory.current", "memory.stat"))
    limit.write_text("5000000\n")
    use.write_text("4000000\n")
    assert memory.available_bytes() == 1_000_000
    stat.write_text("anon 1\ninactive_file 500000\nactive_file 100000\n")
    assert memory.available_bytes() == 1_600_000  # pages of files are given back
    stat.write_text("inactive_file 0\nactive_file 0\ntotal_inactive_file 700000\ntotal_active_file 100000\n")
    assert memory.available_bytes() == 1_800_000  # version 1 counts those of groups below apart
    limit.write_text("max\n")
    assert memory.available_bytes() == pytest.approx(unlimited, rel=0.5)
    memory.require_memory(1000)


def test_memory_follows_every_group_on_the_way(tmp_path, monkeypatch):
    """A batch system limits a group somewhere above the process."""
    monkeypatch.setattr(memory, "CGROUP_MEMORY", ((tmp_path, "memory.max", "memory.current"),))
    monkeypatch.setattr(memory, "OWN_CGROUPS", tmp_path / "own")
    (tmp_path / "own").write_text("0::/batch/job7/step0\n1:name=systemd:/../elsewhere\n")
    (tmp_path / "batch" / "job7").mkdir(parents=True)
    (tmp_path / "batch" / "job7" / "memory.max").write_text("3000000\n")
    (tmp_path / "batch" / "job7" / "memory.current").write_text("1000000\n")
    assert memory.available_bytes() == 2_000_000


def test_an_image_that_cannot_fit_is_not_read(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1_000_000)
    with pytest.raises(MemoryError, match="MB are needed, 1 MB are free"):
        read_study(CASE)
