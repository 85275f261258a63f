"""Whether the millimetres can be right: distances of the bodies against their depth, against what is usual, and sizes.

Distances against one another need at least four bodies (rules.py). The depth of a body is a measure of its own: from
the axis down, neighbouring centres lie about one depth apart, whatever the size of the person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from scipy import ndimage

from spine.anatomy import C2_LABEL, DISC_OFFSET, PARTIAL_OFFSET, Structure, disc_level, region_of
from spine.geometry import Array
from spine.records import Doubt, LabelledSpine, Measurement, Vertebra, Volume

SIZE = "size"  # structure of a doubt about everything in millimetres, and no ratio or angle
ACROSS = "slices"  # structure of a doubt about everything that is measured across slices
PLATES = "plates"  # ... about everything that is measured between end plates
WEDGE = "wedge"  # ... about the wedges of discs alone
ENDED_SHARE = 0.25  # of its largest section: a body with less in the first and last slice lies in the stack
FEWEST_WIDTHS = 3  # bodies: of fewer, one outline decides
SIZES_IMPLAUSIBLE = "sizes_implausible"  # words in resources/texts, names.flags
INNER = (5.0, 95.0)  # percentiles between which a body reaches: a few stray voxels are none of it
FEW = 4  # bodies from which their distances are compared with one another
END_ROWS = 3  # a body that reaches so near to the first or last row is cut by it
STUMP_SHARE = 0.9  # of the usual height: a body with less room between its far end and the edge of the image is cut
FLAT_SPREAD = float(np.sqrt(12.0))  # width of an even distribution over its standard deviation


def at_the_edge(spine: LabelledSpine, volume: Volume) -> frozenset[int]:
    """Labels of the bodies that the upper or lower edge of the image cuts, or may cut.

    Beyond them the image does not hold the rest of a body of the usual height: what was found may be a stump.
    """
    inside = np.isin(spine.structures, (Structure.BODY, Structure.C2)) & (spine.mask < DISC_OFFSET)
    boxes = ndimage.find_objects(np.where(inside, spine.mask % PARTIAL_OFFSET, 0))
    spans = {label: box[1] for label, box in enumerate(boxes, start=1) if box is not None}
    if not spans:
        return frozenset()
    usual = float(np.median([span.stop - span.start for span in spans.values()]))
    room = max(END_ROWS, STUMP_SHARE * usual)
    rows = volume.content[1]
    return frozenset(
        label for label, span in spans.items()
        if span.start < END_ROWS or span.stop > rows - END_ROWS or span.stop < room or rows - span.start < room
    ) | {body.label for body in spine.vertebrae if body.partial}  # fmt: skip


def distances_in_depths(spine: LabelledSpine, volume: Volume) -> dict[int, float]:
    """Label of the upper of two neighbouring whole bodies -> distance of their centres over their mean depth.

    C2 is left out, whose dens is no part of its depth.
    """
    cut = at_the_edge(spine, volume)
    places = {body.label: _places_mm(spine, body, volume) for body in spine.vertebrae if body.label not in cut}
    found = {}
    for lower, upper in pairwise(spine.vertebrae):
        pair = [places[label] for label in (lower.label, upper.label) if label in places and len(places[label])]
        if len(pair) == 2 and upper.label != C2_LABEL:
            step = pair[1].mean(0) - pair[0].mean(0)
            across = np.array([-step[1], step[0]]) / max(float(np.linalg.norm(step)), 1e-9)
            depth_mm = FLAT_SPREAD * float(np.mean([(own @ across).std() for own in pair]))
            found[upper.label] = float(np.linalg.norm(step)) / max(depth_mm, 1e-9)
    return found


def _places_mm(spine: LabelledSpine, body: Vertebra, volume: Volume) -> Array:
    """(n, 2) places of the body's voxels in mm, (down, back), in the slice that shows most of it."""
    own = (spine.mask == body.label) & np.isin(spine.structures, (Structure.BODY, Structure.C2))
    plane = own[int(own.sum((1, 2)).argmax())]
    return np.asarray(np.argwhere(plane) * np.array(volume.spacing_mm[1:]), np.float64)


def heights_mm(spine: LabelledSpine, volume: Volume) -> list[float]:
    """How far each body reaches along the column, lowest first; bodies cut by an edge too, NaN for C2 with its dens."""
    bodies = spine.vertebrae
    found = []
    for n, body in enumerate(bodies):
        places_mm = _places_mm(spine, body, volume)
        beside = [np.array(other.centre[1:]) * volume.spacing_mm[1:] for other in bodies[max(n - 1, 0) : n + 2]]
        if body.label == C2_LABEL or len(beside) < 2 or not len(places_mm):
            found.append(float("nan"))
            continue
        axis = beside[-1] - beside[0]
        low, high = np.percentile(places_mm @ (axis / max(float(np.linalg.norm(axis)), 1e-9)), INNER)
        found.append(float(high - low))
    return found


