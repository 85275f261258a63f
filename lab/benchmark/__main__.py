"""Time and memory of the whole path, cold (a process a case) and warm (models loaded), on two study sizes.

    python -m lab.benchmark --out docs/benchmark [--repeats 5] [--size routine|isotropic]

The studies are the bundled synthetic case resampled to the size: contents hardly matter for the time. Wall
seconds and the operating system's own peak memory of each process; medians, smallest and largest. The matmul
probe is the machine's own peak in float32 at that moment, for the share that the network stage reaches.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  the name its own documentation uses

from spine import pipeline
from spine.read import read_study
from spine.runners import available_threads

ROOT = Path(__file__).parents[2]
CASE = ROOT / "test" / "input" / "lumbar"
SIZES = {  # (slices, rows, columns) and (slice, row, column) spacing in mm
    "routine": ((18, 448, 448), (4.0, 0.6, 0.6)),
    "isotropic": ((120, 512, 512), (0.6, 0.6, 0.6)),
}


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmark"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", choices=tuple(SIZES), action="append")
    args = parser.parse_args()
    result: dict[str, Any] = {
        "machine": {"processor": _processor(), "threads": available_threads(), "python": platform.python_version()},
        "matmul_gflops": round(matmul_probe(), 1),
        "studies": {},
    }
    for name in args.size or SIZES:
        with tempfile.TemporaryDirectory() as folder:
            case = write_case(Path(folder) / "input", *SIZES[name])
            result["studies"][name] = {
                "cold": [cold(case, Path(folder) / f"cold{n}") for n in range(args.repeats)],
                "warm": warm(case, Path(folder) / "warm", args.repeats),
            }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "benchmark.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text = table(result)
    (args.out / "benchmark.md").write_text(text, encoding="utf-8")
    print(text)


def write_case(folder: Path, size: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Path:
    """The bundled case's sagittal T2 series on another grid, in the platform's layout."""
    source = sitk.ReadImage(str(next((CASE / "images" / "sagittal-spine-mri").iterdir())))
    target = sitk.Image(*size[::-1], sitk.sitkInt16)
    target.SetSpacing(spacing_mm[::-1])
    target.SetDirection(source.GetDirection())
    centre = source.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in source.GetSize()])
    target.SetOrigin((0.0, 0.0, 0.0))
    own = target.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in target.GetSize()])
    target.SetOrigin([c - o for c, o in zip(centre, own, strict=True)])
    moved = sitk.Resample(source, target, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkInt16)
    (folder / "images" / "sagittal-spine-mri").mkdir(parents=True)
    sitk.WriteImage(moved, str(folder / "images" / "sagittal-spine-mri" / "case.mha"), useCompression=True)
    socket = {"slug": "sagittal-spine-mri", "relative_path": "images/sagittal-spine-mri", "super_kind": "Image"}
    (folder / "inputs.json").write_text(json.dumps([{"socket": socket, "value": None}]), encoding="utf-8")
    return folder


def cold(case: Path, output: Path) -> dict[str, float]:
    """One process from start to outputs: wall seconds and its peak memory in MB."""
    output.mkdir()
    command = [sys.executable, str(ROOT / "process.py"), "--input", str(case), "--output", str(output)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"process.py ended with {process.returncode}")
    return {"wall_s": round(time.perf_counter() - start, 2), "peak_mb": round(usage.ru_maxrss / 1024)}


def warm(case: Path, output: Path, repeats: int) -> list[dict[str, float]]:
    """Seconds of each stage with loaded models; the first, unmeasured case compiles the network for its shape."""
    models = pipeline.open_models(ROOT / "model", "cpu")
    runs = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        report = pipeline.run(partial(read_study, case), models, output)
        total = round(time.perf_counter() - start, 3)
        runs.append({**report.report["software"]["seconds"], "total": total})
    return runs[1:]


def matmul_probe(size: int = 2048, repeats: int = 5) -> float:
    """Best float32 matrix product in GFLOP/s with the threads this process may use."""
    a = np.random.default_rng(0).random((size, size), np.float32)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def table(result: dict[str, Any]) -> str:
    """Markdown: medians, smallest and largest of every figure."""
    machine = result["machine"]
    lines = [
        f"{machine['processor']}, {machine['threads']} threads, Python {machine['python']}; "
        f"matmul probe {result['matmul_gflops']} GFLOP/s (float32).",
        "",
        "| study | figure | median | smallest | largest |",
        "|---|---|---|---|---|",
    ]
    for name, study in result["studies"].items():
        for kind in ("cold", "warm"):
            for key in study[kind][0]:
                values = [run[key] for run in study[kind]]
                spread = f"{np.median(values):.2f} | {min(values):.2f} | {max(values):.2f}"
                lines.append(f"| {name} | {kind} {key} | {spread} |")
    return "\n".join(lines) + "\n"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
