"""The cord on synthetic necks with known truth, which the network of the cord has not learnt from.

    python -m lab.evaluate.run_cord --out docs/segmenter

Each neck is rasterised, rendered with blur, noise and coil fall-off, brought to the model's grid as a stored series is,
and its true canal is spoilt as a network's is: a pixel too wide or too narrow. The outline is compared with the truth
on the stored grid, its sizes in the plane of each section. Another painter than that of the training drew these cords
(lab.synth.paint_canal, not lab.synth.cord_bank), on spines of the same kind: the figures say how far the method can
see, not how it does on patients.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from lab.evaluate.cords import Mask, map_of, on_grid, sizes_of, to_stored
from lab.evaluate.metrics import dice
from lab.evaluate.run_cervical import carried, stored_frame
from lab.synth.phantom import rasterise
from lab.synth.plan import Window
from lab.synth.render import render
from lab.synth.sample import sample_spine
from spine.anatomy import Structure
from spine.conform import conform_series
from spine.cord import outline_cord
from spine.pipeline import Models, open_models
from spine.records import Grid, Series
from spine.sections import leaves

MOVED = "fluid moved"
NECKS = (
    *((seed, "1 mm", "t2") for seed in range(21, 27)),
    *((seed, "3.3 mm", "t2") for seed in range(31, 35)),
    (41, "1 mm", "t1"),
    (42, "3.3 mm", "stir"),
    *((seed, slices, f"t2, {MOVED}") for seed, slices in ((51, "1 mm"), (52, "1 mm"), (53, "3.3 mm"), (54, "3.3 mm"))),
)
# slices -> spacing of the stored series and of the planes, planes in one slice, planes
STACKS = {"1 mm": ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), 1, 36), "3.3 mm": ((3.3, 0.6, 0.6), (1.1, 0.6, 0.6), 3, 33)}
FIELD_MM = (180.0, 110.0)
MIDDLE, LOWEST, HIGHEST = 18, 15, 23  # indices of the vertebrae: C6, and T2 to C1


def main() -> None:
    """Outline every neck and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("model"))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    models = open_models(args.model, "cpu")
    lines = [
        "| slices | contrast | seed | Dice | depth: mean error, 95 % within, mm | width: mm | area: mm2 | not told |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for seed, slices, contrast in tqdm(NECKS):
        found, error, lost = examine(seed, slices, contrast, models)
        cells = " | ".join(f"{e.mean():+.2f}, {np.percentile(np.abs(e), 95):.2f}" for e in error.T)
        lines.append(f"| {slices} | {contrast} | {seed} | {found:.3f} | {cells} | {100 * lost:.0f} % |")
    table = "\n".join(lines) + "\n"
    (args.out / "table_cord_synthetic.md").write_text(table, encoding="utf-8")
    print(table)


def examine(seed: int, slices: str, contrast: str, models: Models) -> tuple[float, NDArray[np.float64], float]:
    """Dice, the error (section, 3) of depth, width and area, and the share of sections where no cord is told."""
    truth, series = draw_neck(seed, slices, contrast)
    volume = conform_series(series, models.settings.grid)
    frame = stored_frame(series.grid)
    reference = truth == Structure.CORD
    tube, cord = (
        carried(mask, (frame, volume.affine), volume.array.shape)
        for mask in (np.isin(truth, (Structure.CANAL, Structure.CORD)), reference)
    )
    outlined = outline_cord(series, volume, spoilt(tube, cord, seed), volume.array.shape[1], models.cord)[1]
    if outlined is None:
        raise ValueError(f"neck {seed}: no canal was drawn.")
    true = map_of(reference, to_stored(volume, frame), outlined.middle_mm)
    found, wanted = sizes_of(outlined), sizes_of(true)
    there = np.isfinite(wanted[:, 0])
    there &= ~leaves(true.probability >= 0.5, reference.shape, to_stored(volume, frame), true.middle_mm)
    there[[0, 1, 2, -3, -2, -1]] = False  # the picture ends
    error = (found - wanted)[there]
    told = np.isfinite(error[:, 0])
    on_stored = on_grid(outlined, volume, frame, reference.shape)
    return dice(on_stored, reference), error[told], float(1 - told.mean())


def draw_neck(seed: int, slices: str, contrast: str) -> tuple[NDArray[np.uint8], Series]:
    """Structures (k, j, i) of a synthetic neck, and its picture on the same grid; `contrast` may end in MOVED."""
    spacing_mm, plane_mm, merged, planes = STACKS[slices]
    rng = np.random.default_rng([seed, 78])
    plan = sample_spine(rng, "cervical", healthy=seed % 3 == 0)
    centre = plan.frames[MIDDLE].origin_mm + np.array([0.0, rng.normal(0, 8), 0.0])
    centre[0] = np.mean([frame.origin_mm[0] for frame in plan.frames[LOWEST:HIGHEST]])
    phantom = rasterise(plan, plane_mm, planes, Window((centre[0], centre[1], centre[2]), FIELD_MM))
    contrast, _, moved = contrast.partition(", ")
    picture = render(phantom.tissues, rng, contrast, merged, spacing_mm[1], 0.8, moved == MOVED)
    k, j, i = picture.shape
    direction = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    grid = Grid((i, j, k), (spacing_mm[2], spacing_mm[1], spacing_mm[0]), (0.0, 0.0, 0.0), direction)
    series = Series("sagittal-spine-mri", f"neck {seed}", (400 * picture).astype(np.int16), grid)
    return phantom.structures[merged // 2 :: merged], series


def spoilt(tube: Mask, cord: Mask, seed: int) -> NDArray[np.uint8]:
    """Canal as it is, a pixel too wide or a pixel too narrow, by `seed`."""
    pixel = np.ones((1, 3, 3), bool)
    if seed % 3 == 1:
        tube = ndimage.binary_dilation(tube, pixel)
    elif seed % 3 == 2:
        tube = ndimage.binary_erosion(tube, pixel) | cord
    return np.where(tube, np.uint8(Structure.CANAL), np.uint8(0))


if __name__ == "__main__":
    main()
