"""The story: nine calls from the input to the outputs, over models that are loaded once."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spine.conform import conform_study, restore
from spine.cord import read_cord
from spine.export import export_report, settle_extras
from spine.fuse import fuse_findings
from spine.fuse.adjacent import with_adjacent
from spine.fuse.patient import caution
from spine.grade import grade_levels, second_flags
from spine.label import label_levels
from spine.measure import measure_levels
from spine.memory import require_memory
from spine.muscle import measure_muscles, support_stenosis
from spine.neck import read_neck
from spine.quality import (
    QualityModel,
    judge_quality,
    judge_sizes,
    read_quality,
    stated_numbering,
    withhold_grades,
    withhold_measurements,
)
from spine.records import (
    Findings,
    Grade,
    LabelledSpine,
    MuscleFindings,
    Quality,
    Report,
    RunFacts,
    Segmentation,
    Study,
    Volume,
    XrayFindings,
)
from spine.report import compose_report
from spine.report.facts import image_sha256
from spine.runners import Runner, WhenNeeded, open_runner
from spine.segment import segment_volume
from spine.settings import Settings, read_settings
from spine.write import write_outputs
from spine.xray import analyse_radiograph, unused_film

STAGES = (
    "read",
    "conform",
    "xray",
    "segment",
    "label",
    "neck",
    "cord",
    "restore",
    "judge",
    "measure",
    "grade",
    "muscle",
    "fuse",
    "report",
    "export",
    "write",
)


@dataclass(frozen=True)
class Models:
    """Everything learnt, loaded once and applied to many cases."""

    settings: Settings
    segmenter: Runner
    neck: Runner  # opened when the first neck comes
    cord: Runner  # as the neck
    grader: Runner
    quality: QualityModel
    xray: Runner  # opened when the first radiograph comes
    axial: Runner  # opened when the first axial series comes
    folder: Path

    def read(self, volume: Volume) -> tuple[Segmentation, LabelledSpine]:
        """Segment and label `volume`, a neck twice; its cord is left to read_cord, which needs the stored series."""
        first = segment_volume(volume, self.segmenter, self.settings.segmenter)
        return read_neck(volume, first, label_levels(first, volume), self.neck, self.settings.segmenter)


@dataclass
class Clock:
    """Wall seconds of each stage of one case."""

    progress: Callable[[str], None] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    stage: str = "read"

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time `stage`, and tell `progress` that it starts."""
        self.stage = stage
        if self.progress is not None:
            self.progress(stage)
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)


def open_models(model_dir: Path, runner: str = "auto") -> Models:
    """Load what `model_dir` holds. `runner` is one of runners.CHOICES.

    Raises:
        ModelError: settings or a network are missing, damaged or not the ones that belong together.
    """
    settings = read_settings(model_dir)
    segmenter = open_runner(model_dir / settings.segmenter.file, settings.segmenter.sha256, runner)
    # The grader takes a few milliseconds: less than the way to a GPU and back.
    grader = open_runner(model_dir / settings.grader.file, settings.grader.sha256, "cpu")
    xray = WhenNeeded(model_dir / settings.xray.file, settings.xray.sha256)
    axial = WhenNeeded(model_dir / settings.axial.file, settings.axial.sha256)
    neck = WhenNeeded(model_dir / settings.neck.file, settings.neck.sha256, runner)
    cord = WhenNeeded(model_dir / settings.cord.file, settings.cord.sha256)
    return Models(settings, segmenter, neck, cord, grader, read_quality(model_dir, settings), xray, axial, model_dir)


