"""What the network is given for each level: a picture of the disc, and its features packed into one more channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import C7_LABEL, DISC_OFFSET
from spine.grade.features import FEATURES, spine_features
from spine.grade.patch import COLUMNS, ROWS, Patch, cut_patch
from spine.records import LabelledSpine, Measurement, Volume

MIN_CONFIDENCE = 0.5  # mean probability of a disc below which it is not graded; as for measurements
PICTURES = 4  # by fluid, by marrow, disc, canal
CHANNELS_IN = PICTURES + 1
BRIGHTEST = 3.0  # times the reference signal
NECK_REASON = "no cervical grades to learn from (Miyazaki and canal grades of the neck are not validated)"


@dataclass(frozen=True)
class Prepared:
    """The levels that can be graded and why the others cannot."""

    levels: tuple[str, ...]
    patches: tuple[Patch, ...]
    features: NDArray[np.float32]  # (level, feature), NaN where unknown
    batch: NDArray[np.float32]  # (level, CHANNELS_IN, ROWS, COLUMNS)
    refused: Mapping[str, str]  # level -> reason


def prepare_levels(volume: Volume, spine: LabelledSpine, measurements: Sequence[Measurement]) -> Prepared:
    """Everything the network needs about each disc of `spine`."""
    patches: dict[str, Patch] = {}
    refused: dict[str, str] = {}
    for disc in spine.discs:
        if disc.label - DISC_OFFSET >= C7_LABEL:
            refused[disc.level] = NECK_REASON
        elif disc.confidence < MIN_CONFIDENCE:
            refused[disc.level] = (
                f"the disc {disc.level} is unsure: confidence {disc.confidence:.2f} is below {MIN_CONFIDENCE:.2f}"
            )
        else:
            patch = cut_patch(volume, spine, disc)
            if isinstance(patch, str):
                refused[disc.level] = patch
            else:
                patches[disc.level] = patch
    features = spine_features(patches, measurements)
    batch = np.zeros((len(patches), CHANNELS_IN, ROWS, COLUMNS), np.float32)
    for n, patch in enumerate(patches.values()):
        batch[n, 0] = _relative(patch, patch.fluid)
        batch[n, 1] = _relative(patch, patch.marrow)
        batch[n, 2], batch[n, 3] = patch.disc, patch.canal
        batch[n, PICTURES] = pack(features[n])
    return Prepared(tuple(patches), tuple(patches.values()), features, batch, refused)


def pack(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(ROWS, COLUMNS): the features, zero where unknown, from the start; from the middle on whether each is known."""
    plane = np.zeros(ROWS * COLUMNS, np.float32)
    known = np.isfinite(features)
    plane[: len(FEATURES)] = np.where(known, features, 0.0)
    half = plane.size // 2
    plane[half : half + len(FEATURES)] = known
    return plane.reshape(ROWS, COLUMNS)


def _relative(patch: Patch, reference: float) -> NDArray[np.float32]:
    if not np.isfinite(reference) or reference <= 0:
        return np.zeros((ROWS, COLUMNS), np.float32)
    return np.asarray(np.clip(patch.image / np.float32(reference), 0.0, BRIGHTEST), np.float32)
