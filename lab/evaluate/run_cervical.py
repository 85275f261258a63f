"""The pack's healthy cervico-thoracic T2 volumes: cord against their masks, names, canal and cord against norms.

    python -m lab.evaluate.run_cervical --data ../shared/data --out docs/segmenter

No vertebra or disc is labelled there: `points.csv` marks the cord at the height of C2 and of T2, which says whether the
bodies beside it have the right name. The masks' own cord diameters are measured with the same ruler. Diameters are
compared with the norms of healthy adults (spine-generic, resources/norms.json; age and sex unknown: pooled). Internal
check only; these images never train anything.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from lab.evaluate.cords import map_of, on_grid, to_stored
from lab.evaluate.metrics import dice
from spine.anatomy import Structure
from spine.conform import conform_study
from spine.cord import read_cord
from spine.measure import measure_levels
from spine.measure.norms import find_norm
from spine.pipeline import Models, open_models
from spine.read import read_files
from spine.records import Grid, LabelledSpine, Segmentation, Series, Volume

CASES = ("11", "18", "20", "23")
BODIES = ("C2", "C3", "C4", "C5", "C6", "C7", "T1")
DISCS = ("C2/C3", "C3/C4", "C4/C5", "C5/C6", "C6/C7", "C7/T1")
CANAL, HEIGHT = "canal_ap_diameter_mm", "disc_height_middle_mm"
CORD_SIZES = {"cord_ap_diameter_mm": "cord", "cord_width_mm": "cord width", "cord_area_mm2": "cord area, mm2"}
USUAL_SD = 2.0
Sizes = dict[str, dict[str, Any]]
Affine = NDArray[np.float64]


def main() -> None:
    """Run, store, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, default=Path("model"))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    folder, models = args.data / "cervical_t2", open_models(args.model, "cpu")
    with (folder / "points.csv").open(encoding="utf-8") as stream:
        points = list(csv.DictReader(stream))
    cases = [cervical_case(folder, c, points, models) for c in tqdm(CASES)]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "cases_cervical.json").write_text(json.dumps(cases, indent=1) + "\n", encoding="utf-8")
    table = summary(cases)
    (args.out / "table_cervical.md").write_text(table, encoding="utf-8")
    print(table)


def cervical_case(folder: Path, case: str, points: list[dict[str, str]], models: Models) -> dict[str, Any]:
    """Cord Dice on the model's grid where a mask exists, and the name found at each marked height."""
    study = read_files(image=folder / f"errsm_{case}_image.nii.gz")
    volume = conform_study(study, models.settings.grid)
    segmentation, spine = models.read(volume)
    spine = read_cord(study.primary, volume, spine, models.cord)
    result: dict[str, Any] = {
        "case": case,
        "discs": [d.level for d in spine.discs],
        "numbering": spine.numbering.method,
        "doubt": spine.numbering.doubt,
        "cord_dice_network": None,
        "cord_dice": None,
        "cord_dice_neck": None,
        "sizes": _sizes(spine, volume),
    }
    mask = folder / f"errsm_{case}_mask.nii.gz"
    if mask.exists():
        result |= _against_mask(read_files(image=mask).primary, segmentation, spine, volume)
    for point in points:
        if point["case"] == f"errsm_{case}":
            at = _index(point, study.primary.grid, volume)
            nearest = min(spine.vertebrae, key=lambda v: abs(v.centre[1] - at[1]), default=None)
            result[f"at_{point['level']}"] = nearest.name if nearest else None
    return result


def _against_mask(mask: Series, segmentation: Segmentation, spine: LabelledSpine, volume: Volume) -> dict[str, Any]:
    """Dice on the mask's own grid, over its whole length and in the neck, and the sizes of the mask's cord."""
    reference, frame = mask.array > 0, stored_frame(mask.grid)
    if spine.cord is None:
        return {}
    network = carried(segmentation.structures == Structure.CORD, (volume.affine, frame), reference.shape)
    found = on_grid(spine.cord, volume, frame, reference.shape)
    masked = _sizes(replace(spine, cord=map_of(reference, to_stored(volume, frame), spine.cord.middle_mm)), volume)
    neck = _in_neck(spine, volume, frame, reference.shape)
    return {
        "cord_dice_network": round(dice(network, reference), 4),
        "cord_dice": round(dice(found, reference), 4),
        "cord_dice_neck": round(dice(found & neck, reference & neck), 4),
        "cord_volume_ratio_neck": round(float((found & neck).sum() / max((reference & neck).sum(), 1)), 3),
        "mask_cord": {b: {n: s[n] for n in CORD_SIZES if n in s} for b, s in masked.items() if b in BODIES},
    }


