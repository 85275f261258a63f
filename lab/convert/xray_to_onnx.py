"""A checkpoint of the radiograph's network to the ONNX file that ships, with a check that both give the same maps.

    python -m lab.convert.xray_to_onnx --run RUN --out model/xray.onnx

float16 weights with instance norms and both heads in float32, as `lab.convert.to_onnx` does; sigmoids, the widening of
the coarse map and their product are inside. Writes the record, and the digest in the settings, beside it; exits with 1
where the maps differ.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lab.convert.to_onnx import Float32, insert_islands, write_onnx
from lab.synth.radiograph import develop
from lab.synth.radiograph_bank import draw_cast
from lab.train.xray_network import Landmarker, heatmaps
from spine.runners import open_runner
from spine.xray.conform import scale

MAP_CHANGE_MAX, PLACE_CHANGE_MAX_MM = 0.05, 0.15
HEATMAP_MM = 1.2


class ShippedLandmarker(nn.Module):
    """float32 (1, 1, H, W) -> float32 (1, 78, H/2, W/2) in 0..1."""

    def __init__(self, network: Landmarker) -> None:
        super().__init__()
        self.network = network.half()
        insert_islands(self.network)
        self.network.level_head = Float32(network.level_head, back_to_half=False)
        self.network.kind_head = Float32(network.kind_head, back_to_half=False)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        return heatmaps(*self.network(image.half()))


def load_average(checkpoint: Path) -> Landmarker:
    """The averaged network of a checkpoint of lab.train.train_xray, in evaluation mode."""
    network = Landmarker()
    network.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["average"])
    return network.eval()


def export(checkpoint: Path, out: Path) -> str:
    """Write `out`; returns its sha256. Batch, rows and columns stay symbolic."""
    shipped = ShippedLandmarker(load_average(checkpoint)).eval()
    return write_onnx(shipped, 1, ("image", "heatmaps"), out)


@torch.no_grad()
def parity(checkpoint: Path, out: Path, digest: str) -> dict[str, float]:
    """Largest change of a heatmap, and of a surely found point's place, between torch and the runtime on the CPU."""
    network, runner = load_average(checkpoint), open_runner(out, digest, "cpu")
    change, moved = 0.0, 0.0
    for region in ("cervical", "lumbar"):
        film, rng = draw_cast("val", region, 0)
        image = scale(develop(film, rng)[0])
        image = np.pad(image, [(0, -n % 32) for n in image.shape])[None, None]
        reference = heatmaps(*network(torch.from_numpy(image)))[0].numpy()
        answer = np.asarray(runner(image))[0]
        change = max(change, float(np.abs(answer - reference).max()))
        sure = reference.max((1, 2)) > 0.5
        steps = [_centres(maps[sure]) for maps in (reference, answer)]
        moved = max(moved, float(np.abs(steps[0] - steps[1]).max(initial=0.0)) * HEATMAP_MM)
    return {"largest_change": round(change, 5), "largest_shift_mm": round(moved, 4)}


def _centres(maps: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, 2) centres of mass of maps cut at half of their peak."""
    weight = np.where(maps > 0.5 * maps.max((1, 2), keepdims=True), maps, 0).astype(float)
    down, across = np.indices(maps.shape[1:])
    total = weight.sum((1, 2))
    return np.stack([(weight * down).sum((1, 2)) / total, (weight * across).sum((1, 2)) / total], 1)


def main() -> int:
    """Export, compare, write the record; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of lab.train.train_xray")
    parser.add_argument("--out", type=Path, default=Path("model/xray.onnx"))
    args = parser.parse_args()
    digest = export(args.run / "last.pt", args.out)
    found = parity(args.run / "last.pt", args.out, digest)
    training = args.run / "record.json"
    record = json.loads(training.read_text(encoding="utf-8")) if training.exists() else {"unfinished": True}
    record = {"file": args.out.name, "sha256": digest, "parity": found, **record}
    args.out.with_suffix(".record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    settings = args.out.with_name("settings.json")
    if settings.exists():
        data = json.loads(settings.read_text(encoding="utf-8"))
        data["xray"].update(file=args.out.name, sha256=digest)
        settings.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print(f"{args.out}  {args.out.stat().st_size / 1e6:.1f} MB  sha256 {digest}  {found}")
    return 0 if found["largest_change"] < MAP_CHANGE_MAX and found["largest_shift_mm"] < PLACE_CHANGE_MAX_MM else 1


if __name__ == "__main__":
    sys.exit(main())
