"""Tables that come with a cohort -> rows in one form: gradings, measurements, outcomes, and who the patients are.

Own layouts (UTF-8 CSV with a header; further columns are passed over):

- gradings:      case, level (`L5/S1`), name (`pfirrmann`, `modic`, ...), grade; of predictions also `probability`
- measurements:  case, subject (`L5/S1`, `L5`, `alignment`, `canal`), name (`disc_height_middle_mm`), value
- outcomes:      case, treatment, outcome, observed (0 or 1); of predictions `probability` in place of `observed`
- records:       case or patient, and any field of the clinical record (resources/clinical.schema.json), empty = missing
- cohort:        case, patient, and any of sex, age_years, vendor, field_strength_t, site, sequence, ...: subgroups

SPIDER's radiological gradings (`Patient`, `IVD label`, `Modic`, ...) are known by their header and belong to a patient,
not to a case. `case` may be left out for `patient` in any table.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.evaluate.cases import Case
from lab.train.fusion_cohort import given_of, report_grades
from spine.anatomy import DISC_LEVELS
from spine.errors import BadClinicalRecord, MissingInput
from spine.fuse.bayes import imaging_features
from spine.fuse.record import read_record

Row = dict[str, Any]
SPIDER_GRADES = {
    "Modic": "modic",
    "UP endplate": "upper_endplate",
    "LOW endplate": "lower_endplate",
    "Spondylolisthesis": "spondylolisthesis",
    "Disc herniation": "herniation",
    "Disc narrowing": "narrowing",
    "Disc bulging": "bulging",
    "Pfirrman grade": "pfirrmann",
    "Pfirrmann grade": "pfirrmann",
}
OWNERS = ("case", "patient")
CLINICAL = "clinical-information-spine.json"  # in a case of the platform's layout
TRUE, FALSE = ("true", "yes"), ("false", "no")


def read_gradings(path: Path) -> list[Row]:
    """Rows of `case` or `patient`, `level`, `name`, `grade` (int) and, where given, `probability` (of true)."""
    rows = _read(path)
    if rows and "IVD label" in rows[0]:
        return [grade for row in rows for grade in _spider(row, path)]
    _require(rows, path, ("level", "name", "grade"))
    known = [_owner(row, path) | {"level": row["level"].strip(), "name": row["name"].strip()} for row in rows]
    for target, row in zip(known, rows, strict=True):
        target["grade"] = int(_number(row["grade"], "grade", path))
        if row.get("probability"):
            target["probability"] = _number(row["probability"], "probability", path)
    return known


def _spider(row: dict[str, str], path: Path) -> list[Row]:
    """One disc of SPIDER's table; label 1 is the lowest disc. Empty cells are left out."""
    number = int(_number(row["IVD label"], "IVD label", path))
    if not 1 <= number <= len(DISC_LEVELS):
        raise MissingInput(f"{path.name}: IVD label {number}; 1 to {len(DISC_LEVELS)} is expected.")
    level = DISC_LEVELS[number - 1]
    return [
        {"patient": row["Patient"].strip(), "level": level, "name": name, "grade": int(_number(text, column, path))}
        for column, name in SPIDER_GRADES.items()
        if (text := (row.get(column) or "").strip())
    ]


def read_measurements(path: Path) -> list[Row]:
    """Rows of `case` or `patient`, `subject`, `name`, `value`; empty values are left out."""
    rows = _read(path)
    _require(rows, path, ("subject", "name", "value"))
    return [
        _owner(row, path)
        | {
            "subject": row["subject"].strip(),
            "name": row["name"].strip(),
            "value": _number(row["value"], "value", path),
        }
        for row in rows
        if row["value"].strip()
    ]


def read_outcomes(path: Path, column: str = "observed") -> list[Row]:
    """Rows of `case` or `patient`, `treatment`, `outcome` and `column`: 'observed' (0, 1) or 'probability' (0..1)."""
    rows = _read(path)
    _require(rows, path, ("treatment", "outcome", column))
    found = []
    for row in rows:
        if not row[column].strip():
            continue
        value = _number(row[column], column, path)
        if not 0 <= value <= 1 or (column == "observed" and value not in (0, 1)):
            raise MissingInput(f"{path.name}: {column} is {value:g}; {'0 or 1' if column == 'observed' else '0 to 1'}.")
        found.append(_owner(row, path) | {key: row[key].strip() for key in ("treatment", "outcome")} | {column: value})
    return found


def read_cohort(path: Path) -> dict[str, dict[str, str]]:
    """Case -> its columns, `patient` among them; cells without text are left out."""
    rows = _read(path)
    _require(rows, path, ("case",))
    return {
        row["case"].strip(): {key: text.strip() for key, text in row.items() if text and text.strip()} for row in rows
    }


def read_records(path: Path) -> list[Row]:
    """Rows of `case` or `patient` and `record`: the clinical record of `coded_record`; raises BadCohort."""
    rows = _read(path)
    return [
        _owner(row, path) | {"record": coded_record(given_of(row, f"{path.name}, line {number}"))}
        for number, row in enumerate(rows, start=2)
    ]


