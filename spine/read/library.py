"""SimpleITK, kept quiet and within bounds: what it prints, how much memory it takes, and what its errors say."""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from spine.errors import UnreadableImage, UnusableImage
from spine.memory import STORED_VOXEL_BYTES, require_memory
from spine.read.headers import DAMAGED

HEADER_BYTES = 256 << 20  # that reading may take beyond what the process has, without the voxels
MAX_VOXEL_BYTES = 8
COPIES = 3  # of the voxels: packed, unpacked, and as an array

# Harmless DICOM facts: name -> tag. Texts that a person types (descriptions, names, comments) are never taken.
TAGS = {
    "modality": "0008|0060",
    "image_type": "0008|0008",
    "magnetic_field_strength_t": "0018|0087",
    "repetition_time_ms": "0018|0080",
    "echo_time_ms": "0018|0081",
    "inversion_time_ms": "0018|0082",
    "flip_angle_deg": "0018|1314",
    "slice_thickness_mm": "0018|0050",
    "scanning_sequence": "0018|0020",
    "scan_options": "0018|0022",
    "photometric": "0028|0004",
}
FILM_TAGS = {  # of radiographs alone: what a millimetre on them is, and from which side they were taken
    "view_position": "0018|5101",
    "pixel_spacing_mm": "0028|0030",
    "imager_pixel_spacing_mm": "0018|1164",
    "magnification": "0018|1114",
    "source_detector_mm": "0018|1110",
    "source_patient_mm": "0018|1111",
    "body_part": "0018|0015",
    "spacing_calibration": "0028|0a02",
}
PATIENT, STUDY, FRAME_OF_REFERENCE = "0010|0020", "0020|000d", "0020|0052"  # compared, never kept
# Compared with the clinical record; of them only the age in years and the sex are kept, where the record is silent.
PATIENT_SEX, PATIENT_AGE, PATIENT_BIRTH_DATE, STUDY_DATE = "0010|0040", "0010|1010", "0010|0030", "0008|0020"
PERSON = (PATIENT_SEX, PATIENT_AGE, PATIENT_BIRTH_DATE, STUDY_DATE)
SERIES, POSITION, ORIENTATION = "0020|000e", "0020|0032", "0020|0037"  # to sort DICOM slices
SLICE_SPACING = "0018|0088"
TAGS_READ = (
    *(*TAGS.values(), *FILM_TAGS.values(), *PERSON),
    *(PATIENT, STUDY, FRAME_OF_REFERENCE, SERIES, POSITION, ORIENTATION, SLICE_SPACING),
)


@dataclass(frozen=True)
class Header:
    """What SimpleITK reads before voxels: everything to decide whether the voxels are wanted."""

    size: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: tuple[float, ...]
    channels: int
    pixel: int  # SimpleITK pixel identifier
    meta: Mapping[str, str]


@contextmanager
def confined(extra_bytes: int) -> Iterator[None]:
    """Within, C libraries cannot write to the error stream, where a line means a fault, nor take `extra_bytes` more.

    Both hold for the whole process; one case runs at a time, and other threads only answer short requests meanwhile.
    """
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    wanted = pages * resource.getpagesize() + extra_bytes
    limits = [limit for limit in (soft, hard, wanted) if limit != resource.RLIM_INFINITY]
    try:
        resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        os.close(saved)
        os.close(sink)


def open_reader(path: Path, library: str, where: str) -> tuple[Any, Header]:
    """A SimpleITK reader of `path` that has read its header. Raises UnreadableImage or UnusableImage."""
    reader = SimpleITK.ImageFileReader()
    try:
        with confined(HEADER_BYTES):
            reader.SetImageIO(library)
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
            meta = {key: str(reader.GetMetaData(key)) for key in TAGS_READ if reader.HasMetaDataKey(key)}
    except (RuntimeError, UnicodeError, MemoryError) as fault:
        raise _explain(fault, where) from fault
    header = Header(
        size=tuple(reader.GetSize()),
        spacing_mm=tuple(reader.GetSpacing()),
        origin_mm=tuple(reader.GetOrigin()),
        direction=tuple(reader.GetDirection()),
        channels=reader.GetNumberOfComponents(),
        pixel=reader.GetPixelID(),
        meta=meta,
    )
    return reader, header


def execute(reader: Any, size: tuple[int, int, int], where: str) -> NDArray[Any]:
    """Voxels of an ImageFileReader or ImageSeriesReader in their stored type, axes (k, j, i) for `size` (i, j, k).

    Raises UnreadableImage, or MemoryError when they do not fit.
    """
    require_memory(math.prod(size), STORED_VOXEL_BYTES, 0)
    try:
        with confined(HEADER_BYTES + COPIES * MAX_VOXEL_BYTES * math.prod(size)):
            return np.asarray(SimpleITK.GetArrayFromImage(reader.Execute())).reshape(size[::-1])
    except RuntimeError as fault:
        if "allocate memory" in str(fault):
            raise MemoryError(f"{where}: the image does not fit into memory") from fault
        raise _explain(fault, where) from fault


def _explain(fault: Exception, where: str) -> Exception:
    text = str(fault)
    if "orthonormal" in text or "determinant" in text:
        return UnusableImage(f"{where}: the image axes are not at right angles; a rectangular grid is expected.")
    return UnreadableImage(f"{where}: {DAMAGED}, or not of the kind that its name says.")
