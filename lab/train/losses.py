"""Losses on sets of classes: what a data set does not tell apart is not held against the network."""

from __future__ import annotations

import torch
from torch import Tensor

from lab.train.sources import ALL, bits
from spine.anatomy import STRUCTURES, Structure

# Dice is taken over these unions; a union that a data set cannot decide for a pixel leaves that pixel out.
UNIONS: tuple[int, ...] = (
    bits(Structure.BODY),
    bits(Structure.POSTERIOR),
    bits(Structure.DISC),
    bits(Structure.CANAL, Structure.CORD),
    bits(Structure.CORD),
    bits(Structure.S1),
    bits(Structure.SACRUM),
    bits(Structure.C2),
    bits(Structure.C1),
    bits(Structure.BODY, Structure.POSTERIOR, Structure.C2, Structure.C1),
)


def _tables() -> tuple[Tensor, Tensor, Tensor]:
    """For every set of classes: allowed classes (sets, classes), unions it lies in, unions it is decided for."""
    sets = torch.arange(ALL + 1)
    allowed = (sets[:, None] >> torch.arange(len(STRUCTURES)) & 1).float()
    unions = torch.tensor(UNIONS)
    positive = (sets[:, None] & ~unions) == 0
    return allowed, positive.float(), (positive | ((sets[:, None] & unions) == 0)).float()


ALLOWED, POSITIVE, DECIDED = _tables()
MEMBERS = torch.tensor([[u >> c & 1 for c in range(len(STRUCTURES))] for u in UNIONS]).float()


def segmentation_loss(logits: Tensor, sets: Tensor) -> Tensor:
    """Marginal cross-entropy plus marginal Dice. logits (N, classes, H, W), sets (N, H, W) int32 bits.

    Cross-entropy: -log of the summed probability of the allowed classes (Fidon et al. 2021,
    doi 10.1007/978-3-030-87196-3_49). Dice: over each of UNIONS that occurs in the batch, pixels left out
    where the set cannot decide. A batch in which nothing is known costs nothing.
    """
    known = sets.flatten() != ALL
    if not known.any():
        return 0 * logits.float().sum()
    codes = sets.flatten()[known]
    probs = logits.float().movedim(1, -1).flatten(0, 2)[known].softmax(1)  # (pixels, classes)
    tables = [t.to(logits.device) for t in (ALLOWED, POSITIVE, DECIDED, MEMBERS)]
    cross_entropy = -((probs * tables[0][codes]).sum(1) + 1e-6).log().mean()
    positive, decided = tables[1][codes], tables[2][codes]
    union = probs @ tables[3].T * decided  # (pixels, unions)
    size = positive.sum(0)
    dice = (2 * (union * positive).sum(0) + 1) / (union.sum(0) + size + 1)
    occurs = (size >= 20).float()
    return cross_entropy + 1 - (dice * occurs).sum() / occurs.sum().clamp_min(1)
