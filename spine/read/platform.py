"""The platform's input folder -> Study: inputs.json (both key generations), or the folders alone.

Messages name sockets and kinds of files, never a file's own name, which may be the patient's: they are logged, and a
socket holds one image. On the command line, where a user names files, messages repeat their names (`spine.read.files`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from spine.errors import MissingInput, UnusableImage
from spine.read import dicom
from spine.read.clinical import read_clinical
from spine.read.image import Loaded, load_image, suffix_of
from spine.read.study import CLINICAL, assemble, load_each, readable, require_sagittal
from spine.read.text import json_document, printable
from spine.records import Study
from spine.resources import Socket, input_sockets

INPUTS_JSON = "inputs.json"
MAX_BYTES = 10_000_000  # values may be repeated in inputs.json
EXPECTED = "images/sagittal-spine-mri/<file>.mha or images/sagittal-t1-spine-mri/<file>.mha"


def read_study(input_dir: Path) -> Study:
    """The case in the platform's folder `input_dir` (it may itself be a link; nothing in it may lead out of it).

    Sockets are found by the slugs and relative paths of inputs.json, and by those of resources/sockets.json where
    that file is absent. A series beside the segmented one that cannot be read is left out with a flag.
    Raises InputError: MissingInput, UnreadableImage, UnusableImage or BadClinicalRecord.
    """
    where = printable(str(input_dir), 200)
    if not input_dir.is_dir():
        raise MissingInput(f"{where}: there is no such folder; the folder of a case is expected.")
    with readable(where):
        return _read(input_dir, where)


def _read(input_dir: Path, where: str) -> Study:
    flags: tuple[str, ...] = ()
    if (input_dir / INPUTS_JSON).exists():
        paths, flags = _listed(input_dir)
        where = INPUTS_JSON
    else:
        paths = _present(input_dir)
    require_sagittal(paths, where, EXPECTED)
    images = {slug: path for slug, path in paths.items() if slug != CLINICAL}
    loaded, unused = load_each(images, lambda relative, slug: _load(input_dir, relative, slug))
    clinical = None
    if CLINICAL in paths:
        clinical, clinical_flags = _record(input_dir, paths[CLINICAL])
        flags = (*flags, *clinical_flags)
    return assemble(loaded, clinical, flags, unused)


def _present(input_dir: Path) -> dict[str, str]:
    """Slug -> relative path of the sockets that a hand-made case fills; an empty folder is an empty socket."""
    found = {}
    for socket in input_sockets():
        path = input_dir / socket.relative_path
        if path.is_file() or (path.is_dir() and _files(path, socket.relative_path)):
            found[socket.slug] = socket.relative_path
    return found


def _listed(input_dir: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Slug -> relative path as inputs.json states them, and flags for what was passed over."""
    path = _inside(input_dir, INPUTS_JSON)
    items = json_document(path, INPUTS_JSON, MAX_BYTES, MissingInput)
    if not isinstance(items, list):
        raise MissingInput(f"{INPUTS_JSON}: a list of sockets is expected.")
    known = {socket.slug: socket for socket in input_sockets()}
    found: dict[str, str] = {}
    flags = []
    for number, item in enumerate(items, start=1):
        slug, stated = _socket(item, number)
        if slug not in known:
            flags.append(f"{INPUTS_JSON}: the socket {printable(slug)} is not known and was not read")
            continue
        if slug in found:
            raise MissingInput(f"{INPUTS_JSON}: the socket {slug} is listed twice; once is expected.")
        found[slug] = _relative_path(stated, known[slug])
    unlisted = [slug for slug in _present(input_dir) if slug not in found]
    flags += [f"{INPUTS_JSON}: the socket {slug} has files but is not listed and was not read" for slug in unlisted]
    return found, tuple(flags)


def _socket(item: Any, number: int) -> tuple[str, Any]:
    """Slug and stated relative path of one item of inputs.json; `interface` is the older key of `socket`."""
    interface = (item.get("socket") or item.get("interface")) if isinstance(item, dict) else None
    slug = interface.get("slug") if isinstance(interface, dict) else None
    if not isinstance(interface, dict) or not isinstance(slug, str):
        raise MissingInput(f"{INPUTS_JSON}: item {number} names no socket; a socket with its slug is expected.")
    return slug, interface.get("relative_path")


