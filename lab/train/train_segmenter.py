"""Train the segmenter on synthetic spines and the CC BY 4.0 training patients; resumable, on CPU or one GPU.

python -m lab.train.train_segmenter --data ../shared/data --bank RENDERED --out RUN --steps 3600
python -m lab.train.train_segmenter ... --labelled LABELLED --init RUN --out RUN2     # second round, see recipe.sh
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from lab.train import sources, volumes
from lab.train.augment import draw
from lab.train.averaging import descend, write_checkpoint
from lab.train.losses import segmentation_loss
from lab.train.network import WIDTHS, build_network, with_more_slices
from lab.train.sources import Item
from spine.anatomy import Structure

PIXEL_MM = 0.8
CROP = (256, 192)
BATCH = 8
SHARES = {
    "spider_space": 0.4,
    "mendeley_t1": 0.1,
    "mendeley_t2": 0.08,
    "spider_t1": 0.06,
    "spider_t2": 0.06,
    "spider": 0.4,
    "nnunet": 0.2,
    "synthetic": 0.3,
}
WARM_UP = 100


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--bank", type=Path, help="folder of lab.train.prerender; without it no synthetic spines")
    parser.add_argument("--labelled", type=Path, help="folder of lab.train.pseudo_label, of the second round")
    parser.add_argument("--spider", type=Path, help="SPIDER as published: images/*.mha, masks/*.mha")
    parser.add_argument("--nnunet", type=Path, help="a raw nnU-Net folder: imagesTr, labelsTr, dataset.json")
    parser.add_argument("--classes", type=Path, help="JSON for --nnunet: {label name: [structures it may be]}")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="folder of a finished run whose averaged weights are the start")
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, help="channels of each resolution")
    parser.add_argument("--neighbours", type=int, default=1, help="slices seen on either side of the one named")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--synthetic-only", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    train(args)


def load_items(args: argparse.Namespace) -> dict[str, list[Item]]:
    """Training items by source, as SHARES names them."""
    found: dict[str, list[Item]] = {}
    if not args.synthetic_only:
        if (args.data / "spider_space").is_dir():
            found["spider_space"] = list(sources.spider_space(args.data, "train", PIXEL_MM))
            for item in sources.labelled(args.labelled) if args.labelled else _mendeley(args.data):
                found.setdefault(item.source, []).append(item)
        if args.spider:
            found["spider"] = list(volumes.spider(args.spider, PIXEL_MM))
        if args.nnunet:
            classes = json.loads(args.classes.read_text(encoding="utf-8"))
            found["nnunet"] = list(volumes.nnunet(args.nnunet, classes, PIXEL_MM))
    if args.bank:
        found["synthetic"] = list(sources.synthetic(args.bank))
    return found


def _mendeley(data: Path) -> Iterator[Item]:
    for contrast in ("t1", "t2"):
        yield from sources.mendeley(data, "train", PIXEL_MM, contrast)


def train(args: argparse.Namespace) -> None:
    """The loop: every 200 steps a checkpoint, every 500 a validation; continues from OUT/last.pt."""
    items = load_items(args)
    if not any(items.values()):
        raise SystemExit("nothing to train on: give --bank, --spider, --nnunet, or --data with the pack.")
    there = (args.data / "spider_space").is_dir()
    validation = list(sources.spider_space(args.data, "val", PIXEL_MM)) if there else []
    state = State(args.out, torch.device(args.device), args.seed, args.widths, args.neighbours)
    if args.init and not state.step:
        state.start_from(args.init / "last.pt")
    rng = np.random.default_rng((args.seed, state.step))
    start, running = time.time(), 0.0
    bar = tqdm(range(state.step, args.steps), initial=state.step, total=args.steps, mininterval=30)
    for step in bar:
        loss = state.update(*_batch(items, rng, args.neighbours), args.rate * rate_share(step, args.steps))
        running = 0.98 * running + 0.02 * loss if running else loss
        bar.set_postfix(loss=f"{running:.3f}", refresh=False)
        if state.step % 500 == 0 or state.step == args.steps:
            scores = {
                f"dice_{k}": v for k, v in validate(state.average, validation, state.device, args.neighbours).items()
            }
            state.log.append({"step": state.step, "loss": running, "seconds": time.time() - start, **scores})
            (args.out / "log.json").write_text(json.dumps(state.log, indent=1), encoding="utf-8")
            draw_curves(state.log, args.out / "curves.png")
        if state.step % 200 == 0 or state.step == args.steps:
            state.save()
    record = {
        "steps": args.steps,
        "batch": BATCH,
        "crop": CROP,
        "pixel_mm": PIXEL_MM,
        "seed": args.seed,
        "rate": args.rate,
        "widths": args.widths,
        "neighbours": args.neighbours,
        "init": str(args.init.name) if args.init else None,
        "shares": {k: SHARES[k] for k in items},
        "items": {k: len(v) for k, v in items.items()},
        "data_sha256": {k: digest(v) for k, v in items.items()},
        "parameters": sum(p.numel() for p in state.network.parameters()),
        "log": state.log,
    }
    (args.out / "record.json").write_text(json.dumps(record, indent=1), encoding="utf-8")


def rate_share(step: int, steps: int) -> float:
    """Share of the highest learning rate: a short warm-up, then half a cosine to zero."""
    return min((step + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * step / steps))


class State:
    """Network, its running average, optimiser, step and log; read from `folder`/last.pt where that exists."""

    def __init__(
        self, folder: Path, device: torch.device, seed: int, widths: tuple[int, ...] = WIDTHS, neighbours: int = 1
    ) -> None:
        torch.manual_seed(seed)
        self.file, self.device, self.step = folder / "last.pt", device, 0
        self.log: list[dict[str, float]] = []
        self.slices = 2 * neighbours + 1
        self.network = build_network(self.slices, widths=widths).to(device)
        self.average = build_network(self.slices, widths=widths).to(device)
        self.average.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(self.network.parameters(), weight_decay=1e-4)
        if self.file.exists():
            stored = torch.load(self.file, map_location=device, weights_only=True)
            for part in ("network", "average", "optimiser"):
                getattr(self, part).load_state_dict(stored[part])
            self.step, self.log = stored["step"], stored["log"]

    def start_from(self, checkpoint: Path) -> None:
        """Take the averaged weights of another run; optimiser and step stay fresh."""
        weights = torch.load(checkpoint, map_location=self.device, weights_only=True)["average"]
        weights = with_more_slices(weights, self.slices)
        self.network.load_state_dict(weights)
        self.average.load_state_dict(weights)

    def update(self, images: torch.Tensor, sets: torch.Tensor, rate: float) -> float:
        """One step on (N, slices, H, W) and (N, H, W); returns the loss."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits = self.network(images.to(self.device))
        loss = segmentation_loss(logits, sets.to(self.device))
        self.step += 1
        return descend(loss, rate, self.network, self.average, self.optimiser, self.step)

    def save(self) -> None:
        """Write last.pt by renaming, so that a killed run leaves a whole file."""
        parts = {p: getattr(self, p).state_dict() for p in ("network", "average", "optimiser")}
        write_checkpoint(self.file, {**parts, "step": self.step, "log": self.log})


