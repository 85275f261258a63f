"""Volumes on a collaborator's disk as training items: SPIDER as it is published, and raw nnU-Net folders.

Of SPIDER only images and masks are read: overview.csv and radiological_gradings.csv are not needed to segment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.train import sources
from lab.train.pairs import Pair, read_pair
from lab.train.sources import Item, Loaded, UnusableData, bits
from spine.anatomy import CANAL_LABEL, DISC_OFFSET, PARTIAL_OFFSET, STRUCTURES, Structure

IMAGE_ENDS = (".nii.gz", ".nii", ".mha", ".nrrd")
MOST_VERTEBRAE = 25  # SPIDER's numbers: 1..25 from below
SPIDER_LABELS = frozenset(
    {0, CANAL_LABEL}.union(
        *(range(first + 1, first + MOST_VERTEBRAE + 1) for first in (0, PARTIAL_OFFSET, DISC_OFFSET))
    )
)
Sets = Callable[[Pair], NDArray[np.uint16] | None]
Case = tuple[str, Path, Path]  # patient or case, image, mask


def spider(folder: Path, pixel_mm: float, split: str = "train") -> Loaded:
    """SPIDER (Zenodo 10159290): images/<patient>_<series>.mha with masks/ alike.

    "train" takes every patient that no split holds back, "val" those held back for validation.

    Masks: 1..25 vertebra, 100 canal, 101..125 partly visible vertebra, 201..225 disc, 0 background or sacrum.

    Raises:
        UnusableData: no images/*.mha there, or files that cannot be trained on, all of them named.
    """
    files = sorted((folder / "images").glob("*.mha"))
    if not files:
        raise UnusableData(f"--spider {folder}: no case; looked for images/*.mha and masks/*.mha.")
    splits = sources.read_splits()
    held = {s: {p for name in splits if name.startswith("spider") for p in splits[name][s]} for s in ("val", "test")}
    loaded, cases = Loaded(), []
    for file in files:
        patient, mask = file.stem.split("_")[0], folder / "masks" / file.name
        if (patient not in held["val"]) if split == "val" else (patient in held["val"] | held["test"]):
            loaded.left_out["held back for validation or test" if split == "train" else f"not of {split}"] += 1
        elif not mask.exists():
            loaded.left_out["no mask"] += 1
        else:
            cases.append((patient, file, mask))
    return _read_all("spider", cases, _spider_item_sets, pixel_mm, loaded)


def _spider_item_sets(pair: Pair) -> NDArray[np.uint16] | None:
    labels, strange = pair.labels, sorted(pair.values - SPIDER_LABELS)
    if strange:
        raise UnusableData(
            f"label {strange[0]} is none of SPIDER's: 1..25 vertebra, 100 canal, 101..125 partly visible vertebra, "
            "201..225 disc."
        )
    kinds = np.zeros(labels.shape, np.uint8)
    kinds[((labels > 0) & (labels < CANAL_LABEL)) | ((labels > PARTIAL_OFFSET) & (labels < DISC_OFFSET))] = 1
    kinds[labels > DISC_OFFSET] = 2
    kinds[labels == CANAL_LABEL] = 3
    return sources.spider_sets(kinds) if (kinds == 1).any() else None


def nnunet(folder: Path, classes: Mapping[str, Any], pixel_mm: float) -> Loaded:
    """A raw nnU-Net folder (imagesTr/<case>_0000.*, labelsTr/<case>.*, dataset.json); channel 0 is the picture.
    Case names mean nothing to lab/train/splits.json: no patient is held back.

    `classes` gives, for each label name of dataset.json, the structures (anatomy.Structure names) that it may be;
    a label that it leaves out is unknown, takes no part in the loss and is told in `Loaded.notes`.

    Raises:
        UnusableData: folder, dataset.json or `classes` is not as described, or files that cannot be trained on, all
            of them named.
    """
    names = _label_numbers(folder / "dataset.json")
    table = {number: sources.ALL for number in names.values()}
    table.update({names[name]: members for name, members in _sets_of(classes, names, folder).items()})
    loaded = Loaded()
    unmapped = sorted(set(names) - set(classes))
    if unmapped:
        loaded.notes.append(
            f"labels of {folder / 'dataset.json'} without an entry in --classes are unknown and take no part in the "
            f"loss: {', '.join(unmapped)}."
        )
    cases = _nnunet_cases(folder)

    def item_sets(pair: Pair) -> NDArray[np.uint16] | None:
        strange = sorted(pair.values - set(table))
        if strange:
            raise UnusableData(f"label {strange[0]} is not in {folder / 'dataset.json'}, which has {sorted(table)}.")
        values, places = np.unique(pair.labels, return_inverse=True)
        sets = np.array([table[v] for v in values.tolist()], np.uint16)[places].reshape(pair.labels.shape)
        return sets if np.any(sets != sources.ALL) else None

    return _read_all("nnunet", cases, item_sets, pixel_mm, loaded)


def _nnunet_cases(folder: Path) -> list[Case]:
    looked = (
        f"--nnunet {folder}: no case; looked for labelsTr/<case> and imagesTr/<case>_0000 ({', '.join(IMAGE_ENDS)})."
    )
    if not (folder / "labelsTr").is_dir():
        raise UnusableData(looked)
    cases, lacking = [], []
    for mask in sorted((folder / "labelsTr").iterdir()):
        end = next((e for e in IMAGE_ENDS if mask.name.endswith(e)), None)
        if end is None:
            continue
        case = mask.name.removesuffix(end)
        image = folder / "imagesTr" / f"{case}_0000{end}"
        if not image.exists():
            lacking.append(f"{mask}: its image {image.name} is not in imagesTr.")
        cases.append((case, image, mask))
    if lacking:
        raise UnusableData("\n".join(lacking))
    if not cases:
        raise UnusableData(looked)
    return cases


def _label_numbers(file: Path) -> dict[str, int]:
    """{label name: number} of dataset.json, as nnU-Net v2 writes it."""
    content = sources.read_json(file)
    names = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not names:
        raise UnusableData(f'{file}: no "labels"; nnU-Net writes {{"labels": {{name: number}}}}.')
    for name, number in names.items():
        if isinstance(number, list):
            raise UnusableData(f"{file}: label {name!r} is a region of several numbers; give each label one number.")
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise UnusableData(
                f"{file}: label {name!r} has {number!r} for its number; nnU-Net v2 writes {{name: number}} (version 1 "
                "wrote it the other way round)."
            )
    if len(set(names.values())) < len(names):
        raise UnusableData(f"{file}: two labels have the same number.")
    return names


def _sets_of(classes: object, names: Iterable[str], folder: Path) -> dict[str, int]:
    """{label name: bits of its structures} of a --classes mapping."""
    if not isinstance(classes, Mapping) or not classes:
        raise UnusableData("--classes: is empty or no mapping; give {label name: [structures it may be]}.")
    strange = sorted(set(classes) - set(names))
    if strange:
        raise UnusableData(f"--classes: {folder}/dataset.json has no label {strange[0]!r}; it has {sorted(names)}.")
    ours = {s.name for s in STRUCTURES}
    found = {}
    for name, members in classes.items():
        if not isinstance(members, list | tuple) or not members:
            raise UnusableData(f"--classes: {name!r} needs a list of structures, not {members!r}.")
        wrong = [m for m in members if m not in ours]
        if wrong:
            raise UnusableData(f"--classes: {wrong[0]!r} is not a structure; known are {sorted(ours)}.")
        found[name] = bits(*{Structure[m] for m in members})
    return found


def _read_all(source: str, cases: Iterable[Case], item_sets: Sets, pixel_mm: float, loaded: Loaded) -> Loaded:
    """`loaded` with an item for each case; every bad file is named before it ends."""
    bad: list[str] = []
    for name, image, mask in cases:
        try:
            pair = read_pair(image, mask, pixel_mm)
        except UnusableData as error:
            bad.append(str(error))
            continue
        try:
            sets = item_sets(pair)
        except UnusableData as error:
            bad.append(f"{mask}: {error}")
            continue
        if sets is None:
            loaded.left_out["no vertebra labelled" if source == "spider" else "no label with a known class"] += 1
        elif not bad:  # with a bad file nothing is trained: the rest is read only to name the others
            loaded.origins_ignored += pair.origin_ignored
            loaded.items.append(Item(source, name, pair.volume, sets, pair.slice_mm))
    if bad:
        raise UnusableData("\n".join(bad))
    return loaded
