"""A training checkpoint to the ONNX file that ships: float16 weights, float32 islands, softmax inside.

    python -m lab.convert.to_onnx --run RUN --out model/segmenter.onnx
    python -m lab.convert.to_onnx --run RUN --out MODEL/segmenter.onnx --no-offsets     # a network of your own
    python -m lab.convert.to_onnx --run RUN --part neck --out model/neck.onnx           # the one that reads necks again

LOGIT_OFFSETS and NECK_OFFSETS were chosen for the shipped networks. Which ones a file carries is told and written to
RUN/record.json.
Sums over a picture overflow float16, and builders do not obey precision hints, so instance norms, the last
convolution and the softmax stand between explicit casts to float32.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from lab.train.network import Segmenter, load_average, seen_slices
from lab.train.resume import read_checkpoint
from lab.train.sources import UnusableData, read_json
from spine.anatomy import STRUCTURES, Structure

# Added to the logits of these classes, because Dice losses and labels brought to the model's grid make the network
# draw thin structures too thick. Chosen on the three SPIDER validation patients, between the best of eight
# (disc 0 to -2, canal 0 to 0.6, body 0 or -0.3): disc Dice 0.874 -> 0.887, volume 19 % -> 8 % too large.
LOGIT_OFFSETS = {Structure.DISC: -1.0, Structure.CANAL: 0.4, Structure.CORD: 0.4, Structure.BODY: -0.2}

# Of the network of the neck; chosen on eight synthetic necks of seeds that neither train nor are reported: depth of the
# canal 0.55 -> 0.46 mm too small at bodies, 0.10 -> 0.00 at discs; body +-0.3 and disc -0.5 make heights no better.
NECK_OFFSETS = {Structure.CANAL: 0.4, Structure.CORD: 0.4}
PARTS = ("segmenter", "neck")


def load_shipped(checkpoint: Path, offsets: Mapping[Structure, float] = LOGIT_OFFSETS) -> Segmenter:
    """The averaged network of a checkpoint, with `offsets` in the bias of its last layer."""
    network = load_average(checkpoint)
    bias = network.body.head.bias.data.view(len(STRUCTURES), -1)  # the sub-pixels of a class lie together
    for structure, offset in offsets.items():
        bias[structure] += offset
    return network


def exported_offsets(run: Path) -> dict[Structure, float]:
    """The offsets of the last export of `run`, from its record; LOGIT_OFFSETS where none is recorded.

    Raises:
        UnusableData: the record is no JSON.
    """
    record = run / "record.json"
    told = read_json(record).get("export") if record.exists() else None
    return dict(LOGIT_OFFSETS) if told is None else {Structure[k]: v for k, v in told["logit_offsets"].items()}


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


def export(checkpoint: Path, out: Path, offsets: Mapping[Structure, float] = LOGIT_OFFSETS) -> str:
    """Write `out`; returns its sha256. The batch, rows and columns stay symbolic: each runner fixes its own."""
    network = load_shipped(checkpoint, offsets)
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


def main(argv: list[str] | None = None) -> None:
    """Export, and write the digest into the settings beside the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of lab.train.train_segmenter")
    parser.add_argument("--out", type=Path, help="by default model/PART.onnx")
    parser.add_argument("--part", choices=PARTS, default=PARTS[0], help="what the network is in the settings")
    parser.add_argument("--no-offsets", action="store_true", help="export the network as it was trained")
    args = parser.parse_args(argv)
    try:
        usual = LOGIT_OFFSETS if args.part == PARTS[0] else NECK_OFFSETS
        out = args.out or Path("model") / f"{args.part}.onnx"
        install(args.run, out, {} if args.no_offsets else usual, args.part)
    except UnusableData as error:
        parser.exit(2, f"{error}\n")


def install(run: Path, out: Path, offsets: Mapping[Structure, float], part: str = PARTS[0]) -> None:
    """Export `run` as `out`; the settings beside it and the run's record tell what was written, as their `part`.

    Raises:
        UnusableData: no checkpoint in `run`, no settings.json beside `out`, or a neck that sees other slices than them.
    """
    read_checkpoint(run / "last.pt", torch.device("cpu"))
    settings = out.with_name("settings.json")
    data = read_json(settings)
    neighbours = seen_slices(load_average(run / "last.pt")) // 2
    if part != PARTS[0] and neighbours != data[PARTS[0]]["neighbours"]:
        seen = data[PARTS[0]]["neighbours"]
        raise UnusableData(f"{run}: --neighbours {neighbours}; the segmenter sees {seen} slices on either side.")
    digest = export(run / "last.pt", out, offsets)
    data.setdefault(part, {}).update(file=out.name, sha256=digest)
    data[PARTS[0]]["neighbours"] = neighbours
    settings.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print(f"{out}  {out.stat().st_size / 1e6:.1f} MB  sha256 {digest}")
    told = {s.name: v for s, v in offsets.items()}
    listed = ", ".join(f"{name} {value:+g}" for name, value in told.items())
    print(f"logit offsets: {listed + ' (--no-offsets leaves them out)' if listed else 'none'}")
    record = run / "record.json"
    content = read_json(record) if record.exists() else {}
    content["export"] = {"sha256": digest, "logit_offsets": told}
    record.write_text(json.dumps(content, indent=1), encoding="utf-8")
    quality = out.with_name("quality.json")
    if quality.exists() and read_json(quality).get(f"{part}_sha256") != digest:
        print(f"{quality} and the grader were fitted to another {part}: fit both again before their answers are used.")


if __name__ == "__main__":
    main()
