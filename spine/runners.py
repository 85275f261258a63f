"""Tools: the Runner protocol, and open_runner, which picks TensorRT -> CUDA -> CPU and says which."""

from __future__ import annotations

import hashlib
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spine import gpu
from spine.errors import ModelError

CHOICES = ("auto", "tensorrt", "cuda", "cpu")
# 'quota period' of cgroup version 2; quota and period of version 1.
CGROUP_LIMITS: tuple[tuple[Path, ...], ...] = (
    (Path("/sys/fs/cgroup/cpu.max"),),
    (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")),
)
SHAPES_KEPT = 3  # compiled networks kept by a process that meets images of many sizes


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

    `choice` is one of CHOICES. 'auto' takes the first of TensorRT (where an engine for this GPU lies beside the
    network), CUDA and CPU that this machine can run, goes on to the next should one fail, and says so in its name.

    Raises:
        ModelError: the file is missing or is not the one the settings name, or the chosen runner cannot start.
    """
    model = _checked(file, sha256)
    if choice == "cpu":
        return OpenVinoRunner(model)
    device = gpu.find_gpu()
    if isinstance(device, str):
        if choice != "auto":
            raise ModelError(f"the runner '{choice}' is not available on this machine: {device}; choose auto or cpu.")
        return OpenVinoRunner(model)
    engine: Opener = ("TensorRT", lambda: gpu.open_engine(file, sha256, device))
    cuda: Opener = ("CUDA", lambda: gpu.open_cuda(model))
    chains: dict[str, tuple[Opener, ...]] = {"tensorrt": (engine,), "cuda": (cuda,)}
    try:
        return FirstThatWorks(chains.get(choice, (engine, cuda, ("CPU", lambda: OpenVinoRunner(model)))))
    except gpu.GpuFailure as error:
        raise ModelError(f"the runner '{choice}' cannot start: {error}.") from error


class WhenNeeded:
    """A network that few cases need: its file is checked at once, and opened at the first call.

    Raises ModelError like open_runner.
    """

    def __init__(self, file: Path, sha256: str, choice: str = "cpu") -> None:
        _checked(file, sha256)
        self._file, self._sha256, self._choice = file, sha256, choice
        self._runner: Runner | None = None

    @property
    def name(self) -> str:
        """That of the runner; 'not opened' before the first call."""
        return "not opened" if self._runner is None else self._runner.name

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's answer."""
        if self._runner is None:
            self._runner = open_runner(self._file, self._sha256, self._choice)
        return self._runner(batch)


def _checked(file: Path, sha256: str) -> bytes:
    try:
        model = file.read_bytes()
    except OSError as error:
        raise ModelError(f"{file.name}: the model file cannot be read ({error.strerror}).") from error
    if hashlib.sha256(model).hexdigest() != sha256:
        raise ModelError(f"{file.name}: the model file is not the one that settings.json names (sha256 differs).")
    return model


Opener = tuple[str, Callable[[], Runner]]


class FirstThatWorks:
    """The first runner that opens and answers; what failed before it stands in the name, for the report.

    Only gpu.GpuFailure makes it go on to the next: any other fault is nobody's to hide. After the last one the failure
    is raised, in the constructor or in the call.
    """

    def __init__(self, openers: Sequence[Opener]) -> None:
        self._left = list(openers)
        self._failed: list[str] = []
        self._runner = self._next()

    @property
    def name(self) -> str:
        """'OpenVINO CPU, f32, 2 threads (instead of TensorRT: no engine ...)'."""
        return self._runner.name + (f" (instead of {'; '.join(self._failed)})" if self._failed else "")

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The answer of the first runner that gives one."""
        while True:
            try:
                return self._runner(batch)
            except gpu.GpuFailure as failure:
                self._failed.append(f"{self._kind}: {failure}")
                if not self._left:
                    raise ModelError(f"the runner {self._kind} failed: {failure}.") from failure
                self._runner = self._next()

    def _next(self) -> Runner:
        while True:
            self._kind, opener = self._left.pop(0)
            try:
                return opener()
            except gpu.GpuFailure as failure:
                self._failed.append(f"{self._kind}: {failure}")
                if not self._left:
                    raise


def available_threads() -> int:
    """Processors this process may use: the smaller of its affinity and the cgroup's quota, at least 1."""
    count = len(os.sched_getaffinity(0))
    for files in CGROUP_LIMITS:
        try:
            quota, period = " ".join(file.read_text(encoding="ascii") for file in files).split()[:2]
            share = math.inf if quota in ("max", "-1") else int(quota) / int(period)
        except (OSError, ValueError, ZeroDivisionError):
            continue
        if share < count:
            count = max(1, int(share))
    return count


class OpenVinoRunner:
    """The network on the CPU.

    Every item of a batch is a request of its own on one thread, and as many run side by side as there are threads: no
    thread waits for another at each layer, and one network is compiled whatever the size of the batch. A network whose
    file fixes the size of the batch answers it in one request on all threads. Not for use from several threads at once.
    """

    def __init__(self, model: bytes) -> None:
        import openvino as ov
        from openvino import properties as props

        self._ov = ov
        self._core = ov.Core()
        try:
            self._model = self._core.read_model(model, b"")
        except RuntimeError as error:
            raise ModelError("the model file is not a network that this version can read.") from error
        self._threads = available_threads()
        self._by_item = self._model.input(0).get_partial_shape()[0].is_dynamic
        # float32 is said explicitly: the plug-in would otherwise round to bfloat16 where the CPU can. On the CPUs seen
        # so far (AVX-512 with bfloat16 and float16, without AMX) both take 1.7 times as long as float32.
        self._config: dict[str, Any] = {
            props.hint.inference_precision(): ov.Type.f32,
            props.inference_num_threads(): self._threads,
            props.num_streams(): self._threads if self._by_item else 1,
            # Where a quota limits containers, not a set of processors, pinned threads of all would meet on a few.
            props.hint.enable_cpu_pinning(): False,
        }
        self._compiled: OrderedDict[tuple[int, ...], list[Any]] = OrderedDict()

    @property
    def name(self) -> str:
        """'OpenVINO CPU, f32, 2 threads'."""
        return f"OpenVINO CPU, f32, {self._threads} threads"

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's answer, an array of its own."""
        channels = self._model.input(0).get_partial_shape()[1]
        if channels.is_static and channels.get_length() != batch.shape[1]:
            raise ModelError(f"the network takes {channels.get_length()} channels; {batch.shape[1]} are given.")
        step = 1 if self._by_item else len(batch)
        requests = self._requests((step, *batch.shape[1:]))
        classes, *plane = requests[0].get_output_tensor(0).shape[1:]
        answer = np.empty((len(batch), classes, *plane), np.float32)
        batch = np.ascontiguousarray(batch, np.float32)
        for n, start in enumerate(range(0, len(batch), step)):
            request = requests[n % len(requests)]
            request.wait()
            request.set_input_tensor(self._ov.Tensor(batch[start : start + step], shared_memory=True))
            request.set_output_tensor(self._ov.Tensor(answer[start : start + step], shared_memory=True))
            request.start_async()
        for request in requests:
            request.wait()
        return answer

    def _requests(self, shape: tuple[int, ...]) -> list[Any]:
        """Requests for inputs of `shape`, one for each stream; the networks of the last few shapes are kept."""
        if shape not in self._compiled:
            self._model.reshape(self._ov.PartialShape(list(shape)))
            compiled = self._core.compile_model(self._model, "CPU", self._config)
            self._compiled[shape] = [
                compiled.create_infer_request() for _ in range(self._threads if self._by_item else 1)
            ]
            if len(self._compiled) > SHAPES_KEPT:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(shape)
        return self._compiled[shape]
