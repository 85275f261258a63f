"""The page of the report as a DICOM object: Encapsulated PDF (PS3.3, A.45.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import highdicom
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from spine.export.codes import code
from spine.export.dicom_terms import DOCUMENT_SERIES, RESEARCH_ONLY, concept, equipment


def document_object(pdf: bytes, images: Sequence[Dataset], software: Mapping[str, Any]) -> Dataset:
    """`pdf` in the study of `images`, which it names as its sources."""
    source = images[0]
    document = highdicom.SOPClass(
        study_instance_uid=source.StudyInstanceUID,
        series_instance_uid=highdicom.UID(),
        series_number=DOCUMENT_SERIES,
        sop_instance_uid=highdicom.UID(),
        sop_class_uid=EncapsulatedPDFStorage,
        instance_number=1,
        modality="DOC",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        patient_id=source.PatientID,
        patient_name=source.PatientName,
        patient_birth_date=source.PatientBirthDate,
        patient_sex=source.PatientSex,
        accession_number=source.AccessionNumber,
        study_id=source.StudyID,
        study_date=source.StudyDate,
        study_time=source.StudyTime,
        referring_physician_name=source.ReferringPhysicianName,
        specific_character_set=source.SpecificCharacterSet,
        series_description=f"Report on the spine ({RESEARCH_ONLY})",
        **equipment(software),
    )
    document.copy_patient_and_study_information(source)
    document.ConversionType = "WSD"  # made on a workstation
    document.AcquisitionDateTime = ""
    document.BurnedInAnnotation = "NO"  # the page names no patient
    document.DocumentTitle = f"Report on the spine ({RESEARCH_ONLY})"
    document.ConceptNameCodeSequence = [concept(code("documents", "imaging report"))]
    document.SourceInstanceSequence = [_reference(image) for image in images]
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocumentLength = len(pdf)
    document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return document


def _reference(image: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = image.SOPClassUID
    item.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return item
