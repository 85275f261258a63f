"""The mid-sagittal picture: grey values, coloured structures and where the names belong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import Structure
from spine.records import LabelledSpine, Volume

Grey = NDArray[np.uint8]  # (down, back)
Colour = NDArray[np.uint8]  # (down, back, 3)

# Okabe and Ito's palette, told apart with every common colour blindness (jfly.uni-koeln.de/color).
PALETTE: dict[Structure, tuple[int, int, int]] = {
    Structure.BODY: (0, 114, 178),
    Structure.POSTERIOR: (0, 158, 115),
    Structure.DISC: (230, 159, 0),
    Structure.CANAL: (86, 180, 233),
    Structure.CORD: (213, 94, 0),
    Structure.S1: (204, 121, 167),
    Structure.SACRUM: (240, 228, 66),
    Structure.C2: (120, 94, 240),
    Structure.C1: (160, 160, 160),
}
FILL = 0.38  # opacity inside a structure; its outline is opaque
MARGIN_MM = 30.0  # kept in front of and behind the structures
SLIMMEST = 0.45  # a picture is at least this wide for its height, so that the soft tissue around can be seen
LONGEST_PIXELS = 1100  # longer side of the picture: 250 dpi at 110 mm
FINEST_MM = 0.35  # finer pixels than this only make the file larger
WINDOW_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class Mark:
    """A name and where it belongs, as fractions of the picture's width and height from its upper left corner."""

    text: str
    x: float
    y: float


@dataclass(frozen=True)
class Picture:
    """One sagittal slice with square pixels: anterior on the left, head on top."""

    plain: Grey
    overlay: Colour
    pixel_mm: float
    slice_number: int  # 1 is the patient's rightmost slice
    slice_count: int
    vertebrae: tuple[Mark, ...]
    discs: tuple[Mark, ...]
    structures: tuple[Structure, ...]  # those seen in this picture

    @property
    def size_mm(self) -> tuple[float, float]:
        """(width, height) in millimetres of the patient."""
        rows, columns = self.plain.shape
        return columns * self.pixel_mm, rows * self.pixel_mm


def middle_slice(volume: Volume, spine: LabelledSpine) -> int:
    """Slice through the middle of the canal; of the bodies when there is no canal; of the stack without either."""
    count = max(volume.content[0], 1)
    for wanted in ((Structure.CANAL, Structure.CORD), (Structure.BODY, Structure.DISC)):
        per_slice = np.isin(spine.structures[:count], wanted).sum(axis=(1, 2))
        if per_slice.sum() > 0:
            return round(float(np.average(np.arange(per_slice.size), weights=per_slice)))
    return count // 2


