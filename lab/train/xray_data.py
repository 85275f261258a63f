"""Training pictures of radiographs: a projected spine, moved, exposed anew, with its target maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from lab.synth.radiograph import PIXEL_MM, visible_points
from lab.synth.radiograph_exposure import collimate, expose, letter, sample_exposure
from lab.train.xray_network import COARSE, FINE, GROUPS, KIND_OF, KINDS, LEVELS
from spine.xray.conform import scale
from spine.xray.landmarks import LANDMARKS, TIPS

CANVAS = (448, 352)  # rows, columns of a training picture
BLOB = 1.5  # sigma of a point's blob, pixels of the fine map
NEAR_MM, FAR_MM = 6.5, 9.5  # within the first of a vertebra's points the level is its own, beyond the second it is not
SPUR_MM, SPUR_WEIGHT = 1.5, 3.0  # corner and tip further apart than this: both and all between them count this much
IGNORE = 4  # pixels of the fine map round corners that look like landmarks but are none
SPURS = [  # (channel of an anterior corner, channel of the tip before it)
    (LANDMARKS.index((name, point.replace("tip", "anterior"))), channel)
    for channel, (name, point) in enumerate(LANDMARKS)
    if point in TIPS
]
NEGATIVE_PROB = 0.12
NEGATIVES = ("mirrored", "negated", "upside down", "turned", "nothing")


@dataclass(frozen=True)
class Example:
    """One picture with its targets. Weights are 0 where nothing is asked."""

    image: NDArray[np.float32]  # (H, W)
    kinds: NDArray[np.float32]  # (8, H/2, W/2)
    kinds_weight: NDArray[np.float32]  # (H/2, W/2)
    levels: NDArray[np.float32]  # (42, H/8, W/8)
    levels_weight: NDArray[np.float32]  # (42, H/8, W/8)


def draw_example(path: Path, rng: Generator, canvas: tuple[int, int] = CANVAS) -> Example:
    """Film `path` of the bank, moved and exposed anew; now and then as a picture in which there is nothing to find."""
    with np.load(path) as data:
        attenuation = data["attenuation"].astype(np.float32)
        points = np.concatenate([data["points_mm"], data["neighbours_mm"]]).astype(float)
    moved, points, outside = _move(attenuation, points, rng, canvas)
    picture, hidden = expose(moved, PIXEL_MM, sample_exposure(rng, moved), rng)
    picture, under = collimate(picture, rng)
    picture[outside] = 0.0
    hidden |= outside | under | letter(picture, rng)
    if rng.random() < NEGATIVE_PROB:
        return _negative(picture, rng, canvas)
    marks, others = points[: len(LANDMARKS)], points[len(LANDMARKS) :]
    seen = visible_points(marks, hidden, PIXEL_MM)
    kinds, weight = kind_target(marks, seen, others, canvas)
    levels, levels_weight = level_target(marks, canvas)
    return Example(_padded(scale(picture), canvas), kinds, weight, levels, levels_weight)


def _move(
    attenuation: NDArray[np.float32], points_mm: NDArray[np.float64], rng: Generator, canvas: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_]]:
    """Rotation by up to 12 degrees, scale by up to 15 %, a window of at most `canvas`; points move along."""
    angle, grow = np.deg2rad(rng.uniform(-12, 12)), rng.uniform(0.85, 1.15)
    size = np.minimum(np.array(attenuation.shape) * grow, canvas).astype(int)
    slack = np.maximum(np.array(attenuation.shape) - size / grow, 0) / 2 + 15
    centre = np.array(attenuation.shape) / 2 + rng.uniform(-1, 1, 2) * slack
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / grow
    offset = centre - turn @ (size / 2)  # of pixel edges; pixel centres lie half a pixel in
    corner = turn @ np.array([0.5, 0.5]) + offset - 0.5
    moved = affine_transform(attenuation, turn, corner, tuple(size), order=1, mode="nearest")
    row, column = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    outside = np.zeros(moved.shape, bool)
    for axis in (0, 1):
        at = turn[axis, 0] * row + turn[axis, 1] * column + offset[axis]
        outside |= (at < 0) | (at > attenuation.shape[axis])
    back = (points_mm / PIXEL_MM - offset) @ np.linalg.inv(turn).T
    return moved, back * PIXEL_MM, outside


def _padded(picture: NDArray[np.float32], canvas: tuple[int, int]) -> NDArray[np.float32]:
    out = np.zeros(canvas, np.float32)
    out[: picture.shape[0], : picture.shape[1]] = picture
    return out


def _negative(picture: NDArray[np.float32], rng: Generator, canvas: tuple[int, int]) -> Example:
    kind = NEGATIVES[rng.choice(len(NEGATIVES), p=(0.4, 0.2, 0.15, 0.15, 0.1))]
    if kind == "mirrored":
        picture = picture[:, ::-1]
    elif kind == "negated":
        picture = 1 - picture
    elif kind == "upside down":
        picture = picture[::-1]
    elif kind == "turned":
        picture = picture.T[: canvas[0], : canvas[1]]
    else:
        picture = gaussian_filter(rng.standard_normal(picture.shape, np.float32), rng.uniform(0.5, 12))
    rows, columns = canvas
    return Example(
        image=_padded(scale(picture), canvas),
        kinds=np.zeros((len(KINDS), rows // FINE, columns // FINE), np.float32),
        kinds_weight=np.ones((rows // FINE, columns // FINE), np.float32),
        levels=np.zeros((len(GROUPS) * len(LEVELS), rows // COARSE, columns // COARSE), np.float32),
        levels_weight=np.ones((len(GROUPS) * len(LEVELS), rows // COARSE, columns // COARSE), np.float32),
    )


def kind_target(
    points_mm: NDArray[np.float64], seen: NDArray[np.bool_], others_mm: NDArray[np.float64], canvas: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """((8, H/2, W/2) blobs at the `seen` ones of the (78, 2) points, (H/2, W/2) weight, 0 round `others_mm`)."""
    rows, columns = canvas[0] // FINE, canvas[1] // FINE
    down, across = np.arange(rows, dtype=np.float32), np.arange(columns, dtype=np.float32)
    out = np.zeros((len(KINDS), rows, columns), np.float32)
    for channel in np.flatnonzero(seen):
        row, column = points_mm[channel] / (FINE * PIXEL_MM) - 0.5
        blob = np.exp(-np.square(down - row) / (2 * BLOB**2))[:, None]
        blob = blob * np.exp(-np.square(across - column) / (2 * BLOB**2))[None, :]
        np.maximum(out[KIND_OF[channel]], blob, out=out[KIND_OF[channel]])
    weight = np.ones((rows, columns), np.float32)
    for row, column in others_mm / (FINE * PIXEL_MM) - 0.5:
        weight[(np.abs(down - row) < IGNORE)[:, None] & (np.abs(across - column) < IGNORE)[None, :]] = 0.0
    weight[out.max(0) > 0.05] = 1.0
    for corner, tip in SPURS:
        ends = points_mm[[corner, tip]] / (FINE * PIXEL_MM) - 0.5
        if seen[corner] and seen[tip] and np.ptp(ends, axis=0).max() * FINE * PIXEL_MM > SPUR_MM:
            low, high = ends.min(0) - IGNORE, ends.max(0) + IGNORE
            near = ((down >= low[0]) & (down <= high[0]))[:, None] & ((across >= low[1]) & (across <= high[1]))[None, :]
            weight[near & (weight > 0)] = SPUR_WEIGHT
    return out, weight


def level_target(
    points_mm: NDArray[np.float64], canvas: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """((42, H/8, W/8) share of the level, weight): 1 near the points of a group and level, 0 near those of others."""
    rows, columns = canvas[0] // COARSE, canvas[1] // COARSE
    cell = COARSE * PIXEL_MM
    grid = np.stack(np.meshgrid((np.arange(rows) + 0.5) * cell, (np.arange(columns) + 0.5) * cell, indexing="ij"), -1)
    distance = np.full((len(GROUPS), len(LEVELS), rows, columns), 1e3)
    for group, members in enumerate(GROUPS):
        for level, name in enumerate(LEVELS):
            at = [c for c, (n, p) in enumerate(LANDMARKS) if n == name and p in members]
            line = points_mm[at][np.isfinite(points_mm[at]).all(1)]
            if len(line):
                distance[group, level] = _to_line(grid, line[np.argsort(line[:, 1])])
    nearest = distance.min(1, keepdims=True)
    own = (distance < NEAR_MM) & (distance <= nearest)
    weight = np.where(nearest < 2 * FAR_MM, 1.0, 0.15)
    weight = np.where((distance >= NEAR_MM) & (distance < FAR_MM) & (nearest >= distance), 0.0, weight)
    shape = (-1, rows, columns)
    return own.astype(np.float32).reshape(shape), np.broadcast_to(weight, own.shape).astype(np.float32).reshape(shape)


def _to_line(grid: NDArray[np.float64], line: NDArray[np.float64]) -> NDArray[np.float64]:
    """(rows, columns) distance of the grid's points to a polyline (or one point)."""
    out = np.linalg.norm(grid - line[0], axis=-1)
    for start, end in pairwise(line):
        along = end - start
        share = np.clip((grid - start) @ along / max(float(along @ along), 1e-9), 0, 1)[..., None]
        out = np.minimum(out, np.linalg.norm(grid - start - share * along, axis=-1))
    return out


class Films(IterableDataset[tuple[Tensor, ...]]):
    """Endless examples from a bank that may still grow; cervical and lumbar films alike often."""

    def __init__(self, bank: Path, family: str, seed: tuple[int, ...]) -> None:
        self.bank, self.family, self.seed = bank, family, seed

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        """Image (1, H, W), kinds, their weight (1, H/2, W/2), levels, their weight."""
        worker = get_worker_info()
        rng = np.random.default_rng((*self.seed, worker.id if worker else 0))
        while True:
            files = [sorted(self.bank.glob(f"{self.family}_{r}_*.npz")) for r in ("cervical", "lumbar")]
            for _ in range(300):
                group = files[int(rng.random() < 0.42)] or files[0]
                example = draw_example(group[rng.integers(len(group))], rng)
                yield as_tensors(example)


def as_tensors(example: Example) -> tuple[Tensor, ...]:
    """The parts of an example in the order that the training takes them."""
    return (
        torch.from_numpy(example.image)[None],
        torch.from_numpy(example.kinds),
        torch.from_numpy(example.kinds_weight)[None],
        torch.from_numpy(example.levels),
        torch.from_numpy(example.levels_weight),
    )
