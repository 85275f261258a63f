"""Muscle findings -> their part of the report document, and words and rows of them for the pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spine.anatomy import DISC_LEVELS
from spine.records import MuscleFindings
from spine.report.digest import Document
from spine.report.values import (
    clean_text,
    grade_object,
    is_missing,
    likely_run,
    measurement_object,
    missing,
    run_text,
)
from spine.report.words import Words
from spine.resources import load_schema

NO_AXIAL = (
    "no axial series was given: a sagittal series shows neither the borders between the muscles nor their cross-section"
)
METHOD = (
    "axial slices named by the sagittal series, outlined by a network that was trained on synthetic slices; areas at "
    "right angles to the spine; fat by a mixture of two normal distributions and partly filled pixels, no proton "
    "density fat fraction"
)
MUSCLES = ("multifidus", "erector_spinae", "psoas", "quadratus_lumborum")
BACK_MUSCLES = MUSCLES[:2]  # of which the patient's page speaks
SIDES = ("right", "left")
FATTY_GOUTALLIER = 2  # from here on the patient's page speaks of fat; 20 % of the compartment or more


@dataclass(frozen=True)
class MuscleRow:
    """One muscle of one level as the pages print it; '' and a reason where a side is missing."""

    level: str
    name: str
    cells: tuple[str, ...]  # area right and left, asymmetry, fat right and left, Goutallier right and left
    reasons: tuple[str, ...]  # of what is missing, each once


def muscle_object(muscle: MuscleFindings | None) -> dict[str, Any]:
    """`muscle` of spine-degeneration-report.json: levels from the lowest up, or the reason why there is nothing."""
    if muscle is None or muscle.reason is not None:
        return missing(NO_AXIAL if muscle is None else str(muscle.reason))
    return {
        "method": METHOD,
        "runner": clean_text(muscle.runner) or "none",
        "levels": [
            {
                "level": level,
                "slices": sorted(one.number for one in muscle.slices if one.level == level),
                "measurements": {m.name: measurement_object(m) for m in muscle.measurements if m.subject == level},
                "grades": {g.name: grade_object(g) for g in muscle.grades if g.level == level},
            }
            for level in DISC_LEVELS
            if any(m.subject == level for m in muscle.measurements)
        ],
    }


def muscle_levels(report: Document) -> Sequence[Document]:
    """Levels of the document's `muscle`, lowest first; none where it is missing."""
    found: Sequence[Document] = report["muscle"].get("levels", ())
    return found


def is_measured(report: Document) -> bool:
    """Whether any muscle or dural sac has a value."""
    return any(not is_missing(value) for level in muscle_levels(report) for value in level["measurements"].values())


def muscle_rows(report: Document, words: Words) -> list[MuscleRow]:
    """Rows of the table, highest level first. Levels at which nothing was measured have one row with the reason."""
    rows = []
    for level in reversed(muscle_levels(report)):
        found = [_row(level, muscle, words) for muscle in MUSCLES]
        reasons = {reason for row in found for reason in row.reasons}
        if all(not any(row.cells) for row in found) and len(reasons) == 1:
            rows.append(MuscleRow(level["level"], "", (), tuple(reasons)))
        else:
            rows += [row for row in found if any(row.cells) or not _unseen(row)]
    return rows


def _unseen(row: MuscleRow) -> bool:
    """A muscle that ends above this level is left out of the table; the JSON report says so."""
    return all(reason == "not found on the axial slice" for reason in row.reasons)


def _row(level: Document, muscle: str, words: Words) -> MuscleRow:
    measured, grades = level["measurements"], level["grades"]
    wanted = [
        *((measured[f"{muscle}_{side}_area_mm2"], 0) for side in SIDES),
        (measured[f"{muscle}_area_asymmetry_percent"], 0),
        *((measured[f"{muscle}_{side}_fat_fraction_percent"], 0) for side in SIDES),
    ]
    cells = ["" if is_missing(one) else words.number(one["value"], decimals) for one, decimals in wanted]
    if cells[2]:
        cells[2] = words.number(wanted[2][0]["value"], 0, signed=True)
    graded = [grades[f"{muscle}_{side}_goutallier"] for side in SIDES]
    cells += ["" if is_missing(one) else run_text(*likely_run(one["probabilities"])[:2]) for one in graded]
    reasons = [words.say("muscle.side", side=words.say(f"muscle.{side}"), reason=measured[name]["not_measurable"])
               for side in SIDES
               for name in (f"{muscle}_{side}_area_mm2", f"{muscle}_{side}_fat_fraction_percent")
               if is_missing(measured[name])]  # fmt: skip
    plain = [one["not_measurable"] for one, _ in wanted[:2] if is_missing(one)]
    if len(plain) == 2 and len(set(plain)) == 1:
        reasons = plain  # both sides for the same reason
    return MuscleRow(level["level"], words.name("muscle.names", muscle), tuple(cells), tuple(dict.fromkeys(reasons)))


def sac_lines(report: Document, words: Words) -> list[str]:
    """The dural sac's area of each level, highest first."""
    found = []
    for level in reversed(muscle_levels(report)):
        area = level["measurements"]["dural_sac_area_mm2"]
        shown = (
            words.say("muscle.sac_missing", level=level["level"], reason=area["not_measurable"])
            if is_missing(area)
            else words.say("muscle.sac", level=level["level"], area=words.number(area["value"]))
        )
        found.append(shown)
    return [*found, words.say("muscle.sac_note", relative=_limit("sac_relative"), absolute=_limit("sac_absolute"))]


def _limit(name: str) -> str:
    return f"{load_schema('thresholds.json')['thresholds'][f'axial_{name}_mm2']['value']:g}"


def table_header(words: Words) -> list[str]:
    """Titles of the table's columns, the cells of MuscleRow last."""
    right, left = words.say("muscle.right_short"), words.say("muscle.left_short")
    area, fat, grade = (words.say(f"muscle.column_{name}") for name in ("area", "fat", "goutallier"))
    return [
        words.say("report.column_level"), words.say("muscle.column_muscle"),
        f"{area} {right}", f"{area} {left}", words.say("muscle.column_asymmetry"),
        f"{fat} {right}", f"{fat} {left}", f"{grade} {right}", f"{grade} {left}",
    ]  # fmt: skip


def patient_lines(report: Document, words: Words) -> list[str]:
    """What the patient's page says of the muscles; nothing where none was measured."""
    fatty, judged = [], []
    for level in muscle_levels(report):
        grades = [level["grades"][f"{muscle}_{side}_goutallier"] for muscle in BACK_MUSCLES for side in SIDES]
        known = [one["grade"] for one in grades if not is_missing(one)]
        judged += [level["level"]] * bool(known)
        fatty += [level["level"]] * any(grade >= FATTY_GOUTALLIER for grade in known)
    if not judged:
        return []
    if fatty:
        return [words.say("patient.muscle_fat", levels=words.listing(fatty))]
    return [words.say("patient.muscle_lean", levels=words.listing(judged))]
