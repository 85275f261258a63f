"""Group `grader` of the settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GraderSettings:
    """The grading network."""

    file: str
    sha256: str
