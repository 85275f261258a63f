"""What the network is given for each level: its features, and which of them are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spine.grade.features import FEATURES, spine_features
from spine.grade.patch import Patch, cut_patch
from spine.grade.second import NOT_BRIGHTER, UNLIKE, is_unlike
from spine.records import LabelledSpine, Measurement, Series, Volume

MIN_CONFIDENCE = 0.5  # mean probability of a disc below which it is not graded; as for measurements
CHANNELS_IN = 2  # values, zero where unknown; whether each is known


@dataclass(frozen=True)
class Prepared:
    """The levels that can be graded and why the others cannot."""

    levels: tuple[str, ...]
    patches: tuple[Patch, ...]
    features: NDArray[np.float32]  # (level, feature), NaN where unknown
    refused: Mapping[str, str]  # level -> reason

    @property
    def batch(self) -> NDArray[np.float32]:
        """(level, CHANNELS_IN, 1, feature)."""
        return pack(self.features)


def prepare_levels(
    volume: Volume, spine: LabelledSpine, measurements: Sequence[Measurement], second: Series | None = None
) -> Prepared:
    """Everything the network needs about each disc of `spine`; `second` is a T1-weighted series beside `volume`."""
    patches: dict[str, Patch] = {}
    refused: dict[str, str] = {}
    for disc in spine.discs:
        if disc.confidence < MIN_CONFIDENCE:
            refused[disc.level] = (
                f"the disc {disc.level} is unsure: confidence {disc.confidence:.2f} is below {MIN_CONFIDENCE:.2f}"
            )
        else:
            patch = cut_patch(volume, spine, disc, second)
            if isinstance(patch, str):
                refused[disc.level] = patch
            else:
                patches[disc.level] = patch
    if second is not None and is_unlike([patch.t1_missing for patch in patches.values()]):
        compared = {level: patch for level, patch in patches.items() if patch.t1_missing in (None, NOT_BRIGHTER)}
        patches |= {level: replace(patch, t1=None, t1_missing=UNLIKE) for level, patch in compared.items()}
    return Prepared(tuple(patches), tuple(patches.values()), spine_features(patches, measurements), refused)


def pack(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(level, CHANNELS_IN, 1, feature) of features (level, feature) that are NaN where unknown."""
    known = np.isfinite(features)
    both = np.stack([np.where(known, features, 0.0), known], axis=1)
    return np.asarray(both[:, :, None], np.float32).reshape(-1, CHANNELS_IN, 1, len(FEATURES))
