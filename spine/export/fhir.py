"""A finished report as a FHIR R4 bundle: DiagnosticReport, Observations, the software. It names no patient.

Where DICOM came in it refers to the imaging study by its identifier and states when that was made: a receiver who
holds the study can find it, nobody else learns who it was.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from spine.errors import SoftwareError
from spine.export.absence import DISPLAY, absence_code
from spine.export.codes import Code, code, measurement_code, own_code, questionnaires, unit_code
from spine.export.contents import MISSING, Finding, notes, number, places
from spine.records import Report
from spine.resources import violations

SCHEMA = "fhir-r4.schema.json"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
RESEARCH = {"system": f"{TERMINOLOGY}/v3-ActReason", "code": "HRESCH", "display": "healthcare research"}
ABSENT_EXTENSION = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
PRELIMINARY, FINAL = "preliminary", "final"  # nobody has verified what the software found; scores are as given
STATISTICS = {
    "z": (own_code("z_score", "Standard deviations from the mean of the reference"), "1"),
    "percentile": (own_code("percentile", "Percentile of the reference"), "%"),
}
GENDERS = {"female", "male"}
NO_REFERENCE = "no reference values"  # what the report states where it has nothing to state


@dataclass(frozen=True)
class Names:
    """References inside one bundle: the same for the same image, software and clinical record."""

    seed: uuid.UUID

    def url(self, what: str) -> str:
        """URN of the resource `what`."""
        return f"urn:uuid:{uuid.uuid5(self.seed, what)}"

    def reference(self, what: str) -> dict[str, str]:
        """A reference to the resource `what`."""
        return {"reference": self.url(what)}


@dataclass(frozen=True)
class Imaging:
    """The study that the images belong to, as far as their headers tell."""

    study_uid: str
    effective: str | None  # FHIR dateTime: a date, with a time where the offset from UTC is known


def fhir_bundle(report: Report, imaging: Imaging | None = None, issued: datetime | None = None) -> bytes:
    """spine-fhir.json: a collection in UTF-8. What was not measurable is an Observation with dataAbsentReason.

    `imaging` is None where no DICOM came in; `issued`, with its time zone, is by default now.
    Outcome probabilities of treatments are left to the page (presentedForm): they are no observations.
    Raises SoftwareError where the bundle breaks resources/fhir-r4.schema.json.
    """
    document = report.report
    names = _names(document)
    times = _times(imaging, issued or datetime.now(UTC))
    observations = {what: resource for what, resource in _observations(document, names, times)}
    resources = {
        "report": {**_diagnostic_report(report, names, list(observations)), **times, **_study(imaging)},
        "patient": _patient(document),
        "software": _device(document["software"], document["provenance"]["intended_use"]),
        **observations,
    }
    bundle = {
        "resourceType": "Bundle",
        "meta": {"security": [RESEARCH]},
        "type": "collection",
        "entry": [{"fullUrl": names.url(what), "resource": resource} for what, resource in resources.items()],
    }
    broken = next(violations(bundle, SCHEMA), None)
    if broken is not None:
        place = "/".join(str(part) for part in broken.absolute_path) or "the bundle"
        raise SoftwareError(f"spine-fhir.json: {place} breaks the schema {SCHEMA} ({broken.validator}).")
    return (json.dumps(bundle, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode("utf-8")


def _names(document: Mapping[str, Any]) -> Names:
    software = document["software"]
    known = (document["provenance"]["image_sha256"], software["version"], software["models"], document["input"])
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode("utf-8")).digest()
    return Names(uuid.UUID(bytes=digest[:16], version=5))


def _times(imaging: Imaging | None, issued: datetime) -> dict[str, Any]:
    """When the images were made and when this was: of the report and of what was found in the images."""
    told = issued.astimezone(UTC).isoformat(timespec="milliseconds")
    if imaging is None or imaging.effective is None:
        absent = {"url": ABSENT_EXTENSION, "valueCode": "unknown"}
        return {"_effectiveDateTime": {"extension": [absent]}, "issued": told}
    return {"effectiveDateTime": imaging.effective, "issued": told}


def _study(imaging: Imaging | None) -> dict[str, Any]:
    """Reference to the imaging study by its UID, which the receiver resolves; none where no DICOM came in."""
    if imaging is None:
        return {}
    identifier = {"system": "urn:dicom:uid", "value": f"urn:oid:{imaging.study_uid}"}
    return {"imagingStudy": [{"type": "ImagingStudy", "identifier": identifier}]}


def _concept(*codes: Code, text: str | None = None) -> dict[str, Any]:
    coding = [{"system": one.system, "code": one.value, "display": one.meaning} for one in codes]
    return {"coding": coding, **({"text": text} if text else {})}


def _quantity(value: float, unit: str) -> dict[str, Any]:
    known = unit_code(unit)
    return {"value": value, "unit": known.meaning, "system": known.system, "code": unit}


def _diagnostic_report(report: Report, names: Names, results: list[str]) -> dict[str, Any]:
    document = report.report
    page = {
        "contentType": "application/pdf",
        "language": "en",
        "data": base64.b64encode(report.pdf).decode("ascii"),
        "size": len(report.pdf),
        "hash": base64.b64encode(hashlib.sha1(report.pdf, usedforsecurity=False).digest()).decode("ascii"),
        "title": "Report on the spine",
    }
    radiology = {"system": f"{TERMINOLOGY}/v2-0074", "code": "NMR", "display": "Nuclear Magnetic Resonance"}
    return {
        "resourceType": "DiagnosticReport",
        "status": PRELIMINARY,
        "category": [{"coding": [radiology]}],
        "code": _concept(code("documents", "spine mr")),
        "subject": names.reference("patient"),
        "result": [names.reference(what) for what in results],
        "conclusion": _conclusion(document),
        "presentedForm": [page],
    }


def _conclusion(document: Mapping[str, Any]) -> str:
    return " ".join(f"{note.rstrip('.')}." for note in notes(document))


def _patient(document: Mapping[str, Any]) -> dict[str, Any]:
    """Someone to be the subject, with the sex of the clinical record; the receiver knows who it is."""
    gender = document["input"]["clinical"].get("sex")
    return {"resourceType": "Patient", **({"gender": gender} if gender in GENDERS else {})}


def _device(software: Mapping[str, Any], intended_use: str) -> dict[str, Any]:
    models = [{"type": {"text": f"sha256 of {name}"}, "value": digest} for name, digest in software["models"].items()]
    return {
        "resourceType": "Device",
        "deviceName": [{"name": software["name"], "type": "model-name"}],
        "version": [{"value": software["version"]}, *models],
        "note": [{"text": intended_use}],
    }


def _observations(
    document: Mapping[str, Any], names: Names, times: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name within the bundle and resource of every Observation; `times` are those of the images' findings."""
    for place in places(document):
        for name, measurement in place.measurements.items():
            head = {**_observation(measurement_code(name), place.site, names), **times}
            yield f"{place.title}/{name}", {**head, **_measured(measurement)}
        for finding in place.findings:
            head = {**_observation(code("findings", finding.name), place.site, names), **times}
            yield f"{place.title}/{finding.name}", {**head, **_answered(finding)}
    yield from _scores(document["input"]["clinical"], names)


