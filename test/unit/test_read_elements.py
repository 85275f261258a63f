"""DICOM data elements by hand: what the standard allows is walked to its end, what overruns its file is refused."""

import struct

import pytest

from spine.errors import UnreadableImage, UnusableImage
from spine.read.elements import MAX_DEPTH, check_elements

UNDEFINED = 0xFFFFFFFF
EXPLICIT, IMPLICIT, BIG, JPEG = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.70",
)
DEFLATED = "1.2.840.10008.1.2.1.99"


def short(tag: int, kind: bytes, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH2sH", tag >> 16, tag & 0xFFFF, kind, len(value)) + value


def long(tag: int, kind: bytes, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, kind, 0, len(value) if length is None else length) + value


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def item(content: bytes, length: int | None = None) -> bytes:
    return implicit(0xFFFEE000, content, length)


ITEM_END, SEQUENCE_END = implicit(0xFFFEE00D, b""), implicit(0xFFFEE0DD, b"")
ROWS, IMPLICIT_ROWS = short(0x00280010, b"US", b"\x04\x00"), implicit(0x00280010, b"\x04\x00")
SEQUENCE = 0x52009229


def check(tmp_path, data_set: bytes, syntax: str = EXPLICIT) -> None:
    path = tmp_path / "a.dcm"
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    path.write_bytes(bytes(128) + b"DICM" + short(0x00020010, b"UI", uid) + data_set)
    check_elements(path, "a.dcm")


def nested(levels: int) -> bytes:
    content = ROWS
    for _ in range(levels):
        content = long(SEQUENCE, b"SQ", item(content))
    return content


@pytest.mark.parametrize(
    ("data_set", "syntax"),
    [
        (ROWS + long(0x7FE00010, b"OW", bytes(32)), EXPLICIT),
        (IMPLICIT_ROWS + implicit(0x7FE00010, bytes(32)), IMPLICIT),
        (short(0x00280010, b"US", b"\0\4", ">") + short(0x00280011, b"US", b"\0\4", ">"), BIG),
        (long(SEQUENCE, b"SQ", item(ROWS) + item(b"")) + ROWS, EXPLICIT),
        (long(SEQUENCE, b"SQ", item(ROWS) + SEQUENCE_END, UNDEFINED) + ROWS, EXPLICIT),
        (long(SEQUENCE, b"SQ", item(ROWS + ITEM_END, UNDEFINED) + SEQUENCE_END, UNDEFINED) + ROWS, EXPLICIT),
        (long(SEQUENCE, b"SQ", item(ROWS + ITEM_END, UNDEFINED)) + ROWS, EXPLICIT),
        (implicit(SEQUENCE, item(IMPLICIT_ROWS + ITEM_END, UNDEFINED)) + IMPLICIT_ROWS, IMPLICIT),
        (long(0x00091010, b"UN", item(IMPLICIT_ROWS) + SEQUENCE_END, UNDEFINED) + ROWS, EXPLICIT),
        (long(0x7FE00010, b"OB", item(b"") + item(bytes(9) + b"\0") + SEQUENCE_END, UNDEFINED), JPEG),
        (nested(MAX_DEPTH), EXPLICIT),
        (b"", EXPLICIT),
    ],
)
def test_what_the_standard_allows(tmp_path, data_set, syntax):
    check(tmp_path, data_set, syntax)


@pytest.mark.parametrize(
    ("data_set", "syntax"),
    [
        (ROWS[:-1], EXPLICIT),
        (ROWS + b"\0", EXPLICIT),
        (long(0x7FE00010, b"OW", bytes(32), 33), EXPLICIT),
        (long(0x00091010, b"UN", b"", 0xFFFFFFF0), EXPLICIT),
        (implicit(0x00091010, b"", 0xFFFFFFF0), IMPLICIT),
        (short(0x00280010, b"XX", b"\4\0"), EXPLICIT),
        (long(SEQUENCE, b"SQ", item(ROWS, 4000)), EXPLICIT),
        (long(SEQUENCE, b"SQ", item(long(0x00091010, b"OB", b"", 0xFFFFFFF0))), EXPLICIT),
        (implicit(SEQUENCE, item(implicit(0x00091010, b"", 0xFFFFFFF0))), IMPLICIT),
        (long(SEQUENCE, b"SQ", item(ROWS), UNDEFINED), EXPLICIT),
        (long(SEQUENCE, b"SQ", item(ROWS, UNDEFINED) + SEQUENCE_END, UNDEFINED), EXPLICIT),
        (long(0x7FE00010, b"OB", item(b"", 0xFFFFFFF0) + SEQUENCE_END, UNDEFINED), JPEG),
        (long(0x7FE00010, b"OB", item(b"", UNDEFINED) + SEQUENCE_END, UNDEFINED), JPEG),
        (ITEM_END, EXPLICIT),
        (nested(MAX_DEPTH + 1), EXPLICIT),
        (long(SEQUENCE, b"SQ", ROWS), EXPLICIT),
    ],
)
def test_what_overruns_its_file(tmp_path, data_set, syntax):
    with pytest.raises(UnreadableImage) as caught:
        check(tmp_path, data_set, syntax)
    assert str(caught.value) == "a.dcm: the file is damaged or truncated."


def test_a_deflated_file_is_not_unpacked(tmp_path):
    with pytest.raises(UnusableImage) as caught:
        check(tmp_path, b"", DEFLATED)
    assert str(caught.value) == ("a.dcm: the transfer syntax is deflated; an uncompressed or JPEG one is expected.")