def stored_slice(volume: Volume, index: int) -> int:
    """Number of the stored slice at the middle of slice `index` of the model's grid; 1 is the rightmost."""
    stored = volume.source.size[volume.axes[0]]
    thinned = max(round(volume.spacing_mm[0] / volume.source.spacing_mm[volume.axes[0]]), 1)
    return min(index * thinned + (thinned - 1) // 2 + 1, stored)


def window(grey: NDArray[np.float32]) -> Grey:
    """(rows, columns) intensities -> 0..255 between percentiles; a flat picture becomes black."""
    finite = np.nan_to_num(grey, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = np.percentile(finite, WINDOW_PERCENTILES)
    if not high > low:
        return np.zeros(grey.shape, np.uint8)
    return np.asarray((np.clip((finite - low) / (high - low), 0, 1) * 255).round(), np.uint8)


def columns_shown(structures: NDArray[np.uint8], spacing_mm: tuple[float, float]) -> slice:
    """Columns of a (down, back) slice that hold the spine and `MARGIN_MM` on either side."""
    columns = np.flatnonzero((structures > 0).any(axis=0))
    width = structures.shape[1]
    if columns.size == 0:
        return slice(0, width)
    margin = MARGIN_MM / spacing_mm[1]
    slimmest = SLIMMEST * structures.shape[0] * spacing_mm[0] / spacing_mm[1]
    margin = max(margin, (slimmest - (columns[-1] - columns[0])) / 2)
    return slice(max(int(columns[0] - margin), 0), min(int(columns[-1] + margin) + 1, width))


def enlarged_labels(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Labels at `size` (columns, rows) with smooth borders: each structure is enlarged apart, the strongest wins."""
    from PIL import Image

    best = np.full((size[1], size[0]), 127, np.uint8)  # background wins below half
    result = np.zeros_like(best)
    for value in np.unique(labels[labels > 0]):
        mask = Image.fromarray(np.where(labels == value, 255, 0).astype(np.uint8))
        share = np.asarray(mask.resize(size, Image.Resampling.BICUBIC))
        wins = share > best
        result[wins], best = value, np.maximum(best, share)
    return result


def paint(grey: Grey, labels: NDArray[np.uint8]) -> Colour:
    """Grey picture with its structures filled in transparent colour and outlined; both (rows, columns)."""
    lookup = np.zeros((256, 3), np.float32)
    for structure, rgb in PALETTE.items():
        lookup[structure] = rgb
    colour = lookup[labels]
    drawn = np.where(outlines(labels), np.float32(1.0), np.float32(FILL))
    opacity = np.where(labels > 0, drawn, np.float32(0.0))[..., None]
    return np.asarray((grey[..., None] * (1 - opacity) + colour * opacity).round(), np.uint8)


def outlines(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels (rows, columns) that touch a pixel of another label across one of their four sides."""
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        differs = np.diff(labels, axis=axis) != 0
        before, after = [slice(None)] * 2, [slice(None)] * 2
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        edge[tuple(before)] |= differs
        edge[tuple(after)] |= differs
    return edge


def _marks(spine: LabelledSpine, rows: int, columns: slice) -> tuple[tuple[Mark, ...], tuple[Mark, ...]]:
    width = columns.stop - columns.start

    def mark(text: str, centre: tuple[float, float, float]) -> Mark:
        x, y = (centre[2] + 0.5 - columns.start) / width, (centre[1] + 0.5) / rows
        return Mark(text, float(np.clip(x, 0, 1)), float(np.clip(y, 0, 1)))

    vertebrae = [mark(v.name, v.centre) for v in spine.vertebrae]
    sacral = np.argwhere(spine.structures == Structure.S1)
    if len(sacral):
        vertebrae.insert(0, mark("S1", tuple(sacral.mean(axis=0))))
    return tuple(vertebrae), tuple(mark(d.level, d.centre) for d in spine.discs)


def draw_picture(volume: Volume, spine: LabelledSpine) -> Picture:
    """Mid-sagittal slice of `volume` with the structures of `spine` (same grid), enlarged to square pixels."""
    from PIL import Image

    index = middle_slice(volume, spine)
    rows = max(volume.content[1], 1)
    across = max(volume.content[2], 1)
    labels = spine.structures[index, :rows, :across]
    spacing = (volume.spacing_mm[1], volume.spacing_mm[2])
    named = spine.mask[index, :rows, :across]  # what was given a name: stray pixels do not widen the picture
    columns = columns_shown(named if named.any() else labels, spacing)
    labels = labels[:, columns]
    height_mm, width_mm = labels.shape[0] * spacing[0], labels.shape[1] * spacing[1]
    pixel_mm = max(FINEST_MM, max(height_mm, width_mm) / LONGEST_PIXELS)
    size = (max(round(width_mm / pixel_mm), 1), max(round(height_mm / pixel_mm), 1))
    grey = window(volume.array[index, :rows, :across][:, columns])
    plain = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC))
    enlarged = enlarged_labels(labels, size)
    vertebrae, discs = _marks(spine, rows, columns)
    return Picture(
        plain=plain,
        overlay=paint(plain, enlarged),
        pixel_mm=pixel_mm,
        slice_number=stored_slice(volume, index),
        slice_count=volume.source.size[volume.axes[0]],
        vertebrae=vertebrae,
        discs=discs,
        structures=tuple(Structure(int(value)) for value in np.unique(enlarged) if value > 0),
    )