def _batch(
    items: dict[str, list[Item]], rng: np.random.Generator, neighbours: int
) -> tuple[torch.Tensor, torch.Tensor]:
    names = [n for n in SHARES if items.get(n)]
    shares = np.array([SHARES[n] for n in names])
    pairs = []
    for name in rng.choice(names, BATCH, p=shares / shares.sum()):
        item = items[name][rng.integers(len(items[name]))]
        pairs.append(draw(item, rng, CROP, neighbours))
    return torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])


@torch.no_grad()
def validate(network: nn.Module, items: list[Item], device: torch.device, neighbours: int = 1) -> dict[str, float]:
    """Mean Dice on whole slices, every second one; what a set leaves open is not counted."""
    groups = {
        "vertebra": (Structure.BODY, Structure.POSTERIOR, Structure.C1, Structure.C2),
        "disc": (Structure.DISC,),
        "canal": (Structure.CANAL, Structure.CORD),
    }
    scores: dict[str, list[float]] = {g: [] for g in groups}
    for item in items:
        step = max(1, round(3.0 / item.slice_mm))
        count = item.sets.shape[0]
        answers = []
        for s in range(0, count, 2):
            picked = np.clip(s + step * np.arange(-neighbours, neighbours + 1), 0, count - 1)
            image = torch.from_numpy(item.image[picked].astype(np.float32))[None].to(device)
            pad = [-image.shape[3] % 32, -image.shape[2] % 32]
            image = nn.functional.pad(image, (0, pad[0], 0, pad[1]))
            answers.append(network(image)[0, :, : item.sets.shape[1], : item.sets.shape[2]].argmax(0).cpu().numpy())
        answer, sets = np.stack(answers), item.sets[::2]
        for name, members in groups.items():
            union = sources.bits(*members)
            truth = (sets & ~np.uint16(union)) == 0
            decided = truth | ((sets & union) == 0)
            found = np.isin(answer, members) & decided
            scores[name].append(float(2 * (found & truth).sum() / max(found.sum() + truth.sum(), 1)))
    return {k: float(np.mean(v)) for k, v in scores.items() if v}


def draw_curves(log: list[dict[str, float]], file: Path) -> None:
    """Loss and validation Dice against steps, as PNG."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    steps = [entry["step"] for entry in log]
    left.plot(steps, [entry["loss"] for entry in log])
    left.set(xlabel="step", ylabel="loss (running mean)")
    for key in sorted({k for entry in log for k in entry if k.startswith("dice_")}):
        right.plot(steps, [entry.get(key) for entry in log], label=key.removeprefix("dice_"))
    right.set(xlabel="step", ylabel="Dice, validation patients")
    if right.lines:
        right.legend()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def digest(items: list[Item]) -> str:
    """sha256 over patients, labels and pictures of a source, in order."""
    total = hashlib.sha256()
    for item in items:
        total.update(item.patient.encode())
        total.update(item.sets.tobytes())
        total.update(item.image.tobytes())
    return total.hexdigest()


if __name__ == "__main__":
    main()
