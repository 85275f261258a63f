"""From a stack of the axial bank to a network input: a slice with its neighbours, moved, cropped and made uglier."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lab.synth.axial_bank import STEPS
from spine.conform import MAX_INTENSITY

Picture = NDArray[np.float32]


class AxialItem(NamedTuple):
    """One slice between its neighbours, and its classes."""

    image: Picture  # (3, rows, columns): before, middle, after
    labels: NDArray[np.uint8]  # (rows, columns) of AxialStructure


def read_item(file: Path, contrast: int, centre: int) -> AxialItem:
    """Slice `centre` of a stack of `lab.synth.axial_bank`; at the ends the slice itself stands in for a neighbour."""
    with np.load(file) as stored:
        images, labels = stored["images"], stored["labels"]
    picked = np.clip([centre - 1, centre, centre + 1], 0, len(labels) - 1)
    return AxialItem(images[contrast, picked].astype(np.float32) / STEPS, labels[centre])


def draw_item(files: list[Path], rng: np.random.Generator) -> AxialItem:
    """A random slice of a random stack in one of its contrasts; one time in ten without neighbours."""
    file = files[rng.integers(len(files))]
    with np.load(file) as stored:
        contrasts, slices = stored["images"].shape[:2]
    item = read_item(file, int(rng.integers(contrasts)), int(rng.integers(slices)))
    if rng.random() < 0.1:
        return item._replace(image=np.repeat(item.image[1:2], 3, 0))
    return item._replace(image=item.image[::-1].copy()) if rng.random() < 0.5 else item


def augment(item: AxialItem, rng: np.random.Generator, crop: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """((3, *crop) float32, (*crop) int64): rotated, scaled, bent, mirrored, cut, with poorer intensities."""
    grid = _sampling_grid(item.labels, rng, crop)
    image = functional.grid_sample(torch.from_numpy(item.image)[None], grid, padding_mode="zeros", align_corners=True)
    labels = torch.from_numpy(item.labels.astype(np.float32))[None, None]
    moved = functional.grid_sample(labels, grid, mode="nearest", padding_mode="zeros", align_corners=True)
    return torch.from_numpy(_poorer(image[0].numpy(), rng)), moved[0, 0].long()


def _sampling_grid(labels: NDArray[np.uint8], rng: np.random.Generator, crop: tuple[int, int]) -> Tensor:
    """(1, *crop, 2) for grid_sample."""
    shape = labels.shape
    target = np.argwhere(labels[::4, ::4]) * 4
    centre = target.mean(0) if len(target) else np.array(shape) / 2
    centre = centre + rng.uniform(-0.25, 0.25, 2) * crop
    angle = np.deg2rad(rng.normal(0, 8))
    scale, stretch = np.exp(rng.uniform(-0.22, 0.25)), np.exp(rng.normal(0, 0.07))
    down, left = np.meshgrid(np.arange(crop[0]) - crop[0] / 2, np.arange(crop[1]) - crop[1] / 2, indexing="ij")
    if rng.random() < 0.5:
        left = -left
    y = scale * stretch * (np.cos(angle) * down + np.sin(angle) * left) + centre[0]
    x = scale / stretch * (-np.sin(angle) * down + np.cos(angle) * left) + centre[1]
    if rng.random() < 0.6:
        bend = torch.from_numpy(rng.normal(0, rng.uniform(1, 4), (1, 2, 6, 7)))
        bend = functional.interpolate(bend, crop, mode="bicubic", align_corners=True)[0].numpy()
        y, x = y + bend[0], x + bend[1]
    stacked = np.stack((2 * x / (shape[1] - 1) - 1, 2 * y / (shape[0] - 1) - 1), -1)
    return torch.from_numpy(stacked.astype(np.float32))[None]


def _poorer(image: Picture, rng: np.random.Generator) -> Picture:
    """Inversion (rarely), gamma, black level, coil, bias, coarser sampling, noise, scale; (3, H, W) in and out."""
    if rng.random() < 0.04:
        image = np.where(image > 0, np.maximum(1.2 - image, 0), 0).astype(np.float32)
    if rng.random() < 0.6:
        image = np.power(np.maximum(image, 0), np.exp(rng.normal(0.08, 0.35)))
    if rng.random() < 0.3:  # scanners and fat images that leave nothing of muscle
        image = np.maximum(image - np.float32(rng.uniform(0, 0.1)), 0)
    if rng.random() < 0.3:  # a coil under the back alone
        rows = np.arange(image.shape[1], dtype=np.float32) - np.float32(0.6 * image.shape[1])
        image = image * np.exp(rows / np.float32(rng.uniform(70, 220)))[None, :, None]
    if rng.random() < 0.6:
        field = torch.from_numpy(rng.normal(0, 0.3, (1, 1, 4, 4)).astype(np.float32))
        bias = functional.interpolate(field, image.shape[1:], mode="bicubic", align_corners=True)[0].exp().numpy()
        image = image * bias
    if rng.random() < 0.3:
        small = functional.interpolate(
            torch.from_numpy(np.ascontiguousarray(image, np.float32))[None],
            scale_factor=rng.uniform(0.4, 0.9),
            mode="area",
        )
        image = functional.interpolate(small, image.shape[1:], mode="bilinear")[0].numpy()
    if rng.random() < 0.5:
        image = image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(0, 0.12))
    return np.clip(image * np.float32(np.exp(rng.normal(0, 0.2))), 0, MAX_INTENSITY).astype(np.float32)
