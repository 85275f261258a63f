"""Synthetic slices beside real ones, to be looked at.

    python -m lab.synth.contact_sheet --out sheet.png --data ../shared/data --seed 3 --view lumbar

Real pictures come from the data folder where there is one; the sheet never enters the repository.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from PIL import Image

from lab.synth.cohort import PIXEL_MM
from lab.synth.phantom import Phantom, rasterise
from lab.synth.render import render
from lab.synth.sample import sample_spine

TILE = (340, 300)  # rows, columns of a tile, 0.8 mm each
COLOURS = np.array(
    [
        *((0, 0, 0), (230, 60, 60), (250, 160, 60), (60, 220, 60), (60, 120, 255), (90, 230, 255), (255, 80, 200)),
        *((160, 80, 220), (255, 240, 80), (255, 255, 255)),
    ],
    np.float32,
)
REAL = {
    "lumbar": (
        "spider_midsagittal/*_t2.png",
        "spider_midsagittal/*_t1.png",
        "mendeley_midsagittal/images/*_t2.png",
        "mendeley_midsagittal/images/*_t1.png",
        "spider_space/*_image.nii.gz",
    ),
    "cervical": ("cervical_t2/*_image.nii.gz",),
}


def grey(picture: NDArray[np.floating]) -> NDArray[np.uint8]:
    """8-bit picture, brightest percent saturated."""
    top = float(np.percentile(picture, 99.3)) or 1.0
    return (np.clip(picture / top, 0, 1) ** 0.75 * 255).astype(np.uint8)


def tile(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Centre `picture` (rows, columns) or (rows, columns, 3) on a tile."""
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    out = np.zeros((*TILE, 3), np.uint8)
    rows, columns = min(picture.shape[0], TILE[0]), min(picture.shape[1], TILE[1])
    r, c = (picture.shape[0] - rows) // 2, picture.shape[1] - columns
    out[:rows, :columns] = picture[r : r + rows, c : c + columns]
    return out


def real_pictures(data: Path, view: str, rng: np.random.Generator, count: int) -> Iterator[NDArray[np.uint8]]:
    """Random real slices at 0.8 mm, as tiles."""
    patterns = REAL["cervical" if view == "cervical" else "lumbar"]
    for index in range(count):
        files = sorted(data.glob(patterns[index % len(patterns)]))
        if not files:
            continue
        path = files[rng.integers(len(files))]
        picture, pixel_mm = _read(path, rng, index)
        size = [max(1, round(n * pixel_mm / PIXEL_MM)) for n in picture.shape[::-1]]
        yield tile(np.asarray(Image.fromarray(grey(picture)).resize(size, Image.Resampling.BILINEAR)))


def _read(path: Path, rng: np.random.Generator, index: int) -> tuple[NDArray[np.float64], float]:
    if path.suffix == ".png":
        table = path.parent / "spacing.csv"
        rows = csv.DictReader(table.open(encoding="utf-8")) if table.exists() else ()
        known = {row["file"]: float(row["pixel_mm"]) for row in rows}
        return np.asarray(Image.open(path).convert("F"), float), known.get(path.name, 0.78)
    image = SimpleITK.ReadImage(str(path))
    volume = SimpleITK.GetArrayFromImage(image)  # (superior, anterior, slice)
    side = 0 if index % 2 else int(rng.integers(-7, 8))
    picture = volume[::-1, ::-1, int(np.clip(volume.shape[2] // 2 + side, 0, volume.shape[2] - 1))]
    return picture.astype(float), float(image.GetSpacing()[1])


def synthetic_pictures(view: str, seed: int, spines: int) -> Iterator[tuple[NDArray[np.uint8], ...]]:
    """Per spine: mid T2, mid T1, labels, side T2, far T1, STIR."""
    for index in range(spines):
        rng = np.random.default_rng(seed + index)
        plan = sample_spine(rng, view, healthy=bool(index % 4 == 3))
        phantom = rasterise(plan, (2.0, PIXEL_MM, PIXEL_MM), 27)
        middle = 13
        t2, t1 = _slice(phantom, middle, rng, "t2"), _slice(phantom, middle, rng, "t1")
        side, far = _slice(phantom, middle - 5, rng, "t2"), _slice(phantom, middle + 9, rng, "t1")
        colour = COLOURS[phantom.structures[middle]]
        mixed = np.where(colour.sum(-1, keepdims=True) > 0, 0.55 * t2[..., None] + 0.45 * colour, t2[..., None])
        yield tuple(tile(x) for x in (t2, t1, mixed.astype(np.uint8), side, far, _slice(phantom, middle, rng, "stir")))


def _slice(phantom: Phantom, plane: int, rng: np.random.Generator, contrast: str) -> NDArray[np.uint8]:
    return grey(render(phantom.tissues[plane - 1 : plane + 2], rng, contrast, 3)[0])


def sheet(view: str, seed: int, spines: int, data: Path | None) -> Image.Image:
    """One row of real pictures above `spines` rows of synthetic ones."""
    lines = [np.concatenate(row, axis=1) for row in synthetic_pictures(view, seed, spines)]
    if data is not None and data.is_dir():
        real = list(real_pictures(data, view, np.random.default_rng(seed), 6))
        if real:
            blank = [np.zeros((*TILE, 3), np.uint8)] * (6 - len(real))
            lines.insert(0, np.concatenate(real + blank, axis=1))
    return Image.fromarray(np.concatenate(lines, axis=0))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--view", default="lumbar")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--spines", type=int, default=3)
    args = parser.parse_args()
    sheet(args.view, args.seed, args.spines, args.data).save(args.out)


if __name__ == "__main__":
    main()
