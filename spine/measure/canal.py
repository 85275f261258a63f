"""Canal and cord: diameters at every disc and body, the narrowest point, areas where slices allow."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from scipy import ndimage

from spine.anatomy import C7_LABEL, DISC_OFFSET, LAST_VERTEBRA, T1_LABEL, Structure, disc_level, vertebra_name
from spine.geometry import Array, up_of
from spine.measure import cord
from spine.measure.canal_line import CanalLine
from spine.measure.discs import disc_axis
from spine.measure.reading import Outcome, Reading
from spine.measure.scene import Scene

LEVEL_UNITS: Mapping[str, str] = {"canal_ap_diameter_mm": "mm", "canal_area_mm2": "mm2"}
DISC_UNITS: Mapping[str, str] = {"canal_ap_diameter_min_mm": "mm", "canal_narrowing_percent": "%"}
NECK_UNITS: Mapping[str, str] = {
    "cord_ap_diameter_mm": "mm",
    "cord_width_mm": "mm",
    "cord_area_mm2": "mm2",
    "space_available_cord_mm": "mm",
    "cord_canal_ratio": "1",
}
CANAL_UNITS: Mapping[str, str] = {
    "narrowest_ap_diameter_mm": "mm",
    "narrowing_percent_of_neighbours": "%",
    "narrowest_area_mm2": "mm2",
}

AREA_MAX_SLICE_MM = 3.0  # thicker slices show too few points of the canal's rim for an area
AREA_HALF_MM = 20.0
AREA_STEP_MM = 0.5
DISC_SPAN_MM = 8.0  # the narrowest diameter of a disc level is looked for this far above and below its middle
NOT_SEEN = "the canal is not seen at this level"
# Standard deviations of the cord's sizes: root mean square errors on 16 synthetic necks, moving fluid among them, are
# 0.42 mm, 0.77 mm (slices of 3.3 mm: 1.1) and 4.8 mm2, against the masks of three healthy volunteers (21 bodies) 0.37,
# 0.75 and 7.4; rounded up (docs/segmenter/cervical.md).
CORD_AP_ERROR_MM, CORD_WIDTH_ERROR_MM, CORD_AREA_ERROR_MM2 = 0.5, 1.2, 7.5


def in_neck(k: int) -> bool:
    """Whether cord and space for it are measured at vertebra, or disc below vertebra, `k`: C1..T1."""
    return k >= T1_LABEL


class CanalMeter:
    """Reads the canal of one scene at its levels."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    @cached_property
    def body_index(self) -> dict[int, int]:
        """Vertebra label -> index on the canal's line at the middle of its body."""
        return self._indices({k: self._body_place(k) for k in self._scene.vertebrae})

    @cached_property
    def disc_index(self) -> dict[int, int]:
        """Label of the vertebra above -> index on the canal's line at the middle of the disc."""
        return self._indices({k: self._disc_place(k) for k in self._scene.levels()})

    def at_body(self, k: int) -> dict[str, Outcome]:
        """LEVEL_UNITS, and NECK_UNITS in the neck, at the middle of vertebra `k`."""
        return self._level(self.body_index.get(k), k if in_neck(k) else None)

    def at_disc(self, k: int) -> dict[str, Outcome]:
        """LEVEL_UNITS, DISC_UNITS, and NECK_UNITS in the neck, at the disc below vertebra `k`."""
        n, line = self.disc_index.get(k), self._scene.canal
        neck = k >= C7_LABEL  # C7/T1 is the lowest disc of the neck
        outcomes = self._level(n, k if neck else None)
        if n is None or line is None:
            return outcomes | dict.fromkeys((*DISC_UNITS, *(cord.UNITS if neck else ())), NOT_SEEN)
        near = np.linalg.norm(line.points - line.points[n], axis=1) < DISC_SPAN_MM
        low = int(np.where(near & np.isfinite(line.ap_mm), line.ap_mm, np.inf).argmin())
        outcomes["canal_ap_diameter_min_mm"] = self._diameter(line, low, f"narrowest within {DISC_SPAN_MM:.0f} mm")
        outcomes["canal_narrowing_percent"] = self._narrowing(line, low)
        if neck:
            outcomes |= cord.measure_cord(self._scene, line, near, self._beside(low))
        return outcomes

    def whole(self) -> dict[str, Outcome]:
        """CANAL_UNITS: between the highest and the lowest level in view."""
        line = self._scene.canal
        names = {n: disc_level(DISC_OFFSET + k) for k, n in self.disc_index.items()}
        names |= {n: vertebra_name(k) for k, n in self.body_index.items()}
        if line is None or not names:
            return dict.fromkeys(CANAL_UNITS, "the canal is not seen at any level")
        span = np.zeros(len(line.ap_mm), np.bool_)
        span[min(names) : max(names) + 1] = True
        n = int(np.where(span & np.isfinite(line.ap_mm), line.ap_mm, np.inf).argmin())
        level = names[min(names, key=lambda m: abs(m - n))]
        area = self._area(line, n)
        return {
            "narrowest_ap_diameter_mm": self._diameter(line, n, f"at {level}"),
            "narrowing_percent_of_neighbours": self._narrowing(line, n),
            "narrowest_area_mm2": area if isinstance(area, str) else Reading(area.value, area.points, f"at {level}"),
        }

    def _level(self, n: int | None, neck: int | None) -> dict[str, Outcome]:
        line = self._scene.canal
        names = (*LEVEL_UNITS, *(NECK_UNITS if neck is not None else ()))
        if n is None or line is None:
            return dict.fromkeys(names, NOT_SEEN)
        outcomes: dict[str, Outcome] = {
            "canal_ap_diameter_mm": self._diameter(line, n, "at right angles to the canal"),
            "canal_area_mm2": self._area(line, n),
        }
        if neck is not None:
            outcomes |= _cord(line, n)
        return outcomes

    def _diameter(self, line: CanalLine, n: int, note: str) -> Reading:
        points = self._scene.surface.lps(line.front_wall[n], line.back_wall[n])
        return Reading(float(line.ap_mm[n]), points, note)

    def _narrowing(self, line: CanalLine, n: int) -> Outcome:
        """100 * (1 - diameter / mean diameter at the bodies above and below)."""
        around = self._beside(n)
        if not around:
            return "no vertebral body beside it is in view"
        usual = float(np.mean(line.ap_mm[list(around)]))
        where = "the bodies above and below" if len(around) == 2 else "the one body beside it"
        return Reading(100 * (1 - float(line.ap_mm[n]) / usual), note=f"against {where}")

    def _beside(self, n: int) -> tuple[int, ...]:
        """Indices on the canal's line of the nearest body above and below index `n`, as far as they are in view."""
        bodies = sorted(self.body_index.values())
        above = [m for m in bodies if m <= n]
        below = [m for m in bodies if m > n]
        return (*above[-1:], *below[:1])

    def _area(self, line: CanalLine, n: int) -> Outcome:
        """Area of the canal in the plane across its line: its depth in every slice times the distance of slices."""
        volume = self._scene.volume
        slice_mm = volume.spacing_mm[0]
        if volume.content[0] == 1:
            return "one slice shows no area"
        if slice_mm > AREA_MAX_SLICE_MM:
            return f"slices lie {slice_mm:.1f} mm apart; an area needs {AREA_MAX_SLICE_MM:.0f} mm or less"
        offset = np.arange(-AREA_HALF_MM, AREA_HALF_MM + 1e-6, AREA_STEP_MM)
        ray = self._scene.surface.index(line.points[n] + offset[:, None] * line.front[n])  # (ray, 3)
        low = np.maximum(np.floor(ray[:, 1:].min(0)).astype(int) - 1, 0)
        high = np.ceil(ray[:, 1:].max(0)).astype(int) + 2
        block = self._scene.spine.structures[: volume.content[0], low[0] : high[0], low[1] : high[1]]
        canal = ((block == Structure.CANAL) | (block == Structure.CORD)).astype(np.float32)
        place = (ray[:, 1:] - low).T
        inside = np.stack([ndimage.map_coordinates(c, place, order=1, mode="constant") > 0.5 for c in canal])
        parts, _ = ndimage.label(inside)
        middle = (round(float(ray[len(offset) // 2, 0])), len(offset) // 2)
        if not inside[middle]:
            return NOT_SEEN
        own = parts == parts[middle]
        if own[0].any() or own[-1].any():
            return "the canal reaches the outermost slice"
        return Reading(float(own.sum()) * AREA_STEP_MM * slice_mm, note="at right angles to the canal")

    def _body_place(self, k: int) -> tuple[Array, Array | None]:
        outline = self._scene.outline(k)
        if isinstance(outline, str) or outline.cut or k == LAST_VERTEBRA:
            return np.array(self._scene.vertebrae[k].centre[1:]) * self._scene.surface.pixel_mm, None
        return outline.centre, outline.up

    def _disc_place(self, k: int) -> tuple[Array, Array | None] | None:
        upper, lower = self._scene.inferior(k), self._scene.superior(k - 1)
        if not isinstance(upper, str) and not isinstance(lower, str):
            return (upper.back + lower.back) / 2, up_of(disc_axis(upper, lower))
        if k in self._scene.discs:
            return np.array(self._scene.discs[k].centre[1:]) * self._scene.surface.pixel_mm, None
        return None

    def _indices(self, places: Mapping[int, tuple[Array, Array | None] | None]) -> dict[int, int]:
        line = self._scene.canal
        if line is None:
            return {}
        found = {k: line.nearest(*place) for k, place in places.items() if place is not None}
        return {k: n for k, n in found.items() if n is not None}


def _cord(line: CanalLine, n: int) -> dict[str, Outcome]:
    ap_mm = float(line.cord.ap_mm[n])
    if not np.isfinite(ap_mm):
        return dict.fromkeys(NECK_UNITS, cord.lost(line, np.array([n])))
    note = "of the ellipse with the second moments of the section across the canal"
    width_mm, area_mm2 = float(line.cord.width_mm[n]), float(line.cord.area_mm2[n])
    return {
        "cord_ap_diameter_mm": Reading(ap_mm, note=note, error=CORD_AP_ERROR_MM),
        "cord_width_mm": Reading(width_mm, note=note, error=CORD_WIDTH_ERROR_MM),
        "cord_area_mm2": Reading(area_mm2, note="at right angles to the canal", error=CORD_AREA_ERROR_MM2),
        "space_available_cord_mm": Reading(
            float(line.ap_mm[n]) - ap_mm, note="canal minus cord AP diameter", error=cord.ROOM_ERROR_MM
        ),
        "cord_canal_ratio": Reading(ap_mm / float(line.ap_mm[n]), note="cord over canal AP diameter"),
    }
