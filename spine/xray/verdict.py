"""Whether a film is what it is taken for: what its header contradicts, and metal over the bodies.

Metal over the bodies is told by its edges: they are the steepest of the film, while bright areas are found on sound
films as well. The steepness of the edges between the first and the last end plate is compared with what is usual on the
same film. On synthetic films of the validation family, on which the limits were set as well, none of 34 films without
an implant was flagged; of necks all four with a plate or a disc prosthesis were, none of seven with a cage of plastic,
whose marks are small, and two of six that bone alone bridges; of lower backs two of twelve with rods, cage or
prosthesis. So a film without this flag may hold metal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from scipy import ndimage

from spine.geometry import Array
from spine.xray.conform import Image
from spine.xray.decode import Key, Landmark

OBLIQUE_VIEWS = ("LLO", "RLO")
PARTS = {  # body parts of DICOM (PS3.16, annex L) that agree with a region
    "cervical": frozenset({"CSPINE", "CTSPINE", "SPINE", "NECK"}),
    "lumbar": frozenset({"LSPINE", "LSSPINE", "TLSPINE", "SPINE", "SSPINE"}),
}
EDGE_PIXELS = 1.2  # of the canvas: blur before steepness is measured
USUAL_PERCENT, STEEPEST_PERCENT = 90.0, 99.5  # of the steepness over the bodies
METAL_RATIO = {"cervical": 2.1, "lumbar": 3.4}  # of the two
AROUND_DEPTHS = 0.25  # of a body's depth that is looked at in front of the corners and behind them
METAL = (
    "there may be metal over the bodies (edges {ratio:.1f} times as steep as is usual on this film, up to {limit:g} is "
    "usual): beside metal every tenth landmark of synthetic films was 8 mm or more off"
)


def header_flags(tags: Mapping[str, str], region: str) -> Iterator[str]:
    """What the header says of the view and of the body part that does not suit a lateral film of `region`."""
    view, part = tags.get("view_position"), tags.get("body_part")
    if view in OBLIQUE_VIEWS:
        yield f"the header says that this is an oblique view ({view}): what is measured holds for lateral views"
    if part is not None and part not in PARTS[region]:
        yield f"the header says body part {part}, the film was read as the {region} spine: it may be another film"


def metal_flag(canvas: Image, marks: Mapping[Key, Landmark], region: str, pixel_mm: float) -> str | None:
    """A flag where the edges over the bodies are as steep as those of metal, else None.

    Args:
        canvas: (rows, columns), bone bright.
        marks: landmarks in mm from its upper left corner; those of end plates bound what is looked at.
        region: 'cervical' or 'lumbar'.
        pixel_mm: of the canvas.
    """
    limit = METAL_RATIO[region]
    ratio = edge_ratio(canvas, marks, pixel_mm)
    return METAL.format(ratio=ratio, limit=limit) if ratio is not None and ratio > limit else None


def edge_ratio(canvas: Image, marks: Mapping[Key, Landmark], pixel_mm: float) -> float | None:
    """The steepest edges over the bodies against the usual ones, None where too little of the bodies is seen."""
    front, back = (_line(marks, side, pixel_mm) for side in ("anterior", "posterior"))
    if len(front) < 2 or len(back) < 2:
        return None
    first, last = max(front[0, 0], back[0, 0], 0), min(front[-1, 0], back[-1, 0], len(canvas) - 1)
    rows = np.arange(int(first), int(last))
    if len(rows) < 2:
        return None
    left, right = (np.interp(rows, line[:, 0], line[:, 1]) for line in (front, back))
    margin = AROUND_DEPTHS * float(np.median(right - left))
    columns = np.arange(canvas.shape[1])
    looked_at = (columns >= (left - margin)[:, None]) & (columns <= (right + margin)[:, None])
    steepness = ndimage.gaussian_gradient_magnitude(canvas, EDGE_PIXELS)[rows][looked_at]
    if not steepness.size:
        return None
    usual, steepest = np.percentile(steepness, (USUAL_PERCENT, STEEPEST_PERCENT))
    return float(steepest / usual) if usual > 0 else None


def _line(marks: Mapping[Key, Landmark], side: str, pixel_mm: float) -> Array:
    """(n, 2) pixels (row, column) of the corners on one side, from the top down."""
    corners = [mark.place_mm for (_, point), mark in marks.items() if point in (f"superior_{side}", f"inferior_{side}")]
    return np.array(sorted(corners), float).reshape(-1, 2) / pixel_mm