def _in_neck(spine: LabelledSpine, volume: Volume, frame: Affine, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """(k, j, i): stored voxels above the middle between T1 and T2, where cord sizes are told."""
    rows = [v.centre[1] for v in spine.vertebrae if v.name in ("T1", "T2")]
    above = np.zeros(volume.array.shape, bool)
    above[:, : round(sum(rows) / len(rows)) if rows else None] = True
    return carried(above, (volume.affine, frame), shape)


def _sizes(spine: LabelledSpine, volume: Volume) -> Sizes:
    """Body or disc level -> measurement -> value, z and why there is none."""
    found: Sizes = {}
    for m in measure_levels(spine, volume):
        if (m.subject in BODIES and m.name in (CANAL, *CORD_SIZES)) or (m.subject in DISCS and m.name == HEIGHT):
            value = None if m.value is None else round(m.value, 2)
            z = _z(m.name, m.subject, value) if m.name in CORD_SIZES else None if m.z is None else round(m.z, 2)
            entry = {"value": value, "z": z, "reason": m.not_measurable}
            found.setdefault(m.subject, {})[m.name] = entry
    return found


def _z(name: str, subject: str, value: float | None) -> float | None:
    """A cord's z-score against the norm of both sexes, which the report refuses."""
    norm = find_norm(name, subject, {})
    return None if value is None or norm is None or norm.sd is None else round((value - norm.mean) / norm.sd, 2)


def carried(mask: NDArray[np.bool_], frames: tuple[Affine, Affine], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """`mask` on another grid of `shape`: inside where its signed distance, interpolated, is negative.

    `frames` are the (4, 4) matrices, index in the order of the array's axes -> LPS millimetres, of the mask and of the
    other grid. The nearest voxel instead would shift the outline by up to half a voxel: stored slices that lie half-way
    between averaged ones would all be taken from one side.
    """
    spacing_mm = np.linalg.norm(frames[0][:3, :3], axis=0)
    away_mm = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    away_mm -= ndimage.distance_transform_edt(mask, sampling=spacing_mm)
    to_mask = np.linalg.inv(frames[0]) @ frames[1]
    away_mm = ndimage.affine_transform(
        away_mm.astype(np.float32), to_mask[:3, :3], to_mask[:3, 3], output_shape=shape, order=1, mode="nearest"
    )
    return np.asarray(away_mm < 0)


def stored_frame(grid: Grid) -> Affine:
    """(4, 4): index (k, j, i) -> LPS millimetres."""
    return grid.affine[:, [2, 1, 0, 3]]


def _index(point: dict[str, str], grid: Grid, volume: Volume) -> NDArray[np.float64]:
    """A stored voxel (i, j, k) as an index (slice, down, back) of `volume`."""
    stored = np.array([*(float(point[a]) for a in "ijk"), 1.0])
    return np.asarray((np.linalg.inv(volume.affine) @ grid.affine @ stored)[:3])


def summary(cases: list[dict[str, Any]]) -> str:
    """Markdown: names and Dice, then diameters at the bodies, then disc heights."""
    lines = [
        "| volunteer | cord Dice of the network | cord Dice on cross-sections | ... in the neck (to T1) | "
        "body found at C2 / T2 | discs found |",
        "|---|---|---|---|---|---|",
    ]
    for case in cases:
        keys = ("cord_dice_network", "cord_dice", "cord_dice_neck")
        scores = " | ".join("no mask" if case[k] is None else f"{case[k]:.3f}" for k in keys)
        at = f"{case['at_C2']} / {case['at_T2']}" if "at_C2" in case else "not marked"
        discs = f"{len(case['discs'])}: {case['discs'][-1]} to {case['discs'][0]}" if case["discs"] else "none"
        lines.append(f"| {case['case']} | {scores} | {at} | {discs} |")
    lines += [
        "",
        "Millimetres unless said otherwise, in brackets the z-score. The masks' cords are measured in the same way.",
        "",
        "| volunteer | what | " + " | ".join(BODIES) + " | within 2 SD |",
        "|---|---|" + "---|" * (len(BODIES) + 1),
    ]
    for case in cases:
        for name, what in {CANAL: "canal", **CORD_SIZES}.items():
            lines.append(_row(case, name, what, BODIES))
            if name in CORD_SIZES and "mask_cord" in case:
                lines.append(_row({**case, "sizes": case["mask_cord"]}, name, f"{what}, of the mask", BODIES))
    lines += ["", "| volunteer | what | " + " | ".join(DISCS) + " | |", "|---|---|" + "---|" * (len(DISCS) + 1)]
    lines += [_row(case, HEIGHT, "disc height", DISCS) for case in cases]
    return "\n".join(lines) + "\n"


def _row(case: dict[str, Any], name: str, what: str, places: tuple[str, ...]) -> str:
    entries = [case["sizes"].get(place, {}).get(name) for place in places]
    scores = [e["z"] for e in entries if e and e["z"] is not None]
    within = f"{sum(abs(z) <= USUAL_SD for z in scores)} of {len(scores)}" if scores else ""
    return f"| {case['case']} | {what} | " + " | ".join(map(_cell, entries)) + f" | {within} |"


def _cell(entry: dict[str, Any] | None) -> str:
    if entry is None or entry["value"] is None:
        return "-"
    return f"{entry['value']:.1f}" + ("" if entry["z"] is None else f" ({entry['z']:+.1f})")


if __name__ == "__main__":
    main()
