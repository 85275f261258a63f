"""7 Fuse measurements and grades with the clinical record: outcome of each treatment, and accelerated degeneration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from spine.fuse.bayes import imaging_features, read_fusion
from spine.fuse.degeneration import degeneration
from spine.fuse.findings import by_level, region_in_view, region_of_level
from spine.fuse.options import Case, caveats, treatment_options
from spine.fuse.progression import other_person, progression
from spine.fuse.published import published_models
from spine.fuse.record import Record, read_record
from spine.fuse.wording import plain
from spine.records import Advice, Grade, Measurement
from spine.settings import FusionSettings

__all__ = ["fuse_findings"]

SUGGESTIONS = {  # finding -> what the physician is asked about, by region
    "lumbar": {
        "herniation": "disc_herniation",
        "stenosis": "spinal_stenosis",
        "spondylolisthesis": "segmental_back_pain",
    },
    "cervical": {"herniation": "cervical_radiculopathy", "stenosis": "cervical_radiculopathy"},
}
MISMATCH = (
    "Check the patient: {mismatch}. Treatment options go by the record, disc age by the images; together they mean "
    "nothing until this is settled."
)
DOUBTFUL_AGE = "{mismatch}: the age of the record may be another patient's"
SUGGEST_PROB = 0.5  # a finding is asked about from this probability on


def fuse_findings(
    measurements: tuple[Measurement, ...],
    grades: tuple[Grade, ...],
    clinical: Mapping[str, Any] | None,
    settings: FusionSettings,
    model_dir: Path | None = None,
    prior_report: Mapping[str, Any] | None = None,
    image_sha256: str | None = None,
) -> Advice:
    """What each treatment may bring this patient, and whether the spine is older than its owner.

    Args:
        measurements: of this study; z-scores of disc levels are carried into the score.
        grades: of this study; all may be not measurable, then the degeneration part abstains.
        clinical: the clinical record (resources/clinical.schema.json) or None.
        settings: thresholds and local facts.
        model_dir: where fusion.json lies if a local cohort was fitted.
        prior_report: spine-degeneration-report.json of an earlier study, with `interval_years` added by the caller.
        image_sha256: of the voxels of this study; an earlier report of the very same image gives no progression.

    Raises:
        BadClinicalRecord: a value of `clinical` is not allowed.
        ModelError: fusion.json is damaged.
    """
    record = read_record(clinical)
    in_view = region_in_view(measurements, grades)
    mismatch = region_mismatch(record.region, in_view)
    record = replace(record, warnings=(*record.warnings, *mismatch))
    region = record.region or in_view
    case = Case(
        record=record,
        region=region,
        imaging=imaging_features(grades, region) if region else {},
        published=published_models(settings),
        local=read_fusion(model_dir),
        settings=settings,
    )
    age = record.known.get("age_years")
    doubt = DOUBTFUL_AGE.format(mismatch=mismatch[0]) if mismatch else None
    likelihood, score = degeneration(grades, in_view, None if age is None else float(age), settings, doubt)
    score["levels"] = z_scores(measurements)
    if prior_report is not None:
        score["progression"] = progression(measurements, grades, prior_report, settings, image_sha256, clinical)
    options = treatment_options(case)
    return Advice(
        indication=record.indication,
        options=options,
        caveats=(
            *(MISMATCH.format(mismatch=text) for text in mismatch),
            *other_person(score.get("progression")),
            *caveats(options),
            *indication_questions(grades, record, region),
        ),
        degeneration=likelihood,
        score=score,
    )


def region_mismatch(stated: str | None, in_view: str | None) -> tuple[str, ...]:
    """One phrase when the record speaks of another region than the images show: either may be another patient's."""
    if stated is None or in_view is None or stated == in_view:
        return ()
    return (f"the record speaks of the {stated} spine, the images show the {in_view} spine",)


def z_scores(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Per disc level the z-scores that were measured: standard deviations from the reference mean."""
    levels: dict[str, dict[str, float]] = {}
    for measurement in measurements:
        if measurement.z is not None and region_of_level(measurement.subject):
            levels.setdefault(measurement.subject, {})[measurement.name] = round(measurement.z, 2)
    return [{"level": level, "z": z} for level, z in levels.items()]


def indication_questions(grades: Sequence[Grade], record: Record, region: str | None) -> tuple[str, ...]:
    """Findings that may be an indication, as questions to the physician; they never enter an equation."""
    questions = []
    for finding, indication in SUGGESTIONS.get(region or "", {}).items():
        levels = by_level(grades, {"grades": [finding]}, region or "")
        level, probability = max(levels.items(), key=lambda item: item[1], default=("", 0.0))
        if probability >= SUGGEST_PROB and indication != record.indication:
            named = f"the record names {plain(record.indication)}" if record.indication else "the record names none"
            questions.append(
                f"Question to the physician: the images suggest {finding} at {level} (probability {probability:.2f}). "
                f"Is {plain(indication)} the indication? {named[0].upper()}{named[1:]}; the images do not decide it."
            )
    return tuple(questions)
