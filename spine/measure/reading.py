"""What a measurement comes out as: a number with its lines, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spine.records import Z_90, Measurement

Points = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Reading:
    """A measured value; `note` says how it was defined where the name leaves a choice.

    `error` is the standard deviation of measuring, in the value's unit, where one is known.
    """

    value: float
    points: Points = ()  # LPS mm
    note: str | None = None
    error: float | None = None


Outcome = Reading | str  # a str is the reason why the value cannot be measured


def record(subject: str, units: Mapping[str, str], outcomes: Mapping[str, Outcome]) -> list[Measurement]:
    """One Measurement for each name in `units` (name -> UCUM unit), in that order."""
    return [_measurement(subject, name, unit, outcomes[name]) for name, unit in units.items()]


def _measurement(subject: str, name: str, unit: str, outcome: Outcome) -> Measurement:
    if isinstance(outcome, str):
        return Measurement(subject, name, None, unit, not_measurable=outcome)
    value = round(float(outcome.value), 4) + 0.0  # no negative zero
    interval = None if outcome.error is None else interval_of(value, outcome.error)
    return Measurement(
        subject, name, value, unit, reference=outcome.note, points_mm=outcome.points, interval_90=interval
    )


def interval_of(value: float, error: float) -> tuple[float, float]:
    """90 % interval of a value whose error of measuring has the standard deviation `error`."""
    half = Z_90 * error
    return round(value - half, 4), round(value + half, 4)
