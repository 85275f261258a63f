"""Synthetic cords on fine grids: a bank for the network that reads cross-sections of the cord.

    python -m lab.synth.cord_bank --out BANK --n 360 --family train

The spines are those of `lab.synth.sample`; inside the dural sac everything is painted anew, for `lab.synth.paint_canal`
draws one shape of cord at one place: here the cord lies anywhere in the fluid, turned and flattened, with roots on
their way to the foramina. Each file NNNNN.npz holds `tissues` uint8 (plane, down, back), `spacing_mm` and `course_mm`
(down, 2), the middle of the sac across and to the back, mm from the centre of voxel (0, 0, 0). The families' seeds
never meet.

Speed: 1.5 s a spine on one core of a shared two-core machine.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from tqdm import tqdm

from lab.synth.canal import CanalCourse, canal_course
from lab.synth.phantom import Phantom, rasterise
from lab.synth.plan import SpinePlan, Window
from lab.synth.sample import sample_spine
from lab.synth.shapes import Field, smooth_noise
from lab.synth.tissue import STRUCTURE_OF_TISSUE, Tissue
from spine.anatomy import Structure

FAMILIES = {"train": 1, "val": 2}
SPACING_MM, PLANES = (0.7, 0.8, 0.5), 52
FIELD_MM = (150.0, 112.0)
LOWEST, HIGHEST = 8.0, 20.5  # index of the vertebra in the middle of the field: T9 to C3
SIDE_MM = 15.0  # the sac reaches no further to the side of its middle
SEGMENT_MM = (10.0, 24.0)  # distance of the roots of two segments


def main() -> None:
    """Write what is not yet in --out; files appear by renaming."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--family", choices=FAMILIES, required=True)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    work = partial(write_cord, args.out, args.family)
    with ProcessPoolExecutor(args.workers) as pool:
        for _ in tqdm(pool.map(work, range(args.n)), total=args.n, mininterval=10):
            pass


def write_cord(folder: Path, family: str, number: int) -> None:
    """Draw, paint and store spine `number` of `family`."""
    out = folder / f"{number:05d}.npz"
    if out.exists():
        return
    phantom, course_mm = make_cord(family, number)
    part = out.with_suffix(".part")
    with part.open("wb") as stream:
        np.savez_compressed(stream, tissues=phantom.tissues, spacing_mm=SPACING_MM, course_mm=course_mm)
    part.replace(out)


def make_cord(family: str, number: int) -> tuple[Phantom, NDArray[np.float32]]:
    """The phantom of spine `number` with a cord of its own, and the middle of its sac (down, 2)."""
    rng = np.random.default_rng([FAMILIES[family], number, 91])
    plan = sample_spine(rng, "cervical", healthy=bool(rng.random() < 0.15))
    level = rng.uniform(LOWEST, HIGHEST)
    below, above = plan.frames[int(level)].origin_mm, plan.frames[int(level) + 1].origin_mm
    centre = below + (level - int(level)) * (above - below)
    near = [f.origin_mm[0] for f in plan.frames[max(int(level) - 4, 0) : int(level) + 5]]
    window = Window((float(np.mean(near)), float(centre[1]), float(centre[2] + 14.0)), FIELD_MM)
    phantom = rasterise(plan, SPACING_MM, PLANES, window)
    down = phantom.origin_mm[1] + np.arange(phantom.tissues.shape[1], dtype=np.float32) * SPACING_MM[1]
    canal = canal_course(plan, down)
    paint_cord(phantom, canal, plan, rng)
    course_mm = np.stack((canal.left - phantom.origin_mm[0], canal.back - phantom.origin_mm[2]), 1)
    return phantom, course_mm.astype(np.float32)


