"""TensorRT engines for this machine's GPU: built, compared with the CPU's answer, timed, and only then installed.

    python -m lab.convert.to_tensorrt --model model [--cache DIR] [--repeats 5] [--try-only]

Needs requirements-gpu.txt. One engine for the segmenter and one for the network of the neck, which takes the same
shapes. An engine goes into `engines` beside its network, under a name that holds the network's digest, the GPU's
architecture and TensorRT's version, with a record of how far it agrees with the CPU on a bundled case. `export.sh` then
packs it into the model's tarball. One that names fewer than 99.9 % of the voxels as the CPU does is not installed, and
the exit code is 1; 2 says that there is nothing here to build with.

HAS NEVER RUN ON A GPU. What the tests check without one is named in docs/benchmark/README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from spine.conform import conform_study
from spine.gpu import (
    AGREE_MIN,
    BATCH,
    ROWS_COLUMNS_MAX,
    ROWS_COLUMNS_MIN,
    ROWS_COLUMNS_OPT,
    Gpu,
    GpuFailure,
    OnnxRuntimeRunner,
    engine_file,
    find_gpu,
    open_cuda,
)
from spine.read import read_study
from spine.records import Segmentation, Volume
from spine.runners import Runner, open_runner
from spine.segment import segment_volume
from spine.settings import NeckSettings, SegmenterSettings, Settings, read_settings

ROOT = Path(__file__).parents[2]
CASES = {"segmenter": ROOT / "test" / "input" / "lumbar", "neck": ROOT / "test" / "input" / "cervical"}
TENSORRT = "TensorrtExecutionProvider"


class Refused(Exception):
    """The engine was built and is not installed; `str(error)` says why."""


@dataclass(frozen=True)
class Trial:
    """One runner on the bundled case, against the CPU."""

    name: str
    agreement: float  # share of the voxels that it names as the CPU does, 0..1
    largest_change_prob: float  # of any class probability of any voxel
    first_s: float
    warm_s: float  # median of the later runs


def main() -> int:
    """Build, compare, install; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "model")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "spine-tensorrt", help="timing cache")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--try-only", action="store_true", help="build and compare, install nothing")
    args = parser.parse_args()
    device = find_gpu()
    if isinstance(device, str) or device.tensorrt is None:
        print(f"No engine can be built here: {device if isinstance(device, str) else 'TensorRT is not installed'}.")
        return 2
    settings = read_settings(args.model)
    parts = {"segmenter": settings.segmenter, "neck": settings.neck}
    codes = [make(args, device, settings, parts[part], case) for part, case in CASES.items()]
    return max(codes)


def make(
    args: argparse.Namespace, device: Gpu, settings: Settings, part: SegmenterSettings | NeckSettings, case: Path
) -> int:
    """Build, compare and install the engine of one network; returns the exit code."""
    network = args.model / part.file
    volume = conform_study(read_study(case), settings.grid)
    bench = Bench(volume, settings.segmenter, args.repeats)
    cpu, reference = bench.run(open_runner(network, part.sha256, "cpu"))
    print(f"{part.file}\n{line(cpu)}")
    try:
        print(line(bench.run(open_cuda(network.read_bytes()), reference)[0]))
    except GpuFailure as failure:
        print(f"CUDA: {failure}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            start = time.perf_counter()
            engine = build(network, device, Path(folder), args.cache)
            print(f"built in {time.perf_counter() - start:.1f} s, {len(engine) / 1e6:.1f} MB")
            trial, _ = bench.run(open_built(engine, device), reference)
            print(line(trial))
            record = judge(trial, engine, part.sha256, device)
        except (GpuFailure, Refused) as fault:
            print(f"Not installed: {fault}.")
            return 1
    if args.try_only:
        return 0
    print(f"Installed: {install(engine_file(network, part.sha256, device), engine, record)}")
    return 0


def build_options(device: Gpu, engine: Path, cache: Path) -> dict[str, str]:
    """ONNX Runtime's options for building `engine` (file); the timing cache is kept by architecture and version.

    float16 is not switched on: the graph states its own precisions, and the provider builds a strongly typed network.
    """
    shapes = {
        "min": (1, *ROWS_COLUMNS_MIN),
        "opt": (BATCH, *ROWS_COLUMNS_OPT),
        "max": (BATCH, *ROWS_COLUMNS_MAX),
    }
    profile = {
        f"trt_profile_{kind}_shapes": f"image:{n}x3x{rows}x{columns}" for kind, (n, rows, columns) in shapes.items()
    }
    return {
        "device_id": "0",
        "trt_dump_ep_context_model": "1",
        "trt_ep_context_file_path": str(engine),
        "trt_ep_context_embed_mode": "1",  # the engine inside the one file
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache / f"{device.architecture}-trt{device.tensorrt}"),
        **profile,
    }


