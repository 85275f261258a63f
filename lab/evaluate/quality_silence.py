"""Damages that rules alone must tell, on training and validation patients: how many are told, and how many sound ones.

    python -m lab.evaluate.quality_silence --data ../shared/data --out docs/quality

Rows missing or stored twice, two patients in one picture, a slice beside its neighbours, a wrong voxel spacing. Test
patients are left alone. OUT/silence.jsonl holds a line for each picture and damage, OUT/silence.md the shares.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from lab.evaluate.quality_cases import MENDELEY_MM, SPLITS, THICK_STEP, Sample, draw, load_mendeley, load_space
from lab.evaluate.quality_damage import RULED
from spine.conform import conform_study
from spine.measure import measure_levels
from spine.pipeline import Models, open_models
from spine.quality.motion import motion_doubts
from spine.quality.seams import seam_doubts
from spine.quality.spacing import spacing_doubts
from spine.quality.thresholds import read_thresholds
from spine.quality.verdict import implausible_sizes
from spine.settings import Settings

SEXES = {"F": "female", "M": "male"}
STRENGTHS = (0.0, 0.5, 1.0)
FACTORS = (1.0, 1.3, 1.5, 1 / 1.3, 1 / 1.5)
AXES = {"both": (1, 1), "from head to foot": (1, 0), "from front to back": (0, 1)}
SPACING = "spacing"
Row = dict[str, Any]


def main() -> None:
    """Examine, count, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, default=Path("model"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", type=int, default=4, help="every n-th picture for rows and slices")
    parser.add_argument("--every-spacing", type=int, default=20, help="every n-th picture of known spacing")
    args = parser.parse_args()
    models = open_models(args.model, "cpu")
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    with (args.out / "silence.jsonl").open("w", encoding="utf-8") as file:
        for row in tqdm(all_rows(args, models), unit="picture"):
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
    (args.out / "silence.md").write_text(table(rows), encoding="utf-8")
    print(table(rows))


def all_rows(args: argparse.Namespace, models: Models) -> Iterator[Row]:
    """A row for every picture and damage, see `row_of`."""
    pictures = [islice(kind(args.data), 0, None, args.every) for kind in (midsagittal, mendeley, stacks)]
    for source in pictures:
        yield from pieces(source, models.settings)
    for sample in islice(midsagittal(args.data), 1, None, args.every_spacing):
        yield from spacings(sample, sex_of(args.data, sample.patient), models)


def known_patients(name: str) -> list[str]:
    """Training and validation patients of a set of lab/train/splits.json."""
    splits = json.loads(SPLITS.read_text(encoding="utf-8"))[name]
    return [*splits["train"], *splits["val"]]


def midsagittal(data: Path) -> Iterator[Sample]:
    """T1 and T2 slice of every SPIDER patient, whose spacing is known."""
    folder = data / "spider_midsagittal"
    with (folder / "spacing.csv").open(encoding="utf-8", newline="") as file:
        pixel = {row["file"]: float(row["pixel_mm"]) for row in csv.DictReader(file)}
    for patient in known_patients("spider_midsagittal"):
        for name in (f"{patient}_t1.png", f"{patient}_t2.png"):
            if name in pixel and (folder / name).exists():
                image = np.asarray(Image.open(folder / name))[None]
                yield sound(name, patient, "SPIDER slice", image, (4.0, pixel[name], pixel[name]))


def mendeley(data: Path) -> Iterator[Sample]:
    """T1 slice of every Mendeley patient."""
    for patient in known_patients("mendeley_midsagittal"):
        yield sound(patient, patient, "Mendeley slice", load_mendeley(data, patient)[0], MENDELEY_MM)


def stacks(data: Path) -> Iterator[Sample]:
    """Slices 4 mm apart of every SPIDER T2 SPACE patient."""
    for patient in known_patients("spider_space"):
        image, _, spacing = load_space(data, patient)
        yield sound(
            patient, patient, "SPIDER stack", image[::THICK_STEP], (spacing[0] * THICK_STEP, spacing[1], spacing[2])
        )


def sound(name: str, patient: str, source: str, image: Any, spacing_mm: tuple[float, float, float]) -> Sample:
    """A sample as it came."""
    return Sample(name, patient, source, "fit", "sound", "", 0.0, image, spacing_mm)


def sex_of(data: Path, patient: str) -> str | None:
    """What SPIDER's overview says of `patient`."""
    with (data / "spider_midsagittal" / "overview.csv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return next((SEXES.get(row["sex"]) for row in rows if row["new_file_name"].startswith(f"{patient}_")), None)


def pieces(samples: Iterator[Sample], settings: Settings) -> Iterator[Row]:
    """Rows of the pictures themselves, of their damaged copies, and of each with the one before it on top."""
    yield from (row for pair in pairwise([None, *samples]) for row in _pieces(pair[0], pair[1], settings))


def _pieces(before: Sample | None, sample: Sample | None, settings: Settings) -> Iterator[Row]:
    if sample is None:
        return
    yield row_of(sample, "none", settings)
    for family, damage in RULED.items():
        if family == "moved slice" and len(sample.image) == 1:
            continue
        for strength in STRENGTHS:
            rng = draw(sample.source, sample.name, family, str(strength))
            image, _ = damage(sample.image.astype(np.float32), np.ones(sample.image.shape, np.uint8), strength, rng)
            yield row_of(replace(sample, image=image), family, settings)
    if before is not None:
        yield row_of(replace(sample, image=two_patients(before.image, sample.image)), "two patients", settings)


def two_patients(upper: Any, lower: Any) -> Any:
    """The upper half of one picture over the lower half of another, as bright."""
    slices, rows, columns = (min(pair) for pair in zip(upper.shape, lower.shape, strict=True))
    factor = lower.mean() / max(float(upper.mean()), 1e-6)
    parts = (upper[:slices, : rows // 2, :columns] * factor, lower[:slices, rows // 2 : rows, :columns])
    return np.concatenate(parts, axis=1).astype(np.float32)


def row_of(sample: Sample, damage: str, settings: Settings) -> Row:
    """Whether the rules on seams and on motion tell something of `sample`."""
    study, limits = sample.study(), read_thresholds()
    volume = conform_study(study, settings.grid)
    told = [*seam_doubts(study.primary, volume, limits)[0], *motion_doubts(volume, limits)[0]]
    return {"name": sample.name, "source": sample.source, "damage": damage, "told": told}


def spacings(sample: Sample, sex: str | None, models: Models) -> Iterator[Row]:
    """Whether a spacing wrong by each of FACTORS along each of AXES is told, without the sex and with it."""
    limits = read_thresholds()
    for axes, (down, back) in AXES.items():
        for factor in FACTORS:
            if factor == 1 and axes != "both":
                continue
            step, row_mm, column_mm = sample.spacing_mm
            study = replace(sample, spacing_mm=(step, row_mm * factor**down, column_mm * factor**back)).study()
            volume = conform_study(study, models.settings.grid)
            _, spine = models.read(volume)
            found, shape = measure_levels(spine, volume), spacing_doubts(spine, volume, limits)
            told = [
                name
                for name, clinical in (("alone", None), ("with sex", {"sex": sex}))
                if shape or implausible_sizes(found, clinical)
            ]
            kind = "none" if factor == 1 else f"{axes} x {factor:.2f}"
            yield {"name": sample.name, "source": SPACING, "damage": kind, "told": told}


def table(rows: list[Row]) -> str:
    """Shares of pictures of which something was told, by source and damage."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["source"], row["damage"]), []).append(row)
    lines = [
        "Training and validation patients only. `none`: sound pictures, where a word is a false alarm.",
        "",
        "| pictures | damage | n | told |",
        "|---|---|---|---|",
    ]
    for (source, damage), own in groups.items():
        if source == SPACING:
            alone, sex = (sum(kind in row["told"] for row in own) for kind in ("alone", "with sex"))
            lines.append(f"| spacing of SPIDER slices | {damage} | {len(own)} | {alone}; sex known: {sex} |")
        else:
            lines.append(f"| {source} | {damage} | {len(own)} | {sum(bool(row['told']) for row in own)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
