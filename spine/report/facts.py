"""What can be said of the input itself: its grid, the contrast it looks like, the region in view."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from spine import anatomy
from spine.anatomy import Structure
from spine.records import Findings, Grid, LabelledSpine, Quality, Segmentation, Series, Study, Volume
from spine.report.values import clean_text, json_ready, missing, rounded

# Free water is bright on T2 and dark on T1, fatty marrow lies between. The margin keeps proton density and
# failed segmentations out of both classes; it is a choice, not a published threshold.
CONTRAST_MARGIN = 1.15
CONTRAST_RULE = (
    "median intensity inside the spinal canal without the cord, divided by the median inside the vertebral bodies: "
    f"T2-like above {CONTRAST_MARGIN}, T1-like below 1/{CONTRAST_MARGIN}, undetermined between"
)
MIN_VOXELS = 50  # fewer voxels than this say nothing about a tissue's intensity
XRAY_SOCKET = "lateral-spine-xray"
INPUT_LIST, CLINICAL_SOCKET = "inputs.json", "clinical-information-spine"
SHOWN_NAME = 60  # messages cut long names; this much of one is enough to know it again
OPERATED = (
    "the record tells of an earlier operation on the spine: an implant is not always recognised on a film, and beside "
    "metal landmarks may be wrong"
)
NOT_JUDGED = "the quality of the case was not judged"
LONG_RUN = 8  # thoracic vertebrae in view from which a picture of one end is called by both regions

# Facts of the picture, never of the person; whatever else a reader may put into the tags stays out of the outputs.
HARMLESS_TAGS = frozenset(
    {
        "modality",
        "image_type",
        "magnetic_field_strength_t",
        "repetition_time_ms",
        "echo_time_ms",
        "inversion_time_ms",
        "flip_angle_deg",
        "slice_thickness_mm",
        "scanning_sequence",
        "scan_options",
        "photometric",
    }
)


def grid_facts(grid: Grid) -> dict[str, Any]:
    """Size, spacing, origin and direction of a stored grid (LPS, axes i, j, k)."""
    return {
        "size": [int(n) for n in grid.size],
        "spacing_mm": [rounded(s) for s in grid.spacing_mm],
        "origin_mm": [rounded(o) for o in grid.origin_mm],
        "direction": [round(float(d), 6) + 0.0 for d in grid.direction],
    }


def _series_facts(series: Series, purpose: str) -> dict[str, Any]:
    tags = {key: clean_text(value)[:80] for key, value in sorted(series.tags.items()) if key in HARMLESS_TAGS}
    return {
        "slug": clean_text(series.slug),
        "purpose": purpose,
        "size": [int(n) for n in series.grid.size],
        "spacing_mm": [rounded(s) for s in series.grid.spacing_mm],
        "tags": tags,
    }


def contrast_guess(volume: Volume, structures: np.ndarray[Any, np.dtype[np.uint8]]) -> dict[str, Any]:
    """T2-like, T1-like or undetermined, by `CONTRAST_RULE`.

    `structures` is (slice, down, back) with values of anatomy.Structure, on the grid of `volume`.
    """
    fluid = volume.array[structures == Structure.CANAL]
    marrow = volume.array[structures == Structure.BODY]
    if fluid.size < MIN_VOXELS or marrow.size < MIN_VOXELS:
        return missing("too little of the spinal canal or the vertebral bodies is in view")
    fluid_median, marrow_median = float(np.median(fluid)), float(np.median(marrow))
    if not (marrow_median > 0 and np.isfinite(fluid_median)):
        return missing("the vertebral bodies have no signal")
    ratio = fluid_median / marrow_median
    guess = "undetermined"
    if ratio > CONTRAST_MARGIN:
        guess = "T2-like"
    elif ratio < 1 / CONTRAST_MARGIN:
        guess = "T1-like"
    return {"guess": guess, "csf_to_marrow_ratio": rounded(ratio), "rule": CONTRAST_RULE}


def region_in_view(spine: LabelledSpine) -> str | None:
    """Region named by the vertebrae in view: lumbar, thoracic, cervical, two of them joined, whole spine; or None."""
    count = {"lumbar": 0, "thoracic": 0, "cervical": 0}
    for vertebra in spine.vertebrae:
        count[anatomy.region_of(vertebra.label)] += 1
    if count["lumbar"] and count["cervical"]:
        return "whole spine"
    for name, joined in (("lumbar", "thoracolumbar"), ("cervical", "cervicothoracic")):
        if count[name]:
            return joined if count["thoracic"] >= LONG_RUN else name
    return "thoracic" if count["thoracic"] else None


def input_facts(study: Study, volume: Volume, spine: LabelledSpine, quality: Quality | None = None) -> dict[str, Any]:
    """`input` of the report. File names, identifiers and tags outside `HARMLESS_TAGS` never enter it."""
    given = (study.sagittal, study.sagittal_t1, study.axial_t2, study.xray)
    purposes = {
        id(study.sagittal_t1): "end plates and Modic change, beside the segmented series",
        id(study.axial_t2): "muscles and dural sac",
        id(study.xray): "landmarks",
        id(study.primary): "segmented",  # last: it may be the T1
    }
    series = [_series_facts(one, purposes[id(one)]) for one in given if one is not None]
    region = region_in_view(spine)
    return {
        "series": series,
        "grid": grid_facts(study.primary.grid),
        "model_grid": {
            "size": [int(n) for n in volume.array.shape],
            "content": [int(n) for n in volume.content],
            "spacing_mm": [rounded(s) for s in volume.spacing_mm],
        },
        "contrast": contrast_guess(volume, spine.structures),
        "region": region if region is not None else missing("no vertebra was found"),
        "quality": _image_quality(quality),
        "out_of_distribution_score": missing(NOT_JUDGED) if quality is None else rounded(1.0 - quality.spine_prob),
        "clinical": json_ready(study.clinical) if study.clinical else missing("no clinical record was given"),
    }


def _image_quality(quality: Quality | None) -> dict[str, Any]:
    """`score` (predicted Dice of the case, 0..1) and what was measured of the image, by name."""
    if quality is None:
        return missing(NOT_JUDGED)
    score = sum(quality.predicted_dice.values()) / max(len(quality.predicted_dice), 1)
    return {"score": rounded(score), **{name: rounded(value) for name, value in quality.image.items()}}


def without_file_name(flag: str, study: Study) -> str:
    """`flag` with the file or folder that it begins with ('name: what is wrong') replaced by the socket.

    Names of files often hold the patient's; messages on the screen may show them, outputs may not.
    """
    where, separator, what = flag.partition(": ")
    if not separator or where == INPUT_LIST:
        return flag
    for series in (study.sagittal, study.sagittal_t1, study.axial_t2, study.xray):
        if series is not None and series.name and series.name[:SHOWN_NAME] in where:
            return f"{series.slug}: {what}"
    return f"{CLINICAL_SOCKET}: {what}" if "." in where or "/" in where else flag


def quality_facts(
    study: Study, volume: Volume, segmentation: Segmentation, spine: LabelledSpine, findings: Findings
) -> dict[str, Any]:
    """Flags of all stages in their order, without repeats; confidence and predicted Dice of the structures in view.

    `confidence` is the share of a structure's voxels expected to be right: calibrated for vertebra, disc and canal
    where the case was judged, else the network's own mean probability.
    """
    quality = findings.quality
    nameless = [without_file_name(flag, study) for flag in study.flags]
    flags = dict.fromkeys(
        clean_text(flag)
        for flag in (
            *nameless,
            *volume.flags,
            *spine.flags,
            *_doubts(quality),
            *_of_the_film(findings, region_in_view(spine), study.clinical or {}),
            *_of_the_plan(study, spine, findings),
            *(() if findings.muscle is None else findings.muscle.flags),
            *disagreements(findings),
        )
    )
    stated = segmentation.confidence if quality is None else quality.confidence
    return {
        "flags": list(flags),
        "confidence": {clean_text(name): rounded(value) for name, value in stated.items() if np.isfinite(value)},
        "confidence_calibrated": quality is not None,
        "predicted_dice": missing(NOT_JUDGED)
        if quality is None
        else {name: rounded(value) for name, value in quality.predicted_dice.items()},
    }


def _doubts(quality: Quality | None) -> list[str]:
    """Flags of the verdict, then why findings were withheld."""
    if quality is None:
        return []
    subjects: dict[str, list[str]] = {}
    for doubt in quality.doubts:
        subjects.setdefault(doubt.reason, []).append(doubt.subject or "")
    told = {reason: ", ".join(dict.fromkeys(name for name in names if name)) for reason, names in subjects.items()}
    return [*quality.flags, *(f"{names}: {reason}" if names else reason for reason, names in told.items())]


def _of_the_film(findings: Findings, region: str | None, clinical: Mapping[str, Any]) -> list[str]:
    """Flags of the radiograph under the name of its socket; where it is of another region; where metal may be on it."""
    if findings.xray is None:
        return []
    flags = [f"{XRAY_SOCKET}: {flag}" for flag in findings.xray.flags]
    if {findings.xray.region, region} == {"cervical", "lumbar"}:
        flags.append(f"{XRAY_SOCKET}: the film shows the {findings.xray.region} spine, the MR the {region} spine")
    if findings.xray.found and clinical.get("previous_spine_surgery"):
        flags.append(f"{XRAY_SOCKET}: {OPERATED}")
    return flags


def _of_the_plan(study: Study, spine: LabelledSpine, findings: Findings) -> list[str]:
    """A flag where the record names planned levels of a region that neither MR nor film shows."""
    shown = {anatomy.region_of(vertebra.label) for vertebra in spine.vertebrae}
    if findings.xray is not None and findings.xray.region is not None:
        shown.add(findings.xray.region)
    planned = (study.clinical or {}).get("levels_planned")
    if not shown or not isinstance(planned, list | tuple):
        return []
    regions = {"C": "cervical", "T": "thoracic", "L": "lumbar", "S": "lumbar"}
    # Both neighbours count: a level between two regions belongs to either.
    foreign = [level for level in planned if not shown & {regions.get(end[:1]) for end in str(level).split("/")}]
    if not foreign:
        return []
    return [
        f"{CLINICAL_SOCKET}: the record names planned levels ({', '.join(map(str, foreign))}) of a region that the "
        "images do not show: it may be another patient's"
    ]


def image_sha256(series: Series) -> str:
    """Fingerprint of the voxels as stored, so that a report can be matched to its image without naming it."""
    return hashlib.sha256(np.ascontiguousarray(series.array).data).hexdigest()


def disagreements(findings: Findings) -> list[str]:
    """Levels at which a measurement and the grade of the same thing contradict each other, one sentence each."""
    measured = {(m.subject, m.name): m.value for m in findings.measurements}
    lines = []
    for grade in findings.grades:
        slip = measured.get((grade.level, "meyerding_grade"))
        if grade.name != "spondylolisthesis" or slip is None or grade.grade is None:
            continue
        if bool(grade.grade) != (slip >= 1):
            found = "was measured" if slip >= 1 else "was not measured"
            lines.append(f"{grade.level}: a slip of 3 mm or more {found}, the grade says otherwise: look at the image")
    return lines