def build(network: Path, device: Gpu, folder: Path, cache: Path) -> bytes:
    """The engine of `network` for `device`, built in `folder`; raises GpuFailure."""
    engine = folder / "engine.onnx"
    options = build_options(device, engine, cache)
    Path(options["trt_timing_cache_path"]).mkdir(parents=True, exist_ok=True)
    OnnxRuntimeRunner(network.read_bytes(), [(TENSORRT, options)], "TensorRT builder")
    if not engine.is_file():
        raise GpuFailure("ONNX Runtime built no engine")
    return engine.read_bytes()


def open_built(engine: bytes, device: Gpu) -> OnnxRuntimeRunner:
    """The engine as the container will open it, before there is a record of it."""
    return OnnxRuntimeRunner(engine, [(TENSORRT, {"device_id": "0"})], f"TensorRT {device.tensorrt}")


class Bench:
    """Runs the segmentation stage on one volume and compares it with a reference."""

    def __init__(self, volume: Volume, settings: SegmenterSettings, repeats: int) -> None:
        self._run: Callable[[Runner], Segmentation] = lambda runner: segment_volume(volume, runner, settings)
        self._repeats = repeats

    def run(self, runner: Runner, reference: Segmentation | None = None) -> tuple[Trial, Segmentation]:
        """(figures, answer) of `runner`; without a `reference` it is compared with itself."""
        seconds = []
        for _ in range(self._repeats + 1):
            start = time.perf_counter()
            answer = self._run(runner)
            seconds.append(round(time.perf_counter() - start, 4))
        return compare(answer, reference or answer, seconds), answer


def compare(answer: Segmentation, reference: Segmentation, seconds: list[float]) -> Trial:
    """Voxels named alike, and the largest change of a probability, slice by slice to spare memory."""
    changes = [
        np.abs(answer.probabilities[:, s].astype(np.float32) - reference.probabilities[:, s].astype(np.float32)).max()
        for s in range(answer.structures.shape[0])
    ]
    return Trial(
        name=answer.runner,
        agreement=float((answer.structures == reference.structures).mean()),
        largest_change_prob=float(np.max(changes)),
        first_s=seconds[0],
        warm_s=median(seconds[1:] or seconds),
    )


def judge(trial: Trial, engine: bytes, network_sha256: str, device: Gpu) -> dict[str, Any]:
    """The record of an engine that may be installed; raises Refused where it disagrees with the CPU."""
    if not trial.agreement >= AGREE_MIN:
        raise Refused(
            f"the engine names {100 * trial.agreement:.3f} % of the voxels as the CPU does, "
            f"{100 * AGREE_MIN:g} % are needed"
        )
    return {
        "network_sha256": network_sha256,
        "engine_sha256": hashlib.sha256(engine).hexdigest(),
        "architecture": device.architecture,
        "tensorrt": device.tensorrt,
        "agreement": trial.agreement,
        "largest_change_prob": trial.largest_change_prob,
        "warm_s": trial.warm_s,
    }


def install(file: Path, engine: bytes, record: Mapping[str, Any]) -> Path:
    """Write engine and record, each in one step, the record last: without it an engine is not opened."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".json").unlink(missing_ok=True)
    contents = {file: engine, file.with_suffix(".json"): (json.dumps(record, indent=1) + "\n").encode()}
    for path, content in contents.items():
        part = path.with_name(path.name + ".part")
        part.write_bytes(content)
        os.replace(part, path)
    return file


def line(trial: Trial) -> str:
    """One line for a person."""
    return (
        f"{trial.name}: {100 * trial.agreement:.4f} % of the voxels as the CPU, largest change "
        f"{trial.largest_change_prob:.4f}; first {trial.first_s:.2f} s, then {trial.warm_s:.3f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
