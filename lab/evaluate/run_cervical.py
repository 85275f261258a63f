"""The pack's healthy cervico-thoracic T2 volumes: cord Dice against their masks, level names at their marked points.

    python -m lab.evaluate.run_cervical --data ../shared/data --out docs/segmenter

No vertebra or disc is labelled there: `points.csv` marks the cord at the height of C2 and of T2, which says whether the
bodies beside it have the right name. Internal check only; these images never train anything.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lab.evaluate.metrics import dice
from spine.anatomy import Structure
from spine.conform import conform_study
from spine.label import label_levels
from spine.pipeline import Models, open_models
from spine.read import read_files
from spine.records import Grid, Volume
from spine.segment import segment_volume

CASES = ("11", "18", "20", "23")


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
    segmentation = segment_volume(volume, models.segmenter, models.settings.segmenter)
    spine = label_levels(segmentation, volume)
    result: dict[str, Any] = {
        "case": case,
        "discs": [d.level for d in spine.discs],
        "numbering": spine.numbering.method,
        "doubt": spine.numbering.doubt,
        "cord_dice": None,
    }
    mask = folder / f"errsm_{case}_mask.nii.gz"
    if mask.exists():
        reference = on_grid(read_files(image=mask).primary.array > 0, study.primary.grid, volume)
        result["cord_dice"] = round(dice(spine.structures == Structure.CORD, reference), 4)
    for point in points:
        if point["case"] == f"errsm_{case}":
            at = _index(point, study.primary.grid, volume)
            nearest = min(spine.vertebrae, key=lambda v: abs(v.centre[1] - at[1]), default=None)
            result[f"at_{point['level']}"] = nearest.name if nearest else None
    return result


def on_grid(array: NDArray[np.bool_], grid: Grid, volume: Volume) -> NDArray[np.bool_]:
    """`array` (k, j, i) of `grid` at the voxel centres of `volume`, nearest neighbour; False outside."""
    to_stored = np.linalg.inv(grid.affine) @ volume.affine
    index = np.indices(volume.array.shape).reshape(3, -1)
    i, j, k = (to_stored[:3, :3] @ index + to_stored[:3, 3:]).round().astype(int)
    inside = np.all([(x >= 0) & (x < n) for x, n in zip((i, j, k), grid.size, strict=True)], axis=0)
    out = np.zeros(index.shape[1], bool)
    out[inside] = array[k[inside], j[inside], i[inside]]
    return out.reshape(volume.array.shape)


def _index(point: dict[str, str], grid: Grid, volume: Volume) -> NDArray[np.float64]:
    """A stored voxel (i, j, k) as an index (slice, down, back) of `volume`."""
    stored = np.array([*(float(point[a]) for a in "ijk"), 1.0])
    return np.asarray((np.linalg.inv(volume.affine) @ grid.affine @ stored)[:3])


def summary(cases: list[dict[str, Any]]) -> str:
    """Markdown table."""
    lines = ["| volunteer | cord Dice | body found at C2 / T2 | discs found | numbering |", "|---|---|---|---|---|"]
    for case in cases:
        cord = "no mask" if case["cord_dice"] is None else f"{case['cord_dice']:.3f}"
        at = f"{case['at_C2']} / {case['at_T2']}" if "at_C2" in case else "not marked"
        discs = f"{len(case['discs'])}: {case['discs'][-1]} to {case['discs'][0]}" if case["discs"] else "none"
        lines.append(f"| {case['case']} | {cord} | {at} | {discs} | {case['numbering']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
