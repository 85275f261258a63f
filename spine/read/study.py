"""Series and clinical record -> Study: what only shows when they are looked at together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from spine.errors import InputError, MissingInput, UnreadableImage
from spine.read.image import XRAY, Loaded
from spine.read.library import FRAME_OF_REFERENCE, PATIENT
from spine.read.person import film_contradictions, settle_person, stated_person
from spine.records import Series, Study

SAGITTAL, SAGITTAL_T1, AXIAL_T2, CLINICAL = (
    "sagittal-spine-mri",
    "sagittal-t1-spine-mri",
    "axial-t2-spine-mri",
    "clinical-information-spine",
)
UNUSED = "given but not used: "  # how the reason begins why a series beside the segmented one is left out

Place = TypeVar("Place")


@contextmanager
def readable(where: str) -> Iterator[None]:
    """Tell a refusal of the file system that no reader foresaw as an error of the input, not of the software."""
    try:
        yield
    except OSError as fault:
        raise UnreadableImage(f"{where}: it cannot be read ({fault.strerror}).") from fault


def require_sagittal(slugs: Iterable[str], where: str, expected: str) -> None:
    """Raise MissingInput when neither sagittal series is among `slugs`."""
    if not {SAGITTAL, SAGITTAL_T1} & set(slugs):
        raise MissingInput(f"{where}: there is no sagittal MR series; {expected} is expected.")


def segmented(slugs: Iterable[str]) -> str:
    """The socket of the series that is segmented: the case cannot do without it."""
    return SAGITTAL if SAGITTAL in set(slugs) else SAGITTAL_T1


def load_each(
    places: Mapping[str, Place], load: Callable[[Place, str], Loaded]
) -> tuple[dict[str, Loaded], dict[str, str]]:
    """Series by slug, and for each one beside the segmented series that cannot be read the reason.

    `load` takes a place and its slug. What it says of a series that may be missing must name no file: it goes into the
    outputs. Raises InputError where the segmented series itself cannot be read.
    """
    loaded, unused = {}, {}
    for slug, place in places.items():
        try:
            loaded[slug] = load(place, slug)
        except InputError as fault:
            if slug == segmented(places):
                raise
            where, _, what = str(fault).partition(": ")
            unused[slug] = UNUSED + (what or where).rstrip(".")
    return loaded, unused


def assemble(
    loaded: Mapping[str, Loaded],
    clinical: Mapping[str, Any] | None,
    flags: Iterable[str],
    unused: Mapping[str, str] | None = None,
) -> Study:
    """The Study of the series in `loaded` (by slug), with flags for what does not belong together.

    `unused` holds the reasons for series that were left out. Age and sex of the segmented series' header stand in where
    the clinical record is silent.
    """

    def series(slug: str) -> Any:
        return loaded[slug].series if slug in loaded else None

    primary = loaded.get(SAGITTAL) or loaded[SAGITTAL_T1]
    known, person_flags, doubt = settle_person(clinical, stated_person(primary.header.meta))
    film_flags = film_contradictions(known, stated_person(loaded[XRAY].header.meta)) if XRAY in loaded else ()

    return Study(
        sagittal=series(SAGITTAL),
        sagittal_t1=series(SAGITTAL_T1),
        axial_t2=_axial(loaded.get(AXIAL_T2), primary),
        xray=series(XRAY),
        clinical=known,
        flags=(
            *flags,
            *(f"{slug}: {reason}" for slug, reason in (unused or {}).items()),
            *(flag for one in loaded.values() for flag in one.flags),
            *_mismatches(loaded),
            *film_flags,
            *person_flags,
        ),
        unused=dict(unused or {}),
        record_doubt=doubt,
    )


def _axial(axial: Loaded | None, primary: Loaded) -> Series | None:
    """The axial series, marked where the levels of `primary` cannot be looked up on it."""
    if axial is None:
        return None
    return replace(axial.series, foreign_frame=_differ(FRAME_OF_REFERENCE, (axial, primary)))


def _mismatches(loaded: Mapping[str, Loaded]) -> tuple[str, ...]:
    """Flags for series of different patients or frames of reference. Identifiers are compared and forgotten."""
    mr = [one for slug, one in loaded.items() if slug != XRAY]
    flags = []
    if _differ(PATIENT, loaded.values()):
        flags.append("the series carry different patient identifiers: they may not be of one patient")
    if _differ(FRAME_OF_REFERENCE, mr):
        flags.append("the MR series lie in different frames of reference: positions may not agree between them")
    return tuple(flags)


def _differ(tag: str, loaded: Iterable[Loaded]) -> bool:
    values = {one.header.meta[tag].strip() for one in loaded if one.header.meta.get(tag, "").strip()}
    return len(values) > 1
