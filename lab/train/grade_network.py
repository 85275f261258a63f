"""The grading network: features and pictures of one disc to calibrated probabilities of nine grades."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spine.grade.classes import FLAGS
from spine.grade.features import FEATURES
from spine.grade.inputs import PICTURES
from spine.grade.patch import COLUMNS, ROWS

THRESHOLDS = 4  # between the five Pfirrmann grades
SCORES = 2 + 1 + len(FLAGS)  # Pfirrmann location and log sharpness, Modic present, flags
Z_LIMIT = 4.0  # standardised features are cut here: a wrong outline must not run away with a grade


@dataclass(frozen=True)
class Recipe:
    """What one member looks like."""

    hidden: int = 48  # 0: linear in the features
    pictures: bool = True
    dropout: float = 0.3


class Unpack(nn.Module):
    """(n, PICTURES + 1, ROWS, COLUMNS) -> features (n, 2 F): standardised, zero where unknown, then known flags."""

    def __init__(self, mean: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)

    def forward(self, batch: Tensor) -> Tensor:
        """Standardise."""
        plane = batch[:, PICTURES].reshape(-1, ROWS * COLUMNS)
        half = ROWS * COLUMNS // 2
        known = plane[:, half : half + len(FEATURES)]
        z = ((plane[:, : len(FEATURES)] - self.mean) / self.spread).clamp(-Z_LIMIT, Z_LIMIT)
        return torch.cat([z * known, known], 1)


class Member(nn.Module):
    """One network of the ensemble: (pictures (n, PICTURES, ROWS, COLUMNS), features (n, 2 F)) -> scores (n, SCORES)."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        size = 2 * len(FEATURES)
        self.dropout = nn.Dropout(recipe.dropout)
        self.pictures = self._picture_part(recipe) if recipe.pictures else None
        self.linear = nn.Linear(size, SCORES)
        self.hidden = nn.Sequential(nn.Linear(size, recipe.hidden), nn.ReLU()) if recipe.hidden else None
        joined = recipe.hidden + (32 if recipe.pictures else 0)
        self.last = nn.Linear(joined, SCORES) if joined else None
        self.thresholds = nn.Parameter(torch.tensor([-2.0, -0.5, 1.0, 2.5]))

    @staticmethod
    def _picture_part(recipe: Recipe) -> nn.Module:
        layers: list[nn.Module] = []
        for inside, out in ((PICTURES, 8), (8, 16), (16, 32)):
            layers += [nn.Conv2d(inside, out, 3, stride=2, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(recipe.dropout), nn.Linear(32 * 6 * 8, 32), nn.ReLU())

    def forward(self, pictures: Tensor, features: Tensor) -> Tensor:
        """Scores."""
        features = self.dropout(features)
        scores = self.linear(features)
        parts = [self.hidden(features)] if self.hidden is not None else []
        if self.pictures is not None:
            parts.append(self.pictures(pictures))
        return scores + self.last(self.dropout(torch.cat(parts, 1))) if self.last is not None else scores


def exceedance(scores: Tensor, thresholds: Tensor) -> Tensor:
    """(n, THRESHOLDS) logits of 'the Pfirrmann grade lies above k': cumulative link, McCullagh 1980."""
    sharp = scores[:, 1:2].clamp(-1.5, 1.5).exp()
    return (scores[:, :1] - thresholds) * sharp


def logits(scores: Tensor, thresholds: Tensor) -> Tensor:
    """(n, THRESHOLDS + 1 + flags): Pfirrmann exceedance, Modic present, flags."""
    return torch.cat([exceedance(scores, thresholds), scores[:, 2:]], 1)


class Grader(nn.Module):
    """The whole graph: unpack, members, mean of their logits, calibration, probabilities (n, CHANNELS, 1, 1)."""

    def __init__(self, unpack: Unpack, members: list[Member], scale: Tensor, shift: Tensor, types: Tensor) -> None:
        super().__init__()
        self.unpack, self.members = unpack, nn.ModuleList(members)
        self.register_buffer("scale", scale)  # (THRESHOLDS + 1 + flags,)
        self.register_buffer("shift", shift)
        self.register_buffer("types", types)  # (3,) share of Modic types among changes

    def forward(self, batch: Tensor) -> Tensor:
        """Probabilities in the order of spine.grade.classes.HEADS."""
        features, pictures = self.unpack(batch), batch[:, :PICTURES]
        total = sum(logits(m(pictures, features), m.thresholds) for m in self.members) / len(self.members)
        return probabilities(torch.sigmoid(total * self.scale + self.shift), self.types)[:, :, None, None]


def probabilities(sure: Tensor, types: Tensor) -> Tensor:
    """(n, CHANNELS) from the sigmoid (n, THRESHOLDS + 1 + flags) of calibrated logits."""
    above = [sure[:, :1]]
    for k in range(1, THRESHOLDS):  # calibration may move thresholds past each other: never more above a higher one
        above.append(torch.minimum(above[-1], sure[:, k : k + 1]))
    pfirrmann = [1 - above[0], *(above[k] - above[k + 1] for k in range(THRESHOLDS - 1)), above[-1]]
    modic = sure[:, THRESHOLDS : THRESHOLDS + 1]
    flags = sure[:, THRESHOLDS + 1 :]
    pairs = torch.stack([1 - flags, flags], 2).flatten(1)
    return torch.cat([*pfirrmann, 1 - modic, modic * types, pairs], 1)
