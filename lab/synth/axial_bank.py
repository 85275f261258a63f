"""Many synthetic axial stacks, rendered once: a bank for training and validation.

    python -m lab.synth.axial_bank --out BANK --n 1500 --family train

Each file NNNNN.npz holds `images` uint8 (contrast, slice, row, column; STEPS to the unit of `spine.conform`), `labels`
uint8 (slice, row, column) of AxialStructure and `slice_mm`. The families' seeds never meet.

Speed, processor time of one core of a shared two-core machine: 0.09 s to paint a slice with its three planes, 0.015 s
to render it once (mean of 18 stacks of two slices), so 7 slices a second in three contrasts.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lab.synth.axial import crop_fold, draw_contrast, picture, rasterise_axial, sample_axial
from spine.conform import MAX_INTENSITY, intensity_scale

FAMILIES = {"train": 1, "val": 2, "test": 3}
STEPS = 100  # grey values to the unit of intensity


def main() -> None:
    """Write what is not yet in --out; files appear by renaming, so training may start before the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--family", choices=FAMILIES, required=True)
    parser.add_argument("--contrasts", type=int, default=3)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    work = partial(write_stack, args.out, args.family, args.contrasts)
    numbers = range(args.first, args.first + args.n)
    with ProcessPoolExecutor(args.workers) as pool:
        for _ in tqdm(pool.map(work, numbers, chunksize=4), total=args.n, mininterval=10):
            pass


def write_stack(folder: Path, family: str, contrasts: int, number: int) -> None:
    """Draw, paint, render and store stack `number` of `family`."""
    out = folder / f"{number:05d}.npz"
    if out.exists():
        return
    rng = np.random.default_rng([FAMILIES[family], number])
    plan = sample_axial(rng)
    phantom = rasterise_axial(plan)
    images = []
    for _ in range(contrasts):
        image = picture(plan, phantom, rng, draw_contrast(rng))
        image = np.clip(image * intensity_scale(image), 0, MAX_INTENSITY)
        images.append(np.rint(image * STEPS).astype(np.uint8))
    part = out.with_suffix(".part")
    with part.open("wb") as stream:
        np.savez(
            stream, images=np.stack(images), labels=crop_fold(plan, phantom, phantom.labels), slice_mm=plan.slice_mm
        )
    part.replace(out)


if __name__ == "__main__":
    main()
