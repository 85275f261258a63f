"""From a training item to a network input: a random slice with its neighbours, moved, cropped and made uglier."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lab.train.sources import ALL, Item

SLICE_DISTANCE_MM = (2.0, 5.0)


def draw(item: Item, rng: np.random.Generator, crop: tuple[int, int], neighbours: int = 1) -> tuple[Tensor, Tensor]:
    """((2 neighbours + 1, H, W) float32 image, (H, W) int32 sets) of one random slice of `item`."""
    picked, centre = _slices(item, rng, neighbours)
    image = _picture(item, picked, rng)
    if len(set(picked)) == 1 and rng.random() < 0.7:
        image = _pretend_neighbours(image, rng)
    grid = _sampling_grid(image.shape[1:], item.sets[centre], rng, crop)
    moved = functional.grid_sample(torch.from_numpy(image)[None], grid, padding_mode="zeros", align_corners=True)[0]
    sets = torch.from_numpy(item.sets[centre].astype(np.float32) + 1)[None, None]
    sets = functional.grid_sample(sets, grid, mode="nearest", padding_mode="zeros", align_corners=True)[0, 0]
    sets = torch.where(sets == 0, ALL, sets - 1).to(torch.int32)
    return torch.from_numpy(_uglify(moved.numpy(), rng)), sets


def _picture(item: Item, picked: list[int], rng: np.random.Generator) -> NDArray[np.float32]:
    """The `picked` slices of `item`, (n, H, W); of synthetic spines, whose planes are thin, mostly means of three."""
    if item.source != "synthetic" or rng.random() < 0.25:
        return item.image[picked].astype(np.float32)
    last = len(item.image) - 1
    return np.stack([item.image[max(p - 1, 0) : min(p + 1, last) + 1].mean(0, dtype=np.float32) for p in picked])


def _slices(item: Item, rng: np.random.Generator, neighbours: int) -> tuple[list[int], int]:
    """Indices of the lower neighbours, the slice and the upper ones, 2-5 mm apart, in either order; and the slice's."""
    count = item.sets.shape[0]
    step = max(1, round(rng.uniform(*SLICE_DISTANCE_MM) / item.slice_mm))
    centre = int(rng.integers(count))
    if rng.random() < 0.1:
        step = 0
    if rng.random() < 0.5:
        step = -step
    offsets = np.arange(-neighbours, neighbours + 1)
    return np.clip(centre + step * offsets, 0, count - 1).tolist(), centre


def _pretend_neighbours(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A single slice's missing neighbours: the slice itself, shifted a little, darker or brighter."""
    out, middle = image.copy(), len(image) // 2
    for n in range(len(image)):
        if n != middle:
            shift = rng.integers(-2, 3, 2)
            out[n] = np.roll(image[middle], tuple(shift), (0, 1)) * rng.uniform(0.8, 1.2)
    return out


def _sampling_grid(
    shape: tuple[int, int], sets: NDArray[np.uint16], rng: np.random.Generator, crop: tuple[int, int]
) -> Tensor:
    """(1, H, W, 2) for grid_sample: rotation, scale, shear, smooth bending, a window that mostly holds labels."""
    labelled = np.argwhere((sets != ALL) & (sets & 1 == 0))
    target = labelled[rng.integers(len(labelled))] if len(labelled) else np.array(shape) / 2
    centre = target + rng.uniform(-0.3, 0.3, 2) * crop
    for axis in (0, 1):  # keep the window mostly inside the picture
        slack = max(crop[axis] / 2 - 20, 0)
        low, high = min(slack, shape[axis] / 2), max(shape[axis] - slack, shape[axis] / 2)
        centre[axis] = np.clip(centre[axis], low, high)
    angle = np.deg2rad(rng.normal(0, 7))
    scale = np.exp(rng.uniform(-0.25, 0.25))
    stretch = np.exp(rng.normal(0, 0.06))
    down, back = np.meshgrid(np.arange(crop[0]) - crop[0] / 2, np.arange(crop[1]) - crop[1] / 2, indexing="ij")
    y = scale * stretch * (np.cos(angle) * down + np.sin(angle) * back) + centre[0]
    x = scale / stretch * (-np.sin(angle) * down + np.cos(angle) * back) + centre[1]
    if rng.random() < 0.5:
        bend = torch.from_numpy(rng.normal(0, 3, (1, 2, 6, 5)))
        bend = functional.interpolate(bend, crop, mode="bicubic", align_corners=True)[0].numpy()
        y, x = y + bend[0], x + bend[1]
    stacked = np.stack((2 * x / (shape[1] - 1) - 1, 2 * y / (shape[0] - 1) - 1), -1)
    return torch.from_numpy(stacked.astype(np.float32))[None]


def _uglify(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Gamma, bias field, coarser sampling, noise and scale; (n, H, W) float32 in, the same out."""
    if rng.random() < 0.6:
        image = np.power(np.maximum(image, 0), np.exp(rng.normal(0, 0.3)))
    if rng.random() < 0.6:
        field = torch.from_numpy(rng.normal(0, 0.3, (1, 1, 4, 4)).astype(np.float32))
        image = (
            image * functional.interpolate(field, image.shape[1:], mode="bicubic", align_corners=True)[0].exp().numpy()
        )
    if rng.random() < 0.25:
        factor = rng.uniform(0.45, 0.9)
        small = functional.interpolate(torch.from_numpy(image)[None], scale_factor=factor, mode="area")
        image = functional.interpolate(small, image.shape[1:], mode="bilinear")[0].numpy()
    if rng.random() < 0.5:
        image = image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(0, 0.12))
    return np.clip(image * np.float32(np.exp(rng.normal(0, 0.2))), 0, 2.5).astype(np.float32)
