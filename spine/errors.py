"""Facts: everything a user can be told.

SpineError                 exit code, one sentence
|- InputError          2   the input cannot be used: names the file or field, what is wrong, what is expected
|  |- MissingInput         no usable socket, file or folder
|  |- UnreadableImage      truncated, not an image, wrong kind
|  |- UnusableImage        readable, but not what the socket asks for (dimension, colour, empty, geometry)
|  `- BadClinicalRecord    clinical JSON: field, value and what is allowed
`- SoftwareError       3   the software failed: model missing or foreign, output not writable
   |- ModelError
   `- OutputError
"""

from __future__ import annotations


class SpineError(Exception):
    """Base of everything a user can be told; `str(error)` is one sentence."""

    exit_code = 3


class InputError(SpineError):
    """The input cannot be used."""

    exit_code = 2


class MissingInput(InputError):
    """No usable socket, file or folder."""


class UnreadableImage(InputError):
    """The file is truncated, damaged or not an image."""


class UnusableImage(InputError):
    """The image was read but is not what the socket asks for."""


class BadClinicalRecord(InputError):
    """The clinical record names an unknown field or a value that is not allowed."""


class SoftwareError(SpineError):
    """The software failed on an input that it should have handled."""


class ModelError(SoftwareError):
    """A model file is missing, damaged or of another version."""


class OutputError(SoftwareError):
    """An output cannot be written."""
