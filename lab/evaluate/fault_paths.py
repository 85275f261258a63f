"""Inputs whose files are no plain files, or whose JSON is hostile: links, pipes, devices, sizes, nesting, names."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

Maker = Callable[[Path, Path], None]  # case, its sagittal image
USED, REFUSED = 0, 2
RECORD = "clinical-information-spine.json"
INPUTS = "inputs.json"
NAME = "Mueller^Anna\n1970-01-02 \U0001f9b4 \u202egnp"  # line break, emoji, text direction
HUGE_BYTES = 100_000_000
DEPTH = 100_000


def _replaced(name: str, make: Callable[[Path], None]) -> Maker:
    """The file `name` of the case, or its image where `name` is empty, made anew by `make`."""

    def change(case: Path, image: Path) -> None:
        path = case / name if name else image
        path.unlink(missing_ok=True)
        make(path)

    return change


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the whole path may be longer than a socket's may
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name[:100])
    finally:
        os.chdir(here)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _folder(path: Path) -> None:
    path.mkdir()


def _itself(path: Path) -> None:
    path.symlink_to(path)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"[" + b" " * HUGE_BYTES + b"]")


def _bytes(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def _encoded(encoding: str) -> Maker:
    def change(case: Path, image: Path) -> None:
        path = case / INPUTS
        path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))

    return change


def _relative(path: str) -> Maker:
    """inputs.json states `path` for the sagittal socket."""

    def change(case: Path, image: Path) -> None:
        items = json.loads((case / INPUTS).read_text(encoding="utf-8"))
        items[0]["socket"]["relative_path"] = path
        (case / INPUTS).write_text(json.dumps(items), encoding="utf-8")

    return change


def _twice(case: Path, image: Path) -> None:
    text = (case / INPUTS).read_text(encoding="utf-8")
    (case / INPUTS).write_text(text.replace('"slug"', '"slug": "lateral-spine-xray", "slug"', 1), encoding="utf-8")


def _linked_folder(case: Path, image: Path) -> None:
    outside = case.parent / "outside"
    image.parent.rename(outside)
    image.parent.symlink_to(outside)


def _hard_link(case: Path, image: Path) -> None:
    outside = case.parent / "outside.mha"
    image.rename(outside)
    os.link(outside, image)


def _renamed(case: Path, image: Path) -> None:
    image.rename(image.with_name(f"{NAME}.mha"))


def _renamed_and_cut(case: Path, image: Path) -> None:
    image.write_bytes(image.read_bytes()[:2_000])
    _renamed(case, image)


PATH_MAKERS: dict[str, tuple[int, Maker]] = {
    "image is a pipe": (REFUSED, _replaced("", os.mkfifo)),
    "image is a socket": (REFUSED, _replaced("", _socket)),
    "image is a device": (REFUSED, _replaced("", _device)),
    "image is a folder": (REFUSED, _replaced("", _folder)),
    "image is a link to itself": (REFUSED, _replaced("", _itself)),
    "folder of the image leads out": (REFUSED, _linked_folder),
    "inputs.json is a pipe": (REFUSED, _replaced(INPUTS, os.mkfifo)),
    "inputs.json is a folder": (REFUSED, _replaced(INPUTS, _folder)),
    "inputs.json is a device": (REFUSED, _replaced(INPUTS, _device)),
    "inputs.json of 100 MB": (REFUSED, _replaced(INPUTS, _huge)),
    "inputs.json of 0 bytes": (REFUSED, _replaced(INPUTS, _bytes(b""))),
    "inputs.json nested 100,000 deep": (REFUSED, _replaced(INPUTS, _bytes(b"[" * DEPTH + b"]" * DEPTH))),
    "inputs.json with a key twice": (REFUSED, _twice),
    "inputs.json in UTF-16": (REFUSED, _encoded("utf-16")),
    "inputs.json of zeros": (REFUSED, _replaced(INPUTS, _bytes(bytes(1_000)))),
    "relative path to a device": (REFUSED, _relative("/dev/zero")),
    "relative path with a line break": (REFUSED, _relative("images/a\nb")),
    "relative path of 10,000 characters": (REFUSED, _relative("images/" + "x" * 10_000)),
    "relative path of 400 characters": (REFUSED, _relative("images/" + "x" * 400)),
    "clinical record is a pipe": (REFUSED, _replaced(RECORD, os.mkfifo)),
    "clinical record of 100 MB": (REFUSED, _replaced(RECORD, _huge)),
    "clinical record with an endless number": (REFUSED, _replaced(RECORD, _bytes(b'{"age_years": 1e999}'))),
    "clinical record with 10,000 digits": (
        REFUSED,
        _replaced(RECORD, _bytes(b'{"age_years": %s}' % (b"9" * 10_000))),
    ),
    "hostile file name, damaged file": (REFUSED, _renamed_and_cut),
    "hostile file name": (USED, _renamed),
    "inputs.json with a byte order mark": (USED, _encoded("utf-8-sig")),
    "hard link to a file outside": (USED, _hard_link),  # cannot be told from any other file
}
