"""Grades of a level by rule: Lane, and for the neck Kellgren and Walraevens, as far as a landmark can tell.

Sclerosis of the end plates, part of Kellgren's and Walraevens' grades, is not seen by landmarks: both are told from
height and osteophytes alone. Limits and their sources: resources/thresholds.json. The probability of a grade is the
share of the draws of the landmarks (spine.xray.scene) that give it: it holds the error of measuring and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from spine.geometry import Array
from spine.records import Grade
from spine.xray.expected import CERVICAL_REGION, read_limits
from spine.xray.measure import LevelSizes
from spine.xray.scene import Scene, Values

Steps = NDArray[np.int64]  # (draws + 1,) grade of every draw

NO_SCLEROSIS = "end-plate sclerosis is not seen by this method"
TOTAL_SAID = f"height loss and osteophyte only, at most 7 of 9: {NO_SCLEROSIS}, so that the total is a lower bound"
ADJACENT_SAID = (
    "the combination that the neck trial followed (Yang 2020, doi 10.1007/s00586-019-06157-0); low against the other "
    "discs of this film, for one film shows no decrease over time"
)
BY_RULE = "by rule from landmarks; the probability holds the error of measuring alone; not checked on patients"


def grade_film(scene: Scene, sizes: tuple[LevelSizes, ...]) -> tuple[Grade, ...]:
    """The grades of every level, the uppermost first."""
    return tuple(grade for size in sizes for grade in _level(size, scene.region == CERVICAL_REGION))


def lane_narrowing(loss: Array, _osteophyte: Array) -> Steps:
    """0 none, 1 mild, 2 moderate, 3 severe: the atlas shows pictures, the limits are ours."""
    return _steps(loss, "lane_narrowing_mild_share", "lane_narrowing_moderate_share", "lane_narrowing_severe_share")


def osteophyte_grade(_loss: Array, osteophyte: Array) -> Steps:
    """0 none, 1 up to an eighth of the depth of the body, 2 up to a quarter, 3 more (Walraevens 2009)."""
    return _steps(osteophyte, "osteophyte_present_share", "osteophyte_small_share", "osteophyte_large_share")


def walraevens_height(loss: Array, _osteophyte: Array) -> Steps:
    """0 none, 1 up to 25 %, 2 up to 50 %, 3 up to 75 %, 4 more (Walraevens 2009)."""
    return _steps(
        loss, "loss_present_share", "walraevens_loss_1_share", "walraevens_loss_2_share", "walraevens_loss_3_share"
    )


def walraevens_total(loss: Array, osteophyte: Array) -> Steps:
    """Sum of the two parts that are seen, 0 to 7."""
    return walraevens_height(loss, osteophyte) + osteophyte_grade(loss, osteophyte)


def kellgren(loss: Array, osteophyte: Array) -> Steps:
    """Kellgren of the neck without sclerosis.

    0 none; 1 minimal osteophyte; 2 definite osteophyte or a disc lower than expected by less than a quarter; 3 lower
    by a quarter to three quarters; 4 by more.
    """
    limits = read_limits()
    grade = _steps(osteophyte, "osteophyte_present_share", "osteophyte_small_share")
    by_loss = np.searchsorted(
        [limits["kellgren_loss_2_share"], limits["walraevens_loss_1_share"], limits["walraevens_loss_3_share"]],
        loss,
        side="right",
    )
    return np.maximum(grade, np.where(by_loss > 0, by_loss + 1, 0))


def adjacent_sign(loss: Array, osteophyte: Array) -> Steps:
    """1 where the disc is low and has an anterior osteophyte: the combination of the neck trial (Yang 2020)."""
    return np.minimum(walraevens_height(loss, osteophyte), 1) * np.minimum(osteophyte_grade(loss, osteophyte), 1)


# name -> rule, number of grades, what it needs, what must be said with it
Rule = tuple[Callable[[Array, Array], Steps], int, tuple[str, ...], str]
ANY: dict[str, Rule] = {
    "lane_narrowing": (lane_narrowing, 4, ("loss",), "limits are ours, the atlas (Lane 1993) shows pictures"),
    "lane_osteophytes": (osteophyte_grade, 4, ("osteophyte",), "anterior only; limits of Walraevens 2009"),
}
NECK: dict[str, Rule] = {
    "kellgren": (kellgren, 5, ("loss", "osteophyte"), NO_SCLEROSIS),
    "walraevens_height_loss": (walraevens_height, 5, ("loss",), "Walraevens 2009"),
    "walraevens_osteophyte": (osteophyte_grade, 4, ("osteophyte",), "Walraevens 2009"),
    "walraevens_total": (walraevens_total, 8, ("loss", "osteophyte"), TOTAL_SAID),
    "low_disc_with_osteophyte": (adjacent_sign, 2, ("loss", "osteophyte"), ADJACENT_SAID),
}


def _level(size: LevelSizes, neck: bool) -> Iterator[Grade]:
    known = {"loss": size.loss, "osteophyte": size.osteophyte}
    for name, (rule, count, needs, said) in {**(NECK if neck else {}), **ANY}.items():
        gone = [value for need, value in known.items() if need in needs and isinstance(value, str)]
        if gone:
            yield Grade(size.level, name, None, not_measurable=gone[0])
            continue
        loss, share = (_or_zero(known[part]) for part in ("loss", "osteophyte"))
        drawn = rule(loss, share)[1:]
        shares = np.bincount(drawn, minlength=count) / len(drawn)
        best = int(shares.argmax())
        probabilities = tuple(round(float(value), 4) for value in shares)
        answer, told = (bool(best), probabilities[1:]) if count == 2 else (best, probabilities)
        yield Grade(size.level, name, answer, told, probabilities[best], _evidence(size, needs, said))


def _evidence(size: LevelSizes, needs: tuple[str, ...], said: str) -> tuple[str, ...]:
    facts = []
    if "loss" in needs and not isinstance(size.loss, str):
        percent = round(100 * float(size.loss[0]))
        facts.append(
            f"disc {abs(percent)} % {'lower' if percent >= 0 else 'higher'} than expected from {size.loss_against}"
        )
    if "osteophyte" in needs and not isinstance(size.osteophyte, str):
        facts.append(f"osteophyte of {100 * size.osteophyte[0]:.0f} % of the depth ({size.osteophyte_at})")
    return (*facts, said, BY_RULE)


def _or_zero(values: Values) -> Array:
    return np.zeros(1) if isinstance(values, str) else values


def _steps(values: Array, *names: str) -> Steps:
    """How many of the named limits each value reaches."""
    limits = read_limits()
    return np.asarray(np.searchsorted([limits[name] for name in names], values, side="right"))