def paint_cord(phantom: Phantom, canal: CanalCourse, plan: SpinePlan, rng: Generator) -> None:
    """Fill the sac of `phantom`, in place, with fluid, roots and a cord of drawn shape and place."""
    codes = phantom.tissues
    sac = np.isin(STRUCTURE_OF_TISSUE[codes], (Structure.CANAL, Structure.CORD))
    planes, rows, columns = (np.flatnonzero(sac.any(axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    if not len(planes):
        return
    box = tuple(slice(p[0], p[-1] + 1) for p in (planes, rows, columns))
    left, down, back = (
        np.float32(o) + np.arange(b.start, b.stop, dtype=np.float32) * np.float32(s)
        for b, s, o in zip(box, phantom.spacing_mm, phantom.origin_mm, strict=True)
    )
    part = slice(rows[0], rows[-1] + 1)
    half_w, half_ap, x_mm, y_mm = _course(canal, part, plan, rng, down)
    angle = np.radians(rng.normal(0, 6))
    u = left[:, None, None] - (canal.left[part] + x_mm)[None, :, None]
    v = back[None, None, :] - (canal.back[part] + y_mm)[None, :, None]
    x = np.cos(angle) * u + np.sin(angle) * v
    y = np.cos(angle) * v - np.sin(angle) * u
    x, y = x / half_w[None, :, None], y / half_ap[None, :, None]
    flatter = float(rng.normal(0, 0.1))  # in front than behind
    y = y / np.where(y < 0, 1 - flatter, 1 + flatter)
    power = rng.uniform(1.8, 2.9)
    radius = np.power(np.abs(x), power) + np.power(np.abs(y), power)
    inside = np.full(radius.shape, Tissue.CSF, np.uint8)
    _paint_roots(inside, (x, y), radius, down, rng)
    inside[radius < 1] = Tissue.CORD
    inside[_grey(x, y, rng)] = Tissue.CORD_GREY
    ill = (canal.tight[part] > 0.45) if rng.random() < 0.5 else np.zeros(len(down), bool)
    if rng.random() < 0.05:
        ill |= np.abs(down - rng.choice(down)) < rng.uniform(3, 20)
    inside[(radius < rng.uniform(0.1, 0.9)) & ill[None, :, None]] = Tissue.MYELOPATHY
    block, own = codes[box], sac[box]
    block[own] = inside[own]


def _course(canal: CanalCourse, part: slice, plan: SpinePlan, rng: Generator, down: Field) -> tuple[Field, ...]:
    """Half width, half depth, and where the cord's middle lies from the sac's, across and to the back, mm by row."""
    step = float(down[1] - down[0]) if len(down) > 1 else 1.0

    def wave(cell_mm: float) -> Field:
        return smooth_noise(rng, (len(down),), (step,), (cell_mm,))

    taper = np.sqrt(np.clip((canal.conus_mm - down) / 38.0, 0.01, 1.0))
    wide, deep = rng.normal(1.0, 0.09, 2)
    half_w = canal.cord_width[part] / 2 * taper * np.clip(wide + 0.04 * wave(20), 0.7, 1.35)
    half_ap = canal.cord_ap[part] / 2 * taper * np.clip(deep + 0.05 * wave(20), 0.7, 1.4)
    half_ap = np.minimum(half_ap, rng.uniform(0.41, 0.47) * canal.sac_ap[part])
    half_w = np.minimum(half_w, 0.46 * canal.sac_width[part])
    y_room = np.maximum(canal.sac_ap[part] / 2 - half_ap, 0.0)
    x_room = np.maximum(canal.sac_width[part] / 2 - half_w, 0.0)
    y_mm = y_room * np.tanh(rng.normal(-0.1, 0.6) + 0.7 * wave(35))
    x_mm = x_room * 0.5 * np.tanh(rng.normal(0, 0.25) + 0.2 * wave(40))
    return tuple(np.asarray(f, np.float32) for f in (half_w, half_ap, x_mm, y_mm))


def _grey(x: Field, y: Field, rng: Generator) -> NDArray[np.bool_]:
    """Grey matter: an ellipse, as thick slices show it, or two horns and the bridge between them."""
    if rng.random() < 0.3:
        return np.asarray(np.square(x) + np.square(y) < rng.uniform(0.1, 0.3))
    horn = np.square((np.abs(x) - 0.28) / rng.uniform(0.1, 0.18)) + np.square(y / rng.uniform(0.5, 0.75)) < 1
    return np.asarray(horn | ((np.abs(x) < 0.3) & (np.abs(y) < rng.uniform(0.08, 0.2))))


def _paint_roots(codes: NDArray[np.uint8], at: tuple[Field, Field], radius: Field, down: Field, rng: Generator) -> None:
    """Rootlets in the fluid beside the cord, in front and behind, segment by segment, on the way to their foramina."""
    x, y = at
    if rng.random() < 0.15:
        return
    segment_mm, first = rng.uniform(*SEGMENT_MM), rng.uniform(0, 30)
    way = np.mod(down + first, segment_mm) / segment_mm  # 0 where a root leaves the cord, 1 at its foramen
    share, thick = rng.uniform(0.4, 1.0), rng.uniform(0.04, 0.11)
    for side in (-1, 1):
        for front in (-1, 1):
            low, high = rng.uniform(0.2, 0.7), rng.uniform(-0.2, 0.6)
            path = front * (low + (high - low) * way)[None, :, None] * np.clip(side * x, 0.4, 2.0)
            thread = (np.abs(y - path) < thick * rng.uniform(0.7, 1.5)) & (side * x > 0.45) & (radius >= 1)
            thread &= (side * x < 0.9 + 1.3 * way[None, :, None]) & (way < share)[None, :, None]
            codes[thread] = Tissue.ROOTS


if __name__ == "__main__":
    main()
