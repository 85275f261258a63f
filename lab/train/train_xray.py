"""Train the radiograph's network on synthetic films; resumable, on CPU or one GPU.

    python -m lab.synth.radiograph_bank --out BANK --family train --region cervical --n 700     # and lumbar, and val
    python -m lab.train.train_xray --bank BANK --out RUN --minutes 25

The length is given in minutes of training, because the learning rate has to reach zero whatever the machine's speed;
`record.json` says how many steps that were.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from lab.synth.radiograph import PIXEL_MM, visible_points
from lab.synth.radiograph_exposure import expose, sample_exposure
from lab.train.averaging import descend, write_checkpoint
from lab.train.xray_data import BLOB, CANVAS, NEGATIVE_PROB, Films
from lab.train.xray_network import FINE, KINDS, WIDTHS, Landmarker, heatmaps
from spine.xray.conform import scale
from spine.xray.landmarks import TIPS

EMA = 0.992  # fewer steps than the other networks: a shorter memory
BATCH = 3
WARM_UP = 40
BLOB_WEIGHT = 3.0  # pixels of a blob count up to this much more
TIP_WEIGHT = 2.0  # of the maps of osteophyte tips beside those of corners
LEVEL_SHARE = 2.0  # of the coarse map's loss beside the fine one's
VALIDATE_EVERY, SAVE_EVERY = 150, 50
REACH = 3  # fine pixels round a peak that enter its centre of mass


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--init", type=Path, help="folder of a finished run whose averaged weights are the start")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    train(args)


def film_loss(kinds: Tensor, levels: Tensor, batch: list[Tensor]) -> Tensor:
    """Cross-entropy of both maps: per point of the film the fine one, per cell that is asked the coarse one."""
    _, blobs, blobs_weight, own, own_weight = batch
    fine = nn.functional.binary_cross_entropy_with_logits(kinds, blobs, reduction="none")
    fine = (
        fine * torch.tensor([TIP_WEIGHT if kind in TIPS else 1.0 for kind in KINDS], device=fine.device)[:, None, None]
    )
    points = 2 * math.pi * BLOB**2  # weight of one blob
    fine = (fine * blobs_weight * (1 + BLOB_WEIGHT * blobs)).sum() / (blobs.sum() + points * len(blobs)) / 3
    coarse = nn.functional.binary_cross_entropy_with_logits(levels, own, reduction="none")
    return fine + LEVEL_SHARE * 20 * (coarse * own_weight).sum() / own_weight.sum()


class State:
    """Network, its running average, optimiser, step, seconds and log; read from `folder`/last.pt where it exists."""

    def __init__(self, folder: Path, device: torch.device, seed: int) -> None:
        torch.manual_seed(seed)
        self.file, self.device, self.step, self.seconds = folder / "last.pt", device, 0, 0.0
        self.log: list[dict[str, float]] = []
        self.network = Landmarker().to(device)
        self.average = Landmarker().to(device)
        self.average.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(self.network.parameters(), weight_decay=1e-4)
        if self.file.exists():
            stored = torch.load(self.file, map_location=device, weights_only=True)
            for part in ("network", "average", "optimiser"):
                getattr(self, part).load_state_dict(stored[part])
            self.step, self.seconds, self.log = stored["step"], stored["seconds"], stored["log"]

    def start_from(self, checkpoint: Path) -> None:
        """Take the averaged weights of another run; optimiser and step stay fresh."""
        weights = torch.load(checkpoint, map_location=self.device, weights_only=True)["average"]
        self.network.load_state_dict(weights)
        self.average.load_state_dict(weights)

    def update(self, batch: list[Tensor], rate: float) -> float:
        """One step; returns the loss."""
        batch = [part.to(self.device) for part in batch]
        loss = film_loss(*self.network(batch[0]), batch)
        self.step += 1
        return descend(loss, rate, self.network, self.average, self.optimiser, self.step, EMA)

    def save(self) -> None:
        """Write last.pt by renaming, so that a killed run leaves a whole file."""
        parts = {p: getattr(self, p).state_dict() for p in ("network", "average", "optimiser")}
        write_checkpoint(self.file, {**parts, "step": self.step, "seconds": self.seconds, "log": self.log})


def rate_share(step: int, progress: float) -> float:
    """Share of the highest learning rate: a short warm-up, then half a cosine to zero over `progress` 0..1."""
    return min((step + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * min(progress, 1.0)))


def train(args: argparse.Namespace) -> None:
    """The loop; continues from OUT/last.pt and writes curves.png, log.json and record.json."""
    if not any(args.bank.glob("train_cervical_*.npz")):
        raise SystemExit(f"no training films in {args.bank}: make them with lab.synth.radiograph_bank.")
    state = State(args.out, torch.device(args.device), args.seed)
    if args.init and not state.step:
        state.start_from(args.init / "last.pt")
    films = Films(args.bank, "train", (args.seed, state.step))
    loader = iter(DataLoader(films, BATCH, num_workers=1, prefetch_factor=3))
    budget, running, last = 60 * args.minutes, 0.0, time.monotonic()
    bar = tqdm(mininterval=30)
    while state.seconds < budget:
        loss = state.update(next(loader), args.rate * rate_share(state.step, state.seconds / budget))
        running = 0.97 * running + 0.03 * loss if running else loss
        now = time.monotonic()
        state.seconds, last = state.seconds + now - last, now
        bar.update()
        bar.set_postfix(loss=f"{running:.3f}", share=f"{state.seconds / budget:.2f}", refresh=False)
        if state.step % VALIDATE_EVERY == 0 or state.seconds >= budget:
            scores = validate(state.average, args.bank, state.device)
            state.log.append({"step": state.step, "loss": running, "seconds": state.seconds, **scores})
            (args.out / "log.json").write_text(json.dumps(state.log, indent=1), encoding="utf-8")
            draw_curves(state.log, args.out / "curves.png")
            print(state.log[-1], file=sys.stderr)
        if state.step % SAVE_EVERY == 0 or state.seconds >= budget:
            state.save()
    bar.close()
    write_record(args, state)


@torch.no_grad()
def validate(network: nn.Module, bank: Path, device: torch.device) -> dict[str, float]:
    """Median error (film mm) of visible points and detection rate on the films of the validation family."""
    errors: list[float] = []
    found = hidden = absent = 0
    for index, path in enumerate(sorted(bank.glob("val_*.npz"))):
        rng = np.random.default_rng(index)
        with np.load(path) as data:
            attenuation, points = data["attenuation"].astype(np.float32), data["points_mm"].astype(float)
        picture, mask = expose(attenuation, PIXEL_MM, sample_exposure(rng, attenuation), rng)
        visible = visible_points(points, mask, PIXEL_MM)
        image = torch.from_numpy(scale(picture))[None, None].to(device)
        image = nn.functional.pad(image, (0, -image.shape[3] % 32, 0, -image.shape[2] % 32))
        maps = heatmaps(*network(image))[0].float().cpu().numpy()
        for channel, heat in enumerate(maps):
            sure = float(heat.max()) >= 0.3
            found += sure and bool(visible[channel])
            hidden += sure and not visible[channel]
            absent += not visible[channel]
            if sure and visible[channel]:
                errors.append(float(np.linalg.norm(peak_mm(heat) - points[channel])))
    total = found + absent
    return {
        "error_median_mm": float(np.median(errors)) if errors else float("nan"),
        "error_p90_mm": float(np.percentile(errors, 90)) if errors else float("nan"),
        "found": len(errors),
        "false": float(hidden),
        "points": float(total),
    }


def peak_mm(heat: np.ndarray) -> np.ndarray:
    """(2,) film mm (row, column) of the centre of mass round the highest pixel of one heatmap."""
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    top, left = max(row - REACH, 0), max(column - REACH, 0)
    part = heat[top : row + REACH + 1, left : column + REACH + 1]
    down, across = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]]
    weight = np.where(part > 0.1 * heat.max(), part, 0)
    return (np.array([(down * weight).sum(), (across * weight).sum()]) / weight.sum() + 0.5) * FINE * PIXEL_MM


def draw_curves(log: list[dict[str, float]], file: Path) -> None:
    """Loss, and validation error in film mm, against steps, as PNG."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    steps = [entry["step"] for entry in log]
    left.plot(steps, [entry["loss"] for entry in log])
    left.set(xlabel="step", ylabel="loss (running mean)", yscale="log")
    for key in ("error_median_mm", "error_p90_mm"):
        right.plot(steps, [entry[key] for entry in log], label=key)
    right.set(xlabel="step", ylabel="mm on the film, synthetic validation films", yscale="log")
    right.legend()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def write_record(args: argparse.Namespace, state: State) -> None:
    """OUT/record.json: command, data, seed, log."""
    files = sorted(args.bank.glob("train_*.npz"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    record = {
        "command": f"python -m lab.train.train_xray --bank BANK --out RUN --minutes {args.minutes:g}",
        "steps": state.step,
        "minutes": round(state.seconds / 60, 1),
        "batch": BATCH,
        "canvas": CANVAS,
        "pixel_mm": PIXEL_MM,
        "seed": args.seed,
        "rate": args.rate,
        "widths": WIDTHS,
        "negatives": NEGATIVE_PROB,
        "init": str(args.init.name) if args.init else None,
        "films": {r: sum(r in f.name for f in files) for r in ("cervical", "lumbar")},
        "data": "synthetic films only (lab.synth.radiograph_bank, family train); no real radiograph",
        "data_sha256": digest.hexdigest(),
        "parameters": sum(p.numel() for p in state.network.parameters()),
        "log": state.log,
    }
    (args.out / "record.json").write_text(json.dumps(record, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
