"""One image file -> Series: what its socket can use, in its stored type, on its stored grid."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from spine.errors import UnusableImage
from spine.read.headers import check_header, check_size
from spine.read.library import FILM_TAGS, TAGS, Header, execute, open_reader
from spine.read.terms import known_terms
from spine.records import Grid, Series

READERS = {  # suffix -> reader of the library; named, so that a file is never tried as something else
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
    ".nii": "NiftiImageIO",
    ".nii.gz": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
}
TIFF = (".tif", ".tiff")  # known, to be refused: no position, no sure pixel size, and a damaged one reads for ever
MIN_SPACING_MM, MAX_SPACING_MM = 0.02, 50.0  # finest radiograph; thickest localiser with gaps
MAX_ORIGIN_MM = 1e5  # 100 m: beyond it the header is noise
DIRECTION_TOLERANCE = 1e-3  # DICOM writes cosines with six digits, some converters with four
MAX_SHARE_NOT_FINITE = 0.01  # a few division artefacts are mended, more is not an image
MAX_INTENSITY = 1e30  # larger values overflow in single precision
XRAY = "lateral-spine-xray"
MR_MODALITIES, XRAY_MODALITIES = {"MR"}, {"CR", "DX", "RG", "RF", "XA"}

CODE = re.compile(r"[A-Z0-9_.+\\ -]{1,64}")  # DICOM code strings and decimal strings


def suffix_of(path: Path) -> str:
    """Kind of an image file by its name: '.mha', '.nii.gz', '.dcm', ... or '' when it is none."""
    name = path.name.lower()
    return next((suffix for suffix in (*READERS, *TIFF, ".dcm") if name.endswith(suffix)), "")


@dataclass(frozen=True)
class Loaded:
    """A series and what is compared between the series of a case."""

    series: Series
    header: Header
    flags: tuple[str, ...]


def load_image(path: Path, suffix: str, slug: str, where: str) -> Loaded:
    """The image file `path` as a Series for the socket `slug`.

    `where` names the file in errors; flags name the socket, because outputs hold them and a name may tell a person.

    Raises UnreadableImage or UnusableImage, one sentence each.
    """
    if suffix in TIFF:
        raise UnusableImage(f"{where}: a TIFF states no position in the patient; an MHA file is expected.")
    check_header(path, suffix, where)
    reader, header = open_reader(path, READERS[suffix], where)
    grid = checked_grid(header, slug, where)
    tags = safe_tags(header.meta, slug)
    content_flags = check_content(tags, slug, where)
    array, array_flags = checked_array(execute(reader, grid.size, where), slug, where)
    return Loaded(Series(slug, path.name, array, grid, tags), header, (*content_flags, *array_flags))


def checked_grid(header: Header, slug: str, where: str) -> Grid:
    """The 3-D grid of an image that its socket can use. Raises UnusableImage.

    A fourth axis of one voxel is dropped. A 2-D image is accepted as a radiograph only, as one slice at its origin:
    an MR slice without a position in the patient has no sides, no levels and no neighbours (a DICOM slice has one).
    """
    check_size(header.size, where)
    if header.channels != 1:
        raise UnusableImage(
            f"{where}: a voxel has {header.channels} values (colour, complex or several volumes); one is expected."
        )
    if "complex" in SimpleITK.GetPixelIDValueAsString(header.pixel):
        raise UnusableImage(f"{where}: the voxels are complex numbers; magnitudes are expected.")
    size, spacing, origin, direction = _three_dimensions(header, slug, where)
    if slug == XRAY and size[2] != 1:
        raise UnusableImage(f"{where}: the radiograph has {size[2]} slices; one is expected.")
    _check_geometry(spacing, origin, direction, where)
    return Grid(size, spacing, origin, tuple(float(cosine) for cosine in direction.ravel()))


Triple = tuple[float, float, float]


def _three_dimensions(header: Header, slug: str, where: str) -> tuple[tuple[int, int, int], Triple, Triple, Any]:
    count = len(header.size)
    direction = np.reshape(header.direction, (count, count))
    if count == 2 and slug == XRAY:
        lifted = np.eye(3)
        lifted[:2, :2] = direction
        (i, j), (x, y) = header.spacing_mm, header.origin_mm
        return (header.size[0], header.size[1], 1), (i, j, 1.0), (x, y, 0.0), lifted
    if count == 2:
        raise UnusableImage(f"{where}: the image has 2 dimensions and no position in the patient; 3 are expected.")
    volumes = math.prod(header.size[3:])
    if volumes != 1:
        shown = " x ".join(str(size) for size in header.size)
        raise UnusableImage(
            f"{where}: the file holds {volumes} volumes (time points, echoes or directions: {shown} voxels); "
            "one volume is expected."
        )
    if count < 2:
        raise UnusableImage(f"{where}: the image has {count} dimension; 3 are expected.")
    i, j, k = header.size[:3]
    step, start = header.spacing_mm[:3], header.origin_mm[:3]
    return (i, j, k), (step[0], step[1], step[2]), (start[0], start[1], start[2]), direction[:3, :3]


def _check_geometry(spacing: Sequence[float], origin: Sequence[float], direction: Any, where: str) -> None:
    if not all(MIN_SPACING_MM <= step <= MAX_SPACING_MM for step in spacing):  # NaN fails too
        shown = " x ".join(f"{step:g}" for step in spacing)
        raise UnusableImage(
            f"{where}: the voxel spacing is {shown} mm; {MIN_SPACING_MM:g} to {MAX_SPACING_MM:g} mm is expected."
        )
    if not all(abs(start) <= MAX_ORIGIN_MM for start in origin):
        raise UnusableImage(
            f"{where}: the origin lies more than {MAX_ORIGIN_MM / 1000:g} m away; a position in a scanner is expected."
        )
    error = np.abs(direction.T @ direction - np.eye(3)).max()
    if not (math.isfinite(error) and error <= DIRECTION_TOLERANCE):
        raise UnusableImage(f"{where}: the image axes are not at right angles; a rectangular grid is expected.")


def checked_array(array: NDArray[Any], slug: str, where: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """`array` with its few voxels that are not numbers set to the minimum, and flags. Raises UnusableImage."""
    flags: tuple[str, ...] = ()
    bad = [~(np.abs(plane) < MAX_INTENSITY) for plane in array] if array.dtype.kind == "f" else []
    count = sum(int(np.count_nonzero(plane)) for plane in bad)
    if count > MAX_SHARE_NOT_FINITE * array.size:
        share = 100 * count / array.size
        raise UnusableImage(
            f"{where}: {share:.1f} % of the voxels are not finite numbers below {MAX_INTENSITY:g}; "
            "an image is expected."
        )
    if count:
        mask = np.stack(bad)
        array[mask] = array[~mask].min()
        flags = (f"{slug}: {count} voxels were not finite numbers below {MAX_INTENSITY:g} and were set to the minimum",)
    if array.min() == array.max():
        raise UnusableImage(f"{where}: the image is empty: every voxel is {array.flat[0]:g}.")
    return array, flags


def safe_tags(meta: Mapping[str, str], slug: str = "") -> dict[str, str]:
    """The harmless DICOM facts of `meta` by our names; whatever is not a code or a number is left out."""
    wanted = {**TAGS, **FILM_TAGS} if slug == XRAY else TAGS
    coded = {name: meta[tag].strip() for name, tag in wanted.items() if tag in meta}
    found = {name: known_terms(name, value) for name, value in coded.items() if CODE.fullmatch(value)}
    return {name: value for name, value in found.items() if value}


def check_content(tags: Mapping[str, str], slug: str, where: str) -> tuple[str, ...]:
    """Refuse an image that says it is of another modality or a localiser; flag a derived one."""
    modality = tags.get("modality")
    allowed = XRAY_MODALITIES if slug == XRAY else MR_MODALITIES
    if modality is not None and modality not in allowed:
        raise UnusableImage(f"{where}: the modality is {modality}; {' or '.join(sorted(allowed))} is expected.")
    kinds = tags.get("image_type", "").split("\\")
    if "LOCALIZER" in kinds:
        raise UnusableImage(f"{where}: the image is a localiser; a diagnostic series is expected.")
    return (f"{slug}: the image is derived from others",) if kinds[0] == "DERIVED" else ()
