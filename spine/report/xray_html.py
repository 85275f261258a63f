"""The film's section of the HTML page: the picture as one image with its lines as SVG, and the tables."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO

from spine.report.digest import Document
from spine.report.words import Words
from spine.report.xray_view import FilmName, FilmPage, FilmPicture, film_page

JPEG_QUALITY = 82
HEIGHT = 1000.0  # of the drawing, in its own units


@dataclass(frozen=True)
class FilmSection:
    """What the template prints."""

    page: FilmPage
    image: str  # data URI
    width: float
    height: float
    plates: tuple[tuple[float, ...], ...]  # x1, y1, x2, y2
    spurs: tuple[tuple[float, ...], ...]
    points: tuple[tuple[float, ...], ...]
    names: tuple[FilmName, ...]


def film_section(report: Document, picture: FilmPicture | None, words: Words) -> FilmSection | None:
    """The section, or None where no film was given."""
    if picture is None:
        return None
    from PIL import Image

    stream = BytesIO()
    Image.fromarray(picture.grey).save(stream, "JPEG", quality=JPEG_QUALITY)
    width = HEIGHT * picture.aspect
    size = (width, HEIGHT)

    def placed(line: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(round(part * size[number % 2], 1) for number, part in enumerate(line))

    return FilmSection(
        film_page(report, words),
        "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii"),
        round(width, 1),
        HEIGHT,
        tuple(placed(line) for line in picture.plates),
        tuple(placed(line) for line in picture.spurs),
        tuple(placed(point) for point in picture.points),
        tuple(FilmName(name.text, *placed((name.x, name.y))) for name in picture.names),
    )
