"""Grades of the neck: what rules and features that do not depend on size can say without one graded neck.

Pfirrmann becomes Miyazaki's grade (same five steps; Miyazaki 2008, 10.1097/BRS.0b013e31817f2a1b), told by a part of
the network that was fitted on lumbar discs with ratios alone. Stenosis is Kang's grade 1 or more, and spondylolisthesis
a slip of 3 mm or more, both by rule from measurements; their probabilities hold the error of measuring and nothing
else. The other five grades are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import C7_LABEL, DISC_OFFSET, disc_label
from spine.records import Measurement

NECK_REASON = "no cervical grades to learn from (end plates, Modic, herniation, bulging and narrowing of the neck)"
BY_RULE = ("spondylolisthesis", "stenosis")
# Logits of the lumbar discs are shrunk by this: the step to the neck was never checked. A choice.
TEMPER = 0.6
SLIP_LIMIT_MM, SLIP_ERROR_MM = 3.0, 0.7  # usual threshold [M-med]; error on phantoms of 0.7 x 4 mm voxels
LOSS_LIMIT_PERCENT, LOSS_ERROR_PERCENT = 50.0, 14.0  # Kang [V]; 0.7 mm of error on about 6 mm of room, twice
FLAT_LIMIT_PERCENT, FLAT_ERROR_PERCENT = 15.0, 8.0  # as spine.measure.cord; 0.5 mm on 7.5 mm
MIYAZAKI_SAID = (
    "Miyazaki grade, by ratios of signal and shape learnt from lumbar discs; no graded neck was available to check it"
)
RULE_SAID = "by rule from measurements; the probability holds the error of measuring alone; not checked on graded necks"


def in_neck(level: str) -> bool:
    """Whether a disc is one of C2/C3 to C7/T1."""
    return disc_label(level) - DISC_OFFSET >= C7_LABEL


def tempered(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """(class,) `probabilities` with flatter odds."""
    shrunk = np.clip(probabilities, 1e-6, 1.0) ** TEMPER
    return np.asarray(shrunk / shrunk.sum(), np.float32)


def flag_by_rule(name: str, level: str, measurements: Sequence[Measurement]) -> float | str:
    """Probability of `name`, one of BY_RULE, at `level`, or why there is none."""
    found = {m.name: m for m in measurements if m.subject == level}
    if name == "spondylolisthesis":
        slip = _value(found, "slip_mm")
        return slip if isinstance(slip, str) else _beyond(abs(slip), SLIP_LIMIT_MM, SLIP_ERROR_MM)
    loss, flat = _value(found, "subarachnoid_loss_percent"), _value(found, "cord_compression_percent")
    if isinstance(loss, str) or isinstance(flat, str):
        return loss if isinstance(loss, str) else str(flat)
    room = _beyond(loss, LOSS_LIMIT_PERCENT, LOSS_ERROR_PERCENT)
    return max(room, _beyond(flat, FLAT_LIMIT_PERCENT, FLAT_ERROR_PERCENT))


def _value(found: Mapping[str, Measurement], name: str) -> float | str:
    measurement = found.get(name)
    if measurement is None:
        return f"{name} was not measured"
    return measurement.not_measurable or "not measured" if measurement.value is None else measurement.value


def _beyond(value: float, limit: float, error: float) -> float:
    return 0.5 * (1 + erf((value - limit) / error / sqrt(2)))
