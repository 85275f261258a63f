"""Rules of anatomy: order, spacing and sizes of the bodies, discs between them, one canal behind them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import DISC_OFFSET, FIRST_VERTEBRA, T1_LABEL, Structure, disc_level
from spine.quality.spacing import FEW, PLATES, WEDGE, at_the_edge, distance_mm, few_bodies_doubts, heights_mm
from spine.records import Doubt, LabelledSpine, Volume

SEVERAL = 2  # neighbours on either side that a body is compared with
CORD_REASON = "the outline of the cord was checked on three healthy necks and on synthetic ones only"
HIGHEST_CHECKED = 9  # T9: above it a neck in view is outlined worse
PLATES_REASON = (
    "measured between end plates that the network of the neck did not outline: heights miss the truth of synthetic "
    "necks by 1 mm there, angles by 4 to 5 degrees"
)
WEDGE_REASON = "wedges of single discs of the neck miss the truth of synthetic necks by up to 4.5 degrees"


def anatomy_doubts(spine: LabelledSpine, volume: Volume, limits: Mapping[str, float]) -> tuple[Doubt, ...]:
    """What breaks a rule, and the findings that it touches. `limits` are those of resources/thresholds.json."""
    return (
        *distance_doubts(spine, volume, limits),
        *_size_doubts(spine, volume, limits),
        *_disc_doubts(spine, volume, limits),
        *_canal_doubts(spine, volume, limits),
    )


def anatomy_flags(spine: LabelledSpine, volume: Volume, limits: Mapping[str, float]) -> tuple[str, ...]:
    """What is unusual but touches no single finding: gaps without a disc, a canal half seen."""
    return (*_missing_discs(spine, volume), *_canal_flags(spine, limits))


def distance_doubts(spine: LabelledSpine, volume: Volume, limits: Mapping[str, float]) -> list[Doubt]:
    """Neighbours too close or too far apart: a vertebra counted twice or missed. A body cut by the edge lies nearer."""
    bodies = spine.vertebrae
    if len(bodies) < FEW:
        return few_bodies_doubts(spine, volume, limits)
    edge = at_the_edge(spine, volume)
    steps = np.array([distance_mm(upper, lower, volume) for lower, upper in pairwise(bodies)])
    found = []
    for n, (lower, upper) in enumerate(pairwise(bodies)):
        usual = float(np.median(np.delete(steps, n)[max(n - SEVERAL, 0) : n + SEVERAL]))
        ratio = steps[n] / usual if usual > 0 else 1.0
        cut = bool({lower.label, upper.label} & edge)
        close = ratio < limits["gap_ratio_min"] and not cut
        if close or ratio > limits["gap_ratio_max"]:
            reason = (
                f"{upper.name} and {lower.name} lie {steps[n]:.0f} mm apart where about {usual:.0f} mm is usual here"
            )
            found.append(Doubt(disc_level(DISC_OFFSET + upper.label), None, reason))
            # Two bodies in the place of one: neither has an outline of its own. A gap says nothing of its borders.
            found += [Doubt(body.name, "vertebra", reason) for body in (lower, upper) if close]
    return [*found, *_joined_doubts(spine, volume, limits)]


def _joined_doubts(spine: LabelledSpine, volume: Volume, limits: Mapping[str, float]) -> list[Doubt]:
    """A body far higher than its neighbours is two, one perhaps collapsed: the column cannot be counted there."""
    heights = np.array(heights_mm(spine, volume))
    found = []
    for n, body in enumerate(spine.vertebrae):
        around = np.delete(heights, n)[max(n - SEVERAL, 0) : n + SEVERAL]
        around = around[np.isfinite(around)]
        if len(around) < SEVERAL or not heights[n] > limits["body_joined_ratio"] * np.median(around):
            continue
        reason = (
            f"the body of {body.name} was outlined {heights[n]:.0f} mm high where about {np.median(around):.0f} mm is "
            "usual here: two vertebrae may have been taken for one"
        )
        labels = {label for label in (body.label, body.label + 1) if label > FIRST_VERTEBRA}
        found += [Doubt(disc_level(DISC_OFFSET + label), None, reason) for label in sorted(labels)]
        found.append(Doubt(body.name, "vertebra", reason))
    return found


def _size_doubts(spine: LabelledSpine, volume: Volume, limits: Mapping[str, float]) -> list[Doubt]:
    edge = at_the_edge(spine, volume)
    whole = [body for body in spine.vertebrae if body.label not in edge]
    found = []
    for n, body in enumerate(whole):
        around = [other.body_voxels for other in whole[max(n - SEVERAL, 0) : n + SEVERAL + 1] if other is not body]
        if len(around) < SEVERAL:
            continue
        ratio = body.body_voxels / max(float(np.median(around)), 1.0)
        if not limits["size_ratio_min"] <= ratio <= limits["size_ratio_max"]:
            reason = f"the body of {body.name} was found with {ratio:.1f} times the size of its neighbours"
            found.append(Doubt(body.name, "vertebra", reason))
    return found


def _disc_doubts(spine: LabelledSpine, volume: Volume, limits: Mapping[str, float]) -> list[Doubt]:
    bodies = {body.label: body for body in spine.vertebrae}
    found = []
    for disc in spine.discs:
        upper, lower = bodies.get(disc.label - DISC_OFFSET), bodies.get(disc.label - DISC_OFFSET - 1)
        if upper is None or lower is None or upper.partial or lower.partial:
            continue
        middle = (np.array(upper.centre) + lower.centre) / 2
        aside = float(np.linalg.norm((np.array(disc.centre) - middle)[1:] * volume.spacing_mm[1:]))
        if aside > limits["disc_aside_max"] * distance_mm(upper, lower, volume):
            found.append(Doubt(disc.level, "disc", f"the disc {disc.level} was not found between its bodies"))
    return found


def _canal(spine: LabelledSpine) -> NDArray[np.bool_]:
    """Canal with the cord, (slice, down, back)."""
    return np.asarray(np.isin(spine.structures, (Structure.CANAL, Structure.CORD)))


def _canal_doubts(spine: LabelledSpine, volume: Volume, limits: Mapping[str, float]) -> list[Doubt]:
    canal = _canal(spine).max(0)
    rows = canal.max(1)
    if not rows.any():
        return []
    depth_mm = canal[rows].sum(1) * volume.spacing_mm[2]
    wide = float((depth_mm > limits["canal_depth_max_mm"]).mean())
    if wide <= limits["canal_wide_share"]:
        return []
    reason = f"the canal was found deeper than {limits['canal_depth_max_mm']:.0f} mm over {100 * wide:.0f} % of it"
    return [Doubt(None, "canal", reason)]


def slice_doubts(spine: LabelledSpine, volume: Volume, limits: Mapping[str, float]) -> list[Doubt]:
    """A single slice that leaves the canal shows its side wall as a narrow place: no diameter of it is told."""
    beside = _canal_flags(spine, limits) if volume.content[0] == 1 else []
    return [Doubt(None, "canal", f"{flag}, and the one slice may lie beside it") for flag in beside]


def cord_doubts(spine: LabelledSpine, limits: Mapping[str, float]) -> list[Doubt]:
    """A doubt about the cord wherever it is measured, until `cord_is_trusted`; none where no neck is in view."""
    if limits["cord_is_trusted"] or not any(body.label >= T1_LABEL for body in spine.vertebrae):
        return []
    return [Doubt(None, "cord", CORD_REASON)]


def plate_doubts(spine: LabelledSpine, limits: Mapping[str, float]) -> list[Doubt]:
    """Doubts about the end plates of the neck and the upper thorax, where a neck is in view.

    What the network of the neck outlined is told, as `neck_plates_are_trusted` says, but for the wedges of single
    discs; the rest misses the truth of synthetic necks by too much (docs/measure/chain.md).
    """
    if not any(body.label >= T1_LABEL for body in spine.vertebrae):
        return []
    high = [body for body in spine.vertebrae if body.label > HIGHEST_CHECKED]
    trusted = spine.read_again if limits["neck_plates_are_trusted"] else frozenset()
    doubts = [Doubt(body.name, PLATES, PLATES_REASON) for body in high if body.label not in trusted]
    return doubts + [Doubt(body.name, WEDGE, WEDGE_REASON) for body in high if body.label in trusted]


def _missing_discs(spine: LabelledSpine, volume: Volume) -> list[str]:
    edge = at_the_edge(spine, volume)
    seen = {disc.label - DISC_OFFSET for disc in spine.discs}
    return [
        f"no disc was found between {upper.name} and {lower.name}"
        for lower, upper in pairwise(spine.vertebrae)
        if upper.label == lower.label + 1
        and upper.label not in seen
        and upper.label > FIRST_VERTEBRA
        and upper.label not in edge
    ]


def _canal_flags(spine: LabelledSpine, limits: Mapping[str, float]) -> list[str]:
    if len(spine.vertebrae) < SEVERAL:
        return []
    rows = _canal(spine).max((0, 2))
    heights = [body.centre[1] for body in spine.vertebrae]
    part = rows[int(min(heights)) : int(max(heights)) + 1]
    if not part.size or not 0 < part.mean() < limits["canal_share_min"]:
        return []
    return [f"the spinal canal was found along {100 * part.mean():.0f} % of the vertebrae in view only"]
