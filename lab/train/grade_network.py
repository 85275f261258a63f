"""The grading network: features of one disc to calibrated probabilities of nine grades, and of Miyazaki's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lab.train.grade_slip import Slip
from spine.grade.classes import FLAGS
from spine.grade.features import FEATURES

THRESHOLDS = 4  # between the five Pfirrmann grades
SLIP = THRESHOLDS + 1 + FLAGS.index("spondylolisthesis")  # its place among the logits: told by Slip, not by members
TARGETS = THRESHOLDS + 1 + len(FLAGS) + THRESHOLDS  # Pfirrmann, Modic present, flags, Pfirrmann from ratios
Z_LIMIT = 4.0  # standardised features are cut here: a wrong outline must not run away with a grade
RATIO_FEATURES = (  # no size in millimetres and no level: they mean the same in the neck
    *("disc_csf_signal_ratio", "nucleus_csf_signal_ratio", "disc_height_index", "height_depth"),
    *("disc_fluid", "core_fluid", "disc_marrow", "core_marrow", "rim_core", "core_layer", "core_spread"),
    *("bright_share", "core_marrow_of_best", "disc_fluid_of_best", "height_mean_of_best", "height_mean_of_usual"),
)


@dataclass(frozen=True)
class Recipe:
    """What one member looks like."""

    hidden: int = 128  # 0: linear in the features
    dropout: float = 0.5


def columns_of(names: tuple[str, ...]) -> list[int]:
    """Columns of the unpacked features: values, then whether they are known."""
    at = [FEATURES.index(name) for name in names]
    return at + [len(FEATURES) + n for n in at]


class Unpack(nn.Module):
    """(n, 2, 1, F) -> (n, 2 F): standardised, zero where unknown, then known flags."""

    def __init__(self, mean: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)

    def forward(self, batch: Tensor) -> Tensor:
        """Standardise."""
        known = batch[:, 1, 0]
        z = ((batch[:, 0, 0] - self.mean) / self.spread).clamp(-Z_LIMIT, Z_LIMIT)
        return torch.cat([z * known, known], 1)


class Ordinal(nn.Module):
    """Cumulative link (McCullagh 1980): logits (n, THRESHOLDS) of 'the grade lies above k'."""

    def __init__(self) -> None:
        super().__init__()
        self.thresholds = nn.Parameter(torch.tensor([-2.0, -0.5, 1.0, 2.5]))

    def forward(self, place: Tensor, sharp: Tensor) -> Tensor:
        """From the place (n, 1) and the logarithm of the sharpness (n, 1)."""
        return (place - self.thresholds) * sharp.clamp(-1.5, 1.5).exp()


class Member(nn.Module):
    """One network of the ensemble: unpacked features (n, 2 F) -> logits (n, TARGETS)."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        size, scores = 2 * len(FEATURES), 2 + 1 + len(FLAGS)
        self.dropout = nn.Dropout(recipe.dropout)
        self.linear = nn.Linear(size, scores)
        self.hidden = nn.Sequential(nn.Linear(size, recipe.hidden), nn.ReLU()) if recipe.hidden else None
        self.last = nn.Linear(recipe.hidden, scores) if recipe.hidden else None
        self.ratios = nn.Linear(2 * len(RATIO_FEATURES), 2)
        self.grade, self.grade_of_ratios = Ordinal(), Ordinal()
        self.register_buffer("ratio_columns", torch.tensor(columns_of(RATIO_FEATURES)), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Logits: Pfirrmann exceedance, Modic present, flags, Pfirrmann exceedance from ratios."""
        dropped = self.dropout(features)
        scores = self.linear(dropped)
        if self.hidden is not None and self.last is not None:
            scores = scores + self.last(self.dropout(self.hidden(dropped)))
        ratios = self.ratios(features[:, self.ratio_columns])
        parts = [self.grade(scores[:, :1], scores[:, 1:2]), scores[:, 2:3], scores[:, 3:]]
        return torch.cat([*parts, self.grade_of_ratios(ratios[:, :1], ratios[:, 1:])], 1)


class Grader(nn.Module):
    """The whole graph: unpack, members, mean of their logits, slip, calibration, probabilities (n, CHANNELS, 1, 1)."""

    def __init__(
        self, unpack: Unpack, members: list[Member], slip: Slip, platt: tuple[Tensor, Tensor], types: Tensor
    ) -> None:
        super().__init__()
        self.unpack, self.members, self.slip = unpack, nn.ModuleList(members), slip
        self.register_buffer("scale", platt[0])  # (TARGETS,)
        self.register_buffer("shift", platt[1])
        self.register_buffer("types", types)  # (3,) share of Modic types among changes

    def forward(self, batch: Tensor) -> Tensor:
        """Probabilities in the order of spine.grade.classes.HEADS, then MIYAZAKI."""
        features = self.unpack(batch)
        total = sum(member(features) for member in self.members) / len(self.members)
        total = torch.cat([total[:, :SLIP], self.slip(batch), total[:, SLIP + 1 :]], 1)
        return probabilities(torch.sigmoid(total * self.scale + self.shift), self.types)[:, :, None, None]


def probabilities(sure: Tensor, types: Tensor) -> Tensor:
    """(n, CHANNELS) from the sigmoid (n, TARGETS) of calibrated logits."""
    modic = sure[:, THRESHOLDS : THRESHOLDS + 1]
    flags = sure[:, THRESHOLDS + 1 : THRESHOLDS + 1 + len(FLAGS)]
    pairs = torch.stack([1 - flags, flags], 2).flatten(1)
    grades = [_classes(sure[:, :THRESHOLDS]), 1 - modic, modic * types, pairs]
    return torch.cat([*grades, _classes(sure[:, -THRESHOLDS:])], 1)


def _classes(sure: Tensor) -> Tensor:
    """(n, 5) probabilities of the grades from those (n, THRESHOLDS) of lying above each."""
    above = [sure[:, :1]]
    for k in range(1, THRESHOLDS):  # calibration may move thresholds past each other: never more above a higher one
        above.append(torch.minimum(above[-1], sure[:, k : k + 1]))
    return torch.cat([1 - above[0], *(above[k] - above[k + 1] for k in range(THRESHOLDS - 1)), above[-1]], 1)


def standardiser(values: np.ndarray) -> Unpack:
    """Median and half the distance of the 16th and 84th percentile of known features (n, F); 0 and 1 where none is."""
    known = np.isfinite(values).sum(0) > 10
    safe = np.where(known[None], values, 0.0)
    low, middle, high = np.nanpercentile(safe, (16, 50, 84), axis=0)
    spread = np.where(known, np.maximum((high - low) / 2, 1e-3), 1.0)
    return Unpack(torch.tensor(middle, dtype=torch.float32), torch.tensor(spread, dtype=torch.float32))
