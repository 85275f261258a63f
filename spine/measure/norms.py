"""z-scores and percentiles against resources/norms.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import erf, sqrt
from pathlib import Path
from typing import Any

from spine.records import Measurement

NORMS_FILE = Path(__file__).resolve().parents[2] / "resources" / "norms.json"
SEXES = ("female", "male")
WEAK_TAG = "M-lo"  # general knowledge of low confidence: never turned into a z-score


@dataclass(frozen=True)
class Norm:
    """Mean and standard deviation that apply to one person, and where they come from."""

    mean: float
    sd: float | None
    text: str  # source, tag and what was known of the person
    refused: str | None  # why no z-score is computed, if so


@cache
def load_norms() -> Mapping[str, Any]:
    """The whole of resources/norms.json; its rows are keyed by (measurement, subject) under 'index'."""
    data: dict[str, Any] = json.loads(NORMS_FILE.read_text(encoding="utf-8"))
    data["index"] = {(row["measurement"], subject): row for row in data["norms"] for subject in row["subjects"]}
    return data


def compare(measurement: Measurement, clinical: Mapping[str, Any] | None) -> Measurement:
    """`measurement` with z-score, percentile (normal distribution) and reference where a norm fits; else unchanged."""
    if measurement.value is None:
        return measurement
    norm = find_norm(measurement.name, measurement.subject, clinical or {})
    if norm is None:
        return measurement
    reference = "; ".join(part for part in (measurement.reference, norm.text) if part)
    if norm.refused is not None or norm.sd is None:
        why = norm.refused or "the source gives no standard deviation"
        return replace(measurement, reference=f"{reference}; no z-score: {why}")
    z = (measurement.value - norm.mean) / norm.sd
    percentile = 50 * (1 + erf(z / sqrt(2)))
    return replace(measurement, z=round(z, 3), percentile=round(percentile, 2), reference=reference)


def find_norm(name: str, subject: str, clinical: Mapping[str, Any]) -> Norm | None:
    """The norm of measurement `name` at `subject`; `clinical` (may be empty) tells sex, age and stature."""
    data = load_norms()
    row = data["index"].get((name, subject))
    if row is None:
        return None
    source = data["sources"][row["source"]]
    values, known = _by_age(row, clinical)
    mean, sd, sex_text = _by_sex(values, clinical)
    if sex_text is not None:
        known.append(sex_text)
    factor, size_text = _by_stature(row, data["stature_scaling"], clinical)
    if size_text is not None:
        known.append(size_text)
    if "beside" in row:
        known.append(row["beside"])  # what another source says of the same
    spread = "" if sd is None else f" +- {sd:.4g}"
    text = f"norm {mean * factor:.4g}{spread} [{row['tag']}], {source['citation']}"
    return Norm(mean * factor, sd, "; ".join([text, *known]), _refusal(row))


def _refusal(row: Mapping[str, Any]) -> str | None:
    if row["tag"] == WEAK_TAG:
        return f"the norm is tagged {WEAK_TAG}"
    reason: str | None = row.get("no_z")
    return reason


def _by_age(row: Mapping[str, Any], clinical: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """The age band that fits (the middle one when the age is unknown), or the row itself where there are no bands."""
    bands = row.get("ages")
    if bands is None:
        return row, []
    age = clinical.get("age_years")
    if age is None:
        band = bands[len(bands) // 2]
        return band, [f"unknown age: {band['from_years']}-{band['to_years']} years taken"]
    fitting = [b for b in bands if b["from_years"] <= age < b["to_years"]]
    band = fitting[0] if fitting else bands[0] if age < bands[0]["from_years"] else bands[-1]
    return band, [f"{band['from_years']}-{band['to_years']} years"]


def _by_sex(values: Mapping[str, Any], clinical: Mapping[str, Any]) -> tuple[float, float | None, str | None]:
    """Mean, SD and a word on the sex; both sexes are pooled in equal parts where the source gives no pooled row."""
    if "mean" in values:
        return values["mean"], values.get("sd"), None
    sex = clinical.get("sex")
    if sex in SEXES:
        return values[sex]["mean"], values[sex].get("sd"), str(sex)
    if "pooled" in values:
        return values["pooled"]["mean"], values["pooled"].get("sd"), "unknown sex: pooled"
    means = [values[s]["mean"] for s in SEXES]
    sds = [values[s].get("sd") for s in SEXES]
    mean = sum(means) / 2
    if None in sds:
        return mean, None, "unknown sex: pooled"
    variance = sum(s**2 + (m - mean) ** 2 for m, s in zip(means, sds, strict=True)) / 2
    return mean, sqrt(variance), "unknown sex: pooled"


def _by_stature(
    row: Mapping[str, Any], scaling: Mapping[str, Any], clinical: Mapping[str, Any]
) -> tuple[float, str | None]:
    """Factor on the mean: predicted size at the person's stature over that at the stature the norm stands for."""
    kind = row.get("scale")
    if kind is None:
        return 1.0, None
    stature_cm = clinical.get("height_cm")
    if stature_cm is None:
        return 1.0, f"unknown stature: {scaling['reference_stature_cm']:.0f} cm taken"
    own, usual = (_predicted_mm(kind, s, scaling) for s in (stature_cm, scaling["reference_stature_cm"]))
    return own / usual, f"scaled to a stature of {stature_cm:.0f} cm"


def _predicted_mm(kind: str, stature_cm: float, scaling: Mapping[str, Any]) -> float:
    """Body height, or depth from it, of a middle lumbar vertebra (CELavecchia/LMG, EVIDENCE section 6)."""
    spine_cm = (stature_cm - scaling["spine_offset_cm"]) / scaling["spine_slope"]
    height_mm = float(scaling["height_mm_per_cm"] * spine_cm)
    if kind == "height":
        return height_mm
    return float(scaling["depth_per_height"] * height_mm + scaling["depth_offset_mm"])
