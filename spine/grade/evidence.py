"""What a grade rests on, in words: the measurements behind it, and what the image cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
SEEN: dict[str, str] = {
    "modic": "signal of the marrow beside both end plates against the marrow further away",
    "upper_endplate": "signal and outline of the end plate above the disc",
    "lower_endplate": "signal and outline of the end plate below the disc",
    "herniation": "outline of the disc's rear border on the middle slice",
    "stenosis": "width and fluid signal of the canal at the disc on the middle slice",
}
NEEDS_T2 = "no bright fluid in this series (T1-weighted?): T2 is needed, the grade rests on height and shape alone"
MODIC_TYPES = (
    "one contrast cannot tell the types apart: the split between types 1, 2 and 3 follows their frequency in the "
    "training data (1, 262 and 5 discs), T1 and T2 together are needed"
)
FEW = {
    "spondylolisthesis": "learnt from 21 positive discs",
    "herniation": "learnt from 39 positive discs of single slices",
    "stenosis": "learnt from boxes drawn on single mid-sagittal slices of one hospital",
}


@dataclass(frozen=True)
class Place:
    """One level and what is known about it."""

    level: str
    measurements: Sequence[Measurement]
    fluid_bright: bool


def evidence_of(name: str, place: Place) -> tuple[str, ...]:
    """Sentences for the grade `name`: measurements with value and unit, what was looked at, limits."""
    found = {m.name: m for m in place.measurements if m.subject == place.level and m.value is not None}
    texts = [_told(found[key]) for key in RESTS_ON[name] if key in found]
    missing = [key for key in RESTS_ON[name] if key not in found]
    if missing:
        texts.append(f"not measured: {', '.join(missing)}")
    if name in SEEN:
        texts.append(SEEN[name])
    if name == "pfirrmann" and not place.fluid_bright:
        texts.append(NEEDS_T2)
    if name == "modic":
        texts.append(MODIC_TYPES)
    if name in FEW:
        texts.append(FEW[name])
    return tuple(texts)


def _told(measurement: Measurement) -> str:
    unit = "" if measurement.unit == "1" else f" {measurement.unit}"
    return f"{measurement.name} {measurement.value:.2f}{unit}"