def coded_record(given: Mapping[str, Any]) -> Row:
    """A clinical record as the outcome equations take it: region, indication, and `fields` in their coding."""
    record = read_record(given)
    return {"region": record.region, "indication": record.indication, "fields": dict(record.known)}


def records_of(cases: Iterable[Case]) -> list[Row]:
    """The same rows from the record files of `cases`; a file that cannot be used is that case's failure, not ours."""
    found = []
    for case in cases:
        files = dict(case.files)
        path = Path(files.get("clinical") or Path(files.get("input", ".")) / CLINICAL)
        with suppress(OSError, ValueError, BadClinicalRecord):
            found.append({"case": case.name, "record": coded_record(json.loads(path.read_text(encoding="utf-8")))})
    return found


def with_images(record: Row, folder: Path) -> Row:
    """`record` with the imaging features that the report in `folder` brings; without one as it is."""
    report = _json(folder / "spine-degeneration-report.json")
    if not record["region"] or not report:
        return record
    return record | {"fields": record["fields"] | imaging_features(report_grades(report), record["region"])}


def default_patient(case: str) -> str:
    """Who a case belongs to when no table tells: its name up to the first underscore ('12_t2' -> '12')."""
    return case.partition("_")[0]


def rows_of(rows: list[Row], case: str, patient: str) -> list[Row]:
    """The rows that belong to `case`, or to its patient where a row names no case."""
    return [row for row in rows if row.get("case", case) == case and row.get("patient", patient) == patient]


def predicted(folder: Path) -> dict[str, Any]:
    """What one case's output documents say: gradings, measurements, outcomes, confidence; empty where there is none."""
    report = _json(folder / "spine-degeneration-report.json")
    outcome = _json(folder / "spine-treatment-outcome-prediction.json")
    parts = [(level["level"], level) for level in report.get("levels", ())]
    parts += [(vertebra["name"], vertebra) for vertebra in report.get("vertebrae", ())]
    parts += [(level["level"], level) for level in report.get("muscle", {}).get("levels", ())]
    parts += [(name, {"measurements": report[name]}) for name in ("alignment", "canal") if name in report]
    return {
        "gradings": [row for subject, part in parts for row in _grades(subject, part.get("grades", {}))],
        "measurements": [row for subject, part in parts for row in _values(subject, part["measurements"])],
        "outcomes": [_option(option) for option in outcome.get("options", ())],
        "confidence": report.get("quality", {}).get("confidence", {}),
        "numbering_probability": report.get("numbering", {}).get("probability"),
        "flags": report.get("quality", {}).get("flags", []),
        "software": report.get("software", {}),
        "seconds": sum(report.get("software", {}).get("seconds", {}).values()),
    }


def _grades(level: str, grades: dict[str, Any]) -> list[Row]:
    rows = []
    for name, grade in grades.items():
        row: Row = {"level": level, "name": name}
        if "not_measurable" in grade:
            rows.append(row | {"not_measurable": grade["not_measurable"]})
            continue
        probabilities = grade.get("probabilities") or []
        rows.append(row | {"grade": int(grade["grade"]), "probabilities": probabilities})
    return rows


def _values(subject: str, measurements: dict[str, Any]) -> list[Row]:
    rows = []
    for name, found in measurements.items():
        if isinstance(found, dict):  # a part that is missing as a whole has its reason as a text
            kept = {"value": found["value"]} if "value" in found else {"not_measurable": found.get("not_measurable")}
            rows.append({"subject": subject, "name": name} | kept)
    return rows


def _option(option: dict[str, Any]) -> Row:
    row = {key: option.get(key) for key in ("treatment", "outcome", "horizon_months", "model")}
    if isinstance(option.get("probability"), int | float):
        return row | {"probability": float(option["probability"])}
    return row | {"not_measurable": str(option.get("reason") or "no probability")}


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _read(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise MissingInput(f"{path}: the table cannot be read; a CSV in UTF-8 is expected.") from error
    if not rows:
        raise MissingInput(f"{path.name}: the table is empty.")
    return rows


def _require(rows: list[dict[str, str]], path: Path, columns: tuple[str, ...]) -> None:
    lacking = [column for column in columns if column not in rows[0]]
    if lacking:
        raise MissingInput(f"{path.name}: the column {lacking[0]} is missing; {', '.join(columns)} are expected.")


def _owner(row: dict[str, str], path: Path) -> Row:
    owner = {key: row[key].strip() for key in OWNERS if (row.get(key) or "").strip()}
    if not owner:
        raise MissingInput(f"{path.name}: a row names neither case nor patient.")
    return owner


def _number(text: str, column: str, path: Path) -> float:
    plain = text.strip().lower()
    if plain in TRUE or plain in FALSE:
        return float(plain in TRUE)
    try:
        return float(plain)
    except ValueError:
        raise MissingInput(f"{path.name}: {column} is {text!r}; a number is expected.") from None


READERS: dict[str, Callable[[Path], list[Row]]] = {
    "gradings": read_gradings,
    "measurements": read_measurements,
    "outcomes": read_outcomes,
}
