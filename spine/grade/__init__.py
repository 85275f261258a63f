"""Stage 6: nine grades of every disc level, each with a calibrated probability and the measurements it rests on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spine.errors import ModelError
from spine.grade.classes import CHANNELS, HEADS, MIYAZAKI, MODIC, PFIRRMANN, Head
from spine.grade.evidence import Place, evidence_of
from spine.grade.features import FEATURES
from spine.grade.inputs import Prepared, prepare_levels
from spine.grade.modic import find_change
from spine.grade.neck import (
    BY_RULE,
    NECK_REASON,
    THORACIC_REASON,
    above_graded,
    flag_by_rule,
    in_neck,
    tempered,
    undecided,
)
from spine.grade.patch import FLUID_BRIGHT_RATIO
from spine.grade.second import UNLIKE
from spine.records import Grade, LabelledSpine, Measurement, Series, Volume
from spine.runners import Runner

__all__ = ["Prepared", "grade_levels", "prepare_levels", "second_flags"]

LEVELS_IN_A_CALL = 24  # every disc of a spine: one input shape, one compiled network, one call a case


def grade_levels(
    volume: Volume,
    spine: LabelledSpine,
    measurements: Sequence[Measurement],
    runner: Runner,
    second: Series | None = None,
) -> tuple[Grade, ...]:
    """Grade every disc of `spine`.

    Args:
        volume: the image that `spine` lies on; any contrast.
        spine: labelled instances.
        measurements: of the same spine; levels and bodies that were not measured count as unknown.
        runner: the grading network, (n, CHANNELS_IN, 1, feature) -> probabilities (n, CHANNELS, 1, 1).
        second: a T1-weighted series beside `volume`, as stored; it is found through the geometry of both.

    Returns:
        For each disc, lowest first, one Grade for each of the nine names: graded, or not measurable with the reason.

    Raises:
        ModelError: the network answers with another number of channels.
    """
    prepared = prepare_levels(volume, spine, measurements, second)
    answers = dict(zip(prepared.levels, _answers(prepared.batch, runner), strict=True))
    places = dict(zip(prepared.levels, _places(prepared, measurements), strict=True))
    grades: list[Grade] = []
    for disc in spine.discs:
        reason = prepared.refused.get(disc.level, THORACIC_REASON if above_graded(disc.level) else None)
        if reason is not None:
            grades += [Grade(disc.level, head.name, None, not_measurable=reason) for head in HEADS]
        else:
            told = _neck_grade if in_neck(disc.level) else _grade
            grades += [told(head, answers[disc.level], places[disc.level]) for head in HEADS]
    return tuple(grades)


def second_flags(grades: Sequence[Grade]) -> tuple[str, ...]:
    """The flag of the case where the T1 series beside the T2 was not used at any level: see second.is_unlike."""
    unlike = any(UNLIKE in text for grade in grades for text in grade.evidence)
    return (UNLIKE,) if unlike else ()


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

    The most probable one; for Pfirrmann this agreed better with unseen readers' grades than the median or the rounded
    mean of the probabilities (model/grader.md). Modic: none, or the most probable type where a change of any type is
    more probable than none.
    """
    if head is MODIC and probabilities[0] < 0.5:
        return 1 + int(np.argmax(probabilities[1:]))
    return int(np.argmax(probabilities))


def typed(modic: NDArray[np.float32], place: Place) -> NDArray[np.float32]:
    """(4,) Modic probabilities; the types of a change weighed by what T1 and T2 show where both are known."""
    if place.change is None:
        return modic
    types = modic[1:] * place.change.types
    if types.sum() <= 0:
        return modic
    return np.concatenate([modic[:1], (1 - modic[:1]) * types / types.sum()])


def _grade(head: Head, answer: NDArray[np.float32], place: Place) -> Grade:
    probabilities = answer[head.channels]
    return grade_of(head, typed(probabilities, place) if head is MODIC else probabilities, place)


def _neck_grade(head: Head, answer: NDArray[np.float32], place: Place) -> Grade:
    if head is PFIRRMANN:
        odds = tempered(answer[MIYAZAKI.channels])
        reason = undecided(odds)
        return (
            grade_of(head, odds, place)
            if reason is None
            else Grade(place.level, head.name, None, not_measurable=reason)
        )
    if head.name not in BY_RULE:
        return Grade(place.level, head.name, None, not_measurable=NECK_REASON)
    present = flag_by_rule(head.name, place.level, place.measurements)
    if isinstance(present, str):
        return Grade(place.level, head.name, None, not_measurable=present)
    return grade_of(head, np.array([1 - present, present], np.float32), place)


def _places(prepared: Prepared, measurements: Sequence[Measurement]) -> list[Place]:
    found = []
    for level, patch, row in zip(prepared.levels, prepared.patches, prepared.features, strict=True):
        # "bright": the canal's fluid outshines marrow, so this is T2 or STIR, not T1
        bright = bool(np.isfinite(patch.fluid) and patch.fluid >= FLUID_BRIGHT_RATIO * patch.marrow)
        change = find_change(dict(zip(FEATURES, row, strict=True))) if bright else None
        found.append(Place(level, measurements, bright, change, patch.t1_missing))
    return found


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
