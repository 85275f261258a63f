"""DICOM slices -> Series: grouped by series, sorted by position, read only when they are one evenly spaced stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from spine.dicom_headers import ENHANCED_MR_CLASSES
from spine.errors import MissingInput, UnreadableImage, UnusableImage
from spine.read.elements import check_elements, is_dicom
from spine.read.frames import frame_headers
from spine.read.headers import check_size
from spine.read.image import (
    MR_MODALITIES,
    XRAY,
    Loaded,
    check_content,
    checked_array,
    checked_grid,
    safe_tags,
)
from spine.read.library import (
    FRAME_OF_REFERENCE,
    ORIENTATION,
    PATIENT,
    POSITION,
    SERIES,
    SLICE_SPACING,
    STUDY,
    TAGS,
    Header,
    execute,
    open_reader,
)
from spine.read.stacks import runs_of
from spine.read.text import printable
from spine.records import Grid, Series

LIBRARY = "GDCMImageIO"
MAX_FILES = 5_000
GAP_TOLERANCE = 0.05  # share of the mean gap between slices; positions are stored to 0.01 mm or better
SHEAR_TOLERANCE_MM = 1.0  # a stack whose slices slide sideways by more is not a rectangular grid
ANGLE_TOLERANCE = 1e-3  # of direction cosines between the slices of a stack
NOT_IMAGES = (  # storage classes that lie beside images: directory, presentation, report, document, raw, waveform, RT
    "1.2.840.10008.1.3.10",
    *(f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("11.", "88.", "104.", "66", "9.", "481.")),
)
PLANES = ("sagittal", "coronal", "axial")  # by the patient axis that the slice normal is closest to


@dataclass(frozen=True)
class Slice:
    """One slice: a DICOM file, or one frame of an enhanced one."""

    path: Path
    header: Header
    frame: int | None = None  # number from 0, where the file holds more than this slice

    @property
    def series(self) -> str:
        """Identifier that groups slices; never shown."""
        return self.header.meta.get(SERIES, "")

    @property
    def position_mm(self) -> NDArray[np.float64] | None:
        """Position of the first voxel, LPS millimetres; None where the file states none."""
        return _numbers(self.header.meta.get(POSITION), 3)

    @property
    def cosines(self) -> NDArray[np.float64] | None:
        """Unit vectors of rows and columns, one after the other."""
        return _numbers(self.header.meta.get(ORIENTATION), 6)


def _numbers(text: str | None, count: int) -> NDArray[np.float64] | None:
    try:
        values = np.array([float(part) for part in (text or "").split("\\")])
    except ValueError:
        return None
    return values if len(values) == count and np.isfinite(values).all() else None


def _file_name(path: Path) -> str:
    return printable(path.name)


def scan(files: Sequence[Path], where: str, told: Callable[[Path], str] = _file_name) -> list[list[Slice]]:
    """The image slices among the DICOM `files`, one list a series; `told` says how a message names one of them.

    Raises UnreadableImage for a damaged file.
    """
    if len(files) > MAX_FILES:
        raise UnusableImage(f"{where}: {len(files)} DICOM files; at most {MAX_FILES} are read.")
    groups: dict[str, list[Slice]] = {}
    for path in files:
        if _storage_class(path).startswith(NOT_IMAGES):
            continue
        one = f"{where}: {told(path)}"
        check_elements(path, one)
        _, header = open_reader(path, LIBRARY, one)
        found = _slices(path, header, one)
        groups.setdefault(found[0].series, []).extend(found)
    return [groups[key] for key in sorted(groups)]


def _slices(path: Path, header: Header, where: str) -> list[Slice]:
    """The slices in one file: one, or the frames of an enhanced image."""
    if _storage_class(path) not in ENHANCED_MR_CLASSES:
        return [Slice(path, header)]
    frames = frame_headers(path, header, where)
    return [Slice(path, one, number) for number, one in enumerate(frames)]


def _storage_class(path: Path) -> str:
    """Media storage class (0002,0002) from the file meta group, which is always explicit little endian."""
    with path.open("rb") as file:
        raw = file.read(2_000)
    start = raw.find(b"\x02\x00\x02\x00UI")
    if start < 0:
        return ""
    length = int.from_bytes(raw[start + 6 : start + 8], "little")
    return raw[start + 8 : start + 8 + length].decode("latin-1").strip("\0 ")


def choose_series(groups: list[list[Slice]], slug: str, where: str) -> tuple[list[Slice], tuple[str, ...]]:
    """The one series that fits the socket `slug`, and a flag when others were left aside.

    A single series is taken as it is. Of several, those of the wrong modality, localisers, single slices and other
    planes are left aside; more or fewer than one remaining is an UnusableImage that tells them apart by their
    technique, never by a typed description, which may name the patient.
    """
    if not groups:
        raise MissingInput(f"{where}: no DICOM image was found; the folder of one series is expected.")
    if len(groups) == 1:
        return groups[0], ()
    plane = "axial" if slug.startswith("axial") else "sagittal"
    fitting = [group for group in groups if _fits(group, slug, plane)]
    kind = "radiographs" if slug == XRAY else f"{plane} MR series"
    if len(fitting) == 1:
        return fitting[0], (f"{slug}: of {len(groups)} series the only one of {kind} was read",)
    shown = "; ".join(_technique(group) for group in (fitting or groups)[:8])
    raise UnusableImage(
        f"{where}: {len(groups)} DICOM series, {len(fitting)} of them {kind} ({shown}); "
        "the folder or one file of one series is expected."
    )


def _fits(group: list[Slice], slug: str, plane: str) -> bool:
    tags = safe_tags(group[0].header.meta)
    if slug == XRAY:
        return tags.get("modality") not in MR_MODALITIES and len(group) == 1
    localiser = "LOCALIZER" in tags.get("image_type", "")
    return tags.get("modality") in MR_MODALITIES and not localiser and len(group) > 1 and _plane(group[0]) == plane


def _plane(one: Slice) -> str | None:
    cosines = one.cosines
    return None if cosines is None else PLANES[int(np.argmax(np.abs(np.cross(cosines[:3], cosines[3:]))))]


def _technique(group: list[Slice]) -> str:
    tags = safe_tags(group[0].header.meta)
    parts = [_plane(group[0]) or "no plane", f"{len(group)} images"]
    parts += [
        f"{label} {tags[name]} ms"
        for label, name in (("TR", "repetition_time_ms"), ("TE", "echo_time_ms"))
        if name in tags
    ]
    return ", ".join(parts)


def load_series(slices: list[Slice], slug: str, name: str, where: str) -> Loaded:
    """The stack of `slices` as a Series (an axial one may hold several); raises UnusableImage when they are none."""
    tags = safe_tags(slices[0].header.meta, slug)
    flags = check_content(tags, slug, where)
    _one_patient(slices, where)
    parts = [_stack(run, slug, where) for run in _runs(slices, slug)]
    voxels = [_voxels(part, grid, where) for part, grid in parts]
    array, array_flags = checked_array(voxels[0] if len(parts) == 1 else np.concatenate(voxels), slug, where)
    stack, grids = [one for part, _ in parts for one in part], tuple(grid for _, grid in parts)
    frames = tuple(one.frame for one in stack if one.frame is not None)
    files = (stack[0].path,) if frames else tuple(one.path for one in stack)
    grid = replace(grids[0], size=(*grids[0].size[:2], len(stack)))
    series = Series(slug, name, array, grid, tags, files, frames, grids if len(grids) > 1 else ())
    return Loaded(series, stack[0].header, (*flags, *array_flags))


def _runs(slices: list[Slice], slug: str) -> list[list[Slice]]:
    """The stacks in an axial series, which may be angled disc by disc; any other series is one stack."""
    positions, cosines = [one.position_mm for one in slices], [one.cosines for one in slices]
    equal = len({one.header.size for one in slices}) == 1 and not any(v is None for v in (*positions, *cosines))
    if not slug.startswith("axial") or len(slices) == 1 or not equal:
        return [slices]
    return [[slices[index] for index in run] for run in runs_of(np.array(positions), np.array(cosines))]


def _one_patient(slices: list[Slice], where: str) -> None:
    """Raise UnusableImage when the slices of one series state several patients, studies or frames of reference."""
    for tag, what in ((PATIENT, "patients"), (STUDY, "studies"), (FRAME_OF_REFERENCE, "frames of reference")):
        if len({one.header.meta[tag].strip() for one in slices if one.header.meta.get(tag, "").strip()}) > 1:
            raise UnusableImage(
                f"{where}: the slices of one series state several {what}; one patient and one study are expected."
            )


def _voxels(stack: list[Slice], grid: Grid, where: str) -> NDArray[Any]:
    """Voxels of `stack` with axes (k, j, i)."""
    frames = [one.frame for one in stack if one.frame is not None]
    if frames:
        reader, whole = open_reader(stack[0].path, LIBRARY, where)
        i, j, *count = whole.size
        return execute(reader, (i, j, count[0] if count else 1), where)[frames]
    reader = SimpleITK.ImageSeriesReader()
    reader.SetImageIO(LIBRARY)
    reader.SetFileNames([str(one.path) for one in stack])
    if len({one.header.pixel for one in stack}) > 1:  # slices scaled each by its own slope
        reader.SetOutputPixelType(SimpleITK.sitkFloat32)
    return execute(reader, grid.size, where)


def _stack(slices: list[Slice], slug: str, where: str) -> tuple[list[Slice], Grid]:
    """`slices` sorted along their normal, and the grid they fill."""
    first = slices[0]
    if any(len(one.header.size) != 3 or one.header.size[2] != 1 for one in slices):
        raise UnusableImage(
            f"{where}: multi-frame DICOM is read only as enhanced MR; one file a slice, or an MHA file, is expected."
        )
    if first.frame is not None and any(one.path != first.path for one in slices):
        raise UnusableImage(f"{where}: the series has several multi-frame files; one volume is expected.")
    if any(one.header.size != first.header.size or one.header.channels != first.header.channels for one in slices):
        raise UnusableImage(f"{where}: the slices differ in size; one series of equal slices is expected.")
    if len(slices) == 1:
        if slug != XRAY and (first.position_mm is None or first.cosines is None):
            raise UnusableImage(f"{where}: the slice states no position in the patient.")
        return slices, checked_grid(_with_thickness(first.header), slug, where)
    if slug == XRAY:
        raise UnusableImage(f"{where}: {len(slices)} DICOM images; one radiograph is expected.")
    check_size((*first.header.size[:2], len(slices)), where)
    positions, normal = _positions(slices, where)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    gap_mm = _even_gap(positions[order], along[order], normal, where)
    stack = [slices[index] for index in order]
    header = stack[0].header
    whole = replace(
        header,
        size=(*header.size[:2], len(stack)),
        spacing_mm=(*header.spacing_mm[:2], gap_mm),
        origin_mm=tuple(float(value) for value in positions[order[0]]),
    )
    return stack, checked_grid(whole, slug, where)


def _with_thickness(header: Header) -> Header:
    """`header` of a lone slice, as deep as its tags say; the library makes it 1 mm where it finds no spacing."""
    stated = [_numbers(header.meta.get(tag), 1) for tag in (SLICE_SPACING, TAGS["slice_thickness_mm"])]
    depth_mm = next((float(value[0]) for value in stated if value is not None and value[0] > 0), 1.0)
    return replace(header, spacing_mm=(*header.spacing_mm[:2], depth_mm))


def _positions(slices: list[Slice], where: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, 3) positions in LPS millimetres and the (3,) normal that all slices share."""
    positions: list[Any] = [one.position_mm for one in slices]
    cosines: list[Any] = [one.cosines for one in slices]
    if any(value is None for value in (*positions, *cosines)):
        raise UnusableImage(f"{where}: a slice states no position in the patient.")
    if np.ptp(np.array(cosines), axis=0).max() > ANGLE_TOLERANCE:
        raise UnusableImage(f"{where}: the slices are not parallel; one stack is expected.")
    spacings = np.array([one.header.spacing_mm[:2] for one in slices])
    if np.ptp(spacings, axis=0).max() > ANGLE_TOLERANCE:
        raise UnusableImage(f"{where}: the slices differ in pixel size; one series of equal slices is expected.")
    return np.array(positions), np.cross(cosines[0][:3], cosines[0][3:])


