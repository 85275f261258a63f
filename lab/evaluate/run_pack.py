"""The pack's SPIDER T2 SPACE and Mendeley patients through the pipeline: Dice, surface distance, numbering.

    python -m lab.evaluate.run_pack --data ../shared/data --split test --out docs/segmenter

`discs_found`: share of the reference's discs that have a disc of ours to themselves; `lumbar_right`, `all_right`: the
five lowest levels, or all, bear their names; `wrong_in_silence`: a level has another's name and no doubt says so.
Raw results of every case are written as JSON; the table is derived from them. Intervals are 95 % bootstrap
intervals over patients.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from lab.evaluate.metrics import assd_mm, dice
from spine.anatomy import CANAL_LABEL, DISC_OFFSET, PARTIAL_OFFSET
from spine.conform import conform_study, restore
from spine.pipeline import Models, open_models
from spine.quality.naming import name_doubts
from spine.quality.rules import distance_doubts
from spine.quality.thresholds import read_thresholds
from spine.read import read_files
from spine.records import Grid, LabelledSpine, Series, Study, Volume

SPLITS = Path(__file__).parents[1] / "train" / "splits.json"
MENDELEY_MM = (4.0, 0.78, 0.78)  # assumed by the data's own notes; no millimetres are reported from it
SAGITTAL = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)  # i to the back, j to the feet, k to the left
MIN_DISC_MM3 = 150.0


def main() -> None:
    """Run, store, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, default=Path("model"))
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=("spider_space", "mendeley_t1"), help="one of the two sets")
    args = parser.parse_args()
    models = open_models(args.model, "cpu")
    splits = json.loads(SPLITS.read_text(encoding="utf-8"))
    sets = {"spider_space": "spider_space", "mendeley_t1": "mendeley_midsagittal"}
    raw: dict[str, list[dict[str, Any]]] = {}
    for name, key in sets.items():
        if args.only in (None, name):
            case = space_case if name == "spider_space" else mendeley_case
            raw[name] = [case(args.data, p, models) for p in tqdm(splits[key][args.split], desc=name)]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"cases_{args.split}.json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    table = summary(raw, args.split)
    (args.out / f"table_{args.split}.md").write_text(table, encoding="utf-8")
    print(table)


def predict(study: Study, models: Models) -> tuple[NDArray[np.uint8], LabelledSpine, Volume]:
    """(mask on the stored grid (k, j, i), labelled spine, the volume that it lies on)."""
    volume = conform_study(study, models.settings.grid)
    segmentation, spine = models.read(volume)
    return restore(spine, segmentation, volume), spine, volume


def surely_named(spine: LabelledSpine, volume: Volume) -> frozenset[int]:
    """Labels of the bodies whose name is told without a doubt: of none where the count itself is doubtful."""
    doubts = name_doubts(spine, distance_doubts(spine, volume, read_thresholds()))
    doubtful = {doubt.subject for doubt in doubts}
    return frozenset() if None in doubtful else frozenset(b.label for b in spine.vertebrae if b.name not in doubtful)


def space_case(data: Path, patient: str, models: Models) -> dict[str, Any]:
    """One SPIDER T2 SPACE patient; rows above the highest labelled vertebra are left out."""
    study = read_files(image=data / "spider_space" / f"{patient}_image.nii.gz")
    reference = read_files(image=data / "spider_space" / f"{patient}_mask.nii.gz").primary.array
    start = time.perf_counter()
    mask, spine, volume = predict(study, models)
    seconds = time.perf_counter() - start
    # stored (superior, anterior, slice) as (k, j, i): keep rows up to the top of the highest labelled vertebra
    top = int(np.flatnonzero((reference == 1).any((1, 2)))[-1]) + 1
    mask, reference = mask[:top], reference[:top]
    spacing = study.primary.grid.spacing_mm[::-1]
    vertebra = ((mask > 0) & (mask < CANAL_LABEL)) | ((mask > PARTIAL_OFFSET) & (mask < DISC_OFFSET))
    parts = {"vertebra": (vertebra, 1), "disc": (mask > DISC_OFFSET, 2), "canal": (mask == CANAL_LABEL, 3)}
    result: dict[str, Any] = {"patient": patient, "seconds": round(seconds, 2)}
    for name, (found, label) in parts.items():
        result[f"dice_{name}"] = round(dice(found, reference == label), 4)
        result[f"assd_{name}_mm"] = round(assd_mm(found, reference == label, spacing), 3)
    names = disc_names(reference == 2, mask, float(np.prod(spacing)))
    # A disc of ours stands for one disc of the reference only: where it covers two, one of them was not found.
    result |= {"discs": names, "discs_found": round(len(set(names) - {0}) / len(names), 4)}
    right = [DISC_OFFSET + k for k in range(1, len(names) + 1)]
    result |= {"lumbar_right": names[:5] == right[:5], "all_right": names == right}
    wrong = {name - DISC_OFFSET for name, true in zip(names, right, strict=True) if name not in (0, true)}
    result["wrong_in_silence"] = bool(wrong & surely_named(spine, volume))
    result |= {"numbering": spine.numbering.method, "probability": spine.numbering.probability}
    return result


