"""Stage 3: the network over every slice of the volume, one pass, no overlapping tiles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import STRUCTURES
from spine.arrays import largest
from spine.errors import ModelError
from spine.records import Segmentation, Volume
from spine.runners import Runner
from spine.settings import SegmenterSettings

# What one call of the runner may answer with. Thick volumes are handed over in tiles of whole slices, so that the
# answer in float32, twice the size of what is kept, never exists for more than a tile.
TILE_BYTES = 96 << 20
# Added to the bits of a float32: float16's exponent bias for float32's, and half of the last place that float16 keeps.
_REBIASED = np.uint32(((1 << 12) - ((127 - 15) << 23)) % (1 << 32))
_SMALLEST_HALF = np.uint32((127 - 14) << 23)  # 2 ** -14 as float32: the smallest normal float16


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
    step = tile_slices(slices, rows, columns, settings.batch)
    for start in range(0, slices, step):
        # A tile is filled up to whole batches with its last slice: one input shape, one compiled network.
        count = min(step, slices - start)
        filled = -(-count // settings.batch) * settings.batch
        wanted = np.minimum(np.arange(start, start + filled), slices - 1)
        channels = np.clip(wanted[:, None] + offsets, 0, slices - 1)
        answer = runner(np.ascontiguousarray(volume.array[channels]))
        if answer.shape[1] != len(STRUCTURES):
            raise ModelError(f"the segmenter answers with {answer.shape[1]} classes; {len(STRUCTURES)} are expected.")
        for n in range(count):
            for structure, plane in enumerate(answer[n]):
                probabilities[structure, start + n] = to_half(plane)
            structures[start + n] = largest(answer[n])
    _, high, wide = volume.content
    structures[:, high:], structures[:, :, wide:] = 0, 0
    return Segmentation(probabilities, structures, mean_confidence(probabilities, structures), runner.name)


def tile_slices(slices: int, rows: int, columns: int, batch: int) -> int:
    """Slices in one tile: whole batches, at least one, whose float32 answer stays below TILE_BYTES."""
    affordable = TILE_BYTES // (len(STRUCTURES) * rows * columns * 4)
    return max(1, min(affordable, slices) // batch) * batch


def to_half(probability: NDArray[np.float32]) -> NDArray[np.float16]:
    """Float16 of values in 0..1, to the nearest, by integer arithmetic; below 2 ** -14 becomes 0.

    numpy's own conversion raises the processor's underflow flag for every tiny value, of which a softmax has many: it
    took 25 times as long, which was half of the whole stage.
    """
    bits = np.ascontiguousarray(probability, np.float32).view(np.uint32)
    half = ((bits + _REBIASED) >> np.uint32(13)).astype(np.uint16)
    half *= bits >= _SMALLEST_HALF
    return half.view(np.float16)


def mean_confidence(probabilities: NDArray[np.float16], structures: NDArray[np.uint8]) -> dict[str, float]:
    """Mean probability of each structure inside it; structures that were not found are left out."""
    confidence = {}
    for structure in STRUCTURES[1:]:
        inside = structures == structure
        if inside.any():
            confidence[structure.name] = float(probabilities[structure][inside].mean(dtype=np.float64))
    return confidence
