"""Enhanced MR: one DICOM file that holds many slices -> header of each, as if they were files of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spine.dicom_headers import FAULTS, FUNCTIONAL_GROUPS, frame_groups, quiet, read_header
from spine.errors import UnreadableImage, UnusableImage
from spine.read.headers import DAMAGED
from spine.read.library import ORIENTATION, POSITION, Header

PLACES = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")


def frame_headers(path: Path, header: Header, where: str) -> list[Header]:
    """`header` of the enhanced MR file `path` split into those of its frames, in stored order, at least one.

    Raises UnreadableImage where a frame states no place, UnusableImage where frames are scaled each by its own slope.
    """
    try:
        with quiet():
            stated = read_header(path, FUNCTIONAL_GROUPS)
            groups = [frame_groups(stated, name) for name in PLACES]
            frames = [_frame(header, *parts) for parts in zip(*groups, strict=True)]
            slopes = {_scale(frame) for frame in stated.PerFrameFunctionalGroupsSequence}
    except FAULTS as fault:
        raise UnreadableImage(f"{where}: a frame states no position in the patient, or {DAMAGED}.") from fault
    stored = header.size[2] if len(header.size) > 2 else 1
    if len(frames) != stored:
        raise UnreadableImage(f"{where}: {len(frames)} frames are described and {stored} stored; {DAMAGED}.")
    if len(slopes) > 1:
        raise UnusableImage(f"{where}: the frames are scaled each by its own slope; one scale for all is expected.")
    return frames


def _frame(header: Header, position: Any, orientation: Any, measures: Any) -> Header:
    row_mm, column_mm = (float(step) for step in measures.PixelSpacing)
    texts = {
        POSITION: "\\".join(str(value) for value in position.ImagePositionPatient),
        ORIENTATION: "\\".join(str(value) for value in orientation.ImageOrientationPatient),
    }
    return replace(
        header,
        size=(*header.size[:2], 1),
        spacing_mm=(column_mm, row_mm, 1.0),
        direction=_direction(orientation.ImageOrientationPatient),
        meta={**header.meta, **texts},
    )


def _direction(cosines: Sequence[float]) -> tuple[float, ...]:
    """Rows, columns and their normal as columns of a matrix, row-major."""
    rows, columns = np.array(cosines[:3], float), np.array(cosines[3:], float)
    return tuple(float(value) for value in np.stack([rows, columns, np.cross(rows, columns)], axis=1).ravel())


def _scale(frame: Any) -> tuple[float, float] | None:
    """Slope and intercept that a frame states for itself."""
    own = frame.get("PixelValueTransformationSequence")
    return (float(own[0].RescaleSlope), float(own[0].RescaleIntercept)) if own else None
