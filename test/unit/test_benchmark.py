"""The benchmark: what it counts, what it draws from the counts, and the commands themselves on a tiny case."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lab.benchmark import __main__ as benchmark
from lab.benchmark import scaling, stages
from lab.benchmark.cases import SIZES
from lab.benchmark.machine import network_work
from lab.benchmark.serving import growth_mb
from lab.convert import check_precision

ROOT = Path(__file__).parents[2]


@pytest.fixture
def convolution(tmp_path):
    """One 3 x 3 convolution, 2 -> 4 channels, of any batch, rows and columns."""
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "h", "w"])]
        for name, channels in (("image", 2), ("answer", 4))
    ]
    weight = numpy_helper.from_array(np.zeros((4, 2, 3, 3), np.float32), "weight")
    node = helper.make_node("Conv", ["image", "weight"], ["answer"], pads=[1, 1, 1, 1])
    model = helper.make_model(helper.make_graph([node], "g", *ends, initializer=[weight]))
    file = tmp_path / "convolution.onnx"
    onnx.save(model, file)
    return file


def test_flop_and_bytes_of_one_convolution_by_hand(convolution):
    work = network_work(convolution, (1, 2, 10, 20))
    assert work.flop == 2 * (4 * 10 * 20) * (2 * 3 * 3)
    assert work.bytes_moved == 4 * (2 * 10 * 20 + 4 * 2 * 3 * 3 + 4 * 10 * 20)


def test_the_shipped_network_costs_what_it_was_designed_for():
    work = network_work(ROOT / "model" / "segmenter.onnx", (1, 3, 352, 352))
    assert 9e9 < work.flop < 1e10
    assert work.bytes_moved > 1e8


def test_stages_are_timed_from_one_start_to_the_next(monkeypatch):
    ticks = iter([1.0, 2.5, 6.5])
    monkeypatch.setattr(stages.time, "perf_counter", lambda: next(ticks))
    marks = stages.Marks()
    marks("read")
    marks("segment")
    assert marks.seconds() == {"read": 1.5, "segment": 4.0, "total": 5.5}


def test_a_table_has_medians_spread_shares_and_ratios():
    runs = [{"read": 0.1, "total": total} for total in (2.0, 4.0, 3.0)]
    peer = {"version": "2", "network": "U", "parameters_million": 44.3, "mode": "estimate", "estimated": True}
    found = {
        "cold": [{"wall_s": 5.0}],
        "warm": {"runs": runs},
        "work": {"network_share_of_peak": 0.9},
        "peers": [{**peer, "peak_mb": 2500, "seconds": {"default": 600.0}}],
    }
    machine = {"processor": "P", "threads": 2, "python": "3"}
    text = benchmark.table({"machine": machine, "matmul_gflops": 200.0, "help_s": [0.1], "studies": {"routine": found}})
    assert "| routine | warm total | 3.00 | 2.00 | 4.00 |" in text
    assert "| routine | network_share_of_peak | 0.9 | | |" in text
    assert "| routine | times our whole path, default (estimated from one window) | 200.0 | | |" in text


def test_a_line_is_found_again():
    voxels = [1, 4, 16, 64]
    points = [{"million_voxels": v, "cpu_s": [3 + 0.5 * v] * 3, "peak_mb": 400 + v} for v in voxels]
    line = scaling.fit(points)
    assert line["start_cpu_s"] == pytest.approx(3)
    assert line["cpu_s_per_million_voxels"] == pytest.approx(0.5)
    assert line["exponent"] == pytest.approx(1, abs=0.01)
    assert line["largest_relative_deviation"] < 1e-3


@pytest.mark.parametrize("million", [1, 4, 16, 64])
def test_sizes_have_the_voxels_they_are_asked_for(million):
    assert np.prod(scaling.size_of(million)) / 1e6 == pytest.approx(million, rel=0.04)


def test_a_number_format_is_judged_on_structures_too():
    image = {"seconds": [0.2, 0.1], "same": 9_999, "all": 10_000, "same_in": 98, "in": 99}
    judged = check_precision.judge([image, image])
    assert judged["agreement"] == 0.9999
    assert judged["best_ms_a_slice"] == 100
    assert not judged["agrees"]


def test_the_ends_of_a_stack_stand_in_for_what_is_missing():
    array = np.arange(3, dtype=np.float32)[:, None, None]
    shown = check_precision.with_neighbours(array, range(1, 5), 1)[:, :, 0, 0]
    np.testing.assert_array_equal(shown, [[0, 1, 2], [1, 2, 2]])


def test_peak_memory_is_that_of_the_process_itself():
    code = "a = bytearray(200 << 20); a[::4096] = b'x' * len(a[::4096]); import time; time.sleep(0.3)"
    process = subprocess.Popen([sys.executable, "-c", code])
    usage, peak_mb = stages.watch(process)
    assert process.returncode == 0
    assert 200 < peak_mb < 300
    assert usage.ru_utime > 0


@pytest.mark.skipif(importlib.util.find_spec("nnunetv2") is None, reason="requirements-benchmark.txt is not installed")
def test_the_peer_plans_its_own_network_and_runs():
    shape, spacing = ([str(value) for value in values] for values in SIZES["routine"])
    command = [sys.executable, "-m", "lab.benchmark.peer", "--shape", *shape, "--spacing", *spacing]
    done = subprocess.run(
        [*command, "--mode", "estimate", "--patch", "14", "64", "64"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer = json.loads(done.stdout)
    assert answer["estimated"]
    assert 40 < answer["parameters_million"] < 50
    assert answer["seconds"]["default"] == pytest.approx(8 * answer["seconds"]["no_mirror"], rel=0.01)


def test_a_leak_is_growth_and_a_pool_filled_once_is_not():
    assert growth_mb([400.0, 410.0, 420.0, 430.0, 440.0]) == 40.0
    assert growth_mb([400.0, 400.1, 457.0, 457.1, 457.1]) < 1.0
    assert growth_mb([400.0]) == 0.0
