"""Figures of the fusion study: calibration of the refit, and the way from the published equation to the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def draw_calibration(real: Mapping[str, Any], path: Path) -> None:
    """Calibration of the refit with 95 % intervals: apparent and optimism-corrected, and on patients held back."""
    figure = Figure(figsize=(8.2, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    curve, groups = real["curve"], real["groups_apparent"]
    shares = [g["observed"] for g in groups]
    reach = [[g["observed"] - g["low"] for g in groups], [g["high"] - g["observed"] for g in groups]]
    left.errorbar(
        [g["predicted"] for g in groups], shares, reach, fmt="o", color="0.35", capsize=3, label="apparent, fifths"
    )
    left.plot(curve["predicted"], curve["apparent"]["value"], color="0.35", linestyle="--", label="apparent, smoothed")
    for axes, name, words, colour in (
        (left, "optimism_corrected", "optimism-corrected", "C0"),
        (right, "held_back", "held back", "C1"),
    ):
        part = curve[name]
        axes.fill_between(curve["predicted"], part["low"], part["high"], color=colour, alpha=0.2, linewidth=0)
        axes.plot(curve["predicted"], part["value"], color=colour, label=f"{words}, 95 % interval")
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="perfect")
        axes.set(xlabel="predicted probability", xlim=(0, 1), ylim=(0, 1))
        axes.legend(fontsize=8, loc="upper left")
    left.set_ylabel("observed share")
    left.set_title(f"Refit on {real['patients']} patients", fontsize=10)
    right.set_title(f"Held back: {real['splits']} random splits", fontsize=10)
    figure.savefig(path, dpi=110)


def draw_growth(growth: Mapping[str, Any], path: Path) -> None:
    """The answer between the published equation and the data, over repeated cohorts."""
    figure = Figure(figsize=(5.8, 3.8), layout="constrained")
    axes = figure.subplots()
    points = growth["points"]
    places = range(len(points))
    for low, high, shade, words in (
        ("low", "high", 0.15, "90 % interval, mean limits"),
        ("cohorts_low", "cohorts_high", 0.35, "90 % of the cohorts' answers"),
    ):
        axes.fill_between(
            places, [p[low] for p in points], [p[high] for p in points], color="C0", alpha=shade, lw=0, label=words
        )
    axes.plot(places, [p["probability"] for p in points], marker="o", label=f"mean of {growth['cohorts']} cohorts")
    axes.axhline(growth["published"], color="0.4", linestyle="--", label="published equation")
    axes.axhline(growth["truth"], color="C3", linestyle=":", label="truth of the local patients")
    axes.set_xticks(list(places), [f"{p['patients']:,}" for p in points], rotation=45)
    axes.set(xlabel="local patients", ylabel="probability, average patient", ylim=(0.4, 1))
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
