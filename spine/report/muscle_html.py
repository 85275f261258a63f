"""The section of the HTML page that shows muscle: one picture and a table."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO

from spine.report.digest import Document
from spine.report.muscle_page import PALETTE, AxialPicture
from spine.report.muscle_view import MuscleRow, muscle_rows, sac_lines, table_header
from spine.report.picture import Colour
from spine.report.values import is_missing
from spine.report.words import Words

JPEG_QUALITY = 82


@dataclass(frozen=True)
class MuscleSection:
    """What the template prints."""

    image: str  # data URL, '' without a picture
    caption: str
    legend: tuple[tuple[str, str], ...]  # colour, structure
    header: tuple[str, ...]
    rows: tuple[MuscleRow, ...]
    sacs: str
    notes: tuple[str, ...]


def muscle_section(report: Document, picture: AxialPicture | None, words: Words) -> MuscleSection | None:
    """The section, or None where no axial series was given or it was of no use."""
    if is_missing(report["muscle"]):
        return None
    caption, image = "", ""
    legend: tuple[tuple[str, str], ...] = ()
    if picture is not None:
        caption = words.say("html.axial_picture", level=picture.level, number=picture.number)
        shown = picture.structures
        legend = tuple(
            ("#{:02x}{:02x}{:02x}".format(*PALETTE[s]), words.name("muscle.structures", s.name)) for s in shown
        )
        image = _data_url(picture.overlay)
    return MuscleSection(
        image, caption, legend, tuple(table_header(words)), tuple(muscle_rows(report, words)),
        " ".join(sac_lines(report, words)), (words.say("muscle.note"), words.say("muscle.note_fat")),
    )  # fmt: skip


def _data_url(pixels: Colour) -> str:
    from PIL import Image

    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
