"""Train the axial muscle network on synthetic stacks alone; resumable. The bank may still grow meanwhile.

python -m lab.synth.axial_bank --out BANK --n 1500 --family train
python -m lab.synth.axial_bank --out VAL --n 60 --family val
python -m lab.train.train_axial --bank BANK --val VAL --out RUN --steps 2400
python -m lab.convert.axial_to_onnx --run RUN --val VAL --out model/axial.onnx
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from lab.train.averaging import descend, write_checkpoint
from lab.train.axial_augment import augment, draw_item, read_item
from lab.train.network import Segmenter, build_network
from lab.train.train_segmenter import draw_curves, rate_share
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


def load_axial(checkpoint: Path) -> Segmenter:
    """The averaged network of a checkpoint, in evaluation mode."""
    stored = torch.load(checkpoint, map_location="cpu", weights_only=True)
    network = build_axial(tuple(stored["widths"]))
    network.load_state_dict(stored["average"])
    return network.eval()


class Run:
    """Network, running average, optimiser, step and log; read from `folder`/last.pt where that exists."""

    def __init__(self, folder: Path, seed: int, widths: tuple[int, ...] = WIDTHS) -> None:
        torch.manual_seed(seed)
        self.file, self.step, self.widths = folder / "last.pt", 0, tuple(widths)
        self.log: list[dict[str, float]] = []
        self.network, self.average = build_axial(widths), build_axial(widths)
        self.average.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(self.network.parameters(), weight_decay=1e-4)
        if self.file.exists():
            stored = torch.load(self.file, map_location="cpu", weights_only=True)
            for part in ("network", "average", "optimiser"):
                getattr(self, part).load_state_dict(stored[part])
            self.step, self.log = stored["step"], stored["log"]

    def start_from(self, checkpoint: Path) -> None:
        """Take the averaged weights of another run; optimiser and step stay fresh."""
        weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["average"]
        self.network.load_state_dict(weights)
        self.average.load_state_dict(weights)

    def update(self, images: Tensor, labels: Tensor, rate: float) -> float:
        """One step on (N, 3, H, W) and (N, H, W); returns the loss."""
        loss = axial_loss(self.network(images), labels)
        self.step += 1
        return descend(loss, rate, self.network, self.average, self.optimiser, self.step)

    def save(self) -> None:
        """Write last.pt by renaming, so that a killed run leaves a whole file."""
        parts = {p: getattr(self, p).state_dict() for p in ("network", "average", "optimiser")}
        write_checkpoint(self.file, {**parts, "step": self.step, "log": self.log, "widths": list(self.widths)})


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
    run = Run(args.out, args.seed, tuple(args.widths))
    if args.init and not run.step:
        run.start_from(args.init / "last.pt")
    rng = np.random.default_rng((args.seed, run.step))
    files = sorted(args.bank.glob("*.npz"))
    start, running = time.time(), 0.0
    for step in tqdm(range(run.step, args.steps), initial=run.step, total=args.steps, mininterval=20):
        pairs = [augment(draw_item(files, rng), rng, CROP) for _ in range(BATCH)]
        images, labels = (torch.stack(part) for part in zip(*pairs, strict=True))
        loss = run.update(images, labels, args.rate * rate_share(step, args.steps))
        running = 0.98 * running + 0.02 * loss if running else loss
        if run.step % CHECK_EVERY == 0 or run.step == args.steps:
            scores = validate(run.average, validation)
            run.log.append({"step": run.step, "loss": running, "seconds": time.time() - start, **scores})
            (args.out / "log.json").write_text(json.dumps(run.log, indent=1), encoding="utf-8")
            draw_curves(run.log, args.out / "curves.png")
            files = sorted(args.bank.glob("*.npz"))
        if run.step % SAVE_EVERY == 0 or run.step == args.steps:
            run.save()
    (args.out / "record.json").write_text(json.dumps(_record(args, run, files), indent=1), encoding="utf-8")


def _record(args: argparse.Namespace, run: Run, files: list[Path]) -> dict[str, object]:
    total = hashlib.sha256()
    for file in files:
        total.update(file.read_bytes())
    return {
        "steps": run.step,
        "batch": BATCH,
        "crop": CROP,
        "widths": run.widths,
        "rate": args.rate,
        "seed": args.seed,
        "first_round": json.loads((args.init / "record.json").read_text(encoding="utf-8")) if args.init else None,
        "data": "synthetic stacks of lab.synth.axial_bank, family train",
        "stacks": len(files),
        "bank_sha256": total.hexdigest(),
        "parameters": sum(p.numel() for p in run.network.parameters()),
        "log": run.log,
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
