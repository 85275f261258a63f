"""The pack's graded mid-sagittal pictures as studies, and their labels by patient and disc level.

    python -m lab.train.grade_cases --data ../shared/data --out CACHE

runs read, conform, segment, label and measure over every picture and keeps the result of each in CACHE, so that
features and heads can be tried without running the network again. A cache belongs to one segmenter and one state of
the measuring code: both digests are kept beside each case, and what belongs to another one is made again. The T1
picture of a SPIDER patient is also kept beside the T2, as a second series. No torch: evaluation uses it too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from spine import measure
from spine.anatomy import DISC_OFFSET, disc_level
from spine.conform import conform_study
from spine.measure import measure_levels
from spine.pipeline import Models, open_models
from spine.records import Grid, LabelledSpine, Measurement, Series, Study, Volume

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
    second: Series | None = None  # T1 of the same patient beside a T2


def picture_study(file: Path, pixel_mm: float, slice_mm: float, t1: bool) -> Study:
    """A grey PNG with anterior on the left and superior on top as a study of one slice, its centre at the origin."""
    picture = np.asarray(Image.open(file).convert("L"))
    rows, columns = picture.shape
    origin_mm = (0.0, -(columns - 1) / 2 * pixel_mm, (rows - 1) / 2 * pixel_mm)
    grid = Grid((columns, rows, 1), (pixel_mm, pixel_mm, slice_mm), origin_mm, SAGITTAL)
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
        made = {
            (str(row.patient), str(row.contrast)): picture_study(
                data / "spider_midsagittal" / str(row.file), float(row.pixel_mm), SLICE_MM, row.contrast == "t1"
            )
            for row in spacing.itertuples()
        }
        for (patient, own), study in made.items():
            if own == contrast:
                beside = made.get((patient, "t1")) if contrast == "t2" else None
                yield group, patient, study if beside is None else replace(study, sagittal_t1=beside.sagittal_t1)


def measure_case(group: str, patient: str, study: Study, models: Models) -> Case:
    """The stages before grading."""
    volume = conform_study(study, models.settings.grid)
    _, spine = models.read(volume)
    second = study.sagittal_t1 if study.sagittal is not None else None
    return Case(group, patient, volume, spine, measure_levels(spine, volume), second)


def cached_cases(cache: Path) -> Iterator[Case]:
    """Every case in `cache`, by set and patient."""
    for file in sorted(cache.glob("*.pickle")):
        yield Case(*pickle.loads(file.read_bytes())["case"])


def measuring_digest() -> str:
    """Digest of the source of spine.measure."""
    sources = sorted(Path(measure.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()


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
    digests = {"segmenter": models.settings.segmenter.sha256, "measure": measuring_digest()}
    for group, patient, study in tqdm(list(pictures(args.data)), mininterval=10):
        file = args.out / f"{group}_{int(patient):04d}.pickle"
        kept = pickle.loads(file.read_bytes()) if file.exists() else {}
        if kept.get("segmenter") != digests["segmenter"]:
            case = measure_case(group, patient, study, models)
        elif kept["measure"] != digests["measure"]:
            case = Case(*kept["case"])
            case = replace(case, measurements=measure_levels(case.spine, case.volume))
        else:
            continue
        # parts, not the Case: a class of a script that is run cannot be found again by pickle
        parts = tuple(getattr(case, f.name) for f in fields(Case))
        file.write_bytes(pickle.dumps({**digests, "case": parts}))


if __name__ == "__main__":
    main()
