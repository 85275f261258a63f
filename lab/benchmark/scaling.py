"""Time and memory against the number of voxels, 1 to 64 million: a figure, a line fitted, and the numbers.

    python -m lab.benchmark.scaling --out docs/benchmark [--repeats 3] [--million 1 4 16 64]

Each point is a process of its own on the bundled case at 0.8 mm in the plane and 2.4 mm between slices, which is the
model's own grid: no slice is thinned away. The rows and columns stay at 512 x 512 and the slices grow; below 16 slices'
worth of voxels the rows and columns shrink. The whole path: reading, network, measuring, PDF, writing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from lab.benchmark.cases import ROOT, write_case
from lab.benchmark.machine import describe
from lab.benchmark.stages import cold

PIXEL_MM, SLICE_MM = 0.8, 2.4
SIDE, SLICES_MIN = 512, 16


def main() -> None:
    """Measure, fit, draw, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmark")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--million", type=float, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    args = parser.parse_args()
    points = [measure(million, args.repeats) for million in args.million]
    result = {"machine": describe(), "points": points, "line": fit(points)}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "scaling.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw(result, args.out / "scaling.png")
    print(json.dumps(result["line"]))


def size_of(million: float) -> tuple[int, int, int]:
    """(slices, rows, columns) of about `million` million voxels."""
    side = min(SIDE, int(np.sqrt(million * 1e6 / SLICES_MIN)) // 32 * 32)
    return round(million * 1e6 / side**2), side, side


def measure(million: float, repeats: int) -> dict[str, Any]:
    """Median wall and processor seconds, and the largest peak memory, of a cold process."""
    size = size_of(million)
    with tempfile.TemporaryDirectory() as folder:
        case = write_case(Path(folder) / "input", size, (SLICE_MM, PIXEL_MM, PIXEL_MM))
        runs = [cold(case, Path(folder) / f"out{n}") for n in range(repeats)]
    point = {
        "size": list(size),
        "million_voxels": round(float(np.prod(size)) / 1e6, 3),
        "wall_s": [run["wall_s"] for run in runs],
        "cpu_s": [run["cpu_s"] for run in runs],
        "peak_mb": max(run["peak_mb"] for run in runs),
    }
    print(json.dumps(point), flush=True)
    return point


def fit(points: list[dict[str, Any]]) -> dict[str, float]:
    """Line through the medians of the processor's seconds, and the largest deviation from it as a share of the value.

    `exponent` is the slope in logarithms of what is left without the constant: 1 is linear.
    """
    voxels = np.array([point["million_voxels"] for point in points])
    seconds = np.array([median(point["cpu_s"]) for point in points])
    weights = 1 / seconds  # each point counts by its relative error
    slope, start = np.polyfit(voxels, seconds, 1, w=weights)
    line = slope * voxels + start
    above = np.maximum(seconds - start, 1e-3)
    return {
        "start_cpu_s": round(float(start), 2),
        "cpu_s_per_million_voxels": round(float(slope), 3),
        "largest_relative_deviation": round(float(np.max(np.abs(seconds - line) / seconds)), 3),
        "exponent": round(float(np.polyfit(np.log(voxels), np.log(above), 1)[0]), 3),
        "peak_mb_at_most": float(max(point["peak_mb"] for point in points)),
    }


def draw(result: dict[str, Any], file: Path) -> None:
    """Time on the left, memory on the right, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    points, line = result["points"], result["line"]
    voxels = np.array([point["million_voxels"] for point in points])
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for key, name in (("wall_s", "wall"), ("cpu_s", "processor")):
        left.loglog(voxels, [median(point[key]) for point in points], "o", label=name)
    fine = np.geomspace(voxels.min(), voxels.max(), 50)
    label = f"{line['start_cpu_s']:.1f} s + {line['cpu_s_per_million_voxels']:.2f} s per million"
    left.loglog(fine, line["start_cpu_s"] + line["cpu_s_per_million_voxels"] * fine, "-", label=label)
    left.set(xlabel="million voxels", ylabel="seconds, cold process")
    left.legend()
    right.loglog(voxels, [point["peak_mb"] for point in points], "o-")
    right.axhline(4000, color="0.6", ls="--")
    right.set(xlabel="million voxels", ylabel="peak memory in MB (dashed: the limit)")
    figure.savefig(file, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
