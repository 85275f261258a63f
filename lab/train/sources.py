"""Public data sets and the rendered synthetic bank as training items on the model's grid, labels as sets of classes.

A pixel's label is the set of classes it may belong to, one bit a class (bit c = anatomy.Structure c), because
each data set labels unions of ours: ALL means unknown and takes no part in the loss.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spine.anatomy import STRUCTURES, Structure
from spine.conform import MAX_INTENSITY, intensity_scale, resampling_matrix

ALL = (1 << len(STRUCTURES)) - 1
MENDELEY_PIXEL_MM = 0.78  # the set states no spacing: 300 mm over 384 pixels, see the data's own notes
MENDELEY_MOVED = (249, 268, 395, 407)  # the T1 mask does not fit the T2 picture
SPLITS = Path(__file__).with_name("splits.json")


class UnusableData(ValueError):
    """Data that cannot be trained on; the message is for the user: a sentence for each file or folder."""


def bits(*structures: Structure) -> int:
    """The set of `structures` as bits."""
    return sum(1 << int(s) for s in structures)


@dataclass(frozen=True)
class Item:
    """One training volume: `image` float16 (slice, down, back), scaled as conform.py does it; `sets` alike, uint16."""

    source: str
    patient: str
    image: NDArray[np.float16]
    sets: NDArray[np.uint16]
    slice_mm: float


@dataclass
class Loaded:
    """What one source gave: its items, how many cases it left out and why, what the user should know."""

    items: list[Item] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    origins_ignored: int = 0  # masks whose origin differs from their image's by less than a voxel
    notes: list[str] = field(default_factory=list)


def read_json(file: Path) -> Any:
    """Content of a JSON file that a user gave.

    Raises:
        UnusableData: there is no such file, or it is no JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnusableData(f"{file}: cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UnusableData(f"{file}: is no JSON: {error}.") from error


def read_splits() -> dict[str, dict[str, list[str]]]:
    """{set: {train|val|test: [patient, ...]}}; patients of all SPIDER folders share one split."""
    return json.loads(SPLITS.read_text(encoding="utf-8"))


def resample(plane: NDArray[np.generic], pixel_mm: float, target_mm: float) -> NDArray[np.float32]:
    """A picture on the model's grid, filtered against aliasing as conform.py does it."""
    rows = resampling_matrix(plane.shape[0], pixel_mm, target_mm)
    columns = resampling_matrix(plane.shape[1], pixel_mm, target_mm)
    return rows @ plane.astype(np.float32) @ columns.T


def resample_labels(labels: NDArray[np.integer], pixel_mm: float, target_mm: float) -> NDArray[np.integer]:
    """A label picture on the model's grid, in its own type: the label with the largest share of each new pixel."""
    values = np.unique(labels)
    shares = np.stack([resample((labels == v).astype(np.float32), pixel_mm, target_mm) for v in values])
    return values[shares.argmax(0)]


def scaled(volume: NDArray[np.float32]) -> NDArray[np.float16]:
    """Intensities as conform.py scales them."""
    return np.clip(volume * intensity_scale(volume), 0, MAX_INTENSITY).astype(np.float16)


def spider_space(data: Path, split: str, pixel_mm: float) -> Iterator[Item]:
    """SPIDER T2 SPACE slabs: 1 whole vertebra, 2 disc, 3 canal; 0 is background or sacrum."""
    for patient in read_splits()["spider_space"][split]:
        image_file = nibabel.load(data / "spider_space" / f"{patient}_image.nii.gz")
        mask_file = nibabel.load(data / "spider_space" / f"{patient}_mask.nii.gz")
        slice_mm, in_plane_mm, _ = image_file.header.get_zooms()
        # stored (slice, anterior, superior) -> (slice, down, back)
        image = np.asarray(image_file.dataobj).transpose(0, 2, 1)[:, ::-1, ::-1]
        mask = np.asarray(mask_file.dataobj).transpose(0, 2, 1)[:, ::-1, ::-1]
        volume = np.stack([resample(p, float(in_plane_mm), pixel_mm) for p in image])
        labels = np.stack([resample_labels(p, float(in_plane_mm), pixel_mm) for p in mask])
        yield Item("spider_space", patient, scaled(volume), spider_sets(labels), float(slice_mm))


def spider_sets(labels: NDArray[np.integer]) -> NDArray[np.uint16]:
    """Sets of classes for SPIDER's three labels, (slice, down, back).

    A vertebra voxel in front of the canal is body, one behind it is posterior elements; beside it (pedicles)
    it may be either. The extent of the canal in a row is taken over all slices.
    """
    sets = np.full(labels.shape, bits(Structure.BACKGROUND, Structure.S1, Structure.SACRUM), np.uint16)
    canal = (labels == 3).any(0)
    columns = np.arange(labels.shape[2])
    front = np.where(canal, columns, labels.shape[2]).min(1)
    back = np.where(canal, columns, -1).max(1)
    vertebra = np.where(
        columns[None] < front[:, None],
        bits(Structure.BODY),
        np.where(columns[None] > back[:, None], bits(Structure.POSTERIOR), bits(Structure.BODY, Structure.POSTERIOR)),
    )
    vertebra[~canal.any(1)] = bits(Structure.BODY, Structure.POSTERIOR)
    sets[labels == 1] = np.broadcast_to(vertebra, labels.shape)[labels == 1]
    sets[labels == 2] = bits(Structure.DISC)
    sets[labels == 3] = bits(Structure.CANAL, Structure.CORD)
    top = int(np.flatnonzero((labels == 1).any((0, 2)))[0])
    above = sets[:, : top + 3]
    above[labels[:, : top + 3] != 3] = ALL  # what lies above the highest labelled vertebra is often unlabelled
    return sets


def mendeley(data: Path, split: str, pixel_mm: float, contrast: str) -> Iterator[Item]:
    """Mendeley mid-sagittal slices: bodies of L1..L5 and S1; masks drawn on T1, carried to T2 where it fits."""
    folder = data / "mendeley_midsagittal"
    for patient in read_splits()["mendeley_midsagittal"][split]:
        picture = folder / "images" / f"{int(patient):04d}_{contrast}.png"
        if not picture.exists() or (contrast == "t2" and int(patient) in MENDELEY_MOVED):
            continue
        image = np.asarray(Image.open(picture))
        mask = np.asarray(Image.open(folder / "masks" / f"{int(patient):04d}_t1.png"))
        if image.shape != mask.shape:
            continue
        labels = resample_labels(mask, MENDELEY_PIXEL_MM, pixel_mm)
        volume = resample(image, MENDELEY_PIXEL_MM, pixel_mm)[None]
        yield Item(f"mendeley_{contrast}", patient, scaled(volume), mendeley_sets(labels)[None], 4.0)


def mendeley_sets(labels: NDArray[np.integer]) -> NDArray[np.uint16]:
    """Sets of classes for the body masks, (down, back): zero means anything but a body, between L1 and S1 only."""
    sets = np.full(labels.shape, ALL & ~bits(Structure.BODY, Structure.S1, Structure.C1, Structure.C2), np.uint16)
    sets[(labels >= 1) & (labels <= 5)] = bits(Structure.BODY)
    sets[labels == 6] = bits(Structure.S1)
    bodies = np.flatnonzero(((labels >= 1) & (labels <= 5)).any(1))
    sacral = np.flatnonzero((labels == 6).any(1))
    sets[: bodies[0] + 2][labels[: bodies[0] + 2] == 0] = ALL
    last = sacral[-1] if len(sacral) else bodies[-1]
    sets[last:][labels[last:] == 0] = ALL
    return sets


def synthetic(rendered: Path) -> Iterator[Item]:
    """The bank of lab.synth.cohort as lab.train.prerender has rendered it: every class known.

    Raises:
        UnusableData: as `_stored`.
    """
    for file in sorted(rendered.glob("*.npz")):
        image, structures, spacing_mm = _stored(file, "lab.train.prerender", "image", "structures", "spacing_mm")
        yield Item("synthetic", file.stem, image, np.left_shift(1, structures, dtype=np.uint16), float(spacing_mm[0]))


def labelled(folder: Path) -> Iterator[Item]:
    """What lab.train.pseudo_label wrote: file names are `<set>_<contrast>_<patient>.npz`.

    Raises:
        UnusableData: as `_stored`.
    """
    for file in sorted(folder.glob("*.npz")):
        source, _, patient = file.stem.rpartition("_")
        image, sets, slice_mm = _stored(file, "lab.train.pseudo_label", "image", "sets", "slice_mm")
        yield Item(source, patient, image, sets, float(slice_mm))


def _stored(file: Path, writer: str, *parts: str) -> list[NDArray[Any]]:
    """The arrays `parts` of an .npz; the first is the picture.

    Raises:
        UnusableData: the file is torn, was not written by `writer`, or its picture holds what is no number.
    """
    try:
        # np.load given a path leaves a torn file open
        with file.open("rb") as stream, np.load(stream) as stored:
            if set(parts) - set(stored.files):
                raise UnusableData(f"{file}: was not written by {writer}: it lacks {parts[0]!r} or {parts[1]!r}.")
            arrays = [stored[part] for part in parts]
    except UnusableData:
        raise
    except (OSError, EOFError, ValueError, BadZipFile) as error:
        raise UnusableData(f"{file}: cannot be read; it is cut off or no .npz.") from error
    if not np.isfinite(arrays[0]).all():
        raise UnusableData(f"{file}: holds NaN or infinite intensities.")
    return arrays
