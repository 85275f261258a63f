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
# Standard deviations: on two times ten synthetic necks 0.4 and 0.6 mm, 9 and 11, and 3 percent points
# (docs/measure/chain.md, chain_from_20.md), rounded up; the room's holds the error of the canal at bodies too. Of
# little room the same millimetres are a larger share. No patient's neck was at hand.
ROOM_ERROR_MM, LOSS_ERROR_PERCENT, FLAT_ERROR_PERCENT = 0.9, 14.0, 5.0
PRESENT_Z, ABSENT_Z = 1.645, 1.282  # a finding is told from a probability of 0.95 on, its absence up to 0.10
WITHIN = "within the error of measuring"
LEAST_ROOM_MM = 4.0  # at bodies: one standard deviation below the mean of healthy adults (5.2 +- 1.2, spine-generic)
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
    usual = [m for m in bodies if room_mm[m] > 0]  # unknown ones are not; without room there is no share of it
    outcomes: dict[str, Outcome] = {
        "space_available_cord_min_mm": Reading(
            float(room_mm[low]), note="least of canal minus cord AP diameter", error=ROOM_ERROR_MM
        ),
    }
    room: float | None = None
    if usual:
        room, cord = float(room_mm[usual].mean()), float(line.cord.ap_mm[usual].mean())
        flat_percent = 100 * (1 - float(line.cord.ap_mm[near].min()) / cord)
        if flat_percent < -KANG_FLAT_PERCENT:
            reason = (
                f"the cord is {-flat_percent:.0f} % thinner at the bodies beside this level than at it: one of the "
                "outlines may be wrong"
            )
            return dict.fromkeys(UNITS, reason)
        against = "against the bodies above and below" if len(usual) == 2 else "against the one body beside it"
        outcomes["subarachnoid_loss_percent"] = Reading(
            100 * (1 - float(room_mm[low]) / room),
            note=f"{against}, whose own room is {room:.1f} mm",
            error=LOSS_ERROR_PERCENT * max(1.0, LEAST_ROOM_MM / room),
        )
        outcomes["cord_compression_percent"] = Reading(
            flat_percent,
            note=f"maximum spinal cord compression, {against} (Fehlings 1999) [M-hi]",
            error=FLAT_ERROR_PERCENT,
        )
    else:
        reason = "no vertebral body beside this level has a cord with room around it in view"
        outcomes |= dict.fromkeys(("subarachnoid_loss_percent", "cord_compression_percent"), reason)
    outcomes["cord_signal_ratio"] = _signal(scene, float(line.points[low, 0]))
    outcomes["kang_grade"] = _kang(outcomes, room)
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


def _kang(outcomes: Mapping[str, Outcome], usual_room_mm: float | None) -> Outcome:
    """Kang 2011 (10.2214/AJR.10.5505): 0, 1 half of the subarachnoid space gone, 2 cord deformed, 3 cord bright.

    Told only where it stands out of the error of measuring, and its absence only against bodies with room enough.
    """
    loss, flat, signal = (
        outcomes[n] for n in ("subarachnoid_loss_percent", "cord_compression_percent", "cord_signal_ratio")
    )
    if isinstance(loss, str) or isinstance(flat, str):
        return first_reason(loss, flat) or ""
    deformed, narrow = _passes(flat, KANG_FLAT_PERCENT), _passes(loss, KANG_LOSS_PERCENT)
    if deformed is None:
        return f"{WITHIN}: flattened by {flat.value:.0f} %, deformed from {KANG_FLAT_PERCENT:.0f} % on"
    if narrow is None and not deformed:
        return f"{WITHIN}: {loss.value:.0f} % of the room lost, grade 1 from {KANG_LOSS_PERCENT:.0f} % on"
    bright = not isinstance(signal, str) and signal.value >= KANG_BRIGHT_RATIO
    grade = (3 if bright else 2) if deformed else int(bool(narrow))
    if grade == 0 and usual_room_mm is not None and usual_room_mm < LEAST_ROOM_MM:
        return (
            f"the canal is narrow at the bodies beside this level too (room of {usual_room_mm:.1f} mm): against them a "
            "narrowing of several levels is not seen"
        )
    limit = "signal of the cord not known, 2 and 3 not told apart; " if isinstance(signal, str) else ""
    return Reading(grade, note=f"{limit}Kang's grade by rule on cord and canal; no graded neck at hand")


def _passes(reading: Reading, limit: float) -> bool | None:
    """Whether a reading passes `limit` with 95 % (True) or 10 % probability at most (False); None between."""
    error = reading.error or 0.0
    if reading.value >= limit + PRESENT_Z * error:
        return True
    return False if reading.value <= limit - ABSENT_Z * error else None
