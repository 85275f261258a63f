"""Cases for the report, drawn by hand: rounded boxes for bodies and discs along a curved canal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from spine import anatomy
from spine.anatomy import Structure
from spine.records import (
    Advice,
    Disc,
    Findings,
    Grade,
    Grid,
    LabelledSpine,
    Measurement,
    Numbering,
    RunFacts,
    Segmentation,
    Series,
    Study,
    Vertebra,
    Volume,
)

PIXEL_MM = 1.0
STEP = 36  # rows from one body to the next
FILE_NAME = "JANSEN_19610203_4711.mha"  # must never reach an output


@dataclass(frozen=True)
class Case:
    """The six arguments of compose_report."""

    study: Study
    volume: Volume
    segmentation: Segmentation
    spine: LabelledSpine
    findings: Findings
    run: RunFacts

    def arguments(self) -> tuple[Any, ...]:
        return (self.study, self.volume, self.segmentation, self.spine, self.findings, self.run)

    def but(self, **changes: Any) -> Case:
        return replace(self, **changes)


def _paint(structures: np.ndarray, count: int, lowest: int, slices: int) -> tuple[list[Vertebra], list[Disc]]:
    """Fill `structures` from below and return the instances, lowest first."""
    rows, columns = structures.shape[1:]
    down, back = np.mgrid[:rows, :columns]
    sway = 14 * np.sin(np.linspace(0, np.pi * 1.3, rows))[:, None]
    canal = np.abs(back - (columns * 0.56 + sway)) < 8
    canal[rows - 30 :] = False
    inner = slice(max(slices // 2 - 2, 0), slices // 2 + 3)
    structures[inner, canal] = Structure.CANAL
    vertebrae, discs = [], []
    for number in range(count):
        middle = rows - 75 - number * STEP
        label = lowest + number
        axis = columns * 0.56 + float(sway[middle, 0]) - 26
        body = (np.abs(down - middle) < 12) & (np.abs(back - axis) < 16)
        disc = (np.abs(down - middle - STEP / 2) < 4.5) & (np.abs(back - axis) < 15)
        spinous = (np.abs(down - middle - 6) < 6) & (np.abs(back - axis - 50) < 12)
        for mask, structure in ((body, Structure.BODY), (disc, Structure.DISC), (spinous, Structure.POSTERIOR)):
            structures[inner, mask] = structure
        centre = (slices // 2, float(middle), axis)
        name = anatomy.vertebra_name(label)
        vertebrae.append(Vertebra(label, name, number == count - 1, centre, int(body.sum()), 0.95))
        if label < anatomy.LAST_VERTEBRA:
            level = anatomy.disc_level(anatomy.DISC_OFFSET + label)
            place = (slices // 2, middle + STEP / 2, axis)
            discs.append(Disc(anatomy.DISC_OFFSET + label, level, place, int(disc.sum()), 0.97 - 0.01 * number))
    if count and lowest == 1:
        sacrum = (np.abs(down - (rows - 38)) < 12) & (np.abs(back - columns * 0.56 + 14) < 16)
        structures[inner, sacrum] = Structure.S1
    return vertebrae, discs


def build_case(count: int = 8, lowest: int = 1, slices: int = 9, t1: bool = False) -> Case:
    """A case of `count` vertebrae from label `lowest` upward, T2-like unless `t1`; nothing measured, nothing graded."""
    rows, columns = max(STEP * count + 100, 64), 220
    structures = np.zeros((slices, rows, columns), np.uint8)
    vertebrae, discs = _paint(structures, count, lowest, slices)
    grey = np.full(256, 0.25, np.float32)
    fluid, marrow = (0.2, 0.7) if t1 else (0.95, 0.45)
    for structure, value in ((Structure.CANAL, fluid), (Structure.BODY, marrow), (Structure.DISC, 0.3)):
        grey[structure] = value
    grey[Structure.S1], grey[Structure.POSTERIOR] = marrow, marrow
    noise = np.random.default_rng(7).normal(0, 0.05, structures.shape)
    array = np.clip(grey[structures] + noise, 0, None).astype(np.float32)
    grid = Grid((columns, rows, slices), (PIXEL_MM, PIXEL_MM, 4.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    stored = (array * 1000).astype(np.int16)
    study = Study(Series("sagittal-spine-mri", FILE_NAME, stored, grid, {"modality": "MR", "patient_name": "Jansen"}))
    volume = Volume(array, (4.0, PIXEL_MM, PIXEL_MM), (slices, rows, columns), np.eye(4), grid, (2, 1, 0), (False,) * 3)
    confidence = {"BODY": 0.95, "DISC": 0.93, "CANAL": 0.96} if count else {}
    one_hot = np.zeros((len(Structure), 1, 1, 1), np.float16)
    segmentation = Segmentation(one_hot, structures, confidence, "OpenVINO CPU, f32")
    numbering = Numbering("sacrum", 0.97, (("L4", 0.02), ("L6", 0.01)), None)
    if not count:
        numbering = Numbering("none", 0.0, (), "nothing was found")
    spine = LabelledSpine(structures, structures, tuple(vertebrae), tuple(discs), numbering)
    advice = Advice(None, (), (), {"likelihood": None, "abstained": True, "reason": "not implemented"})
    run = RunFacts({"segmenter.onnx": "ab" * 32}, "OpenVINO CPU, f32", {"read": 0.1, "segment": 3.2}, 812.34)
    return Case(study, volume, segmentation, spine, Findings((), (), advice), run)


def measured(case: Case) -> Findings:
    """Plausible measurements of every level: heights fall and the canal narrows towards the bottom; some with z."""
    found = []
    for number, disc in enumerate(case.spine.discs):
        share = number / max(len(case.spine.discs) - 1, 1)
        values = {
            "disc_height_anterior_mm": (8 + 3 * share, "mm", None),
            "disc_height_middle_mm": (5.234 + 4.5 * share, "mm", -2.6 + 3 * share),
            "disc_height_posterior_mm": (4 + 2 * share, "mm", None),
            "disc_height_index": (0.18 + 0.2 * share, "1", None),
            "disc_csf_signal_ratio": (0.12 + 0.4 * share, "1", -1.9 + 2 * share),
            "canal_ap_diameter_mm": (9.4 + 6 * share, "mm", -2.2 + 2 * share),
            "slip_mm": (-0.4 + 4.1 * (number == 1), "mm", None),
            "slip_percent": (1.2, "%", None),
        }
        for name, (value, unit, z) in values.items():
            source = "Synthetic 2026" if z is not None else None
            found.append(Measurement(disc.level, name, value, unit, z=z, reference=source))
    if case.spine.discs:
        top = case.spine.discs[-1].level
        found.append(Measurement(top, "wedge_deg", None, "deg", not_measurable="cut by the border of the image"))
        found.append(
            Measurement(top, "canal_ap_diameter_mm", None, "mm", not_measurable="cut by the border of the image")
        )
    return replace(case.findings, measurements=tuple(found))


def graded(case: Case, findings: Findings) -> Findings:
    """Every grade of every level: the lower, the more worn."""
    grades = []
    for number, disc in enumerate(case.spine.discs):
        pfirrmann = max(5 - number, 2)
        grades.append(Grade(disc.level, "pfirrmann", pfirrmann, (0.01, 0.04, 0.1, 0.25, 0.6), 0.6, ("height index",)))
        grades.append(Grade(disc.level, "modic", 2 if number == 0 else 0, (0.2, 0.05, 0.7, 0.05), 0.7))
        for name in ("upper_endplate", "lower_endplate", "spondylolisthesis", "herniation", "narrowing", "bulging"):
            present = number < 2 and name in ("herniation", "narrowing", "bulging")
            grades.append(Grade(disc.level, name, present, (0.8 if present else 0.1,), 0.8))
        grades.append(Grade(disc.level, "stenosis", None, not_measurable="the canal is cut by the image border"))
    return replace(findings, grades=tuple(grades))


OPTION = {
    "treatment": "surgery",
    "outcome": "satisfied",
    "horizon_months": 12,
    "probability": 0.7433,
    "interval_90": [0.66, 0.82],
    "model": "Swespine lumbar disc herniation, satisfaction (Fritzell 2022)",
    "missing": ["smoker", "duration_leg_pain"],
    "abstained": False,
    "reason": None,
    "evidence": {"origin": "local cohort on a published prior", "n": 109, "performance": "AUC 0.70 [V]"},
}


def advised(findings: Findings) -> Findings:
    """Two predicted options, one abstention, and a likelihood of accelerated degeneration."""
    options = (
        OPTION,
        {**OPTION, "outcome": "pain_gone_or_much_better", "probability": 0.61, "interval_90": [0.5, 0.7]},
        {
            **OPTION,
            "treatment": "pain_programme",
            "outcome": "odi_22_or_less",
            "probability": None,
            "interval_90": None,
            "abstained": True,
            "reason": "the local success rate is not known",
        },
    )
    degeneration = {
        "likelihood": 0.82,
        "interval_90": [0.55, 0.95],
        "disc_age_years": 63.4,
        "disc_age_interval_90": [48, 79],
        "abstained": False,
        "reason": None,
    }
    caveats = ("Models fitted on operated patients do not give the effect of operating.",)
    score = {"score": 0.71, "disc_age_years": 63.4, "percentile_for_age": 88.0}
    return replace(findings, advice=Advice("disc_herniation", options, caveats, degeneration, score))


def full_case(count: int = 8, lowest: int = 1) -> Case:
    """Everything measured, graded and advised, for a woman of 54."""
    case = build_case(count, lowest)
    clinical = {"age_years": 54, "sex": "female", "indication": "disc_herniation", "odi_percent": 45}
    return case.but(findings=advised(graded(case, measured(case))), study=replace(case.study, clinical=clinical))


@pytest.fixture
def make_case() -> Callable[..., Case]:
    return build_case


@pytest.fixture
def make_full_case() -> Callable[..., Case]:
    return full_case


@pytest.fixture
def measure_case() -> Callable[[Case], Findings]:
    return measured
