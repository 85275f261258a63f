"""Facts: the frozen records that pass between stages. Arrays inside are never written to after construction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOT_IMPLEMENTED = "not implemented"
Z_90 = 1.645  # standard deviations on either side that hold 90 % of a normal distribution


@dataclass(frozen=True)
class Grid:
    """Where an image lies in the patient: LPS millimetres, axes i, j, k as SimpleITK states them."""

    size: tuple[int, int, int]  # voxels along i, j, k
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    direction: tuple[float, ...]  # 9 numbers, row-major; column a is the unit vector of axis a

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4): index (i, j, k, 1) -> LPS millimetres."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(self.direction, (3, 3)) * np.asarray(self.spacing_mm)
        matrix[:3, 3] = self.origin_mm
        return matrix


@dataclass(frozen=True)
class Series:
    """One image series as it was stored. `array` has axes (k, j, i), SimpleITK's numpy order."""

    slug: str  # socket, for example 'sagittal-spine-mri'
    name: str  # original file or folder name, for messages only
    array: NDArray[Any]
    grid: Grid
    tags: Mapping[str, str] = field(default_factory=dict)  # harmless DICOM facts: modality, field strength, ...
    files: tuple[Path, ...] = ()  # DICOM files it was read from, one a slice in the order of k; empty for other kinds
    frames: tuple[int, ...] = ()  # where one enhanced DICOM file holds them all: its frame at each k, from 0
    stacks: tuple[Grid, ...] = ()  # several stacks in one axial series, in the order of k; empty where `grid` holds all
    foreign_frame: bool = False  # its frame of reference is not that of the segmented series


@dataclass(frozen=True)
class Study:
    """What the user gave: at least one sagittal MR series, the rest optional."""

    sagittal: Series | None
    sagittal_t1: Series | None = None
    axial_t2: Series | None = None
    xray: Series | None = None
    clinical: Mapping[str, Any] | None = None  # validated against resources/clinical.schema.json
    flags: tuple[str, ...] = ()
    unused: Mapping[str, str] = field(default_factory=dict)  # socket -> why a series that was given is left out
    record_doubt: str | None = None  # a phrase, where the record contradicts the header: it may be another patient's

    @property
    def primary(self) -> Series:
        """The sagittal series that is segmented: the T2 (or any-contrast) socket, else the T1 socket."""
        series = self.sagittal if self.sagittal is not None else self.sagittal_t1
        if series is None:
            raise ValueError("a Study holds at least one sagittal series")
        return series


@dataclass(frozen=True)
class Volume:
    """The primary series on the model's grid.

    `array` is float32 with axes (slice, down, back): slices run towards the patient's left, rows towards
    the feet, columns towards the back (anterior is on the left of a picture, superior on top). Intensities
    are scaled by percentiles of the body to about 0..1. Padding at the high end of rows and columns is
    outside `content` and is zero.
    """

    array: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]  # (slice, down, back)
    content: tuple[int, int, int]  # voxels along (slice, down, back) that hold image, the rest is padding
    affine: NDArray[np.float64]  # (4, 4): index (slice, down, back, 1) -> LPS millimetres
    source: Grid
    axes: tuple[int, int, int]  # stored axis (0 = i, 1 = j, 2 = k) that became slice, down, back
    flips: tuple[bool, bool, bool]  # whether (slice, down, back) run against the stored axis
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Segmentation:
    """The network's answer on the model's grid."""

    probabilities: NDArray[np.float16]  # (structure, slice, down, back), sums to 1 over structures
    structures: NDArray[np.uint8]  # (slice, down, back), argmax: values of anatomy.Structure
    confidence: Mapping[str, float]  # structure name -> mean probability inside it, 0..1
    runner: str  # what ran the network, for example 'OpenVINO CPU, f32'


@dataclass(frozen=True)
class Vertebra:
    """One vertebra of the labelled spine."""

    label: int  # 1..24
    name: str  # 'L5'
    partial: bool  # cut by the border of the image
    centre: tuple[float, float, float]  # body centroid, index (slice, down, back)
    body_voxels: int
    confidence: float  # 0..1


