"""Outlines of a level's slices -> areas, fat, asymmetry, Goutallier grades and the dural sac, with their reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import erf, sqrt

import numpy as np

from spine.muscle.fat import Scale, fat_fraction, fit_scale
from spine.muscle.levels import SliceAt
from spine.muscle.limits import read_limits
from spine.muscle.segment import MUSCLES, SAC, SIDES, Outline
from spine.records import Grade, Measurement

SAC_AREA = "dural_sac_area_mm2"
GOUTALLIER_GRADES = (0, 1, 2, 3, 4)
FAT_METHOD = (
    "mixture of two normal distributions, held near muscle and subcutaneous fat, and of partly filled pixels, fitted "
    "to the intensities inside the compartment, coil field removed; no proton density fat fraction"
)
# PDFF of healthy adults, PMC7063279 (EVIDENCE section 6): another method, so quoted and not turned into a z-score.
PDFF_SAID = {
    "erector_spinae": "PDFF 12.3 +- 5.6 % under 38 years and 19.4 +- 8.2 % above",
    "psoas": "PDFF 4.5 +- 1.5 % under 38 years and 6.9 +- 2.9 % above",
}
BACK = ("multifidus", "erector_spinae")


@dataclass(frozen=True)
class Seen:
    """One slice of a level with its outlines."""

    at: SliceAt
    outline: Outline
    scale: Scale | str  # field and anchors of its intensities, or why there are none


@dataclass(frozen=True)
class Value:
    """A mean over the slices of a level."""

    value: float
    spread: float  # standard deviation between the slices; 0 with one
    slices: int


def see(at: SliceAt, outline: Outline, pixel_mm: float) -> Seen:
    """`outline` with the scale of its intensities."""
    muscles = np.isin(outline.labels, list(MUSCLES.values()))
    back = np.isin(outline.labels, [MUSCLES[name] for name in BACK])
    return Seen(at, outline, fit_scale(outline.grey, muscles, back, pixel_mm))


def measure_level(
    level: str, seen: Sequence[Seen], pixel_mm: float
) -> tuple[tuple[Measurement, ...], tuple[Grade, ...], tuple[str, ...]]:
    """Measurements, grades and flags of one level from its slices, nearest to the disc's middle first.

    Every name comes back, with a value or with the reason why there is none.
    """
    measurements: list[Measurement] = []
    grades, flags = [], []
    for muscle in MUSCLES:
        areas: dict[str, Value | str] = {}
        for side in SIDES:
            name = f"{muscle}_{side}"
            areas[side] = _area(name, seen, pixel_mm)
            fat = _fat(name, seen) if not isinstance(areas[side], str) else str(areas[side])
            measurements += _side_measurements(level, muscle, name, areas[side], fat)
            grades.append(goutallier(level, name, fat))
        measurements.append(_asymmetry(level, muscle, areas))
        flags += _uneven(level, muscle, areas)
    measurements.append(_sac(level, _area(SAC, seen, pixel_mm)))
    return tuple(measurements), tuple(grades), tuple(flags)


def missing_level(level: str, reason: str) -> tuple[tuple[Measurement, ...], tuple[Grade, ...]]:
    """Every name of `level`, not measurable for `reason`."""
    measurements, grades, _ = measure_level(level, (), 1.0)
    lost = tuple(replace(one, not_measurable=reason) for one in measurements)
    return lost, tuple(replace(one, not_measurable=reason) for one in grades)


def _area(name: str, seen: Sequence[Seen], pixel_mm: float) -> Value | str:
    """Area at right angles to the spine: the area in each slice times the cosine of its tilt.

    A structure that runs along the spine is cut by a plane tilted by t in its true cross-section divided by cos t.
    """
    found = [
        np.count_nonzero(one.outline.mask(name)) * pixel_mm**2 * np.cos(np.radians(one.at.tilt_deg))
        for one in seen
        if name not in one.outline.reasons
    ]
    return _mean(found) if found else _first_reason(name, seen)


def _fat(name: str, seen: Sequence[Seen]) -> Value | str:
    """Percent of fat inside the compartment."""
    usable = [one for one in seen if name not in one.outline.reasons]
    found = [
        100 * fat_fraction(one.outline.grey, one.outline.mask(name), one.scale)
        for one in usable
        if isinstance(one.scale, Scale)
    ]
    if found:
        return _mean(found)
    return next((one.scale for one in usable if isinstance(one.scale, str)), _first_reason(name, seen))


def _mean(values: Sequence[float]) -> Value:
    return Value(float(np.mean(values)), float(np.std(values)), len(values))


def _first_reason(name: str, seen: Sequence[Seen]) -> str:
    return next((one.outline.reasons[name] for one in seen if name in one.outline.reasons), "no slice was measured")


def _measurement(level: str, name: str, unit: str, found: float | str, reference: str) -> Measurement:
    if isinstance(found, str):
        return Measurement(level, name, None, unit, not_measurable=found)
    return Measurement(level, name, found, unit, reference=reference)


def _slices(value: Value | str) -> str:
    if isinstance(value, str):
        return ""
    return "one slice in the disc" if value.slices == 1 else f"mean of {value.slices} slices in the disc"


def _side_measurements(
    level: str, muscle: str, name: str, area: Value | str, fat: Value | str
) -> tuple[Measurement, ...]:
    around = "; fat around the muscle inside its fascia included" if muscle in BACK else ""
    across = f"{_slices(area)}, area in the slice times the cosine of its tilt against the spine{around}"
    quoted = f"; no z-score: of healthy adults {PDFF_SAID[muscle]} (PMC7063279)" if muscle in PDFF_SAID else ""
    lean = (
        area.value * (1 - fat.value / 100)
        if not isinstance(area, str) and not isinstance(fat, str)
        else next(part for part in (area, fat) if isinstance(part, str))
    )
    return (
        _measurement(level, f"{name}_area_mm2", "mm2", area if isinstance(area, str) else area.value, across),
        _measurement(
            level,
            f"{name}_fat_fraction_percent",
            "%",
            fat if isinstance(fat, str) else fat.value,
            f"{_slices(fat)}: {FAT_METHOD}{quoted}",
        ),
        _measurement(level, f"{name}_fat_free_area_mm2", "mm2", lean, "area without the share of fat"),
    )


def _asymmetry(level: str, muscle: str, areas: Mapping[str, Value | str]) -> Measurement:
    right, left = areas["right"], areas["left"]
    if isinstance(right, str) or isinstance(left, str):
        found: float | str = next(f"{side}: {part}" for side, part in areas.items() if isinstance(part, str))
    else:
        found = 100 * (right.value - left.value) / max(right.value, left.value)
    said = "(right - left) / larger side, positive where the right side is larger"
    return _measurement(level, f"{muscle}_area_asymmetry_percent", "%", found, said)


def _uneven(level: str, muscle: str, areas: Mapping[str, Value | str]) -> list[str]:
    values = [part.value for part in areas.values() if not isinstance(part, str)]
    limit = read_limits()["side_ratio_max"]
    if len(values) < 2 or max(values) <= limit * min(values):
        return []
    shown = muscle.replace("_", " ")
    return [f"{level}: one {shown} is more than {limit:g} times as large as the other: the outline may be wrong"]


def _sac(level: str, area: Value | str) -> Measurement:
    limits = read_limits()
    said = (
        f"{_slices(area)}, area in the slice times the cosine of its tilt against the spine; central stenosis by area: "
        f"relative below {limits['sac_relative_mm2']:g} mm2, absolute below {limits['sac_absolute_mm2']:g} mm2 [M-hi]"
    )
    return _measurement(level, SAC_AREA, "mm2", area if isinstance(area, str) else area.value, said)


def goutallier(level: str, name: str, fat: Value | str) -> Grade:
    """Goutallier grade 0-4 of the muscle and side `name` by rule from its fat fraction.

    0 no fat, 1 streaks, 2 less fat than muscle, 3 as much, 4 more (Goutallier 1994). The limits between them and their
    sources stand in resources/thresholds.json. The probabilities spread the fraction by its error.
    """
    grade = f"{name}_goutallier"
    if isinstance(fat, str):
        return Grade(level, grade, None, not_measurable=fat)
    limits = read_limits()
    edges = [limits[f"goutallier_{number}_percent"] for number in GOUTALLIER_GRADES[1:]]
    error = max(fat.spread, limits["fat_error_sd_percent"])
    below = [0.0, *(0.5 * (1 + erf((edge - fat.value) / (error * sqrt(2)))) for edge in edges), 1.0]
    probabilities = tuple(float(share) for share in np.diff(below))
    chosen = int(np.searchsorted(edges, fat.value, side="right"))
    told = f"{name}_fat_fraction_percent {fat.value:.1f} %"
    rule = f"by rule from the fat fraction, limits {', '.join(f'{edge:g}' for edge in edges)} %"
    return Grade(level, grade, chosen, probabilities, probabilities[chosen], (told, rule))