def run(
    read: Callable[[], Study],
    models: Models,
    output_dir: Path,
    progress: Callable[[str], None] | None = None,
    prior: Callable[[], Mapping[str, Any]] | None = None,
    extras: Set[str] = frozenset(),
) -> Report:
    """One case, from `read` to the files in `output_dir`: all of them, or none and a SpineError.

    `prior` reads the report of an earlier study of the same patient. `extras` names what is written beside the
    outputs: see export.settle_extras.
    """
    settings, clock = models.settings, Clock(progress)
    with clock("read"):
        wanted, study = settle_extras(extras, read())
        earlier = prior() if prior is not None else None
    with clock("conform"):
        volume = conform_study(study, settings.grid)
        require_memory(volume.array.size)
    with clock("xray"):
        film = _film(study, models)
    segmentation, spine, neck = _read(volume, models, clock)
    with clock("cord"):
        spine = read_cord(study.primary, volume, spine, models.cord)
    with clock("restore"):
        mask = restore(spine, segmentation, volume)
    with clock("judge"):
        quality, spine = _judge(study, volume, segmentation, spine, models)
    with clock("measure"):
        found = measure_levels(spine, volume, study.clinical)
        quality = judge_sizes(quality, found, study.clinical)
        measurements = withhold_measurements(found, quality.doubts)
    with clock("grade"):
        second = study.sagittal_t1 if study.sagittal is not None else None  # T1 beside the T2
        graded = grade_levels(volume, spine, found, models.grader, second)
        grades = withhold_grades(graded, quality.doubts, measurements)
    with clock("muscle"):
        muscle, grades = _muscles(study, spine, volume, models, quality, grades)
    with clock("fuse"):
        digest = image_sha256(study.primary) if earlier is not None else None
        fused = fuse_findings(measurements, grades, study.clinical, settings.fusion, models.folder, earlier, digest)
        beside = with_adjacent(fused, measurements, grades, study.clinical, film)
        advice = caution(beside, study.record_doubt)
    with clock("report"):
        facts = RunFacts(
            models=_used(settings, (neck, spine.cord is not None, bool(film and film.runner), bool(study.axial_t2))),
            runner=segmentation.runner,
            seconds=dict(clock.seconds),
            peak_memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        )
        findings = Findings(measurements, grades, advice, _flagged(quality, graded), film, muscle)
        report = compose_report(study, volume, segmentation, spine, findings, facts, "html" in wanted)
    with clock("export"):
        objects = export_report(report, mask, study.primary, wanted)
    with clock("write"):
        write_outputs(report, mask, study, output_dir, objects)
    return report


def _read(volume: Volume, models: Models, clock: Clock) -> tuple[Segmentation, LabelledSpine, bool]:
    """As Models.read, timed, and whether the neck was read again."""
    settings = models.settings.segmenter
    with clock("segment"):
        first = segment_volume(volume, models.segmenter, settings)
    with clock("label"):
        spine = label_levels(first, volume)
    with clock("neck"):
        segmentation, spine = read_neck(volume, first, spine, models.neck, settings)
    return segmentation, spine, segmentation is not first


def _judge(
    study: Study, volume: Volume, segmentation: Segmentation, spine: LabelledSpine, models: Models
) -> tuple[Quality, LabelledSpine]:
    """How far the answer can be trusted, and `spine` with what that says of its numbering."""
    quality = judge_quality(study.primary, volume, segmentation, spine, models.quality, models.read)
    return quality, replace(spine, numbering=stated_numbering(spine.numbering, quality.doubts))


def _flagged(quality: Quality, graded: tuple[Grade, ...]) -> Quality:
    """`quality` with what grading found out about the series."""
    return replace(quality, flags=(*second_flags(graded), *quality.flags))


def _film(study: Study, models: Models) -> XrayFindings | None:
    """What the radiograph shows, None without one; one that could not be read says why."""
    if study.xray is not None:
        return analyse_radiograph(study.xray, models.xray, models.settings.xray)
    reason = study.unused.get("lateral-spine-xray")
    return None if reason is None else unused_film(reason)


def _muscles(
    study: Study, spine: LabelledSpine, volume: Volume, models: Models, quality: Quality, grades: tuple[Grade, ...]
) -> tuple[MuscleFindings | None, tuple[Grade, ...]]:
    """What the axial series shows, None without one, and the grades with what it adds to their evidence."""
    if study.axial_t2 is None:
        reason = study.unused.get("axial-t2-spine-mri")
        return (None if reason is None else MuscleFindings(reason=reason)), grades
    found = measure_muscles(study.axial_t2, spine, volume, models.axial, models.settings.axial, quality.doubts)
    return found, support_stenosis(grades, found)


def _used(settings: Settings, entered: tuple[bool, ...]) -> dict[str, str]:
    """File -> digest of what was learnt and entered this case; `entered`: neck, cord, film, muscle."""
    seldom = ((p.file, p.sha256) for p in (settings.neck, settings.cord, settings.xray, settings.axial))
    always = ((p.file, p.sha256) for p in (settings.segmenter, settings.grader, settings.quality))
    return dict([*always, *(part for part, used in zip(seldom, entered, strict=True) if used)])
