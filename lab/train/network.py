"""The segmenter's network: a 2.5-D U-Net whose numbers enter in one builder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3x3 convolutions with instance norm; (N, c_in, H, W) -> (N, c_out, H, W)."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.norm1 = nn.InstanceNorm2d(c_out, affine=True)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.norm2 = nn.InstanceNorm2d(c_out, affine=True)
        self.act = nn.LeakyReLU(0.01)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.act(self.norm1(self.conv1(x)))
        return self.act(self.norm2(self.conv2(x)))


class UNet(nn.Module):
    """(N, c_in, H, W) -> logits (N, classes, H, W); H and W divisible by 2**(len(widths) - 1).

    The up-path upsamples by nearest neighbour and convolves 1x1: no deconvolution, which TensorRT runs slowly.
    """

    def __init__(self, c_in: int, classes: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.down = nn.ModuleList()
        c = c_in
        for i, w in enumerate(widths):
            self.down.append(Block(c, w, stride=1 if i == 0 else 2))
            c = w
        self.reduce = nn.ModuleList()
        self.up = nn.ModuleList()
        for w in reversed(widths[:-1]):
            self.reduce.append(nn.Conv2d(c, w, 1, bias=False))
            self.up.append(Block(2 * w, w))
            c = w
        self.head = nn.Conv2d(c, classes, 1)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        skips.pop()
        for reduce, block in zip(self.reduce, self.up, strict=True):
            # 1x1 convolution before upsampling: a quarter of the work, the same result
            x = block(torch.cat((skips.pop(), self.upsample(reduce(x))), 1))
        return self.head(x)


class Segmenter(nn.Module):
    """A U-Net behind a space-to-depth of two: (N, c_in, H, W) -> logits (N, classes, H, W).

    All layers run at half resolution and the last one predicts the four sub-pixels: half the time of a U-Net with
    a full-resolution level on a CPU, where that level costs memory traffic. H and W divisible by 32.
    """

    def __init__(self, c_in: int, classes: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.unshuffle, self.shuffle = nn.PixelUnshuffle(2), nn.PixelShuffle(2)
        self.body = UNet(4 * c_in, 4 * classes, widths)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.shuffle(self.body(self.unshuffle(x)))


WIDTHS = (32, 64, 128, 192, 192)


FIRST, SUB_PIXELS = "body.down.0.conv1.weight", 4  # the layer that sees the slices, four sub-pixels each


def build_network(c_in: int = 3, classes: int = 10, widths: tuple[int, ...] = WIDTHS) -> Segmenter:
    """The shipped network; `widths` are the channels of each resolution, finest first."""
    return Segmenter(c_in, classes, tuple(widths))


def load_average(checkpoint: Path) -> Segmenter:
    """The averaged network of a checkpoint of lab.train.train_segmenter, in evaluation mode."""
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["average"]
    levels = sum(name.startswith("body.down.") and name.endswith(".conv2.weight") for name in weights)
    widths = tuple(len(weights[f"body.down.{n}.conv2.weight"]) for n in range(levels))
    network = build_network(weights[FIRST].shape[1] // SUB_PIXELS, widths=widths)
    network.load_state_dict(weights)
    return network.eval()


def seen_slices(network: Segmenter) -> int:
    """Slices that `network` sees: one and its neighbours on either side."""
    return network.body.down[0].conv1.in_channels // SUB_PIXELS


def with_more_slices(weights: dict[str, Tensor], c_in: int) -> dict[str, Tensor]:
    """`weights` of a network that sees fewer slices, for one that sees `c_in`: what is further away counts nothing yet.

    Both numbers are odd and the middle slice stays in the middle.
    """
    extra = (c_in - weights[FIRST].shape[1] // SUB_PIXELS) // 2 * SUB_PIXELS
    return {**weights, FIRST: nn.functional.pad(weights[FIRST], (0, 0, 0, 0, extra, extra))}
