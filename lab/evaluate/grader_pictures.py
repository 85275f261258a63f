"""Discs whose Pfirrmann grade is told wrongly by more than one, to be looked at.

    python -m lab.evaluate.grader_pictures --cache CACHE --raw docs/grader/cases_test.json --out docs/grader

CACHE is that of lab.train.grade_cases. Each panel is the disc in its own frame, front on the left, scaled by the
fluid of the canal beside it, with the outline that the grade was read from.
"""

from __future__ import annotations

import argparse
import json
import pickle
from pathlib import Path
from typing import Any

from lab.train.grade_cases import Case
from spine.grade.patch import cut_patch

COLUMNS = 6
PANELS = 12


def wrong_by_more(raw: list[dict[str, Any]], group: str) -> list[tuple[str, str, int, int]]:
    """(patient, level, reference, told) of the set `group`, the furthest off first."""
    found = []
    for case in (c for c in raw if c["set"] == group):
        for grade in (g for g in case["grades"] if g["name"] == "pfirrmann" and g["grade"] is not None):
            reference = case["reference"].get(grade["level"], {}).get("pfirrmann")
            if reference is not None and abs(reference - grade["grade"]) > 1:
                found.append((case["patient"], grade["level"], int(reference), int(grade["grade"])))
    return sorted(found, key=lambda item: -abs(item[2] - item[3]))


def draw(found: list[tuple[str, str, int, int]], group: str, cache: Path, file: Path) -> None:
    """Panels of the first PANELS discs."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rows = -(-min(len(found), PANELS) // COLUMNS)
    figure, axes = plt.subplots(max(rows, 1), COLUMNS, figsize=(2.2 * COLUMNS, 2.0 * max(rows, 1)), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (patient, level, reference, told) in zip(axes.flat, found, strict=False):
        kept = pickle.loads((cache / f"{group}_{int(patient):04d}.pickle").read_bytes())
        case = Case(*kept["case"])
        patch = cut_patch(case.volume, case.spine, next(d for d in case.spine.discs if d.level == level))
        if isinstance(patch, str):
            continue
        axis.imshow(patch.image / patch.fluid, cmap="gray", vmin=0, vmax=1.1)
        axis.contour(patch.disc, [0.5], colors="red", linewidths=0.6)
        axis.set_title(f"{patient} {level}: reference {reference}, told {told}", fontsize=7)
    figure.tight_layout()
    figure.savefig(file, dpi=80)


def main() -> None:
    """Draw, and print the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--group", default="spider_t2")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    found = wrong_by_more(json.loads(args.raw.read_text(encoding="utf-8")), args.group)
    draw(found, args.group, args.cache, args.out / "disagreements.png")
    for patient, level, reference, told in found:
        print(f"{patient} {level}: reference {reference}, told {told}")


if __name__ == "__main__":
    main()
