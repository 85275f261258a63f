"""A checkpoint of the axial network to the ONNX file that ships, with its parity and its record.

    python -m lab.convert.axial_to_onnx --run RUN --val VAL --out model/axial.onnx

float16 weights, float32 islands and softmax inside, as `lab.convert.to_onnx`. The settings' sha256 is written where
the settings beside the file know the network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from lab.convert.ship import compare, write_record
from lab.convert.to_onnx import Shipped, write_onnx
from lab.train.axial_augment import read_item
from lab.train.run import load_run
from lab.train.train_axial import build_axial
from spine.runners import open_runner

NAMES = ("slices", "probabilities")


def export_axial(checkpoint: Path, out: Path) -> str:
    """Write `out`, float32 (n, 3, H, W) -> probabilities (n, 7, H, W), all sizes symbolic; returns its sha256."""
    shipped = Shipped(load_run(checkpoint, build_axial)).eval()
    return write_onnx(shipped, 3, NAMES, out)


def padded(file: Path) -> Tensor:
    """One slice of a stack of the bank, as the network takes it."""
    image = torch.from_numpy(read_item(file, 0, 1).image)[None]
    return functional.pad(image, (0, -image.shape[3] % 32, 0, -image.shape[2] % 32))


def main() -> None:
    """Export, compare, write the record and, where there is a group for it, the settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of lab.train.train_axial")
    parser.add_argument("--val", type=Path, required=True, help="bank of the family val")
    parser.add_argument("--out", type=Path, default=Path("model/axial.onnx"))
    args = parser.parse_args()
    digest = export_axial(args.run / "last.pt", args.out)
    files = sorted(args.val.glob("*.npz"))[:20]
    runner = open_runner(args.out, digest, "cpu")
    compared = compare(load_run(args.run / "last.pt", build_axial), runner, map(padded, files))
    write_record(args.out, digest, {"slices": len(files), **compared}, args.run)


if __name__ == "__main__":
    main()
