"""Figures of the models of doubt on the test patients."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from lab.evaluate.quality_fit import GOOD_DICE, true_dice
from lab.evaluate.quality_tables import Measured, calibration
from spine.quality.learnt import GROUPS

BLUE, ORANGE, GREY = "#2463a8", "#d55e00", "#777777"


def draw_figures(measured: Measured, out: Path) -> None:
    """OUT/doubt.png: P(spine), predicted Dice, risk against coverage; OUT/reliability.png: voxel calibration."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8))
    _probabilities(axes[0], measured)
    _predicted(axes[1], measured)
    _risk_coverage(axes[2], measured)
    _save(figure, out / "doubt.png")
    figure, axes = plt.subplots(1, len(GROUPS), figsize=(11, 3.6))
    for axis, group in zip(axes, GROUPS, strict=True):
        _reliability(axis, measured, group)
    _save(figure, out / "reliability.png")


def _save(figure: plt.Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=90, metadata={"Software": None})
    plt.close(figure)


def _probabilities(axis: Axes, measured: Measured) -> None:
    edges = np.linspace(0, 1, 41)
    for kind, colour in (("sound", BLUE), ("foreign", ORANGE)):
        rows = measured.of(kind)
        axis.hist([row["prob"] for row in rows], edges, color=colour, alpha=0.7, label=f"{kind}, n = {len(rows)}")
    axis.axvline(measured.model.limits.refuse_below_prob, color=GREY, ls="--", lw=1, label="refused below")
    axis.set(xlabel="P(spine that the network reads)", ylabel="images", yscale="log", title="spine or not")
    axis.legend(fontsize=8)


def _predicted(axis: Axes, measured: Measured) -> None:
    for kind, colour in (("damaged", ORANGE), ("sound", BLUE)):
        rows = [row for row in measured.told() if row["kind"] == kind]
        axis.plot([row["matched"] for row in rows], [true_dice(row) for row in rows], ".", color=colour, label=kind)
    axis.plot((0, 1), (0, 1), color=GREY, lw=1)
    axis.axvline(measured.model.limits.flag_below_dice, color=GREY, ls="--", lw=1, label="flagged below")
    axis.set(
        xlabel="predicted Dice", ylabel="Dice", title="predicted Dice (refused: 0)", xlim=(-0.02, 1), ylim=(-0.02, 1)
    )
    axis.legend(fontsize=8)


def _risk_coverage(axis: Axes, measured: Measured) -> None:
    rows = sorted(measured.told(), key=lambda row: -row["predicted"])
    risk = np.cumsum([true_dice(row) < GOOD_DICE for row in rows]) / np.arange(1, len(rows) + 1)
    ideal = np.cumsum(sorted(true_dice(row) < GOOD_DICE for row in rows)) / np.arange(1, len(rows) + 1)
    coverage = np.arange(1, len(rows) + 1) / max(len(rows), 1)
    axis.plot(coverage, risk, color=BLUE, label="by predicted Dice")
    axis.plot(coverage, ideal, color=GREY, ls="--", label="perfect order")
    axis.set(
        xlabel="coverage: share of cases answered", ylabel="share of them with Dice < 0.8", title="risk and coverage"
    )
    axis.legend(fontsize=8)


def _reliability(axis: Axes, measured: Measured, group: str) -> None:
    sound = [row for row in measured.told() if row["kind"] == "sound"]
    found = calibration(sound, group, measured.model)
    for key, colour, error in (("stated", ORANGE, "ece_raw"), ("calibrated", BLUE, "ece")):
        axis.scatter(
            found[key], found["observed"], s=4 + 200 * found["weight"], color=colour, alpha=0.7,
            label=f"{key}: error {found[error]:.4f}",
        )  # fmt: skip
    axis.plot((0, 1), (0, 1), color=GREY, lw=1)
    axis.set(xlabel="probability", ylabel="share of voxels that are right", title=group)
    axis.legend(fontsize=8)
