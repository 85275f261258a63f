"""The GPU route as far as it goes without a GPU: order, keys, refused engines, option names, silence, fallback."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lab.convert import to_tensorrt
from lab.convert.check_precision import with_neighbours
from spine import gpu, runners
from spine.conform import conform_study
from spine.errors import ModelError
from spine.gpu import Gpu, GpuFailure, OnnxRuntimeRunner, checked_engine, engine_file
from spine.read import read_files
from spine.records import Segmentation
from spine.runners import FirstThatWorks, OpenVinoRunner, open_runner
from spine.settings import read_settings

MODEL = Path(__file__).parents[2] / "model"
T4 = Gpu("sm75", "10.14.1")
DRIVER_C = """
int cuInit(unsigned flags) { return INIT; }
int cuDeviceGet(int *device, int ordinal) { *device = 0; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 75 ? 8 : 6; return 0; }
"""


@pytest.fixture
def settings():
    return read_settings(MODEL).segmenter


@pytest.fixture
def network(settings, tmp_path):
    """A copy of the segmenter, beside which a test may lay engines."""
    return Path(shutil.copy(MODEL / settings.file, tmp_path))


def put_engine(network, sha256, content=b"engine", **changes):
    """An engine with its record for a T4."""
    file = engine_file(network, sha256, T4)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    record = {"network_sha256": sha256, "engine_sha256": hashlib.sha256(content).hexdigest(), "agreement": 0.9999}
    file.with_suffix(".json").write_text(json.dumps({**record, **changes}))
    return file


@pytest.mark.parametrize(("start", "found"), [(0, "sm86"), (100, "the NVIDIA driver finds no GPU (code 100)")])
def test_the_driver_names_the_architecture(start, found, tmp_path, monkeypatch):
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to make a stand-in for the driver with")
    source, library = tmp_path / "driver.c", tmp_path / "driver.so"
    source.write_text(DRIVER_C.replace("INIT", str(start)))
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", library], check=True)
    monkeypatch.setattr(gpu, "DRIVER", str(library))
    device = gpu.find_gpu()
    assert (device if isinstance(device, str) else device.architecture) == found


def test_without_a_driver_there_is_no_gpu_and_nothing_is_said_about_it(settings, monkeypatch):
    monkeypatch.setattr(gpu, "DRIVER", "libno-such-driver.so.1")
    assert gpu.find_gpu() == "there is no NVIDIA driver"
    with pytest.raises(ModelError, match="'tensorrt' is not available on this machine: there is no NVIDIA driver"):
        open_runner(MODEL / settings.file, settings.sha256, "tensorrt")
    assert "instead" not in open_runner(MODEL / settings.file, settings.sha256).name


def test_tensorrt_then_cuda_then_cpu_and_the_name_says_why(settings, network, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(gpu, "find_gpu", lambda: T4)
    runner = open_runner(network, settings.sha256)
    name = f"segmenter-{settings.sha256[:12]}-sm75-trt10.14.1.onnx"
    assert f"threads (instead of TensorRT: there is no {name}; lab.convert.to_tensorrt makes it; CUDA: " in runner.name
    for choice, reason in (("tensorrt", "there is no segmenter-"), ("cuda", "CUDAExecutionProvider|ONNX Runtime says")):
        with pytest.raises(ModelError, match=f"the runner '{choice}' cannot start: .*({reason})"):
            open_runner(network, settings.sha256, choice)


def test_an_engine_is_kept_apart_by_network_architecture_and_version(network):
    keys = [("a" * 64, T4), ("b" * 64, T4), ("a" * 64, replace(T4, architecture="sm86"))]
    keys.append(("a" * 64, replace(T4, tensorrt="10.16.1")))
    assert len({engine_file(network, *key) for key in keys}) == 4
    paths = {to_tensorrt.build_options(device, network, Path("c"))["trt_timing_cache_path"] for _, device in keys}
    assert paths == {"c/sm75-trt10.14.1", "c/sm86-trt10.14.1", "c/sm75-trt10.16.1"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"engine_sha256": "0" * 64}, "is not the one of its record"),
        ({"network_sha256": "0" * 64}, "is not the one of its record"),
        ({"agreement": 0.98}, r"agrees with the CPU on 98.00 % of the voxels only"),
        ({"agreement": float("nan")}, "agrees with the CPU"),
        ({"agreement": None}, r"record cannot be read \(TypeError\)"),
    ],
)
def test_a_corrupt_foreign_or_disagreeing_engine_is_not_opened(changes, reason, settings, network, monkeypatch):
    file = put_engine(network, settings.sha256, **changes)
    with pytest.raises(GpuFailure, match=reason):
        checked_engine(file, settings.sha256)
    monkeypatch.setattr(gpu, "find_gpu", lambda: T4)
    assert "OpenVINO CPU" in open_runner(network, settings.sha256).name


def test_an_engine_without_a_record_is_not_opened(settings, network):
    file = put_engine(network, settings.sha256)
    file.with_suffix(".json").unlink()
    with pytest.raises(GpuFailure, match=r"there is no .*\.json"):
        checked_engine(file, settings.sha256)


@pytest.mark.parametrize("content", [b"garbage", "foreign"])
def test_onnx_runtime_refuses_garbage_and_an_engine_for_another_provider(content):
    pytest.importorskip("onnxruntime")
    with pytest.raises(GpuFailure, match="ONNX Runtime says: "):
        OnnxRuntimeRunner(foreign_engine() if content == "foreign" else content, ["CPUExecutionProvider"], "x")


def foreign_engine():
    """A well formed engine file for TensorRT, whose bytes are none of TensorRT's."""
    from onnx import TensorProto, helper

    node = helper.make_node(
        "EPContext", ["image"], ["probabilities"], domain="com.microsoft",
        main_context=1, embed_mode=1, ep_cache_context=b"foreign", source="TensorrtExecutionProvider",
    )  # fmt: skip
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size, "h", "w"])]
        for name, size in (("image", 3), ("probabilities", 10))
    ]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(helper.make_graph([node], "engine", *ends), opset_imports=opsets, ir_version=10)
    return model.SerializeToString()


