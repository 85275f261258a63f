"""Render the synthetic bank once, in several contrasts, so that training reads pictures and never waits for one.

python -m lab.train.prerender --bank BANK --out RENDERED --each 3
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lab.synth.phantom import STRUCTURE_OF_TISSUE
from lab.synth.render import CONTRASTS as RENDERED
from lab.synth.render import render
from spine.conform import MAX_INTENSITY, intensity_scale

CONTRASTS = ("t2", "t1", "random", "t2", "t1", "stir", "t2", "t1", "water_fat", "random")


def main() -> None:
    """Render what is not yet in --out; files appear by renaming, so training may start before the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--each", type=int, default=3, help="pictures of each spine")
    parser.add_argument("--contrasts", nargs="+", choices=RENDERED, default=CONTRASTS, help="taken in turn")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(tqdm(sorted(args.bank.glob("*.npz")), mininterval=10)):
        for n in range(args.each):
            contrast = args.contrasts[(number * args.each + n) % len(args.contrasts)]
            render_file(file, args.out / f"{file.stem}_{n}.npz", contrast)


def render_file(file: Path, out: Path, contrast: str) -> None:
    """One spine of the bank in one contrast; the seed comes from the file's name."""
    if out.exists():
        return
    with np.load(file) as stored:
        tissues, spacing_mm = stored["tissues"], stored["spacing_mm"]
    rng = np.random.default_rng(list(out.stem.encode()))
    picture = render(tissues, rng, contrast)
    picture = np.clip(picture * intensity_scale(picture), 0, MAX_INTENSITY).astype(np.float16)
    structures = np.asarray(STRUCTURE_OF_TISSUE, np.uint8)[tissues]
    part = out.with_suffix(".part")
    with part.open("wb") as stream:
        np.savez(stream, image=picture, structures=structures, spacing_mm=spacing_mm)
    part.replace(out)


if __name__ == "__main__":
    main()
