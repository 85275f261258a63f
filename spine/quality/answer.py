"""What can be measured of the network's answer and of the labelled spine without a reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import DISC_OFFSET, Structure
from spine.records import Disc, LabelledSpine, Segmentation, Vertebra, Volume

SAMPLE_STEP = 2  # every second row and column is looked at
UNSURE_PROB = 0.6  # a voxel whose most probable class has less counts as unsure
MANY_BODIES = 8.0  # more bodies than this say no more
NO_SPACING_MM = 0.0
MAX_GROWTH = 0.3
UNKNOWN_SPREAD = 0.6  # relative spread that fewer than three bodies are credited with


def answer_features(
    segmentation: Segmentation, spine: LabelledSpine, volume: Volume, central: slice = slice(None)
) -> dict[str, float]:
    """Name -> value; what counts voxels looks at the slices `central`, what tells of geometry at all of them.

    Shares and probabilities 0..1, spreads relative, `bend_deg` in degrees, `pitch_mm` in mm.

    `margin`: mean of the largest minus the second largest probability over found voxels; `entropy`: mean Shannon
    entropy over its maximum there; `unsure_share`: voxels of the image without a class above UNSURE_PROB;
    `kept_share`: found voxels that the anatomy let pass; `pitch_spread`: coefficient of variation of the distances
    between neighbouring bodies; `bend_deg`: largest turn of the column from one body to the next; `canal_spread`: of
    the distance from body to canal, relative to the pitch; `growth`: of the log size of the bodies per level downward;
    `sacrum_above`: size of the sacrum above the middle of the bodies over that of the bodies, at most 1.
    """
    found = segmentation.structures[central] > 0
    kept = spine.structures[central] > 0
    bodies = list(spine.vertebrae)
    pitch_mm, pitch_spread, bend_deg = _column(bodies, volume.spacing_mm)
    canal_share, canal_spread = _canal(bodies, spine.structures, volume.spacing_mm, pitch_mm)
    return {
        **_sureness(segmentation.probabilities[:, central], found, volume.content),
        "found_share": float(found.mean()),
        "kept_share": int(np.count_nonzero(kept & found)) / max(int(np.count_nonzero(found)), 1),
        "bodies": min(len(bodies), MANY_BODIES) / MANY_BODIES,
        "disc_share": _disc_share(bodies, spine.discs),
        "pitch_mm": pitch_mm,
        "pitch_spread": pitch_spread,
        "bend_deg": bend_deg,
        "size_spread": _size_spread(bodies),
        "growth": _growth(bodies),
        "sacrum_above": _sacrum_above(segmentation.structures, bodies),
        "canal_share": canal_share,
        "canal_spread": canal_spread,
        "body_confidence": _mean([body.confidence for body in bodies]),
        "disc_confidence": _mean([disc.confidence for disc in spine.discs]),
        "canal_confidence": segmentation.confidence.get(Structure.CANAL.name, 0.0),
        "numbering_prob": spine.numbering.probability,
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def _sureness(
    probabilities: NDArray[np.float16], found: NDArray[np.bool_], content: tuple[int, int, int]
) -> dict[str, float]:
    window = (slice(None), slice(0, content[1], SAMPLE_STEP), slice(0, content[2], SAMPLE_STEP))
    sample = probabilities[(slice(None), *window)]
    top = sample.max(0)
    inside = sample[:, found[window]].astype(np.float32)
    unsure = float((top < UNSURE_PROB).mean()) if top.size else 1.0
    if not inside.size:
        return {"margin": 0.0, "entropy": 1.0, "unsure_share": unsure}
    two = np.partition(inside, -2, axis=0)[-2:]
    entropy = -(inside * np.log(np.maximum(inside, 1e-6))).sum(0) / np.log(len(inside))
    return {"margin": float((two[1] - two[0]).mean()), "entropy": float(entropy.mean()), "unsure_share": unsure}


def _column(bodies: Sequence[Vertebra], spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    """(median distance between neighbours in mm, its coefficient of variation, largest turn in degrees)."""
    if len(bodies) < 2:
        return NO_SPACING_MM, UNKNOWN_SPREAD, 90.0
    centres = np.array([body.centre for body in bodies]) * spacing_mm
    steps = np.diff(centres[:, 1:], axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    pitch = float(np.median(lengths))
    if len(steps) < 2:
        return pitch, UNKNOWN_SPREAD, 45.0
    directions = np.degrees(np.unwrap(np.arctan2(steps[:, 1], steps[:, 0])))
    # Vertebrae grow downward by a few per cent a level: the trend is taken out before the spread is judged.
    relative = np.log(np.maximum(lengths, 1e-3))
    trend = np.polyval(np.polyfit(np.arange(len(relative)), relative, 1), np.arange(len(relative)))
    spread = float(np.std(relative - trend)) if len(relative) > 2 else float(np.std(relative))
    return pitch, spread, float(np.abs(np.diff(directions)).max())


def _size_spread(bodies: Sequence[Vertebra]) -> float:
    """Standard deviation of the log ratio of neighbouring bodies' volumes, those at the border left out."""
    sizes = np.array([body.body_voxels for body in bodies if not body.partial and body.body_voxels > 0], float)
    return float(np.std(np.diff(np.log(sizes)))) if len(sizes) > 2 else UNKNOWN_SPREAD


