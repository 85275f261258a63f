"""Stage 10: a finished Report and the mask -> objects for hospital systems. Its libraries are loaded when asked for."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spine.errors import SoftwareError, UnusableImage
from spine.records import Report, Series, Study

HTML, FHIR, DICOM, DICOM_IF_SOURCE = "html", "fhir", "dicom", "dicom_if_source"

__all__ = ["export_report", "settle_extras"]


def settle_extras(extras: Set[str], study: Study) -> tuple[frozenset[str], Study]:
    """What of `extras` will be written, and `study` with a flag where DICOM came in but cannot go out.

    `extras` may hold 'html', 'fhir', 'dicom' (DICOM objects, or a refusal) and 'dicom_if_source' (where the segmented
    series came in as DICOM). Raises UnusableImage where 'dicom' was asked for and cannot be had: objects that belong
    to no study of a patient would be lost or misfiled in an archive, so none are invented.
    """
    wanted = set(extras) - {DICOM_IF_SOURCE}
    if DICOM in wanted or (DICOM_IF_SOURCE in extras and study.primary.files):
        from spine.export.source import lacking

        reason = lacking(study.primary)
        if reason is None:
            wanted.add(DICOM)
        elif DICOM in wanted:
            raise UnusableImage(
                f"--dicom: {study.primary.slug}: {reason}; a DICOM series with its headers is expected."
            )
        else:
            flag = f"{study.primary.slug}: no DICOM objects were written: {reason}"
            study = replace(study, flags=(*study.flags, flag))
    return frozenset(wanted), study


def export_report(report: Report, mask: NDArray[np.uint8], series: Series, extras: Set[str]) -> dict[str, bytes]:
    """Slug of resources.extra_outputs -> content, for each of the settled `extras`.

    `mask` is uint8 (k, j, i) on the grid of `series`, the series that was segmented.
    Raises SoftwareError where an object cannot be made.
    """
    found: dict[str, bytes] = {}
    if HTML in extras:
        found["html"] = report.html
    if FHIR in extras:
        found["fhir"] = _fhir(report, series)
    if DICOM in extras:
        found.update(_dicom(report, mask, series))
    return found


def _fhir(report: Report, series: Series) -> bytes:
    from spine.export.fhir import Imaging, fhir_bundle

    if not series.files:
        return fhir_bundle(report)
    from spine.export.source import study_facts

    facts = study_facts(series)
    return fhir_bundle(report, Imaging(*facts) if facts else None)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Within, the search for reference cycles rests: tens of thousands of small objects are made, all of them kept.

    It would take a sixth of the time of the DICOM objects.
    """
    active = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if active:
            gc.enable()


@_no_collection()
def _dicom(report: Report, mask: NDArray[np.uint8], series: Series) -> dict[str, bytes]:
    from spine.dicom_headers import FAULTS, quiet
    from spine.export.dicom_pdf import document_object
    from spine.export.dicom_seg import segmentation_object
    from spine.export.dicom_sr import measurement_report
    from spine.export.source import source_images

    document: Mapping[str, Any] = report.report
    try:
        with quiet():
            images = source_images(series)
            stored = mask[np.argsort(series.frames)] if series.frames else mask  # frames as the file orders them
            segmentation = segmentation_object(stored, images, document["software"])
            objects = {
                "dicom-segmentation": segmentation,
                "dicom-measurements": measurement_report(document, segmentation, images),
                "dicom-report": document_object(report.pdf, images, document["software"]),
            }
            return {slug: _bytes(one) for slug, one in objects.items() if one is not None}
    except FAULTS as fault:
        # Texts of these faults may repeat a header, which may name the patient.
        kind = type(fault).__name__
        raise SoftwareError(
            f"{series.slug}: the DICOM objects cannot be made from the headers of this series ({kind}); "
            "--no-dicom leaves them out."
        ) from None


def _bytes(one: Any) -> bytes:
    with BytesIO() as file:
        one.save_as(file, enforce_file_format=True)
        return file.getvalue()
