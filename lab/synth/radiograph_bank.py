"""A bank of projected spines for training and evaluation, and a contact sheet of films to be looked at.

    python -m lab.synth.radiograph_bank --out BANK --family train --region cervical --n 1200
    python -m lab.synth.radiograph_bank --sheet sheet.png --family val --region lumbar --n 8

Films are kept as attenuation before exposure: training exposes each anew every time that it is shown. The three
families of seeds are disjoint; the test family is drawn for the evaluation alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from lab.synth.radiograph import IMPLANT_PROB, PIXEL_MM, SPURRED_PROB, Cast, cast, develop, sample_patient
from spine.xray.conform import scale
from spine.xray.landmarks import LANDMARKS, TIPS

FAMILIES = {"train": 1, "val": 2, "test": 3}
REGIONS = ("cervical", "lumbar")
SEED = 20261122
RICH = (0.95, 0.25)  # share of training patients with osteophytes, and of those with an implant beyond the plan's


def generator(family: str, region: str, index: int) -> np.random.Generator:
    """The random numbers of film `index`: no two families share a seed."""
    return np.random.default_rng((SEED, FAMILIES[family], REGIONS.index(region), index))


def draw_cast(family: str, region: str, index: int) -> tuple[Cast, np.random.Generator]:
    """Film `index` of a family before exposure, and the generator to expose it with.

    Training sees more osteophytes and implants than the other families do: both are rare there and hard.
    """
    rng = generator(family, region, index)
    spurred_prob, implant_prob = RICH if family == "train" else (SPURRED_PROB, IMPLANT_PROB)
    return cast(sample_patient(rng, region, spurred_prob), rng, region, implant_prob=implant_prob), rng


def write_bank(out: Path, family: str, region: str, numbers: range) -> None:
    """One compact file a film: attenuation float16, points float32; those that exist are kept."""
    out.mkdir(parents=True, exist_ok=True)
    for index in tqdm(numbers, mininterval=30):
        path = out / f"{family}_{region}_{index:05d}.npz"
        if path.exists():
            continue
        film, _ = draw_cast(family, region, index)
        part = path.with_suffix(".part")
        with part.open("wb") as stream:
            np.savez(
                stream,
                attenuation=film.attenuation.astype(np.float16),
                points_mm=film.points_mm.astype(np.float32),
                neighbours_mm=film.neighbours_mm.astype(np.float32),
                pixel_mm=film.pixel_mm,
            )
        part.replace(path)


def sheet(family: str, region: str, count: int, columns: int = 4) -> Image.Image:
    """Films as the network sees them; on every second one the landmarks: green seen, red hidden, yellow tips."""
    tiles = []
    for index in range(count):
        film, rng = draw_cast(family, region, index)
        picture, visible, _ = develop(film, rng)
        tile = Image.fromarray((np.clip(scale(picture), 0, 1) * 255).astype(np.uint8)).convert("RGB")
        if index % 2 == 0:
            pen = ImageDraw.Draw(tile)
            for (_, point), at, seen in zip(LANDMARKS, film.points_mm, visible, strict=True):
                if np.isfinite(at).all():
                    y, x = at / PIXEL_MM - 0.5
                    colour = ("yellow" if point in TIPS else "lime") if seen else "red"
                    pen.ellipse((x - 2, y - 2, x + 2, y + 2), outline=colour)
        tiles.append(tile)
    wide, tall = max(t.width for t in tiles) + 6, max(t.height for t in tiles) + 6
    out = Image.new("RGB", (columns * wide, -(-count // columns) * tall))
    for index, tile in enumerate(tiles):
        out.paste(tile, (index % columns * wide, index // columns * tall))
    return out


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--family", choices=sorted(FAMILIES), default="train")
    parser.add_argument("--region", choices=REGIONS, required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--n", type=int, required=True)
    args = parser.parse_args()
    if args.out:
        write_bank(args.out, args.family, args.region, range(args.first, args.first + args.n))
    if args.sheet:
        sheet(args.family, args.region, args.n).save(args.sheet)


if __name__ == "__main__":
    main()
