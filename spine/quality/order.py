"""Whether the slices of a series lie in the order of the patient, and whether each is stored once.

Neighbouring slices of a body resemble each other more than distant ones do. The stored order is taken as a path through
the slices whose steps cost 1 - correlation: of a sound stack no exchange of two slices, no turned or moved block makes
that path shorter.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from spine.quality.spacing import ACROSS
from spine.records import Doubt, Series, Volume

COARSE_STEP = 4  # pixels: slices are compared on every fourth
MOST_SLICES = 160  # of more, every n-th is looked at
SYMMETRY = 1.2  # mean steps: both ends of four wide neck stacks were alike by up to 0.9; ends of narrow ones by 0.3
FLAT = 1e-6  # of the largest spread of a slice: no more says nothing
WRONG_ORDER = "slices_out_of_order"  # words in resources/texts, names.flags
REPEATED = "slices_repeated"
Square = NDArray[np.float64]


def order_doubts(
    series: Series, volume: Volume, limits: Mapping[str, float]
) -> tuple[tuple[str, ...], tuple[Doubt, ...]]:
    """(flags, doubts) of slices in a wrong order and of slices that are stored twice."""
    cost, places = slice_costs(series, volume)
    flags: list[str] = []
    doubts: list[Doubt] = []
    twice = repeated(cost, limits)
    if twice is not None:
        first, second = (int(places[n]) + 1 for n in twice)
        flags.append(REPEATED)
        doubts.append(Doubt(None, ACROSS, f"the slices {first} and {second} are the same picture"))
    once = np.setdiff1d(np.arange(len(cost)), [] if twice is None else _copies(cost, limits))
    cost = cost[np.ix_(once, once)]
    if len(cost) >= limits["order_slices_min"] and shortening(cost) > limits["order_gain_steps_max"]:
        flags.append(WRONG_ORDER)
        reason = "neighbouring slices resemble each other less than slices further apart: their order is wrong"
        # Everything, even where most slices lie beside their like: the section taken for the middle need not be it.
        doubts.append(Doubt(None, None, reason))
    return tuple(flags), tuple(doubts)


def slice_costs(series: Series, volume: Volume) -> tuple[Square, NDArray[np.intp]]:
    """((n, n) 1 - correlation of slices as stored, their places in the stack); slices without contrast are left out."""
    stack = np.moveaxis(series.array, 2 - volume.axes[0], 0)
    places = np.arange(0, len(stack), -(-len(stack) // MOST_SLICES))
    coarse = np.stack([stack[n, ::COARSE_STEP, ::COARSE_STEP].ravel() for n in places]).astype(np.float64)
    coarse -= coarse.mean(1, keepdims=True)
    spread = np.linalg.norm(coarse, axis=1)
    seen = spread > FLAT * max(float(spread.max()), FLAT)
    unit = coarse[seen] / spread[seen, None]
    return 1.0 - unit @ unit.T, places[seen]


def repeated(cost: Square, limits: Mapping[str, float]) -> tuple[int, int] | None:
    """The first pair of slices that are the same picture."""
    pairs = np.argwhere(np.triu(cost < limits["same_slice_cost_max"], 1))
    return (int(pairs[0, 0]), int(pairs[0, 1])) if len(pairs) else None


def _copies(cost: Square, limits: Mapping[str, float]) -> NDArray[np.intp]:
    """All but the first of slices that are the same picture."""
    same = np.triu(cost < limits["same_slice_cost_max"], 1)
    return np.flatnonzero(same.any(0))


def shortening(cost: Square) -> float:
    """How much of the path through the slices one better order saves at most, in mean steps; 0: the order is the best.

    Tried are every exchange of two slices, every turned block inside the stack, and every cut whose parts change
    places. A body is much alike on its left and its right: the last counts for what it saves beyond SYMMETRY.
    """
    if len(cost) < 3:
        return 0.0
    steps = np.diagonal(cost, 1)
    usual = float(steps.mean())
    if usual <= 0:
        return 0.0
    moved = float(steps.max() - cost[-1, 0]) / usual - SYMMETRY
    return max(0.0, _exchange(cost) / usual, _turned(cost) / usual, moved)


def _ringed(cost: Square) -> Square:
    """`cost` with a first and a last place that any slice may lie beside for nothing."""
    return np.pad(cost, 1)


def _exchange(cost: Square) -> float:
    """Largest saving by the exchange of two slices."""
    ring, n = _ringed(cost), len(cost)
    one, two = np.triu_indices(n, 1)
    i, j = one + 1, two + 1
    old = ring[i - 1, i] + ring[i, i + 1] + ring[j - 1, j] + ring[j, j + 1]
    new = ring[i - 1, j] + ring[j, i + 1] + ring[j - 1, i] + ring[i, j + 1]
    beside = j == i + 1  # the step between the two is there before and after
    old = np.where(beside, ring[i - 1, i] + ring[j, j + 1], old)
    new = np.where(beside, ring[i - 1, j] + ring[i, j + 1], new)
    return float((old - new).max())


def _turned(cost: Square) -> float:
    """Largest saving by turning a block round that reaches neither end."""
    one, two = np.triu_indices(len(cost) - 2, 1)
    if not len(one):
        return 0.0
    i, j = one + 1, two + 1
    return float((cost[i - 1, i] + cost[j, j + 1] - cost[i - 1, j] - cost[i, j + 1]).max())