def _even_gap(positions: NDArray[Any], along: NDArray[Any], normal: NDArray[Any], where: str) -> float:
    """Distance between neighbouring slices in millimetres; raises UnusableImage when it is not one distance."""
    gaps = np.diff(along)
    if gaps.min() <= GAP_TOLERANCE * gaps.mean():
        raise UnusableImage(
            f"{where}: several slices share a position (echoes or time points); one volume is expected."
        )
    if np.ptp(gaps) > 2 * GAP_TOLERANCE * gaps.mean():
        raise UnusableImage(
            f"{where}: slices are missing or unevenly spaced (gaps of {gaps.min():.2f} to {gaps.max():.2f} mm); "
            "a complete series is expected."
        )
    drift = positions - positions[0] - np.outer(along - along[0], normal)
    if np.linalg.norm(drift, axis=1).max() > SHEAR_TOLERANCE_MM:
        raise UnusableImage(f"{where}: the slices slide sideways; a rectangular grid is expected.")
    return float(gaps.mean())


def check_readable(files: Sequence[Path], where: str, told: Callable[[Path], str] = _file_name) -> None:
    """Raise UnreadableImage when one of `files` is not DICOM; `told` as for `scan`."""
    for path in files:
        if not is_dicom(path):
            raise UnreadableImage(f"{where}: {told(path)} is not a DICOM file.")
