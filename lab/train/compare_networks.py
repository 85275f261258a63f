"""Accuracy against time of networks of different size, trained alike, to choose the one that ships.

    python -m lab.train.compare_networks --data ../shared/data --bank RENDERED --out WORK --steps 600

Each candidate is trained from scratch with the same pictures, seed and steps, scored on the validation patients, and
timed as it would ship: ONNX through the CPU runner, one slice of 320 x 352 pixels at a time, best of five interleaved
rounds. Writes docs/segmenter/candidates.md. Short trainings compare candidates; they do not say what is reached in
the end.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from lab.convert.to_onnx import export
from lab.train.train_segmenter import main as train_segmenter
from spine.runners import open_runner

CANDIDATES = {  # channels of each resolution, slices seen on either side
    "narrow": ((16, 32, 64, 96, 96), 1),
    "middle": ((32, 64, 128, 192, 192), 1),
    "middle, five slices": ((32, 64, 128, 192, 192), 2),
    "wide": ((48, 96, 192, 256, 256), 1),
}
PICTURE = (352, 320)  # a field of view of 280 x 256 mm at 0.8 mm, padded
ROUTINE_SLICES = 18


def main() -> None:
    """Train (or continue) every candidate, time them, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--table", type=Path, default=Path("docs/segmenter/candidates.md"))
    args = parser.parse_args()
    digests = {}
    for name, (widths, neighbours) in CANDIDATES.items():
        folder = args.out / name
        command = [
            "--data",
            args.data,
            "--bank",
            args.bank,
            "--out",
            folder,
            "--steps",
            args.steps,
            "--widths",
            *widths,
            "--neighbours",
            neighbours,
        ]
        train_segmenter([str(word) for word in command])
        digests[name] = export(folder / "last.pt", folder / "network.onnx")
    seconds = slice_seconds({name: (args.out / name / "network.onnx", digest) for name, digest in digests.items()})
    lines = [
        f"| candidate | widths | slices seen | parameters | vertebra | disc | canal "
        f"| s a routine study ({ROUTINE_SLICES} slices) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (widths, neighbours) in CANDIDATES.items():
        record = json.loads((args.out / name / "record.json").read_text(encoding="utf-8"))
        dice = [f"{record['log'][-1][f'dice_{part}']:.3f}" for part in ("vertebra", "disc", "canal")]
        millions = record["parameters"] / 1e6
        size = [", ".join(map(str, widths)), str(2 * neighbours + 1), f"{millions:.1f} M"]
        cells = [name, *size, *dice, f"{seconds[name] * ROUTINE_SLICES:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    args.table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def slice_seconds(files: dict[str, tuple[Path, str]], rounds: int = 5, calls: int = 4) -> dict[str, float]:
    """Best seconds a slice of each network (file, sha256), candidates taking turns."""
    generator = np.random.default_rng(0)
    images = {
        name: generator.random((1, 2 * neighbours + 1, *PICTURE), np.float32)
        for name, (_, neighbours) in CANDIDATES.items()
    }
    runners = {name: open_runner(file, digest, "cpu") for name, (file, digest) in files.items()}
    for name, runner in runners.items():
        runner(images[name])
    best = dict.fromkeys(files, float("inf"))
    for _ in range(rounds):
        for name, runner in runners.items():
            start = time.perf_counter()
            for _ in range(calls):
                runner(images[name])
            best[name] = min(best[name], (time.perf_counter() - start) / calls)
    return best


if __name__ == "__main__":
    main()
