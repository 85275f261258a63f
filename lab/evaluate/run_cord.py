"""The cord outlined again on synthetic necks with known truth: what spine/label/cord.py was developed on.

    python -m lab.evaluate.run_cord --out docs/segmenter

Each neck is rasterised, rendered with blur, noise and coil fall-off, brought to the model's grid as a stored series is,
and its true canal and cord are spoilt as a network's are: the canal a pixel too wide or too narrow, the cord too thin
everywhere and lost over 40 mm. The outline is compared with the truth on the stored grid. These are development data:
their figures say how far the method can see, not how it does on patients.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from lab.evaluate.metrics import dice
from lab.evaluate.run_cervical import carried, stored_frame
from lab.synth.phantom import rasterise
from lab.synth.plan import Window
from lab.synth.render import render
from lab.synth.sample import sample_spine
from spine.anatomy import Structure
from spine.conform import conform_series
from spine.label.cord import outline_cord
from spine.records import Grid, Series
from spine.settings import GridSettings, read_settings

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
DEPTH_MM = 7.0  # depths are means over so much of the cord, as spine.measure takes them
LOST_ROWS = 50
Mask = NDArray[np.bool_]


def main() -> None:
    """Outline every neck and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("model"))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    grid = read_settings(args.model).grid
    lines = [
        "| slices | contrast | seed | Dice of the start | Dice outlined again | "
        "depth: mean error mm | SD mm | 95th percentile mm |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for seed, slices, contrast in tqdm(NECKS):
        start, found, error_mm = examine(seed, slices, contrast, grid)
        worst = np.percentile(np.abs(error_mm), 95)
        lines.append(
            f"| {slices} | {contrast} | {seed} | {start:.3f} | {found:.3f} | {error_mm.mean():+.2f} | "
            f"{error_mm.std():.2f} | {worst:.2f} |"
        )
    table = "\n".join(lines) + "\n"
    (args.out / "table_cord_synthetic.md").write_text(table, encoding="utf-8")
    print(table)


def examine(seed: int, slices: str, contrast: str, grid: GridSettings) -> tuple[float, float, NDArray[np.float64]]:
    """Dice of the spoilt start and of the new outline, and the error of the cord's depth along it, mm."""
    truth, series = draw_neck(seed, slices, contrast)
    volume = conform_series(series, grid)
    frame = stored_frame(series.grid)
    to_grid = (frame, volume.affine)
    tube, cord = (
        carried(mask, to_grid, volume.array.shape)
        for mask in (np.isin(truth, (Structure.CANAL, Structure.CORD)), truth == Structure.CORD)
    )
    start = spoilt(tube, cord, seed)
    outlined = outline_cord(start, volume.array, volume.spacing_mm, volume.array.shape[1])
    before, after = (carried(s == Structure.CORD, (volume.affine, frame), truth.shape) for s in (start, outlined))
    reference = truth == Structure.CORD
    return dice(before, reference), dice(after, reference), _depth_error_mm(after, reference, series.grid)


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
    """Canal as it is, a pixel too wide or a pixel too narrow, by `seed`; the cord a pixel too thin and partly lost."""
    pixel = np.ones((1, 3, 3), bool)
    if seed % 3 == 1:
        tube = ndimage.binary_dilation(tube, pixel)
    elif seed % 3 == 2:
        tube = ndimage.binary_erosion(tube, pixel) | cord
    thin = ndimage.binary_erosion(cord, pixel)
    rows = np.flatnonzero(thin.any((0, 2)))
    first = int(np.random.default_rng(seed).integers(rows[0], rows[-1] - LOST_ROWS))
    thin[:, first : first + LOST_ROWS] = False
    start = np.where(tube, np.uint8(Structure.CANAL), np.uint8(0))
    start[thin] = Structure.CORD
    return start


def _depth_error_mm(found: Mask, truth: Mask, grid: Grid) -> NDArray[np.float64]:
    """(row,): found less true depth of the cord on the slice through its middle, where all rows of a mean show both."""
    middle = round(float(truth.sum((1, 2)) @ np.arange(len(truth)) / truth.sum()))
    both = found[middle].any(1) & truth[middle].any(1)
    size = max(1, round(DEPTH_MM / grid.spacing_mm[1]))
    depths = (ndimage.uniform_filter1d(m[middle].sum(1) * grid.spacing_mm[0], size) for m in (found, truth))
    new, true = depths
    return np.asarray((new - true)[ndimage.binary_erosion(both, iterations=size // 2)])


if __name__ == "__main__":
    main()
