"""One optimiser step with a running average of the weights, and checkpoints that are whole: for every training loop."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

EMA = 0.997  # share of the average that a step keeps, once it has run long enough
LARGEST_NORM = 5.0  # of the gradient


class NotFinite(ArithmeticError):
    """Loss or gradient is NaN or infinite; the weights are as they were before the step."""


def descend(
    loss: Tensor,
    rate: float,
    network: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    step: int,
    keep_most: float = EMA,
) -> float:
    """Step number `step` (from 1) down the gradient of `loss`; moves `average` towards `network`; returns the loss.

    Raises:
        NotFinite: nothing was changed then, so that what is stored stays good.
    """
    value = float(loss.item())
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    loss.backward()
    norm = float(nn.utils.clip_grad_norm_(network.parameters(), LARGEST_NORM))
    if not (math.isfinite(value) and math.isfinite(norm)):
        raise NotFinite(f"step {step}: the loss is {value}, the norm of its gradient {norm}.")
    optimiser.step()
    keep = min(keep_most, step / (step + 10))
    with torch.no_grad():
        for a, b in zip(average.parameters(), network.parameters(), strict=True):
            a.lerp_(b, 1 - keep)
    return value


def write_checkpoint(file: Path, content: dict[str, Any]) -> None:
    """Write `file` by renaming, so that a killed run leaves a whole one."""
    part = file.with_suffix(".new")
    torch.save(content, part)
    part.replace(file)
