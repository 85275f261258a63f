"""Stage 3: the network over every slice of the volume, one pass, no overlapping tiles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import STRUCTURES
from spine.errors import ModelError
from spine.records import Segmentation, Volume
from spine.runners import Runner
from spine.settings import SegmenterSettings


def segment_volume(volume: Volume, runner: Runner, settings: SegmenterSettings) -> Segmentation:
    """Class probabilities of every voxel of `volume`.

    Each slice goes through the network with `settings.neighbours` slices on either side as channels; at the
    ends of the stack the last slice stands in for the missing one.

    Raises:
        ModelError: the network answers with another number of classes.
    """
    slices, rows, columns = volume.array.shape
    probabilities = np.empty((len(STRUCTURES), slices, rows, columns), np.float16)
    structures = np.empty((slices, rows, columns), np.uint8)
    offsets = np.arange(-settings.neighbours, settings.neighbours + 1)
    for start in range(0, slices, settings.batch):
        # A short last batch is filled with its last slice: one input shape, one compiled network.
        wanted = np.minimum(np.arange(start, start + settings.batch), slices - 1)
        channels = np.clip(wanted[:, None] + offsets, 0, slices - 1)
        answer = runner(np.ascontiguousarray(volume.array[channels]))
        if answer.shape[1] != len(STRUCTURES):
            raise ModelError(f"the segmenter answers with {answer.shape[1]} classes; {len(STRUCTURES)} are expected.")
        for n in range(min(settings.batch, slices - start)):
            probabilities[:, start + n] = answer[n]
            structures[start + n] = answer[n].argmax(0)
    _, high, wide = volume.content
    structures[:, high:], structures[:, :, wide:] = 0, 0
    return Segmentation(probabilities, structures, _confidence(probabilities, structures), runner.name)


def _confidence(probabilities: NDArray[np.float16], structures: NDArray[np.uint8]) -> dict[str, float]:
    """Mean probability of each structure inside it; structures that were not found are left out."""
    confidence = {}
    for structure in STRUCTURES[1:]:
        inside = structures == structure
        if inside.any():
            confidence[structure.name] = float(probabilities[structure][inside].mean(dtype=np.float64))
    return confidence
