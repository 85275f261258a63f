"""Measurements and grades as a DICOM structured report, template TID 1500 of PS3.16."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import highdicom
from highdicom import sr
from highdicom.seg import Segmentation
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from spine.export.codes import Code, code, measurement_code, own_code, unit_code
from spine.export.contents import MISSING, Finding, Place, number, places
from spine.export.dicom_terms import (
    MAKER,
    MEASUREMENT_SERIES,
    RESEARCH_ONLY,
    coding_schemes,
    concept,
    device_uid,
    equipment,
)

STATISTICS = {"z": codes.DCM.ZScoreOfMeasurement, "percentile": codes.DCM.PercentileRankingOfMeasurement}
STATISTIC_UNITS = {"z": "1", "percentile": "%"}
NOTE = own_code("note", "Note")
NOT_MEASURABLE = own_code(MISSING, "Not measurable")
Group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations | sr.MeasurementsAndQualitativeEvaluations


def measurement_report(
    report: Mapping[str, Any], segmentation: Segmentation | None, images: Sequence[Dataset]
) -> sr.Comprehensive3DSR:
    """spine-degeneration-report.json as a Comprehensive 3D SR (TID 1500), unverified and preliminary.

    A place that is a segment of `segmentation` becomes a volumetric group (TID 1411) that refers to it, any other a
    plain group (TID 1501). What was not measurable stands in its group as text with the reason.
    """
    software = report["software"]
    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=device_uid(software), name=MAKER, manufacturer_name=MAKER, model_name=MAKER
        ),
    )
    found = {place.title: (place, _group(place, segmentation, images)) for place in places(report)}
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=concept(code("documents", "spine mr")),
        imaging_measurements=[group for _, group in found.values()],
        title=codes.DCM.ImagingMeasurementReport,
    )
    document = sr.Comprehensive3DSR(
        evidence=[*images, *([segmentation] if segmentation is not None else [])],
        content=content,
        series_instance_uid=highdicom.UID(),
        series_number=MEASUREMENT_SERIES,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        is_complete=True,
        is_verified=False,
        series_description=f"Measurements of the spine ({RESEARCH_ONLY})",
        coding_schemes=coding_schemes(),
        **equipment(software),
    )
    # The document holds the groups themselves. Filled only now, they are not copied and searched over and over while
    # it is made, which takes three times as long as everything else here.
    for place, group in found.values():
        group[0].ContentSequence.extend(_content(place))
    return document


def _group(place: Place, segmentation: Segmentation | None, images: Sequence[Dataset]) -> Group:
    shared: dict[str, Any] = {
        "finding_type": concept(place.structure),
        "finding_sites": [sr.FindingSite(anatomic_location=concept(place.site))],
    }
    if segmentation is None or place.label is None or place.label not in segmentation.segment_numbers:
        tracking = sr.TrackingIdentifier(identifier=place.title, uid=highdicom.UID())
        return sr.MeasurementsAndQualitativeEvaluations(tracking, **shared)
    segment = segmentation.get_segment_description(place.label)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        sr.TrackingIdentifier(identifier=segment.tracking_id, uid=segment.tracking_uid),
        referenced_segment=_segment_reference(segmentation, place.label, images),
        **shared,
    )


def _content(place: Place) -> Iterator[sr.ContentItem]:
    """What was found at `place`, in the order of the template: numbers, answers, and what is missing."""
    for measurement in (*_measurements(place), *_probabilities(place.findings)):
        yield from measurement
    for evaluation in _evaluations(place.findings):
        yield from evaluation
    for name, text in (*_missing(place), *((NOTE, note) for note in place.notes)):
        yield sr.TextContentItem(concept(name), text, relationship_type=sr.RelationshipTypeValues.CONTAINS)


def _segment_reference(segmentation: Segmentation, label: int, images: Sequence[Dataset]) -> sr.ReferencedSegment:
    return sr.ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=label,
        source_series=sr.SourceSeriesForSegmentation(images[0].SeriesInstanceUID),
    )


def _measurements(place: Place) -> Iterator[sr.Measurement]:
    for name, found in place.measurements.items():
        if MISSING in found:
            continue
        statistics = [
            sr.NumContentItem(
                name=kind,
                value=value,
                unit=concept(unit_code(STATISTIC_UNITS[key])),
                relationship_type=sr.RelationshipTypeValues.HAS_PROPERTIES,
            )
            for key, kind in STATISTICS.items()
            if (value := number(found, key)) is not None
        ]
        properties = None
        if statistics:
            against = sr.MeasurementStatisticalProperties(values=statistics, authority=found["reference"])
            properties = sr.MeasurementProperties(measurement_statistical_properties=against)
        yield sr.Measurement(
            name=concept(measurement_code(name)),
            value=found["value"],
            unit=concept(unit_code(found["unit"])),
            properties=properties,
        )


def _probabilities(findings: Iterable[Finding]) -> Iterator[sr.Measurement]:
    for finding in findings:
        if finding.probability is not None:
            what = code("findings", finding.name).meaning
            name = own_code(f"{finding.name}_prob", f"Probability: {what}"[:64])
            yield sr.Measurement(name=concept(name), value=finding.probability, unit=concept(unit_code("1")))


def _evaluations(findings: Iterable[Finding]) -> Iterator[sr.QualitativeEvaluation]:
    for finding in findings:
        if finding.answer is not None:
            yield sr.QualitativeEvaluation(
                name=concept(code("findings", finding.name)), value=concept(_answer(finding))
            )


def _answer(finding: Finding) -> Code:
    if isinstance(finding.answer, bool):
        return code("answers", "present" if finding.answer else "absent")
    return own_code(f"{finding.name}_{finding.answer}", f"Pfirrmann grade {finding.answer}")


def _missing(place: Place) -> Iterator[tuple[Code, str]]:
    """One name and text for each reason, with everything that is missing for it."""
    reasons: dict[str, list[str]] = {}
    for name, found in place.measurements.items():
        if MISSING in found:
            reasons.setdefault(found[MISSING], []).append(name)
    for finding in place.findings:
        if finding.missing is not None:
            reasons.setdefault(finding.missing, []).append(finding.name)
    for reason, names in reasons.items():
        yield NOT_MEASURABLE, f"{', '.join(names)}: {reason}"
