"""Everything that several measurements share: outlines of the bodies, sections of the discs, the canal's line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spine.anatomy import C2_LABEL, DISC_OFFSET, FIRST_VERTEBRA, LAST_VERTEBRA, PARTIAL_OFFSET, Structure, vertebra_name
from spine.geometry import UP, Array, unit
from spine.measure.canal_line import CanalLine, trace_canal
from spine.measure.outline import EndPlate, OpenSide, Outline, fit_outline
from spine.measure.section import SLAB_HALF_MM, MidSurface, Section, find_mid_surface
from spine.records import Disc, LabelledSpine, Vertebra, Volume

MIN_CONFIDENCE = 0.5  # mean probability of a vertebra or disc below which nothing is measured on it; engineering choice
S1_KEY = 0  # S1 follows L5 downwards

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Scene:
    """One labelled spine, prepared for measuring. Keys are vertebra labels 1..24, S1_KEY for S1."""

    spine: LabelledSpine
    volume: Volume
    surface: MidSurface
    vertebrae: Mapping[int, Vertebra]
    discs: Mapping[int, Disc]  # by the label of the vertebra above
    disc_boxes: Mapping[int, Box]
    disc_sections: Mapping[int, Section]
    outlines: Mapping[int, Outline]
    s1_seen: bool
    canal: CanalLine | None

    def outline(self, key: int) -> Outline | str:
        """Outline of a body, or why there is none."""
        vertebra = self.vertebrae.get(key)
        if vertebra is None and not (key == S1_KEY and self.s1_seen):
            return f"{key_name(key)} is not in view"
        if vertebra is not None and vertebra.confidence < MIN_CONFIDENCE:
            return f"{vertebra.name} is unsure: confidence {vertebra.confidence:.2f} is below {MIN_CONFIDENCE:.2f}"
        return self.outlines.get(key, f"the body of {key_name(key)} is too small or too ragged for an outline")

    def whole_body(self, key: int) -> tuple[Outline, EndPlate, EndPlate] | str:
        """Outline with superior and inferior end plate of a body that lies in the image completely."""
        outline = self.outline(key)
        if isinstance(outline, str):
            return outline
        vertebra = self.vertebrae.get(key)
        if outline.cut or (vertebra is not None and vertebra.partial):
            return f"{key_name(key)} is cut by the edge of the image"
        if outline.superior is None or outline.inferior is None:
            return f"{key_name(key)} has no pair of end plates of its own"
        return outline, outline.superior, outline.inferior

    def superior(self, key: int) -> EndPlate | str:
        """Superior end plate of a body, or why there is none."""
        outline = self.outline(key)
        return outline if isinstance(outline, str) else outline.superior or _no_plate(key, outline, "superior")

    def inferior(self, key: int) -> EndPlate | str:
        """Inferior end plate of a body, or why there is none."""
        outline = self.outline(key)
        return outline if isinstance(outline, str) else outline.inferior or _no_plate(key, outline, "inferior")

    def levels(self) -> list[int]:
        """Labels of the upper vertebra of every motion segment in view, lowest first."""
        return [
            k
            for k in range(FIRST_VERTEBRA, C2_LABEL + 1)
            if k in self.discs or (k in self.vertebrae and (k - 1 in self.vertebrae or (k == 1 and self.s1_seen)))
        ]


def _no_plate(key: int, outline: Outline, side: str) -> str:
    why = "is cut by the edge of the image" if side in outline.cut else "does not exist"
    return f"the {side} end plate of {key_name(key)} {why}"


def key_name(key: int) -> str:
    """'S1' for S1_KEY, else the vertebra's name."""
    return "S1" if key == S1_KEY else vertebra_name(key)


def first_reason(*parts: object) -> str | None:
    """The first of `parts` that is a reason (str), if any."""
    return next((p for p in parts if isinstance(p, str)), None)


