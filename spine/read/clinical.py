"""The clinical record: JSON -> checked mapping. A fault is one sentence that names field, value and what is allowed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from spine.errors import BadClinicalRecord
from spine.read.text import json_document, printable
from spine.resources import load_schema, violations

SCHEMA = "clinical.schema.json"
MAX_BYTES = 1_000_000  # a full record has about 1 kB
PAIN_SCORES = ("nrs_back", "nrs_leg", "nrs_neck", "nrs_arm")  # whole numbers as a rule, 0 to 10
BMI_TOLERANCE_KG_M2 = 1.5  # a stated BMI may be rounded or some weeks old


def read_clinical(path: Path, where: str) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The record in the JSON file `path` and flags; `where` names the file in messages.

    The result holds exactly the fields that were given; `levels_planned` is a list of segments or a whole number, as
    it was given. Raises BadClinicalRecord for anything resources/clinical.schema.json forbids.
    """
    record = json_document(path, where, MAX_BYTES, BadClinicalRecord)
    if not isinstance(record, dict):
        raise BadClinicalRecord(f"{where}: the file holds {_shown(record)}; one JSON object is expected.")
    faults = sorted(violations(record, SCHEMA), key=lambda fault: (list(map(str, fault.path)), fault.validator))
    if faults:
        raise BadClinicalRecord(f"{where}: {_explain(faults[0], record)}")
    levels = record.get("levels_planned")
    if isinstance(levels, float):
        record["levels_planned"] = int(levels)
    return record, (*_body_mass(record, where), *_small_scores(record))


def _explain(fault: Any, record: Mapping[str, Any]) -> str:
    """One jsonschema ValidationError as the rest of a sentence."""
    known = fault.schema.get("properties", {})
    if fault.validator == "additionalProperties":
        field = next(name for name in record if name not in known)
        near = get_close_matches(field, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known fields are {', '.join(known)}."
        return f"{printable(field)} is not a known field; {hint}"
    field = fault.path[0]
    value = record[field]
    unknown = " (leave the field out when it is not known)" if value is None else ""
    return f"{field} is {_shown(value)}; {_expected(field)} is expected{unknown}."


def _expected(field: str) -> str:
    return str(load_schema(SCHEMA)["properties"][field]["description"])


def _shown(value: Any) -> str:
    return printable(json.dumps(value, ensure_ascii=False))


def _body_mass(record: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Check height and weight, each allowed alone, against each other and against a stated body mass index."""
    if not {"height_cm", "weight_kg"} <= record.keys():
        return ()
    derived = record["weight_kg"] / (record["height_cm"] / 100) ** 2
    if next(violations({"bmi_kg_m2": derived}, SCHEMA), None) is not None:
        raise BadClinicalRecord(
            f"{where}: height_cm and weight_kg give a body mass index of {derived:.1f}; "
            f"{_expected('bmi_kg_m2')} is expected."
        )
    stated = record.get("bmi_kg_m2", derived)
    if abs(derived - stated) <= BMI_TOLERANCE_KG_M2:
        return ()
    return (f"clinical record: bmi_kg_m2 is {stated:g} but height_cm and weight_kg give {derived:.1f}",)


def _small_scores(record: Mapping[str, Any]) -> tuple[str, ...]:
    """A flag for each pain score that may have been given as a share of 1: the schema cannot refuse it.

    A score of 0 to 10 that was taken from a scale of 0 to 100 and is small passes unseen: 7 of 100 is also a sound 7.
    """
    small = [name for name in PAIN_SCORES if 0 < record.get(name, 0) < 1]
    return tuple(
        f"clinical record: {name} is {record[name]:g}, less than 1 of 10: it may have been given as a share of 1"
        for name in small
    )
