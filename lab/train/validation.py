"""Dice of a network on the patients that choose settings, while it trains."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lab.train import sources
from lab.train.sources import Item
from spine.anatomy import Structure


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
