"""Spondylolisthesis by a fit of its own: how far the body above has moved over the body below, and nothing else.

Two readings of the step are taken, the slip between the fitted rear corners (`slip_mm`) and the mean offset of the rear
and front ends of the two outlines beside the disc (`step_back`, `step_front`); either alone misses slips when an
outline is wrong. Each is centred on its median in discs without spondylolisthesis, above and below T12/L1, and the
larger one in size, in either direction, enters a logistic regression with a single slope. Two dozen positive discs
carry no more: the perceptrons, with every feature, do worse (model/grader.md). Where neither reading is known, the
answer is the share of positive discs: nothing is known against a slip.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from spine.anatomy import L1_LABEL
from spine.grade.features import FEATURES

CAP_MM = 8.0  # a larger slip is no surer: three times the spread of discs without one at L5/S1, where it is widest
BELIEVED_MM = 20.0  # a larger step is a wrong outline: half the depth of an end plate
LEVEL, SLIP_MM, BACK, FRONT = (FEATURES.index(name) for name in ("level", "slip_mm", "step_back", "step_front"))


class Slip(nn.Module):
    """Packed features (n, 2, 1, F), as given to the runner, -> logits (n, 1)."""

    def __init__(self, usual_mm: Tensor, slope: float = 1.0, shift: float = 0.0, unknown: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("usual_mm", usual_mm)  # (region: lumbar, thoracic; reading: slip, step)
        self.slope, self.shift, self.unknown = slope, shift, unknown

    def moved(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """(movement in mm, 0 to CAP_MM; 1 where a reading is known), both (n, 1)."""
        read_mm, known = readings(batch)
        lumbar = (batch[:, 0, 0, LEVEL : LEVEL + 1] <= L1_LABEL + 0.5).float()
        usual_mm = lumbar * self.usual_mm[:1] + (1 - lumbar) * self.usual_mm[1:]
        size_mm = ((read_mm - usual_mm).abs() * known).clamp(max=CAP_MM)
        return torch.maximum(size_mm[:, :1], size_mm[:, 1:]), torch.maximum(known[:, :1], known[:, 1:])

    def forward(self, batch: Tensor) -> Tensor:
        """Logits (n, 1) of a spondylolisthesis."""
        moved_mm, known = self.moved(batch)
        return known * (self.slope * moved_mm + self.shift) + (1 - known) * self.unknown

    def facts(self) -> dict[str, object]:
        """What was fitted, for the record."""
        usual_mm = [[round(float(v), 2) for v in row] for row in self.usual_mm]
        logits = {"slope_per_mm": self.slope, "shift": self.shift, "unknown": self.unknown}
        return {"usual_mm": usual_mm, **{name: round(value, 3) for name, value in logits.items()}}


def readings(batch: Tensor) -> tuple[Tensor, Tensor]:
    """((n, 2) slip and step in mm; (n, 2) 1 where it is known and can be believed) of packed features."""
    values, seen = batch[:, 0, 0], batch[:, 1, 0]
    read_mm = torch.stack([values[:, SLIP_MM], (values[:, BACK] + values[:, FRONT]) / 2], 1)
    known = torch.stack([seen[:, SLIP_MM], seen[:, BACK] * seen[:, FRONT]], 1)
    return read_mm, known * (read_mm.abs() <= BELIEVED_MM).float()


def fit_slip(batch: Tensor, present: NDArray[np.bool_], weight: NDArray[np.float32]) -> Slip:
    """Fit on packed features (n, 2, 1, F), grades (n,) and weights (n,), 0 where there is no grade.

    Raises:
        ValueError: no graded disc with, or none without, a spondylolisthesis among those with a reading.
    """
    read_mm, known = (part.numpy() for part in readings(batch))
    lumbar = batch[:, 0, 0, LEVEL].numpy() <= L1_LABEL
    without = (weight > 0) & ~present
    usual_mm = np.zeros((2, 2), np.float32)
    for region, inside in enumerate((lumbar, ~lumbar)):
        for reading in range(2):
            own = read_mm[without & inside & (known[:, reading] > 0), reading]
            usual_mm[region, reading] = np.median(own) if len(own) else 0.0
    slip = Slip(torch.from_numpy(usual_mm))
    moved_mm, read = (part.numpy() for part in slip.moved(batch))
    rows = (weight > 0) & (read[:, 0] > 0)
    if len(np.unique(present[rows])) < 2:
        raise ValueError("a slip can be learnt only from discs with and without one")
    fit = LogisticRegression(C=1.0).fit(moved_mm[rows], present[rows], weight[rows])
    share = float((weight * present).sum() / weight.sum())
    slip.slope, slip.shift = max(float(fit.coef_[0, 0]), 0.0), float(fit.intercept_[0])
    slip.unknown = float(np.log(share / (1 - share)))
    return slip
