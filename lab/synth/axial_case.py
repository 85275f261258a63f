"""An axial series beside a sagittal one of the same synthetic patient, both in patient coordinates (LPS)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import SimpleITK
from numpy.random import Generator
from numpy.typing import NDArray

from lab.synth.axial import AxialPhantom, AxialPlan, dress, picture, rasterise_axial
from lab.synth.axial_landmarks import disc_centre, level_point, stack_pose
from lab.synth.plan import SpinePlan, Window, rotation

Axes = NDArray[np.float64]
FIELD_MM = (190.0, 230.0)  # of the bundled stack: rows, columns
SLICE_MM = 5.0
BUNDLED_PIXEL_MM = 0.9
TOP_VALUE = 300  # grey value of the brightest percent


@dataclass(frozen=True)
class Placing:
    """How the phantom's world (left, down, back) lies in the scanner: LPS = axes @ (world - centre_mm)."""

    axes: Axes  # (3, 3): columns are left, down, back in LPS
    centre_mm: Axes  # (3,) world


def placing(window: Window, oblique_deg: tuple[float, float, float]) -> Placing:
    """The window's middle at the scanner's; the patient's axes turned by `oblique_deg` (tilt, lean, turn)."""
    left, up, back = rotation(*oblique_deg)
    columns = [np.array([v[0], v[2], -v[1]]) for v in (left, -up, back)]
    return Placing(np.stack(columns, axis=1), np.asarray(window.centre_mm, float))


def lower_stack(
    rng: Generator, plan: SpinePlan, field_mm: tuple[float, float], slice_mm: float, follow: float = 1.0
) -> AxialPlan:
    """A straight stack from above L3/4 to below L5/S1; `follow` 1: parallel to the disc L4/5, 0: axial."""
    centre = disc_centre(plan, 1)
    _, tilt_deg = level_point(plan, 0.5)
    pose = stack_pose(centre, follow * tilt_deg)
    ends = [pose.matrix @ (disc_centre(plan, n) - pose.pivot_mm) for n in (2, 0)]
    first, last = ends[0][1] - 6.0, ends[1][1] + 6.0
    count = int(np.ceil((last - first) / slice_mm)) + 1
    middle = pose.pivot_mm + 0.5 * (first + last) * pose.matrix[1]
    return dress(
        rng,
        replace(plan, metal_label=0),
        replace(pose, pivot_mm=middle),
        (count, slice_mm),
        (*field_mm, 0.0, float(rng.normal(0, 3))),
        fold=False,
    )


def series_image(array: NDArray[Any], phantom: AxialPhantom, place: Placing) -> SimpleITK.Image:
    """(slice, row, column) of `phantom` as a right-handed LPS image: stored slices run from the feet to the head."""
    columns = place.axes @ phantom.pose.matrix.T  # left, down, back of the stack in LPS
    spacing = phantom.spacing_mm
    corner = phantom.corner_mm + np.array([0.0, (len(array) - 1) * spacing[0], 0.0])
    world = phantom.pose.matrix.T @ corner + phantom.pose.pivot_mm
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array[::-1]))
    image.SetSpacing((spacing[2], spacing[1], spacing[0]))
    image.SetDirection(np.stack([columns[:, 0], columns[:, 2], -columns[:, 1]], axis=1).ravel().tolist())
    image.SetOrigin((place.axes @ (world - place.centre_mm)).tolist())
    return image


def sagittal_image(array: NDArray[Any], spacing_mm: tuple[float, float, float], place: Placing) -> SimpleITK.Image:
    """(slice, down, back) around the placing's centre as a right-handed LPS image: slices run to the right."""
    columns = place.axes
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array[::-1]))
    image.SetSpacing((spacing_mm[2], spacing_mm[1], spacing_mm[0]))
    direction = np.stack([columns[:, 2], columns[:, 1], -columns[:, 0]], axis=1)
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin((-direction @ ((np.array(image.GetSize()) - 1) / 2 * np.array(image.GetSpacing()))).tolist())
    return image


def write_axial(folder: Path, truth: Path, plan: SpinePlan, place: Placing, seed: int) -> None:
    """The axial T2 of a bundled case into `folder`, its classes into `truth`; the same seed gives the same bytes."""
    rng = np.random.default_rng([seed, 2])
    stack = lower_stack(rng, plan, FIELD_MM, SLICE_MM)
    phantom = rasterise_axial(stack, BUNDLED_PIXEL_MM)
    grey = picture(stack, phantom, rng, "t2", 0.7)
    grey = np.rint(np.clip(grey * TOP_VALUE / float(np.percentile(grey, 99)), 0, 2 * TOP_VALUE)).astype(np.uint16)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.mha"):
        old.unlink()
    name = f"{UUID(bytes=rng.bytes(16), version=4)}.mha"
    SimpleITK.WriteImage(series_image(grey, phantom, place), str(folder / name), useCompression=True)
    SimpleITK.WriteImage(series_image(phantom.labels, phantom, place), str(truth), useCompression=True)
