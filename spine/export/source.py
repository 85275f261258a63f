"""The headers of the DICOM slices that a series was read from: patient, study, position. Never logged, never shown."""

from __future__ import annotations

import re
from typing import Any

from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

from spine.dicom_headers import ENHANCED_MR_CLASSES, FAULTS, FUNCTIONAL_GROUPS, quiet, read_header
from spine.records import Series

IDENTIFIERS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
GEOMETRY = ("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "NumberOfFrames")
NEEDED = {  # keyword -> how a message calls it
    "SOPInstanceUID": "instance",
    "StudyInstanceUID": "study",
    "SeriesInstanceUID": "series",
    "FrameOfReferenceUID": "frame of reference",
}
# Attributes that every object of the study must carry, empty where the source is silent (type 2 in the standard).
CARRIED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
OPTIONAL = (
    "IssuerOfPatientID", "OtherPatientIDs", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "PatientAge", "PatientSize", "PatientWeight", "StudyDescription", "ImageType",
    "InstanceNumber", "SliceThickness", "SpacingBetweenSlices", "PositionReferenceIndicator",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod", "TimezoneOffsetFromUTC",
)  # fmt: skip
KEYWORDS = (*IDENTIFIERS, *GEOMETRY, *CARRIED, *OPTIONAL, *FUNCTIONAL_GROUPS)
SEXES = {"F", "M", "O"}  # all that the standard allows; anything else is left empty
MR_CLASSES = {"1.2.840.10008.5.1.4.1.1.4", *ENHANCED_MR_CLASSES}
CHARACTER_SET = "ISO_IR 192"  # UTF-8: holds whatever the source's own set could


def lacking(series: Series) -> str | None:
    """Why no DICOM object can be made for `series`, as the rest of a sentence; None when it can."""
    if not series.files:
        return "it did not come in as DICOM, so there is no study that the objects could belong to"
    try:
        with quiet():
            return _lacking(series)
    except FAULTS:  # whose texts may repeat a header, which may name the patient
        return "its DICOM headers cannot be understood"


def _lacking(series: Series) -> str | None:
    needed = NEEDED if series.frames else {**NEEDED, "PixelSpacing": "pixel spacing"}  # frames state their own
    headers = [read_header(path, (*IDENTIFIERS, "PixelSpacing")) for path in series.files]
    for keyword, name in needed.items():
        if any(not header.get(keyword) for header in headers):
            return f"its DICOM headers state no {name}"
    if not {header.get("SOPClassUID") for header in headers} <= MR_CLASSES:
        return "its DICOM headers are not of the class MR image"
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if len({header[keyword].value for header in headers}) > 1:
            return f"its slices state more than one {NEEDED[keyword]}"
    return None


def source_images(series: Series) -> list[Dataset]:
    """Header of each file of `series`, in its order, with the attributes above and nothing else.

    Texts are decoded and will be written as UTF-8; ill-formed dates, times and sexes become empty, and a slice that
    does not state its thickness gets the distance between slices. Call within `quiet`.
    """
    images = [_clean(read_header(path, KEYWORDS)) for path in series.files]
    if series.frames:
        return images
    for image in images:
        if not image.get("SliceThickness"):
            image.SliceThickness = series.grid.spacing_mm[2]
        # Slices of one stack may be rounded each otherwise, within what the reader takes for parallel and equal.
        image.ImageOrientationPatient = images[0].ImageOrientationPatient
        image.PixelSpacing = images[0].PixelSpacing
    return images


def study_facts(series: Series) -> tuple[str, str | None] | None:
    """Study UID of `series` and when it was made, as FHIR writes it; None where it came in without these headers.

    A time is given only with its offset from UTC: FHIR has none without. Never raises over a header.
    """
    if not series.files:
        return None
    try:
        with quiet():
            header = _clean(read_header(series.files[0], KEYWORDS))
            uid = str(header.get("StudyInstanceUID") or "")
            made = _date_time(header)
    except FAULTS:
        return None
    return (uid, made) if re.fullmatch(r"[0-9.]{1,64}", uid) else None


def _date_time(header: Dataset) -> str | None:
    day = DA(header.StudyDate)
    if not day:
        return None
    offset = re.fullmatch(r"([+-]\d{2})(\d{2})", str(header.get("TimezoneOffsetFromUTC") or ""))
    time = TM(header.StudyTime)
    if not offset or not time:
        return day.isoformat()
    return f"{day.isoformat()}T{time.replace(microsecond=0).isoformat()}{offset[1]}:{offset[2]}"


def _clean(header: Any) -> Dataset:
    image = Dataset()
    image.SpecificCharacterSet, image.Modality = CHARACTER_SET, "MR"
    for keyword in KEYWORDS:
        value = header.get(keyword)
        if value is not None:
            setattr(image, keyword, str(value) if header[keyword].VR == "PN" else value)
        elif keyword in CARRIED:
            setattr(image, keyword, "")
    for keyword, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        if not _well_formed(image[keyword].value, kind):
            setattr(image, keyword, "")
    if image.PatientSex not in SEXES:
        image.PatientSex = ""
    return image


def _well_formed(value: Any, kind: Any) -> bool:
    try:
        kind(value)
    except (ValueError, TypeError, AttributeError):
        return False
    return True
