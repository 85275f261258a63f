"""The film of a bundled case: stored as a hospital's converter would, with its truth as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.random import Generator

from lab.synth.plan import SpinePlan
from lab.synth.radiograph import FilmTruth, cast, develop
from lab.synth.radiograph_exposure import Exposure, Picture, sample_exposure

PIXEL_MM = 0.5  # on the film
TOP_VALUE = 1000


def write_film(file: Path, plan: SpinePlan, rng: Generator, region: str = "cervical") -> dict[str, Any]:
    """Write a lateral film of `plan` (2-D, int16, compressed, its spacing that of the film); returns its truth.

    The exposure is a good one, without implants or jewellery. Bone is bright, the patient looks to the left. The same
    plan and generator state give the same bytes.
    """
    film = cast(plan, rng, region, plain=True, pixel_mm=PIXEL_MM)
    picture, visible, _ = develop(film, rng, _good(sample_exposure(rng, film.attenuation)))
    file.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(_image(picture), str(file), useCompression=True)
    truth = FilmTruth(film.points_mm, visible, film.magnification, region, film.implant)
    return {"pixel_mm": PIXEL_MM, **truth.as_json()}


def _good(exposure: Exposure) -> Exposure:
    return Exposure(
        photons=4000.0,
        reference=exposure.reference,
        scatter=0.12,
        blur_mm=0.3,
        curve=0.35,
        middle=0.2,
        wide_mm=5.0,
        enhance=0.5,
        flatten=0.4,
        gamma=1.0,
        electronic=0.003,
    )


def _image(picture: Picture) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(np.rint(np.clip(picture, 0, 1.3) * TOP_VALUE).astype(np.int16))
    image.SetSpacing((PIXEL_MM, PIXEL_MM))
    return image
