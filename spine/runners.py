"""Tools: the Runner protocol, and open_runner, which picks TensorRT -> CUDA -> CPU and says which it took."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spine.errors import ModelError

CHOICES = ("auto", "tensorrt", "cuda", "cpu")
CGROUP_LIMITS = (Path("/sys/fs/cgroup/cpu.max"),)


class Runner(Protocol):
    """Runs one network. Float32 (n, channels, rows, columns) in, float32 (n, classes, rows, columns) out."""

    @property
    def name(self) -> str:
        """What runs the network, for the report: 'OpenVINO CPU, f32, 2 threads'."""
        ...

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's answer."""
        ...


def open_runner(file: Path, sha256: str, choice: str = "auto") -> Runner:
    """A runner for the ONNX network `file`, whose content must have the digest `sha256`.

    `choice` is one of CHOICES; 'auto' takes the first of TensorRT, CUDA and CPU that this machine can run.

    Raises:
        ModelError: the file is missing or is not the one the settings name, or the chosen runner cannot start.
    """
    model = _checked(file, sha256)
    if choice == "cpu":
        return OpenVinoRunner(model)
    providers = _gpu_providers(choice)
    if providers:
        try:
            return OnnxRuntimeRunner(model, providers)
        except Exception as error:  # the library raises its own kinds; on 'auto' any of them means: no GPU here
            if choice != "auto":
                raise ModelError(f"the runner '{choice}' cannot start: {error}.") from error
    elif choice != "auto":
        raise ModelError(f"the runner '{choice}' is not available on this machine; choose auto or cpu.")
    return OpenVinoRunner(model)


def _checked(file: Path, sha256: str) -> bytes:
    try:
        model = file.read_bytes()
    except OSError as error:
        raise ModelError(f"{file.name}: the model file cannot be read ({error.strerror}).") from error
    if hashlib.sha256(model).hexdigest() != sha256:
        raise ModelError(f"{file.name}: the model file is not the one that settings.json names (sha256 differs).")
    return model


def available_threads() -> int:
    """Processors this process may use: the smaller of its affinity and the cgroup's quota, at least 1."""
    count = len(os.sched_getaffinity(0))
    for limit in CGROUP_LIMITS:
        try:
            quota, period = limit.read_text(encoding="ascii").split()[:2]
        except (OSError, ValueError):
            continue
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    return count


class OpenVinoRunner:
    """The network on the CPU. Compiled once for every input shape that occurs."""

    def __init__(self, model: bytes) -> None:
        import openvino as ov
        from openvino import properties as props

        self._core = ov.Core()
        self._partial = ov.PartialShape
        try:
            self._model = self._core.read_model(model, b"")
        except RuntimeError as error:
            raise ModelError("the model file is not a network that this version can read.") from error
        self._threads = available_threads()
        # float32 is said explicitly: the plug-in would otherwise round to bfloat16 where the CPU can.
        self._config: dict[str, Any] = {
            props.hint.inference_precision(): ov.Type.f32,
            props.hint.performance_mode(): props.hint.PerformanceMode.LATENCY,
            props.inference_num_threads(): self._threads,
            props.hint.num_requests(): 1,
        }
        self._compiled: dict[tuple[int, ...], Any] = {}

    @property
    def name(self) -> str:
        """'OpenVINO CPU, f32, 2 threads'."""
        return f"OpenVINO CPU, f32, {self._threads} threads"

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's answer; the array is a view that the next call overwrites."""
        if batch.shape not in self._compiled:
            self._model.reshape(self._partial(list(batch.shape)))
            compiled = self._core.compile_model(self._model, "CPU", self._config)
            self._compiled[batch.shape] = compiled.create_infer_request()
        request = self._compiled[batch.shape]
        request.infer([batch], share_inputs=True)
        answer: NDArray[np.float32] = request.get_output_tensor(0).data
        return answer


class OnnxRuntimeRunner:
    """The network on an NVIDIA GPU through ONNX Runtime's TensorRT or CUDA provider."""

    def __init__(self, model: bytes, providers: list[Any]) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 4  # nothing on stderr: a clean run is silent
        self._session = ort.InferenceSession(model, options, providers=providers)
        self._run: Callable[..., Any] = self._session.run
        self._input = self._session.get_inputs()[0].name
        self._taken = self._session.get_providers()[0]
        if self._taken == "CPUExecutionProvider":
            raise RuntimeError("no GPU provider could be started")

    @property
    def name(self) -> str:
        """'ONNX Runtime TensorrtExecutionProvider'."""
        return f"ONNX Runtime {self._taken}"

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's answer."""
        answer: NDArray[np.float32] = self._run(None, {self._input: batch})[0]
        return answer


def _gpu_providers(choice: str) -> list[Any]:
    """ONNX Runtime's provider list for `choice`, empty where the library or the provider is missing."""
    try:
        import onnxruntime as ort
    except ImportError:
        return []
    offered = ort.get_available_providers()
    providers: list[Any] = []
    if choice in ("auto", "tensorrt") and "TensorrtExecutionProvider" in offered:
        providers.append(("TensorrtExecutionProvider", {}))
    if choice in ("auto", "cuda") and "CUDAExecutionProvider" in offered:
        providers.append(("CUDAExecutionProvider", {}))
    return providers
