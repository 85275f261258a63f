"""Stage 8: everything that was found -> Report (three JSON documents and the page)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import spine as package
from spine import anatomy
from spine.records import (
    NOT_IMPLEMENTED,
    Advice,
    Findings,
    Grade,
    LabelledSpine,
    Measurement,
    Numbering,
    Report,
    RunFacts,
    Segmentation,
    Study,
    Volume,
)
from spine.report import names
from spine.report.facts import image_sha256, input_facts, quality_facts
from spine.report.further import further_pictures
from spine.report.muscle_view import muscle_object
from spine.report.values import (
    clean_text,
    grade_object,
    is_missing,
    json_ready,
    measurement_object,
    missing,
    rounded,
)
from spine.report.xray_view import xray_object

REPORT_VERSION = "1.0"  # of the document's shape: resources/spine-degeneration-report.schema.json
NO_DISC = "no disc was found at this level"
INTENDED_USE = "Research use only: not a medical device."
LIKELIHOOD_KEYS = (
    "likelihood", "interval_90", "disc_age_years", "disc_age_interval_90", "without_images", "threshold_years"
)  # fmt: skip


def _by_subject(measurements: Iterable[Measurement]) -> dict[str, dict[str, Any]]:
    subjects: dict[str, dict[str, Any]] = {}
    for measurement in measurements:
        subjects.setdefault(measurement.subject, {})[clean_text(measurement.name)] = measurement_object(measurement)
    return subjects


def _with_expected(found: Mapping[str, Any], expected: Iterable[str], reason: str = NOT_IMPLEMENTED) -> dict[str, Any]:
    """The expected names first, in their order, missing for `reason` if so, then whatever else was measured."""
    return {**{name: missing(reason) for name in expected}, **found}


def _grades_of(level: str, grades: Iterable[Grade], reason: str) -> dict[str, Any]:
    found = {grade.name: grade_object(grade) for grade in grades if grade.level == level and grade.name in names.GRADES}
    return _with_expected(found, names.GRADES, reason)


def level_objects(spine: LabelledSpine, findings: Findings) -> list[dict[str, Any]]:
    """`levels` from the lowest up: every disc in view, and every level that another stage speaks of."""
    measured = _by_subject(findings.measurements)
    confidence = {disc.level: rounded(disc.confidence) for disc in spine.discs}
    spoken_of = {*confidence, *measured, *(grade.level for grade in findings.grades)}
    return [
        {
            "level": level,
            "disc_label": anatomy.disc_label(level),
            "confidence": confidence.get(level, missing("the disc was not seen")),
            "measurements": _with_expected(measured.get(level, {}), names.DISC_MEASUREMENTS),
            "grades": _grades_of(level, findings.grades, NOT_IMPLEMENTED if level in confidence else NO_DISC),
        }
        for level in anatomy.DISC_LEVELS
        if level in spoken_of
    ]


def vertebra_objects(spine: LabelledSpine, findings: Findings) -> list[dict[str, Any]]:
    """`vertebrae` from the lowest up."""
    measured = _by_subject(findings.measurements)
    return [
        {
            "name": vertebra.name,
            "label": vertebra.label,
            "partial": vertebra.partial,
            "confidence": rounded(vertebra.confidence),
            "measurements": _with_expected(
                measured.get(vertebra.name, {}),
                names.ATLAS_MEASUREMENTS if vertebra.label == anatomy.LAST_VERTEBRA else names.VERTEBRA_MEASUREMENTS,
            ),
        }
        for vertebra in sorted(spine.vertebrae, key=lambda v: v.label)
    ]


def numbering_object(numbering: Numbering) -> dict[str, Any]:
    """`numbering`: method, probability, alternatives by the name of the lowest vertebra, doubt ('none' without one)."""
    return {
        "method": clean_text(numbering.method),
        "probability": rounded(numbering.probability),
        "alternatives": [
            {"lowest_vertebra": clean_text(name), "probability": rounded(prob)} for name, prob in numbering.alternatives
        ],
        "doubt": clean_text(numbering.doubt) if numbering.doubt else "none",
    }


def _option_object(option: Mapping[str, Any]) -> dict[str, Any]:
    """One treatment option with every key of the interface; without a probability it abstains and says why."""
    given = json_ready(option)
    reason = given.get("reason") or ("not stated" if given.get("abstained") else NOT_IMPLEMENTED)
    probability, interval = given.get("probability"), given.get("interval_90")
    silent = not isinstance(probability, int | float) or not isinstance(interval, list)
    abstained = bool(given.get("abstained")) or silent
    filled = {
        "treatment": given.get("treatment") or NOT_IMPLEMENTED,
        "outcome": given.get("outcome") or NOT_IMPLEMENTED,
        "horizon_months": _or_missing(given.get("horizon_months"), NOT_IMPLEMENTED),
        "probability": missing(reason) if abstained else probability,
        "interval_90": missing(reason) if abstained else interval,
        "model": _or_missing(given.get("model"), NOT_IMPLEMENTED),
        "missing": given.get("missing") or [],
        "abstained": abstained,
        "reason": reason if abstained else (given.get("reason") or "none"),
    }
    return {**given, **filled}


def _or_missing(value: Any, reason: str) -> Any:
    return missing(reason) if value is None else value


def outcome_document(advice: Advice) -> dict[str, Any]:
    """spine-treatment-outcome-prediction.json."""
    adjacent = {"adjacent_segments": json_ready(advice.adjacent)} if advice.adjacent else {}
    return {
        "indication": clean_text(advice.indication) if advice.indication else missing("no indication was given"),
        "options": [_option_object(option) for option in advice.options],
        "caveats": json_ready(advice.caveats),
        **adjacent,
    }


def likelihood_document(advice: Advice) -> dict[str, Any]:
    """accelerated-degeneration-likelihood.json: without a likelihood and its interval it abstains and says why."""
    given = json_ready(advice.degeneration)
    reason = given.get("reason") or NOT_IMPLEMENTED
    values = {key: _or_missing(given.get(key), reason) for key in LIKELIHOOD_KEYS}
    abstained = bool(given.get("abstained")) or is_missing(values["likelihood"]) or is_missing(values["interval_90"])
    if abstained:
        values |= {key: values[key] if is_missing(values[key]) else missing(reason) for key in LIKELIHOOD_KEYS[:2]}
    said = reason if abstained else (given.get("reason") or "none")
    film = {"film": given["film"]} if "film" in given else {}
    return {**values, "abstained": abstained, "reason": said, **film}


def _abstentions(degeneration: Mapping[str, Any], outcome: Mapping[str, Any]) -> list[dict[str, str]]:
    found = [
        {"what": f"{option['treatment']}, {option['outcome']}", "reason": option["reason"]}
        for option in outcome["options"]
        if option["abstained"]
    ]
    if degeneration["abstained"]:
        found.insert(0, {"what": "likelihood of accelerated degeneration", "reason": degeneration["reason"]})
    return found


def _software(run: RunFacts) -> dict[str, Any]:
    return {
        "name": "spine",
        "version": package.__version__,
        "models": {clean_text(name): clean_text(digest) for name, digest in sorted(run.models.items())},
        "runner": clean_text(run.runner),
        "seconds": {clean_text(stage): round(float(seconds), 3) for stage, seconds in run.seconds.items()},
        "peak_memory_mb": round(float(run.peak_memory_mb), 1),
    }


def _references(document: Mapping[str, Any]) -> list[str]:
    """What the z-scores were taken against; other references only say how a value was defined."""
    groups = [part["measurements"] for part in (*document["levels"], *document["vertebrae"])]
    groups += [document["alignment"], document["canal"]]
    found = (value for group in groups for value in group.values() if not is_missing(value))
    return sorted({value["reference"] for value in found if not is_missing(value["z"])})


def report_document(
    study: Study, volume: Volume, segmentation: Segmentation, spine: LabelledSpine, findings: Findings, run: RunFacts
) -> dict[str, Any]:
    """spine-degeneration-report.json, ready for its schema."""
    measured = _by_subject(findings.measurements)
    likelihood, outcome = likelihood_document(findings.advice), outcome_document(findings.advice)
    score = {key: _or_missing(value, NOT_IMPLEMENTED) for key, value in json_ready(findings.advice.score).items()}
    more = {key: value for key, value in json_ready(findings.advice.degeneration).items() if key not in likelihood}
    document: dict[str, Any] = {
        "version": REPORT_VERSION,
        "software": _software(run),
        "input": input_facts(study, volume, spine, findings.quality),
        "numbering": numbering_object(spine.numbering),
        "levels": level_objects(spine, findings),
        "vertebrae": vertebra_objects(spine, findings),
        "alignment": _with_expected(measured.get("alignment", {}), names.ALIGNMENT_MEASUREMENTS),
        "canal": _with_expected(measured.get("canal", {}), names.CANAL_MEASUREMENTS),
        "muscle": muscle_object(findings.muscle),
        "degeneration": {**_with_expected(score, names.DEGENERATION), "accelerated": {**likelihood, **more}},
        "xray": xray_object(findings.xray),
        "quality": {
            **quality_facts(study, volume, segmentation, spine, findings),
            "abstentions": _abstentions(likelihood, outcome),
        },
        "advice": outcome,
    }
    document["provenance"] = {
        "intended_use": INTENDED_USE,
        "image_sha256": image_sha256(study.primary),
        "references": _references(document),
    }
    return document


def compose_report(
    study: Study,
    volume: Volume,
    segmentation: Segmentation,
    spine: LabelledSpine,
    findings: Findings,
    run: RunFacts,
    html: bool = False,
) -> Report:
    """Compose all documents of one case, the HTML page only where `html` asks for it.

    Needs nothing but its arguments; equal arguments give equal bytes.
    """
    from spine.report.pdf import render_pdf
    from spine.report.picture import draw_picture

    document = report_document(study, volume, segmentation, spine, findings, run)
    further = further_pictures(findings)
    page = b""
    if html:
        from spine.report.html import render_html

        page = render_html(document, study, volume, spine, findings.measurements, further=further)
    return Report(
        report=document,
        degeneration=likelihood_document(findings.advice),
        outcome=document["advice"],
        pdf=render_pdf(document, draw_picture(volume, spine), further=further),
        html=page,
    )
