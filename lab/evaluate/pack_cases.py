"""The pack's SPIDER patients as a hospital would bring them: images, a CSV of cases, a cohort table.

    python -m lab.evaluate.pack_cases --data ../shared/data --split test --output PACK
    python -m lab.evaluate.run_external --cases PACK/cases.csv --cohort PACK/cohort.csv
        --reference ../shared/data/spider_space --reference-map vertebra_disc_canal
        --gradings ../shared/data/spider_midsagittal/gradings.csv --output OUT

A patient is up to two cases: the T2 SPACE slab, which has masks, and the mid-sagittal T2 slice with the T1 beside it,
which has the grades of every disc. Slices become MHA files with their pixel spacing; the slabs are read where they are.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import SimpleITK
from PIL import Image
from tqdm import tqdm

from lab.evaluate.run_pack import SAGITTAL, SPLITS

SPLIT_NAMES = ("train", "val", "test")
CASES = ("case", "image", "t1")
COHORT = ("case", "patient", "split", "sex", "age_years", "vendor", "field_strength_t", "sequence")


def main(argv: list[str] | None = None) -> None:
    """Write PACK/images, PACK/cases.csv and PACK/cohort.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--split", choices=(*SPLIT_NAMES, "all"), default="test", help="test: patients never seen")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    print(f"{write_pack(args.data, args.split, args.output)} cases of the split '{args.split}' in {args.output}")


def write_pack(data: Path, split: str, output: Path) -> int:
    """Write the cases of `split` ('all': every patient) below `output`; returns how many there are."""
    patients = json.loads(SPLITS.read_text(encoding="utf-8"))
    split_of = {p: name for name in SPLIT_NAMES for p in patients["spider_midsagittal"][name]}
    split_of |= {p: name for name in SPLIT_NAMES for p in patients["spider_space"][name]}
    facts = _overview(data / "spider_midsagittal" / "overview.csv")
    slices = _slices(data / "spider_midsagittal")
    images = output / "images"
    images.mkdir(parents=True, exist_ok=True)
    cases, cohort = [], []
    for patient in tqdm(sorted((p for p, name in split_of.items() if split in (name, "all")), key=int)):
        slab = data / "spider_space" / f"{patient}_image.nii.gz"
        found = {"slab": {"image": str(slab.resolve())}} if slab.is_file() else {}
        written = {
            c: str(_write_slice(*slices[patient, c], images).resolve()) for c in ("t2", "t1") if (patient, c) in slices
        }
        if written:
            found["slice"] = {"image": written.get("t2", ""), "t1": written.get("t1", "")}
        for kind, files in found.items():
            case = patient if kind == "slab" else f"{patient}_slice"
            sequence = "T2 SPACE slab" if kind == "slab" else " and ".join(c.upper() for c in written) + " slice"
            cases.append({"case": case, **files})
            known = facts.get((patient, "t2_SPACE" if kind == "slab" else max(written)), {})
            cohort.append({"case": case, "patient": patient, "split": split_of[patient], "sequence": sequence, **known})
    _write_table(output / "cases.csv", CASES, cases)
    _write_table(output / "cohort.csv", COHORT, cohort)
    return len(cases)


def _slices(folder: Path) -> dict[tuple[str, str], tuple[Path, float, float]]:
    """(patient, 't1' or 't2') -> picture, pixel spacing and slice step in millimetres."""
    with (folder / "spacing.csv").open(encoding="utf-8", newline="") as file:
        return {
            (row["patient"], row["contrast"]): (
                folder / row["file"],
                float(row["pixel_mm"]),
                float(row["slice_step_mm"]),
            )
            for row in csv.DictReader(file)
        }


def _overview(file: Path) -> dict[tuple[str, str], dict[str, str]]:
    """(patient, series) -> columns of the cohort table; `birth_date` holds the age in years."""
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    found = {}
    for row in rows:
        patient, _, series = row["new_file_name"].partition("_")
        found[patient, series] = {
            "sex": {"F": "female", "M": "male"}.get(row["sex"], ""),
            "age_years": row["birth_date"],
            "vendor": row["Manufacturer"].split()[0].capitalize() if row["Manufacturer"] else "",
            "field_strength_t": row["MagneticFieldStrength"],
        }
    return found


def _write_slice(picture: Path, pixel_mm: float, step_mm: float, folder: Path) -> Path:
    """The grey picture (anterior left, superior up) as a sagittal MHA of one slice."""
    image = SimpleITK.GetImageFromArray(np.asarray(Image.open(picture).convert("L"))[None])
    image.SetSpacing((pixel_mm, pixel_mm, step_mm))
    image.SetDirection(SAGITTAL)
    target = folder / f"{picture.stem}.mha"
    SimpleITK.WriteImage(image, str(target), True)
    return target


def _write_table(file: Path, columns: tuple[str, ...], rows: list[dict[str, str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