@dataclass(frozen=True)
class Disc:
    """One intervertebral disc of the labelled spine."""

    label: int  # 201..223
    level: str  # 'L5/S1'
    centre: tuple[float, float, float]
    voxels: int
    confidence: float


@dataclass(frozen=True)
class Numbering:
    """How the levels got their names."""

    method: str  # 'sacrum', 'axis' (C2), 'sacrum and axis', 'sizes' (no anchor in view), 'none'
    probability: float  # of the chosen numbering, 0..1
    alternatives: tuple[tuple[str, float], ...]  # (name that the lowest vertebra would have, probability)
    doubt: str | None  # one sentence when the numbering is uncertain


@dataclass(frozen=True)
class CordMap:
    """The cord on cross-sections of the canal, finer than the model's grid across.

    Millimetres are indices of the model's grid (slice, down, back) times its spacing.
    """

    probability: NDArray[np.float32]  # (section, across, back), 0 where a section tells no cord
    cut: NDArray[np.bool_]  # (section,) whether the series ends where the cord would be: none is told then
    middle_mm: NDArray[np.float64]  # (section, 3): slice, down, back of the middle of each section
    step_mm: float  # of the samples across and to the back
    runner: str  # what ran the network


@dataclass(frozen=True)
class LabelledSpine:
    """Instances with level names, on the model's grid."""

    mask: NDArray[np.uint8]  # (slice, down, back): 1..24, 101..124, 100, 201..223
    structures: NDArray[np.uint8]  # (slice, down, back): the cleaned network classes, bodies apart from arches
    vertebrae: tuple[Vertebra, ...]  # lowest first
    discs: tuple[Disc, ...]  # lowest first
    numbering: Numbering
    flags: tuple[str, ...] = ()
    read_again: frozenset[int] = frozenset()  # labels of the vertebrae that the network of the neck outlined
    cord: CordMap | None = None  # where a neck is in view; `structures` has it on the model's grid


@dataclass(frozen=True)
class Measurement:
    """One number with unit and origin, or the reason why there is none."""

    subject: str  # 'L5/S1' (disc level), 'L5' (vertebra), 'alignment', 'canal', 'muscle'
    name: str  # ends in its unit: 'disc_height_middle_mm'
    value: float | None
    unit: str  # UCUM: 'mm', 'mm2', 'deg', '%', '1'
    z: float | None = None
    percentile: float | None = None
    reference: str | None = None
    not_measurable: str | None = None
    points_mm: tuple[tuple[float, float, float], ...] = ()  # LPS end points of the line(s) measured, for drawing
    interval_90: tuple[float, float] | None = None  # where the error of measuring is known


@dataclass(frozen=True)
class Grade:
    """One finding of one level, or the reason why it is not graded."""

    level: str
    name: str  # 'pfirrmann', 'modic', 'upper_endplate', ...
    grade: int | bool | None
    probabilities: tuple[float, ...] = ()
    confidence: float | None = None
    evidence: tuple[str, ...] = ()
    not_measurable: str | None = None


@dataclass(frozen=True)
class Advice:
    """What fusion with the clinical record says; JSON-ready parts of the three outcome files."""

    indication: str | None
    options: tuple[Mapping[str, Any], ...]  # of spine-treatment-outcome-prediction.json
    caveats: tuple[str, ...]
    degeneration: Mapping[str, Any]  # of accelerated-degeneration-likelihood.json
    score: Mapping[str, Any] = field(default_factory=dict)  # 'degeneration' of the report: score, disc age, percentile
    adjacent: Mapping[str, Any] = field(default_factory=dict)  # of the neck: levels next to a planned operation


@dataclass(frozen=True)
class Doubt:
    """Why findings are withheld."""

    subject: str | None  # 'L4/L5' (level), 'L4' (body), 'canal' (whole); None: wherever the structure is used
    structure: str | None  # 'vertebra', 'disc', 'canal', 'cord'; None: every structure of the subject
    reason: str


@dataclass(frozen=True)
class Quality:
    """How far the image and the answer can be trusted."""

    spine_prob: float  # that the image shows a spine which the network can read
    image: Mapping[str, float]  # what was measured of the image; quantities end in their unit
    predicted_dice: Mapping[str, float]  # 'vertebra', 'disc', 'canal' -> Dice that a reference would give
    confidence: Mapping[str, float]  # the same structures -> calibrated share of voxels that are right
    flags: tuple[str, ...]
    doubts: tuple[Doubt, ...]


