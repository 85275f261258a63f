"""Stage 5b: a neck is read again, by a network that learnt necks alone, where the first reading found one.

The first network divides what it can hold between all regions and mostly saw lumbar spines; it finds a neck and names
it, but draws its end plates too flat. The second one answers for the rows of the neck; towards the chest its answer
fades into the first one's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spine.anatomy import T1_LABEL, Structure
from spine.arrays import largest
from spine.label import label_levels
from spine.records import LabelledSpine, Segmentation, Volume
from spine.runners import Runner
from spine.segment import mean_confidence, segment_volume
from spine.settings import SegmenterSettings

LEAST_BODIES = 2  # of the neck, in the first reading
LOWEST_LABEL = T1_LABEL - 4  # T5: the necks learnt from reach to T5 or T6
FADE_MM = 20.0
BESIDE_MM = 35.0  # of picture in front of and behind the spine; training saw windows of 154 mm


def read_neck(
    volume: Volume, first: Segmentation, spine: LabelledSpine, runner: Runner, settings: SegmenterSettings
) -> tuple[Segmentation, LabelledSpine]:
    """Segmentation and labels of `volume` with the neck read again; the first ones where no neck was found.

    The second reading counts only where it names as many bodies and discs of the neck as the first. An axis that only
    the first network knows, as one cut by the edge of the picture, gives its name to the body that both outline.

    Args:
        volume: the series on the model's grid.
        first: the first network's answer, left as it is.
        spine: its labels.
        runner: the network of the neck: same input and classes as the first.
        settings: of the first network; slices are handed over alike.

    Raises:
        ModelError: the network answers with another number of classes.
    """
    if _named(spine) < LEAST_BODIES:
        return first, spine
    end = _end(volume, spine)
    second = _merged(volume, first, spine, end, (runner, settings))
    again = label_levels(second, volume)
    if _counts_from_axis(spine) and not _counts_from_axis(again):
        second = _with_axis(second, first)
        again = label_levels(second, volume)
    if _named(again) < _named(spine):
        return first, spine
    outlined = frozenset(body.label for body in again.vertebrae if body.centre[1] < end)
    return second, replace(again, read_again=outlined)


def _named(spine: LabelledSpine) -> int:
    """Bodies and discs of the neck."""
    bodies = sum(v.label > T1_LABEL for v in spine.vertebrae)
    return bodies and bodies + sum(d.level.startswith("C") for d in spine.discs)


def _end(volume: Volume, spine: LabelledSpine) -> int:
    """The first row in which the first answer comes in again: at the body of LOWEST_LABEL."""
    chest = [v.centre[1] for v in spine.vertebrae if v.label <= LOWEST_LABEL]
    return int(min(chest, default=volume.array.shape[1]))


def _counts_from_axis(spine: LabelledSpine) -> bool:
    return "axis" in spine.numbering.method


def _with_axis(second: Segmentation, first: Segmentation) -> Segmentation:
    """`second`, with what it calls body and `first` calls the axis named as the axis."""
    at = (first.structures == Structure.C2) & (second.structures == Structure.BODY)
    probabilities, structures = second.probabilities.copy(), second.structures.copy()
    probabilities[Structure.C2][at] += probabilities[Structure.BODY][at]
    probabilities[Structure.BODY][at] = 0
    structures[at] = Structure.C2
    return Segmentation(probabilities, structures, mean_confidence(probabilities, structures), second.runner)


def _merged(
    volume: Volume,
    first: Segmentation,
    spine: LabelledSpine,
    end: int,
    network: tuple[Runner, SegmenterSettings],
) -> Segmentation:
    """The first answer with that of `network` above row `end`, where it fades out, in the columns around the spine."""
    slices, rows, columns = volume.array.shape
    fade = max(1, round(FADE_MM / volume.spacing_mm[1]))
    high = _padded(min(end + fade, rows), rows)
    seen = np.flatnonzero(spine.mask[:, :end].any((0, 1)))
    beside = round(BESIDE_MM / volume.spacing_mm[2])
    left, right = max(seen[0] - beside, 0), min(seen[-1] + 1 + beside, columns)
    wide = _padded(right - left, columns)
    left = min(left, columns - wide)
    window = (slice(None), slice(0, high), slice(left, left + wide))
    part = replace(
        volume,
        array=np.ascontiguousarray(volume.array[window]),
        content=(slices, min(volume.content[1], high), max(0, min(volume.content[2] - left, wide))),
    )
    answer = segment_volume(part, *network)
    probabilities, structures = first.probabilities.copy(), first.structures.copy()
    at = probabilities[(slice(None), *window)]
    sure = min(end, high)
    at[:, :, :sure] = answer.probabilities[:, :, :sure]
    structures[window][:, :sure] = answer.structures[:, :sure]
    for row in range(sure, high):
        share = np.float16(max(0.0, 1.0 - (row + 1 - end) / fade))
        mixed = share * answer.probabilities[:, :, row] + (1 - share) * at[:, :, row]
        at[:, :, row] = mixed
        structures[window][:, row] = largest(mixed.astype(np.float32))
    high_content, wide_content = volume.content[1:]
    structures[:, high_content:], structures[:, :, wide_content:] = 0, 0
    runners = f"{first.runner}; neck: {answer.runner}" if answer.runner != first.runner else first.runner
    return Segmentation(probabilities, structures, mean_confidence(probabilities, structures), runners)


def _padded(size: int, most: int, multiple: int = 32) -> int:
    """`size` as the network wants it, `most` is such a number."""
    return min(-(-size // multiple) * multiple, most)
