"""Disc height index measured twice on one patient: on T1 and T2, and on the T2 stored on another grid.

    python -m lab.evaluate.run_repeatability --data ../shared/data --out docs/measure

SPIDER's mid-sagittal pictures of one session are taken as repeated measurements of the same discs. The spread within
a disc is the within-subject coefficient of variation: the root mean square of |a - b| / (sqrt(2) * mean(a, b)) (Bland
and Altman 1996, doi 10.1136/bmj.313.7059.744). Another grid: the T2 resampled to 0.7 and 1.0 mm and shifted by 0.4
pixels. The whole pipeline runs on each picture, or T1 and T2 are taken from --cache (see lab.train.grade_cases).

A second table tells where the spread between T1 and T2 comes from: the heights that the index is made of, and two other
definitions of the mean height over the same body height. Changes of the definition were judged on --split development,
the training and validation patients.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from lab.train.grade_cases import cached_cases, measure_case, pictures, split_of
from spine.anatomy import DISC_LEVELS
from spine.pipeline import Models, open_models
from spine.records import Measurement, Study

NAME = "disc_height_index"
WANTED_PERCENT = 5.0  # of issue 4
GRIDS_MM = (0.7, 1.0)
SHIFT_PIXELS = 0.4
PATIENTS_ON_GRIDS = 20  # the network runs anew on each grid
HEIGHTS = ("disc_height_anterior_mm", "disc_height_middle_mm", "disc_height_posterior_mm")
SPLITS = {"development": ("train", "val"), "val": ("val",), "test": ("test",)}

Heights = Mapping[str, float]  # level -> index


@dataclass(frozen=True)
class Pair:
    """One disc measured twice."""

    what: str  # 'T1 against T2'
    patient: str
    level: str
    first: float
    second: float

    @property
    def relative(self) -> float:
        """Difference over mean."""
        return (self.second - self.first) / ((self.first + self.second) / 2)


def indices(measurements: Iterable[Measurement], name: str = NAME) -> dict[str, float]:
    """Level or body -> disc height index, or what else is called `name`, where it is known."""
    return {m.subject: m.value for m in measurements if m.name == name and m.value is not None}


def parts_of(measurements: Sequence[Measurement]) -> dict[str, dict[str, float]]:
    """What is compared in the second table -> level -> value, of the levels that have an index.

    The body height is that which the index was divided by. Simpson's rule over the three heights is the mean of a gap
    between two parabolas; the area of the disc's own outline is divided by the distance of the middles of the front
    and of the rear corners, the end points of `wedge_deg`.
    """
    index, area = indices(measurements), indices(measurements, "disc_midsagittal_area_mm2")
    corners = {
        m.subject: np.array(m.points_mm) for m in measurements if m.name == "wedge_deg" and len(m.points_mm) == 4
    }
    heights = [indices(measurements, name) for name in HEIGHTS]
    found: dict[str, dict[str, float]] = {}
    for level, value in index.items():
        front, middle, back = (part[level] for part in heights)
        body = (front + middle + back) / 3 / value
        simpson = (front + 4 * middle + back) / 6
        row = dict(zip(HEIGHTS, (front, middle, back), strict=True))
        row |= {NAME: value, "middle body height": body, "index by Simpson's rule": simpson / body}
        if level in area and level in corners:
            upper_back, upper_front, lower_back, lower_front = corners[level]
            depth = float(np.linalg.norm(upper_front + lower_front - upper_back - lower_back)) / 2
            row["index by Simpson's rule and by area over depth, their mean"] = (
                (simpson + area[level] / depth) / 2 / body
            )
        for name, number in row.items():
            found.setdefault(name, {})[level] = number
    return found


def pairs_of(what: str, patient: str, first: Heights, second: Heights) -> list[Pair]:
    """The discs that both know."""
    return [Pair(what, patient, level, first[level], second[level]) for level in first if level in second]


def regridded(study: Study, pixel_mm: float) -> Study:
    """The picture of `study` on pixels of `pixel_mm`, shifted by SHIFT_PIXELS."""
    series = study.primary
    stored = series.grid.spacing_mm[0]
    picture = series.array[0].astype(np.float32)
    factor = pixel_mm / stored
    if factor > 1:  # finer detail than the new pixels can hold would fold back
        picture = ndimage.gaussian_filter(picture, 0.4 * np.sqrt(factor**2 - 1))
    size = [int((n - 1) / factor - SHIFT_PIXELS) for n in picture.shape]
    axes = [(np.arange(n) + SHIFT_PIXELS) * factor for n in size]
    place = np.stack(np.meshgrid(*axes, indexing="ij"))
    array = np.rint(ndimage.map_coordinates(picture, place, order=1)).astype(series.array.dtype)
    grid = replace(series.grid, size=(size[1], size[0], 1), spacing_mm=(pixel_mm, pixel_mm, series.grid.spacing_mm[2]))
    return Study(replace(series, array=array[None], grid=grid))


def contrast_pairs(what: str, measured: Mapping[tuple[str, str], Heights]) -> list[Pair]:
    """T1 against T2 of every patient who has both."""
    patients = sorted({p for _, p in measured}, key=int)
    both = [p for p in patients if ("spider_t1", p) in measured and ("spider_t2", p) in measured]
    return [pair for p in both for pair in pairs_of(what, p, measured["spider_t2", p], measured["spider_t1", p])]


def grid_pairs(studies: Mapping[str, Study], measured: Mapping[tuple[str, str], Heights], models: Models) -> list[Pair]:
    """T2 on other grids against the stored one."""
    found = []
    for patient, study in tqdm(studies.items(), desc="grids"):
        for pixel_mm in GRIDS_MM:
            case = measure_case("spider_t2", patient, regridded(study, pixel_mm), models)
            again = indices(case.measurements)
            found += pairs_of(f"T2 on {pixel_mm} mm", patient, measured["spider_t2", patient], again)
    return found


def table(pairs: list[Pair]) -> str:
    """Markdown: spread by comparison and level."""
    lines = [
        "Disc height index measured twice on the same disc, all failures of the outline included.",
        "",
        "| comparison | level | discs | mean difference | median of size | 95 % of size below "
        "| within-subject variation | within 5 % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for what in dict.fromkeys(p.what for p in pairs):
        own = [p for p in pairs if p.what == what]
        for level in ("all", *(name for name in DISC_LEVELS if any(p.level == name for p in own))):
            part = np.array([p.relative for p in own if level in ("all", p.level)]) * 100
            size, variation = np.abs(part), np.sqrt(np.mean(part**2) / 2)
            share = 100 * np.mean(size <= WANTED_PERCENT)
            lines.append(
                f"| {what} | {level} | {len(part)} | {part.mean():+.1f} % | {np.median(size):.1f} % "
                f"| {np.percentile(size, 95):.1f} % | {variation:.1f} % | {share:.0f} % |"
            )
    return "\n".join(lines) + "\n"


def parts_table(parts: Mapping[tuple[str, str], Mapping[str, Heights]]) -> str:
    """Markdown: T1 against T2 by what is compared; `parts` is (set, patient) -> parts_of()."""
    lines = [
        "Where the spread between T1 and T2 comes from, all levels. The last column takes the mean difference off: it "
        "belongs to the contrast, not to chance.",
        "",
        "| measurement | discs | mean difference | median of size | robust spread of the difference | within 5 % "
        "| within 5 % of the mean difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(name for part in parts.values() for name in part):
        pairs = contrast_pairs(name, {key: part.get(name, {}) for key, part in parts.items()})
        if not pairs:
            continue
        relative = np.array([p.relative for p in pairs]) * 100
        low, high = np.percentile(relative, (16, 84))
        near = [100 * np.mean(np.abs(relative - middle) <= WANTED_PERCENT) for middle in (0.0, relative.mean())]
        lines.append(
            f"| {name} | {len(relative)} | {relative.mean():+.1f} % | {np.median(np.abs(relative)):.1f} % "
            f"| {(high - low) / 2:.1f} % | {near[0]:.0f} % | {near[1]:.0f} % |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, compare, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, default=Path("model"))
    parser.add_argument("--cache", type=Path, help="measured cases of lab.train.grade_cases, made with this segmenter")
    parser.add_argument("--split", choices=tuple(SPLITS), default="test")
    parser.add_argument("--on-grids", type=int, default=PATIENTS_ON_GRIDS, help="patients measured on other grids")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    models = open_models(args.model, "cpu")
    wanted = {p for p, part in split_of("spider_t2").items() if part in SPLITS[args.split]}
    studies = {(g, p): study for g, p, study in pictures(args.data) if g in ("spider_t1", "spider_t2") and p in wanted}
    if args.cache is not None:
        cases = (c for c in cached_cases(args.cache) if (c.group, c.patient) in studies)
    else:
        cases = (measure_case(g, p, study, models) for (g, p), study in studies.items())
    parts = {(c.group, c.patient): parts_of(c.measurements) for c in cases}
    measured = {key: part.get(NAME, {}) for key, part in parts.items()}
    some = [key for key in studies if key[0] == "spider_t2" and key in measured][: args.on_grids]
    pairs = contrast_pairs("T1 against T2", measured) + grid_pairs(
        {p: studies[g, p] for g, p in some}, measured, models
    )
    args.out.mkdir(parents=True, exist_ok=True)
    text = table(pairs) + "\n" + parts_table(parts)
    name = "repeatability.md" if args.split == "test" else f"repeatability_{args.split}.md"
    (args.out / name).write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
