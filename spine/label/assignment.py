"""Which vertebra a disc or a piece of the posterior elements belongs to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spine.label.instances import Body

# Two discs that touch beside the bodies (uncinate processes, osteophytes) are one part: it is shared out between the
# spaces that hold at least this share of it each. Of a single disc all but a rim lies in its own space.
MIN_SPACE_SHARE = 0.2
MAX_DISC_RATIO = 1.0  # a disc's centre is at most this many level distances from that of the nearest body


def spine_axes(centres_mm: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors (n, 2) in (down, back): downward along the column at each body, and its normal to the back.

    `centres_mm` is (n, 2), lowest first.
    """
    if len(centres_mm) < 2:
        down = np.tile([1.0, 0.0], (len(centres_mm), 1))
    else:
        down = -np.gradient(centres_mm, axis=0)
        down /= np.linalg.norm(down, axis=1, keepdims=True)
    return down, np.stack((-down[:, 1], down[:, 0]), 1)


def assign_discs(
    parts: list[NDArray[np.intp]], bodies: list[Body], spacing_mm: tuple[float, float, float]
) -> list[tuple[int, NDArray[np.intp]]]:
    """(index of the body above, voxels) of each disc, lowest first; index -1 .. len(bodies) - 1.

    Index n means: between body n and the body below it. A part above the highest body has the index
    len(bodies): its upper vertebra is outside the image. Parts far from every body are left out.
    """
    centres = np.stack([b.centre_mm[1:] for b in bodies])
    axes, _ = spine_axes(centres)
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    reach_mm = MAX_DISC_RATIO * float(np.median(steps)) if len(steps) else np.inf
    groups: dict[int, list[NDArray[np.intp]]] = {}
    for voxels in [piece for part in parts for piece in _pieces(part, centres, axes, spacing_mm)]:
        centre = voxels.mean(0)[1:] * spacing_mm[1:]
        if np.linalg.norm(centre - centres, axis=1).min() > reach_mm:
            continue  # away from the column: fat, a tongue, a vessel
        upper = int(_space(centre[None], centres, axes)[0])
        groups.setdefault(upper, []).append(voxels)
    discs = []
    for upper, members in sorted(groups.items()):
        largest = max(len(m) for m in members)
        discs.append((upper, np.concatenate([m for m in members if len(m) > 0.15 * largest])))
    return discs


def _space(points_mm: NDArray[np.float64], centres: NDArray[np.float64], axes: NDArray[np.float64]) -> NDArray[np.intp]:
    """(m,) index of the body above each of `points_mm` (m, 2): the nearest body, or the next one up if it is below."""
    away = points_mm[:, None] - centres
    nearest = np.square(away).sum(-1).argmin(1)
    below = np.take_along_axis((away * axes).sum(-1), nearest[:, None], 1)[:, 0] > 0
    return np.asarray(np.where(below, nearest, nearest + 1))


def _pieces(
    part: NDArray[np.intp],
    centres: NDArray[np.float64],
    axes: NDArray[np.float64],
    spacing_mm: tuple[float, float, float],
) -> list[NDArray[np.intp]]:
    """`part` (n, 3), or what each of several spaces between bodies holds of it."""
    space = _space(part[:, 1:] * np.asarray(spacing_mm[1:]), centres, axes)
    counts = np.bincount(space)
    held = np.flatnonzero(counts >= MIN_SPACE_SHARE * len(part))
    if len(held) < 2:
        return [part]
    return [part[space == n] for n in held]


# How far a process hangs below its body, in mm downward per mm behind the canal's front: spinous processes
# slant most in the thoracic spine. Hand-set from the anatomy, checked by eye on the training patients.
SLANT = {"lumbar": 0.30, "thoracic": 0.75, "cervical": 0.35}
PEDICLE_DEPTH_MM = 12.0  # the slant starts this far behind the body's centre


POSTERIOR_FRONT_MM = 12.0  # transverse processes of the neck reach this far in front of the body's centre
POSTERIOR_BACK_MM = 100.0  # and no spinous process further behind it
MAX_POSTERIOR_LEVELS = 0.85  # a voxel further from every body than this times the level distance belongs to none


def assign_posterior(
    voxels: NDArray[np.intp], bodies: list[Body], regions: list[str], spacing_mm: tuple[float, float, float]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """(index into `bodies`, whether it belongs to any of them) for each posterior voxel (n, 3).

    A voxel is moved up along its region's slant and given to the body at whose height it then lies.
    """
    centres = np.stack([b.centre_mm[1:] for b in bodies])
    axes, normals = spine_axes(centres)
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    pitch = float(np.median(steps)) if len(steps) else 1.3 * bodies[0].height_mm
    offset = voxels[:, 1:] * np.asarray(spacing_mm[1:])
    distance = np.empty((len(bodies), len(voxels)), np.float32)
    near = np.zeros((len(bodies), len(voxels)), bool)
    for n, body in enumerate(bodies):
        relative = offset - centres[n]
        back = relative @ normals[n]
        near[n] = (back > -POSTERIOR_FRONT_MM) & (back < POSTERIOR_BACK_MM)
        behind = np.maximum(back - PEDICLE_DEPTH_MM, 0.0)
        distance[n] = np.abs(relative @ axes[n] - SLANT[regions[n]] * behind - 0.1 * body.height_mm)
    owner = distance.argmin(0)
    fits = (distance.min(0) < MAX_POSTERIOR_LEVELS * pitch) & np.take_along_axis(near, owner[None], 0)[0]
    return owner, fits
