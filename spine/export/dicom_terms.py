"""Who made the DICOM objects, and our codes in highdicom's form."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import highdicom
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes

from spine.export.codes import OWN_NAME, OWN_SCHEME, OWN_UID, Code

MAKER = "spine"
RESEARCH_ONLY = "research use only"
# Series numbers of our objects: far above those of scanners, so that a list of series shows them last.
SEGMENTATION_SERIES, MEASUREMENT_SERIES, DOCUMENT_SERIES = 9001, 9002, 9003


def concept(code: Code) -> CodedConcept:
    """`code` as highdicom wants it."""
    return CodedConcept(code.value, code.scheme, code.meaning)


def equipment(software: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that tell the maker; `software` is that of the report. Models take the place of a serial number."""
    learnt = "".join(sorted(software["models"].values()))
    return {
        "manufacturer": MAKER,
        "manufacturer_model_name": MAKER,
        "software_versions": str(software["version"]),
        "device_serial_number": uuid.uuid5(uuid.NAMESPACE_OID, learnt).hex[:16],
    }


def device_uid(software: Mapping[str, Any]) -> str:
    """Identifier of this version of the software with these models: the same for equal ones (PS3.5, B.2)."""
    known = software["version"] + "".join(sorted(software["models"].values()))
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, known).int}"


def algorithm(software: Mapping[str, Any]) -> highdicom.AlgorithmIdentificationSequence:
    """The algorithm: name, version, and sha256 of the models."""
    return highdicom.AlgorithmIdentificationSequence(
        name=MAKER,
        version=str(software["version"]),
        family=codes.cid7162.ArtificialIntelligence,
        parameters=dict(software["models"]),
    )


def coding_schemes() -> list[CodingSchemeIdentificationItem]:
    """Our own coding scheme, for objects that use it."""
    return [
        CodingSchemeIdentificationItem(
            designator=OWN_SCHEME, name=OWN_NAME, uid=OWN_UID, responsible_organization=MAKER
        )
    ]