@dataclass(frozen=True)
class FilmPoint:
    """One landmark of a radiograph, or the reason why it is not used."""

    vertebra: str  # 'C5'
    point: str  # of spine.xray.landmarks: 'superior_anterior', ...
    prob: float | None = None
    error_mm: float | None = None  # standard deviation along one axis, millimetres of the film
    pixel: tuple[float, float] | None = None  # (row, column) of the stored film
    place: tuple[float, float] | None = None  # (down, back) pixels of XrayFindings.picture
    reason: str | None = None


@dataclass(frozen=True)
class XrayFindings:
    """What was found on a lateral radiograph. Subjects are levels, vertebrae and 'xray alignment'.

    Sizes on radiographs and on MR differ systematically: nothing here is ever pooled with the MR's.
    """

    measurements: tuple[Measurement, ...]
    grades: tuple[Grade, ...]
    flags: tuple[str, ...]
    landmarks: tuple[FilmPoint, ...]
    picture: NDArray[np.uint8]  # (down, back), anterior left, bone bright
    picture_mm: float  # size of its pixels, on the film
    pixel_plane: str  # where its millimetres hold: 'patient', 'detector', 'not stated'; 'none': there are none
    doubt: str | None = None  # one sentence about those millimetres
    region: str | None = None  # 'cervical' or 'lumbar'
    facing: str | None = None  # side of the stored film that the patient's front is on: 'left' or 'right'
    negated: bool = False  # bone is dark in the values as they were read
    runner: str = ""
    reason: str | None = None  # why no spine was found, where none was
    names_prob: float | None = None  # that no vertebra bears the name of another level; None where none was found

    @property
    def found(self) -> bool:
        """Whether landmarks of a spine were found."""
        return self.reason is None


@dataclass(frozen=True)
class AxialSlice:
    """One axial slice that was measured. Rows run towards the back, columns towards the patient's left."""

    level: str  # 'L4/L5'
    number: int  # of the stored slice, from 1, in the order of storage
    grey: NDArray[np.float32]  # (down, across), about 0..1 in the body
    labels: NDArray[np.uint8]  # (down, across): values of anatomy.AxialStructure, cleaned
    left: NDArray[np.bool_]  # (down, across): left of the line through vertebra and dural sac
    pixel_mm: float
    tilt_deg: float  # between the slice and the plane at right angles to the spine
    offset_mm: float  # of the slice from the middle of the disc, positive towards the head


@dataclass(frozen=True)
class MuscleFindings:
    """What was found on an axial series. Subjects are levels ('L4/L5')."""

    measurements: tuple[Measurement, ...] = ()
    grades: tuple[Grade, ...] = ()  # '<muscle>_<side>_goutallier'
    slices: tuple[AxialSlice, ...] = ()
    flags: tuple[str, ...] = ()
    runner: str = ""
    reason: str | None = None  # why no muscle was measured at any level, where none was


@dataclass(frozen=True)
class Findings:
    """What was found in the images of one case and what it means."""

    measurements: tuple[Measurement, ...]
    grades: tuple[Grade, ...]
    advice: Advice
    quality: Quality | None = None  # None: not judged
    xray: XrayFindings | None = None  # None: no radiograph was given
    muscle: MuscleFindings | None = None  # None: no axial series was given


@dataclass(frozen=True)
class RunFacts:
    """How the answer was made."""

    models: Mapping[str, str]  # file name -> sha256
    runner: str
    seconds: Mapping[str, float]  # stage -> wall seconds
    peak_memory_mb: float


@dataclass(frozen=True)
class Report:
    """Everything that is written: three JSON documents, ready for their schemas, and the page."""

    report: Mapping[str, Any]  # spine-degeneration-report.json
    degeneration: Mapping[str, Any]  # accelerated-degeneration-likelihood.json
    outcome: Mapping[str, Any]  # spine-treatment-outcome-prediction.json
    pdf: bytes  # spine-report.pdf
    html: bytes = b""  # spine-report.html, empty where it was not asked for
