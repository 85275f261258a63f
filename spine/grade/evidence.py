"""What a grade rests on, in words: the measurements behind it, and what the image cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spine.grade.modic import Change
from spine.grade.neck import BY_RULE, MIYAZAKI_SAID, RULE_SAID, in_neck
from spine.records import Measurement

RESTS_ON: dict[str, tuple[str, ...]] = {
    "pfirrmann": ("nucleus_csf_signal_ratio", "disc_csf_signal_ratio", "disc_height_index"),
    "modic": (),
    "upper_endplate": (),
    "lower_endplate": (),
    "spondylolisthesis": ("slip_mm", "slip_percent"),
    "herniation": ("bulge_posterior_mm", "canal_ap_diameter_min_mm"),
    "narrowing": ("disc_height_index", "disc_height_middle_mm"),
    "bulging": ("bulge_posterior_mm", "disc_height_middle_mm"),
    "stenosis": ("canal_ap_diameter_min_mm", "canal_narrowing_percent"),
}
NECK_STENOSIS = (
    *("kang_grade", "space_available_cord_min_mm", "subarachnoid_loss_percent", "cord_compression_percent"),
    "cord_signal_ratio",
)
SEEN: dict[str, str] = {
    "modic": "signal of the marrow beside both end plates against the marrow further away",
    "upper_endplate": "signal and outline of the end plate above the disc",
    "lower_endplate": "signal and outline of the end plate below the disc",
    "spondylolisthesis": "slip of the rear corners and step of the outlines beside the disc, the larger one",
    "herniation": "outline of the disc's rear border on the middle slice",
    "stenosis": "width and fluid signal of the canal at the disc on the middle slice",
}
TOLD = "the grade told is the most probable one"
NEEDS_T2 = "no bright fluid in this series (T1-weighted?): T2 is needed, the grade rests on height and shape alone"
ONE_CONTRAST = (
    "one contrast cannot tell the types apart: the split between types 1, 2 and 3 follows their frequency in the "
    "training data, T1 and T2 together are needed"
)
BOTH_CONTRASTS = (
    "type by rule from T1 and T2 (1: dark on T1, bright on T2; 2: bright on T1; 3: dark on both), weighed with their "
    "frequency; types 1 and 3 are too rare in the data (4 and 5 discs) to be checked"
)
FEW = {
    "spondylolisthesis": "learnt from 22 positive discs; without a slip it rests on the step of the outlines, "
    "without either it is their share",
    "herniation": "learnt from about 40 positive discs of single slices",
    "stenosis": "learnt from boxes drawn on single mid-sagittal slices of one hospital",
}


@dataclass(frozen=True)
class Place:
    """One level and what is known about it."""

    level: str
    measurements: Sequence[Measurement]
    fluid_bright: bool
    change: Change | None = None  # what T1 and T2 together show beside the end plates
    t1_missing: str | None = None  # why a T1 series that was given is not used


def evidence_of(name: str, place: Place) -> tuple[str, ...]:
    """Sentences for the grade `name`: measurements with value and unit, what was looked at, limits."""
    found = {m.name: m for m in place.measurements if m.subject == place.level and m.value is not None}
    neck = in_neck(place.level)
    wanted = NECK_STENOSIS if neck and name == "stenosis" else RESTS_ON[name]
    texts = [_told(found[key]) for key in wanted if key in found]
    missing = [key for key in wanted if key not in found]
    if missing:
        texts.append(f"not measured: {', '.join(missing)}")
    if name == "pfirrmann":
        texts += [MIYAZAKI_SAID] if neck else []
        texts += [TOLD] + ([] if place.fluid_bright else [NEEDS_T2])
    if neck and name in BY_RULE:
        return (*texts, RULE_SAID)
    texts += [SEEN[name]] if name in SEEN else []
    if name == "modic":
        texts += _types(place)
    if name in FEW:
        texts.append(FEW[name])
    return tuple(texts)


def _types(place: Place) -> list[str]:
    unused = [] if place.t1_missing is None else [f"the T1 series is not used here: {place.t1_missing}"]
    if place.change is None:
        return [*unused, ONE_CONTRAST]
    change = place.change
    where = f"{change.place}: T1 {change.t1:.2f}, T2 {change.t2:.2f} of the marrow further away"
    return [where, BOTH_CONTRASTS]


def _told(measurement: Measurement) -> str:
    unit = "" if measurement.unit == "1" else f" {measurement.unit}"
    return f"{measurement.name} {measurement.value:.2f}{unit}"