def _growth(bodies: Sequence[Vertebra]) -> float:
    """Slope of the log volume per level downward, within +-MAX_GROWTH; 0 for fewer than three whole bodies.

    Bodies grow towards the sacrum: a spine that is upside down in its image has a negative growth.
    """
    sizes = np.array([body.body_voxels for body in bodies if not body.partial and body.body_voxels > 0], float)
    if len(sizes) < 3:
        return 0.0
    return float(np.clip(-np.polyfit(np.arange(len(sizes)), np.log(sizes), 1)[0], -MAX_GROWTH, MAX_GROWTH))


def _sacrum_above(structures: NDArray[np.uint8], bodies: Sequence[Vertebra]) -> float:
    """Voxels of the sacrum above the middle of the bodies over those of the bodies: a false spot there says little."""
    if not bodies:
        return 0.0
    middle = int(np.mean([body.centre[1] for body in bodies]))
    above = np.count_nonzero(np.isin(structures[:, :middle], (Structure.S1, Structure.SACRUM)))
    return min(1.0, int(above) / max(sum(body.body_voxels for body in bodies), 1))


def _disc_share(bodies: Sequence[Vertebra], discs: Sequence[Disc]) -> float:
    """Share of the gaps between neighbouring bodies that hold a disc of their own."""
    labels = {body.label for body in bodies}
    gaps = [label for label in labels if label - 1 in labels]
    own = {disc.label - DISC_OFFSET for disc in discs}
    return sum(label in own for label in gaps) / len(gaps) if gaps else 0.0


def _canal(
    bodies: Sequence[Vertebra],
    structures: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    pitch_mm: float,
) -> tuple[float, float]:
    """(share of the rows from the highest to the lowest body that hold canal, spread of its distance over pitch)."""
    if not bodies:
        return 0.0, UNKNOWN_SPREAD
    canal = np.isin(structures, (Structure.CANAL, Structure.CORD)).sum(0)
    rows = np.array([body.centre[1] for body in bodies])
    low, high = int(rows.min()), int(rows.max()) + 1
    counts = canal.sum(1)
    columns = (canal * np.arange(canal.shape[1])).sum(1) / np.maximum(counts, 1)
    at = np.clip(rows.round().astype(int), 0, len(counts) - 1)
    seen = counts[at] > 0
    if seen.sum() < 3 or pitch_mm <= 0:
        return float((counts[low:high] > 0).mean()), UNKNOWN_SPREAD
    behind = (columns[at] - [body.centre[2] for body in bodies])[seen] * spacing_mm[2]
    trend = np.polyval(np.polyfit(rows[seen], behind, 1), rows[seen])
    return float((counts[low:high] > 0).mean()), float(np.std(behind - trend) / pitch_mm)
