"""The network's voxel probabilities, by group of structures: raw and calibrated."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from spine.quality.learnt import GROUPS, Curve
from spine.records import Segmentation


def group_probabilities(segmentation: Segmentation, group: str) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """(where the network answers with a structure of `group`, (slice, down, back); their probability there, (n,))."""
    inside = np.isin(segmentation.structures, GROUPS[group])
    total = np.zeros(int(np.count_nonzero(inside)), np.float32)
    for structure in GROUPS[group]:
        total += segmentation.probabilities[structure][inside]
    return inside, np.minimum(total, 1.0)


def calibrated_confidence(segmentation: Segmentation, curves: Mapping[str, Curve]) -> dict[str, float]:
    """Group -> share of its voxels that are expected to be right; groups that were not found are left out."""
    found = {}
    for group, curve in curves.items():
        _, stated = group_probabilities(segmentation, group)
        if stated.size:
            found[group] = float(curve(stated).mean())
    return found
