"""Facts: which flags of a report warn at the head of its first page; the others stand in the list of flags only.

A flag is a code, whose words stand in resources/texts, or a sentence. spine/quality and spine/read write them.
"""

from __future__ import annotations

WARNED_CODES = frozenset(
    {
        "part_without_signal",
        "outlines_implausible",
        "sizes_implausible",
        "orientation_doubtful",
        "slices_out_of_order",
        "slices_repeated",
        "picture_in_pieces",
        "moved_between_slices",
    }
)
# How the sentences begin that speak of the images or of all outlines.
WARNED_STARTS = (
    "the image ",
    "the brightness ",
    "more of the image ",
    "neighbouring slices ",
    "opposite borders ",
    "the samples lie ",
    "the outlines are doubtful",
    "the outline of ",
    "the lumbar bodies lie ",
    "the thoracic bodies lie ",
    "the cervical bodies lie ",
    "the voxel spacing may be wrong",
    "the series carry different patient identifiers",
    "the MR series lie in different frames",
    "the T1 series does not match the T2",
    "its slices state more than one",
    "image_",
)


def warns(flag: str, slug: str = "") -> bool:
    """Whether `flag` is shown on page 1; `slug` names the segmented series, with which it may begin."""
    plain = flag.removeprefix(f"{slug}: ")
    return plain in WARNED_CODES or plain.startswith(WARNED_STARTS)
