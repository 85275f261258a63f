"""The line between right and left on an axial slice, by what the slice shows and by what its neighbours show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spine.muscle.limits import read_limits

NEAR_MM = 16.0  # between slices: over half a vertebra even a scoliosis moves the midline by a few millimetres only
APART_DEG, APART_MM = 12.0, 8.0  # a line further from those of two neighbours, which agree, rests on a wrong outline

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Midline:
    """A line through the middles of vertebra and dural sac, in pixels of its slice."""

    row: float  # of the dural sac's middle
    column: float
    turn_deg: float  # 0: straight to the back, above 0: to the patient's left on its way there

    def column_at(self, row: float) -> float:
        """Where the line crosses `row`."""
        return self.column + (row - self.row) * float(np.tan(np.radians(self.turn_deg)))

    def left_of(self, shape: tuple[int, ...]) -> Mask:
        """(down, across) whether a pixel lies to the patient's left of the line."""
        rows, columns = np.indices(shape)
        turn = np.radians(self.turn_deg)
        return np.asarray((columns - self.column) * np.cos(turn) - (rows - self.row) * np.sin(turn) > 0)


def own_midline(body: Mask, sac: Mask, pixel_mm: float) -> Midline | str:
    """The line of one slice, (down, across) outlines of its vertebra or disc and of the sac, or why there is none.

    It turns with the spine, so that a rotated patient's muscles are not exchanged.
    """
    if np.count_nonzero(body) * pixel_mm**2 < read_limits()["body_min_mm2"]:
        return "no vertebra or disc is recognised on the axial slice, so that the sides are not told apart"
    if not sac.any():
        return "the dural sac is not recognised on the axial slice, so that the sides are not told apart"
    middle, back = np.argwhere(body).mean(0), np.argwhere(sac).mean(0)
    down, across = back - middle
    turn_deg = float(np.degrees(np.arctan2(across, down)))
    if abs(turn_deg) > read_limits()["turn_max_deg"]:
        return "the dural sac does not lie behind the vertebra on the axial slice, so that the sides are not told apart"
    return Midline(float(back[0]), float(back[1]), turn_deg)


def agreed_midlines(
    own: Mapping[int, Midline | str], place: Mapping[int, tuple[int, float]], pixel_mm: float
) -> dict[int, Midline | str]:
    """The lines of parallel slices, made to agree: their rows and columns are the same, so a line holds on all of them.

    Args:
        own: each slice's line or why it has none.
        place: each slice's group of parallel slices and its place along them, mm.
        pixel_mm: of the slices.

    Returns:
        Where a slice has no line, the middle of its neighbours'; so too where two neighbours agree with each other and
        not with it. A slice whose neighbours tell nothing keeps what it has.
    """
    agreed: dict[int, Midline | str] = {}
    for index, line in own.items():
        group, along_mm = place[index]
        near = [
            other
            for at, other in own.items()
            if at != index and not isinstance(other, str)
            if place[at][0] == group and abs(place[at][1] - along_mm) <= NEAR_MM
        ]
        if not near or (not isinstance(line, str) and len(near) == 1):
            agreed[index] = line
            continue
        middle = _middle(near)
        same = all(_agree(middle, other, pixel_mm) for other in near)
        odd = not isinstance(line, str) and not _agree(middle, line, pixel_mm)
        agreed[index] = middle if isinstance(line, str) or (same and odd) else line
    return agreed


def _middle(lines: Sequence[Midline]) -> Midline:
    row = float(np.median([line.row for line in lines]))
    across = float(np.median([line.column_at(row) for line in lines]))
    return Midline(row, across, float(np.median([line.turn_deg for line in lines])))


def _agree(one: Midline, other: Midline, pixel_mm: float) -> bool:
    apart_mm = abs(one.column_at(other.row) - other.column) * pixel_mm
    return apart_mm <= APART_MM and abs(one.turn_deg - other.turn_deg) <= APART_DEG
