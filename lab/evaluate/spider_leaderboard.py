"""The scores of SPIDER's public leaderboard, as its evaluation computes them.

Source: evaluation.py of DIAGNijmegen/SPIDER-Evaluation (commit 052300b), read for its rules and written anew. What is
peculiar there, and kept:

- The voxel spacing is handed over as (x, y, z) while the arrays have axes (z, y, x): surface distances of a sagittal
  series are therefore computed with the slice step and the in-plane step exchanged. `as_published=False` puts that
  right; everything else stays.
- A reference label is compared with the predicted label that covers most of it, whatever that label is called and
  whether or not another reference label has it already: wrong numbering costs nothing.
- Dice below 0.1 counts as missed and does not enter the mean Dice of vertebrae and discs, but enters the overall one.
- One reference label without any predicted voxel makes the mean surface distance of its group undefined.
- Labels 101 to 200 (partly visible vertebrae) enter the overall scores only. Without a canal its scores are 999.
- Border voxels have any neighbour (26) outside; the border of the image counts as outside.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lab.evaluate.metrics import dice
from spine.anatomy import CANAL_LABEL, DISC_OFFSET

MISSED_BELOW = 0.1
NO_CANAL = 999.0


def leaderboard(
    reference: NDArray[Any], prediction: NDArray[Any], spacing_xyz_mm: tuple[float, ...], as_published: bool = True
) -> dict[str, Any]:
    """The ten scores of one case.

    Args:
        reference: SPIDER labels, axes (z, y, x).
        prediction: the same grid; SPIDER labels.
        spacing_xyz_mm: voxel spacing in SimpleITK's order.
        as_published: with the exchanged spacing of the public evaluation.
    """
    spacing = spacing_xyz_mm if as_published else spacing_xyz_mm[::-1]
    scores, distances = defaultdict(list), defaultdict(list)
    canal = {"dice": NO_CANAL, "distance": NO_CANAL}
    for label in np.unique(reference[reference > 0]).tolist():
        truth = reference == label
        under = prediction[truth]
        under = under[under > 0]
        score, distance = 0.0, float("nan")
        if under.size:
            found = prediction == np.bincount(under).argmax()
            score, distance = dice(truth, found), _surface_distance_mm(truth, found, spacing)
        for group in ("all", *_groups(label)):
            scores[group].append(score)
            distances[group].append(distance)
        if label == CANAL_LABEL:
            canal = {"dice": score, "distance": distance}
    return {
        "DiceScoreVertebrae": _mean([s for s in scores["vertebra"] if s >= MISSED_BELOW]),
        "DiceScoreDiscs": _mean([s for s in scores["disc"] if s >= MISSED_BELOW]),
        "DiceScoreSpinalCanal": canal["dice"],
        "OveralDiceScore": _mean(scores["all"]),
        "DetectionRateVertebrae": _mean([float(s >= MISSED_BELOW) for s in scores["vertebra"]]),
        "DetectionRateDiscs": _mean([float(s >= MISSED_BELOW) for s in scores["disc"]]),
        "ASDVertebrae": _mean(distances["vertebra"]),
        "ASDDiscs": _mean(distances["disc"]),
        "ASDSpinalCanal": _mean([canal["distance"]]),
        "OveralASD": _mean(distances["all"]),
    }


def _groups(label: int) -> tuple[str, ...]:
    if label < CANAL_LABEL:
        return ("vertebra",)
    return ("disc",) if label > DISC_OFFSET else ()


def _mean(values: list[float]) -> Any:
    if not values:
        return {"not_measurable": "the reference has no such label"}
    mean = float(np.mean(values))
    return mean if np.isfinite(mean) else {"not_measurable": "a label of the reference has no predicted voxel"}


def _surface_distance_mm(a: NDArray[np.bool_], b: NDArray[np.bool_], spacing: tuple[float, ...]) -> float:
    # Cut to the box of both: at its faces a voxel is border either way, so that nothing changes but the time.
    box = ndimage.find_objects((a | b).astype(np.uint8))[0]
    borders = []
    for mask in (a[box], b[box]):
        borders.append(mask & ~ndimage.binary_erosion(mask, np.ones((3, 3, 3), bool)))
    to_a, to_b = (ndimage.distance_transform_edt(~border, spacing) for border in borders)
    return float(np.concatenate((to_a[borders[1]], to_b[borders[0]])).mean())
