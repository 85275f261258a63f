"""What a millimetre on the film is: at the detector, at the patient, or unknown.

A radiograph magnifies: what lies in the patient's middle is shown 5 to 25 % larger than it is, depending on the
distances of tube, patient and detector. DICOM tells the two planes apart (PS3.3, 10.7.1.3): Imager Pixel Spacing is
that of the detector, Pixel Spacing may be corrected to the patient. The factor that a header states, or that follows
from its distances of tube, patient and detector, ends by definition at the side of the table or bucky that is nearest
the patient (PS3.3, C.8.7.1): the spine lies nearer to the tube, and lengths stay somewhat too long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spine.records import Series

SAME = 1e-3  # relative difference below which two spacings are one
MAGNIFICATION_LIMITS = (1.0, 2.0)  # a stated factor outside is not believed
FACTOR_ERROR = 0.15  # relative, between two ways of stating the magnification: planes differ, distances are rounded
CORRECTED = (
    "Lengths are corrected by the stated {what} of {factor:.3g}, which ends at the table: they may still be somewhat "
    "too long; angles and ratios are not touched."
)
CONTRADICTING = (
    "What the header says of the pixel size contradicts itself ({what}): lengths may be wrong by that much; angles and "
    "ratios are not touched."
)
NO_UNIT = "the film states no pixel size: lengths cannot be given in millimetres"


@dataclass(frozen=True)
class Spacing:
    """Pixel size of the film, (down, back) as oriented."""

    step_mm: tuple[float, float]  # as (1, 1) where it is not known
    known: bool
    doubt: str | None  # one sentence for the reader
    plane: str  # 'patient', 'detector', 'not stated', 'none'


def film_spacing(series: Series, step_mm: tuple[float, float]) -> Spacing:
    """Pixel size of `series`, whose header gives `step_mm` (down, back).

    A spacing of exactly 1 mm is what libraries put where a file states none. DICOM tags, where there are any, decide.
    """
    detector = _pair(series.tags.get("imager_pixel_spacing_mm"))
    pixel = _pair(series.tags.get("pixel_spacing_mm"))
    if detector is None and pixel is None:
        if step_mm == (1.0, 1.0):
            return Spacing((1.0, 1.0), False, NO_UNIT, "none")
        return Spacing(
            step_mm, True, _unsure("the file does not say in which plane its pixel size holds"), "not stated"
        )
    factors = _factors(series)
    if pixel is not None and detector is not None and not _same(pixel, detector):
        factors = {"detector pixel over calibrated pixel": detector[0] / pixel[0], **factors}
        return Spacing(pixel, True, _contradiction(factors), "patient")
    stated = detector or pixel or step_mm
    if factors:
        what, factor = next(iter(factors.items()))
        corrected = (stated[0] / factor, stated[1] / factor)
        doubt = _contradiction(factors) or CORRECTED.format(what=what, factor=factor)
        return Spacing(corrected, True, doubt, "patient")
    if detector is None and series.tags.get("spacing_calibration"):
        return Spacing(stated, True, None, "patient")
    return Spacing(stated, True, _unsure("the pixel size is that of the detector"), "detector")


def _factors(series: Series) -> dict[str, float]:
    """Magnifications that the header states or that follow from its distances, those that can be, the stated first."""
    far, near = (_number(series.tags.get(name)) for name in ("source_detector_mm", "source_patient_mm"))
    stated = {
        "magnification": _number(series.tags.get("magnification")),
        "distance of tube to detector over that of tube to patient": far / near if far and near else None,
    }
    low, high = MAGNIFICATION_LIMITS
    return {what: factor for what, factor in stated.items() if factor is not None and low < factor <= high}


def _contradiction(factors: Mapping[str, float]) -> str | None:
    """A sentence where two of `factors` disagree, or one cannot be; None where they are of one film."""
    low, high = MAGNIFICATION_LIMITS
    apart = max(factors.values()) / min(factors.values()) - 1
    possible = all(low * (1 - FACTOR_ERROR) < factor <= high for factor in factors.values())
    if apart <= FACTOR_ERROR and possible:
        return None
    return CONTRADICTING.format(what=", ".join(f"{what} {factor:.3g}" for what, factor in factors.items()))


def _unsure(why: str) -> str:
    return f"Magnification is unknown ({why}): lengths may be 5 to 25 % too long; angles and ratios are not touched."


def _same(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return all(abs(a / b - 1) < SAME for a, b in zip(one, other, strict=True))


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < 1e4 else None


def _pair(text: str | None) -> tuple[float, float] | None:
    """'row spacing\\column spacing' of DICOM as (down, across)."""
    values = [_number(part) for part in (text or "").split("\\")]
    if len(values) != 2 or values[0] is None or values[1] is None:
        return None
    return values[0], values[1]
