"""One sample through the network: features, Dice against its truth, voxel probabilities against right and wrong."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.evaluate.metrics import dice
from lab.evaluate.quality_cases import SMALL, Sample
from spine.anatomy import Structure
from spine.conform import conform_study
from spine.errors import SpineError
from spine.measure import measure_levels
from spine.pipeline import Models
from spine.quality.central import case_features
from spine.quality.confidence import group_probabilities
from spine.quality.image import image_features
from spine.quality.learnt import GROUPS
from spine.quality.orientation import turned_features
from spine.quality.spacing import SIZES_IMPLAUSIBLE
from spine.quality.thresholds import read_thresholds
from spine.quality.verdict import implausible_sizes, refuse_other_images, ruled
from spine.records import LabelledSpine, Segmentation, Series, Volume

BINS = 50  # of voxel probability
TRUTH = {"vertebra": 1, "disc": 2, "canal": 3}
BODY_TRUTH = 4
TURNED_FAMILIES = (
    "spine upside down, test patients",
    "spine rotated by 180 degrees",
    "spine with back and front exchanged",
)


def examine(sample: Sample, models: Models) -> dict[str, Any]:
    """Row of raw results: never a figure that is derived from several cases."""
    row: dict[str, Any] = {
        key: getattr(sample, key) for key in ("name", "patient", "source", "split", "kind", "family", "strength")
    }
    study = sample.study()
    try:
        volume = conform_study(study, models.settings.grid)
        image = image_features(study.primary, volume)
        refuse_other_images(study.primary.slug, image, read_thresholds())
    except SpineError as refusal:
        return {**row, "refused": str(refusal)}

    segmentation, spine = models.read(volume)
    row["features"] = _rounded(case_features(image, volume, segmentation, spine))
    row["refused"] = "" if spine.vertebrae else "no vertebral body was recognised"
    row["flags"] = rule_flags(study.primary, volume, spine, row["features"]["noise"])
    if is_turned(sample) and spine.vertebrae:
        row["turned"] = {
            turn: _rounded(found) for turn, found in turned_features(volume, segmentation, models.read).items()
        }
    row["numbering_doubted"] = spine.numbering.doubt is not None
    if sample.truth is not None:
        truth = on_grid(sample.truth, sample.spacing_mm, volume)
        row["dice"] = overlaps(truth, spine)
        if (truth == TRUTH["vertebra"]).any():
            row["voxels"] = voxel_counts(truth, segmentation)
    return row


def _rounded(features: dict[str, float]) -> dict[str, float]:
    return {name: round(float(value), 5) for name, value in features.items()}


def rule_flags(series: Series, volume: Volume, spine: LabelledSpine, noise: float) -> list[str]:
    """Flags that rules raise, whatever is learnt from the cases."""
    if not spine.vertebrae:
        return []
    flags, _ = ruled(series, volume, spine, noise)
    sizes = implausible_sizes(measure_levels(spine, volume))
    return [*((SIZES_IMPLAUSIBLE,) if sizes else ()), *flags]


def is_turned(sample: Sample) -> bool:
    """Whether the slice of `sample` is looked at turned: all sound ones to learn from, half of those tested on.

    Not those of small fields: three or four levels say little of which way the spine grows.
    """
    if sample.source == SMALL:
        return False
    if sample.kind == "foreign":
        return sample.family in TURNED_FAMILIES
    return sample.kind == "sound" and (sample.split == "fit" or zlib.crc32(sample.name.encode()) % 2 == 0)


def on_grid(truth: NDArray[np.uint8], spacing_mm: tuple[float, float, float], volume: Volume) -> NDArray[np.uint8]:
    """`truth` on the grid of `volume`, by the nearest voxel; zero in the padding. Axes (slice, down, back)."""
    factor = round(volume.spacing_mm[0] / spacing_mm[0])
    index = [np.minimum(np.arange(volume.content[0]) * factor + factor // 2, truth.shape[0] - 1)]
    for axis in (1, 2):
        place = np.rint(np.arange(volume.content[axis]) * volume.spacing_mm[axis] / spacing_mm[axis]).astype(int)
        index.append(np.minimum(place, truth.shape[axis] - 1))
    out = np.zeros(volume.array.shape, np.uint8)
    slices, rows, columns = volume.content
    out[:slices, :rows, :columns] = truth[np.ix_(*index)]
    return out


def _rows_told(truth: NDArray[np.uint8]) -> slice:
    """Rows in which the reference is complete: from the highest labelled vertebra down; L1 to L5 where bodies only."""
    bodies_only = not (truth == TRUTH["vertebra"]).any()
    rows = np.flatnonzero((truth == (BODY_TRUTH if bodies_only else TRUTH["vertebra"])).any((0, 2)))
    if not rows.size:
        return slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1 if bodies_only else truth.shape[1])


def overlaps(truth: NDArray[np.uint8], spine: LabelledSpine) -> dict[str, float]:
    """Dice of the labelled spine on the network's grid; bodies count as 'vertebra' where the truth has no more."""
    rows = _rows_told(truth)
    found, reference = spine.structures[:, rows], truth[:, rows]
    if (truth == BODY_TRUTH).any():
        return {"vertebra": round(dice(found == Structure.BODY, reference == BODY_TRUTH), 4)}
    return {
        group: round(dice(np.isin(found, members), reference == TRUTH[group]), 4) for group, members in GROUPS.items()
    }


def voxel_counts(truth: NDArray[np.uint8], segmentation: Segmentation) -> dict[str, list[list[int]]]:
    """Group -> [voxels, right ones] in each of BINS bins of the network's probability."""
    rows = _rows_told(truth)
    told = np.zeros(truth.shape, bool)
    told[:, rows] = True
    counts = {}
    for group in GROUPS:
        inside, stated = group_probabilities(segmentation, group)
        use = told[inside]
        at = np.minimum((stated[use] * BINS).astype(int), BINS - 1)
        right = truth[inside][use] == TRUTH[group]
        counts[group] = [np.bincount(at, minlength=BINS).tolist(), np.bincount(at[right], minlength=BINS).tolist()]
    return counts
