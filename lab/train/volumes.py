"""Volumes on a collaborator's disk as training items: SPIDER as it is published, and raw nnU-Net folders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from lab.train import sources
from lab.train.sources import Item, bits
from spine.anatomy import CANAL_LABEL, DISC_OFFSET, PARTIAL_OFFSET, STRUCTURES, Structure

SAGITTAL = "PIL"  # axes (i, j, k) run to the back, to the feet and to the left: numpy (slice, down, back)
IMAGE_ENDS = (".nii.gz", ".nii", ".mha", ".nrrd")


def spider(folder: Path, pixel_mm: float) -> Iterator[Item]:
    """SPIDER (Zenodo 10159290): images/<patient>_<series>.mha with masks/ alike,
    every patient that no split holds back.

    Masks: 1..25 vertebra, 100 canal, 101..125 partly visible vertebra, 201..225 disc, 0 background or sacrum.
    """
    splits = sources.read_splits()
    kept_back = {p for name in splits if name.startswith("spider") for s in ("val", "test") for p in splits[name][s]}
    for file in sorted((folder / "images").glob("*.mha")):
        patient = file.stem.split("_")[0]
        mask = folder / "masks" / file.name
        if patient in kept_back or not mask.exists():
            continue
        volume, labels, slice_mm = _pair(file, mask, pixel_mm)
        kinds = np.zeros(labels.shape, np.uint8)
        kinds[((labels > 0) & (labels < CANAL_LABEL)) | ((labels > PARTIAL_OFFSET) & (labels < DISC_OFFSET))] = 1
        kinds[labels > DISC_OFFSET] = 2
        kinds[labels == CANAL_LABEL] = 3
        if (kinds == 1).any():
            yield Item("spider", patient, sources.scaled(volume), sources.spider_sets(kinds), slice_mm)


def nnunet(folder: Path, classes: Mapping[str, Sequence[str]], pixel_mm: float) -> Iterator[Item]:
    """A raw nnU-Net folder (imagesTr/<case>_0000.*, labelsTr/<case>.*, dataset.json).

    `classes` gives, for each label name of dataset.json, the structures (anatomy.Structure names) that it may be;
    a label that it leaves out is unknown and takes no part in the loss.

    Raises:
        ValueError: `classes` names a label that the data set does not have, or a structure that is not ours.
    """
    names: dict[str, int] = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["labels"]
    strange = sorted(set(classes) - set(names))
    if strange:
        raise ValueError(f"{folder}: dataset.json has no label {strange[0]!r}; it has {sorted(names)}.")
    ours = {s.name: s for s in STRUCTURES}
    wrong = sorted({s for members in classes.values() for s in members} - set(ours))
    if wrong:
        raise ValueError(f"{wrong[0]!r} is not a structure; known are {sorted(ours)}.")
    table = np.full(max(names.values()) + 1, sources.ALL, np.uint16)
    for name, members in classes.items():
        table[names[name]] = bits(*(Structure[m] for m in members))
    for mask in sorted((folder / "labelsTr").iterdir()):
        end = next((e for e in IMAGE_ENDS if mask.name.endswith(e)), None)
        if end is None:
            continue
        case = mask.name.removesuffix(end)
        volume, labels, slice_mm = _pair(folder / "imagesTr" / f"{case}_0000{end}", mask, pixel_mm)
        yield Item("nnunet", case, sources.scaled(volume), table[labels], slice_mm)


def _pair(image: Path, mask: Path, pixel_mm: float) -> tuple[NDArray[np.float32], NDArray[np.uint8], float]:
    """(volume, labels, slice distance) on the model's in-plane grid, axes (slice, down, back)."""
    picture = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(image), SimpleITK.sitkFloat32), SAGITTAL)
    drawn = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(mask), SimpleITK.sitkUInt8), SAGITTAL)
    if picture.GetSize() != drawn.GetSize():
        raise ValueError(f"{mask}: size {drawn.GetSize()}, its image has {picture.GetSize()}.")
    back_mm, down_mm, slice_mm = picture.GetSpacing()
    if abs(back_mm - down_mm) > 0.01 * back_mm:
        raise ValueError(f"{image}: pixels of {back_mm} x {down_mm} mm; resample to square pixels first.")
    volume = np.stack([sources.resample(p, back_mm, pixel_mm) for p in SimpleITK.GetArrayViewFromImage(picture)])
    labels = SimpleITK.GetArrayViewFromImage(drawn)
    return volume, np.stack([sources.resample_labels(p, back_mm, pixel_mm) for p in labels]), float(slice_mm)
