"""Grades above the levels that graded discs were at hand of (L5/S1 to T9/T10): little in the neck, none below it.

In the neck: what rules and features that do not depend on size can say without one graded neck.

Pfirrmann becomes Miyazaki's grade (same five steps; Miyazaki 2008, 10.1097/BRS.0b013e31817f2a1b), told by a part of
the network that was fitted on lumbar discs with ratios alone, where one grade stands out. Stenosis is Kang's grade 1 or
more, and spondylolisthesis a slip of 3 mm or more, both by rule from measurements; their probabilities hold the error
of measuring and nothing else, and what that error leaves open is not told. The other five grades are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import C7_LABEL, DISC_OFFSET, disc_label
from spine.grade.classes import PFIRRMANN
from spine.records import Z_90, Measurement

NECK_REASON = "no cervical grades to learn from (end plates, Modic, herniation, bulging and narrowing of the neck)"
THORACIC_REASON = "no graded discs between T1/T2 and T8/T9 to learn from"
HIGHEST_GRADED = "T9/T10"  # of SPIDER's graded discs: 36 at T10/T11, 7 here, none above
BY_RULE = ("spondylolisthesis", "stenosis")
# Logits of the lumbar discs are shrunk by this: the step to the neck was never checked. A choice.
TEMPER = 0.6
# Of five grades whose odds were never checked in the neck the most probable one says little: healthy volunteers' discs
# got grade IV with 0.34 to 0.38. A grade is told from MIN_GRADE_PROB on, and only where worn (IV or V) or not is clear
# by MIN_SIDE_PROB, alike on both sides: sound discs told beside worn ones left blank would mislead. Choices.
MIN_GRADE_PROB, MIN_SIDE_PROB = 0.5, 0.9
SIDES = {"I-III": (1, 2, 3), "IV-V": (4, 5)}
# Usual threshold [M-med]. Error: 0.7 mm on phantoms of 0.7 x 4 mm voxels, and 0.84 mm, the root mean square of what 23
# segments of four healthy volunteers showed in slabs of 5 to 9 slices; whatever they truly slip is in it.
SLIP_LIMIT_MM, SLIP_ERROR_MM = 3.0, 1.1
# A finding is told where its limit lies outside the 90 % interval of the measurement, its absence up to ABSENT_PROB.
SHOWN_PROB, ABSENT_PROB = 0.95, 0.1
LOSS_LIMIT_PERCENT, FLAT_LIMIT_PERCENT = 50.0, 15.0  # Kang [V], and as spine.measure.cord
MIYAZAKI_SAID = (
    "unproven in the neck: Miyazaki grade by ratios of signal and shape learnt from lumbar discs; no graded neck was "
    "available to check it"
)
RULE_SAID = (
    "unproven in the neck: by rule from measurements, for stenosis against the levels beside, so that a canal narrow "
    "over several levels is not told; the probability holds the error of measuring alone; no graded neck was available "
    "to check it"
)


def in_neck(level: str) -> bool:
    """Whether a disc is one of C2/C3 to C7/T1."""
    return disc_label(level) - DISC_OFFSET >= C7_LABEL


def above_graded(level: str) -> bool:
    """Whether a disc is one of T1/T2 to T8/T9, of which no graded one was at hand."""
    return not in_neck(level) and disc_label(level) > disc_label(HIGHEST_GRADED)


def tempered(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """(class,) `probabilities` with flatter odds."""
    shrunk = np.clip(probabilities, 1e-6, 1.0) ** TEMPER
    return np.asarray(shrunk / shrunk.sum(), np.float32)


def undecided(probabilities: NDArray[np.float32]) -> str | None:
    """Why no grade of Miyazaki is told from the (class,) `probabilities` of grades I to V; None where one is."""
    told = {grade: float(p) for grade, p in zip(PFIRRMANN.classes, probabilities, strict=True)}
    first, second = sorted(told, key=lambda grade: told[grade], reverse=True)[:2]
    if told[first] < MIN_GRADE_PROB:
        return (
            f"no grade of Miyazaki stands out (grade {first}: {told[first]:.2f}, grade {second}: {told[second]:.2f}); "
            f"one is told from {MIN_GRADE_PROB:.2f} on"
        )
    side, members = next((side, members) for side, members in SIDES.items() if first in members)
    together = sum(told[grade] for grade in members)
    if together < MIN_SIDE_PROB:
        return (
            f"unproven in the neck: Miyazaki's grades {side} together have a probability of {together:.2f}; "
            f"they are told from {MIN_SIDE_PROB:.2f} on"
        )
    return None


def flag_by_rule(name: str, level: str, measurements: Sequence[Measurement]) -> float | str:
    """Probability of `name`, one of BY_RULE, at `level`, or why there is none."""
    found = {m.name: m for m in measurements if m.subject == level}
    prob = _slip_prob(found) if name == "spondylolisthesis" else _stenosis_prob(found)
    if isinstance(prob, str) or not ABSENT_PROB < prob < SHOWN_PROB:
        return prob
    return (
        f"within the error of measuring: the probability that the limit is passed is {prob:.2f}; "
        f"the finding is told from {SHOWN_PROB:.2f} on, its absence up to {ABSENT_PROB:.2f}"
    )


def _slip_prob(found: Mapping[str, Measurement]) -> float | str:
    slip, both = _value(found, "slip_mm"), found.get("meyerding_grade")
    if isinstance(slip, str):
        return slip
    prob = _beyond(abs(slip), SLIP_LIMIT_MM, SLIP_ERROR_MM)
    if prob >= SHOWN_PROB and both is not None and both.value == 0:
        return (
            f"the rear corners stand {abs(slip):.1f} mm apart but the front ones did not move as far: "
            "one of the two end plates may be outlined wrongly"
        )
    return prob


def _stenosis_prob(found: Mapping[str, Measurement]) -> float | str:
    limits = {"subarachnoid_loss_percent": LOSS_LIMIT_PERCENT, "cord_compression_percent": FLAT_LIMIT_PERCENT}
    probs = [_prob_beyond(found, name, limit) for name, limit in limits.items()]
    reason = next((p for p in probs if isinstance(p, str)), None)
    if reason is not None:
        return reason
    prob, kang = max(p for p in probs if not isinstance(p, str)), _value(found, "kang_grade")
    return kang if isinstance(kang, str) and prob <= ABSENT_PROB else prob


def _prob_beyond(found: Mapping[str, Measurement], name: str, limit: float) -> float | str:
    """Probability that a measurement with a 90 % interval lies beyond `limit`, or why there is none."""
    value = _value(found, name)
    if isinstance(value, str):
        return value
    interval = found[name].interval_90
    if interval is None:
        return f"the error of {name} is not known"
    return _beyond(value, limit, (interval[1] - interval[0]) / (2 * Z_90))


def _value(found: Mapping[str, Measurement], name: str) -> float | str:
    measurement = found.get(name)
    if measurement is None:
        return f"{name} was not measured"
    return measurement.not_measurable or "not measured" if measurement.value is None else measurement.value


def _beyond(value: float, limit: float, error: float) -> float:
    return 0.5 * (1 + erf((value - limit) / error / sqrt(2)))
