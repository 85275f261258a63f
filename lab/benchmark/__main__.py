"""Time and memory of the whole path, beside nnU-Net's own predictor in the same run.

    python -m lab.benchmark --out docs/benchmark [--repeats 5] [--size routine|isotropic|thick]
        [--peer none|estimate|no_mirror|default]... [--peer-python PYTHON]

Cold: a process a case. Warm: models loaded. Medians, smallest and largest. The matmul probe (float32, the network's own
precision) runs before every warm case; the best of all is the machine's measured peak, of which the shares are.

The peer runs on the routine study, in each mode that is named; its modes are those of lab.benchmark.peer and need
requirements-benchmark.txt, perhaps in an environment of its own (--peer-python). On two cores `no_mirror` takes a
minute and a half and `default` twelve. Ratios compare the peer's prediction alone with our whole path, from reading to
writing. Needs a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from lab.benchmark.cases import ROOT, SIZES, write_case
from lab.benchmark.machine import describe, matmul_gflops, network_work
from lab.benchmark.peer_modes import MODES
from lab.benchmark.stages import cold, start_s, warm
from spine.settings import read_settings


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmark")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", choices=tuple(SIZES), action="append")
    parser.add_argument("--peer", choices=("none", *MODES), action="append", default=[])
    parser.add_argument("--peer-python", default=sys.executable, help="the Python of requirements-benchmark.txt")
    args = parser.parse_args()
    probes: list[float] = []
    result: dict[str, Any] = {
        "machine": describe(),
        "help_s": [start_s() for _ in range(args.repeats)],
        "studies": {name: study(name, args.repeats, probes) for name in args.size or ("routine", "isotropic")},
    }
    result["matmul_gflops"] = round(max(probes), 1)
    for name, found in result["studies"].items():
        found["work"] = work(found, result["matmul_gflops"])
        modes = [mode for mode in args.peer if mode != "none"] if name == "routine" else []
        found["peers"] = [peer(args.peer_python, name, mode) for mode in modes]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "benchmark.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text = table(result)
    (args.out / "benchmark.md").write_text(text, encoding="utf-8")
    print(text)


def study(name: str, repeats: int, probes: list[float]) -> dict[str, Any]:
    """Cold and warm runs of the study `name`; the matmul probes are added to `probes`."""
    with tempfile.TemporaryDirectory() as folder:
        case = write_case(Path(folder) / "input", *SIZES[name])
        return {
            "cold": [cold(case, Path(folder) / f"cold{n}") for n in range(repeats)],
            "warm": warm(case, Path(folder) / "warm", repeats, lambda: probes.append(matmul_gflops(repeats=2))),
        }


def work(found: dict[str, Any], peak_gflops: float) -> dict[str, float]:
    """What the network computed and moved in one case, and its share of the measured peak."""
    model = ROOT / "model" / read_settings(ROOT / "model").segmenter.file
    each, inputs = network_work(model, found["warm"]["shape"]), found["warm"]["inputs"]
    gflop = each.flop * inputs / 1e9
    network_s, segment_s = (median(run[key] for run in found["warm"]["runs"]) for key in ("network", "segment"))
    return {
        "network_gflop": round(gflop, 1),
        "network_gb_moved_estimate": round(each.bytes_moved * inputs / 1e9, 2),
        "network_gflops": round(gflop / network_s, 1),
        "network_share_of_peak": round(gflop / network_s / peak_gflops, 3),
        "segment_share_of_peak": round(gflop / segment_s / peak_gflops, 3),
    }


def peer(python: str, name: str, mode: str) -> dict[str, Any]:
    """nnU-Net's predictor on a volume of the study's size, in a process of its own."""
    shape, spacing = ([str(value) for value in values] for values in SIZES[name])
    command = [python, "-m", "lab.benchmark.peer", "--shape", *shape, "--spacing", *spacing, "--mode", mode]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the peer ended with {done.returncode}: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def table(result: dict[str, Any]) -> str:
    """Markdown: medians, smallest and largest of every figure, then what follows from them."""
    machine = result["machine"]
    lines = [
        f"{machine['processor']}, {machine['threads']} threads, Python {machine['python']}; "
        f"matmul probe {result['matmul_gflops']} GFLOP/s (float32).",
        "",
        "| study | figure | median | smallest | largest |",
        "|---|---|---|---|---|",
        row("", "process.py --help s", result["help_s"]),
    ]
    for name, found in result["studies"].items():
        runs = {"cold": found["cold"], "warm": found["warm"]["runs"]}
        lines += [
            row(name, f"{kind} {key}", [run[key] for run in group]) for kind, group in runs.items() for key in group[0]
        ]
        lines += [f"| {name} | {key} | {value} | | |" for key, value in found["work"].items()]
        lines += peer_rows(name, found)
    return "\n".join(lines) + "\n"


def row(study_name: str, figure: str, values: list[float]) -> str:
    """One line of the table."""
    return f"| {study_name} | {figure} | {median(values):.2f} | {min(values):.2f} | {max(values):.2f} |"


def peer_rows(name: str, found: dict[str, Any]) -> list[str]:
    """The peer's seconds and memory, and how many times as long as our whole warm path they are."""
    ours = median(run["total"] for run in found["warm"]["runs"])
    lines = []
    for told in found["peers"]:
        what = f"nnU-Net {told['version']} {told['network']} {told['parameters_million']} M"
        kind = " (estimated from one window)" if told["estimated"] else ""
        for mode, seconds in told["seconds"].items():
            lines.append(f"| {name} | {what}, {mode} s{kind} | {seconds:.1f} | | |")
            lines.append(f"| {name} | times our whole path, {mode}{kind} | {seconds / ours:.1f} | | |")
        lines.append(f"| {name} | {what}, peak_mb in mode {told['mode']} | {told['peak_mb']} | | |")
    return lines


if __name__ == "__main__":
    main()
