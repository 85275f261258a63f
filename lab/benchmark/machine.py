"""What the machine can do at this moment, and what the network asks of it."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import shape_inference
from threadpoolctl import threadpool_limits

from spine.runners import available_threads

FLOAT32_BYTES = 4
# Passes over memory of their own; activations and casts are fused into the layer before them.
MOVING = ("Conv", "InstanceNormalization", "Resize", "Concat", "DepthToSpace", "Softmax", "Transpose")


def describe() -> dict[str, Any]:
    """Processor, threads and Python."""
    return {"processor": processor(), "threads": available_threads(), "python": platform.python_version()}


def processor() -> str:
    """The processor's own name."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def matmul_gflops(size: int = 2048, repeats: int = 5) -> float:
    """Best float32 matrix product in GFLOP/s with the threads this process may use, whatever the environment says."""
    a = np.random.default_rng(0).random((size, size), np.float32)
    best = float("inf")
    with threadpool_limits(available_threads()):
        for _ in range(repeats):
            start = time.perf_counter()
            a @ a
            best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


@dataclass(frozen=True)
class Work:
    """What one input of the network costs."""

    flop: float  # of the convolutions: two for each multiply-add; everything else is below a hundredth of them
    bytes_moved: float  # estimate: inputs and output of each operator in MOVING once, weights once, all in float32


def network_work(model: Path, shape: tuple[int, ...]) -> Work:
    """Work of the ONNX network `model` for an input of `shape`, counted from its graph."""
    graph = _shaped(onnx.load(model), shape).graph
    sizes = {value.name: _size(value) for value in (*graph.value_info, *graph.input, *graph.output)}
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    flop = moved = 0.0
    for node in graph.node:
        if node.op_type == "Conv":
            _, c_in, *kernel = weights[node.input[1]]
            flop += 2.0 * prod(sizes[node.output[0]]) * c_in * prod(kernel)
        if node.op_type in MOVING:
            tensors = [sizes.get(name) or weights.get(name) or [] for name in (*node.input, *node.output)]
            moved += FLOAT32_BYTES * sum(prod(size) for size in tensors if size)
    return Work(flop, moved)


def _shaped(model: onnx.ModelProto, shape: tuple[int, ...]) -> onnx.ModelProto:
    for axis, size in zip(model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        axis.dim_value = size
    return shape_inference.infer_shapes(model, data_prop=True)


def _size(value: onnx.ValueInfoProto) -> list[int]:
    return [axis.dim_value for axis in value.type.tensor_type.shape.dim]
