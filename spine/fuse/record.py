"""The clinical record as the equations need it: checked, with what follows from it, without what is missing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spine.errors import BadClinicalRecord
from spine.fuse.wording import plain
from spine.resources import violations

SCHEMA = "clinical.schema.json"
CERVICAL_INDICATIONS = ("cervical_radiculopathy",)
ADULT_YEARS = 18.0  # every equation was fitted on adults


@dataclass(frozen=True)
class Record:
    """A checked clinical record."""

    known: Mapping[str, float | str]  # numbers, flags as 0 or 1, words as they are; missing fields are absent
    region: str | None  # 'lumbar' or 'cervical'
    indication: str | None
    warnings: tuple[str, ...] = ()
    conflict: str | None = None  # one phrase, when region and indication contradict each other


def check(record: Mapping[str, Any]) -> None:
    """Raise BadClinicalRecord for the first value that resources/clinical.schema.json does not allow."""
    for name, value in record.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise BadClinicalRecord(f"Clinical record: {name} is {value}; a finite number is expected.")
    faults = sorted(violations(record, SCHEMA), key=lambda fault: (list(map(str, fault.path)), fault.validator))
    if not faults:
        return
    fault = faults[0]
    properties = fault.schema.get("properties", {})
    if fault.validator == "additionalProperties":
        unknown = next(name for name in record if name not in properties)
        raise BadClinicalRecord(f"Clinical record: {unknown!r} is not a known field.")
    name = str(fault.path[0]) if fault.path else "it"
    shown = json.dumps(record.get(name), default=str)
    allowed = _allowed(fault)
    raise BadClinicalRecord(f"Clinical record: {name} is {shown}; {allowed} is expected.")


def _allowed(fault: Any) -> str:
    return str(fault.schema.get("description", f"a value that satisfies {fault.validator} {fault.validator_value!r}"))


def _coded(name: str, value: Any) -> float | str:
    if name == "levels_planned" and isinstance(value, list | tuple):
        return float(len(value))
    return value if isinstance(value, str) else float(value)


def _derived(known: dict[str, float | str]) -> list[str]:
    """Add what follows from the record by definition; returns warnings."""
    height, weight = known.get("height_cm"), known.get("weight_kg")
    if "bmi_kg_m2" not in known and height is not None and weight is not None:
        known["bmi_kg_m2"] = float(weight) / (float(height) / 100) ** 2
        if next(violations({"bmi_kg_m2": known["bmi_kg_m2"]}, SCHEMA), None):
            raise BadClinicalRecord(
                f"Clinical record: height_cm {height} and weight_kg {weight} give a body mass index of "
                f"{known['bmi_kg_m2']:.1f}, which is out of range."
            )
    if known.get("employed") == 1.0 and known.get("unemployed") == 1.0:
        del known["employed"], known["unemployed"]
        return ["employed and unemployed are both true: neither was used"]
    if known.get("employed") == 1.0:
        known["unemployed"] = 0.0  # the reverse does not hold: a pensioner is neither
    if known.get("unemployed") == 1.0:
        known["employed"] = 0.0
    return []


def read_record(clinical: Mapping[str, Any] | None) -> Record:
    """Check `clinical` and bring it to the equations' coding; a field that is None counts as missing.

    Raises:
        BadClinicalRecord: an unknown field or a value out of range.
    """
    given = {name: value for name, value in (clinical or {}).items() if value is not None}
    check(given)
    known = {name: _coded(name, value) for name, value in given.items()}
    warnings = _derived(known)
    region, indication = given.get("region"), given.get("indication")
    conflict = None
    if indication is not None:
        own = "cervical" if indication in CERVICAL_INDICATIONS else "lumbar"
        if region not in (None, own):
            conflict = f"the record names region {region} but indication {plain(str(indication))}, which is {own}"
        region = own
    return Record(known, region, indication, tuple(warnings), conflict)
