"""From instances to the labelled spine: names, masks, partial vertebrae, confidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import (
    C2_LABEL,
    CANAL_LABEL,
    DISC_OFFSET,
    FIRST_VERTEBRA,
    LAST_DISC,
    LAST_VERTEBRA,
    PARTIAL_OFFSET,
    T12_LABEL,
    Structure,
    disc_level,
    region_of,
    vertebra_name,
)
from spine.label.assignment import assign_discs, assign_posterior
from spine.label.instances import (
    MAX_GAP_RATIO,
    MIN_DISC_MM2,
    MIN_GAP_RATIO,
    Body,
    components,
    drop_strays,
    find_bodies,
    keep_column,
    largest_gap_ratio,
    smallest_gap_ratio,
)
from spine.label.numbering import Evidence, number_levels
from spine.records import Disc, LabelledSpine, Numbering, Segmentation, Vertebra, Volume

MIN_CANAL_MM2 = 60.0
ATLAS_DOWN_MM, ATLAS_BACK_MM = 25.0, 50.0  # of C1's parts from the tip of the dens, up or down and to front or back
MIN_SACRUM_MM2 = 80.0
UNSURE_LOWEST, SMALL_LOWEST = 0.75, 0.55  # mean probability, and area as a share of the next body's
BESIDE_SHARE = 0.2  # of the largest part of the canal
PARTIAL_HEIGHT = 0.80  # a body at the border lower than this share of its neighbour's height is cut
# Of 47 Mendeley training patients 43 with the right sacrum had 0.97 or more, two of four wrong ones 0.57 or less.
SURE_S1 = 0.8
MIN_S1_SHARE = 0.35  # mean probability of S1 from which the lowest body counts as S1 at all


def label_levels(segmentation: Segmentation, volume: Volume) -> LabelledSpine:
    """Vertebrae and discs of `segmentation` with their names; an empty spine where no body was found."""
    spacing = volume.spacing_mm
    structures = segmentation.structures
    bodies = find_bodies(segmentation, spacing)
    canal = _canal(structures, bodies, spacing)
    bodies = keep_column(bodies, _canal_line(canal, spacing))
    sacrum = _take_sacrum(bodies)
    if sacrum.body is not None:  # what lies below S1 is no vertebra
        bodies = bodies[bodies.index(sacrum.body) + 1 :]
    bodies = drop_strays(bodies)
    first, numbering = number_levels(_evidence(bodies, sacrum, structures, volume))
    bodies = bodies[: C2_LABEL - first + 1]
    canvas = _Canvas(np.zeros(structures.shape, np.uint8), np.zeros(structures.shape, np.uint8))
    canvas.put(np.argwhere(canal), CANAL_LABEL, structures[canal])
    if sacrum.body is not None:
        canvas.put(sacrum.body.voxels, 0, Structure.S1)
    _sacrum_below(structures, sacrum.body, bodies, spacing, canvas)
    vertebrae = _vertebrae(bodies, first, volume, canvas)
    discs = _discs(bodies, sacrum.body, first, segmentation, volume, canvas)
    _posterior(bodies, vertebrae, structures, spacing, canvas)
    _atlas(structures, spacing, canvas)
    return LabelledSpine(
        mask=canvas.mask,
        structures=canvas.structures,
        vertebrae=tuple(vertebrae),
        discs=tuple(discs),
        numbering=_with_gaps(numbering, bodies, sacrum.body),
        flags=("no_canal_found",) if not canal.any() else (),
    )


@dataclass
class _Canvas:
    """The two label volumes while they are drawn."""

    mask: NDArray[np.uint8]
    structures: NDArray[np.uint8]

    def put(self, voxels: NDArray[np.intp], label: int, structure: NDArray[np.uint8] | int) -> None:
        """Draw `voxels` (n, 3) with `label` and their class: one for all, or one each."""
        self.mask[tuple(voxels.T)] = label
        self.structures[tuple(voxels.T)] = structure


@dataclass(frozen=True)
class _Sacrum:
    """The body of S1 where one was found, and how sure that is (0..1)."""

    body: Body | None
    sureness: float


def _canal(
    structures: NDArray[np.uint8], bodies: list[Body], spacing_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Voxels of the canal (with the cord); small parts that lie apart and parts in front of the bodies removed."""
    inside = np.isin(structures, (Structure.CANAL, Structure.CORD))
    parts = sorted(components(inside, spacing_mm, MIN_CANAL_MM2), key=len, reverse=True)
    parts = [voxels for voxels in parts if _is_behind(voxels, bodies, spacing_mm)]
    out = np.zeros(structures.shape, bool)
    rows = np.zeros(structures.shape[1], bool)
    for voxels in parts:
        own = np.unique(voxels[:, 1])
        # There is one canal: a small part beside a large one, at the same height, is something else.
        if len(voxels) >= BESIDE_SHARE * len(parts[0]) or rows[own].mean() < 0.5:
            out[tuple(voxels.T)] = True
            rows[own] = True
    return out


