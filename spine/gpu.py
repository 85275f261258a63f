"""Tools: the network on an NVIDIA GPU through ONNX Runtime, by a prebuilt TensorRT engine or by the CUDA provider.

Engines are built, compared with the CPU's answer and installed by lab.convert.to_tensorrt; nothing is built at run
time, which would eat the start-up time of a case and would trust an engine that nobody has compared. An engine is an
ONNX file of ONNX Runtime's EPContext form that holds TensorRT's own bytes, and a record of how it was made.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ENGINES = "engines"  # folder beside the network
AGREE_MIN = 0.999  # share of voxels that an engine must name as the CPU does
BATCH = 4  # slices in one call: fixed, the last batch is filled up
# Rows and columns that an engine takes, multiples of the model's grid; at 0.8 mm up to 1024 mm by 512 mm.
ROWS_COLUMNS_MIN, ROWS_COLUMNS_OPT, ROWS_COLUMNS_MAX = (64, 64), (384, 352), (1280, 640)
DRIVER = "libcuda.so.1"
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
SILENT = 4  # fatal faults alone: a clean run writes nothing on stderr
# float32 stays float32: TensorFloat-32 would round the convolutions of the float32 islands.
CUDA_OPTIONS = {"device_id": "0", "cudnn_conv_algo_search": "EXHAUSTIVE", "use_tf32": "0"}


class GpuFailure(Exception):
    """The GPU cannot do this; `str(error)` is the reason in words, without a full stop."""


@dataclass(frozen=True)
class Gpu:
    """The first GPU of this machine. An engine fits one architecture and one version of TensorRT."""

    architecture: str  # 'sm75' (T4), 'sm86' (A10G), ...
    tensorrt: str | None  # '10.14.1'; None where it is not installed


def find_gpu() -> Gpu | str:
    """The first GPU, or why there is none that can be used."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return "there is no NVIDIA driver"
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    failed = (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(device), 0)
        or driver.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device)
        or driver.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device)
    )
    if failed:
        return f"the NVIDIA driver finds no GPU (code {failed})"
    return Gpu(f"sm{major.value}{minor.value}", _tensorrt_version())


def _tensorrt_version() -> str | None:
    try:
        import tensorrt  # also loads the library that ONNX Runtime's provider needs
    except (ImportError, OSError):
        return None
    return ".".join(str(tensorrt.__version__).split(".")[:3])


def engine_file(network: Path, sha256: str, device: Gpu) -> Path:
    """Where the engine of `network` lies: its name holds the network's digest, architecture and TensorRT's version."""
    return network.parent / ENGINES / f"{network.stem}-{sha256[:12]}-{device.architecture}-trt{device.tensorrt}.onnx"


def open_engine(network: Path, sha256: str, device: Gpu) -> OnnxRuntimeRunner:
    """The prebuilt engine of `network` (digest `sha256`) for `device`.

    Raises:
        GpuFailure: TensorRT or the engine is missing, the engine is not the one of its record, or it cannot be loaded.
    """
    if device.tensorrt is None:
        raise GpuFailure("TensorRT is not installed")
    file = engine_file(network, sha256, device)
    engine = checked_engine(file, sha256)
    return OnnxRuntimeRunner(engine, [("TensorrtExecutionProvider", {"device_id": "0"})], f"TensorRT {device.tensorrt}")


def open_cuda(model: bytes) -> OnnxRuntimeRunner:
    """The ONNX network `model` on ONNX Runtime's CUDA provider; raises GpuFailure."""
    return OnnxRuntimeRunner(model, [("CUDAExecutionProvider", CUDA_OPTIONS)], "ONNX Runtime CUDA")


def checked_engine(file: Path, sha256: str) -> bytes:
    """The engine in `file`, after its record: of this network, agreeing with the CPU, and these very bytes."""
    try:
        engine = file.read_bytes()
        record = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        agreement = float(record["agreement"])
        digests = (record["network_sha256"], record["engine_sha256"])
    except FileNotFoundError as error:
        name = Path(error.filename).name
        raise GpuFailure(f"there is no {name}; lab.convert.to_tensorrt makes it") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GpuFailure(f"the engine {file.name} or its record cannot be read ({type(error).__name__})") from error
    if digests != (sha256, hashlib.sha256(engine).hexdigest()):
        raise GpuFailure(f"the engine {file.name} is not the one of its record")
    if not agreement >= AGREE_MIN:
        raise GpuFailure(f"the engine {file.name} agrees with the CPU on {100 * agreement:.2f} % of the voxels only")
    return engine


class OnnxRuntimeRunner:
    """A network in ONNX Runtime on one provider, in batches of BATCH; every fault is a GpuFailure."""

    def __init__(self, model: bytes, providers: Sequence[Any], name: str) -> None:
        self._name = name
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise GpuFailure("ONNX Runtime is not installed") from error
        ort.set_default_logger_severity(SILENT)
        offered = ort.get_available_providers()
        kinds = [provider if isinstance(provider, str) else provider[0] for provider in providers]
        if kinds[0] not in offered:
            raise GpuFailure(f"this ONNX Runtime has no {kinds[0]}")
        with redirect_stdout(StringIO()):  # it prints what it does not find
            ort.preload_dlls()  # CUDA's libraries from their Python packages
        options = ort.SessionOptions()
        options.log_severity_level = SILENT
        # Without enable_fallback=0 the library prints on stdout and goes on with the CPU on its own.
        self._session = _or_failure(
            lambda: ort.InferenceSession(model, options, providers=list(providers), enable_fallback=0)
        )
        if self._session.get_providers()[0] != kinds[0]:
            raise GpuFailure(f"{kinds[0]} did not start")
        self._input = self._session.get_inputs()[0].name

    @property
    def name(self) -> str:
        """'TensorRT 10.14.1' or 'ONNX Runtime CUDA'."""
        return self._name

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's answer; an answer with infinite or undefined values is a failure."""
        parts = []
        for start in range(0, len(batch), BATCH):
            part = batch[start : start + BATCH]
            filled = np.concatenate((part, np.repeat(part[-1:], BATCH - len(part), axis=0)))
            answer = _or_failure(lambda filled=filled: self._session.run(None, {self._input: filled})[0])  # type: ignore[misc]
            parts.append(answer[: len(part)])
        answers: NDArray[np.float32] = np.concatenate(parts).astype(np.float32, copy=False)
        if not np.isfinite(answers).all():
            raise GpuFailure("the answer holds undefined values")
        return answers


def _or_failure(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # the library raises kinds of its own, and derives them from nothing more exact
        text = " ".join(str(error).split())[:200].rstrip(".")
        raise GpuFailure(f"ONNX Runtime says: {text}") from error