def _observation(what: Code, site: Code, names: Names) -> dict[str, Any]:
    imaging = {"system": f"{TERMINOLOGY}/observation-category", "code": "imaging", "display": "Imaging"}
    return {
        "resourceType": "Observation",
        "status": PRELIMINARY,
        "category": [{"coding": [imaging]}],
        "code": _concept(what),
        "subject": names.reference("patient"),
        "bodySite": _concept(site),
        "device": names.reference("software"),
    }


def _absent(reason: str) -> dict[str, Any]:
    kind = absence_code(reason)
    coding = {"system": f"{TERMINOLOGY}/data-absent-reason", "code": kind, "display": DISPLAY[kind]}
    return {"dataAbsentReason": {"coding": [coding], "text": reason}}


def _measured(measurement: Mapping[str, Any]) -> dict[str, Any]:
    if MISSING in measurement:
        return _absent(measurement[MISSING])
    statistics = [
        {"code": _concept(what), "valueQuantity": _quantity(position, unit)}
        for key, (what, unit) in STATISTICS.items()
        if (position := number(measurement, key)) is not None
    ]
    value = {"valueQuantity": _quantity(measurement["value"], measurement["unit"])}
    reference = measurement.get("reference", NO_REFERENCE)
    if statistics:
        return {**value, "referenceRange": [{"text": reference}], "component": statistics}
    return value if reference == NO_REFERENCE else {**value, "method": {"text": reference}}


def _answered(finding: Finding) -> dict[str, Any]:
    if finding.answer is None:
        return _absent(finding.missing or "unknown")
    kind = "valueBoolean" if isinstance(finding.answer, bool) else "valueInteger"
    if finding.probability is None:
        return {kind: finding.answer}
    what = own_code("probability", "Probability of this grade" if kind == "valueInteger" else "Probability of presence")
    return {
        kind: finding.answer,
        "component": [{"code": _concept(what), "valueQuantity": _quantity(finding.probability, "1")}],
    }


def _scores(clinical: Mapping[str, Any], names: Names) -> Iterator[tuple[str, dict[str, Any]]]:
    """Scores of questionnaires as the clinical record gives them."""
    survey = {"system": f"{TERMINOLOGY}/observation-category", "code": "survey", "display": "Survey"}
    for field, about in questionnaires().items():
        if field in clinical:
            site = {"bodySite": _concept(Code(*about["site"]))} if "site" in about else {}
            yield (
                f"clinical/{field}",
                {
                    "resourceType": "Observation",
                    "status": FINAL,
                    "category": [{"coding": [survey]}],
                    "code": _concept(Code(*about["code"]), text=about["text"]),
                    "subject": names.reference("patient"),
                    **site,
                    "valueQuantity": _quantity(clinical[field], about["unit"]),
                },
            )