def build_scene(spine: LabelledSpine, volume: Volume) -> Scene:
    """Prepare `spine` for measuring."""
    surface = find_mid_surface(spine, volume)
    slab = _slab(surface)
    structures = spine.structures[slab]
    bodies = _body_labels(spine.mask[slab], structures)
    sections = {key: s for key, box in _boxes(bodies) if (s := _section(surface, bodies, key, box, slab)) is not None}
    sections = {(S1_KEY if key == _S1_SLOT else key): s for key, s in sections.items()}
    vertebrae = {v.label: v for v in spine.vertebrae}
    discs = {d.label - DISC_OFFSET: d for d in spine.discs}
    boxes = {n: box for n, box in _boxes(spine.mask) if n - DISC_OFFSET in discs}
    disc_sections = {}
    for number, box in boxes.items():
        found = surface.section(spine.mask[box] == number, (box[0].start, box[1].start, box[2].start))
        if found is not None:
            disc_sections[number - DISC_OFFSET] = found
    return Scene(
        spine=spine,
        volume=volume,
        surface=surface,
        vertebrae=vertebrae,
        discs=discs,
        disc_boxes={n - DISC_OFFSET: box for n, box in boxes.items()},
        disc_sections=disc_sections,
        outlines=_outlines(sections, vertebrae, surface),
        s1_seen=S1_KEY in sections,
        canal=trace_canal(structures, slab.start, surface, spine.cord),
    )


_S1_SLOT = LAST_VERTEBRA + 1


def _slab(surface: MidSurface) -> slice:
    """The slices that the mid-sagittal surface draws on."""
    half = max(1.0, SLAB_HALF_MM / surface.volume.spacing_mm[0])
    low = int(np.floor(surface.slice_at.min() - half))
    high = int(np.ceil(surface.slice_at.max() + half))
    return slice(max(low, 0), min(high + 1, surface.volume.array.shape[0]))


def _body_labels(mask: NDArray[np.uint8], structures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Vertebra label 1..24 inside bodies, 25 inside the body of S1, 0 elsewhere."""
    whole = np.arange(256, dtype=np.uint8)
    whole[PARTIAL_OFFSET + 1 : PARTIAL_OFFSET + LAST_VERTEBRA + 1] = np.arange(1, LAST_VERTEBRA + 1)
    whole[PARTIAL_OFFSET] = 0
    whole[whole > LAST_VERTEBRA] = 0
    solid = np.zeros(256, np.bool_)
    solid[[Structure.BODY, Structure.C2]] = True
    labels = whole[mask] * solid[structures]
    labels[structures == Structure.S1] = _S1_SLOT
    return np.asarray(labels)


def _boxes(labels: NDArray[np.uint8]) -> list[tuple[int, Box]]:
    return [(n, box) for n, box in enumerate(ndimage.find_objects(labels), start=1) if box is not None]


def _section(surface: MidSurface, labels: NDArray[np.uint8], key: int, box: Box, slab: slice) -> Section | None:
    corner = (box[0].start + slab.start, box[1].start, box[2].start)
    return surface.section(labels[box] == key, corner)


def _outlines(
    sections: Mapping[int, Section], vertebrae: Mapping[int, Vertebra], surface: MidSurface
) -> dict[int, Outline]:
    centres = {key: s.centre_mm for key, s in sections.items()}
    outlines = {}
    for key, section in sections.items():
        sides: dict[int, OpenSide] = {S1_KEY: "inferior", C2_LABEL: "superior"}
        partial = key in vertebrae and vertebrae[key].partial
        outline = fit_outline(section, surface, _up(key, centres), sides.get(key), partial)
        if outline is not None:
            outlines[key] = outline
    return outlines


def _up(key: int, centres: Mapping[int, Array]) -> Array:
    """Direction to the head at a body, from its neighbours' centres."""
    above, below = centres.get(key + 1, centres[key]), centres.get(key - 1, centres[key])
    up = unit(above - below)
    return up if up.any() else UP
