"""The pack's graded mid-sagittal pictures as studies, and their labels by patient and disc level.

    python -m lab.train.grade_cases --data ../shared/data --out CACHE

runs read, conform, segment, label and measure over every picture and keeps the result of each in CACHE, so that
features and heads can be tried without running the network again. A cache belongs to one segmenter: its digest is
kept beside each case and a case of another one is made again. No torch: evaluation at a partner hospital uses it too.
"""

from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from spine.anatomy import DISC_OFFSET, disc_level
from spine.conform import conform_study
from spine.label import label_levels
from spine.measure import measure_levels
from spine.pipeline import Models, open_models
from spine.records import Grid, LabelledSpine, Measurement, Series, Study, Volume
from spine.segment import segment_volume

SPLITS = Path(__file__).with_name("splits.json")
SAGITTAL = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)  # i to the back, j to the feet, k to the left
MENDELEY_MM = 0.78  # assumed by the data's own notes; no millimetres are reported from it
SLICE_MM = 4.0
SETS = ("spider_t2", "mendeley_t2", "spider_t1")

SPIDER_COLUMNS = {
    "Pfirrman grade": "pfirrmann",
    "Modic": "modic",
    "UP endplate": "upper_endplate",
    "LOW endplate": "lower_endplate",
    "Spondylolisthesis": "spondylolisthesis",
    "Disc herniation": "herniation",
    "Disc narrowing": "narrowing",
    "Disc bulging": "bulging",
}
MENDELEY_LEVELS = {"L5S1": "L5/S1", "L4L5": "L4/L5", "L3L4": "L3/L4"}


@dataclass(frozen=True)
class Case:
    """One picture after measuring."""

    group: str  # one of SETS
    patient: str
    volume: Volume
    spine: LabelledSpine
    measurements: tuple[Measurement, ...]


def picture_study(file: Path, pixel_mm: float, slice_mm: float, t1: bool) -> Study:
    """A grey PNG with anterior on the left and superior on top as a study of one slice."""
    picture = np.asarray(Image.open(file).convert("L"))
    grid = Grid((picture.shape[1], picture.shape[0], 1), (pixel_mm, pixel_mm, slice_mm), (0.0, 0.0, 0.0), SAGITTAL)
    slug = "sagittal-t1-spine-mri" if t1 else "sagittal-spine-mri"
    series = Series(slug, file.stem, picture[None], grid)
    return Study(None, sagittal_t1=series) if t1 else Study(series)


def pictures(data: Path) -> Iterator[tuple[str, str, Study]]:
    """(set, patient, study) of every picture, set by set in the order of SETS."""
    spacing = pd.read_csv(data / "spider_midsagittal" / "spacing.csv", dtype={"patient": str})
    for group in SETS:
        if group == "mendeley_t2":
            for file in sorted((data / "mendeley_midsagittal" / "images").glob("*_t2.png")):
                yield group, str(int(file.stem.split("_")[0])), picture_study(file, MENDELEY_MM, SLICE_MM, False)
            continue
        contrast = group.removeprefix("spider_")
        for row in spacing[spacing.contrast == contrast].itertuples():
            file = data / "spider_midsagittal" / str(row.file)
            yield group, str(row.patient), picture_study(file, float(row.pixel_mm), SLICE_MM, contrast == "t1")


def measure_case(group: str, patient: str, study: Study, models: Models) -> Case:
    """The stages before grading."""
    volume = conform_study(study, models.settings.grid)
    spine = label_levels(segment_volume(volume, models.segmenter, models.settings.segmenter), volume)
    return Case(group, patient, volume, spine, measure_levels(spine, volume))


def cached_cases(cache: Path) -> list[Case]:
    """Every case in `cache`, by set and patient."""
    return [Case(*pickle.loads(file.read_bytes())["case"]) for file in sorted(cache.glob("*.pickle"))]


def split_of(group: str) -> dict[str, str]:
    """Patient -> 'train', 'val' or 'test' of the set `group`."""
    name = "mendeley_midsagittal" if group.startswith("mendeley") else "spider_midsagittal"
    parts = json.loads(SPLITS.read_text(encoding="utf-8"))[name]
    return {patient: part for part in ("train", "val", "test") for patient in parts[part]}


def spider_labels(data: Path) -> dict[str, dict[str, dict[str, int]]]:
    """Patient -> level -> grade name -> value. IVD label 1 is the most caudal disc, L5/S1."""
    table = pd.read_csv(data / "spider_midsagittal" / "gradings.csv", dtype={"Patient": str})
    labels: dict[str, dict[str, dict[str, int]]] = {}
    for _, row in table.iterrows():
        level = disc_level(DISC_OFFSET + int(row["IVD label"]))
        values = {name: int(row[column]) for column, name in SPIDER_COLUMNS.items() if pd.notna(row[column])}
        labels.setdefault(row["Patient"], {})[level] = values
    return labels


def mendeley_pfirrmann(data: Path) -> dict[str, dict[str, int]]:
    """Patient -> level -> Pfirrmann grade of the three lowest discs."""
    table = pd.read_csv(data / "mendeley_midsagittal" / "pfirrmann.csv", dtype={"patient": str})
    return {
        row["patient"]: {level: int(row[c]) for c, level in MENDELEY_LEVELS.items() if pd.notna(row[c])}
        for _, row in table.iterrows()
    }


def mendeley_boxes(data: Path, finding: str) -> Mapping[str, np.ndarray]:
    """Patient -> (n, 4) boxes of `finding` on T2: x_min, y_min, x_max, y_max in stored pixels."""
    table = pd.read_csv(data / "mendeley_midsagittal" / "boxes.csv", dtype={"patient": str})
    table = table[table.contrast == "t2"]
    columns = ["x_min", "y_min", "x_max", "y_max"]
    found = {p: np.zeros((0, 4)) for p in table.patient.unique()}
    for patient, part in table[table.finding == finding].groupby("patient"):
        found[str(patient)] = part[columns].to_numpy(float)
    return found


def main() -> None:
    """Fill the cache."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, default=Path("model"))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    models = open_models(args.model, "cpu")
    digest = models.settings.segmenter.sha256
    for group, patient, study in tqdm(list(pictures(args.data)), mininterval=10):
        file = args.out / f"{group}_{int(patient):04d}.pickle"
        if file.exists() and pickle.loads(file.read_bytes())["segmenter"] == digest:
            continue
        case = measure_case(group, patient, study, models)
        parts = tuple(getattr(case, f.name) for f in fields(Case))
        file.write_bytes(pickle.dumps({"segmenter": digest, "case": parts}))


if __name__ == "__main__":
    main()
