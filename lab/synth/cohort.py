"""Many synthetic spines: a bank of rasterised slabs for training, or one case in the platform's layout.

    python -m lab.synth.cohort --out DIR --n 400 --seed 1
    python -m lab.synth.cohort --case test/input/lumbar --seed 7
    python -m lab.synth.cohort --case test/input/cervical --region cervical --seed 11

Speed, in processor time of one core of a shared two-core machine: 0.8 s a slab (median of 12 of 2 million voxels; 1.3
spines a second), 12 ms for a rendered triplet of thick slices of 320 x 320, 10 ms for thin ones (medians of 60).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from tqdm import tqdm

from lab.synth.case import write_case
from lab.synth.case_neck import write_neck
from lab.synth.phantom import rasterise
from lab.synth.plan import Window
from lab.synth.render import render
from lab.synth.sample import sample_spine
from lab.synth.tissue import STRUCTURE_OF_TISSUE

VIEW_SHARE = {"lumbar": 0.42, "thoracolumbar": 0.18, "cervical": 0.25, "whole": 0.15}
PIXEL_MM = 0.8
PLANE_MM = (1.5, 2.5)
CONTRAST_SHARE = {"t1": 0.28, "t2": 0.38, "stir": 0.1, "water_fat": 0.1, "random": 0.14}


@dataclass(frozen=True)
class Slab:
    """One slab of the bank. Its planes lie closer than slices: three neighbours make one thick slice."""

    tissues: NDArray[np.uint8]  # (plane, down, back) codes of Tissue
    spacing_mm: tuple[float, float, float]  # of the planes: (slice, down, back)
    view: str
    seed: int

    def labels(self, plane: int) -> NDArray[np.uint8]:
        """(down, back) values of `spine.anatomy.Structure` at `plane`."""
        return STRUCTURE_OF_TISSUE[self.tissues[plane]]

    def thick(self, picked: Sequence[int]) -> NDArray[np.uint8]:
        """(3 n, down, back): the planes before, at and after each of the n `picked` ones, for render(subslices=3)."""
        at = np.asarray(picked)[:, None] + np.array([-1, 0, 1])
        return self.tissues[np.clip(at.ravel(), 0, len(self.tissues) - 1)]


def load_slab(path: Path) -> Slab:
    """Read one file of the bank."""
    with np.load(path) as data:
        spacing = tuple(float(x) for x in data["spacing_mm"])
        return Slab(data["tissues"], spacing, str(data["view"]), int(data["seed"]))  # type: ignore[arg-type]


def draw_example(slab: Slab, rng: Generator, slice_mm: float = 4.0) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A random slice with its neighbours `slice_mm` away: image (3, down, back) float32, labels (down, back)."""
    last = len(slab.tissues) - 1
    step = max(1, round(slice_mm / slab.spacing_mm[0]))
    centre = int(rng.integers(0, last + 1))
    picked = [max(centre - step, 0), centre, min(centre + step, last)]
    contrast = str(rng.choice(list(CONTRAST_SHARE), p=list(CONTRAST_SHARE.values())))
    if rng.random() < 0.25:  # thin slices
        return render(slab.tissues[picked], rng, contrast, 1, slab.spacing_mm[1]), slab.labels(centre)
    return render(slab.thick(picked), rng, contrast, 3, slab.spacing_mm[1]), slab.labels(centre)


def make_slab(seed: int, view: str | None = None, plane_mm: tuple[float, float] = PLANE_MM) -> Slab:
    """The slab of `seed`, its planes' distance within `plane_mm`; a view that is not given is drawn by VIEW_SHARE."""
    rng = np.random.default_rng(seed)
    view = view or str(rng.choice(list(VIEW_SHARE), p=list(VIEW_SHARE.values())))
    plan = sample_spine(rng, view, healthy=bool(rng.random() < 0.08))
    distance = float(rng.uniform(*plane_mm))
    planes = int(np.clip(round(rng.uniform(34, 56) / distance), 15, 31))
    down, back = (min(s, 399 * PIXEL_MM) for s in plan.window.size_mm)
    plan = replace(plan, window=Window(plan.window.centre_mm, (down, back)))
    phantom = rasterise(plan, (distance, PIXEL_MM, PIXEL_MM), planes)
    return Slab(phantom.tissues, phantom.spacing_mm, view, seed)


def _write_slab(seed: int, out_dir: Path, view: str | None, plane_mm: tuple[float, float]) -> str:
    slab = make_slab(seed, view, plane_mm)
    path = out_dir / f"{seed:08d}_{slab.view}.npz"
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(file, tissues=slab.tissues, spacing_mm=slab.spacing_mm, view=slab.view, seed=slab.seed)
    part.rename(path)
    return path.name


def write_bank(
    out_dir: Path,
    n: int,
    seed: int,
    workers: int = 1,
    view: str | None = None,
    plane_mm: tuple[float, float] = PLANE_MM,
) -> list[str]:
    """Write `n` slabs to `out_dir`, of one view or of all; the same seed gives the same files, old ones are kept.

    Returns the names of the new files.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    there = {path.name.split("_")[0] for path in out_dir.glob("*.npz")}
    seeds = [s for s in range(seed * 100_000, seed * 100_000 + n) if f"{s:08d}" not in there]
    work = partial(_write_slab, out_dir=out_dir, view=view, plane_mm=plane_mm)
    if workers == 1:
        return [work(s) for s in tqdm(seeds, unit="spine")]
    with ProcessPoolExecutor(workers) as pool:
        return list(tqdm(pool.map(work, seeds), total=len(seeds), unit="spine"))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="folder for a bank of slabs")
    what.add_argument("--case", type=Path, help="folder for one case in the platform's layout, truth beside it")
    parser.add_argument("--n", type=int, default=400, help="slabs in the bank")
    parser.add_argument("--view", choices=tuple(VIEW_SHARE), help="of every slab of the bank; without it all views")
    parser.add_argument(
        "--plane-mm",
        type=float,
        nargs=2,
        default=PLANE_MM,
        metavar=("LOW", "HIGH"),
        help="distance of the planes of a slab; three of them make one thick slice",
    )
    parser.add_argument("--region", choices=("lumbar", "cervical"), default="lumbar", help="of the case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    args = parser.parse_args()
    if args.case is not None:
        (write_neck if args.region == "cervical" else write_case)(args.case, args.seed)
    else:
        write_bank(args.out, args.n, args.seed, args.workers, args.view, tuple(args.plane_mm))


if __name__ == "__main__":
    main()
