"""What the header of an image file claims, checked against the file before any library allocates or believes it.

The libraries behind SimpleITK trust headers: a hostile one can end the process, a truncated NIfTI file or a damaged
compressed MHA file is read without a word, a negative spacing loses its sign. Each parser here reads the small part
of its format that decides about memory and completeness and refuses what no scanner or converter writes.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from spine.errors import UnreadableImage, UnusableImage
from spine.read.text import printable

MAX_VOXELS = 400_000_000  # 0.8 GB at 16 bit; a whole-spine study has about 20 million
MAX_HEADER_BYTES = 1_000_000
MAX_LINE_BYTES = 2_000  # MetaIO reads longer lines wrongly
CHUNK_BYTES = 1 << 20
DAMAGED = "the file is damaged or truncated"


@dataclass(frozen=True)
class Claim:
    """What a header says about the voxels that follow it."""

    sizes: tuple[int, ...]  # voxels along each stored axis
    voxel_bytes: int
    channels: int  # values in a voxel: more than one is colour
    data: Path  # file that holds the voxels
    offset: int  # bytes before them, -1: they are the last in the file
    compressed: bool  # as one zlib or gzip stream from `offset` on
    lead: int = 0  # unpacked bytes before the voxels, where the header lies in the stream too
    spacing_mm: tuple[float, ...] = ()  # empty where the format keeps its sign anyway


def check_header(path: Path, suffix: str, where: str) -> None:
    """Refuse the file `path` of kind `suffix` when its header is unsound or claims more than the file holds.

    Raises UnreadableImage (damaged, truncated, not of its kind) or UnusableImage (colour, complex, absurd size).
    """
    parser = PARSERS.get(suffix)
    if parser is None:
        return
    try:
        claim = parser(path, where)
    except (ValueError, IndexError, KeyError, OverflowError, struct.error, zlib.error, EOFError, OSError) as fault:
        raise UnreadableImage(f"{where}: the header cannot be understood; {DAMAGED}, or of another kind.") from fault
    check_size(claim.sizes, where)
    if claim.channels != 1:
        raise UnusableImage(
            f"{where}: a voxel has {claim.channels} values (colour, complex or several volumes); one is expected."
        )
    if any(not math.isfinite(step) or step <= 0 for step in claim.spacing_mm):
        shown = " x ".join(f"{step:g}" for step in claim.spacing_mm)
        raise UnusableImage(f"{where}: the voxel spacing is {shown} mm; positive numbers are expected.")
    try:
        _check_payload(claim, where)
    except (zlib.error, OSError, EOFError) as fault:
        raise UnreadableImage(f"{where}: {DAMAGED}.") from fault


def check_size(sizes: tuple[int, ...], where: str) -> None:
    """Refuse a number of voxels that is zero, negative or larger than MAX_VOXELS, before memory is taken for it."""
    shown = " x ".join(str(size) for size in sizes)
    if not sizes or any(size < 1 for size in sizes):
        raise UnusableImage(f"{where}: the image has {shown or 'no'} voxels; at least one along each axis is expected.")
    if math.prod(sizes) > MAX_VOXELS:
        raise UnusableImage(
            f"{where}: the header claims {printable(shown)} voxels; at most {MAX_VOXELS // 1_000_000} million are read."
        )


def _check_payload(claim: Claim, where: str) -> None:
    expected = math.prod(claim.sizes) * claim.voxel_bytes
    if not claim.compressed:
        found = claim.data.stat().st_size - max(claim.offset, 0)
        if found < expected:
            raise UnreadableImage(
                f"{where}: the file is truncated: {max(found, 0)} bytes of voxels, {expected} are expected."
            )
        return
    found = -claim.lead
    for part in _inflate(claim.data, claim.offset):
        found += part
        if found > expected + CHUNK_BYTES:  # a decompression bomb is not unpacked to its end
            raise UnreadableImage(
                f"{where}: the file unpacks to more than the {expected} bytes that its header states."
            )
    if found < expected:
        raise UnreadableImage(f"{where}: the file is truncated: {found} bytes of voxels, {expected} are expected.")


def _inflate(path: Path, offset: int) -> Iterator[int]:
    """Sizes of the unpacked parts of the zlib or gzip stream that starts at `offset`; gzip files are counted whole."""
    with path.open("rb") as file:
        file.seek(offset)
        stream = zlib.decompressobj(wbits=47)  # 47: zlib or gzip, told by its first bytes
        packed = file.read(CHUNK_BYTES)
        while packed:
            yield len(stream.decompress(packed, CHUNK_BYTES))
            packed = stream.unconsumed_tail
            if stream.eof:
                packed = stream.unused_data or file.read(CHUNK_BYTES)
                if not packed.startswith(b"\x1f\x8b"):  # only gzip files have further members
                    return
                stream = zlib.decompressobj(wbits=47)
            elif not packed:
                packed = file.read(CHUNK_BYTES)
        if not stream.eof:
            raise EOFError


def _header_lines(path: Path) -> list[str]:
    """Lines of the text at the start of `path`; the last ones may be voxels."""
    with path.open("rb") as file:
        return file.read(MAX_HEADER_BYTES).decode("latin-1").split("\n")


METAIMAGE_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4,
    "MET_LONG": 4, "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8,
}  # fmt: skip
METAIMAGE_VECTORS = ("DimSize", "ElementSpacing", "ElementSize", "Offset", "Position", "Origin", "CenterOfRotation")
METAIMAGE_MATRICES = ("TransformMatrix", "Rotation", "Orientation")


def _metaimage(path: Path, where: str) -> Claim:
    fields: dict[str, str] = {}
    length = 0
    for line in _header_lines(path):
        length += len(line) + 1
        match = re.fullmatch(r"([\w|.][\w|. /()\[\]-]*?) *= *(.*?) *\r?", line)
        if match is None or len(line) > MAX_LINE_BYTES or match[1] in fields:
            raise ValueError
        fields[match[1]] = match[2]
        if match[1] == "ElementDataFile":
            break
    _check_metaimage(fields)
    compressed = fields.get("CompressedData", "False") == "True"
    local = fields["ElementDataFile"] == "LOCAL"
    data = path if local else _companion(path, fields["ElementDataFile"])
    offset = length if local else 0
    if int(fields.get("CompressedDataSize", 0)) > data.stat().st_size - offset:
        raise UnreadableImage(f"{where}: the file is truncated.")
    return Claim(
        sizes=tuple(int(size) for size in fields["DimSize"].split()),
        voxel_bytes=METAIMAGE_BYTES[fields["ElementType"]],
        channels=int(fields.get("ElementNumberOfChannels", 1)),
        data=data,
        offset=-1 if fields.get("HeaderSize") == "-1" else offset,
        compressed=compressed,
        spacing_mm=tuple(float(step) for step in fields.get("ElementSpacing", "").split()),
    )


def _check_metaimage(fields: dict[str, str]) -> None:
    """Raise ValueError or KeyError for a header that MetaIO might not survive."""
    dimensions = int(fields["NDims"])
    if not 1 <= dimensions <= 5 or fields.get("ObjectType", "Image") != "Image":
        raise ValueError
    for name in fields.keys() & {*METAIMAGE_VECTORS, *METAIMAGE_MATRICES}:
        numbers = [float(number) for number in fields[name].split()]
        expected = dimensions if name in METAIMAGE_VECTORS else dimensions**2
        if len(numbers) != expected or not all(map(math.isfinite, numbers)):
            raise ValueError
    flags = {fields.get(name, "False") for name in ("CompressedData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB")}
    if fields.get("BinaryData") != "True" or not flags <= {"True", "False"}:
        raise ValueError  # numbers written as text are legal and never met
    if int(fields.get("CompressedDataSize", 0)) < 0 or fields.get("HeaderSize", "0") not in {"0", "-1"}:
        raise ValueError


def _companion(path: Path, name: str) -> Path:
    """File of voxels beside the header `path`: a plain name, so that no header reaches another folder."""
    companion = path.parent / name
    if path.suffix.lower() == ".mha" or re.search(r"[/\\%\s]", name) or name in {"", ".", "..", "LIST"}:
        raise ValueError
    if not companion.is_file() or companion.resolve().parent != path.resolve().parent:
        raise ValueError
    return companion


NRRD_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t"), 4),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "signed long long int"), 8),
    **dict.fromkeys(("int64", "int64_t", "ulonglong", "unsigned long long", "unsigned long long int"), 8),
    **dict.fromkeys(("uint64", "uint64_t", "double"), 8),
    "float": 4,
}
NRRD_SCALAR_KINDS = {"domain", "space", "time", "none", "???"}


def _nrrd(path: Path, where: str) -> Claim:
    lines = _header_lines(path)
    if not re.fullmatch(r"NRRD000[1-5]\r?", lines[0]):
        raise ValueError
    fields: dict[str, str] = {}
    length = len(lines[0]) + 1
    for line in lines[1:]:
        length += len(line) + 1
        if line in {"", "\r"}:
            break
        match = re.fullmatch(r"([A-Za-z][A-Za-z ]*): *(.*?) *\r?", line)
        if len(line) > MAX_LINE_BYTES or (match is None and not re.match(r"#|[^:]+:=", line)):
            raise ValueError
        if match is not None:
            if match[1] in fields:
                raise ValueError
            fields[match[1]] = match[2]
    else:
        raise EOFError
    sizes = tuple(int(size) for size in fields["sizes"].split())
    skips = {"line skip", "lineskip", "byte skip", "byteskip", "data file", "datafile"}
    if len(sizes) != int(fields["dimension"]) or not 1 <= len(sizes) <= 5 or skips & fields.keys():
        raise ValueError  # voxels in another file, or beyond other bytes, are legal and never met
    kinds = re.findall(r"\S+", fields.get("kinds", ""))
    channels = math.prod(size for size, kind in zip(sizes, kinds, strict=False) if kind not in NRRD_SCALAR_KINDS)
    return Claim(
        sizes=sizes,
        voxel_bytes=NRRD_BYTES[fields["type"]],
        channels=channels,
        data=path,
        offset=length,
        compressed={"raw": False, "gzip": True, "gz": True}[fields["encoding"]],
    )


NIFTI_BYTES = {2: 1, 4: 2, 8: 4, 16: 4, 64: 8, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8}  # scalar datatypes
NIFTI_OTHER = {32: "complex", 1792: "complex", 128: "colour", 2304: "colour"}
NIFTI_MAX_HEADER_BYTES = 544


def _nifti(path: Path, where: str) -> Claim:
    packed = path.name.lower().endswith(".gz")
    with path.open("rb") as file:
        raw = file.read(CHUNK_BYTES)
    raw = zlib.decompressobj(wbits=31).decompress(raw, NIFTI_MAX_HEADER_BYTES) if packed else raw
    order = "<" if struct.unpack_from("<i", raw)[0] in (348, 540) else ">"
    header_bytes = struct.unpack_from(order + "i", raw)[0]
    if header_bytes == 348:  # NIfTI-1
        dims = struct.unpack_from(order + "8h", raw, 40)
        datatype, bits = struct.unpack_from(order + "2h", raw, 70)
        steps = struct.unpack_from(order + "8f", raw, 76)
        offset = struct.unpack_from(order + "f", raw, 108)[0]
        known = raw[344:348] == b"n+1\0"
    else:  # NIfTI-2
        dims = struct.unpack_from(order + "8q", raw, 16)
        datatype, bits = struct.unpack_from(order + "2h", raw, 12)
        steps = struct.unpack_from(order + "8d", raw, 104)
        offset = struct.unpack_from(order + "q", raw, 168)[0]
        known = raw[4:8] == b"n+2\0" and header_bytes == 540
    if known and datatype in NIFTI_OTHER:
        raise UnusableImage(f"{where}: the voxels are {NIFTI_OTHER[datatype]}; one grey value is expected.")
    if not known or not 1 <= dims[0] <= 7 or bits != 8 * NIFTI_BYTES[datatype]:
        raise ValueError
    if offset != int(offset) or not header_bytes + 4 <= offset <= MAX_HEADER_BYTES:
        raise ValueError
    return Claim(
        sizes=tuple(dims[1 : dims[0] + 1]),
        voxel_bytes=NIFTI_BYTES[datatype],
        channels=1,
        data=path,
        offset=0 if packed else int(offset),
        compressed=packed,
        lead=int(offset) if packed else 0,
        spacing_mm=tuple(steps[1 : min(dims[0], 3) + 1]),
    )


PARSERS: dict[str, Callable[[Path, str], Claim]] = {
    ".mha": _metaimage,
    ".mhd": _metaimage,
    ".nrrd": _nrrd,
    ".nii": _nifti,
    ".nii.gz": _nifti,
}
