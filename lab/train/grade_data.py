"""Features and labels of every disc of the measured pictures, as one table.

    python -m lab.train.grade_data --data ../shared/data --cache CACHE --out TABLE.npz

A disc is joined to its grades by its level name, as a user would read it: a wrong numbering is a wrong answer in the
evaluation. Training leaves out pictures in which the sacrum was not found or whose number of discs says that the
levels are shifted. A SPIDER disc seen on T2 and T1 makes three rows: T2 alone, T1 alone (measured on the T1), and both.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lab.train.grade_cases import (
    MENDELEY_MM,
    Case,
    cached_cases,
    mendeley_boxes,
    mendeley_pfirrmann,
    spider_labels,
    split_of,
)
from spine.grade import prepare_levels
from spine.grade.classes import HEADS
from spine.grade.features import FEATURES
from spine.grade.patch import PIXEL_MM
from spine.records import Disc

BOX_REACH_MM = 12.0  # a stenosis box belongs to the disc whose height it is closest to, no further away than this
STENOSIS_LEVELS = ("L5/S1", "L4/L5", "L3/L4", "L2/L3", "L1/L2")
NO_LABEL = -1
BOTH = "spider_both"  # T2 with the T1 beside it
OF_T1 = np.array(["t1_" in name for name in FEATURES])  # features of a second series


@dataclass(frozen=True)
class Table:
    """One row a disc and way of seeing it."""

    features: NDArray[np.float32]  # (n, feature), NaN where unknown
    labels: NDArray[np.int64]  # (n, head), index of the class or NO_LABEL
    group: NDArray[np.str_]
    patient: NDArray[np.str_]
    level: NDArray[np.str_]
    part: NDArray[np.str_]  # train, val, test
    sure: NDArray[np.bool_]  # the sacrum was found: level names can be trusted

    def rows(self, keep: NDArray[np.bool_]) -> Table:
        """The rows where `keep` is True."""
        return Table(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))


class Labels:
    """Every grade of the pack."""

    def __init__(self, data: Path) -> None:
        self._spider = spider_labels(data)
        self._pfirrmann = mendeley_pfirrmann(data)
        self._boxes = mendeley_boxes(data, "spinal_stenosis")
        self.parts = {g: split_of(g) for g in ("spider_t1", "spider_t2", BOTH, "mendeley_t2")}

    def of_case(self, case: Case) -> dict[str, dict[str, int]]:
        """Level -> grade name -> value."""
        if case.group.startswith("spider"):
            return self._spider.get(case.patient, {})
        found: dict[str, dict[str, int]] = {level: {} for level in STENOSIS_LEVELS}
        for level, value in self._pfirrmann.get(case.patient, {}).items():
            found[level]["pfirrmann"] = value
        if case.patient in self._boxes:
            narrow = stenotic_levels(case, self._boxes[case.patient])
            for level in STENOSIS_LEVELS:
                found[level]["stenosis"] = int(level in narrow)
        return found


def stenotic_levels(case: Case, boxes: NDArray[np.float64]) -> set[str]:
    """Levels whose disc's rear end lies closest in height to the middle of a stenosis box (n, 4)."""
    ends = {disc.level: _rear_row_mm(case, disc) for disc in case.spine.discs}
    found = set()
    for _, top, _, bottom in boxes:
        middle = (top + bottom) / 2 * MENDELEY_MM
        level = min(ends, key=lambda name: abs(ends[name] - middle), default=None)
        if level is not None and abs(ends[level] - middle) <= BOX_REACH_MM:
            found.add(level)
    return found


def _rear_row_mm(case: Case, disc: Disc) -> float:
    points = np.argwhere(case.spine.mask[0] == disc.label)
    rear = points[points[:, 1] >= np.percentile(points[:, 1], 90)]
    return float(rear[:, 0].mean()) * PIXEL_MM


def build_table(cases: Iterable[Case], labels: Labels) -> Table:
    """Rows of every disc that can be graded and has a label."""
    features: list[NDArray[np.float32]] = []
    facts: list[tuple[list[int], str, str, str, str, bool]] = []
    for case in tqdm(cases, mininterval=10):
        wanted = labels.of_case(case)
        prepared = prepare_levels(case.volume, case.spine, case.measurements, case.second)
        part, sure = labels.parts[case.group][case.patient], "sacrum" in case.spine.numbering.method
        for level, row in zip(prepared.levels, prepared.features, strict=True):
            if not wanted.get(level):
                continue
            values = [h.index(wanted[level][h.name]) if h.name in wanted[level] else NO_LABEL for h in HEADS]
            ways = {case.group: np.where(OF_T1, np.float32(np.nan), row)}
            if np.isfinite(row[OF_T1]).any():
                ways[BOTH] = row
            for group, seen in ways.items():
                features.append(seen)
                facts.append((values, group, case.patient, level, part, sure))
    columns = list(zip(*facts, strict=True))
    return Table(np.stack(features), np.array(columns[0]), *(np.array(c) for c in columns[1:5]), np.array(columns[5]))


def read_table(file: Path) -> Table:
    """What main() stored."""
    with np.load(file) as data:
        return Table(*(data[name] for name in Table.__dataclass_fields__))


def main() -> None:
    """Build and store the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    table = build_table(cached_cases(args.cache), Labels(args.data))
    np.savez(args.out, **{name: getattr(table, name) for name in Table.__dataclass_fields__})
    for group in np.unique(table.group):
        rows = table.group == group
        print(group, rows.sum(), {h.name: int((table.labels[rows, i] > 0).sum()) for i, h in enumerate(HEADS)})


if __name__ == "__main__":
    main()
