"""Bodies and discs as instances, ordered from the lowest up; posterior elements given to their vertebra."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from spine.anatomy import Structure
from spine.records import Segmentation

MIN_BODY_MM2 = 55.0  # mid-sagittal area below which a component is no body; C3 has about 180 mm2
MIN_DISC_MM2 = 12.0
MERGED_HEIGHT_RATIO = 1.55  # taller than this times its neighbours: two bodies whose disc has collapsed
MAX_GAP_RATIO = 1.7  # neighbours further apart than this times the usual distance: one is missing, or one is a stray
MIN_GAP_RATIO = 0.6  # nearer than this: one vertebra was probably counted twice
MAX_FRONT_MM = 75.0  # a body's centre lies at most this far in front of the canal's middle
# ... and at most this many times as far as its neighbours: 2.4 leaves room for a vertebra that has slipped by its
# whole depth, and none for what looks like a vertebra in the mouth.
MAX_FRONT_RATIO = 2.4
MIDDLE_MM = 6.0  # on either side of the canal's middle: less than half the width of any body
MIN_C2_SHARE = 0.3  # mean probability from which a body is C2: no other vertebra comes near it
SIDE_NEAR = 0.75  # times the height of a body in the middle: at that body's height


KINDS = (Structure.BODY, Structure.S1, Structure.C2)


@dataclass(frozen=True, eq=False)
class Body:
    """One body: its voxels as (n, 3) indices, centroid in mm (slice, down, back) and simple sizes."""

    voxels: NDArray[np.intp]
    centre_mm: NDArray[np.float64]
    height_mm: float
    area_mm2: float  # largest area in one sagittal slice
    structure: int  # one of KINDS
    shares: Mapping[Structure, float]  # mean probability of each of KINDS inside


def find_bodies(segmentation: Segmentation, spacing_mm: tuple[float, float, float]) -> list[Body]:
    """Bodies of C2..L5 and S1, from the lowest up.

    Parts are told apart without regard to the kind, which is then the one that most of the part's probability
    names: a body that the network calls half L5, half S1 stays one body. They are told apart beside the middle of the
    canal, where discs part them; uncinate processes and bridging osteophytes join them further out.
    """
    inside = np.isin(segmentation.structures, KINDS)
    band = _middle_band(np.isin(segmentation.structures, (Structure.CANAL, Structure.CORD)), spacing_mm)
    parts = components(inside, spacing_mm, MIN_BODY_MM2)
    if band is not None:
        parts = _from_the_middle(parts, inside, band, spacing_mm)
    bodies = [_body(voxels, segmentation, spacing_mm) for voxels in parts]
    bodies = _merge_halves(bodies, segmentation, spacing_mm)
    if band is not None:
        bodies = _without_sides(bodies, band)
    bodies = _split_tall(bodies, segmentation, spacing_mm)
    for kind in (Structure.S1, Structure.C2):  # one each: the surest; the others are bodies that look alike
        same = sorted((b for b in bodies if b.structure == kind), key=lambda b: -b.shares[kind] * b.area_mm2)
        bodies = [replace(b, structure=int(Structure.BODY)) if b in same[1:] else b for b in bodies]
    return sorted(bodies, key=lambda b: -b.centre_mm[1])


def _middle_band(canal: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_] | None:
    """(slices, rows): within MIDDLE_MM of the canal's middle slice; None for too few slices or too little canal."""
    rows = canal.any((0, 2))
    if len(canal) < 3 or rows.sum() < 5:
        return None
    counts = canal.sum(2)[:, rows]
    middle = (counts * np.arange(len(canal))[:, None]).sum(0) / counts.sum(0)
    middle = np.interp(np.arange(canal.shape[1]), np.flatnonzero(rows), middle)
    apart_mm = np.abs(np.arange(len(canal))[:, None] - middle) * spacing_mm[0]
    return np.asarray(apart_mm <= max(MIDDLE_MM, 0.5 * spacing_mm[0]))