def _relative_path(stated: Any, socket: Socket) -> str:
    """The path that inputs.json states for `socket`, else our own; it must be of the socket's sort."""
    if stated is None:
        return socket.relative_path
    where = f"{INPUTS_JSON}: the relative_path of {socket.slug}"
    if not isinstance(stated, str) or not stated.strip() or len(stated) > 500:
        raise MissingInput(f"{where} is not a path; {socket.relative_path} is expected.")
    path = PurePosixPath(stated)
    if path.is_absolute() or ".." in path.parts or "\\" in stated or not stated.isprintable():
        raise MissingInput(f"{where} is {printable(stated)}; a path inside the input folder is expected.")
    others = {other.relative_path for other in input_sockets()} - {socket.relative_path}
    sort_agrees = path.suffix == ".json" if socket.super_kind == "Value" else path.parts[:1] == ("images",)
    if not sort_agrees or str(path) in others:
        raise MissingInput(f"{where} is {printable(stated)}; {socket.relative_path} is expected.")
    return str(path)


def _inside(input_dir: Path, relative: str, where: str = "") -> Path:
    """`input_dir`/`relative`, refused where a link leads out of the input folder; `where` names it in the message."""
    path = input_dir / relative
    try:
        inside = path.resolve().is_relative_to(input_dir.resolve())
    except (OSError, RuntimeError):  # a link that leads to itself
        inside = False
    if not inside:
        shown = where or printable(relative)
        raise MissingInput(f"{shown}: the path leads out of the input folder; a file in it is expected.")
    return path


def _files(folder: Path, where: str) -> list[Path]:
    """Visible files of `folder`, sorted by name."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())
    except OSError as fault:
        raise MissingInput(f"{where}: the folder cannot be read ({fault.strerror}).") from fault


def _load(input_dir: Path, relative: str, slug: str) -> Loaded:
    """The one image of the socket `slug`: a file, or a folder of DICOM slices of one series."""
    folder = _inside(input_dir, relative)
    if not folder.exists():
        raise MissingInput(f"{relative}: the folder is missing; one .mha file in it is expected.")
    files = [folder] if folder.is_file() else _files(folder, relative)
    images = [path for path in files if suffix_of(path)]
    if not images:
        others = f" among {len(files)} other files" if files else ""
        raise MissingInput(f"{relative}: there is no image{others}; one .mha file is expected.")
    for path in images:
        _inside(input_dir, str(path.relative_to(input_dir)), _nameless(relative, path))
    if {suffix_of(path) for path in images} == {".dcm"}:
        return _load_slices(images, relative, slug)
    if len(images) > 1:
        raise UnusableImage(f"{relative}: there are {len(images)} images; one is expected.")
    return load_image(images[0], suffix_of(images[0]), slug, _nameless(relative, images[0]))


def _nameless(relative: str, path: Path) -> str:
    """How messages call the image file `path` of the socket at `relative`: by its kind."""
    return relative if suffix_of(Path(relative)) else f"{relative}/<file>{suffix_of(path)}"


def _load_slices(files: list[Path], relative: str, slug: str) -> Loaded:
    numbers = {path: number for number, path in enumerate(files, start=1)}

    def told(path: Path) -> str:
        return f"file {numbers[path]} of {len(files)} by name"

    dicom.check_readable(files, relative, told)
    groups = dicom.scan(files, relative, told)
    if len(groups) > 1:
        raise UnusableImage(f"{relative}: the slices belong to {len(groups)} DICOM series; one series is expected.")
    slices, flags = dicom.choose_series(groups, slug, relative)
    loaded = dicom.load_series(slices, slug, PurePosixPath(relative).name, relative)
    return replace(loaded, flags=(*flags, *loaded.flags))


def _record(input_dir: Path, relative: str) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    path = _inside(input_dir, relative)
    if not path.is_file():
        raise MissingInput(f"{relative}: the file is missing; the clinical record is expected there.")
    return read_clinical(path, relative)
