"""The X-ray beam: perspective projection, and how much of it a solid takes away.

World axes (left, down, back) in mm, as in `lab.synth.plan`. The source lies on the patient's right, the film on the
left and parallel to the (down, back) plane; film coordinates are (row, column) in film mm from the film's upper left
corner (pixel n has its centre at n + 1/2 pixels), superior up and anterior left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from lab.synth.plan import Frame, SpinePlan
from lab.synth.shapes import Field

Density = Callable[[tuple[Field, Field, Field]], Field]  # local coordinates (u, h, p) -> attenuation per mm

PLANE_MM = 1.6  # between the planes that are summed, for the finest pixels
PLANES_MAX = 26
CHUNK = 24_000  # voxels computed at a time


@dataclass(frozen=True)
class Beam:
    """Where source, patient and film stand."""

    source_mm: float  # source to the middle plane of the patient
    detector_mm: float  # source to film
    centre_mm: tuple[float, float, float]  # point of the middle plane on the central ray, world
    film_mm: tuple[float, float]  # where the central ray meets the film (row, column)
    pixel_mm: float
    shape: tuple[int, int]  # rows, columns

    def magnification(self, left_mm: NDArray[np.floating] | float) -> NDArray[np.float64]:
        """Film mm for each mm in the sagittal plane at world `left_mm`: detector distance over plane distance."""
        return np.asarray(self.detector_mm / (self.source_mm + np.asarray(left_mm, float) - self.centre_mm[0]))

    def project(self, points_mm: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., 3) world points -> (..., 2) film mm (row, column)."""
        points = np.asarray(points_mm, float)
        scale = self.magnification(points[..., 0])[..., None]
        return np.asarray(self.film_mm) + scale * (points[..., 1:] - np.asarray(self.centre_mm[1:]))

    def plane(self, step: int = 1) -> tuple[Field, Field]:
        """(rows, 1) down and (1, columns) back of the pixels, every `step`-th block, in the middle plane, world mm."""
        scale = float(self.magnification(self.centre_mm[0]))
        axes = [(_blocks(n, step) * self.pixel_mm - f) / scale for n, f in zip(self.shape, self.film_mm, strict=True)]
        down, back = (np.asarray(a + c, np.float32) for a, c in zip(axes, self.centre_mm[1:], strict=True))
        return down[:, None], back[None, :]


