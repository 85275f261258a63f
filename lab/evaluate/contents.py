"""What the validation document says, block by block; `document.html.j2` and `document_pdf` only set it on a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.evaluate.charts import Chart
from lab.evaluate.checklist import claim, tripod

FEW_PATIENTS = 30
Columns = Sequence[tuple[str, str]]  # key of the row, title
MASKS: Columns = (
    ("structure", "structure"), ("measure", "measure"), ("n", "n"), ("not_measured", "not measured"), ("mean", "mean"),
    ("sd", "SD"), ("median", "median"), ("q1", "quartile 1"), ("q3", "quartile 3"), ("worst", "worst"),
)  # fmt: skip
DETECTION: Columns = (
    ("instances", "levels"), ("reference", "in reference"), ("found", "found"), ("sensitivity", "sensitivity"),
    ("extra", "extra"), ("precision", "precision"),
)  # fmt: skip
NUMBERING: Columns = (("what", "numbering"), ("n", "n"), ("share", "share"))
INSTANCES: Columns = (
    ("instances", "levels that were found"), ("measure", "measure"), ("n", "n"), ("not_measured", "not measured"),
    ("mean", "mean"), ("sd", "SD"), ("median", "median"), ("worst", "worst"),
)  # fmt: skip
GRADINGS: Columns = (
    ("name", "grade"), ("n", "levels"), ("patients", "patients"), ("affected", "affected"),
    ("not_measured", "not measured"), ("kappa", "kappa"), ("kappa_quadratic", "kappa, quadratic"),
    ("balanced_accuracy", "balanced accuracy"), ("auc", "AUC"),
)  # fmt: skip
MEASUREMENTS: Columns = (
    ("name", "measurement"), ("n", "n"), ("not_measured", "not measured"), ("icc", "ICC(2,1)"), ("bias", "bias"),
    ("lower_limit", "lower limit"), ("upper_limit", "upper limit"), ("mean_absolute_error", "mean absolute error"),
)  # fmt: skip
OUTCOMES: Columns = (
    ("treatment", "treatment"), ("outcome", "outcome"), ("n", "n"), ("events", "events"),
    ("not_measured", "not measured"), ("auc", "AUC"), ("calibration_intercept", "intercept"),
    ("calibration_slope", "slope"), ("brier", "Brier"), ("expected_over_observed", "E/O"),
)  # fmt: skip
RECALIBRATED: Columns = (("measure", "measure"), ("before", "before"), ("after", "after"))
SUBGROUPS: Columns = (
    ("variable", "variable"), ("group", "group"), ("structure", "structure"), ("n", "n"), ("patients", "patients"),
    ("dice_mean", "mean Dice"), ("dice_worst", "worst"),
)  # fmt: skip
SPIDER: Columns = (
    ("score", "score"), ("n", "n"), ("not_measured", "not measured"), ("mean", "mean"), ("sd", "SD"),
)  # fmt: skip


@dataclass(frozen=True)
class Heading:
    """Title of a section."""

    text: str
    level: int = 2
    kind: str = "heading"


@dataclass(frozen=True)
class Note:
    """A paragraph; `style` is 'text', 'note' (small) or 'banner'."""

    text: str
    style: str = "text"
    kind: str = "note"


@dataclass(frozen=True)
class Table:
    """Cells as a person reads them; the first column and `words` are set to the left."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: tuple[bool, ...]
    kind: str = "table"


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side, each with its name and a caption ('' for none)."""

    pictures: tuple[tuple[Chart, str, str], ...]
    kind: str = "pictures"


Block = Heading | Note | Table | Pictures


def show(row: Mapping[str, Any], key: str) -> str:
    """The cell `key` of `row` as a person reads it: three decimals, the interval behind it, or why there is none."""
    value = row.get(key, "")
    if isinstance(value, dict):
        return f"not measurable: {value['not_measurable']}"
    if not isinstance(value, float):
        return str(value)
    low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
    if isinstance(low, int | float) and isinstance(high, int | float):
        return f"{value:.3f} ({low:.3f} to {high:.3f})"
    return f"{value:.3f}"


def table(rows: Sequence[Mapping[str, Any]], columns: Columns) -> Table:
    """`rows` with the `columns` of each."""
    words = tuple(bool(rows) and isinstance(rows[0].get(key), str) for key, _ in columns)
    cells = tuple(tuple(show(row, key) for key, _ in columns) for row in rows)
    return Table(tuple(title for _, title in columns), cells, words)


def contents(
    results: Mapping[str, Any],
    raw: list[dict[str, Any]],
    charts: Mapping[str, Any],
    gallery: Sequence[Mapping[str, Any]],
) -> list[Block]:
    """The whole document. `charts` by name and `gallery` as `lab.evaluate.document` draws them."""
    tables = results["tables"]
    return [
        *_head(results),
        *_masks(results, charts),
        *_readings(tables, charts),
        *_outcomes(tables, charts),
        *_doubts(results, charts),
        *_cases(raw, gallery),
        *_checklists(results, raw),
    ]


def _head(results: Mapping[str, Any]) -> Iterator[Block]:
    yield Heading(results["title"], 1)
    strays = "".join(
        f" {count} rows of the {name} table belong to none of these cases and were left out."
        for name, count in results["rows_of_no_case"].items()
        if count
    )
    yield Note(
        f"{results['cases']} cases of {results['patients']} patients. Intervals in brackets are 95 % bootstrap "
        "intervals over patients. Everything here is derived from the files in raw/; the same tables lie beside this "
        f"document as CSV and JSON.{strays}"
    )
    few = f" {results['patients']} patients are few: read the intervals, not the means."
    warning = "Research use only: not a medical device."
    yield Note(warning + (few if results["patients"] < FEW_PATIENTS else ""), "banner")


def _masks(results: Mapping[str, Any], charts: Mapping[str, Any]) -> Iterator[Block]:
    tables, maps = results["tables"], results["label_maps"]
    if not tables["masks"]:
        return
    yield Heading("Masks")
    yield Note(
        "Dice 0 where one of the two masks is empty; distances are then not measured and counted as such. Where both "
        "are empty nothing is measured. NSD: share of both borders within the tolerance. A structure is scored over "
        f"all its levels together. Label maps: reference {maps['reference']}, predictions {maps['prediction']}.",
        "note",
    )
    yield table(tables["masks"], MASKS)
    if charts["dice"]:
        yield Pictures(((charts["dice"], "Dice by structure", ""),))
    yield Heading("Detection and numbering of levels")
    if not tables["detection"]:
        yield Note("Not measurable: the reference does not tell levels apart.")
        return
    yield Note(
        "A level is found when one predicted level fits it with Dice of at least 0.1, one to one, whatever its name. "
        "Partly visible vertebrae are not counted.",
        "note",
    )
    for name, columns in (("detection", DETECTION), ("numbering", NUMBERING), ("instances", INSTANCES)):
        if tables[name]:
            yield table(tables[name], columns)


def _readings(tables: Mapping[str, Any], charts: Mapping[str, Any]) -> Iterator[Block]:
    if tables["gradings"]:
        yield Heading("Gradings")
        text = "AUC: of a grade from which on a level counts as affected (Pfirrmann 4, Modic 1, findings: present)."
        yield Note(text, "note")
        yield table(tables["gradings"], GRADINGS)
        yield Pictures(tuple((chart, "confusion matrix", "") for chart in charts["confusion"]))
    if tables["measurements"]:
        yield Heading("Measurements")
        text = (
            "ICC(2,1): absolute agreement, single measurements. Bias: ours minus reference; limits of agreement 95 %."
        )
        yield Note(text, "note")
        yield table(tables["measurements"], MEASUREMENTS)
        yield Pictures(tuple((chart, "Bland-Altman plot", "") for chart in charts["bland_altman"]))


def _outcomes(tables: Mapping[str, Any], charts: Mapping[str, Any]) -> Iterator[Block]:
    if tables["outcomes"]:
        yield Heading("Outcomes")
        yield Note("One row a patient: of several cases of a patient the first with a probability counts.", "note")
        yield table(tables["outcomes"], OUTCOMES)
        yield Pictures(tuple((chart, "calibration and decision curve", "") for chart in charts["outcomes"]))
    for name, study in (tables.get("recalibration") or {}).items():
        yield Heading(f"Recalibrated: {name}", 3)
        if "not_measurable" in study:
            yield Note(f"Not measurable: {study['not_measurable']}.")
            continue
        yield Note(
            f"{study['how']} Fitted on {study['fitted_on']} patients, reported on the other {study['reported_on']}."
        )
        rows = [
            {"measure": key, "before": show(study["before"][key], "value"), "after": show(study["after"][key], "value")}
            for key in study["before"]
        ]
        yield table(rows, RECALIBRATED)


def _doubts(results: Mapping[str, Any], charts: Mapping[str, Any]) -> Iterator[Block]:
    tables = results["tables"]
    if tables["subgroups"]:
        yield Heading("Subgroups")
        yield table(tables["subgroups"], SUBGROUPS)
    risk = tables["risk_coverage"]
    if tables["masks"]:
        yield Heading("Confidence and abstention")
        if "not_measurable" in risk:
            yield Note(f"Not measurable: {risk['not_measurable']}.")
        else:
            yield Note(
                "Mean error of the cases that would be kept if the least confident were left out "
                f"({risk['confidence']}; {risk['n']} cases). Area under the curve {show(risk, 'area')}; without any "
                f"order {show(risk, 'area_of_no_order')} (dashed).",
                "note",
            )
            yield Pictures(((charts["risk"], "risk-coverage curve", ""),))
    if tables["spider_leaderboard"]:
        exchanged = (
            ": slice step and in-plane step exchanged, as there; the surface distances are comparable with the "
            "leaderboard and with nothing else"
        )
        spacing = results["spider_spacing"]
        yield Heading("Scores of the SPIDER leaderboard")
        yield Note(
            f"Rules of the public evaluation, voxel spacing {spacing}{exchanged if spacing == 'published' else ''}. "
            "Wrong numbering costs nothing there, and missed structures do not enter the mean Dice of their group.",
            "note",
        )
        yield table(tables["spider_leaderboard"], SPIDER)


def _cases(raw: list[dict[str, Any]], gallery: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    if gallery:
        yield Heading("Best, median and worst cases")
        yield Note(
            "Green: reference. Magenta: prediction. The sagittal slice with most reference in it; anterior left, "
            "superior on top.",
            "note",
        )
        yield Pictures(
            tuple(
                (g["chart"], g["title"], f"{g['title']}: case {g['case']}, mean Dice {g['dice']:.3f}") for g in gallery
            )
        )
    failed = [(case["case"], case["masks"]["not_measurable"]) for case in raw if "not_measurable" in case["masks"]]
    if failed and len(failed) < len(raw):  # where none could be scored there were no masks to score
        yield Heading("Cases without a mask result")
        yield Table(("case", "reason"), tuple(failed), (True, True))


def _checklists(results: Mapping[str, Any], raw: list[dict[str, Any]]) -> Iterator[Block]:
    yield Heading("TRIPOD+AI")
    yield Note(
        "Filled with what the software knows; the rest is for the authors. Topics in our words: use the original form.",
        "note",
    )
    yield Table(("item", "topic", "known here"), tuple(tripod(dict(results), raw)), (True, True, True))
    yield Heading("CLAIM: what imaging adds")
    yield Table(("topic", "known here"), tuple(claim(dict(results), raw)), (True, True))
