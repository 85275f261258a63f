"""Fixtures for more than one folder of tests."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MR_CLASS = "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture
def write_series(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes an MR series, one file a slice, and returns its folder."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    def write(
        array: np.ndarray,  # (slice, row, column), stored as 16-bit
        cosines: Sequence[float],  # of rows, then of columns
        spacing_mm: tuple[float, float, float] = (0.75, 0.5, 4.4),  # (row, column, slice)
        origin_mm: Sequence[float] = (5.0, -60.0, 80.0),
        order: Sequence[int] | None = None,  # slice -> place in time, which numbers and names follow
        **changes: Any,  # attributes; None takes one out
    ) -> Path:
        folder = tmp_path / generate_uid()
        folder.mkdir()
        normal = np.cross(cosines[:3], cosines[3:])
        series, steps = generate_uid(), range(len(array)) if order is None else order
        for k, (plane, step) in enumerate(zip(array, steps, strict=True)):
            meta = FileMetaDataset()
            meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MR_CLASS
            path = folder / f"{step:04d}.dcm"
            image = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
            image.SpecificCharacterSet = "ISO_IR 100"
            image.SOPClassUID, image.SOPInstanceUID = MR_CLASS, generate_uid()
            meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = "1.2.3", series, "1.2.9"
            image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = (
                "Müller^Anna", "SECRET-4711", "19700102", "F",
            )  # fmt: skip
            image.StudyDate, image.StudyTime, image.StudyID, image.AccessionNumber = "20260102", "101112", "7", "A-1"
            image.ReferringPhysicianName, image.StudyDescription = "Huis^Jan", "MRI LWK"
            image.Modality, image.Manufacturer, image.SeriesNumber, image.InstanceNumber = "MR", "X", 3, step + 1
            image.ImageType, image.PositionReferenceIndicator = ["ORIGINAL", "PRIMARY", "M"], ""
            image.Rows, image.Columns = plane.shape
            image.PixelSpacing, image.SliceThickness = list(spacing_mm[:2]), 4.0
            image.ImageOrientationPatient = [round(float(c), 6) for c in cosines]
            position = np.asarray(origin_mm, float) + k * spacing_mm[2] * normal
            image.ImagePositionPatient = [round(float(p), 4) for p in position]
            image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
            image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
            image.PixelData = plane.astype("<u2").tobytes()
            for keyword, value in changes.items():
                if value is None:
                    delattr(image, keyword)
                else:
                    setattr(image, keyword, value)
            image.save_as(path, enforce_file_format=True)
        return folder

    return write
