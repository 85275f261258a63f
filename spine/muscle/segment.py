"""The network over single axial slices, cleaned: one outline for each muscle and side, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spine.anatomy import AxialStructure
from spine.arrays import largest
from spine.errors import ModelError
from spine.muscle.conform import AxialStack, Plane, network_input
from spine.muscle.limits import read_limits
from spine.muscle.midline import Midline, agreed_midlines, own_midline
from spine.runners import Runner

MUSCLES: Mapping[str, AxialStructure] = {
    "multifidus": AxialStructure.MULTIFIDUS,
    "erector_spinae": AxialStructure.ERECTOR_SPINAE,
    "psoas": AxialStructure.PSOAS,
    "quadratus_lumborum": AxialStructure.QUADRATUS_LUMBORUM,
}
SIDES = ("right", "left")
SAC = "dural_sac"
BATCH = 8  # slices in one call: a class's answer of 320 x 320 pixels takes 0.4 MB
KEPT_SHARE = 0.1  # parts of a muscle smaller than this share of its largest part are strays
PART_GAP_MM = 8.0  # so are parts further from it: fat splits a compartment, but not so widely
ONE_SIDED_SHARE = 0.85  # a part that lies so far on one side is not split by the midline
SIGNAL_MIN = 0.02  # scaled intensity; darker borders of a picture were never imaged
EDGE_PIXELS = 1  # a muscle that comes so near to the border of the picture is cut by it

Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Outline:
    """What was found on one slice. Arrays are (down, across) without padding."""

    grey: Plane  # not clipped
    labels: Labels  # values of AxialStructure, cleaned
    left: Mask  # left of the line through the vertebra's and the dural sac's middle, see spine.muscle.midline
    confidence: Mapping[str, float]  # 'multifidus_right', 'dural_sac' -> mean probability inside
    reasons: Mapping[str, str]  # the same names -> why the outline is not measured

    def mask(self, name: str) -> Mask:
        """Pixels of 'multifidus_right' or 'dural_sac'."""
        if name == SAC:
            return np.asarray(self.labels == AxialStructure.SAC)
        muscle, _, side = name.rpartition("_")
        return np.asarray((self.labels == MUSCLES[muscle]) & (self.left == (side == "left")))


def segment_slices(stack: AxialStack, indices: Sequence[int], runner: Runner) -> dict[int, Outline]:
    """The cleaned outlines of the slices `indices` of `stack`, each a help to its neighbours in telling the sides.

    Args:
        stack: slices with the pixel that the network was trained on.
        indices: of the slices wanted.
        runner: the axial network, (n, 3, H, W) -> probabilities (n, 7, H, W) of anatomy.AxialStructure.

    Raises:
        ModelError: the network answers with another number of classes.
    """
    found: dict[int, Plane] = {}
    by_shape: dict[tuple[int, int], list[int]] = {}
    for index in indices:
        by_shape.setdefault(stack.content(index), []).append(index)
    for (rows, columns), same in by_shape.items():
        for start in range(0, len(same), BATCH):
            part = same[start : start + BATCH]
            answer = _both_ways(runner, np.stack([network_input(stack, index) for index in part]))
            if answer.shape[1] != len(AxialStructure):
                raise ModelError(
                    f"the axial network answers with {answer.shape[1]} classes; {len(AxialStructure)} are expected."
                )
            for index, probability in zip(part, answer, strict=True):
                found[index] = np.ascontiguousarray(probability[:, :rows, :columns])
    own = {index: own_midline(*_column(largest(found[index])), stack.pixel_mm) for index in indices}
    place = {index: (group, n * stack.distance_mm(index)) for index in indices for group, n in [stack.places[index]]}
    lines = agreed_midlines(own, place, stack.pixel_mm)
    return {index: clean_slice(stack.plane(index), found[index], stack.pixel_mm, lines[index]) for index in indices}


def _both_ways(runner: Runner, batch: Plane) -> Plane:
    """Mean probabilities for `batch` (n, 3, H, W) and for its mirror image: the classes know no side.

    Chosen on synthetic validation stacks: model/axial.md.
    """
    straight = np.array(runner(batch))  # a copy: a runner may answer again into the same memory
    straight += runner(np.ascontiguousarray(batch[..., ::-1]))[..., ::-1]
    straight *= 0.5
    return straight


def clean_slice(grey: Plane, probability: Plane, pixel_mm: float, midline: Midline | str | None = None) -> Outline:
    """The outlines of one slice.

    Args:
        grey: (down, across) scaled intensities.
        probability: (AxialStructure, down, across), sums to 1 over structures.
        pixel_mm: of both.
        midline: between the sides, or why they are not told apart; None: what this slice shows of it.

    Each muscle is kept as its largest part a side, with the larger parts close to it, and its holes are filled:
    a compartment holds the fat inside it. Vertebra and dural sac are single parts.
    """
    raw = largest(probability)
    labels = np.zeros_like(raw)
    body, sac = _column(raw)
    labels[body], labels[sac] = AxialStructure.BODY, AxialStructure.SAC
    midline = own_midline(body, sac, pixel_mm) if midline is None else midline
    names = [f"{muscle}_{side}" for muscle in MUSCLES for side in SIDES]
    if isinstance(midline, str):
        return Outline(grey, labels, np.zeros(grey.shape, bool), {}, dict.fromkeys([*names, SAC], midline))
    left = midline.left_of(grey.shape)
    sides = np.array(left)
    for structure in MUSCLES.values():
        whole = raw == structure
        on_left = _side_of_parts(whole, left)
        for is_left in (False, True):
            part = _main_parts(whole & (on_left == is_left), pixel_mm) & (labels == 0)
            labels[part], sides[part] = structure, is_left
    outline = Outline(grey, labels, sides, {}, {})
    border = _border(grey)
    confidence = {name: _confidence(outline.mask(name), probability, name) for name in (*names, SAC)}
    reasons = {name: _reason(name, outline.mask(name), border, confidence[name], pixel_mm) for name in (*names, SAC)}
    return Outline(
        grey, labels, sides,
        {name: value for name, value in confidence.items() if value > 0},
        {name: reason for name, reason in reasons.items() if reason is not None},
    )  # fmt: skip


def _column(raw: Labels) -> tuple[Mask, Mask]:
    """Vertebra or disc and dural sac, single parts."""
    return _largest_part(raw == AxialStructure.BODY), _largest_part(raw == AxialStructure.SAC)


def _largest_part(mask: Mask) -> Mask:
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    return np.asarray(parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:])))


def _main_parts(mask: Mask, pixel_mm: float) -> Mask:
    """The largest part, and those near it of at least KEPT_SHARE of it; holes filled."""
    parts, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    largest_part = parts == int(sizes.argmax())
    apart_mm = ndimage.minimum(ndimage.distance_transform_edt(~largest_part), parts, np.arange(count + 1)) * pixel_mm
    kept = (sizes >= KEPT_SHARE * sizes.max()) & (apart_mm <= PART_GAP_MM)
    kept[0] = False
    return np.asarray(ndimage.binary_fill_holes(kept[parts]))


def _side_of_parts(mask: Mask, left: Mask) -> Mask:
    """`left`, except that a part of `mask` that lies almost wholly on one side lies on it altogether."""
    parts, count = ndimage.label(mask)
    if not count:
        return left
    share = ndimage.mean(left, parts, np.arange(count + 1))
    side = left.copy()
    for number in range(1, count + 1):
        if share[number] >= ONE_SIDED_SHARE or share[number] <= 1 - ONE_SIDED_SHARE:
            side[parts == number] = share[number] > 0.5
    return side


def _border(grey: Plane) -> Mask:
    """Pixels at the border of what was imaged: rows and columns without signal around it do not count as image."""
    signal = grey > SIGNAL_MIN
    border = np.ones(grey.shape, bool)
    rows, columns = np.flatnonzero(signal.any(1)), np.flatnonzero(signal.any(0))
    if len(rows):
        inner = slice(rows[0] + EDGE_PIXELS, rows[-1] + 1 - EDGE_PIXELS)
        border[inner, columns[0] + EDGE_PIXELS : columns[-1] + 1 - EDGE_PIXELS] = False
    return border


def _confidence(mask: Mask, probability: Plane, name: str) -> float:
    """Mean probability inside `mask`; 0 where it is empty."""
    structure = AxialStructure.SAC if name == SAC else MUSCLES[name.rpartition("_")[0]]
    return float(probability[structure][mask].mean(dtype=np.float64)) if mask.any() else 0.0


def _reason(name: str, mask: Mask, border: Mask, confidence: float, pixel_mm: float) -> str | None:
    """Why the outline `mask` of `name` is not measured; None where it is."""
    limits = read_limits()
    area_mm2 = np.count_nonzero(mask) * pixel_mm**2
    kind = SAC if name == SAC else name.rpartition("_")[0]
    if area_mm2 < limits[f"{kind}_min_mm2"]:
        return "not found on the axial slice" if not mask.any() else "too little of it is seen on the axial slice"
    if (mask & border).any():
        return "it is cut by the edge of the picture"
    if area_mm2 > limits[f"{kind}_max_mm2"]:
        return f"its outline is too large to be right ({area_mm2:.0f} mm2)"
    if confidence < limits["confidence_min_prob"]:
        return f"its outline is not sure enough (mean probability {confidence:.2f})"
    return None
