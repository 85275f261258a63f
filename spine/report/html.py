"""Report document and pictures -> spine-report.html: one file without network, for physician and patient.

    page = render_html(report.report, study, volume, spine, findings.measurements)

The page may run one script and one style sheet, its own, known by their SHA-256; everything that a stage or a file
wrote is escaped by the template or stands in a JSON block that only that script reads, as text.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from spine.records import LabelledSpine, Measurement, Study, Volume
from spine.report import names
from spine.report.clinical_view import numbering_line, study_lines, table_header, table_note, trend_panels
from spine.report.digest import Document
from spine.report.further import NONE_FURTHER, FurtherPictures
from spine.report.html_lines import SAME_SLICE_MM, drawn_lines, subject_places
from spine.report.html_pictures import (
    LAYERS,
    Frame,
    frame_of,
    home_view,
    layer_box,
    slice_images,
    slice_layers,
    slice_names,
)
from spine.report.html_trends import trend_charts
from spine.report.html_view import (
    Part,
    findings_rows,
    level_parts,
    other_parts,
    patient_page,
    people_of,
)
from spine.report.muscle_html import muscle_section
from spine.report.outcome_view import (
    accelerated_lines,
    method_lines,
    missing_lines,
    no_option_line,
    treatment_options,
)
from spine.report.pdf import PATIENT_LANGUAGES
from spine.report.picture import PALETTE
from spine.report.quality_view import doubt_lines, quality_lines
from spine.report.words import Words, read_words
from spine.report.xray_html import film_section
from spine.resources import RESOURCES

HTML_DIR = RESOURCES / "html"
# Nothing is fetched, nothing is sent, and no text of the report can become a script.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
    "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
)
MIDDLE_MM = 0.5  # a slice closer than this to the middle one is called the middle


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _caption(frame: Frame, number: int, words: Words) -> str:
    """'Slice 9 of 18 from the patient's right, 4 mm to the left of the middle.'"""
    volume, offset_mm = frame.volume, frame.offset_mm(frame.shown[number])
    side = "middle" if abs(offset_mm) < MIDDLE_MM else "left" if offset_mm > 0 else "right"
    return words.say(
        "html.slice_value",
        slice=frame.stored[number] + 1,
        count=volume.source.size[volume.axes[0]],
        side=words.say(f"html.slice_{side}", mm=words.number(abs(offset_mm), 1)),
    )


def _slices(study: Study, spine: LabelledSpine, frame: Frame, words: Words) -> list[dict[str, Any]]:
    parts = zip(slice_images(study.primary, frame), slice_layers(spine, frame), slice_names(spine, frame), strict=True)
    return [
        {
            "image": image,
            "layers": layers,
            "names": marks,
            "offset_mm": round(frame.offset_mm(frame.shown[number]), 1),
            "caption": _caption(frame, number, words),
        }
        for number, (image, layers, marks) in enumerate(parts)
    ]


def _labelled_lines(lines: Mapping[str, Mapping[str, Any]], parts: Iterable[Part]) -> dict[str, list[dict[str, Any]]]:
    """Lines of each subject in the order of its table, with the name and value that the table shows."""
    return {
        part.subject: [
            {
                **lines[part.subject][row.key],
                "key": row.key,
                "name": row.name,
                "value": row.value,
                "text": row.value.removesuffix(" mm"),  # on the picture; the list below it has the unit
            }
            for row in part.measurements
            if row.line
        ]
        for part in parts
    }


def _viewer(study: Study, spine: LabelledSpine, frame: Frame, words: Words) -> dict[str, Any]:
    width_mm, height_mm = frame.size_mm
    return {
        "width_mm": round(width_mm, 3),
        "height_mm": round(height_mm, 3),
        "home": home_view(spine, frame),
        "layer_box_mm": [round(value, 3) for value in layer_box(frame)],
        "layers": list(LAYERS),
        "slices": _slices(study, spine, frame, words),
        "middle": frame.middle,
        "same_slice_mm": SAME_SLICE_MM,
    }


def _legend(words: Words) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """(layer, its name, [(colour, structure)]) of every layer."""
    return [
        (
            layer,
            words.say(f"html.layers.{layer}"),
            [("#{:02x}{:02x}{:02x}".format(*PALETTE[s]), words.name("names.structures", s.name)) for s in members],
        )
        for layer, members in LAYERS.items()
    ]


def _thinned(frame: Frame, words: Words) -> str:
    stored = frame.volume.source.size[frame.volume.axes[0]]
    return words.say("html.thinned", shown=len(frame.stored), count=stored) if len(frame.stored) < stored else ""


def _physician(report: Document, words: Words) -> dict[str, Any]:
    """Parts of the physician's page that need no picture."""
    options = treatment_options(report, words)
    line, doubtful = numbering_line(report, words)
    return {
        "study": study_lines(report, words),
        "numbering": line,
        "doubtful": doubtful,
        "image_doubt": " ".join(doubt_lines(report, words)),
        "header": table_header(report, words),
        "rows": findings_rows(report, words),
        "table_note": table_note(report, words),
        "trends": trend_charts(trend_panels(report, words), words),
        "trends_note": words.say("html.trends_note", z=words.number(names.UNUSUAL_Z)),
        "options": people_of(options),
        "with_people": any(option.expected is not None for option in options),
        "no_option": no_option_line(report, words),
        "caveats": [words.told(caveat) for caveat in report["advice"]["caveats"]],
        "accelerated": accelerated_lines(report, words),
        "missing": missing_lines(report, words),
        "quality": quality_lines(report, words),
        "methods": method_lines(report, words),
        "footer": words.say("report.footer", version=report["software"]["version"]),
    }


def render_html(
    report: Document,
    study: Study,
    volume: Volume,
    spine: LabelledSpine,
    measurements: Iterable[Measurement],
    language: str = "en",
    further: FurtherPictures = NONE_FURTHER,
) -> bytes:
    """The page as UTF-8; equal arguments give equal bytes.

    Args:
        report: spine-degeneration-report.json, finished: all words and numbers come from it.
        study: for the slices of its primary series as they were stored.
        volume: the same series on the model's grid.
        spine: structures and names on the grid of `volume`.
        measurements: for the ends of their lines (LPS mm); the values shown are those of `report`.
        language: of the physician's part; the patient's page comes in `PATIENT_LANGUAGES`.
        further: radiograph and axial slice, where they were given.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    words, frame = read_words(language), frame_of(volume, spine)
    lines = drawn_lines(measurements, frame)
    levels, others = level_parts(report, lines, words), other_parts(report, lines, words)
    viewer = _viewer(study, spine, frame, words)
    viewer["lines"] = _labelled_lines(lines, (*levels, *others))
    viewer["places"] = subject_places(spine, frame, lines)
    viewer["order"] = [part.subject for part in levels]
    style, script = ((HTML_DIR / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    environment = Environment(
        loader=FileSystemLoader(HTML_DIR),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        language=language,
        policy=POLICY.format(style=_digest(style), script=_digest(script)),
        style=Markup(style),  # our own files: nothing of the case is in them
        script=Markup(script),
        say=words.say,
        viewer=viewer,
        legend=_legend(words),
        thinned=_thinned(frame, words),
        levels=levels,
        others=others,
        film=film_section(report, further.film, words),
        muscle=muscle_section(report, further.axial, words),
        patients=[(code, other, patient_page(report, other)) for code, other in _patient_words()],
        **_physician(report, words),
    )
    return page.encode("utf-8")


def _patient_words() -> list[tuple[str, Words]]:
    return [(code, read_words(code)) for code in PATIENT_LANGUAGES]
