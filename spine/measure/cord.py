"""The cord at a disc of the neck: room around it, its flattening, its signal, and Kang's grade by rule from them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import Structure
from spine.measure.canal_line import CanalLine
from spine.measure.reading import Outcome, Reading
from spine.measure.scene import Scene, first_reason

UNITS: Mapping[str, str] = {
    "space_available_cord_min_mm": "mm",
    "subarachnoid_loss_percent": "%",
    "cord_compression_percent": "%",
    "cord_signal_ratio": "1",
    "kang_grade": "1",
}

KANG_LOSS_PERCENT = 50.0  # grade 1: more than half of the subarachnoid space obliterated (Kang 2011) [V]
# Grade 2 is a deformed cord. A flattening of two standard deviations of healthy cords (0.5 of 7.5 mm at C5,
# spine-generic) counts as one; engineering choice.
KANG_FLAT_PERCENT = 15.0
# Grade 3 is a bright cord on T2. Twice the spread that the signal of one healthy cord shows; engineering choice.
KANG_BRIGHT_RATIO = 1.3
# Standard deviations: on two times ten synthetic necks 0.4 and 0.6 mm, 9 and 13, and 3 percent points
# (docs/measure/chain.md, chain_from_20.md), rounded up; the room's holds the error of the canal at bodies too. No
# patient's neck was at hand.
ROOM_ERROR_MM, LOSS_ERROR_PERCENT, FLAT_ERROR_PERCENT = 0.9, 14.0, 5.0
SIGNAL_HALF_MM = 4.0  # the cord's signal at a level is taken this far above and below it
USUAL_HALF_MM = 40.0  # and compared with the cord this far around
MIN_VOXELS = 6


def measure_cord(scene: Scene, line: CanalLine, near: NDArray[np.bool_], bodies: tuple[int, ...]) -> dict[str, Outcome]:
    """Every name of UNITS at the places `near` (n,) of the canal's line, against its indices `bodies` beside them."""
    room_mm = line.ap_mm - line.cord.ap_mm
    unseen = np.flatnonzero(near & ~np.isfinite(room_mm))
    if len(unseen):  # where the cord is pressed most it is seen least: the rest of the level would look sound
        return dict.fromkeys(UNITS, lost(line, unseen))
    low = int(np.where(near, room_mm, np.inf).argmin())
    usual = [m for m in bodies if np.isfinite(room_mm[m])]
    outcomes: dict[str, Outcome] = {
        "space_available_cord_min_mm": Reading(
            float(room_mm[low]), note="least of canal minus cord AP diameter", error=ROOM_ERROR_MM
        ),
    }
    if usual:
        room, cord = float(room_mm[usual].mean()), float(line.cord.ap_mm[usual].mean())
        flat = line.cord.ap_mm[near].min()
        against = "against the bodies above and below" if len(usual) == 2 else "against the one body beside it"
        outcomes["subarachnoid_loss_percent"] = Reading(
            100 * (1 - float(room_mm[low]) / room), note=against, error=LOSS_ERROR_PERCENT
        )
        outcomes["cord_compression_percent"] = Reading(
            100 * (1 - float(flat) / cord),
            note=f"maximum spinal cord compression, {against} (Fehlings 1999) [M-hi]",
            error=FLAT_ERROR_PERCENT,
        )
    else:
        reason = "no vertebral body with cord behind it is in view beside this level"
        outcomes |= dict.fromkeys(("subarachnoid_loss_percent", "cord_compression_percent"), reason)
    outcomes["cord_signal_ratio"] = _signal(scene, float(line.points[low, 0]))
    outcomes["kang_grade"] = _kang(outcomes)
    return outcomes


def lost(line: CanalLine, places: NDArray[np.intp]) -> str:
    """Why no cord is told at `places` of the canal's line."""
    if line.cord.cut[places].any():
        return "the cord reaches the edge of the image or the outermost slice at this level"
    return "no border between cord and fluid is seen at this level"


def _signal(scene: Scene, row_mm: float) -> Outcome:
    """Median signal of the cord at a level over that of the cord around it."""
    volume = scene.volume
    cord = scene.spine.structures == Structure.CORD
    away_mm = np.abs(np.arange(cord.shape[1]) * volume.spacing_mm[1] - row_mm)
    here, around = (cord & (away_mm < reach)[None, :, None] for reach in (SIGNAL_HALF_MM, USUAL_HALF_MM))
    around &= ~here
    if here.sum() < MIN_VOXELS or around.sum() < MIN_VOXELS:
        return "too little of the cord is in view for its signal"
    usual = float(np.median(volume.array[around]))
    if usual <= 0:
        return "the cord has no signal in this series"
    return Reading(float(np.median(volume.array[here])) / usual, note="cord at this level over the cord around it")


def _kang(outcomes: Mapping[str, Outcome]) -> Outcome:
    """Kang 2011 (10.2214/AJR.10.5505): 0, 1 half of the subarachnoid space gone, 2 cord deformed, 3 cord bright."""
    loss, flat, signal = (
        outcomes[n] for n in ("subarachnoid_loss_percent", "cord_compression_percent", "cord_signal_ratio")
    )
    if isinstance(loss, str) or isinstance(flat, str):
        return first_reason(loss, flat) or ""
    deformed = flat.value >= KANG_FLAT_PERCENT
    bright = not isinstance(signal, str) and signal.value >= KANG_BRIGHT_RATIO
    grade = (3 if bright else 2) if deformed else int(loss.value >= KANG_LOSS_PERCENT)
    limit = "signal of the cord not known, 2 and 3 not told apart; " if isinstance(signal, str) else ""
    return Reading(grade, note=f"{limit}Kang's grade by rule on the mid-sagittal section; no graded neck at hand")