def _from_the_middle(
    whole: list[NDArray[np.intp]],
    inside: NDArray[np.bool_],
    band: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
) -> list[NDArray[np.intp]]:
    """Parts `whole` of `inside`, those that are several parts within `band` shared out among these."""
    owner = np.zeros(inside.shape, np.int32)
    for n, voxels in enumerate(components(inside & band[:, :, None], spacing_mm, MIN_BODY_MM2), start=1):
        owner[tuple(voxels.T)] = n
    parts: list[NDArray[np.intp]] = []
    for voxels in whole:
        own = owner[tuple(voxels.T)]
        parts += _shared_out(voxels, own, spacing_mm) if len(np.unique(own[own > 0])) > 1 else [voxels]
    return parts


def _without_sides(bodies: list[Body], band: NDArray[np.bool_]) -> list[Body]:
    """Bodies that have nothing in the middle left out where the middle has one at that height: ribs and processes.

    In a scoliosis that leaves the slices a body beside the middle is the only one at its height, and stays.
    """
    central = [b for b in bodies if band[tuple(b.voxels[:, :2].T)].any()]
    return [
        b
        for b in bodies
        if b in central or all(abs(b.centre_mm[1] - c.centre_mm[1]) > SIDE_NEAR * c.height_mm for c in central)
    ]


def _shared_out(
    voxels: NDArray[np.intp], own: NDArray[np.int32], spacing_mm: tuple[float, float, float]
) -> list[NDArray[np.intp]]:
    """`voxels` (n, 3) of one part that holds several bodies, `own` (n,) their numbers: 0 = take the nearest."""
    known = own > 0
    tree = KDTree(voxels[known] * spacing_mm)
    _, nearest = tree.query(voxels[~known] * spacing_mm)
    full = own.copy()
    full[~known] = own[known][nearest]
    return [voxels[full == n] for n in np.unique(own[known])]


def components(
    inside: NDArray[np.bool_], spacing_mm: tuple[float, float, float], min_mm2: float
) -> list[NDArray[np.intp]]:
    """Connected parts of `inside`, each (n, 3) indices, whose largest sagittal area is at least `min_mm2`.

    Bridges one voxel wide are cut in plane before parts are told apart; the voxels cut off go to the part
    they touch.
    """
    boxes = ndimage.find_objects(inside.astype(np.uint8))
    if not boxes:
        return []
    box = boxes[0]
    part = inside[box]
    core = opened(part)
    labels = _regrown(cc3d.connected_components(core, connectivity=6), np.nonzero(part & ~core))
    pixel_mm2 = spacing_mm[1] * spacing_mm[2]
    origin = np.array([s.start for s in box])
    found = []
    for n, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        own = labels[window] == n
        if own.sum((1, 2)).max() * pixel_mm2 >= min_mm2:
            found.append(np.argwhere(own) + origin + [s.start for s in window])
    return found


