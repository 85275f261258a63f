"""A collaborator's cohort: one row a patient, fields of the clinical record, the outcome, optionally a report file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spine.errors import BadClinicalRecord, InputError
from spine.fuse.bayes import imaging_features
from spine.fuse.findings import FIRST_GRADE
from spine.fuse.record import read_record
from spine.records import Grade
from spine.resources import load_schema

Array = NDArray[np.float64]

PATIENT, REPORT = "patient", "report"  # columns beside those of the clinical record
YES, NO = ("1", "true", "yes"), ("0", "false", "no")
PATIENTS_MIN = 50
EVENTS_MIN = 10  # of either outcome


class BadCohort(InputError):
    """The cohort file cannot be used: names the row or column, what is wrong and what is expected."""


@dataclass(frozen=True)
class Cohort:
    """Patients with a known outcome."""

    records: tuple[Mapping[str, float | str], ...]  # coded fields and 'imaging.<feature>'; missing ones are absent
    outcome: Array  # (patient,) 0 or 1
    indication: str | None
    without_outcome: int  # rows left out
    sha256: str
    name: str


def _flag(text: str) -> bool:
    if text.lower() in YES or text.lower() in NO:
        return text.lower() in YES
    raise ValueError(f"{text!r} is neither {', '.join(YES)} nor {', '.join(NO)}")


def _value(name: str, text: str, properties: Mapping[str, Any]) -> Any:
    """Text of one cell as the clinical record's JSON would hold it."""
    kind = properties[name].get("type")
    if kind == "boolean":
        return _flag(text)
    if kind == "number":
        return float(text)
    return int(float(text)) if name == "levels_planned" else text


def report_grades(report: Mapping[str, Any]) -> tuple[Grade, ...]:
    """Grades of a spine-degeneration-report.json."""
    found = []
    for row in report.get("levels", []):
        for name, entry in row.get("grades", {}).items():
            if "grade" in entry and (name in FIRST_GRADE or isinstance(entry["grade"], bool)):
                found.append(Grade(row["level"], name, entry["grade"], tuple(entry.get("probabilities", ()))))
    return tuple(found)


def given_of(row: Mapping[str, str], where: str) -> dict[str, Any]:
    """The clinical record in one row of a table, as its JSON would hold it; empty cells and other columns left out.

    Raises BadCohort, which begins with `where`, for a value that is not allowed.
    """
    properties = load_schema("clinical.schema.json")["properties"]
    try:
        given = {n: _value(n, t.strip(), properties) for n, t in row.items() if n in properties and t and t.strip()}
        read_record(given)
    except (ValueError, BadClinicalRecord) as error:
        raise BadCohort(f"{where}: {error}") from error
    return given


def _record(row: Mapping[str, str], where: str, folder: Path, region: str) -> dict[str, float | str]:
    """Coded record of one row, with imaging features when a report is named."""
    try:
        known = dict(read_record({"region": region, **given_of(row, where)}).known)
    except BadClinicalRecord as error:
        raise BadCohort(f"{where}: {error}") from error
    if row.get(REPORT):
        path = folder / row[REPORT]
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadCohort(f"{where}: the report {row[REPORT]!r} cannot be read ({error}).") from error
        known.update(imaging_features(report_grades(report), region))
    return known


def outcome_column(names: Sequence[str], outcome: str, months: int) -> str:
    """`outcome`_`months`_months, or plain `outcome`; raises BadCohort when neither is a column."""
    for name in (f"{outcome}_{months}_months", outcome):
        if name in names:
            return name
    raise BadCohort(f"the cohort has no column {outcome}_{months}_months or {outcome}; it has {', '.join(names)}.")


def read_cohort(path: Path, region: str, outcome: str, months: int, indication: str | None = None) -> Cohort:
    """Read `path`, a CSV with one row a patient.

    Columns: any field of the clinical record (empty = missing), the outcome as yes or no, optionally `patient` (no
    value twice) and `report` (path of the patient's spine-degeneration-report.json, relative to the CSV).

    Raises:
        BadCohort: an unknown column or value, two indications, a patient twice, or too few patients or outcomes.
    """
    try:
        raw = path.read_bytes()
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise BadCohort(f"{path.name} cannot be read as CSV ({error}).") from error
    table = table.map(str.strip)
    target = outcome_column(list(table.columns), outcome, months)
    _check_columns(table, path.name)
    named = sorted({text for text in table.get("indication", pd.Series(dtype=str)) if text})
    if indication is None and len(named) > 1:
        raise BadCohort(f"{path.name} holds several indications ({', '.join(named)}): choose one with --indication.")
    if indication is not None and named:
        table = table[table["indication"] == indication]
    known_outcome = table[table[target] != ""]
    rows = known_outcome.to_dict("records")
    numbers = [int(i) + 2 for i in known_outcome.index]  # line of the file, the header being line 1
    try:
        results = np.array([float(_flag(row[target])) for row in rows])
    except ValueError as error:
        raise BadCohort(f"{path.name}, column {target}: {error}.") from error
    _check_size(results, path.name)
    records = [
        _record(row, f"{path.name}, line {n}", path.parent, region) for row, n in zip(rows, numbers, strict=True)
    ]
    return Cohort(
        records=tuple(records),
        outcome=results,
        indication=indication or next(iter(named), None),
        without_outcome=len(table) - len(known_outcome),
        sha256=hashlib.sha256(raw).hexdigest(),
        name=path.name,
    )


def _check_columns(table: pd.DataFrame, name: str) -> None:
    known = {*load_schema("clinical.schema.json")["properties"], PATIENT, REPORT}
    endings = ("satisfied", "pain_gone_or_much_better", "odi_22_or_less", "_months")
    odd = [column for column in table.columns if column not in known and not column.endswith(endings)]
    if odd:
        raise BadCohort(f"{name}: column {odd[0]!r} is no field of the clinical record and no outcome.")
    if PATIENT in table:
        twice = table[PATIENT][table[PATIENT].duplicated() & (table[PATIENT] != "")]
        if len(twice):
            raise BadCohort(f"{name}: patient {twice.iloc[0]!r} occurs twice; one row a patient is expected.")


def _check_size(results: Array, name: str) -> None:
    events = int(results.sum())
    fewest = min(events, len(results) - events)
    if len(results) < PATIENTS_MIN or fewest < EVENTS_MIN:
        raise BadCohort(
            f"{name}: {len(results)} patients with a known outcome, {events} of them with success; at least "
            f"{PATIENTS_MIN} patients with {EVENTS_MIN} of either outcome are needed."
        )
