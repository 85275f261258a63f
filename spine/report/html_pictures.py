"""What the viewer of the HTML report shows: slices as recorded, coloured layers, names and where each belongs.

Places on a picture are millimetres from the upper left corner of the stored slice: x to the back, y to the feet.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spine import anatomy
from spine.anatomy import Structure
from spine.geometry import Array
from spine.records import LabelledSpine, Series, Volume
from spine.report.picture import FILL, MARGIN_MM, PALETTE, enlarged_labels, middle_slice, outlines, stored_slice, window

# What can be switched on and off, in the order in which it is drawn.
LAYERS: dict[str, tuple[Structure, ...]] = {
    "vertebrae": (Structure.BODY, Structure.POSTERIOR, Structure.C2, Structure.C1),
    "discs": (Structure.DISC,),
    "canal": (Structure.CANAL,),
    "cord": (Structure.CORD,),
    "sacrum": (Structure.S1, Structure.SACRUM),
}
BODIES = (Structure.BODY, Structure.C2, Structure.C1)
MAX_SLICES = 48  # of a longer stack every second, third, ... slice is shown
LONGEST_PIXELS = 768  # longer side of a slice; finer ones are reduced
LAYER_MM, LONGEST_LAYER = 0.5, 900  # pixel of the coloured layers, and the most pixels along their longer side
WIDEST = 0.8  # width of the view over its height, unless the spine itself is wider
SLIMMEST_VIEW = 0.7
NAMED_MM2 = 25.0  # a structure that a slice cuts by less is not named on it
# All slices together, before base64 adds a third. With layers and tables this leaves the page below 6 MB.
IMAGE_BYTES = 3_400_000
# (share of the pixels along a side, quality of JPEG), tried in turn until the slices fit; the first nearly always does.
ECONOMIES = ((1.0, 86), (1.0, 70), (0.7, 60), (0.5, 50))


@dataclass(frozen=True)
class Frame:
    """Geometry of the pictures of one case."""

    volume: Volume
    stored: tuple[int, ...]  # stored slices that are shown, counted from the patient's right, which is 0
    middle: int  # of them, the slice through the middle of the canal

    @property
    def thinned(self) -> int:
        """How many stored slices were averaged into one of the model's grid."""
        axis = self.volume.axes[0]
        return max(round(self.volume.spacing_mm[0] / self.volume.source.spacing_mm[axis]), 1)

    @property
    def shown(self) -> tuple[float, ...]:
        """Where the slices shown lie on the slice axis of the model's grid, whose samples are means of `thinned`."""
        return tuple((number - (self.thinned - 1) / 2) / self.thinned for number in self.stored)

    @property
    def modelled(self) -> tuple[int, ...]:
        """The slice of the model's grid that each of the slices shown went into."""
        last = max(self.volume.content[0], 1) - 1
        return tuple(min(number // self.thinned, last) for number in self.stored)

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """(down, back) spacing of the stored slices."""
        spacing = self.volume.source.spacing_mm
        return spacing[self.volume.axes[1]], spacing[self.volume.axes[2]]

    @property
    def size_mm(self) -> tuple[float, float]:
        """(width, height) of a stored slice."""
        size, (down_mm, back_mm) = self.volume.source.size, self.pixel_mm
        return size[self.volume.axes[2]] * back_mm, size[self.volume.axes[1]] * down_mm

    def offset_mm(self, position: float) -> float:
        """Distance of a slice (index of the model's grid) from the middle one, positive towards the patient's left."""
        return (position - self.shown[self.middle]) * self.volume.spacing_mm[0]

    def place(self, index: Array) -> Array:
        """Index (..., 3) of the model's grid to (..., 2): x and y on the picture.

        The model's grid and the stored one share the centre of their first sample (see conform.py).
        """
        _, down_mm, back_mm = self.volume.spacing_mm
        x = index[..., 2] * back_mm + self.pixel_mm[1] / 2
        y = index[..., 1] * down_mm + self.pixel_mm[0] / 2
        return np.stack([x, y], -1)

    def nearest(self, position: float) -> int:
        """Which of the slices shown lies nearest to `position` on the slice axis of the model's grid."""
        return int(np.abs(np.array(self.shown) - position).argmin())

    def index_of(self, points_mm: Sequence[tuple[float, float, float]]) -> Array:
        """LPS points to indices (n, 3) of the model's grid."""
        inverse = np.linalg.inv(self.volume.affine)
        return np.asarray(np.asarray(points_mm) @ inverse[:3, :3].T + inverse[:3, 3])


def frame_of(volume: Volume, spine: LabelledSpine) -> Frame:
    """The stored slices to show: all, or so many that `MAX_SLICES` suffice and the middle one is among them."""
    count = volume.source.size[volume.axes[0]]
    middle = stored_slice(volume, middle_slice(volume, spine)) - 1
    step = -(-count // MAX_SLICES)
    stored = tuple(range(middle % step, count, step))
    return Frame(volume, stored, stored.index(middle))


def _stored(series: Series, frame: Frame) -> list[NDArray[Any]]:
    """Views (down, back) of the stored slices that are shown."""
    volume = frame.volume
    view = series.array.transpose([2 - axis for axis in volume.axes])
    view = view[tuple(slice(None, None, -1) if flip else slice(None) for flip in volume.flips)]
    return [view[number] for number in frame.stored]


def _data_url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def slice_images(series: Series, frame: Frame) -> list[str]:
    """One JPEG a slice as a data URL, all with the window of the whole series, so that slices can be compared."""
    grey = window(np.stack(_stored(series, frame)).astype(np.float32))
    largest = min(1.0, LONGEST_PIXELS / max(grey.shape[1:]))
    files: list[bytes] = []
    for share, quality in ECONOMIES:
        files = [_jpeg(plane, largest * share, quality) for plane in grey]
        if sum(map(len, files)) <= IMAGE_BYTES:
            break
    return [_data_url("jpeg", file) for file in files]


def _jpeg(plane: NDArray[np.uint8], scale: float, quality: int) -> bytes:
    from PIL import Image

    image, stream = Image.fromarray(plane), BytesIO()
    if scale < 1:
        size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
        image = image.resize(size, Image.Resampling.LANCZOS)
    image.save(stream, "JPEG", quality=quality, optimize=True)
    return stream.getvalue()


def layer_box(frame: Frame) -> tuple[float, float, float, float]:
    """(x, y, width, height) in mm of the coloured layers on the picture."""
    _, down_mm, back_mm = frame.volume.spacing_mm
    _, rows, columns = frame.volume.content
    stored_down, stored_back = frame.pixel_mm
    return (stored_back - back_mm) / 2, (stored_down - down_mm) / 2, columns * back_mm, rows * down_mm


def home_view(spine: LabelledSpine, frame: Frame) -> dict[str, float]:
    """Columns that the page shows first: x_mm of their middle, left_mm and width_mm; all rows belong to it.

    A picture wider than `WIDEST` times its height is cut to the spine, so that it is large on a narrow screen; one
    slimmer than `SLIMMEST_VIEW` gets black borders, so that a close-up of one level is not a strip.
    """
    full_mm, height_mm = frame.size_mm
    named = np.flatnonzero(spine.mask[frame.modelled[frame.middle]].any(axis=0))
    ends = (0.0, full_mm)
    if named.size:
        ends = tuple(frame.place(np.array([[0.0, 0.0, named[0]], [0.0, 0.0, named[-1]]]))[:, 0].tolist())
    width_mm = min(full_mm, max(WIDEST * height_mm, ends[1] - ends[0] + 2 * MARGIN_MM))
    left_mm = min(max((ends[0] + ends[1] - width_mm) / 2, 0.0), full_mm - width_mm)
    border_mm = max(SLIMMEST_VIEW * height_mm - width_mm, 0.0) / 2
    return {
        "x_mm": round(left_mm + width_mm / 2, 1),
        "left_mm": round(left_mm - border_mm, 1),
        "width_mm": round(width_mm + 2 * border_mm, 1),
    }


def slice_layers(spine: LabelledSpine, frame: Frame) -> Iterator[dict[str, str]]:
    """For each slice shown: layer -> PNG as a data URL, structures filled and outlined; only layers in the slice."""
    _, _, width_mm, height_mm = layer_box(frame)
    pixel_mm = max(LAYER_MM, max(width_mm, height_mm) / LONGEST_LAYER)
    size = (max(round(width_mm / pixel_mm), 1), max(round(height_mm / pixel_mm), 1))
    _, rows, columns = frame.volume.content
    drawn: dict[int, dict[str, str]] = {}
    for index in frame.modelled:
        if index not in drawn:  # stored slices that were averaged into one share its layers
            labels = enlarged_labels(spine.structures[index, :rows, :columns], size)
            edge, present = outlines(labels), set(np.unique(labels).tolist())
            drawn[index] = {
                layer: _data_url("png", _layer_png(labels, edge, members))
                for layer, members in LAYERS.items()
                if present & set(members)
            }
        yield drawn[index]


def _layer_png(labels: NDArray[np.uint8], edge: NDArray[np.bool_], members: Sequence[Structure]) -> bytes:
    """An indexed PNG: 0 is transparent, 2n + 1 the inside of structure n of `members`, 2n + 2 its outline."""
    from PIL import Image

    lookup = np.zeros(256, np.uint8)
    palette, alpha = [0, 0, 0], [0]
    for number, structure in enumerate(members):
        lookup[structure] = 2 * number + 1
        palette += [*PALETTE[structure]] * 2
        alpha += [round(255 * FILL), 255]
    codes = lookup[labels]
    image = Image.fromarray(codes + (edge & (codes > 0)).astype(np.uint8), "L")
    image.putpalette(palette)
    stream = BytesIO()
    image.save(stream, "PNG", transparency=bytes(alpha))
    return stream.getvalue()


def slice_names(spine: LabelledSpine, frame: Frame) -> Iterator[list[dict[str, Any]]]:
    """For each slice shown the names on it: text, kind ('vertebra' or 'disc'), x and y in mm.

    Vertebrae are named at the middle of their body, discs at their front border.
    """
    _, down_mm, back_mm = frame.volume.spacing_mm
    least = NAMED_MM2 / (down_mm * back_mm)
    for index in frame.modelled:
        mask, structures = spine.mask[index], spine.structures[index]
        whole = np.where(mask > anatomy.PARTIAL_OFFSET, mask - anatomy.PARTIAL_OFFSET, mask)
        bodies = _instances(whole, np.isin(structures, BODIES), (anatomy.FIRST_VERTEBRA, anatomy.LAST_VERTEBRA))
        discs = _instances(mask, structures == Structure.DISC, (anatomy.DISC_OFFSET + 1, anatomy.LAST_DISC))
        found = [
            *((anatomy.vertebra_name(label), "vertebra", points) for label, points in bodies),
            ("S1", "vertebra", np.argwhere(structures == Structure.S1)),
            *((anatomy.disc_level(label), "disc", points) for label, points in discs),
        ]
        yield [_name(text, kind, points, frame) for text, kind, points in found if len(points) >= least]


def _instances(
    labels: NDArray[np.uint8], region: NDArray[np.bool_], limits: tuple[int, int]
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """(label, its pixels (n, 2)) of each label inside `region` (rows, columns) that lies within `limits`."""
    points, found = np.argwhere(region), labels[region]
    for label in np.unique(found).tolist():
        if limits[0] <= label <= limits[1]:
            yield label, points[found == label]


def _name(text: str, kind: str, points: NDArray[np.intp], frame: Frame) -> dict[str, Any]:
    row, column = points.mean(0)
    if kind == "disc":
        column = points[:, 1].min()
    x, y = frame.place(np.array([0.0, row, column]))
    return {"text": text, "kind": kind, "x": round(float(x), 1), "y": round(float(y), 1)}
