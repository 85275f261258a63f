"""Train the segmenter on synthetic spines, the CC BY 4.0 training patients and your own; resumable, on CPU or one GPU.

python -m lab.train.train_segmenter --data ../shared/data --bank RENDERED --out RUN --steps 3600
python -m lab.train.train_segmenter ... --labelled LABELLED --init RUN --out RUN2     # second round, see recipe.sh
python -m lab.train.train_segmenter --spider SPIDER --out RUN                         # SPIDER as published
python -m lab.train.train_segmenter --nnunet Dataset001_x --classes CLASSES.json --out RUN

Of SPIDER only images and masks are read: overview.csv and radiological_gradings.csv are not needed to segment.
What cannot be used ends with a sentence and exit code 2.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from tqdm import tqdm

from lab.train import gather
from lab.train.augment import draw
from lab.train.averaging import NotFinite, descend, write_checkpoint
from lab.train.gather import SHARES
from lab.train.losses import segmentation_loss
from lab.train.network import WIDTHS, build_network, with_more_slices
from lab.train.resume import file_digest, load_weights, read_checkpoint, require_same_run
from lab.train.sources import Item, Loaded, UnusableData
from lab.train.validation import validate

PIXEL_MM = 0.8
CROP = (256, 192)
BATCH = 8
WARM_UP = 100
MOST_LEVELS = 5  # of resolution: pictures are padded to multiples of 32


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help=f"the pack; {gather.PACK} where it is there, {gather.NO_PACK!r}: do without")
    parser.add_argument("--bank", type=Path, help="folder of lab.train.prerender; without it no synthetic spines")
    parser.add_argument("--labelled", type=Path, help="folder of lab.train.pseudo_label, of the second round")
    parser.add_argument("--spider", type=Path, help="SPIDER as published: images/*.mha, masks/*.mha")
    parser.add_argument("--nnunet", type=Path, help="a raw nnU-Net folder: imagesTr, labelsTr, dataset.json")
    parser.add_argument("--classes", type=Path, help="JSON for --nnunet: {label name: [structures it may be]}")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="folder of a finished run whose averaged weights are the start")
    parser.add_argument("--steps", type=int, default=3600, help="in all; a run that is there goes on to them")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, help="channels of each resolution")
    parser.add_argument("--neighbours", type=int, default=1, help="slices seen on either side of the one named")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--shares", nargs="+", default=[], metavar="SOURCE=SHARE", help=f"of a batch, instead of {SHARES}"
    )
    parser.add_argument("--synthetic-only", action="store_true", help="learn from --bank alone")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(argv)
    complaint = _complaint(args)
    if complaint:
        parser.exit(2, f"{complaint}\n")
    try:
        train(args)
    except UnusableData as error:
        parser.exit(2, f"{error}\n")
    except NotFinite as error:
        parser.exit(2, f"{error} Stopped; {args.out / 'last.pt'} is as it was before.\n")


def _complaint(args: argparse.Namespace) -> str | None:
    """What is wrong with the arguments themselves, as a sentence."""
    given = [name for name in ("labelled", "spider", "nnunet") if getattr(args, name)]
    unknown = next((text for text in args.shares if _share(text) is None), None)
    wrong = {
        f"--shares {unknown}: SOURCE=SHARE, one of {', '.join(SHARES)} and a number above 0.": unknown,
        "--nnunet needs --classes, a JSON {label name: [structures it may be]}.": args.nnunet and not args.classes,
        "--classes belongs to --nnunet.": args.classes and not args.nnunet,
        f"--synthetic-only takes no --{', --'.join(given)}.": args.synthetic_only and given,
        "--synthetic-only needs --bank.": args.synthetic_only and not args.bank,
        f"--steps {args.steps}: at least 1.": args.steps < 1,
        f"--neighbours {args.neighbours}: at least 0.": args.neighbours < 0,
        f"--seed {args.seed}: at least 0.": args.seed < 0,
        f"--rate {args.rate}: a number from 0.": not (math.isfinite(args.rate) and args.rate >= 0),
        f"--widths: 1 to {MOST_LEVELS} numbers from 1.": not (len(args.widths) <= MOST_LEVELS and min(args.widths) > 0),
    }
    return next((sentence for sentence, applies in wrong.items() if applies), None)


def _share(text: str) -> tuple[str, float] | None:
    """`synthetic=0.8` as ("synthetic", 0.8); None where it is nothing of the kind."""
    name, _, number = text.partition("=")
    try:
        share = float(number)
    except ValueError:
        return None
    return (name, share) if name in SHARES and 0 < share < math.inf else None


def train(args: argparse.Namespace) -> None:
    """Load, go on from OUT/last.pt where there is one, train, write the record.

    Raises:
        UnusableData: the data, OUT/last.pt or --init cannot be used, or OUT was trained with other arguments.
        NotFinite: the loss is no number any more.
    """
    device = _device(args.device)
    pack = gather.pack_folder(args.data)
    shares = SHARES | dict(filter(None, map(_share, args.shares)))
    loaded = gather.load_items(args, pack, PIXEL_MM)
    validated_on, validation = gather.load_validation(args, pack, PIXEL_MM)
    state = State(args.out, device, args.seed, args.widths, args.neighbours)
    state.arguments = {
        "seed": args.seed,
        "widths": list(args.widths),
        "neighbours": args.neighbours,
        "rate": args.rate,
        "shares": {k: shares[k] for k in loaded},
        "init_sha256": file_digest(args.init / "last.pt") if args.init else None,
        "data_sha256": {k: digest(v.items) for k, v in loaded.items()},
    }
    state.resume()
    if state.step > args.steps:
        raise UnusableData(f"{state.file}: has done {state.step} steps, --steps {args.steps} is fewer.")
    if args.init and not state.step:
        state.start_from(args.init / "last.pt")
    args.out.mkdir(parents=True, exist_ok=True)
    run(args, state, {k: v.items for k, v in loaded.items()}, shares, validation)
    write_record(args, state, loaded, {"source": validated_on, "items": len(validation)})


def run(
    args: argparse.Namespace,
    state: State,
    items: dict[str, list[Item]],
    shares: dict[str, float],
    validation: list[Item],
) -> None:
    """The loop: every 200 steps a checkpoint, every 500 a validation.

    Raises:
        NotFinite: before anything is written.
    """
    rng = np.random.default_rng((args.seed, state.step))
    start, running = time.time() - state.seconds, 0.0
    bar = tqdm(range(state.step, args.steps), initial=state.step, total=args.steps, mininterval=30)
    for step in bar:
        loss = state.update(*_batch(items, shares, rng, args.neighbours), args.rate * rate_share(step, args.steps))
        running = 0.98 * running + 0.02 * loss if running else loss
        bar.set_postfix(loss=f"{running:.3f}", refresh=False)
        state.seconds = time.time() - start
        if state.step % 500 == 0 or state.step == args.steps:
            scores = {
                f"dice_{k}": v for k, v in validate(state.average, validation, state.device, args.neighbours).items()
            }
            state.log.append({"step": state.step, "loss": running, "seconds": state.seconds, **scores})
            (args.out / "log.json").write_text(json.dumps(state.log, indent=1), encoding="utf-8")
            draw_curves(state.log, args.out / "curves.png")
        if state.step % 200 == 0 or state.step == args.steps:
            state.save()


def write_record(
    args: argparse.Namespace, state: State, loaded: dict[str, Loaded], validation: dict[str, str | int | None]
) -> None:
    """OUT/record.json: arguments, data and log of the run."""
    record = {
        "steps": args.steps,
        "batch": BATCH,
        "crop": CROP,
        "pixel_mm": PIXEL_MM,
        **state.arguments,
        "init": str(args.init.name) if args.init else None,
        "items": {k: len(v.items) for k, v in loaded.items()},
        "left_out": {k: dict(v.left_out) for k, v in loaded.items() if v.left_out},
        "origins_ignored": {k: v.origins_ignored for k, v in loaded.items() if v.origins_ignored},
        "notes": [note for v in loaded.values() for note in v.notes],
        "validation": validation,
        "parameters": sum(p.numel() for p in state.network.parameters()),
        "log": state.log,
    }
    (args.out / "record.json").write_text(json.dumps(record, indent=1), encoding="utf-8")


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UnusableData(f"--device {name}: is not there or not supported by this torch; try cpu.") from error
    return device


def rate_share(step: int, steps: int) -> float:
    """Share of the highest learning rate: a short warm-up, then half a cosine to zero."""
    return min((step + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * step / steps))


class State:
    """Network, its running average, optimiser, step, log and seconds of a run whose checkpoint is `folder`/last.pt."""

    def __init__(
        self, folder: Path, device: torch.device, seed: int, widths: tuple[int, ...] = WIDTHS, neighbours: int = 1
    ) -> None:
        torch.manual_seed(seed)
        self.file, self.device, self.step, self.seconds = folder / "last.pt", device, 0, 0.0
        self.log: list[dict[str, float]] = []
        self.arguments: dict[str, Any] = {}  # those that a run must keep to go on
        self.slices = 2 * neighbours + 1
        self.network = build_network(self.slices, widths=widths).to(device)
        self.average = build_network(self.slices, widths=widths).to(device)
        self.average.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(self.network.parameters(), weight_decay=1e-4)

    def resume(self) -> None:
        """Go on from last.pt where it exists; one that stores no arguments is taken as it is.

        Raises:
            UnusableData: it is torn, or belongs to a run with other arguments.
        """
        if not self.file.exists():
            return
        stored = read_checkpoint(self.file, self.device)
        if "arguments" in stored:
            require_same_run(self.file, stored["arguments"], self.arguments)
        for part in ("network", "average", "optimiser"):
            load_weights(getattr(self, part), stored.get(part, {}), self.file)
        self.step, self.log = stored["step"], stored["log"]
        self.seconds = stored.get("seconds", self.log[-1]["seconds"] if self.log else 0.0)

    def start_from(self, checkpoint: Path) -> None:
        """Take the averaged weights of another run; optimiser and step stay fresh.

        Raises:
            UnusableData: the checkpoint is missing, torn or of other widths.
        """
        weights = read_checkpoint(checkpoint, self.device)["average"]
        weights = with_more_slices(weights, self.slices)
        load_weights(self.network, weights, checkpoint)
        load_weights(self.average, weights, checkpoint)

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
        about = {"step": self.step, "log": self.log, "seconds": self.seconds, "arguments": self.arguments}
        write_checkpoint(self.file, {**parts, **about})


def _batch(
    items: dict[str, list[Item]], shares: dict[str, float], rng: np.random.Generator, neighbours: int
) -> tuple[torch.Tensor, torch.Tensor]:
    names = [n for n in shares if items.get(n)]
    chances = np.array([shares[n] for n in names])
    pairs = []
    for name in rng.choice(names, BATCH, p=chances / chances.sum()):
        item = items[name][rng.integers(len(items[name]))]
        pairs.append(draw(item, rng, CROP, neighbours))
    return torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])


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
