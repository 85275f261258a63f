"""Whether the patient lay still between the slices: how far each slice must be moved to fit its neighbour best.

What lies side by side in the body lies in the same place of neighbouring slices; a body that moved between two slices
takes all its outlines along.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from spine.records import Doubt, Volume

MOVED = "moved_between_slices"  # words in resources/texts, names.flags
MOST_SLICES = 40  # of more, every n-th is looked at
COARSE_STEP = 2  # pixels of the model's grid: shifts are told to 1.6 mm and finer between them
BROAD_PX = 8.0  # coarse pixels: what changes more slowly is no outline
FARTHEST_MM = 30.0  # a larger shift is no motion of a patient in a coil
FEW = 2  # slices that can be compared


def motion_doubts(volume: Volume, limits: Mapping[str, float]) -> tuple[tuple[str, ...], tuple[Doubt, ...]]:
    """(flags, doubts) of slices that lie beside their neighbours; `limits` of resources/thresholds.json."""
    shifts_mm = slice_shifts_mm(volume)
    if not len(shifts_mm):
        return (), ()
    far = np.hypot(shifts_mm[:, 1], shifts_mm[:, 2])
    if far.max() <= limits["slice_shift_max_mm"]:
        return (), ()
    place = int(far.argmax())
    number = int(shifts_mm[place, 0]) + 1
    reason = f"the slices {number} and {number + 1} fit best when one is moved by {far[place]:.0f} mm"
    # What is measured on one slice may be interpolated between two, and the levels are joined across slices.
    return (MOVED,), (Doubt(None, None, f"{reason}: the patient moved between slices"),)


def slice_shifts_mm(volume: Volume) -> NDArray[np.float64]:
    """(n, 3): number of the slice from 0, and how far (down, back) in mm its next one must be moved to fit it best.

    Slices without an outline of their own, and pairs that fit nowhere better than in place, are left out.
    """
    _, high, wide = volume.content
    stride = -(-len(volume.array) // MOST_SLICES)
    coarse = volume.array[::stride, :high:COARSE_STEP, :wide:COARSE_STEP].astype(np.float32)
    if len(coarse) < FEW:
        return np.zeros((0, 3))
    detail = coarse - ndimage.gaussian_filter(coarse, (0, BROAD_PX, BROAD_PX))
    pixel_mm = COARSE_STEP * np.array(volume.spacing_mm[1:])
    reach = np.minimum(np.ceil(FARTHEST_MM / pixel_mm).astype(int), np.array(detail.shape[1:]) // 2 - 1)
    padded = [fft.next_fast_len(int(n + r), real=True) for n, r in zip(detail.shape[1:], reach, strict=True)]
    spectra = fft.rfft2(detail, s=padded, axes=(1, 2))
    found = []
    for n in range(len(detail) - 1):
        power = float(np.linalg.norm(detail[n]) * np.linalg.norm(detail[n + 1]))
        if power <= 0:
            continue
        fit = fft.irfft2(spectra[n] * np.conj(spectra[n + 1]), s=padded) / power
        window = np.roll(fit, reach, axis=(0, 1))[: 2 * reach[0] + 1, : 2 * reach[1] + 1]
        best = np.unravel_index(int(window.argmax()), window.shape)
        found.append((n * stride, *((np.array(best) - reach) * pixel_mm)))
    return np.array(found, np.float64).reshape(-1, 3)