def disc_names(reference: NDArray[np.bool_], mask: NDArray[np.uint8], voxel_mm3: float) -> list[int]:
    """Our label of each reference disc from the lowest up; 0 where no disc of ours lies on most of it.

    Discs of the reference are its connected parts; parts at the same height are one disc. (k, j, i), k upward.
    """
    labels, _ = ndimage.label(reference)
    parts = []
    for n, box in enumerate(ndimage.find_objects(labels), start=1):
        own = labels[box] == n
        if own.sum() * voxel_mm3 >= MIN_DISC_MM3:
            found = mask[box][own]
            hit = np.bincount(found[found > DISC_OFFSET], minlength=DISC_OFFSET + 1)
            label = int(hit.argmax()) if hit.sum() > 0.3 * own.sum() else 0
            parts.append((ndimage.center_of_mass(labels == n)[0], label))
    parts.sort()
    names: list[int] = []
    heights: list[float] = []
    for height, label in parts:
        if heights and height - heights[-1] < 12.0:  # samples of 0.7 mm: two halves of one disc
            continue
        names.append(label)
        heights.append(height)
    return names


def mendeley_case(data: Path, patient: str, models: Models) -> dict[str, Any]:
    """One Mendeley T1 slice: bodies between the top of L1 and the bottom of L5; level of each body."""
    folder = data / "mendeley_midsagittal"
    picture = np.asarray(Image.open(folder / "images" / f"{int(patient):04d}_t1.png"))
    reference = np.asarray(Image.open(folder / "masks" / f"{int(patient):04d}_t1.png"))
    grid = Grid((picture.shape[1], picture.shape[0], 1), MENDELEY_MM[::-1], (0.0, 0.0, 0.0), SAGITTAL)
    study = Study(Series("sagittal-t1-spine-mri", patient, picture[None], grid))
    volume = conform_study(study, models.settings.grid)
    segmentation, spine = models.read(volume)
    mask = restore(spine, segmentation, volume)[0]
    bodies = _bodies_only(mask, spine, volume.spacing_mm[1] / MENDELEY_MM[1])
    drawn = (reference >= 1) & (reference <= 5)
    rows = np.flatnonzero(drawn.any(1))
    window = slice(rows[0], rows[-1] + 1)
    levels = {}
    for k in sorted(set(np.unique(reference[drawn]).tolist())):
        found = bodies[reference == 6 - k]
        hit = np.bincount(found, minlength=1)
        levels[f"L{6 - k}"] = int(hit[1:].argmax()) + 1 if hit[1:].sum() > 0.3 * found.size else 0
    right = {6 - int(name[1]): label for name, label in levels.items()}
    wrong = {label for true, label in right.items() if label not in (0, true)}
    return {
        "patient": patient,
        "dice_bodies": round(dice(bodies[window] > 0, drawn[window]), 4),
        "levels": levels,
        "all_right": all(label == true for true, label in right.items()),
        "wrong_in_silence": bool(wrong & surely_named(spine, volume)),
        "numbering": spine.numbering.method,
    }


def _bodies_only(mask: NDArray[np.uint8], spine: LabelledSpine, scale: float) -> NDArray[np.uint8]:
    """Vertebra labels of `mask` (rows, columns) without posterior elements, partial ones under their own number."""
    label = np.where((mask > PARTIAL_OFFSET) & (mask < DISC_OFFSET), mask - PARTIAL_OFFSET, mask)
    label = np.where(label < CANAL_LABEL, label, 0)
    rows = np.minimum((np.arange(mask.shape[0]) / scale).round().astype(int), spine.mask.shape[1] - 1)
    columns = np.minimum((np.arange(mask.shape[1]) / scale).round().astype(int), spine.mask.shape[2] - 1)
    posterior = (spine.structures[0] == 2)[np.ix_(rows, columns)]
    return np.where(posterior, 0, label).astype(np.uint8)


def interval(values: list[float], seed: int = 0, draws: int = 2000) -> tuple[float, float, float]:
    """Mean and its 95 % bootstrap interval over patients."""
    data = np.asarray(values, float)
    means = data[np.random.default_rng(seed).integers(len(data), size=(draws, len(data)))].mean(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(data.mean()), float(low), float(high)


def summary(raw: dict[str, list[dict[str, Any]]], split: str) -> str:
    """Markdown table of the means over patients."""
    lines = ["| data | n | measure | mean | 95 % interval | worst |", "|---|---|---|---|---|---|"]
    for name, cases in raw.items():
        keys = [
            k
            for k in cases[0]
            if k.startswith(("dice", "assd")) or k in ("discs_found", "lumbar_right", "all_right", "wrong_in_silence")
        ]
        for key in keys:
            values = [float(c[key]) for c in cases]
            mean, low, high = interval(values)
            worst = max(values) if key.startswith(("assd", "wrong")) else min(values)
            lines.append(
                f"| {name} {split} | {len(cases)} | {key} | {mean:.3f} | {low:.3f} to {high:.3f} | {worst:.3f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
