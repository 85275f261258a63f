"""A training run of a small network: what its checkpoint holds, one step, and the record it leaves."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lab.train.averaging import descend, write_checkpoint
from lab.train.train_segmenter import draw_curves

Build = Callable[[tuple[int, ...]], nn.Module]


class Run:
    """Network, running average, optimiser, step and log; read from `folder`/last.pt where that exists."""

    def __init__(self, folder: Path, seed: int, build: Build, widths: tuple[int, ...]) -> None:
        torch.manual_seed(seed)
        self.file, self.step, self.widths = folder / "last.pt", 0, tuple(widths)
        self.log: list[dict[str, float]] = []
        self._loss, self._start = 0.0, time.monotonic()
        self.network, self.average = build(self.widths), build(self.widths)
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

    def descend(self, loss: Tensor, rate: float) -> float:
        """One step down the gradient of `loss`; returns its value."""
        self.step += 1
        return descend(loss, rate, self.network, self.average, self.optimiser, self.step)

    def keep(self, value: float, last: int, every: tuple[int, int], validate: Callable[[], dict[str, float]]) -> bool:
        """After a step of loss `value`: log and curves every `every`[0] steps, the checkpoint every `every`[1].

        Both at step `last` too. Returns whether `validate` was asked.
        """
        self._loss = 0.98 * self._loss + 0.02 * value if self._loss else value
        check, save = (self.step % n == 0 or self.step == last for n in every)
        if check:
            seconds = time.monotonic() - self._start
            self.log.append({"step": self.step, "loss": self._loss, "seconds": seconds, **validate()})
            self.file.with_name("log.json").write_text(json.dumps(self.log, indent=1), encoding="utf-8")
            draw_curves(self.log, self.file.with_name("curves.png"))
        if save:
            self.save()
        return check

    def save(self) -> None:
        """Write last.pt by renaming, so that a killed run leaves a whole file."""
        parts = {p: getattr(self, p).state_dict() for p in ("network", "average", "optimiser")}
        write_checkpoint(self.file, {**parts, "step": self.step, "log": self.log, "widths": list(self.widths)})

    def facts(self, files: list[Path]) -> dict[str, Any]:
        """What a record says of every run: steps, size, log, and the sha256 over the contents of `files`."""
        total = hashlib.sha256()
        for file in files:
            total.update(file.read_bytes())
        return {
            "steps": self.step,
            "widths": self.widths,
            "bank_sha256": total.hexdigest(),
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "log": self.log,
        }


def load_run(checkpoint: Path, build: Build) -> nn.Module:
    """The averaged network of a checkpoint, in evaluation mode."""
    stored = torch.load(checkpoint, map_location="cpu", weights_only=True)
    network = build(tuple(stored["widths"]))
    network.load_state_dict(stored["average"])
    return network.eval()
