"""The pictures that a report may hold beside the sagittal one."""

from __future__ import annotations

from dataclasses import dataclass

from spine.records import Findings
from spine.report.muscle_page import AxialPicture, axial_picture
from spine.report.xray_view import FilmPicture, film_picture


@dataclass(frozen=True)
class FurtherPictures:
    """Each None where the study holds no such image, or nothing was found on it."""

    film: FilmPicture | None = None  # the radiograph with its landmarks
    axial: AxialPicture | None = None  # an axial slice with its muscles


NONE_FURTHER = FurtherPictures()


def further_pictures(findings: Findings) -> FurtherPictures:
    """The pictures of `findings`."""
    return FurtherPictures(film_picture(findings.xray), axial_picture(findings.muscle))
