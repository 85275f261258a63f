"""Whether the picture is of one piece: rows cut out, stored twice, or of another picture.

From one row of a picture to the next all tissue changes little and everywhere about alike. Across a seam much of it
changes at once, in the same row of all slices. A border of anatomy (an end plate, the skin) crosses part of a row only.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spine.records import Doubt, Series, Volume

SEAM = "picture_in_pieces"  # words in resources/texts, names.flags
TISSUE_LEVEL = 0.08  # of bright tissue: darker is air, void or padding, whose steps say nothing
MOST_SLICES, MOST_ACROSS = 9, 200  # slices and samples of a row that are looked at, evenly over the picture
MOST_COMPARED = 600  # samples by which each row is compared with every other
SMOOTH_PX = 5  # along the row: noise is averaged, a seam is not
LEAST_TISSUE = 0.1  # of a row's samples: fewer say nothing
NEAR, NEXT = 8, 1  # a step is compared with so many on either side, without the nearest
USUAL_QUANTILE = 0.8  # of the steps nearby
LEAST_STEP = 2e-3  # of bright tissue: smaller steps are none
Stack = NDArray[np.float32]
Line = NDArray[np.float64]


def seam_doubts(
    series: Series, volume: Volume, limits: Mapping[str, float]
) -> tuple[tuple[str, ...], tuple[Doubt, ...]]:
    """(flags, doubts) of a picture that is put together: nobody can tell which of its parts belong to the patient.

    `series` as stored; `volume` tells its axes and spacing; `limits` are those of resources/thresholds.json.
    """
    rows = _rows(stored_stack(series, volume))
    places = _distinct(rows)  # a picture that was blown up holds each row several times
    rows = rows[places]
    copies = repeated_band(rows, volume.source.spacing_mm[volume.axes[1]], limits)
    if copies is not None:
        reason = f"the rows from {places[copies[0]] + 1} on are stored once more from row {places[copies[1]] + 1} on"
        return (SEAM,), (Doubt(None, None, f"{reason}: the picture is put together"),)
    steps = step_ratios(rows)
    place = int(steps.argmax())
    if steps[place] <= limits["seam_ratio_max"]:
        return (), ()
    reason = (
        f"all tissue breaks off below row {places[place] + 1} (a step {steps[place]:.0f} times as large as usual there)"
    )
    return (SEAM,), (Doubt(None, None, f"{reason}: the picture seems to be put together"),)


def stored_stack(series: Series, volume: Volume) -> Stack:
    """Some slices of the stored picture, (slice, down, back) float32, air about 0 and bright tissue 1."""
    view = series.array.transpose([2 - axis for axis in volume.axes])
    view = view[tuple(slice(None, None, -1) if flip else slice(None) for flip in volume.flips)]
    picked = np.unique(np.linspace(0, len(view) - 1, MOST_SLICES).round().astype(int))
    stack = view[picked].astype(np.float32)
    low, high = np.percentile(stack[:, ::4, ::4], (0.5, 99.0))
    return np.asarray((stack - low) / max(float(high - low), 1e-6), np.float32)


def _rows(stack: Stack) -> Stack:
    """(row, samples along it) of all slices together, smoothed along the row."""
    smooth = ndimage.uniform_filter1d(stack, SMOOTH_PX, axis=2)[:, :, :: max(1, stack.shape[2] // MOST_ACROSS)]
    return np.ascontiguousarray(np.moveaxis(smooth, 1, 0)).reshape(stack.shape[1], -1)


def _distinct(rows: Stack) -> NDArray[np.intp]:
    """Places of the rows that are no copy of the one right before."""
    return np.concatenate(([0], np.flatnonzero((rows[1:] != rows[:-1]).any(1)) + 1)).astype(np.intp)


def step_ratios(rows: Stack) -> Line:
    """(row,): median step of the tissue from each row to the next over that of the steps nearby; 0 where unknown."""
    tissue = rows > TISSUE_LEVEL
    both = tissue[1:] & tissue[:-1]
    enough = np.flatnonzero(both.mean(1) >= LEAST_TISSUE)
    middle = np.full(len(rows), np.nan)
    for n in enough:
        seen = both[n]
        middle[n] = np.median(np.abs(rows[n + 1][seen] - rows[n][seen]))
    usual = np.maximum(_usual(middle), _usual(middle[::-1])[::-1])
    known = np.isfinite(middle) & np.isfinite(usual)
    ratios = np.zeros(len(rows))
    ratios[known] = middle[known] / np.maximum(usual[known], LEAST_STEP)
    return ratios


def _usual(middle: Line) -> Line:
    """(row,): the usual one of the steps before each; NaN where they are not all known.

    Each side counts for itself: towards the edge of the picture its signal fades, and the steps grow.
    """
    before = np.pad(middle, (NEAR, 0), constant_values=np.nan)[:-1]
    windows = np.lib.stride_tricks.sliding_window_view(before, NEAR)[:, : NEAR - NEXT]
    return np.asarray(np.quantile(windows, USUAL_QUANTILE, axis=1))


def repeated_band(rows: Stack, pixel_mm: float, limits: Mapping[str, float]) -> tuple[int, int] | None:
    """(first row of a band, first row of its copy), where rows one after another are the same as others further on."""
    least = max(2, round(limits["repeated_band_mm"] / pixel_mm))
    few = rows[:, :: max(1, rows.shape[1] // MOST_COMPARED)]
    coarse = few - few.mean(1, keepdims=True)
    spread = np.linalg.norm(coarse, axis=1)
    seen = spread > TISSUE_LEVEL * max(float(spread.max()), 1e-6)  # air has no picture that could be repeated
    unit = coarse / np.where(seen, spread, 1.0)[:, None]
    same = (1.0 - unit @ unit.T < limits["repeated_row_cost_max"]) & seen & seen[:, None]
    for gap in range(least, len(rows) - least):
        run = np.diagonal(same, gap)
        if np.count_nonzero(run) < least:
            continue
        sums = np.convolve(run, np.ones(least, int), "valid")
        if sums.max() == least:
            start = int(sums.argmax())
            return start, start + gap
    return None