def _is_behind(voxels: NDArray[np.intp], bodies: list[Body], spacing_mm: tuple[float, float, float]) -> bool:
    """Whether most of the bodies' area beside `voxels` lies in front of them: the great vessels fail this."""
    down_mm, back_mm = voxels[:, 1] * spacing_mm[1], voxels[:, 2] * spacing_mm[2]
    balance = 0.0
    for body in bodies:
        beside = np.abs(down_mm - body.centre_mm[1]) <= 0.5 * body.height_mm
        if beside.any():
            balance += body.area_mm2 if body.centre_mm[2] < back_mm[beside].mean() else -body.area_mm2
    return balance >= 0.0


def _canal_line(canal: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """(n, 2) in mm: row and mean column of the canal in each row that holds it."""
    counts = canal.sum((0, 2))
    rows = np.flatnonzero(counts)
    columns = (canal.sum(0)[rows] * np.arange(canal.shape[2])).sum(1) / counts[rows]
    return np.stack((rows * spacing_mm[1], columns * spacing_mm[2]), 1)


def _take_sacrum(bodies: list[Body]) -> _Sacrum:
    """S1 among `bodies`: the body that is most probably S1, if it is among the three lowest."""
    if not bodies:
        return _Sacrum(None, 0.0)
    body = max(bodies[:3], key=lambda b: b.shares[Structure.S1])
    share = body.shares[Structure.S1]
    if share < MIN_S1_SHARE:
        return _Sacrum(None, 0.0)
    return _Sacrum(body, share)


def _sacrum_below(
    structures: NDArray[np.uint8],
    s1: Body | None,
    bodies: list[Body],
    spacing_mm: tuple[float, float, float],
    canvas: _Canvas,
) -> None:
    """Keep the parts of the sacrum that lie lower than S1, or without S1 lower than the lowest vertebra."""
    top = s1 if s1 is not None else (bodies[0] if bodies else None)
    for voxels in components(structures == Structure.SACRUM, spacing_mm, MIN_SACRUM_MM2):
        if top is not None and voxels[:, 1].mean() * spacing_mm[1] > top.centre_mm[1]:
            canvas.put(voxels, 0, Structure.SACRUM)


def _evidence(bodies: list[Body], sacrum: _Sacrum, structures: NDArray[np.uint8], volume: Volume) -> Evidence:
    spacing = volume.spacing_mm
    rows = volume.content[1]
    axis = 0.0
    if bodies and bodies[-1].structure == Structure.C2:  # half of it for being C2 at all, half for the share of it
        shares = bodies[-1].shares
        axis = 0.5 + 0.5 * shares[Structure.C2] / max(shares[Structure.C2] + shares[Structure.BODY], 1e-6)
    lowest_mm = bodies[0].centre_mm[1] if bodies else 0.0
    sureness = sacrum.sureness
    if sacrum.body is None and bodies:  # S2 and below seen, S1 itself not told apart
        sacral = np.argwhere((structures == Structure.SACRUM).any(0))
        below = sacral[:, 0] * spacing[1] > lowest_mm + 0.5 * bodies[0].height_mm
        if below.sum() * spacing[1] * spacing[2] > 150.0:
            sureness = 0.6
    return Evidence(
        areas_mm2=np.array([b.area_mm2 for b in bodies]),
        centres_mm=np.array([b.centre_mm[1:] for b in bodies]).reshape(-1, 2),
        whole=np.array([not _touches_end(b, rows) for b in bodies], bool),
        sacrum=sureness,
        axis=axis,
        room_below_mm=rows * spacing[1] - lowest_mm,
        conus=_conus(bodies, structures, spacing),
    )


def _conus(bodies: list[Body], structures: NDArray[np.uint8], spacing_mm: tuple[float, float, float]) -> float | None:
    """Fractional index of the body beside the tip of the cord; None when the cord runs out of view."""
    rows = np.flatnonzero((structures == Structure.CORD).any((0, 2)))
    if len(rows) * spacing_mm[1] < 20.0 or len(bodies) < 3:
        return None
    tip = rows[-1] * spacing_mm[1]
    heights = np.array([b.centre_mm[1] for b in bodies])
    if not heights.min() < tip - 10.0 or tip > heights.max() - 5.0:
        return None
    return float(np.interp(-tip, -heights, np.arange(len(bodies))))


def _touches_end(body: Body, rows: int) -> bool:
    margin = 3  # rows: the network is unsure right at the border
    return bool(body.voxels[:, 1].min() < margin or body.voxels[:, 1].max() >= rows - margin)


def _vertebrae(bodies: list[Body], first: int, volume: Volume, canvas: _Canvas) -> list[Vertebra]:
    vertebrae = []
    for n, body in enumerate(bodies):
        label = first + n
        neighbour = bodies[n - 1] if n else (bodies[1] if len(bodies) > 1 else body)
        partial = _touches_end(body, volume.content[1]) and (
            len(bodies) == 1 or body.height_mm < PARTIAL_HEIGHT * neighbour.height_mm
        )
        structure = Structure.C2 if label == C2_LABEL else Structure.BODY
        canvas.put(body.voxels, label + (PARTIAL_OFFSET if partial else 0), structure)
        centre = body.voxels.mean(0)
        confidence = max(body.shares.values())
        vertebrae.append(
            Vertebra(
                label, vertebra_name(label), partial, _triple(centre), len(body.voxels), round(min(confidence, 1.0), 4)
            )
        )
    return vertebrae


def _discs(
    bodies: list[Body],
    sacrum: Body | None,
    first: int,
    segmentation: Segmentation,
    volume: Volume,
    canvas: _Canvas,
) -> list[Disc]:
    if not bodies:
        return []
    column = bodies if sacrum is None else [sacrum, *bodies]
    shift = 0 if sacrum is None else -1
    parts = components(segmentation.structures == Structure.DISC, volume.spacing_mm, MIN_DISC_MM2)
    discs = []
    for index, voxels in assign_discs(parts, column, volume.spacing_mm):
        upper = first + index + shift
        if not FIRST_VERTEBRA <= upper <= LAST_DISC - DISC_OFFSET:
            continue  # below S1: a rudimentary sacral disc; above C2: no disc exists
        label = DISC_OFFSET + upper
        canvas.put(voxels, label, Structure.DISC)
        probability = segmentation.probabilities[Structure.DISC][tuple(voxels.T)].mean(dtype=np.float64)
        confidence = round(min(float(probability), 1.0), 4)
        discs.append(Disc(label, disc_level(label), _triple(voxels.mean(0)), len(voxels), confidence))
    return discs


def _posterior(
    bodies: list[Body],
    vertebrae: list[Vertebra],
    structures: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    canvas: _Canvas,
) -> None:
    """Give posterior elements to their vertebra. A part above the highest body is left unlabelled."""
    voxels = np.argwhere(structures == Structure.POSTERIOR)
    if not len(voxels) or not bodies:
        return
    owner, fits = assign_posterior(voxels, bodies, [_slant_region(v.label) for v in vertebrae], spacing_mm)
    voxels, owner = voxels[fits], owner[fits]
    labels = np.array([v.label + (PARTIAL_OFFSET if v.partial else 0) for v in vertebrae], np.uint8)
    canvas.mask[tuple(voxels.T)] = labels[owner]
    canvas.structures[tuple(voxels.T)] = Structure.POSTERIOR


def _slant_region(label: int) -> str:
    """Region whose processes the vertebra's look like: those of T11 and T12 are lumbar in shape."""
    return "lumbar" if label in (T12_LABEL, T12_LABEL + 1) else region_of(label)


def _atlas(structures: NDArray[np.uint8], spacing_mm: tuple[float, float, float], canvas: _Canvas) -> None:
    """C1, only where C2 was found: its arches lie around the dens, the rear one furthest away."""
    axis = np.argwhere((canvas.mask == C2_LABEL) & (canvas.structures == Structure.C2))
    if not len(axis):
        return
    dens_mm = np.array([axis[:, 0].mean(), axis[:, 1].min(), axis[:, 2].mean()]) * spacing_mm
    for voxels in components(structures == Structure.C1, spacing_mm, MIN_DISC_MM2):
        away = np.abs(voxels.mean(0) * spacing_mm - dens_mm)
        if away[1] < ATLAS_DOWN_MM and away[2] < ATLAS_BACK_MM:
            canvas.put(voxels, LAST_VERTEBRA, Structure.C1)


def _with_gaps(numbering: Numbering, bodies: list[Body], sacrum: Body | None) -> Numbering:
    """Doubt where a body was probably missed, or where the one that all names are counted from is unsure itself."""
    doubt = None
    column = bodies if sacrum is None else [sacrum, *bodies]
    if largest_gap_ratio(column) > MAX_GAP_RATIO:
        doubt = "Two neighbouring bodies lie so far apart that a vertebra between them was probably missed."
    elif smallest_gap_ratio(column) < MIN_GAP_RATIO:
        doubt = "Two neighbouring bodies lie so close together that one vertebra was probably counted twice."
    elif len(bodies) > 1 and "sacrum" in numbering.method:
        small = bodies[0].area_mm2 < SMALL_LOWEST * bodies[1].area_mm2
        if small or max(bodies[0].shares.values()) < UNSURE_LOWEST:
            doubt = "The lowest vertebra was found only in part, so every name may be one level off."
        elif sacrum is not None and sacrum.shares[Structure.S1] < SURE_S1:
            doubt = "The first sacral body may be the lowest lumbar one, so every name may be one level off."
    if doubt is None:
        return numbering
    return Numbering(numbering.method, min(numbering.probability, 0.5), numbering.alternatives, doubt)


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    return (float(values[0]), float(values[1]), float(values[2]))
