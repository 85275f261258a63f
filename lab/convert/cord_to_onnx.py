"""A checkpoint of the network of the cord to the ONNX file that ships, with its parity and its record.

    python -m lab.convert.cord_to_onnx --run RUN --val VAL --out model/cord.onnx

float16 weights, float32 islands and softmax inside, as `lab.convert.to_onnx`. The settings' sha256 is written where
the settings beside the file know the network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from lab.convert.ship import compare, write_record
from lab.convert.to_onnx import Shipped, write_onnx
from lab.train.cord_draw import draw_sections, read_cord
from lab.train.run import load_run
from lab.train.train_cord import NEIGHBOURS, CordNetwork
from spine.runners import open_runner
from spine.sections import ROWS_BESIDE

NAMES = ("sections", "probabilities")


def export_cord(checkpoint: Path, out: Path) -> str:
    """Write `out`, float32 (n, 7, 40, 40) -> probabilities (n, 3, 40, 40); returns its sha256."""
    return write_onnx(Shipped(load_run(checkpoint, CordNetwork)).eval(), len(ROWS_BESIDE), NAMES, out)


def main() -> None:
    """Export, compare, write the record and, where there is a group for it, the settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of lab.train.train_cord")
    parser.add_argument("--val", type=Path, required=True, help="bank of the family val")
    parser.add_argument("--out", type=Path, default=Path("model/cord.onnx"))
    args = parser.parse_args()
    checkpoint = args.run / "last.pt"
    digest = export_cord(checkpoint, args.out)
    files = sorted(args.val.glob("*.npz"))
    drawn = (draw_sections(read_cord(f), np.random.default_rng((8, n)), NEIGHBOURS)[0] for n, f in enumerate(files))
    runner = open_runner(args.out, digest, "cpu")
    compared = compare(load_run(checkpoint, CordNetwork), runner, map(torch.from_numpy, drawn))
    write_record(args.out, digest, {"stacks": len(files), **compared}, args.run)


if __name__ == "__main__":
    main()
