"""Labels of a trained segmenter for the training patients' pictures that have none: the second round learns from them.

    python -m lab.train.pseudo_label --data ../shared/data --run ROUND1 --out LABELLED

T1 and T2 slices of one patient lie on each other, so the mean of both answers labels both: what T2 shows clearly
teaches T1. A pixel whose likeliest class has less than SURE_PROB stays unknown. Where a picture has labels of its
own (Mendeley's bodies), they stand, and the network's answer only says which of the classes they leave open.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import nn
from tqdm import tqdm

from lab.train import sources
from lab.train.network import load_average
from lab.train.sources import ALL, Item, bits
from lab.train.train_segmenter import PIXEL_MM
from spine.anatomy import STRUCTURES, Structure

SURE_PROB = 0.8
NEAR_PIXELS = 3  # islands nearer than twice this belong together: bodies, discs, canal and arches of one spine
BACKGROUND = bits(Structure.BACKGROUND)
ZOOMS = (0.9, 1.0, 1.12)


def main() -> None:
    """Label every training patient's pictures; finished patients are skipped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--run", type=Path, required=True, help="folder of lab.train.train_segmenter")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    network = load_average(args.run / "last.pt")
    pairs = [*spider_pairs(args.data), *mendeley_pairs(args.data)]
    for items in tqdm(pairs, mininterval=10):
        label_pair(network, items, args.out)


def spider_pairs(data: Path) -> Iterator[list[Item]]:
    """T1 and T2 slice of each SPIDER training patient, nothing labelled."""
    folder = data / "spider_midsagittal"
    with (folder / "spacing.csv").open(encoding="utf-8") as stream:
        pixel_mm = {row["file"]: float(row["pixel_mm"]) for row in csv.DictReader(stream)}
    for patient in sources.read_splits()["spider_midsagittal"]["train"]:
        items = []
        for contrast in ("t1", "t2"):
            name = f"{patient}_{contrast}.png"
            if name in pixel_mm and (folder / name).exists():
                picture = np.asarray(Image.open(folder / name))
                image = sources.scaled(sources.resample(picture, pixel_mm[name], PIXEL_MM)[None])
                sets = np.full(image.shape, ALL, np.uint16)
                items.append(Item(f"spider_{contrast}", patient, image, sets, 4.0))
        if items:
            yield items


def mendeley_pairs(data: Path) -> Iterator[list[Item]]:
    """T1 and T2 slice of each Mendeley training patient; bodies of L1..S1 labelled."""
    by_patient: dict[str, list[Item]] = {}
    for contrast in ("t1", "t2"):
        for item in sources.mendeley(data, "train", PIXEL_MM, contrast):
            by_patient.setdefault(item.patient, []).append(item)
    yield from by_patient.values()


def label_pair(network: nn.Module, items: list[Item], out: Path) -> None:
    """Write every item of one patient with sets from the mean answer on their common centre."""
    files = [out / f"{i.source}_{i.patient}.npz" for i in items]
    if all(f.exists() for f in files):
        return
    answers = [probabilities(network, item.image[0].astype(np.float32)) for item in items]
    for file, item in zip(files, items, strict=True):
        mean = np.mean([_centred(a, item.image.shape[1:]) for a in answers], axis=0)
        sure = np.where(mean.max(0) >= SURE_PROB, np.left_shift(1, mean.argmax(0)), ALL).astype(np.uint16)
        both = item.sets[0] & _without_strays(sure)
        sets = np.where(both > 0, both, item.sets[0])[None]
        part = file.with_suffix(".part")
        with part.open("wb") as stream:
            np.savez(stream, image=item.image, sets=sets, slice_mm=item.slice_mm)
        part.replace(file)


def _without_strays(sure: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """`sure` (H, W) with every island apart from the largest unknown: sacrum seen in a uterus, bodies in fat."""
    found = (sure != ALL) & (sure & BACKGROUND == 0)
    islands, count = ndimage.label(ndimage.binary_dilation(found, iterations=NEAR_PIXELS))
    if not count:
        return sure
    largest = np.bincount(islands.ravel())[1:].argmax() + 1
    return np.where(found & (islands != largest), ALL, sure).astype(np.uint16)


@torch.no_grad()
def probabilities(network: nn.Module, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """(classes, H, W) of one slice (H, W) without neighbours: the mean over ZOOMS."""
    total = torch.zeros(len(STRUCTURES), *image.shape)
    plane = torch.from_numpy(image)[None, None]
    for zoom in ZOOMS:
        zoomed = nn.functional.interpolate(plane, scale_factor=zoom, mode="bilinear", antialias=zoom < 1)
        high, wide = zoomed.shape[2:]
        padded = nn.functional.pad(zoomed, (0, -wide % 32, 0, -high % 32)).expand(1, 3, -1, -1)
        answer = network(padded).softmax(1)[:, :, :high, :wide]
        total += nn.functional.interpolate(answer, image.shape, mode="bilinear")[0]
    return (total / len(ZOOMS)).numpy()


def _centred(answer: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """`answer` (classes, H, W) cut or padded about its centre to `shape`; outside it nothing is sure."""
    out = np.full((len(answer), *shape), 1 / len(answer), np.float32)
    source, target = [], []
    for have, want in zip(answer.shape[1:], shape, strict=True):
        both = min(have, want)
        source.append(slice((have - both) // 2, (have - both) // 2 + both))
        target.append(slice((want - both) // 2, (want - both) // 2 + both))
    out[:, *target] = answer[:, *source]
    return out


if __name__ == "__main__":
    main()
