"""The radiograph's network: what kind of point it is, finely, times which vertebra it belongs to, coarsely.

All vertebrae share one map for each kind of point (an upper anterior corner looks the same on C4 and C5), so that every
film teaches each kind five times or more; which vertebra it is takes a wide view and no resolution.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from lab.train.network import Block
from spine.xray.landmarks import CENTRE, CORNERS, LANDMARKS, LOWER, SPINOLAMINAR, TIPS, UPPER

KINDS: tuple[str, ...] = (*CORNERS, *TIPS, CENTRE, SPINOLAMINAR)  # channels of the fine map
LEVELS: tuple[str, ...] = tuple(dict.fromkeys(name for name, _ in LANDMARKS))
GROUPS: tuple[tuple[str, ...], ...] = ((*UPPER, TIPS[0]), (*LOWER, TIPS[1]), (CENTRE, SPINOLAMINAR))
KIND_OF = [KINDS.index(point) for _, point in LANDMARKS]  # (78,)
# (78,) channel of the coarse map: neighbours' points of one group lie a vertebra apart, those of different ones a disc
GROUP_LEVEL_OF = [
    next(g for g, points in enumerate(GROUPS) if point in points) * len(LEVELS) + LEVELS.index(name)
    for name, point in LANDMARKS
]
FINE, COARSE = 2, 8  # pixels of the input for each pixel of the two maps
WIDTHS = (16, 40, 64, 96, 128)  # channels at 1/2, 1/4, 1/8, 1/16, 1/32 of the input


class Landmarker(nn.Module):
    """(N, 1, H, W) -> logits of the kinds (N, 8, H/2, W/2) and of group and level (N, 42, H/8, W/8).

    H and W are multiples of 32.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            Block(c_in, c_out, stride=2) for c_in, c_out in zip((1, *widths[:-1]), widths, strict=True)
        )
        self.deep = Block(widths[-1], widths[-1])
        lower = widths[::-1]
        self.reduce = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in pairwise(lower))
        self.up = nn.ModuleList(Block(2 * w, w) for w in lower[1:])
        self.level_head = nn.Conv2d(widths[2], len(GROUPS) * len(LEVELS), 1)
        self.kind_head = nn.Conv2d(widths[0], len(KINDS), 1)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        for head in (self.level_head, self.kind_head):  # points are rare: begin with few
            nn.init.constant_(head.bias, -4.0)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        skips, x = [], image
        for block in self.down:
            x = block(x)
            skips.append(x)
        x, levels = self.deep(skips.pop()), image
        for step, (reduce, block) in enumerate(zip(self.reduce, self.up, strict=True)):
            x = block(torch.cat((skips.pop(), self.upsample(reduce(x))), 1))
            if step == 1:
                levels = self.level_head(x)
        return self.kind_head(x), levels


def heatmaps(kinds: Tensor, levels: Tensor) -> Tensor:
    """Logits of both maps -> (N, 78, H/2, W/2) in 0..1: probability of the kind times that of its level."""
    wide = nn.functional.interpolate(levels, scale_factor=COARSE / FINE, mode="bilinear", align_corners=False)
    return kinds.sigmoid()[:, KIND_OF] * wide.sigmoid()[:, GROUP_LEVEL_OF]
