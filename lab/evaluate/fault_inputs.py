"""Inputs that must be refused in one sentence, each made from the bundled case: name -> exit code and maker."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from lab.evaluate.fault_paths import PATH_MAKERS

SOCKET = Path("images") / "sagittal-spine-mri"
USED, REFUSED = 0, 2
GIGABYTES = b"ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = False\nDimSize = 30000 30000 3000\n" \
    b"ElementSpacing = 1 1 1\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"  # fmt: skip


def write_input(name: str, source: Path, target: Path) -> Path:
    """A case in the platform's layout in `target`, made from the case `source` and spoilt as `name` says."""
    shutil.copytree(source, target)
    image = next((target / SOCKET).glob("*.mha"))
    MAKERS[name][1](target, image)
    return target


def _redrawn(change: Callable[[NDArray[np.float64]], NDArray[np.number]]) -> Callable[[Path, Path], None]:
    """Other voxels on the same grid."""

    def make(case: Path, image: Path) -> None:
        old = SimpleITK.ReadImage(str(image))
        new = SimpleITK.GetImageFromArray(change(SimpleITK.GetArrayFromImage(old).astype(float)))
        new.CopyInformation(old)
        SimpleITK.WriteImage(new, str(image), True)

    return make


def _noise(array: NDArray[np.float64]) -> NDArray[np.int16]:
    return np.random.default_rng(0).integers(0, 1000, array.shape).astype(np.int16)


def _water(array: NDArray[np.float64]) -> NDArray[np.int16]:
    down, back = np.meshgrid(*(np.linspace(-1, 1, n) for n in array.shape[1:]), indexing="ij")
    noise = np.random.default_rng(0).normal(0, 10, array.shape)
    return np.maximum((np.hypot(down, back) < 0.8) * 600 + noise, 0).astype(np.int16)


def _order(array: NDArray[np.float64]) -> NDArray[np.int16]:
    """Every other slice first, then those between."""
    return np.concatenate((array[::2], array[1::2])).astype(np.int16)


