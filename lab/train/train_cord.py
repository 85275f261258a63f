r"""Train the network of the cord's cross-sections on synthetic cords alone; resumable.

python -m lab.synth.cord_bank --out BANK --n 480 --family train
python -m lab.synth.cord_bank --out VAL --n 24 --family val
python -m lab.train.train_cord --bank BANK --val VAL --out FIRST --steps 3200
python -m lab.train.train_cord --bank BANK --val VAL --out RUN --init FIRST --rate 1.5e-3 --seed 2 --steps 3000 \
    --narrowest 0.4
python -m lab.convert.cord_to_onnx --run RUN --val VAL --out model/cord.onnx
"""

from __future__ import annotations

import argparse
import json
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from lab.train.cord_draw import CLASSES, Sections, draw_sections, read_cord
from lab.train.network import UNet
from lab.train.run import Run
from lab.train.train_segmenter import rate_share
from spine.sections import ROWS_BESIDE

WIDTHS = (24, 48, 96, 96)
STACKS, NEIGHBOURS = 4, 14  # stacks in a batch, and neighbouring sections of each
CORD = CLASSES - 1
CHECK_EVERY, SAVE_EVERY = 250, 125
AHEAD = 6  # batches drawn before they are asked for
Batch = tuple[Sections, Sections]


def cord_loss(logits: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy with shares of classes plus soft Dice of fluid and cord; both (N, CLASSES, H, W).

    The sums of Dice run over the batch (Milletari 2016, doi 10.1109/3DV.2016.79).
    """
    probs = logits.softmax(1)
    both = (probs * shares).sum((0, 2, 3))[1:]
    dice = (2 * both + 1) / (probs.square().sum((0, 2, 3)) + shares.square().sum((0, 2, 3)))[1:].add(1)
    return nn.functional.cross_entropy(logits, shares) + 1 - dice.mean()


class CordNetwork(nn.Module):
    """A section with its neighbours (N, channels, H, W) -> logits (N, CLASSES, H, W): neither, fluid, cord."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.body = UNet(len(ROWS_BESIDE), CLASSES, tuple(widths))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.body(x)


def draw_batch(files: list[Path], narrowest: float, seed: tuple[int, ...]) -> Batch:
    """Sections of STACKS stacks; the same arguments give the same batch."""
    rng = np.random.default_rng(seed)
    picked = rng.integers(0, len(files), STACKS)
    pairs = [draw_sections(read_cord(files[n]), rng, NEIGHBOURS, narrowest) for n in picked]
    images, shares = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return images, shares


def batches(draw: Callable[[tuple[int, ...]], Batch], seed: int, steps: range, workers: int) -> Iterator[Batch]:
    """Batches of `steps`, drawn ahead by `workers` processes."""
    with ProcessPoolExecutor(workers) as pool:
        waiting: deque[Future[Batch]] = deque()
        for step in steps:
            for ahead in range(step + len(waiting), min(step + AHEAD, steps.stop)):
                waiting.append(pool.submit(draw, (seed, ahead)))
            yield waiting.popleft().result()


@torch.no_grad()
def validate(network: nn.Module, files: list[Path]) -> dict[str, float]:
    """Dice of fluid and cord over sections of one drawn stack of each file, pixels pooled."""
    both, total = np.zeros(CLASSES), np.zeros(CLASSES)
    for n, file in enumerate(files):
        images, shares = draw_sections(read_cord(file), np.random.default_rng((7, n)), NEIGHBOURS)
        answer, truth = network(torch.from_numpy(images)).argmax(1).numpy(), shares.argmax(1)
        for c in range(CLASSES):
            both[c] += ((answer == c) & (truth == c)).sum()
            total[c] += (answer == c).sum() + (truth == c).sum()
    return {f"dice_{name}": float(2 * both[c] / max(total[c], 1)) for c, name in ((1, "fluid"), (CORD, "cord"))}


def train(args: argparse.Namespace) -> None:
    """The loop; continues from OUT/last.pt."""
    files, validation = (sorted(folder.glob("*.npz")) for folder in (args.bank, args.val))
    run = Run(args.out, args.seed, CordNetwork, tuple(args.widths))
    if args.init and not run.step:
        run.start_from(args.init / "last.pt")
    draw = partial(draw_batch, files, args.narrowest)
    drawn = batches(draw, args.seed, range(run.step, args.steps), args.workers)
    for images, shares in tqdm(drawn, initial=run.step, total=args.steps, mininterval=20):
        rate = args.rate * rate_share(run.step, args.steps)
        value = run.descend(cord_loss(run.network(torch.from_numpy(images)), torch.from_numpy(shares)), rate)
        run.keep(value, args.steps, (CHECK_EVERY, SAVE_EVERY), lambda: validate(run.average, validation))
    (args.out / "record.json").write_text(json.dumps(_record(args, run, files), indent=1), encoding="utf-8")


def _record(args: argparse.Namespace, run: Run, files: list[Path]) -> dict[str, object]:
    return {
        "batch": STACKS * NEIGHBOURS,
        "rate": args.rate,
        "seed": args.seed,
        "narrowest_share": args.narrowest,
        "first_round": json.loads((args.init / "record.json").read_text(encoding="utf-8")) if args.init else None,
        "data": "synthetic cords of lab.synth.cord_bank, family train",
        "spines": len(files),
        **run.facts(files),
    }


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="folder of a finished run whose averaged weights are the start")
    parser.add_argument("--steps", type=int, default=3200)
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--narrowest", type=float, default=0.0, help="share of stacks about the sac's narrowest place")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes that draw")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    train(args)


if __name__ == "__main__":
    main()
