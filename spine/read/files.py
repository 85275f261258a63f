"""Files that a user names on the command line -> Study: MHA, NIfTI, NRRD, a DICOM series."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from spine.errors import MissingInput, UnusableImage
from spine.read import dicom
from spine.read.clinical import read_clinical
from spine.read.elements import is_dicom
from spine.read.image import XRAY, Loaded, load_image, suffix_of
from spine.read.study import AXIAL_T2, SAGITTAL, SAGITTAL_T1, assemble, load_each, readable, require_sagittal, segmented
from spine.read.text import kind_of, printable
from spine.records import Study


def read_files(
    image: Path | None,
    t1: Path | None = None,
    axial: Path | None = None,
    xray: Path | None = None,
    clinical: Path | None = None,
) -> Study:
    """The case in the files that were named; each image is a file, a folder of DICOM slices or one of its slices.

    A folder may hold several series; see `dicom.choose_series` for the rule by which one is taken.
    A series beside the segmented one that cannot be read is left out with a flag; a path that leads nowhere is refused.
    Raises InputError: MissingInput, UnreadableImage, UnusableImage or BadClinicalRecord.
    """
    named = {SAGITTAL: image, SAGITTAL_T1: t1, AXIAL_T2: axial, XRAY: xray}
    paths = {slug: path for slug, path in named.items() if path is not None}
    require_sagittal(paths, "command line", "--image or --t1")
    for path in paths.values():
        with readable(printable(path.name)):
            _existing(path)
    main = segmented(paths)
    loaded, unused = load_each(paths, lambda path, slug: _load(path, slug, named=slug == main))
    if clinical is None:
        return assemble(loaded, None, (), unused)
    with readable(printable(clinical.name)):
        record, flags = read_clinical(_existing(clinical), printable(clinical.name))
    return assemble(loaded, record, flags, unused)


def _existing(path: Path) -> Path:
    """`path`, where it is a file or a folder: opening a pipe would wait for its writer for ever."""
    where = printable(str(path), 200)
    if not path.exists():
        raise MissingInput(f"{where}: there is no such file or folder.")
    if not path.is_file() and not path.is_dir():
        raise MissingInput(f"{where}: a regular file or a folder is expected, not a {kind_of(path)}.")
    return path


def _load(path: Path, slug: str, named: bool) -> Loaded:
    """The series at `path`; `named`: messages repeat the names of its files, else they say the socket's."""
    where = printable(path.name or str(path)) if named else slug
    with readable(where):
        if path.is_dir():
            return _load_folder(path, slug, where, _teller(named))
        suffix = suffix_of(path)
        if suffix not in {".dcm", ""}:
            return load_image(path, suffix, slug, where)
        if is_dicom(path):
            return _load_slice(path, slug, where, _teller(named))
    raise UnusableImage(f"{where}: the kind of file is not known; .mha, .nii, .nii.gz, .nrrd or DICOM is expected.")


def _teller(named: bool) -> Callable[[Path], str]:
    """How messages call one of several files."""
    return (lambda path: printable(path.name)) if named else (lambda _: "one of its files")


def _dicom_files(folder: Path, where: str, told: Callable[[Path], str]) -> list[Path]:
    """DICOM files of `folder`, whatever their names; one that is named .dcm must be one."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    dicom.check_readable([path for path in files if suffix_of(path) == ".dcm"], where, told)
    return [path for path in files if is_dicom(path)]


def _load_folder(folder: Path, slug: str, where: str, told: Callable[[Path], str]) -> Loaded:
    groups = dicom.scan(_dicom_files(folder, where, told), where, told)
    slices, flags = dicom.choose_series(groups, slug, where)
    loaded = dicom.load_series(slices, slug, folder.name, where)
    return replace(loaded, flags=(*flags, *loaded.flags))


def _load_slice(path: Path, slug: str, where: str, told: Callable[[Path], str]) -> Loaded:
    """The series that the slice `path` belongs to, from the folder that it lies in."""
    folder = where if where == slug else printable(path.resolve().parent.name)
    groups = dicom.scan(_dicom_files(path.parent, folder, told), folder, told)
    own = [group for group in groups if any(one.path.name == path.name for one in group)]
    if not own:
        raise UnusableImage(f"{where}: the DICOM file holds no image.")
    return dicom.load_series(own[0], slug, path.name, where)