def opened(part: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`part` (slice, down, back) without what a square of 3 x 3 pixels in the plane does not fit into.

    scipy.ndimage.binary_opening by shifted copies, whole rows at a time, which takes a tenth of its time.
    """
    rows = part[:, 1:-1] & part[:, :-2] & part[:, 2:]
    core = np.zeros_like(part)
    core[:, 1:-1, 1:-1] = rows[:, :, 1:-1] & rows[:, :, :-2] & rows[:, :, 2:]
    tall = core.copy()
    tall[:, 1:] |= core[:, :-1]
    tall[:, :-1] |= core[:, 1:]
    wide = tall.copy()
    wide[:, :, 1:] |= tall[:, :, :-1]
    wide[:, :, :-1] |= tall[:, :, 1:]
    return wide


def _regrown(labels: NDArray[np.unsignedinteger], lost: tuple[NDArray[np.intp], ...]) -> NDArray[np.unsignedinteger]:
    """`labels` with the voxels `lost` (indices) given to the largest label beside them in the plane."""
    padded = np.pad(labels, ((0, 0), (1, 1), (1, 1)))
    s, r, c = lost[0], lost[1] + 1, lost[2] + 1
    for _ in range(2):  # an opening with a 3 x 3 square takes at most two voxels off
        beside = np.max((padded[s, r - 1, c], padded[s, r + 1, c], padded[s, r, c - 1], padded[s, r, c + 1]), axis=0)
        padded[s, r, c] = np.where(padded[s, r, c] == 0, beside, padded[s, r, c])
    return padded[:, 1:-1, 1:-1]


def _body(voxels: NDArray[np.intp], segmentation: Segmentation, spacing_mm: tuple[float, float, float]) -> Body:
    counts = np.bincount(voxels[:, 0])
    middle = voxels[voxels[:, 0] == counts.argmax()]
    shares = {k: float(segmentation.probabilities[k][tuple(voxels.T)].mean(dtype=np.float64)) for k in KINDS}
    return Body(
        voxels=voxels,
        centre_mm=voxels.mean(0) * spacing_mm,
        height_mm=float(len(middle) / len(np.unique(middle[:, 2])) * spacing_mm[1]),  # mean over its columns
        area_mm2=float(counts.max() * spacing_mm[1] * spacing_mm[2]),
        structure=int(Structure.C2 if shares[Structure.C2] >= MIN_C2_SHARE else max(shares, key=lambda k: shares[k])),
        shares=shares,
    )


def _merge_halves(bodies: list[Body], segmentation: Segmentation, spacing_mm: tuple[float, float, float]) -> list[Body]:
    """Parts of one body that lie at the same height (a gap in a lateral slice, a vein, a fracture line) become one."""
    merged: list[Body] = []
    for body in sorted(bodies, key=lambda b: -b.area_mm2):
        for n, other in enumerate(merged):
            gap = np.abs(body.centre_mm - other.centre_mm)
            if gap[1] < 0.45 * other.height_mm and gap[2] < 25.0:
                voxels = np.concatenate((other.voxels, body.voxels))
                merged[n] = _body(voxels, segmentation, spacing_mm)
                break
        else:
            merged.append(body)
    return merged


def _split_tall(bodies: list[Body], segmentation: Segmentation, spacing_mm: tuple[float, float, float]) -> list[Body]:
    """Two bodies in one component are cut at the narrowest place between their expected centres.

    Heights are taken along the column, whose direction is that of the line between the two nearest bodies.
    """
    if len(bodies) < 3:
        return bodies
    heights = [_height_mm(b, _direction(b, bodies), spacing_mm) for b in bodies]
    out = []
    for body, height in zip(bodies, heights, strict=True):
        order = sorted(range(len(bodies)), key=lambda n: float(np.linalg.norm(bodies[n].centre_mm - body.centre_mm)))
        typical = float(np.median([heights[n] for n in order[1:5]]))
        merged = body.structure != Structure.C2 and height > MERGED_HEIGHT_RATIO * typical
        count = round(height / (1.15 * typical)) if merged else 1
        if count < 2:
            out.append(body)
            continue
        along = (body.voxels[:, 1:] * np.asarray(spacing_mm[1:]) @ _direction(body, bodies) / spacing_mm[1]).round()
        down = along.astype(np.intp)
        for low, high in pairwise(_cuts(down, count)):
            out.append(_body(body.voxels[(down >= low) & (down < high)], segmentation, spacing_mm))
    return out


def _direction(body: Body, bodies: list[Body]) -> NDArray[np.float64]:
    """Unit vector (down, back) along the column at `body`: between its nearest neighbours, or from the nearest one."""
    others = sorted(
        (b for b in bodies if b is not body), key=lambda b: float(np.linalg.norm(b.centre_mm - body.centre_mm))
    )
    above = [b for b in others[:4] if b.centre_mm[1] < body.centre_mm[1]]
    below = [b for b in others[:4] if b.centre_mm[1] >= body.centre_mm[1]]
    start, end = (above or [body])[0].centre_mm[1:], (below or [body])[0].centre_mm[1:]
    length = float(np.linalg.norm(end - start))
    return (end - start) / length if length else np.array([1.0, 0.0])


def _height_mm(body: Body, direction: NDArray[np.float64], spacing_mm: tuple[float, float, float]) -> float:
    """Mean height along `direction` in the slice that shows most of `body`: its area over its width."""
    middle = body.voxels[body.voxels[:, 0] == np.bincount(body.voxels[:, 0]).argmax(), 1:] * spacing_mm[1:]
    across = np.unique((middle @ np.array([-direction[1], direction[0]]) / spacing_mm[1]).round())
    return body.area_mm2 / (len(across) * spacing_mm[1])


def _cuts(down: NDArray[np.intp], count: int) -> list[int]:
    """Places along the column that cut it into `count`: the thinnest near each even division."""
    low, high = int(down.min()), int(down.max()) + 1
    thickness = np.bincount(down - low, minlength=high - low)
    reach = max((high - low) // (4 * count), 1)
    edges = [low]
    for n in range(1, count):
        even = (high - low) * n // count
        window = thickness[even - reach : even + reach + 1]
        edges.append(low + even - reach + int(window.argmin()))
    return [*edges, high]


def keep_column(bodies: list[Body], canal_mm: NDArray[np.float64]) -> list[Body]:
    """Bodies in front of the canal; of two at the same height the one whose distance from it is the usual one.

    `canal_mm` is (n, 2), the canal's middle as (down, back), sorted by down. A body that stands alone at its height
    stays however far in front it lies: a slipped vertebra does.
    """
    if len(canal_mm) < 5 or not bodies:
        return bodies
    heights = np.array([b.centre_mm[1] for b in bodies])
    front = np.interp(heights, canal_mm[:, 0], canal_mm[:, 1]) - [b.centre_mm[2] for b in bodies]
    before = [n for n in range(len(bodies)) if 0.0 < front[n] < MAX_FRONT_MM]
    if not before:
        return []
    usual = float(np.median(front[before]))
    before = [n for n in before if front[n] < MAX_FRONT_RATIO * usual]
    kept = []
    for n in before:
        reach = 0.5 * bodies[n].height_mm
        rivals = [m for m in before if m != n and abs(heights[m] - heights[n]) < max(reach, 0.5 * bodies[m].height_mm)]
        if all(_oddness(bodies[n], front[n] - usual) <= _oddness(bodies[m], front[m] - usual) for m in rivals):
            kept.append(bodies[n])
    return kept


def _oddness(body: Body, off_mm: float) -> float:
    """How far a body stands from where bodies usually stand, small bodies counting as odder."""
    return (abs(off_mm) + 5.0) / body.area_mm2


def drop_strays(bodies: list[Body]) -> list[Body]:
    """Bodies without those at either end that lie too far from their neighbour to be the next vertebra."""
    kept = list(bodies)
    while len(kept) > 3:
        steps = _steps_mm(kept)
        if steps[0] > MAX_GAP_RATIO * np.median(steps[1:4]):
            kept.pop(0)
        elif steps[-1] > MAX_GAP_RATIO * np.median(steps[-4:-1]):
            kept.pop()
        else:
            break
    return kept


def largest_gap_ratio(bodies: list[Body]) -> float:
    """Largest distance between neighbours over the median of the distances around it; 1 for fewer than four."""
    if len(bodies) < 4:
        return 1.0
    steps = _steps_mm(bodies)
    around = [np.median(np.delete(steps, n)[max(n - 2, 0) : n + 2]) for n in range(len(steps))]
    return float((steps / around).max())


def smallest_gap_ratio(bodies: list[Body]) -> float:
    """Smallest distance between neighbours over the median of the distances around it; 1 for fewer than four.

    The distances at both ends are left out: a body that the border cuts lies nearer.
    """
    if len(bodies) < 4:
        return 1.0
    steps = _steps_mm(bodies)
    around = [np.median(np.delete(steps, n)[max(n - 2, 0) : n + 2]) for n in range(len(steps))]
    return float((steps / around)[1:-1].min())


def _steps_mm(bodies: list[Body]) -> NDArray[np.float64]:
    """Distances of neighbours' centres; C2's is taken as if it were as low as its neighbour, without the dens."""
    steps = np.linalg.norm(np.diff([b.centre_mm[1:] for b in bodies], axis=0), axis=1)
    if bodies[-1].structure == Structure.C2:
        steps[-1] -= max(0.5 * (bodies[-1].height_mm - bodies[-2].height_mm), 0.0)
    return np.asarray(steps, np.float64)