def _blocks(count: int, step: int) -> NDArray[np.float64]:
    """Centres, in pixels from the edge, of the blocks of `step` pixels that cover `count` pixels."""
    return (np.arange(-(-count // step)) + 0.5) * step


class Shadows:
    """Attenuation (natural logarithm) that is gathered on a film, fine and in blocks of two and four pixels."""

    def __init__(self, beam: Beam) -> None:
        self.beam = beam
        self.layers = {
            step: np.zeros([-(-n // step) for n in beam.shape], np.float32)
            for step in (1, 2, 4)  # bodies; arches and other bone; soft tissue
        }

    def cast(self, frame: Frame, reach: tuple[NDArray[np.float64], ...], density: Density, step: int = 1) -> None:
        """Add a solid: the integral of `density` along the rays, over the local box `reach` = (low, high) (u, h, p).

        Sums over sagittal planes, each read at the magnification of its own distance: exact for
        rays that leave the central ray by a small angle (path lengths are not corrected for the angle, under 2 %).
        """
        corners = np.array([[reach[b][a] for a, b in enumerate(bits)] for bits in np.ndindex(2, 2, 2)])
        world = frame.origin_mm + corners @ frame.axes
        window = self._window(world, step)
        if window is None:
            return
        beam = self.beam
        count = int(np.clip(np.ptp(world[:, 0]) / (PLANE_MM * step**0.5), 5, PLANES_MAX))
        thick = float(np.ptp(world[:, 0])) / count
        left = world[:, 0].min() + thick * (np.arange(count) + 0.5)
        scale = beam.magnification(left)[:, None]
        at = [
            (beam.pixel_mm * _blocks(n, step)[None, w] - f) / scale + c
            for n, w, f, c in zip(beam.shape, window, beam.film_mm, beam.centre_mm[1:], strict=True)
        ]
        y = np.asarray(at[0] - frame.origin_mm[1], np.float32)[:, :, None]
        z = np.asarray(at[1] - frame.origin_mm[2], np.float32)[:, None, :]
        x = np.asarray(left - frame.origin_mm[0], np.float32)[:, None, None]
        matrix = frame.axes.astype(np.float32)
        some = max(CHUNK // (y.shape[1] * z.shape[2]), 1)
        total = np.zeros((y.shape[1], z.shape[2]), np.float32)
        for first in range(0, count, some):  # few planes at a time stay in the processor's cache
            part = slice(first, first + some)
            points = tuple(x[part] * m[0] + y[part] * m[1] + z[part] * m[2] for m in matrix)
            total += density(points).sum(0)  # type: ignore[arg-type]
        self.layers[step][window] += total * np.float32(thick)

    def _window(self, world: NDArray[np.float64], step: int) -> tuple[slice, slice] | None:
        film = self.beam.project(world) / (self.beam.pixel_mm * step)
        first = np.maximum(np.floor(film.min(0)).astype(int), 0)
        last = np.minimum(np.ceil(film.max(0)).astype(int) + 1, self.layers[step].shape)
        return None if np.any(first >= last) else (slice(first[0], last[0]), slice(first[1], last[1]))

    def total(self) -> NDArray[np.float32]:
        """(rows, columns) attenuation of all layers together."""
        rows, columns = self.beam.shape
        out = self.layers[1].copy()
        for step in (2, 4):
            out += zoom(self.layers[step], step, order=1, mode="nearest", grid_mode=True)[:rows, :columns]
        return out


def coverage(distance: Field, soft_mm: float = 0.7) -> Field:
    """Share of a voxel inside a solid at signed `distance` mm from its surface: a ramp of `soft_mm`."""
    return np.clip(np.float32(0.5) - distance / np.float32(soft_mm), 0.0, 1.0)


def turned(plan: SpinePlan, pivot_mm: NDArray[np.float64], angles_deg: tuple[float, float, float]) -> SpinePlan:
    """The patient turned as a whole about `pivot_mm` by angles about the axes (left, down, back)."""
    matrix = rotation_matrix(angles_deg)
    return replace(
        plan,
        frames=tuple(_turn(f, pivot_mm, matrix) for f in plan.frames),
        sacral_frames=tuple(_turn(f, pivot_mm, matrix) for f in plan.sacral_frames),
    )


def bent(plan: SpinePlan, first: int, per_level_deg: float) -> SpinePlan:
    """The spine bent in each disc from that below vertebra index `first` up to C2/3; positive leans the head back."""
    frames = list(plan.frames)
    matrix = rotation_matrix((per_level_deg, 0.0, 0.0))
    for index in range(first, 23):
        pivot = 0.5 * (frames[index].origin_mm + frames[index - 1].origin_mm)
        frames[index:] = [_turn(f, pivot, matrix) for f in frames[index:]]
    return replace(plan, frames=tuple(frames))


def _turn(frame: Frame, pivot_mm: NDArray[np.float64], matrix: NDArray[np.float64]) -> Frame:
    return Frame(pivot_mm + (frame.origin_mm - pivot_mm) @ matrix.T, frame.axes @ matrix.T)


def rotation_matrix(angles_deg: tuple[float, float, float]) -> NDArray[np.float64]:
    """(3, 3) rotation of (left, down, back) columns; the first angle > 0 leans what is above backwards."""
    a, b, c = np.radians(angles_deg)
    about_left = np.array([[1, 0, 0], [0, np.cos(a), np.sin(a)], [0, -np.sin(a), np.cos(a)]])
    about_down = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_back = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_left @ about_down @ about_back
