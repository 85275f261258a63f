"""Tools: headers of DICOM files with what was asked for and nothing else, read without a word about their faults."""

from __future__ import annotations

import logging
import struct
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ENHANCED_MR_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4"})  # and legacy converted
# What libraries raise over a header that breaks the standard.
FAULTS = (
    ArithmeticError, AttributeError, EOFError, LookupError, NotImplementedError, RecursionError, TypeError, ValueError,
    struct.error,
)  # fmt: skip
FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


@contextmanager
def quiet() -> Iterator[None]:
    """Within, what a foreign header breaks is neither refused nor told: the error stream is for faults of the case."""
    from pydicom import config

    for name in ("pydicom", "highdicom"):
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())  # else the interpreter prints warnings of loggers without one
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.filterwarnings("ignore", module="pydicom|highdicom")
        yield


def read_header(path: Path, keywords: Iterable[str]) -> Any:
    """pydicom's data set of the attributes `keywords` that the file `path` states; its voxels stay unread."""
    from pydicom import dcmread

    tags = ["SpecificCharacterSet", *keywords]
    return dcmread(path, stop_before_pixels=True, specific_tags=tags)


def frame_groups(header: Any, name: str) -> list[Any]:
    """Item of the functional group `name` for each frame of an enhanced image, shared or its own (PS3.3, C.7.6.16).

    Raises AttributeError or IndexError where a frame has none.
    """
    shared = header.SharedFunctionalGroupsSequence[0].get(name)
    return [(frame.get(name) or shared)[0] for frame in header.PerFrameFunctionalGroupsSequence]