def few_bodies_doubts(spine: LabelledSpine, volume: Volume, limits: Mapping[str, float]) -> list[Doubt]:
    """Doubts about two neighbours that lie too close or too far apart for their depth, where two or three are in view.

    With four or more they are compared with one another; this evidence is weaker, and its reason says so.
    """
    if len(spine.vertebrae) >= FEW:
        return []
    names = {body.label: body.name for body in spine.vertebrae}
    found = []
    for label, ratio in distances_in_depths(spine, volume).items():
        close = ratio < limits["distance_in_depths_min"]
        if close or ratio > limits["distance_in_depths_max"]:
            upper, lower = names[label], names[label - 1]
            reason = (
                f"{upper} and {lower} lie {ratio:.1f} times their depth apart where about once is usual "
                f"(weak evidence: {len(names)} bodies only are in view)"
            )
            found.append(Doubt(disc_level(DISC_OFFSET + label), None, reason))
            found += [Doubt(name, "vertebra", reason) for name in (lower, upper) if close]
    return found


def spacing_doubts(spine: LabelledSpine, volume: Volume, limits: Mapping[str, float]) -> list[Doubt]:
    """A doubt about all millimetres where the bodies' distances fit neither their depth nor their region."""
    return [
        Doubt(None, SIZE, flag) for flag in (*_shape_flags(spine, volume, limits), *pitch_flags(spine, volume, limits))
    ]


def _shape_flags(spine: LabelledSpine, volume: Volume, limits: Mapping[str, float]) -> list[str]:
    ratios = list(distances_in_depths(spine, volume).values())
    if len(ratios) < 2:
        return []
    median = float(np.median(ratios))
    if limits["usual_depths_min"] <= median <= limits["usual_depths_max"]:
        return []
    return [
        f"the voxel spacing may be wrong: the bodies lie {median:.1f} times their depth apart where about once is usual"
        + (f" ({len(ratios)} pairs only: weak evidence)" if len(ratios) < FEW - 1 else "")
    ]


def widths_in_sides(spine: LabelledSpine, volume: Volume) -> dict[int, float]:
    """Label of a lumbar body that lies in the stack from side to side -> its width over the side of its section.

    Width: volume over the largest section by a slice, that of a brick; side: square root of that section's area. A body
    that the first or last slice still shows is left out.
    """
    cut = at_the_edge(spine, volume)
    pixel_mm2 = volume.spacing_mm[1] * volume.spacing_mm[2]
    found = {}
    for body in spine.vertebrae:
        if body.label in cut or region_of(body.label) != "lumbar":
            continue
        own = (spine.mask == body.label) & (spine.structures == Structure.BODY)
        areas_mm2 = own.sum((1, 2)) * pixel_mm2
        largest = float(areas_mm2.max())
        if largest > 0 and max(areas_mm2[0], areas_mm2[-1]) < ENDED_SHARE * largest:
            found[body.label] = float(areas_mm2.sum() * volume.spacing_mm[0] / largest / np.sqrt(largest))
    return found


def slice_spacing_doubts(spine: LabelledSpine, volume: Volume, limits: Mapping[str, float]) -> list[Doubt]:
    """A doubt about what is measured across slices where bodies are too wide or too narrow for their section."""
    ratios = list(widths_in_sides(spine, volume).values())
    if len(ratios) < FEWEST_WIDTHS:
        return []
    median = float(np.median(ratios))
    if limits["usual_sides_min"] <= median <= limits["usual_sides_max"]:
        return []
    reason = (
        f"the voxel spacing may be wrong: from side to side the bodies are {median:.2f} times as wide as the side of "
        f"their section, where {limits['usual_sides_min']:.2f} to {limits['usual_sides_max']:.2f} times is expected"
    )
    return [Doubt(None, ACROSS, reason)]


def pitch_flags(spine: LabelledSpine, volume: Volume, limits: Mapping[str, float]) -> list[str]:
    """What is unusual about the bodies' distances in millimetres, by region; of one pair the evidence is weak."""
    steps: dict[str, list[float]] = {}
    cut = at_the_edge(spine, volume)
    for lower, upper in pairwise(spine.vertebrae):
        if not {lower.label, upper.label} & cut:
            steps.setdefault(region_of(lower.label), []).append(distance_mm(upper, lower, volume))
    found = []
    for region, lengths in steps.items():
        usual, median = limits[f"pitch_{region}_mm"], float(np.median(lengths))
        alone = len(lengths) == 1
        if (alone and len(spine.vertebrae) >= FEW) or _is_usual(median / usual, limits):
            continue
        found.append(
            f"the {region} bodies lie {median:.0f} mm apart where about {usual:.0f} mm is usual: the voxel spacing "
            "or the names of the levels may be wrong" + (" (one pair only: weak evidence)" if alone else "")
        )
    return found


def _is_usual(ratio: float, limits: Mapping[str, float]) -> bool:
    return limits["pitch_low_share"] <= ratio <= limits["pitch_high_share"]


def distance_mm(upper: Vertebra, lower: Vertebra, volume: Volume) -> float:
    """Distance of two centres in the plane of the slices."""
    return float(np.linalg.norm((np.array(upper.centre) - lower.centre)[1:] * volume.spacing_mm[1:]))


def size_doubts(measurements: Sequence[Measurement], limits: Mapping[str, float]) -> list[Doubt]:
    """A doubt about all millimetres when many sizes lie far outside their reference.

    A collapsed vertebra or disc moves a few values so far: then the spacing is likelier wrong than the patient.
    """
    far = [m for m in measurements if m.z is not None and abs(m.z) >= limits["implausible_z"]]
    if len(far) < limits["implausible_sizes_min"]:
        return []
    reason = f"{len(far)} sizes lie {limits['implausible_z']:.0f} standard deviations or more from their reference"
    return [Doubt(None, SIZE, f"{reason}: the voxel spacing may be wrong")]
