"""Heatmaps of the network -> landmarks with an uncertainty in millimetres."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spine.geometry import Array
from spine.settings import XraySettings
from spine.xray.landmarks import LANDMARKS

Key = tuple[str, str]  # (vertebra, point)

HEATMAP_STEP = 2  # canvas pixels in one pixel of the heatmaps
REACH = 3  # heatmap pixels round the peak that enter its centroid: twice the sigma the network was taught
MOST_CANDIDATES, APART = 4, 5  # places kept for a landmark, and how many heatmap pixels they lie apart at least
FOOT = 0.1  # of the peak: lower values are noise and do not pull the centroid


@dataclass(frozen=True)
class Landmark:
    """One point on the canvas."""

    place_mm: tuple[float, float]  # (down, back)
    prob: float  # height of the peak
    sd_mm: float  # standard deviation of the place along either axis


def read_peaks(
    heatmaps: NDArray[np.float32], content: tuple[int, int], settings: XraySettings
) -> Mapping[Key, tuple[Landmark, ...]]:
    """Candidates of every landmark, the surest first: its peaks inside the film of at least half `visible_prob_min`.

    Args:
        heatmaps: (78, rows, columns) in 0..1, in the order of LANDMARKS, each pixel HEATMAP_STEP canvas pixels wide.
        content: rows and columns of the canvas that hold film.
        settings: group `xray`: threshold, and how peak and spread become an error.
    """
    rows, columns = (-(-side // HEATMAP_STEP) for side in content)
    film = np.nan_to_num(heatmaps[:, :rows, :columns])
    found = {}
    for channel, key in enumerate(LANDMARKS):
        marks = []
        left = film[channel].copy()
        for _ in range(MOST_CANDIDATES):
            row, column = divmod(int(left.argmax()), columns)
            prob = float(left[row, column])
            if prob < settings.visible_prob_min / 2:
                break
            marks.append(_landmark(film[channel], (row, column), settings))
            left[max(row - APART, 0) : row + APART + 1, max(column - APART, 0) : column + APART + 1] = 0.0
        if marks:
            found[key] = tuple(marks)
    return found


def _landmark(heatmap: NDArray[np.float32], peak: tuple[int, int], settings: XraySettings) -> Landmark:
    place, spread = _centroid(heatmap, peak)
    step_mm, prob = HEATMAP_STEP * settings.pixel_mm, float(heatmap[peak])
    down, back = (place + 0.5) * step_mm
    return Landmark((float(down), float(back)), min(prob, 1.0), landmark_sd_mm(prob, spread * step_mm, settings))


def landmark_sd_mm(prob: float, spread_mm: float, settings: XraySettings) -> float:
    """Error of a landmark along one axis, from the height of its peak and its width.

    Linear in both; the coefficients were fitted on synthetic films (model/xray.record.json), so that they hold for
    films like those and are a lower bound for others.
    """
    doubt = settings.error_doubt_mm * (1.0 - min(prob, 1.0))
    wide = settings.error_spread * max(spread_mm - settings.spread_mm, 0.0)
    return settings.error_floor_mm + doubt + wide


def _centroid(heatmap: NDArray[np.float32], peak: tuple[int, int]) -> tuple[Array, float]:
    """Centre (row, column) of the blob round `peak` and its standard deviation along one axis, heatmap pixels."""
    low = [max(at - REACH, 0) for at in peak]
    part = heatmap[low[0] : peak[0] + REACH + 1, low[1] : peak[1] + REACH + 1].astype(float)
    weights = np.where(part >= FOOT * heatmap[peak], part, 0.0)
    grid = np.moveaxis(np.indices(part.shape), 0, -1) + low
    total = weights.sum()
    centre = (weights[..., None] * grid).sum((0, 1)) / total
    variance = (weights[..., None] * (grid - centre) ** 2).sum((0, 1)) / total
    return centre, float(np.sqrt(variance.mean()))
