"""The mask as a DICOM segmentation: a label map whose segment numbers are our labels, one frame a source slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import highdicom
import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import JPEGLSLossless

from spine import anatomy
from spine.export.codes import structure_code
from spine.export.dicom_terms import RESEARCH_ONLY, SEGMENTATION_SERIES, algorithm, concept, equipment

LABEL = "SPINE"  # a code string: 16 characters at most
# Red, green, blue of Okabe and Ito's palette, as the pages of the report colour the same structures.
BODY_RGB, DISC_RGB, CANAL_RGB = (0, 114, 178), (230, 159, 0), (86, 180, 233)
OWN_RGB = {anatomy.C2_LABEL: (120, 94, 240), anatomy.LAST_VERTEBRA: (160, 160, 160)}


def segmentation_object(
    mask: NDArray[np.uint8], images: Sequence[Dataset], software: Mapping[str, Any]
) -> Segmentation | None:
    """The mask, uint8 (slice, row, column) in the order of `images`, as a Label Map Segmentation; None when empty.

    A label map (DICOM PS3.3, A.51) and not the older binary segmentation, because only there a segment may have the
    number of our label (binary segments are numbered 1, 2, 3 ... without gaps) and each frame is one source slice.
    JPEG-LS, lossless, makes it some sixty times smaller in a tenth of the time that run lengths (RLE) take.
    """
    labels = [int(label) for label in np.unique(mask) if label]
    if not labels:
        return None
    made_by = algorithm(software)
    return Segmentation(
        source_images=images,
        pixel_array=mask,
        segmentation_type="LABELMAP",
        segment_descriptions=[_segment(label, made_by) for label in labels],
        series_instance_uid=highdicom.UID(),
        series_number=SEGMENTATION_SERIES,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        content_label=LABEL,
        content_description="Vertebrae, discs and spinal canal",
        series_description=f"Segmentation of the spine ({RESEARCH_ONLY})",
        transfer_syntax_uid=JPEGLSLossless,
        omit_empty_frames=False,
        **equipment(software),
    )


def _segment(label: int, made_by: highdicom.AlgorithmIdentificationSequence) -> SegmentDescription:
    structure = structure_code(label)
    partial = anatomy.PARTIAL_OFFSET < label < anatomy.DISC_OFFSET
    return SegmentDescription(
        segment_number=label,
        segment_label=structure.meaning + (" (partly visible)" if partial else ""),
        segmented_property_category=codes.cid7150.AnatomicalStructure,
        segmented_property_type=concept(structure),
        algorithm_type="AUTOMATIC",
        algorithm_identification=made_by,
        tracking_id=structure.meaning,
        tracking_uid=highdicom.UID(),
        display_color=CIELabColor.from_rgb(*_rgb(label)),
    )


def _rgb(label: int) -> tuple[int, int, int]:
    if label == anatomy.CANAL_LABEL:
        return CANAL_RGB
    if label > anatomy.DISC_OFFSET:
        return DISC_RGB
    return OWN_RGB.get(label % anatomy.PARTIAL_OFFSET, BODY_RGB)
