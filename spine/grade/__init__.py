"""Stage 6: nine grades of every disc level, each with a calibrated probability and the measurements it rests on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spine.errors import ModelError
from spine.grade.classes import CHANNELS, HEADS, MODIC, PFIRRMANN, Head
from spine.grade.evidence import Place, evidence_of
from spine.grade.inputs import Prepared, prepare_levels
from spine.grade.patch import FLUID_BRIGHT_RATIO
from spine.records import Grade, LabelledSpine, Measurement, Volume
from spine.runners import Runner

__all__ = ["Prepared", "grade_levels", "prepare_levels"]

LEVELS_IN_A_CALL = 24  # every disc of a spine: one input shape, one compiled network, one call a case


def grade_levels(
    volume: Volume, spine: LabelledSpine, measurements: Sequence[Measurement], runner: Runner
) -> tuple[Grade, ...]:
    """Grade every disc of `spine`.

    Args:
        volume: the image that `spine` lies on; any contrast.
        spine: labelled instances.
        measurements: of the same spine; levels and bodies that were not measured count as unknown.
        runner: the grading network, (n, CHANNELS_IN, ROWS, COLUMNS) -> probabilities (n, CHANNELS, 1, 1).

    Returns:
        For each disc, lowest first, one Grade for each of the nine names: graded, or not measurable with the reason.

    Raises:
        ModelError: the network answers with another number of channels.
    """
    prepared = prepare_levels(volume, spine, measurements)
    answers = dict(zip(prepared.levels, _answers(prepared.batch, runner), strict=True))
    patches = dict(zip(prepared.levels, prepared.patches, strict=True))
    grades: list[Grade] = []
    for disc in spine.discs:
        if disc.level in prepared.refused:
            reason = prepared.refused[disc.level]
            grades += [Grade(disc.level, head.name, None, not_measurable=reason) for head in HEADS]
            continue
        place = Place(disc.level, measurements, _shows_fluid(patches[disc.level].fluid, patches[disc.level].marrow))
        grades += [grade_of(head, answers[disc.level][head.channels], place) for head in HEADS]
    return tuple(grades)


def grade_of(head: Head, probabilities: NDArray[np.float32], place: Place) -> Grade:
    """One Grade from the (class,) `probabilities` of `head`."""
    chosen = decide(head, probabilities)
    return Grade(
        level=place.level,
        name=head.name,
        grade=bool(chosen) if head.is_flag else head.classes[chosen],
        probabilities=(float(probabilities[1]),) if head.is_flag else tuple(float(p) for p in probabilities),
        confidence=float(probabilities[chosen]),
        evidence=evidence_of(head.name, place),
    )


def decide(head: Head, probabilities: NDArray[np.float32]) -> int:
    """Index of the class that is told.

    Pfirrmann, whose classes are ordered: the median, which loses least when an error of two grades is twice as bad as
    an error of one. Modic: none, or the most probable type where a change of any type is more probable than none.
    """
    if head is PFIRRMANN:
        return min(int(np.searchsorted(np.cumsum(probabilities), 0.5)), len(head.classes) - 1)
    if head is MODIC and probabilities[0] < 0.5:
        return 1 + int(np.argmax(probabilities[1:]))
    return int(np.argmax(probabilities))


def _answers(batch: NDArray[np.float32], runner: Runner) -> NDArray[np.float32]:
    """(level, CHANNELS) probabilities of all levels from one call."""
    if not len(batch):
        return np.zeros((0, CHANNELS), np.float32)
    padded = np.zeros((LEVELS_IN_A_CALL, *batch.shape[1:]), np.float32)
    padded[: len(batch)] = batch
    answer = runner(padded)
    if answer.shape[1] != CHANNELS:
        raise ModelError(f"the grader answers with {answer.shape[1]} channels; {CHANNELS} are expected.")
    return np.array(answer[: len(batch)]).reshape(len(batch), CHANNELS)


def _shows_fluid(fluid: float, marrow: float) -> bool:
    """Whether the canal's fluid is brighter than marrow: T2 or STIR, not T1."""
    return bool(np.isfinite(fluid) and np.isfinite(marrow) and fluid >= FLUID_BRIGHT_RATIO * marrow)
