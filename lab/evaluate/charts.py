"""Pictures of the validation document: inline `data:` URIs for HTML (charts as SVG, cases as PNG), PNG for PDF."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import SimpleITK
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lab.evaluate.agreement import bland_altman
from lab.evaluate.derive import measured

PNG_PER_INCH = 150
GREEN, MAGENTA, BLUE, GREY = "#1b9e3e", "#d81b9a", "#2463a8", "#777777"
plt.rcParams.update({"font.size": 9, "svg.hashsalt": "spine", "axes.spines.top": False, "axes.spines.right": False})


@dataclass(frozen=True)
class Chart:
    """One picture in both forms."""

    uri: str  # data: URI
    png: bytes


def _chart(figure: Figure, kind: str = "svg") -> Chart:
    streams = {name: io.BytesIO() for name in {kind, "png"}}
    for name, stream in streams.items():
        metadata = {"Date": None} if name == "svg" else {}
        figure.savefig(stream, format=name, bbox_inches="tight", dpi=PNG_PER_INCH, metadata=metadata)
    plt.close(figure)
    mime = "image/svg+xml" if kind == "svg" else "image/png"
    coded = base64.b64encode(streams[kind].getvalue()).decode()
    return Chart(f"data:{mime};base64,{coded}", streams["png"].getvalue())


def dice_chart(raw: list[dict[str, Any]]) -> Chart | None:
    """Dice of every case by structure, with quartiles."""
    by_structure: dict[str, list[float]] = {}
    for case in raw:
        for name, one in case.get("masks", {}).get("structures", {}).items():
            by_structure.setdefault(name, []).extend(measured([one["dice"]]))
    by_structure = {name: values for name, values in by_structure.items() if values}
    if not by_structure:
        return None
    figure, axes = plt.subplots(figsize=(1.2 + 1.5 * len(by_structure), 3.2))
    axes.boxplot(list(by_structure.values()), tick_labels=list(by_structure), showfliers=False, widths=0.5)
    generator = np.random.default_rng(0)
    for place, values in enumerate(by_structure.values(), start=1):
        axes.plot(place + generator.uniform(-0.14, 0.14, len(values)), values, "o", ms=3.5, color=BLUE, alpha=0.6)
    axes.set(ylabel="Dice", ylim=(min(0.5, *(min(v) for v in by_structure.values())), 1.0))
    axes.grid(axis="y", alpha=0.3)
    return _chart(figure)


def bland_altman_chart(name: str, reference: NDArray[np.float64], prediction: NDArray[np.float64]) -> Chart:
    """Difference against mean, with bias and limits of agreement."""
    figure, axes = plt.subplots(figsize=(3.6, 2.8))
    axes.plot((reference + prediction) / 2, prediction - reference, "o", ms=3.5, color=BLUE, alpha=0.6)
    limits = bland_altman(reference, prediction)
    for key, style in (("bias", "-"), ("lower_limit", "--"), ("upper_limit", "--")):
        if np.isfinite(limits[key]):
            axes.axhline(limits[key], color=GREY, ls=style, lw=1)
    axes.set(title=name, xlabel="mean of both", ylabel="ours - reference")
    return _chart(figure)


def confusion_chart(name: str, reference: list[int], prediction: list[int]) -> Chart:
    """Counts of predicted against reference grades."""
    low, high = min(reference + prediction), max(reference + prediction)
    counts = np.zeros((high - low + 1,) * 2, int)
    np.add.at(counts, (np.asarray(reference) - low, np.asarray(prediction) - low), 1)
    figure, axes = plt.subplots(figsize=(2.6, 2.6))
    axes.imshow(counts, cmap="Blues", vmin=0)
    for (row, column), count in np.ndenumerate(counts):
        axes.text(column, row, str(count), ha="center", va="center", color="white" if count > counts.max() / 2 else "k")
    ticks, labels = range(high - low + 1), range(low, high + 1)
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)
    axes.set(title=name, xlabel="predicted", ylabel="reference")
    return _chart(figure)


def outcome_chart(name: str, curves: dict[str, Any]) -> Chart:
    """Calibration in groups, and the decision curve."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.0), layout="constrained")
    groups = curves["calibration"]
    left.plot([0, 1], [0, 1], color=GREY, lw=1)
    left.plot([g["predicted"] for g in groups], [g["observed"] for g in groups], "o-", color=BLUE)
    left.set(title=name, xlabel="predicted probability", ylabel="observed share", xlim=(0, 1), ylim=(0, 1))
    points = curves["decision"]
    thresholds = [point["threshold_prob"] for point in points]
    for key, colour in (("model", BLUE), ("treat_all", MAGENTA), ("treat_none", GREY)):
        right.plot(thresholds, [point[key] for point in points], color=colour, label=key.replace("_", " "))
    lowest = min(-0.05, *(point["model"] for point in points))
    right.set(xlabel="threshold probability", ylabel="net benefit", ylim=(max(lowest, -0.3), None))
    right.legend(frameon=False)
    return _chart(figure)


