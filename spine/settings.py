"""Frozen settings read from model/settings.json. An unknown or missing key is an error."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from spine.errors import ModelError


@dataclass(frozen=True)
class GridSettings:
    """The model's grid."""

    pixel_mm: float  # in-plane spacing
    slice_mm_min: float  # slices closer than this are thinned by a whole factor
    multiple: int  # rows and columns are padded to a multiple of this
    max_voxels: int  # refuse series with more voxels


@dataclass(frozen=True)
class SegmenterSettings:
    """The segmentation network."""

    file: str
    sha256: str
    neighbours: int  # slices on either side that enter as channels
    batch: int  # slices in one call of the runner


@dataclass(frozen=True)
class NeckSettings:
    """The network that reads necks again; same input and classes as the segmenter."""

    file: str
    sha256: str


@dataclass(frozen=True)
class CordSettings:
    """The network of the cord's cross-sections."""

    file: str
    sha256: str


@dataclass(frozen=True)
class GraderSettings:
    """The grading network."""

    file: str
    sha256: str


@dataclass(frozen=True)
class AxialSettings:
    """Group `axial`: the network of axial slices."""

    file: str
    sha256: str
    pixel_mm: float  # of its slices


@dataclass(frozen=True)
class XraySettings:
    """Group `xray`: the landmark network of lateral radiographs, and what its peaks mean."""

    file: str
    sha256: str
    pixel_mm: float  # of its canvas
    visible_prob_min: float  # a lower peak is no landmark
    error_floor_mm: float  # standard deviation of a landmark along one axis under the surest, narrowest peak
    error_doubt_mm: float  # ... added as the peak falls from 1 to 0
    error_spread: float  # ... added for each millimetre that the blob is wider than `spread_mm`
    spread_mm: float  # standard deviation of the blob of a sure landmark
    names_bias: float  # logit of the probability that the vertebrae's names are right (spine.xray.names)
    names_margin: float  # ... added for each natural logarithm by which they beat names a level off
    names_step: float  # ... for each natural logarithm by which one step of the chain is too long
    names_counted: float  # ... added where they could be counted from C2 or the sacrum
    names_prob_min: float  # a lower probability puts the names in doubt


@dataclass(frozen=True)
class QualitySettings:
    """Group `quality`: the learnt models of doubt and their thresholds, written by lab.evaluate.run_quality."""

    file: str
    sha256: str
    refuse_below_prob: float  # P(readable spine) below which the input is refused
    flag_below_prob: float  # ... below which the report is flagged
    flag_below_dice: float  # predicted Dice of the case below which the report is flagged
    withhold_below_dice: float  # predicted Dice of a structure below which its findings are not measurable


@dataclass(frozen=True)
class FusionSettings:
    """Group `fusion` of the settings; the defaults are meant for a hospital that has no cohort of its own yet."""

    # Success rate of the pain programme (ODI of 22 or less after a year). 0.501: ODI of 20 or less, 848 patients of the
    # programme that the odds ratios come from (doi 10.1302/1358-992X.96BSUPP_4.SBPR2013-029) [V]. null: abstain.
    programme_success_prob: float | None = 0.501
    programme_success_is_local: bool = False  # true once the rate above is the reader's own
    transfer_allowance: float = 1.0  # times the doubt in resources/outcome_models.json 'transfer'; 0 = none
    cohort_z_limit: float = 2.5  # predictors farther from the cohort's mean, in its standard deviations, warn and widen
    known_share_min: float = 0.5  # abstain when fewer of the predictors, weighed by their variance, are known
    interval_width_max: float = 0.5  # abstain when the 90 % interval is wider
    accelerated_years: float = 10.0  # disc age above chronological age by this much counts as accelerated
    # Spread of disc age at a given age: between the root mean square errors of effective disc age in people without
    # pain, 10 years at L1 to L5 and 14 at L5/S1 (Newman 2025, doi 10.1007/s00586-025-08729-9) [V].
    disc_age_sd_years: float = 12.0
    finding_correlation: float = 0.3  # of the findings of one spine at a given age; our choice [M-lo]
    findings_min: int = 3  # findings that must be graded before a disc age is given
    # Standard deviation of the change of one disc height between two MR studies: changes under 1.66 mm cannot be told
    # from error at 95 % (mean of anterior and posterior height, Boos 1996, Spine 21:563) [V].
    height_change_sd_mm: float = 0.85


@dataclass(frozen=True)
class Settings:
    """Everything that belongs to the learnt part and may change without a change of code."""

    version: str
    grid: GridSettings
    segmenter: SegmenterSettings
    neck: NeckSettings
    cord: CordSettings
    grader: GraderSettings
    quality: QualitySettings
    fusion: FusionSettings
    xray: XraySettings
    axial: AxialSettings


def _build(kind: type, data: Any, where: str) -> Any:
    names = {f.name for f in fields(kind)}
    if not isinstance(data, dict) or set(data) != names:
        found = sorted(data) if isinstance(data, dict) else type(data).__name__
        raise ModelError(f"{where}: expected exactly the keys {sorted(names)}, found {found}.")
    return kind(**data)


def read_settings(model_dir: Path) -> Settings:
    """Read `model_dir`/settings.json; raises ModelError when it is missing, damaged or has other keys."""
    path = model_dir / "settings.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: the model's settings cannot be read ({error}).") from error
    settings = _build(Settings, data, str(path))
    return Settings(
        version=settings.version,
        grid=_build(GridSettings, settings.grid, f"{path}: grid"),
        segmenter=_build(SegmenterSettings, settings.segmenter, f"{path}: segmenter"),
        neck=_build(NeckSettings, settings.neck, f"{path}: neck"),
        cord=_build(CordSettings, settings.cord, f"{path}: cord"),
        grader=_build(GraderSettings, settings.grader, f"{path}: grader"),
        quality=_build(QualitySettings, settings.quality, f"{path}: quality"),
        fusion=_build(FusionSettings, settings.fusion, f"{path}: fusion"),
        xray=_build(XraySettings, settings.xray, f"{path}: xray"),
        axial=_build(AxialSettings, settings.axial, f"{path}: axial"),
    )
