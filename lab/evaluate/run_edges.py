"""Do the outlines of the neck end where the image says so? Disc heights against the edges of the marrow.

    python -m lab.evaluate.run_edges --data ../shared/data --out docs/measure

No real neck with outlined bodies is at hand, so the heights of its discs have no truth. Its image has edges, though:
along a profile at right angles to an end plate, averaged over its middle half, the signal falls most steeply where
the marrow ends. The height between two such edges is compared with the height that we measure, on the pack's healthy
volunteers and on synthetic necks of unseen seeds, where the truth says what the edges themselves are worth. A network
that outlines real necks as well as synthetic ones differs from the edges by the same amount on both. The edges are
looked for around our own outline: an end plate that is missed by more than REACH_MM is not found out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from lab.evaluate.run_cervical import CASES, DISCS
from lab.evaluate.run_chain import draw_study
from spine.anatomy import C7_LABEL, DISC_OFFSET, disc_level
from spine.conform import conform_study
from spine.geometry import Array, up_of
from spine.measure.discs import disc_axis
from spine.measure.outline import EndPlate
from spine.measure.scene import Scene, build_scene
from spine.pipeline import Models, open_models
from spine.read import read_files
from spine.records import Study

REACH_MM, INSIDE_MM, STEP_MM = 2.0, 3.0, 0.1
SHARES = np.linspace(0.25, 0.75, 11)  # of the chord, from back to front
MIN_FALL = 0.15  # of the marrow's signal: a fainter edge is none
# Spacing, slices, planes in a slice: as clinics scan, and as the volunteers were scanned.
STACKS = {"synthetic, 3.6 mm slices": (), "synthetic, 1 mm cubes": ((1.0, 1.0, 1.0), 36, 1)}


@dataclass(frozen=True)
class Compared:
    """One disc: what we measure, what lies between the edges, and the truth where there is one; mm."""

    group: str
    spine: str
    level: str
    ours: float
    edges: float
    truth: float  # NaN of a real neck


def edge_beyond(scene: Scene, plate: EndPlate, outward: Array) -> float:
    """How far beyond `plate` the marrow's signal falls most steeply, mm along `outward` (2,); NaN without an edge."""
    along = plate.chord
    sag = (plate.middle - (plate.front + plate.back) / 2) @ outward
    base = plate.back + SHARES[:, None] * along + (4 * SHARES * (1 - SHARES) * sag)[:, None] * outward
    away = np.arange(-INSIDE_MM, REACH_MM + STEP_MM, STEP_MM)
    points = base[None] + away[:, None, None] * outward
    index = scene.surface.index(points.reshape(-1, 2)).T
    profile = ndimage.map_coordinates(scene.volume.array, index, order=1, mode="nearest")
    profile = ndimage.gaussian_filter1d(profile.reshape(len(away), -1).mean(1), 2)
    slope = np.gradient(profile, STEP_MM)
    near = np.flatnonzero(away >= -REACH_MM)
    at = near[0] + int(slope[near].argmin())
    if at in (near[0], len(away) - 1):
        return float("nan")
    fall = profile[max(at - 10, 0) : at].max() - profile[at : at + 11].min()
    if fall < MIN_FALL * profile[: at + 1].max():
        return float("nan")
    below, here, above = slope[at - 1 : at + 2]
    bend = below - 2 * here + above
    return float(away[at] + (STEP_MM * 0.5 * (below - above) / bend if bend > 0 else 0.0))


def heights(scene: Scene) -> Iterator[tuple[str, float, float]]:
    """(level, height that we measure, height between the edges) of every disc of the neck, mm; NaN without edges."""
    for k in scene.levels():
        upper, lower = scene.inferior(k), scene.superior(k - 1)
        if k < C7_LABEL or isinstance(upper, str) or isinstance(lower, str):
            continue
        up = up_of(disc_axis(upper, lower))
        ours = float((upper.middle - lower.middle) @ up) * scene.surface.stretch(upper.middle, lower.middle)
        beyond = edge_beyond(scene, upper, -up) + edge_beyond(scene, lower, up)
        yield disc_level(DISC_OFFSET + k), ours, ours - beyond


def compare(group: str, name: str, study: Study, models: Models, truth: dict[str, float]) -> Iterator[Compared]:
    """Every disc from C2/C3 to C7/T1 of one neck; `truth` is level -> mm."""
    volume = conform_study(study, models.settings.grid)
    for level, ours, edges in heights(build_scene(models.read(volume)[1], volume)):
        yield Compared(group, name, level, ours, edges, truth.get(level, float("nan")))


def table(rows: list[Compared]) -> str:
    """Markdown: mean and spread of the differences, by group."""
    lines = [
        "Middle heights of the discs C2/C3 to C7/T1, mm: mean (standard deviation) of the differences.",
        "",
        "| necks | persons | discs | without an edge | ours - edges | edges - truth | ours - truth |",
        "|---|---|---|---|---|---|---|",
    ]
    for group in dict.fromkeys(row.group for row in rows):
        own = [row for row in rows if row.group == group]
        values = np.array([(row.ours, row.edges, row.truth) for row in own])
        found = values[np.isfinite(values[:, 1])]
        pairs = ((found, 0, 1), (found, 1, 2), (values, 0, 2))
        cells = [_spread(v[:, a] - v[:, b]) for v, a, b in pairs]
        lines.append(
            f"| {group} | {len({row.spine for row in own})} | {len(own)} | {len(own) - len(found)} "
            f"| {' | '.join(cells)} |"
        )
    lines += ["", "| volunteer | " + " | ".join(DISCS) + " |", "|---|" + "---|" * len(DISCS)]
    for name in dict.fromkeys(row.spine for row in rows if not np.isfinite(row.truth)):
        by_level = {row.level: row for row in rows if row.spine == name}
        cells = [f"{by_level[d].ours:.1f} / {by_level[d].edges:.1f}" if d in by_level else "-" for d in DISCS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "Second table: ours / between the edges."]) + "\n"


def _spread(differences: Array) -> str:
    known = differences[np.isfinite(differences)]
    return f"{known.mean():+.2f} ({known.std(ddof=1):.2f})" if len(known) > 1 else "-"


def main() -> None:
    """Compare and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, default=Path("model"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--spines", type=int, default=10, help="synthetic necks")
    parser.add_argument("--no-volunteers", action="store_true", help="synthetic necks alone")
    args = parser.parse_args()
    models = open_models(args.model, "cpu")
    rows: list[Compared] = []
    for group, stack in STACKS.items():
        for seed in tqdm(range(args.spines), desc=group):
            study, phantom, _ = draw_study("cervical", seed, *stack)
            truth = {disc["level"]: disc["gap_middle_mm"] for disc in phantom.truth["discs"]}
            rows += compare(group, f"{group} {seed}", study, models, truth)
    for case in () if args.no_volunteers else tqdm(CASES, desc="volunteers"):
        study = read_files(image=args.data / "cervical_t2" / f"errsm_{case}_image.nii.gz")
        rows += compare("healthy volunteers", case, study, models, {})
    (args.out / "edges.md").write_text(table(rows), encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