def risk_chart(table: dict[str, Any]) -> Chart:
    """Error among the most confident cases against their share."""
    figure, axes = plt.subplots(figsize=(3.8, 2.8))
    curve = table["curve"]
    axes.step([p["coverage"] for p in curve], [p["risk"] for p in curve], where="post", color=BLUE)
    axes.axhline(table["area_of_no_order"], color=GREY, ls="--", lw=1)
    axes.set(xlabel="share of cases kept", ylabel="mean of 1 - Dice", xlim=(0, 1.02), ylim=(0, None))
    return _chart(figure)


def case_picture(image: Path | None, reference: Path, prediction: Path) -> Chart:
    """The sagittal slice with most reference in it: picture, outline of the reference (green, broad) and ours
    (magenta, narrow).

    Drawn with anterior on the left and superior on top; without `image` on black.
    """
    truth = _oriented(SimpleITK.ReadImage(str(reference)))
    found = _oriented(SimpleITK.ReadImage(str(prediction)), truth)
    shown = SimpleITK.GetArrayFromImage(truth)
    index = int((shown > 0).sum((1, 2)).argmax())
    picture = np.zeros(shown.shape[1:])
    if image is not None and image.is_file():
        source = _oriented(SimpleITK.ReadImage(str(image)), truth, SimpleITK.sitkLinear)
        picture = SimpleITK.GetArrayFromImage(source)[index].astype(float)
    columns, rows, _ = truth.GetSpacing()
    height, width = shown.shape[1] * rows, shown.shape[2] * columns
    figure, axes = plt.subplots(figsize=(3.4, 3.4 * min(max(height / width, 0.6), 2.2)))
    low, high = np.percentile(picture, (1, 99))
    axes.imshow(picture, cmap="gray", vmin=low, vmax=max(high, low + 1), extent=(0, width, height, 0))
    for labels, colour, line in ((shown[index], GREEN, 1.8), (SimpleITK.GetArrayFromImage(found)[index], MAGENTA, 0.7)):
        _outline(axes, labels, (rows, columns), {"colors": colour, "linewidths": line})
    axes.axis("off")
    return _chart(figure, "png")


def _oriented(image: SimpleITK.Image, like: SimpleITK.Image | None = None, how: int = SimpleITK.sitkNearestNeighbor):
    """Axes to the back, to the feet and across (PIL), or on the grid of `like`."""
    if like is None:
        return SimpleITK.DICOMOrient(image, "PIL")
    return SimpleITK.Resample(image, like, SimpleITK.Transform(), how, 0)


def _outline(axes: Any, labels: NDArray[Any], spacing: tuple[float, float], style: dict[str, Any]) -> None:
    rows = (np.arange(labels.shape[0]) + 0.5) * spacing[0]
    columns = (np.arange(labels.shape[1]) + 0.5) * spacing[1]
    for label in np.unique(labels[labels > 0]):
        axes.contour(columns, rows, (labels == label).astype(float), levels=[0.5], **style)
