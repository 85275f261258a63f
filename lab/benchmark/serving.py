"""The HTTP form: seconds of each of ten cases one after another, and whether the process grows.

    python -m lab.benchmark.serving --out docs/benchmark [--cases 10] [--size routine]

Starts `process.py --serve` as a process of its own. Memory is what the process holds after each case (VmRSS) and its
largest so far (VmHWM). Growth is counted from the sixth case: the network is compiled in the first, and every case runs
in a thread of its own, for which the C library opens another heap once or twice (57 MB in the fourth case when this was
written, 0.1 MB a case from then on).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from lab.benchmark.cases import ROOT, SIZES, write_case
from lab.benchmark.machine import describe
from lab.server import invoke, server

SETTLED = 5  # cases


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmark")
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--size", choices=tuple(SIZES), default="routine")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        case = write_case(Path(folder) / "input", *SIZES[args.size])
        result = {"machine": describe(), "size": args.size, **serve(case, Path(folder) / "output", args.cases)}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "serving.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def serve(case: Path, output: Path, cases: int) -> dict[str, Any]:
    """Start-up, seconds and memory of each of `cases` runs of the same case."""
    output.mkdir()
    start = time.perf_counter()
    seconds, held, peak = [], [], []
    with server(case, output) as (process, address):
        ready_s = time.perf_counter() - start
        for _ in range(cases):
            begun = time.perf_counter()
            status, text = invoke(address)
            if status != 201:
                raise SystemExit(f"/invoke answered {status}: {text}")
            seconds.append(round(time.perf_counter() - begun, 3))
            facts = memory_mb(process.pid)
            held.append(facts["VmRSS"])
            peak.append(facts["VmHWM"])
    settled = held[SETTLED:] or held
    return {
        "ready_s": round(ready_s, 2),
        "first_s": seconds[0],
        "warm_median_s": median(seconds[1:] or seconds),
        "seconds": seconds,
        "held_mb": held,
        "peak_mb": max(peak),
        "growth_mb": growth_mb(settled),
    }


def growth_mb(held: list[float]) -> float:
    """What memory grows by over the cases: their median step, times their number.

    A pool that is filled once, late because another thread came to run, is no growth; a leak shows in every step.
    """
    steps = [after - before for before, after in pairwise(held)]
    return round(median(steps) * len(steps), 1) if steps else 0.0


def memory_mb(pid: int) -> dict[str, float]:
    """VmRSS and VmHWM of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    pairs = (line.split(":") for line in lines if line.startswith(("VmRSS", "VmHWM")))
    return {name: round(int(value.split()[0]) * 1024 / 1e6, 1) for name, value in pairs}


if __name__ == "__main__":
    main()
