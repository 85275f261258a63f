"""A training checkpoint to the ONNX file that ships: float16 weights, float32 islands, softmax inside.

    python -m lab.convert.to_onnx --run RUN --out model/segmenter.onnx

Sums over a picture overflow float16, and builders do not obey precision hints, so instance norms, the last
convolution and the softmax stand between explicit casts to float32.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from lab.train.network import Segmenter, load_average, seen_slices
from spine.anatomy import STRUCTURES, Structure

# Added to the logits of these classes, because Dice losses and labels brought to the model's grid make the network
# draw thin structures too thick. Chosen on the three SPIDER validation patients, between the best of eight
# (disc 0 to -2, canal 0 to 0.6, body 0 or -0.3): disc Dice 0.874 -> 0.887, volume 19 % -> 8 % too large.
LOGIT_OFFSETS = {Structure.DISC: -1.0, Structure.CANAL: 0.4, Structure.CORD: 0.4, Structure.BODY: -0.2}


def load_shipped(checkpoint: Path) -> Segmenter:
    """The averaged network of a checkpoint, with LOGIT_OFFSETS in the bias of its last layer."""
    network = load_average(checkpoint)
    bias = network.body.head.bias.data.view(len(STRUCTURES), -1)  # the sub-pixels of a class lie together
    for structure, offset in LOGIT_OFFSETS.items():
        bias[structure] += offset
    return network


class Float32(nn.Module):
    """A layer that computes in float32 between float16 neighbours."""

    def __init__(self, layer: nn.Module, back_to_half: bool = True) -> None:
        super().__init__()
        self.layer, self.back_to_half = layer.float(), back_to_half

    def forward(self, x: Tensor) -> Tensor:
        """Any shape the layer takes; float16 in, float16 (or float32) out."""
        y = self.layer(x.float())
        return y.half() if self.back_to_half else y


class Shipped(nn.Module):
    """float32 (N, slices, H, W) -> float32 class probabilities (N, classes, H, W)."""

    def __init__(self, network: Segmenter) -> None:
        super().__init__()
        self.network = network.half()
        insert_islands(self.network)
        self.network.body.head = Float32(network.body.head, back_to_half=False)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        return self.network(image.half()).softmax(1)


def insert_islands(module: nn.Module) -> None:
    """Let every instance norm inside `module` compute in float32, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.InstanceNorm2d):
            setattr(module, name, Float32(child))
        else:
            insert_islands(child)


def export(checkpoint: Path, out: Path) -> str:
    """Write `out`; returns its sha256. The batch, rows and columns stay symbolic: each runner fixes its own."""
    network = load_shipped(checkpoint)
    return write_onnx(Shipped(network).eval(), seen_slices(network), ("image", "probabilities"), out)


def write_onnx(shipped: nn.Module, channels: int, names: tuple[str, str], out: Path) -> str:
    """Write `shipped`, (n, channels, H, W) -> (n, ..., H', W'), as `out`, every size symbolic; returns its sha256."""
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        shipped,
        (torch.zeros(1, channels, 64, 64),),
        out,
        input_names=names[:1],
        output_names=names[1:],
        dynamic_axes={n: {0: "batch", 2: "rows", 3: "columns"} for n in names},
        opset_version=18,
        dynamo=False,
    )
    model = onnx.load(out)
    onnx.checker.check_model(model)
    model.producer_version = model.doc_string = ""
    onnx.save(model, out)
    return hashlib.sha256(out.read_bytes()).hexdigest()


def main() -> None:
    """Export, and write the digest into the settings beside the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of lab.train.train_segmenter")
    parser.add_argument("--out", type=Path, default=Path("model/segmenter.onnx"))
    args = parser.parse_args()
    digest = export(args.run / "last.pt", args.out)
    settings = args.out.with_name("settings.json")
    data = json.loads(settings.read_text(encoding="utf-8"))
    slices = seen_slices(load_average(args.run / "last.pt"))
    data["segmenter"].update(file=args.out.name, sha256=digest, neighbours=slices // 2)
    settings.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print(f"{args.out}  {args.out.stat().st_size / 1e6:.1f} MB  sha256 {digest}")


if __name__ == "__main__":
    main()
