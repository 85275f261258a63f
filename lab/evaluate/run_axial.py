"""The axial muscles end to end: synthetic patients of the test family and the one real labelled subject.

    python -m lab.evaluate.run_axial --out docs/muscle --n 40
    python -m lab.evaluate.run_axial --out docs/muscle --n 0 --data ../shared/data --look 1

Each synthetic patient is a sagittal and an axial series of the same spine, written to files and read again; the shipped
segmenter names the levels, `spine.muscle` does the rest. Raw results are stored, every figure is derived from them.
Intervals: 95 % percentile bootstrap, over patients, or over slices for the real subject, who is one person.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from tqdm import tqdm

from lab.evaluate.axial_tables import draw_overlay, write_picture, write_tables
from lab.synth.axial import AxialPhantom, picture, rasterise_axial
from lab.synth.axial_bank import FAMILIES
from lab.synth.axial_case import lower_stack, placing, sagittal_image, series_image
from lab.synth.phantom import rasterise
from lab.synth.render import render
from lab.synth.sample import sample_spine
from spine.anatomy import AxialStructure
from spine.conform import conform_study
from spine.label import label_levels
from spine.muscle import measure_muscles
from spine.muscle.conform import AxialStack, conform_axial
from spine.muscle.segment import MUSCLES, SIDES, Outline, segment_slices
from spine.read import read_files
from spine.records import Grid, MuscleFindings, Series
from spine.runners import Runner, open_runner
from spine.segment import segment_volume
from spine.settings import AxialSettings, Settings, read_settings

LEVEL_AT = {"L5/S1": -0.5, "L4/L5": 0.5, "L3/L4": 1.5}  # vertebra index in the middle of the disc
SAGITTAL_MM = (4.0, 0.8, 0.8)
SAGITTAL_SLICES = 15
AXIAL_MM = (3.5, 5.5)  # slice distance
PIXEL_MM = (0.75, 0.95)
NAMES = tuple(f"{muscle}_{side}" for muscle in MUSCLES for side in SIDES)


@dataclass(frozen=True)
class Models:
    """What runs the two networks."""

    settings: Settings
    segmenter: Runner
    axial: Runner
    axial_settings: AxialSettings


def open_axial(model: Path) -> Models:
    """The segmenter and the axial network of the folder `model`; the digest of the latter is that of its record."""
    settings = read_settings(model)
    record = json.loads((model / "axial.record.json").read_text(encoding="utf-8"))
    axial = AxialSettings(record["file"], record["sha256"], 0.9)
    return Models(
        settings,
        open_runner(model / settings.segmenter.file, settings.segmenter.sha256, "cpu"),
        open_runner(model / axial.file, axial.sha256, "cpu"),
        axial,
    )


@dataclass(frozen=True)
class Patient:
    """One synthetic patient: the two series as read back, and the truth on the stored axial grid (k, j, i)."""

    sagittal: Any  # Study
    axial: Series
    labels: NDArray[np.uint8]
    right: NDArray[np.bool_]
    fat: NDArray[np.float32]
    level: NDArray[np.float32]  # (k,)
    contrast: str


def draw_patient(number: int, folder: Path) -> Patient:
    """Patient `number` of the test family; the files are written to `folder`."""
    rng = np.random.default_rng([FAMILIES["test"], 7, number])
    spine = replace(sample_spine(rng, "lumbar"), metal_label=0)
    place = placing(spine.window, tuple(rng.normal(0, 2.5, 3)))
    sagittal = rasterise(spine, SAGITTAL_MM, SAGITTAL_SLICES)
    grey = render(sagittal.tissues, rng, "t2", 1, SAGITTAL_MM[1], 0.8)
    _write(folder / "sagittal.mha", sagittal_image(np.rint(500 * grey).astype(np.uint16), SAGITTAL_MM, place))
    field = (float(rng.uniform(170, 215)), float(rng.uniform(185, 245)))
    plan = lower_stack(rng, spine, field, float(rng.uniform(*AXIAL_MM)), float(rng.uniform(0.3, 1.1)))
    phantom = rasterise_axial(plan, float(rng.uniform(*PIXEL_MM)))
    contrast = "t1" if rng.random() < 0.2 else "t2"
    image = picture(plan, phantom, rng, contrast, 0.8)
    _write(folder / "axial.mha", series_image(np.rint(500 * image).astype(np.uint16), phantom, place))
    study = read_files(image=folder / "sagittal.mha", axial=folder / "axial.mha")
    return Patient(
        sagittal=study,
        axial=study.axial_t2,
        labels=phantom.labels[::-1],
        right=_right_side(phantom)[::-1],
        fat=phantom.fat()[::-1],
        level=phantom.level[::-1],
        contrast=contrast,
    )


def _write(path: Path, image: SimpleITK.Image) -> None:
    SimpleITK.WriteImage(image, str(path))


def _right_side(phantom: AxialPhantom) -> NDArray[np.bool_]:
    columns = np.arange(phantom.labels.shape[2])
    side = columns[None, None] < phantom.midline[:, None, None]
    return np.broadcast_to(side, phantom.labels.shape)


def on_stored_grid(
    stack: AxialStack, outlines: dict[int, Outline], grid: Grid
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """(labels, right side), both (k, j, i) of `grid`, whose slices must be stored along k; unseen slices are 0."""
    i, j = np.meshgrid(np.arange(grid.size[0]), np.arange(grid.size[1]))
    labels = np.zeros(grid.size[::-1], np.uint8)
    right = np.zeros(grid.size[::-1], bool)
    for index, outline in outlines.items():
        k = stack.stored_number(index) - 1
        stored = np.stack([i.ravel(), j.ravel(), np.full(i.size, k), np.ones(i.size)])
        place = np.linalg.inv(stack.affine(index)) @ (grid.affine @ stored)
        row, column = np.rint(place[1:3]).astype(int)
        inside = (row >= 0) & (row < outline.labels.shape[0]) & (column >= 0) & (column < outline.labels.shape[1])
        plane, side = np.zeros(i.size, np.uint8), np.zeros(i.size, bool)
        plane[inside] = outline.labels[row[inside], column[inside]]
        side[inside] = ~outline.left[row[inside], column[inside]]
        labels[k], right[k] = plane.reshape(i.shape), side.reshape(i.shape)
    return labels, right


def overlaps(
    found: tuple[NDArray[np.uint8], NDArray[np.bool_]], truth: tuple[NDArray[np.uint8], NDArray[np.bool_]]
) -> list[dict[str, Any]]:
    """For each slice and name [overlap, found, true] pixels, from which Dice is derived at any level of pooling."""
    rows = []
    for k in range(len(truth[0])):
        row: dict[str, Any] = {"slice": k}
        for name in NAMES:
            muscle, _, side = name.rpartition("_")
            a, b = (
                (labels[k] == MUSCLES[muscle]) & (right[k] == (side == "right")) for labels, right in (found, truth)
            )
            row[name] = [int((a & b).sum()), int(a.sum()), int(b.sum())]
        for structure in (AxialStructure.BODY, AxialStructure.SAC):
            a, b = found[0][k] == structure, truth[0][k] == structure
            row[structure.name.lower()] = [int((a & b).sum()), int(a.sum()), int(b.sum())]
        rows.append(row)
    return rows


def synthetic_case(number: int, models: Models) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """One synthetic patient through the whole path, and the overlay of the slice nearest to the disc L4/5."""
    with tempfile.TemporaryDirectory() as folder:
        patient = draw_patient(number, Path(folder))
    volume = conform_study(patient.sagittal, models.settings.grid)
    spine = label_levels(segment_volume(volume, models.segmenter, models.settings.segmenter), volume)
    findings = measure_muscles(patient.axial, spine, volume, models.axial, models.axial_settings)
    stack = conform_axial(patient.axial, models.axial_settings.pixel_mm)
    if isinstance(stack, str):
        raise ValueError(f"synthetic patient {number}: {stack}")
    outlines = segment_slices(stack, range(len(stack)), models.axial)
    found = on_stored_grid(stack, outlines, patient.axial.grid)
    middle = int(np.abs(patient.level - LEVEL_AT["L4/L5"]).argmin())
    shown = draw_overlay(patient.axial.array[middle], found[0][middle], patient.labels[middle])
    case = {
        "number": number,
        "contrast": patient.contrast,
        "slices": overlaps(found, (patient.labels, patient.right)),
        "pixel_mm": patient.axial.grid.spacing_mm[0],
        "levels": _levels(findings, patient),
        "measured": _measured(findings, patient),
        "reason": findings.reason,
    }
    return case, shown


def _levels(findings: MuscleFindings, patient: Patient) -> dict[str, list[float]]:
    """For each level the vertebra index of the slices that were taken for it, less that of its disc."""
    out: dict[str, list[float]] = {level: [] for level in LEVEL_AT}
    for one in findings.slices:
        out[one.level].append(round(float(patient.level[one.number - 1]) - LEVEL_AT[one.level], 3))
    return out


def _measured(findings: MuscleFindings, patient: Patient) -> list[dict[str, Any]]:
    """Area and fat of every level, muscle and side beside the truth of the very slices that were measured."""
    values = {(m.subject, m.name): (m.value, m.not_measurable) for m in findings.measurements}
    pixel_mm2 = patient.axial.grid.spacing_mm[0] * patient.axial.grid.spacing_mm[1]
    rows = []
    for level in LEVEL_AT:
        seen = [one for one in findings.slices if one.level == level]
        for name in NAMES if seen else ():
            muscle, _, side = name.rpartition("_")
            areas, fats = [], []
            for one in seen:
                k = one.number - 1
                mask = (patient.labels[k] == MUSCLES[muscle]) & (patient.right[k] == (side == "right"))
                areas.append(float(mask.sum()) * pixel_mm2 * float(np.cos(np.radians(one.tilt_deg))))
                fats.append(100 * float(patient.fat[k][mask].mean()) if mask.any() else 0.0)
            area, reason = values[level, f"{name}_area_mm2"]
            fat, _ = values[level, f"{name}_fat_fraction_percent"]
            rows.append(
                {
                    "level": level,
                    "name": name,
                    "area_mm2": area,
                    "true_area_mm2": float(np.mean(areas)),
                    "fat_percent": fat,
                    "true_fat_percent": float(np.mean(fats)),
                    "reason": reason,
                }
            )
    return rows


def real_case(data: Path, models: Models) -> tuple[dict[str, Any], list[NDArray[np.uint8]]]:
    """The pack's labelled subject; a name is compared on the slices where its label exists. Also overlay pictures."""
    folder = data / "muscle_axial"
    series = replace(read_files(image=folder / "image.nii.gz").primary, slug="axial-t2-spine-mri")
    mask = read_files(image=folder / "mask.nii.gz").primary.array
    # 1 right and 2 left multifidus, 3 and 4 erector, 5 and 6 psoas, 7 and 8 quadratus: the classes' own order
    labels, right = ((mask + 1) // 2).astype(np.uint8), mask % 2 == 1
    stack = conform_axial(series, models.axial_settings.pixel_mm)
    if isinstance(stack, str):
        raise ValueError(f"the real subject cannot be read: {stack}")
    outlines = segment_slices(stack, range(len(stack)), models.axial)
    found = on_stored_grid(stack, outlines, series.grid)
    rows = overlaps(found, (labels, right))
    for row in rows:
        for name in NAMES:
            if not row[name][2]:
                row[name] = None
    pictures = [draw_overlay(series.array[k], found[0][k], labels[k]) for k in range(1, len(mask), 4)]
    return {"slices": rows}, pictures


def main() -> None:
    """Run what is asked for, store the raw results, derive tables and picture from all that is stored."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("model"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--n", type=int, default=40, help="synthetic patients")
    parser.add_argument("--look", type=int, default=0, help="number of this evaluation on the real subject; 0: none")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    models = open_axial(args.model)
    args.out.mkdir(parents=True, exist_ok=True)
    digest = models.axial_settings.sha256
    if args.n:
        cases = [synthetic_case(number, models) for number in tqdm(range(args.n), mininterval=20)]
        _dump(args.out / "cases_synthetic.json", {"sha256": digest, "cases": [case for case, _ in cases]})
        write_picture(args.out / "overlay_synthetic.png", [shown for _, shown in cases[:10]])
    if args.look:
        case, pictures = real_case(args.data, models)
        _dump(args.out / f"case_real_{args.look}.json", {"sha256": digest, **case})
        write_picture(args.out / "overlay_real.png", pictures)
    print(write_tables(args.out))


def _dump(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
