"""Public codes of structures, findings and units, and our own for what has none: resources/codes.json."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from spine import anatomy
from spine.resources import load_schema

TABLE = "codes.json"
# Our own scheme: the names of spine-degeneration-report.json. 99 marks it as private; the UID was made once, at random.
OWN_SCHEME, OWN_UID = "99SPINE", "2.25.45329927019852719042652925122548578837"
OWN_NAME = "Names of spine-degeneration-report.json"
SYSTEMS = {"SCT": "http://snomed.info/sct", "LN": "http://loinc.org", "UCUM": "http://unitsofmeasure.org"}
UNIT_SUFFIXES = ("_mm", "_mm2", "_mm3", "_deg", "_percent", "_ratio", "_years", "_prob")


@dataclass(frozen=True)
class Code:
    """One concept: DICOM's designator of its scheme, its code there, its meaning."""

    scheme: str
    value: str
    meaning: str

    @property
    def system(self) -> str:
        """URI of the scheme in FHIR."""
        return SYSTEMS.get(self.scheme, f"urn:oid:{OWN_UID}")


@lru_cache(maxsize=1)
def _table() -> Any:
    return load_schema(TABLE)


def own_code(value: str, meaning: str) -> Code:
    """A concept of our own scheme."""
    return Code(OWN_SCHEME, value, meaning)


def code(group: str, name: str) -> Code:
    """The concept `name` of a `group` of resources/codes.json; KeyError where there is none."""
    return Code(*_table()[group][name])


def structure_code(label: int) -> Code:
    """The anatomical structure that carries `label` in the mask: a vertebra, a disc or the spinal canal."""
    if label == anatomy.CANAL_LABEL:
        return code("structures", "canal")
    if label > anatomy.DISC_OFFSET:
        return code("discs", anatomy.disc_level(label))
    return code("vertebrae", anatomy.vertebra_name(label % anatomy.PARTIAL_OFFSET))


def measurement_code(name: str) -> Code:
    """What the measurement `name` of the report measures; its own name is its code where no public one fits."""
    known = _table()["measurements"].get(name)
    if known:
        return Code(*known)
    words = next((name.removesuffix(end) for end in UNIT_SUFFIXES if name.endswith(end)), name).replace("_", " ")
    return own_code(name, (words[:1].upper() + words[1:])[:64])


def unit_code(unit: str) -> Code:
    """The UCUM unit `unit`."""
    return Code("UCUM", unit, _table()["units"].get(unit, unit))


def questionnaires() -> dict[str, dict[str, Any]]:
    """Field of the clinical record -> `code`, `text`, `unit` and, for pain, `site`."""
    fields: dict[str, dict[str, Any]] = _table()["questionnaires"]
    return fields
