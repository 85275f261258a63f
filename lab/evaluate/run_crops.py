"""Are the levels still named right when the lower end of the picture is cut off?

    python -m lab.evaluate.run_crops --data ../shared/data --split test --out docs/segmenter

Mendeley T1 slices, whose S1 is drawn, are cut at a height told from the sacrum: all there, half of S1 gone, all of S1
gone, half of L5 gone and so on. A case is right when every body of the reference that lies mostly in view has its
name. Writes crops_SPLIT.json (every case), crops_SPLIT.md and crops_SPLIT.png.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from lab.evaluate.run_pack import MENDELEY_MM, SAGITTAL, SPLITS, interval
from spine.anatomy import CANAL_LABEL, DISC_OFFSET, PARTIAL_OFFSET
from spine.conform import conform_study, restore
from spine.errors import SpineError
from spine.pipeline import Models, open_models
from spine.records import Grid, Series, Study

S1 = 6  # in the reference: 1..5 are L1..L5
IN_VIEW = 0.9  # share of a body's pixels above the cut from which its name counts
# name of the cut -> (body of the reference, share of its height that is cut off)
CUTS: dict[str, tuple[int, float] | None] = {
    "none": None,
    "below S1": (S1, 0.0),
    "half of S1": (S1, 0.5),
    "S1": (S1, 1.0),
    "half of L5": (5, 0.5),
    "L5": (5, 1.0),
    "L4 and L5": (4, 1.0),
}


def main() -> None:
    """Run every patient at every cut; write raw results, table and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, default=Path("model"))
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    models = open_models(args.model, "cpu")
    patients = json.loads(SPLITS.read_text(encoding="utf-8"))["mendeley_midsagittal"][args.split]
    cases = [case for p in tqdm(patients) for case in patient_cases(args.data, p, models)]
    args.out.mkdir(parents=True, exist_ok=True)
    stem = args.out / f"crops_{args.split}"
    stem.with_suffix(".json").write_text(json.dumps(cases, indent=0) + "\n", encoding="utf-8")
    table = summary(cases)
    stem.with_suffix(".md").write_text(table, encoding="utf-8")
    draw(cases, stem.with_suffix(".png"))
    print(table)


def patient_cases(data: Path, patient: str, models: Models) -> list[dict[str, Any]]:
    """One patient at every cut that the reference allows."""
    folder = data / "mendeley_midsagittal"
    picture = np.asarray(Image.open(folder / "images" / f"{int(patient):04d}_t1.png"))
    reference = np.asarray(Image.open(folder / "masks" / f"{int(patient):04d}_t1.png"))
    cases = []
    for name, cut in CUTS.items():
        row = picture.shape[0] if cut is None else cut_row(reference, *cut)
        if row is not None:
            cases.append({"patient": patient, "cut": name, **cropped_case(picture[:row], reference, models)})
    return cases


def cut_row(reference: NDArray[np.uint8], body: int, share: float) -> int | None:
    """First row that is cut off when the lower `share` of `body` goes; None where the body is not drawn."""
    rows = np.flatnonzero((reference == body).any(1))
    return round(rows[-1] + 1 - share * len(rows)) if len(rows) else None


def cropped_case(picture: NDArray[np.uint8], reference: NDArray[np.uint8], models: Models) -> dict[str, Any]:
    """Names of the bodies in view of `picture` (upper rows), against `reference` (all rows)."""
    grid = Grid((picture.shape[1], picture.shape[0], 1), MENDELEY_MM[::-1], (0.0, 0.0, 0.0), SAGITTAL)
    study = Study(Series("sagittal-t1-spine-mri", "cropped", picture[None], grid))
    try:
        volume = conform_study(study, models.settings.grid)
        segmentation, spine = models.read(volume)
    except SpineError as error:
        return {"right": False, "refused": str(error), "doubt": True, "probability": None, "method": None}
    mask = restore(spine, segmentation, volume)[0]
    label = np.where((mask > PARTIAL_OFFSET) & (mask < DISC_OFFSET), mask - PARTIAL_OFFSET, mask)
    label = np.where(label < CANAL_LABEL, label, 0)
    right = []
    for body in range(1, 6):
        whole = reference == body
        seen = whole[: len(label)]
        if whole.any() and seen.sum() >= IN_VIEW * whole.sum():
            hits = np.bincount(label[seen], minlength=1)
            right.append(bool(hits[1:].sum() > 0.3 * seen.sum() and hits[1:].argmax() + 1 == 6 - body))
    doubt = spine.numbering.doubt
    return {
        "right": all(right),
        "doubt": doubt is not None,
        "probability": spine.numbering.probability,
        "method": spine.numbering.method,
    }


def _rates(cases: list[dict[str, Any]], cut: str) -> dict[str, tuple[float, float, float]]:
    chosen = [c for c in cases if c["cut"] == cut]
    return {
        "n": (len(chosen), 0.0, 0.0),
        "right": interval([float(c["right"]) for c in chosen]),
        "doubt": interval([float(c["doubt"]) for c in chosen]),
        "silent": interval([float(not c["right"] and not c["doubt"]) for c in chosen]),
    }


def summary(cases: list[dict[str, Any]]) -> str:
    """Markdown table: for each cut the share named right, the share with a stated doubt, and wrong in silence."""
    lines = [
        "| cut off | n | all bodies in view named right | doubt stated | wrong in silence |",
        "|---|---|---|---|---|",
    ]
    for cut in CUTS:
        rates = _rates(cases, cut)
        cells = [
            f"{m:.3f} ({low:.3f} to {high:.3f})" for m, low, high in (rates[k] for k in ("right", "doubt", "silent"))
        ]
        lines.append(f"| {cut} | {rates['n'][0]:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(cases: list[dict[str, Any]], file: Path) -> None:
    """The three shares against the cut, with 95 % intervals."""
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for key, label in (("right", "named right"), ("doubt", "doubt stated"), ("silent", "wrong in silence")):
        rates = np.array([_rates(cases, cut)[key] for cut in CUTS])
        errors = np.abs(rates[:, 1:] - rates[:, :1]).T
        axes.errorbar(range(len(CUTS)), rates[:, 0], errors, marker="o", capsize=3, label=label)
    axes.set_xticks(range(len(CUTS)), list(CUTS))
    axes.set(xlabel="cut off", ylabel="share of patients", ylim=(-0.03, 1.03))
    axes.legend()
    figure.savefig(file, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
