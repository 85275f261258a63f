"""An axial series is often several stacks, one a disc: which of its slices belong together."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

STACKS_MAX = 12  # more are no stacks but scattered slices
ANGLE_TOLERANCE = 1e-3  # of direction cosines within a stack
GAP_TOLERANCE = 0.1  # share by which gaps within a stack differ


def runs_of(positions_mm: NDArray[np.float64], cosines: NDArray[np.float64]) -> list[list[int]]:
    """Indices of slices that are parallel and evenly spaced, one list a stack, in the order of the first of each.

    Args:
        positions_mm: (n, 3) first voxel of each slice, LPS.
        cosines: (n, 6) unit vectors of its rows and columns.

    Where slices share a position, or lie scattered, all are one list: what is wrong with them is told elsewhere.
    """
    whole = [list(range(len(positions_mm)))]
    runs: list[list[int]] = []
    for parallel in _parallel(cosines):
        normal = np.cross(cosines[parallel[0], :3], cosines[parallel[0], 3:])
        along = positions_mm[parallel] @ normal
        order = np.argsort(along, kind="stable")
        gaps = np.diff(along[order])
        if len(gaps) and gaps.min() <= GAP_TOLERANCE * np.median(gaps):
            return whole
        runs += _even([parallel[n] for n in order], gaps)
    return sorted(runs, key=min) if len(runs) <= STACKS_MAX else whole


def _parallel(cosines: NDArray[np.float64]) -> list[list[int]]:
    groups: list[list[int]] = []
    for index, own in enumerate(cosines):
        fitting = (group for group in groups if np.abs(cosines[group[0]] - own).max() <= ANGLE_TOLERANCE)
        group = next(fitting, None)
        if group is None:
            groups.append([index])
        else:
            group.append(index)
    return groups


def _even(ordered: list[int], gaps: NDArray[np.float64]) -> list[list[int]]:
    """`ordered` slices, cut where a gap is wider than the usual one."""
    usual = float(np.median(gaps)) if len(gaps) else 0.0
    cuts = [0, *(n + 1 for n, gap in enumerate(gaps) if gap > (1 + GAP_TOLERANCE) * usual), len(ordered)]
    return [ordered[start:end] for start, end in pairwise(cuts)]
