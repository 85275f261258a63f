"""Train the axial muscle network on synthetic stacks alone; resumable. The bank may still grow meanwhile.

python -m lab.synth.axial_bank --out BANK --n 1500 --family train
python -m lab.synth.axial_bank --out VAL --n 60 --family val
python -m lab.train.train_axial --bank BANK --val VAL --out RUN --steps 2400
python -m lab.convert.axial_to_onnx --run RUN --val VAL --out model/axial.onnx
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from lab.train.axial_augment import augment, draw_item, read_item
from lab.train.network import Segmenter, build_network
from lab.train.run import Run
from lab.train.train_segmenter import rate_share
from spine.anatomy import AxialStructure

CLASSES = len(AxialStructure)
WIDTHS = (16, 48, 96, 160, 192)
CROP = (192, 224)
BATCH = 8
CHECK_EVERY, SAVE_EVERY = 150, 75


def axial_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice of the classes that occur; logits (N, CLASSES, H, W), labels (N, H, W) int64.

    The sums of Dice run over the batch (Milletari 2016, doi 10.1109/3DV.2016.79).
    """
    one_hot = functional.one_hot(labels, CLASSES).movedim(-1, 1).float()
    probs = logits.softmax(1)
    size = one_hot.sum((0, 2, 3))[1:]
    both = (probs * one_hot).sum((0, 2, 3))[1:]
    dice = (2 * both + 1) / (probs.sum((0, 2, 3))[1:] + size + 1)
    occurs = (size >= 20).float()
    return functional.cross_entropy(logits, labels) + 1 - (dice * occurs).sum() / occurs.sum().clamp_min(1)


def build_axial(widths: tuple[int, ...] = WIDTHS) -> Segmenter:
    """The axial network: three neighbouring slices in, AxialStructure out."""
    return build_network(3, CLASSES, tuple(widths))


@torch.no_grad()
def validate(network: nn.Module, files: list[Path]) -> dict[str, float]:
    """Dice by class over one inner slice of every stack, pixels pooled."""
    both, total = np.zeros(CLASSES), np.zeros(CLASSES)
    for number, file in enumerate(files):
        item = read_item(file, number % 3, 1 + number % 2)
        rows, columns = item.labels.shape
        image = functional.pad(torch.from_numpy(item.image)[None], (0, -columns % 32, 0, -rows % 32))
        answer = network(image)[0, :, :rows, :columns].argmax(0).numpy()
        for c in range(CLASSES):
            both[c] += ((answer == c) & (item.labels == c)).sum()
            total[c] += (answer == c).sum() + (item.labels == c).sum()
    return {f"dice_{s.name.lower()}": float(2 * both[s] / max(total[s], 1)) for s in AxialStructure if s}


def train(args: argparse.Namespace) -> None:
    """The loop; continues from OUT/last.pt. The bank's list is read again at every check, so that it may grow."""
    validation = sorted(args.val.glob("*.npz"))
    run = Run(args.out, args.seed, build_axial, tuple(args.widths))
    if args.init and not run.step:
        run.start_from(args.init / "last.pt")
    rng = np.random.default_rng((args.seed, run.step))
    files = sorted(args.bank.glob("*.npz"))
    for step in tqdm(range(run.step, args.steps), initial=run.step, total=args.steps, mininterval=20):
        pairs = [augment(draw_item(files, rng), rng, CROP) for _ in range(BATCH)]
        images, labels = (torch.stack(part) for part in zip(*pairs, strict=True))
        loss = run.descend(axial_loss(run.network(images), labels), args.rate * rate_share(step, args.steps))
        if run.keep(loss, args.steps, (CHECK_EVERY, SAVE_EVERY), lambda: validate(run.average, validation)):
            files = sorted(args.bank.glob("*.npz"))
    (args.out / "record.json").write_text(json.dumps(_record(args, run, files), indent=1), encoding="utf-8")


def _record(args: argparse.Namespace, run: Run, files: list[Path]) -> dict[str, object]:
    return {
        "batch": BATCH,
        "crop": CROP,
        "rate": args.rate,
        "seed": args.seed,
        "first_round": json.loads((args.init / "record.json").read_text(encoding="utf-8")) if args.init else None,
        "data": "synthetic stacks of lab.synth.axial_bank, family train",
        "stacks": len(files),
        **run.facts(files),
    }


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="folder of a finished run whose averaged weights are the start")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    train(args)


if __name__ == "__main__":
    main()
