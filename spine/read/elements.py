"""The data elements of a DICOM file, walked by their lengths before the library reads them.

The library takes memory for an element before it looks whether the file holds it, up to 4 GB each, tries a damaged
file again under other transfer syntaxes, and does not give all of it back. So a file goes to it only when the lengths
of its elements, nested ones too, lead from the first to its last byte (PS3.5 of the standard, chapter 7).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from spine.errors import UnreadableImage, UnusableImage
from spine.read.headers import DAMAGED

PREAMBLE_BYTES, MARK = 128, b"DICM"
MAX_FILE_BYTES = 100_000_000  # a radiograph has about 20 MB, a slice 0.5 MB
MAX_DEPTH = 30  # of nested sequences
UNDEFINED = 0xFFFFFFFF
META_GROUP, DELIMITERS = 0x0002, 0xFFFE
TRANSFER_SYNTAX, PIXEL_DATA = (0x0002, 0x0010), (0x7FE0, 0x0010)
ITEM, ITEM_END, SEQUENCE_END = (DELIMITERS, 0xE000), (DELIMITERS, 0xE00D), (DELIMITERS, 0xE0DD)
ITEM_BYTES = {"<": b"\xfe\xff\x00\xe0", ">": b"\xff\xfe\xe0\x00"}
IMPLICIT, BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
SHORT_VR = {*(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())}  # lengths of 16 bits
LONG_VR = {*(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())}  # two empty bytes, then lengths of 32 bits


def is_dicom(path: Path) -> bool:
    """Whether `path` carries the DICOM mark after its preamble."""
    with path.open("rb") as file:
        return file.read(PREAMBLE_BYTES + len(MARK))[PREAMBLE_BYTES:] == MARK


def check_elements(path: Path, where: str) -> None:
    """Raise UnreadableImage when the elements of the DICOM file `path` do not fill it exactly, `where` names it."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UnusableImage(f"{where}: the DICOM file is larger than {MAX_FILE_BYTES // 1_000_000} MB.")
    data = path.read_bytes()
    try:
        at, syntax = _meta(data)
        if syntax == DEFLATED:
            raise UnusableImage(f"{where}: the transfer syntax is deflated; an uncompressed or JPEG one is expected.")
        walk = _Walk(data, "<" if syntax != BIG_ENDIAN else ">", syntax != IMPLICIT)
        walk.elements(at, len(data), 0)
    except (ValueError, struct.error) as fault:
        raise UnreadableImage(f"{where}: {DAMAGED}.") from fault


def _meta(data: bytes) -> tuple[int, str]:
    """Where the data set starts, and its transfer syntax; the meta group is always explicit little endian."""
    walk = _Walk(data, "<", explicit=True)
    at, syntax = PREAMBLE_BYTES + len(MARK), ""
    while at < len(data) and walk.tag(at)[0] == META_GROUP:
        tag, _, value, length = walk.header(at)
        at = walk.end(value, length, len(data))
        if tag == TRANSFER_SYNTAX:
            syntax = data[value:at].decode("ascii").strip("\0 ")
    return at, syntax


@dataclass(frozen=True)
class _Walk:
    """One data set. Positions are bytes from the start of the file; methods raise ValueError for what cannot be."""

    data: bytes
    order: str  # '<' or '>'
    explicit: bool  # whether elements state their kind of value

    def tag(self, at: int) -> tuple[int, int]:
        group, element = struct.unpack_from(self.order + "2H", self.data, at)
        return group, element

    def header(self, at: int) -> tuple[tuple[int, int], bytes, int, int]:
        """Tag, kind of value (empty when it is not stated), start and length of the value."""
        tag = self.tag(at)
        if not self.explicit or tag[0] == DELIMITERS:
            return tag, b"", at + 8, struct.unpack_from(self.order + "I", self.data, at + 4)[0]
        kind = self.data[at + 4 : at + 6]
        if kind in SHORT_VR:
            return tag, kind, at + 8, struct.unpack_from(self.order + "H", self.data, at + 6)[0]
        if kind not in LONG_VR:
            raise ValueError
        return tag, kind, at + 12, struct.unpack_from(self.order + "I", self.data, at + 8)[0]

    def end(self, value: int, length: int, limit: int) -> int:
        """End of a value of stated length."""
        if value + length > limit:
            raise ValueError
        return value + length

    def elements(self, at: int, limit: int, depth: int, closing: bool = False) -> int:
        """Walk elements up to `limit`, or to the end mark of their item when `closing`; returns where they end."""
        while at < limit:
            tag, kind, value, length = self.header(at)
            if tag[0] == DELIMITERS:
                if tag != ITEM_END or not closing:
                    raise ValueError
                return value
            if length == UNDEFINED:
                nested = _Walk(self.data, "<", explicit=False) if kind == b"UN" else self  # PS3.5, 6.2.2
                at = nested.items(value, limit, depth + 1, closing=True, opaque=tag == PIXEL_DATA)
                continue
            at = self.end(value, length, limit)
            if kind == b"SQ" or (not kind and self.data.startswith(ITEM_BYTES[self.order], value)):
                self.items(value, at, depth + 1)
        if closing or at != limit:
            raise ValueError
        return at

    def items(self, at: int, limit: int, depth: int, closing: bool = False, opaque: bool = False) -> int:
        """Walk the items of a sequence, or of encapsulated voxels when `opaque`; returns where they end."""
        if depth > MAX_DEPTH:
            raise ValueError
        while at < limit:
            tag, _, value, length = self.header(at)
            if tag == SEQUENCE_END and closing:
                return value
            if tag != ITEM or (opaque and length == UNDEFINED):
                raise ValueError
            if length == UNDEFINED:
                at = self.elements(value, limit, depth, closing=True)
            else:
                at = self.end(value, length, limit)
                if not opaque:
                    self.elements(value, at, depth)
        if closing or at != limit:
            raise ValueError
        return at
