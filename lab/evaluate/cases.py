"""Where the cases of a cohort lie: a folder in one of several layouts, or a CSV of paths; and their content hash."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spine.errors import MissingInput
from spine.records import Study

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd")
FILE_ROLES = ("image", "t1", "axial", "xray", "clinical")
# Endings by which data sets tell a mask from its image; taken off to get the name of the case.
CASE_ENDINGS = re.compile(r"(_image|_mask|_seg|_dseg|_label|_labels|_prediction|_0000)$")
MASK_ENDINGS = re.compile(r"(_mask|_seg|_dseg|_label|_labels|_prediction)$")
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Case:
    """One case to run. `files` are (role, path) pairs; the role 'input' is a folder in the platform's layout."""

    name: str
    files: tuple[tuple[str, str], ...]

    def reader(self) -> Callable[[], Study]:
        """What `spine.pipeline.run` calls to read the case."""
        from spine.read import read_files, read_study

        paths = {role: Path(path) for role, path in self.files}
        if "input" in paths:
            return lambda: read_study(paths["input"])
        return lambda: read_files(*(paths.get(role) for role in FILE_ROLES))

    def sha256(self) -> str:
        """Digest of the content of every file of the case and of its role; names and places do not count."""
        digest = hashlib.sha256()
        for role, path in sorted(self.files):
            for file in _contents(Path(path)):
                digest.update(f"{role}\0".encode())
                with file.open("rb") as stream:
                    while block := stream.read(BLOCK_BYTES):
                        digest.update(block)
        return digest.hexdigest()


def find_cases(source: Path) -> list[Case]:
    """The cases of `source`, sorted by name: a CSV, or a folder in the first layout that fits.

    - CSV: columns `case` and at least one of `image`, `t1`, and optionally `axial`, `xray`, `clinical`; paths are
      taken from the folder of the CSV.
    - The platform's layout: a folder a case, with `images/` or `inputs.json` in it.
    - BIDS-like: `sub-*/[ses-*/]anat/*_T2w.nii.gz` and `*_T1w.nii.gz`; `acq-ax*` is axial.
    - One image file a case (`NAME.nii.gz`, `.mha`, ...; `_image` and `_0000` at the end are taken off, masks are
      passed over).
    - One folder of DICOM files a case.

    Raises MissingInput when nothing is found or two cases have one name.
    """
    source = source.resolve()  # workers on other machines start in other folders
    if source.is_file():
        cases = _from_csv(source)
    elif source.is_dir():
        layouts = (_platform, _bids, _images, _dicom_folders)
        cases = next((found for layout in layouts if (found := layout(source))), [])
    else:
        raise MissingInput(f"{source}: there is no such file or folder.")
    if not cases:
        raise MissingInput(f"{source}: no cases were found in any layout that is known (see docs/validation.md).")
    names = [case.name for case in cases]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise MissingInput(f"{source}: the case {double[0]} is there twice; every case needs its own name.")
    return sorted(cases, key=lambda case: case.name)


def case_name(path: Path) -> str:
    """Name of the case that an image or mask file belongs to: without suffix and without `_mask`, `_image`, ..."""
    return _safe(CASE_ENDINGS.sub("", _stem(path)))


def masks_by_case(folder: Path) -> dict[str, Path]:
    """Case name -> mask file: results of a cohort run (a folder a case), or one mask file a case.

    Where one folder holds images and masks, only files with a mask's ending count. Raises MissingInput when none is
    there.
    """
    files = [path for path in sorted(folder.glob("*")) if _is_image(path)]
    marked = [path for path in files if MASK_ENDINGS.search(_stem(path))]
    found = {case_name(path): path for path in marked or files}
    for path in sorted(folder.glob("*/images/sagittal-spine-mr-segmentation/*")):
        if _is_image(path):
            found[path.parents[2].name] = path
    if not found:
        raise MissingInput(f"{folder}: there are no masks; one image file a case or the results of a cohort expected.")
    return found


def _stem(path: Path) -> str:
    return next((path.name[: -len(end)] for end in IMAGE_SUFFIXES if path.name.lower().endswith(end)), path.name)


def _is_image(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(IMAGE_SUFFIXES) and not path.name.startswith(".")


def _safe(name: str) -> str:
    return UNSAFE.sub("_", name).strip("._") or "case"


def _contents(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _from_csv(path: Path) -> list[Case]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    cases = []
    for number, row in enumerate(rows, start=2):
        files = tuple((role, str(path.parent / row[role])) for role in FILE_ROLES if row.get(role))
        if not row.get("case") or not files:
            raise MissingInput(f"{path.name}: line {number} needs a case and an image or t1.")
        cases.append(Case(_safe(row["case"]), files))
    return cases


def _folders(source: Path) -> list[Path]:
    return sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))


def _platform(source: Path) -> list[Case]:
    folders = [path for path in _folders(source) if (path / "images").is_dir() or (path / "inputs.json").is_file()]
    return [Case(_safe(path.name), (("input", str(path)),)) for path in folders]


def _bids(source: Path) -> list[Case]:
    cases = []
    for folder in sorted({path.parent for path in source.glob("sub-*/**/*_T[12]w.*") if _is_image(path)}):
        files = [path for path in sorted(folder.iterdir()) if _is_image(path)]
        axial = [path for path in files if "_acq-ax" in path.name.lower()]
        t2 = [path for path in files if _stem(path).endswith("_T2w") and path not in axial]
        t1 = [path for path in files if _stem(path).endswith("_T1w") and path not in axial]
        for path in t2 or t1:
            roles = {"image": path} if t2 else {"t1": path}
            if t2 and len(t1) == 1:
                roles["t1"] = t1[0]
            if len(axial) == 1:
                roles["axial"] = axial[0]
            cases.append(Case(_safe(_stem(path)), tuple((role, str(one)) for role, one in roles.items())))
    return cases


def _images(source: Path) -> list[Case]:
    files = [path for path in sorted(source.iterdir()) if _is_image(path) and not MASK_ENDINGS.search(_stem(path))]
    return [Case(case_name(path), (("image", str(path)),)) for path in files]


def _dicom_folders(source: Path) -> list[Case]:
    return [Case(_safe(path.name), (("image", str(path)),)) for path in _folders(source) if any(path.iterdir())]
