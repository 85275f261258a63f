"""From picture to measurement on synthetic spines whose answers are known: the error of network and measuring together.

    python -m lab.evaluate.run_chain --out docs/measure --spines 10
    python -m lab.evaluate.run_chain --out docs/measure --spines 10 --first 20      # seeds that chose no network

The spines of lab.evaluate.run_phantoms, of seeds that trained nothing, rendered as clinical T2 stacks of 15 slices and
read by the whole of the pipeline up to the measurements. Where run_phantoms shows what measuring alone costs, this
shows what a reader gets: every number that was measured, and the share of them that the case's doubts let through.
What the plan of a spine does not hold (corners, angles over several levels, the cord) is compared with the same ruler
on the true mask; for the cord that of the planes, which lie three times as close as the slices.
Synthetic: a network that learnt from the same generator does better here than on patients.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lab.evaluate.agreement import bootstrap_by_patient
from lab.evaluate.cords import map_of
from lab.evaluate.quality_cases import SAGITTAL, SLUG
from lab.evaluate.run_phantoms import Error, Values, errors_of, labelled, values_of, volume_of
from lab.synth.phantom import Phantom, rasterise
from lab.synth.plan import SpinePlan
from lab.synth.render import render
from lab.synth.sample import sample_spine
from spine.anatomy import Structure
from spine.conform import conform_study
from spine.cord import canal_course, read_cord
from spine.errors import UnusableImage
from spine.measure import measure_levels
from spine.pipeline import Models, open_models
from spine.quality.verdict import judge_quality, judge_sizes
from spine.quality.withhold import withhold_measurements
from spine.records import Grid, Series, Study

SPACING_MM, SLICES = (3.6, 0.6, 0.6), 15
FAMILY = 8  # of the seeds: training takes other ones
VIEWS = ("lumbar", "cervical")
TOP_VALUE = 1000.0
BY_RULER = (  # measurements of which the true mask gives the reference
    "disc_height_anterior_mm",
    "disc_height_posterior_mm",
    "segmental_angle_deg",
    "body_height_anterior_mm",
    "body_height_posterior_mm",
    "body_wedge_deg",
    "wedge_percent",
    "biconcavity_ratio",
    "c2_c7_angle_deg",
    "c7_slope_deg",
    "t1_slope_deg",
    "cord_ap_diameter_mm",
    "cord_width_mm",
    "cord_area_mm2",
    "space_available_cord_min_mm",
    "subarachnoid_loss_percent",
    "cord_compression_percent",
    "kang_grade",
)
PLANES = 3  # averaged into one slice


@dataclass(frozen=True)
class Read:
    """One measurement of one spine."""

    spine: str
    told: bool  # not withheld by a doubt
    error: Error


def draw_study(
    view: str, seed: int, spacing_mm: tuple[float, ...] = SPACING_MM, slices: int = SLICES, planes: int = PLANES
) -> tuple[Study, Phantom, SpinePlan]:
    """One synthetic T2 stack, its truth and its plan; `planes` are averaged into one slice."""
    rng = np.random.default_rng([seed, FAMILY])
    plan = sample_spine(rng, view)
    phantom = rasterise(plan, (spacing_mm[0] / planes, *spacing_mm[1:]), planes * slices)
    picture = render(phantom.tissues, rng, "t2", planes, spacing_mm[1], artefacts=0.8)
    stored = np.rint(np.clip(picture / np.percentile(picture, 99), 0, 2) * TOP_VALUE).astype(np.int16)
    grid = Grid((*stored.shape[:0:-1], len(stored)), spacing_mm[::-1], (0.0, 0.0, 0.0), SAGITTAL)
    return Study(Series(SLUG, "drawn", stored, grid)), phantom, plan


def read_spine(view: str, seed: int, models: Models) -> Iterator[Read]:
    """Every comparable measurement of one synthetic study; nothing where the study is refused."""
    study, phantom, plan = draw_study(view, seed)
    volume = conform_study(study, models.settings.grid)
    segmentation, spine = models.read(volume)
    spine = read_cord(study.primary, volume, spine, models.cord)
    try:
        quality = judge_quality(study.primary, volume, segmentation, spine, models.quality)
    except UnusableImage:
        return
    found = measure_levels(spine, volume)
    told = values_of(withhold_measurements(found, judge_sizes(quality, found).doubts))
    # The same order twice: the truth's discs and bodies.
    ruled = rulers(plan, phantom)
    compared = [
        [*errors_of(view, values, phantom.truth), *errors_by_ruler(view, values, ruled)]
        for values in (values_of(found), told)
    ]
    for measured, left in zip(*compared, strict=True):
        yield Read(f"{view} {seed}", bool(np.isfinite(left.error)), measured)


def rulers(plan: SpinePlan, planes: Phantom) -> Values:
    """What measuring finds on the true mask, on the slices that the picture has; the cord on all its planes."""
    phantom = rasterise(plan, SPACING_MM, SLICES)
    spine = labelled(phantom)
    middle_mm = canal_course(np.isin(phantom.structures, (Structure.CANAL, Structure.CORD)), SPACING_MM)
    to_index = np.concatenate((np.diag(1 / np.array(SPACING_MM)), np.zeros((3, 1))), 1)
    to_index[0] = (PLANES / SPACING_MM[0], 0, 0, PLANES // 2)
    cord = map_of(planes.structures == Structure.CORD, to_index, middle_mm)
    volume = volume_of(spine.mask.shape, spacing_mm=SPACING_MM)
    return values_of(measure_levels(replace(spine, cord=cord), volume))


def errors_by_ruler(kind: str, values: Values, truth: Values) -> Iterator[Error]:
    """Every measurement of BY_RULER that the true mask gives and whose subject was found."""
    for (subject, name), true in truth.items():
        if name in BY_RULER and true is not None and (subject, name) in values:
            value = values[subject, name]
            yield Error(kind, name, float("nan") if value is None else value - true)


def table(reads: list[Read], refused: int) -> str:
    """Markdown: bias and error of each measurement, with 95 % intervals over spines."""
    spines = {view: len({r.spine for r in reads if r.error.kind == view}) for view in VIEWS}
    lines = [
        f"Synthetic T2 stacks of {SLICES} slices, {SPACING_MM[2]} x {SPACING_MM[1]} x {SPACING_MM[0]} mm, through the "
        f"network: {spines['lumbar']} lumbar and {spines['cervical']} cervical spines of unseen seeds, {refused} "
        "refused. Millimetres or degrees; 95 % intervals over spines. Bias, spread and 95th percentile are of all that "
        "was measured; the last column is of what was told.",
        "",
        "| spines | measurement | n | not measured | told | bias (mean) | 95 % interval | SD | 95 % below | ... told |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, name in dict.fromkeys((r.error.kind, r.error.name) for r in reads):
        own = [r for r in reads if (r.error.kind, r.error.name) == (kind, name)]
        known = [r for r in own if np.isfinite(r.error.error)]
        if len(known) < 2:
            continue
        errors = np.array([r.error.error for r in known])
        owners = np.array([r.spine for r in known])
        bias = bootstrap_by_patient(owners, lambda at, errors=errors: float(errors[at].mean()), draws=400)
        told = 100 * np.mean([r.told for r in known])
        lines.append(
            f"| {kind} | {name} | {len(known)} | {len(own) - len(known)} | {told:.0f} % | {bias.value:+.2f} "
            f"| {bias.low:+.2f} to {bias.high:+.2f} | {errors.std(ddof=1):.2f} | {_p95(errors)} | "
            f"{_p95(errors[[r.told for r in known]])} |"
        )
    return "\n".join(lines) + "\n"


def _p95(errors: NDArray[np.float64]) -> str:
    return f"{np.percentile(np.abs(errors), 95):.2f}" if len(errors) else "-"


def main() -> None:
    """Draw, read, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("model"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--spines", type=int, default=10, help="of each region")
    parser.add_argument("--first", type=int, default=0, help="seed; another than 0 writes chain_from_SEED.md")
    args = parser.parse_args()
    models = open_models(args.model, "cpu")
    reads: list[Read] = []
    refused = 0
    for view in VIEWS:
        for seed in tqdm(range(args.first, args.first + args.spines), desc=view):
            own = list(read_spine(view, seed, models))
            refused += not own
            reads += own
    args.out.mkdir(parents=True, exist_ok=True)
    text = table(reads, refused)
    name = f"chain_from_{args.first}.md" if args.first else "chain.md"
    (args.out / name).write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
