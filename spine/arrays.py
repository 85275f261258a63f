"""Tools: what numpy does too slowly on arrays of probabilities; pure numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def largest(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(rows, columns) index of the largest of (class, rows, columns); the first of equals, as numpy's argmax."""
    best = probability[0].copy()
    index = np.zeros(best.shape, np.uint8)
    for n in range(1, len(probability)):
        np.putmask(index, probability[n] > best, np.uint8(n))
        np.maximum(best, probability[n], out=best)
    return index