def test_onnx_runtime_and_openvino_agree_and_the_last_batch_is_filled_up(settings):
    pytest.importorskip("onnxruntime")
    model = (MODEL / settings.file).read_bytes()
    image = next((MODEL.parent / "test/input/lumbar/images/sagittal-spine-mri").iterdir())
    volume = conform_study(read_files(image=image), read_settings(MODEL).grid)
    middle = with_neighbours(volume.array, range(5, 5 + gpu.BATCH + 1), settings.neighbours)[:, :, 96:224, 96:224]
    batch = np.ascontiguousarray(middle)
    answer = OnnxRuntimeRunner(model, ["CPUExecutionProvider"], "x")(batch)
    reference = OpenVinoRunner(model)(batch)
    assert answer.shape == reference.shape
    assert (answer.argmax(1) == reference.argmax(1)).mean() >= gpu.AGREE_MIN
    np.testing.assert_allclose(answer, reference, atol=0.05)


class Flaky:
    """Answers once, then fails."""

    name = "flaky"

    def __init__(self):
        self.calls = 0

    def __call__(self, batch):
        self.calls += 1
        if self.calls > 1:
            raise GpuFailure("out of memory")
        return batch


class Steady:
    name = "steady"

    def __call__(self, batch):
        return batch + 1


def test_a_runner_that_fails_in_a_case_is_replaced_for_good_and_named():
    runner = FirstThatWorks([("TensorRT", Flaky), ("CPU", Steady)])
    assert runner.name == "flaky"
    assert [int(runner(np.zeros(1))[0]) for _ in range(3)] == [0, 1, 1]
    assert runner.name == "steady (instead of TensorRT: out of memory)"


def test_the_last_runner_that_fails_is_an_error():
    runner = FirstThatWorks([("TensorRT", Flaky)])
    runner(np.zeros(1))
    with pytest.raises(ModelError, match="the runner TensorRT failed: out of memory"):
        runner(np.zeros(1))


def segmentation(wrong=0):
    """1000 voxels, of which `wrong` have another name."""
    structures = np.zeros((1, 10, 100), np.uint8)
    structures.ravel()[:wrong] = 1
    return Segmentation(np.zeros((2, 1, 10, 100), np.float16), structures, {}, "TensorRT 10.14.1")


def test_an_engine_is_installed_only_when_it_agrees(settings, network):
    with pytest.raises(to_tensorrt.Refused, match=r"names 99.800 % of the voxels as the CPU does, 99.9 % are needed"):
        to_tensorrt.judge(to_tensorrt.compare(segmentation(2), segmentation(), [1.0]), b"e", settings.sha256, T4)
    trial = to_tensorrt.compare(segmentation(1), segmentation(), [3.0, 1.0, 2.0, 9.0])
    assert (trial.agreement, trial.first_s, trial.warm_s) == (0.999, 3.0, 2.0)
    record = to_tensorrt.judge(trial, b"e", settings.sha256, T4)
    file = to_tensorrt.install(engine_file(network, settings.sha256, T4), b"e", record)
    assert checked_engine(file, settings.sha256) == b"e"
    assert sorted(path.suffix for path in file.parent.iterdir()) == [".json", ".onnx"]


@pytest.mark.parametrize(
    ("library", "options"),
    [
        ("tensorrt", to_tensorrt.build_options(T4, Path("engine.onnx"), Path("cache"))),
        ("cuda", gpu.CUDA_OPTIONS),
    ],
)
def test_the_gpu_build_of_onnx_runtime_knows_every_option(library, options):
    onnxruntime = pytest.importorskip("onnxruntime")
    file = Path(onnxruntime.__file__).parent / "capi" / f"libonnxruntime_providers_{library}.so"
    if not file.exists():
        pytest.skip("this is the CPU build of ONNX Runtime; the GPU build names its options in this library")
    content = file.read_bytes()
    assert [name for name in options if name.encode() not in content] == []
    assert b"trt_no_such_option" not in content


def test_onnx_runtime_is_silent_where_a_provider_cannot_start():
    pytest.importorskip("onnxruntime")
    attempt = f"""
from pathlib import Path
from spine import gpu
model = Path({str(MODEL / "segmenter.onnx")!r}).read_bytes()
for provider in ("TensorrtExecutionProvider", "CUDAExecutionProvider"):
    try:
        gpu.OnnxRuntimeRunner(model, [(provider, {{}})], "x")
    except gpu.GpuFailure:
        continue
    raise SystemExit("started")
"""
    done = subprocess.run(
        [sys.executable, "-c", attempt], capture_output=True, text=True, check=False, cwd=MODEL.parent, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_cgroup_version_1_is_read_too(tmp_path, monkeypatch):
    quota, period = tmp_path / "quota", tmp_path / "period"
    quota.write_text("100000\n")
    period.write_text("100000\n")
    monkeypatch.setattr(runners, "CGROUP_LIMITS", ((quota, period),))
    assert runners.available_threads() == 1
    quota.write_text("-1\n")
    assert runners.available_threads() >= 1
