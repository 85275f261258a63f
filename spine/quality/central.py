"""The middle of a stack: what was learnt about doubt was learnt on central slabs, and is asked of such a slab again.

A clinical stack is 50 to 80 mm wide. Its outer slices hold joints, ribs and muscle but hardly a body or a disc; their
noise and the network's sureness in them say little of the outlines that are measured, and differ from all that the
models of doubt have seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spine.quality.answer import answer_features
from spine.quality.image import plane_features
from spine.records import LabelledSpine, Segmentation, Vertebra, Volume

CENTRAL_MM = 6.5  # on either side of the spine's middle: three slices 4 mm apart, as learnt on, and seven of 2 mm


def central_slices(vertebrae: Sequence[Vertebra], volume: Volume) -> slice:
    """Slices within CENTRAL_MM of the median body; the nearest one at least, all of them where there is no body."""
    count = volume.array.shape[0]
    if not vertebrae:
        return slice(0, count)
    middle = float(np.median([body.centre[0] for body in vertebrae]))
    reach = CENTRAL_MM / volume.spacing_mm[0]
    first = min(max(int(np.ceil(middle - reach)), 0), round(middle))
    last = max(min(int(np.floor(middle + reach)), count - 1), round(middle))
    return slice(first, last + 1)


def case_features(
    image: Mapping[str, float], volume: Volume, segmentation: Segmentation, spine: LabelledSpine
) -> dict[str, float]:
    """Name -> value of everything that the models of doubt may ask for.

    Args:
        image: spine.quality.image.image_features of the whole stack; what it holds of brightness, noise and likeness of
            slices is measured anew on the central slices.
        volume: the whole stack.
        segmentation: of the whole stack.
        spine: of the whole stack; features of its geometry are of all slices.
    """
    central = central_slices(spine.vertebrae, volume)
    planes = {} if central == slice(0, volume.array.shape[0]) else plane_features(volume, central)
    return {**image, **planes, **answer_features(segmentation, spine, volume, central)}
