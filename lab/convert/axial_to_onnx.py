"""A checkpoint of the axial network to the ONNX file that ships, with its parity and its record.

    python -m lab.convert.axial_to_onnx --run RUN --val VAL --out model/axial.onnx

float16 weights, float32 islands and softmax inside, as `lab.convert.to_onnx`. The settings' sha256 is written where
the settings beside the file know the network.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from lab.convert.to_onnx import Shipped, write_onnx
from lab.train.axial_augment import read_item
from lab.train.train_axial import load_axial
from spine.runners import open_runner

NAMES = ("slices", "probabilities")


def export_axial(checkpoint: Path, out: Path) -> str:
    """Write `out`, float32 (n, 3, H, W) -> probabilities (n, 7, H, W), all sizes symbolic; returns its sha256."""
    shipped = Shipped(load_axial(checkpoint)).eval()
    return write_onnx(shipped, 3, NAMES, out)


@torch.no_grad()
def parity(checkpoint: Path, out: Path, digest: str, files: list[Path]) -> dict[str, float | int | str]:
    """Share of pixels of one slice of each stack to which float32 torch and the CPU runner give the same class."""
    network, runner = load_axial(checkpoint), open_runner(out, digest, "cpu")
    same, total, largest = 0, 0, 0.0
    for file in files:
        image = torch.from_numpy(read_item(file, 0, 1).image)[None]
        image = functional.pad(image, (0, -image.shape[3] % 32, 0, -image.shape[2] % 32))
        wanted, found = network(image).softmax(1).numpy(), runner(image.numpy())
        same += int((wanted.argmax(1) == found.argmax(1)).sum())
        total += wanted[:, 0].size
        largest = max(largest, float(np.abs(wanted - found).max()))
    return {"slices": len(files), "agree": same / total, "largest_change_prob": largest, "runner": runner.name}


def main() -> None:
    """Export, compare, write the record and, where there is a group for it, the settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of lab.train.train_axial")
    parser.add_argument("--val", type=Path, required=True, help="bank of the family val")
    parser.add_argument("--out", type=Path, default=Path("model/axial.onnx"))
    args = parser.parse_args()
    digest = export_axial(args.run / "last.pt", args.out)
    compared = parity(args.run / "last.pt", args.out, digest, sorted(args.val.glob("*.npz"))[:20])
    record = json.loads((args.run / "record.json").read_text(encoding="utf-8"))
    record = {"file": args.out.name, "sha256": digest, "parity": compared, **record}
    args.out.with_suffix(".record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    settings = args.out.with_name("settings.json")
    data = json.loads(settings.read_text(encoding="utf-8")) if settings.exists() else {}
    if "axial" in data:
        data["axial"].update(file=args.out.name, sha256=digest)
        settings.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print(f"{args.out}  {args.out.stat().st_size / 1e6:.1f} MB  sha256 {digest}\n{compared}")


if __name__ == "__main__":
    main()