def _again(array: NDArray[np.float64]) -> NDArray[np.int16]:
    array = array.copy()
    array[len(array) // 2] = array[len(array) // 2 - 1]
    return array.astype(np.int16)


def _black(array: NDArray[np.float64]) -> NDArray[np.int16]:
    """A block over the middle of the image, as an anonymiser or a saturation band leaves it."""
    array = array.copy()
    down, back = (n // 2 for n in array.shape[1:])
    array[:, down - 25 : down + 25, back - 40 : back + 25] = 0
    return array.astype(np.int16)


def _spike(array: NDArray[np.float64]) -> NDArray[np.float32]:
    array = array.astype(np.float32)
    array[0, 0, 0] = 1e30
    return array


def _stretched(case: Path, image: Path) -> None:
    new = SimpleITK.ReadImage(str(image))
    step = new.GetSpacing()
    new.SetSpacing((step[0] * 1.6, *step[1:]))
    SimpleITK.WriteImage(new, str(image), True)


def _stored_as(direction: tuple[int, ...], spacing: tuple[float, float, float]) -> Callable[[Path, Path], None]:
    def make(case: Path, image: Path) -> None:
        new = SimpleITK.ReadImage(str(image))
        new.SetDirection(direction)
        new.SetSpacing(spacing)
        SimpleITK.WriteImage(new, str(image), True)

    return make


def _bytes(change: Callable[[bytes], bytes], suffix: str = "") -> Callable[[Path, Path], None]:
    def make(case: Path, image: Path) -> None:
        image.write_bytes(change(image.read_bytes()))
        if suffix:
            image.rename(image.with_suffix(suffix))

    return make


def _bomb(content: bytes) -> bytes:
    """A NIfTI file of a few kilobytes that unpacks to far more than its header states."""
    header = bytearray(352)
    header[0:4] = (348).to_bytes(4, "little")
    for n, value in enumerate((3, 8, 8, 8, 1, 1, 1, 1)):
        header[40 + 2 * n : 42 + 2 * n] = value.to_bytes(2, "little")
    header[70:74] = (4).to_bytes(2, "little") + (16).to_bytes(2, "little")
    header[76:92] = np.array([1, 1, 1, 1], "<f4").tobytes()
    header[108:112] = np.array([352], "<f4").tobytes()
    header[344:348] = b"n+1\0"
    return gzip.compress(bytes(header) + bytes(60_000_000), 9)


def _colour(case: Path, image: Path) -> None:
    old = SimpleITK.Cast(SimpleITK.ReadImage(str(image)), SimpleITK.sitkUInt8)
    SimpleITK.WriteImage(SimpleITK.Compose(old, old, old), str(image), True)


def _volumes(case: Path, image: Path) -> None:
    old = SimpleITK.ReadImage(str(image))
    SimpleITK.WriteImage(SimpleITK.JoinSeries([old, old]), str(image.with_suffix(".nii.gz")))
    image.unlink()


def _link_out(case: Path, image: Path) -> None:
    outside = case.parent / "outside.mha"
    image.rename(outside)
    os.symlink(outside, image)


def _inputs(change: Callable[[list[dict[str, object]]], object]) -> Callable[[Path, Path], None]:
    def make(case: Path, image: Path) -> None:
        items = json.loads((case / "inputs.json").read_text())
        change(items)
        (case / "inputs.json").write_text(json.dumps(items))

    return make


def _climb(items: list[dict[str, object]]) -> None:
    items[0]["socket"]["relative_path"] = "images/../../../etc"  # type: ignore[index]


def _record(text: str) -> Callable[[Path, Path], None]:
    def make(case: Path, image: Path) -> None:
        (case / "clinical-information-spine.json").write_text(text)

    return make


MAKERS: dict[str, tuple[int, Callable[[Path, Path], None]]] = {
    "noise instead of a spine": (REFUSED, _redrawn(_noise)),
    "water phantom": (REFUSED, _redrawn(_water)),
    "segmentation mask": (REFUSED, _redrawn(lambda array: (array > 300).astype(np.uint8))),
    "CT numbers": (REFUSED, _redrawn(lambda array: (array * 2 - 1000).astype(np.int16))),
    "one value everywhere": (REFUSED, _redrawn(lambda array: np.full(array.shape, 7, np.int16))),
    "not numbers": (REFUSED, _redrawn(lambda array: np.where(array > 300, np.nan, array).astype(np.float32))),
    "negated image": (USED, _redrawn(lambda array: (array - 100).astype(np.int16))),
    "upside down": (REFUSED, _redrawn(lambda array: array[:, ::-1].astype(np.int16))),
    "back in front": (REFUSED, _redrawn(lambda array: array[:, :, ::-1].astype(np.int16))),
    "rotated by 180 degrees": (REFUSED, _redrawn(lambda array: array[:, ::-1, ::-1].astype(np.int16))),
    "negative": (REFUSED, _redrawn(lambda array: (array.max() - array).astype(np.int16))),
    "every other slice first": (USED, _redrawn(_order)),
    "one slice stored twice": (USED, _redrawn(_again)),
    "a block blacked out": (USED, _redrawn(_black)),
    "stored with an offset of -1000": (USED, _redrawn(lambda array: (array - 1000).astype(np.int16))),
    "one voxel of 1e30": (USED, _redrawn(_spike)),
    "pixels stated 1.6 times too long": (USED, _stretched),
    "axial stack": (REFUSED, _stored_as((1, 0, 0, 0, 1, 0, 0, 0, 1), (0.7, 0.7, 4.0))),
    "field of view of 3 cm": (REFUSED, _stored_as((0, 0, -1, 1, 0, 0, 0, -1, 0), (0.1, 0.1, 4.0))),
    "colour": (REFUSED, _colour),
    "two volumes in one file": (REFUSED, _volumes),
    "half of the file": (REFUSED, _bytes(lambda content: content[: len(content) // 2])),
    "empty file": (REFUSED, _bytes(lambda content: b"")),
    "text instead of an image": (REFUSED, _bytes(lambda content: b"hello\n" * 1000)),
    "header that claims 5 TB": (REFUSED, _bytes(lambda content: GIGABYTES + content[-1000:])),
    "decompression bomb": (REFUSED, _bytes(_bomb, ".nii.gz")),
    "link out of the folder": (REFUSED, _link_out),
    "relative path with ..": (REFUSED, _inputs(_climb)),
    "no sagittal socket": (REFUSED, _inputs(lambda items: items.clear())),
    "clinical record that is no JSON": (REFUSED, _record("{'age': 5")),
    "clinical record with an unknown field": (REFUSED, _record('{"shoe_size": 44}')),
    "clinical record out of range": (REFUSED, _record('{"age_years": 430}')),
    **PATH_MAKERS,
}
INPUTS: dict[str, int] = {name: code for name, (code, _) in MAKERS.items()}
