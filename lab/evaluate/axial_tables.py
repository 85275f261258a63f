"""Stored results of `lab.evaluate.run_axial` -> docs/muscle/table.md, and outlines drawn over a slice."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

RESAMPLES = 1000
LEVEL_TOLERANCE = 0.35
MUSCLES = ("multifidus", "erector_spinae", "psoas", "quadratus_lumborum")
COLOURS = np.array(
    [[0, 0, 0], [230, 60, 60], [60, 190, 70], [80, 120, 255], [240, 210, 40], [200, 80, 220], [70, 210, 210]], np.uint8
)  # by AxialStructure


def draw_overlay(
    grey: NDArray[np.generic], found: NDArray[np.uint8], reference: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """(rows, columns, 3): found classes in colour, borders of the reference in white; arrays (rows, columns)."""
    level = np.clip(np.asarray(grey, np.float32) / max(float(np.percentile(grey, 99)), 1.0), 0, 1) * 255
    out = np.repeat(level[:, :, None], 3, 2)
    inside = found > 0
    out[inside] = 0.6 * out[inside] + 0.4 * COLOURS[found[inside]]
    if reference is not None:
        for value in np.unique(reference[reference > 0]):
            mask = reference == value
            out[mask & ~ndimage.binary_erosion(mask)] = 255
    return out.astype(np.uint8)


def write_picture(path: Path, pictures: Sequence[NDArray[np.uint8]], columns: int = 5) -> None:
    """PNG of (rows, columns, 3) pictures beside each other, `columns` in a row, black around smaller ones."""
    high, wide = (max(p.shape[n] for p in pictures) for n in (0, 1))
    padded = [np.pad(p, ((0, high - p.shape[0]), (0, wide - p.shape[1]), (0, 0))) for p in pictures]
    padded += [np.zeros_like(padded[0])] * (-len(padded) % columns)
    rows = [np.concatenate(padded[n : n + columns], 1) for n in range(0, len(padded), columns)]
    Image.fromarray(np.concatenate(rows, 0)).save(path)


def pooled_dice(rows: Sequence[Sequence[int]]) -> float:
    """Dice of [overlap, found, true] pixel counts together."""
    both, found, true = np.sum(rows, axis=0)
    return float(2 * both / (found + true)) if found + true else 1.0


def interval(items: Sequence[Any], measure: Callable[[list[Any]], float], seed: int = 0) -> tuple[float, float, float]:
    """`measure` of `items` with its 95 % percentile bootstrap interval, items drawn with replacement."""
    rng = np.random.default_rng(seed)
    draws = [measure([items[n] for n in rng.integers(0, len(items), len(items))]) for _ in range(RESAMPLES)]
    low, high = np.percentile(draws, (2.5, 97.5))
    return measure(list(items)), float(low), float(high)


def write_tables(folder: Path) -> str:
    """`folder`/table.md from every result that is stored there; returns it."""
    parts = ["# Axial muscles", ""]
    synthetic = folder / "cases_synthetic.json"
    if synthetic.exists():
        parts += _synthetic(json.loads(synthetic.read_text(encoding="utf-8"))["cases"])
    for path in sorted(folder.glob("case_real_*.json")):
        stored = json.loads(path.read_text(encoding="utf-8"))
        parts += _real(stored, int(path.stem.rpartition("_")[2]))
    text = "\n".join(parts) + "\n"
    (folder / "table.md").write_text(text, encoding="utf-8")
    return text


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _said(found: tuple[float, float, float], digits: int = 3) -> str:
    value, low, high = found
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _synthetic(cases: list[dict[str, Any]]) -> list[str]:
    slices = sum(len(c["slices"]) for c in cases)
    lines = [
        f"## Synthetic patients of the test family: {len(cases)} stacks, {slices} slices",
        "",
        "Through `spine.muscle`, levels named by the shipped segmenter on the same phantom's sagittal series. 95 % "
        "bootstrap intervals over patients; Dice on the stored grid, all slices pooled, left and right together. "
        "Area and fat are those reported at L3/L4, L4/L5 and L5/S1 beside the truth of the same slices; the truth of "
        "fat is the phantom's own share of fat, in percent points.",
        "",
        _line(
            "structure",
            "Dice",
            "area: mean error, %",
            "area: mean absolute error, %",
            "fat: mean error",
            "fat: mean absolute error",
            "measured",
        ),
        _line(*["---"] * 7),
    ]
    for muscle in MUSCLES:
        lines.append(_line(muscle, _synthetic_dice(cases, muscle), *_errors(cases, muscle)))
    for name in ("body", "sac"):
        lines.append(_line(name, _synthetic_dice(cases, name), *["-"] * 5))
    return [*lines, "", *_levels(cases), ""]


def _synthetic_dice(cases: list[dict[str, Any]], name: str) -> str:
    def rows(case: dict[str, Any]) -> list[list[int]]:
        keys = (f"{name}_right", f"{name}_left") if name in MUSCLES else (name,)
        return [row[key] for row in case["slices"] for key in keys]

    return _said(interval(cases, lambda drawn: pooled_dice([r for c in drawn for r in rows(c)])))


def _errors(cases: list[dict[str, Any]], muscle: str) -> list[str]:
    """Area errors in percent and fat errors in percent points, and how many of the sides and levels had a value."""
    grouped = [[m for m in c["measured"] if m["name"].startswith(muscle) and m["true_area_mm2"] > 50] for c in cases]

    def area(rows: list[Any], absolute: bool) -> float:
        found = [100 * (m["area_mm2"] / m["true_area_mm2"] - 1) for g in rows for m in g if m["area_mm2"] is not None]
        return float(np.mean(np.abs(found) if absolute else found)) if found else float("nan")

    def fat(rows: list[Any], absolute: bool) -> float:
        found = [m["fat_percent"] - m["true_fat_percent"] for g in rows for m in g if m["fat_percent"] is not None]
        return float(np.mean(np.abs(found) if absolute else found)) if found else float("nan")

    every = [m for g in grouped for m in g]
    if not any(m["area_mm2"] is not None for m in every):
        return [*["-"] * 4, f"0 of {len(every)}"]
    said = [_said(interval(grouped, lambda rows, f=f, a=a: f(rows, a)), 1) for f in (area, fat) for a in (False, True)]
    return [*said, f"{sum(m['area_mm2'] is not None for m in every)} of {len(every)}"]


def _levels(cases: list[dict[str, Any]]) -> list[str]:
    lines = [
        _line("level", "patients with slices for it", "slices", f"within {LEVEL_TOLERANCE} vertebra of the disc"),
        _line(*["---"] * 4),
    ]
    for level in cases[0]["levels"]:
        seen = [case["levels"][level] for case in cases if case["levels"][level]]
        flat = np.abs([value for one in seen for value in one])
        right = f"{int((flat <= LEVEL_TOLERANCE).sum())}" if len(flat) else "-"
        lines.append(_line(level, f"{len(seen)} of {len(cases)}", str(len(flat)), right))
    return lines


def _real(stored: dict[str, Any], look: int) -> list[str]:
    rows = stored["slices"]
    lines = [
        f"## The one real labelled subject, evaluation number {look} (network sha256 {stored['sha256'][:12]})",
        "",
        "One person (sub_0001 of MuscleMap, MIT): a check, no estimate for patients. Pooled over the slices where the "
        "label exists; the interval is a bootstrap over slices of this person.",
        "",
        _line("muscle", "right", "left", "slices"),
        _line(*["---"] * 4),
    ]
    for muscle in MUSCLES:
        sides = {s: [row[f"{muscle}_{s}"] for row in rows if row[f"{muscle}_{s}"]] for s in ("right", "left")}
        said = [_said(interval(found, pooled_dice)) for found in sides.values()]
        lines.append(_line(muscle, *said, str(len(sides["right"]))))
    return [*lines, ""]
