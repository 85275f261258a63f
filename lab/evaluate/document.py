"""Results -> one self-contained HTML document: tables, charts, gallery, checklists. No script, nothing from outside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lab.evaluate.charts import bland_altman_chart, case_picture, confusion_chart, dice_chart, outcome_chart, risk_chart
from lab.evaluate.checklist import claim, tripod
from lab.evaluate.derive import case_dice

HERE = Path(__file__).parent
FEW_PATIENTS = 30
MAX_CHARTS = 12
GALLERY_EACH = 2


def write_document(results: dict[str, Any], raw: list[dict[str, Any]], inputs: Any, path: Path) -> None:
    """Write the document of `results`. `inputs` (`run_external.Inputs`) tells where the gallery's files lie."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["show"] = show
    tables = results["tables"]
    text = environment.get_template("document.html.j2").render(
        results=results,
        tables=tables | {"recalibration": tables.get("recalibration")},
        charts=_charts(raw, tables),
        gallery=_gallery(raw, inputs),
        failures=_failures(raw),
        tripod=tripod(results, raw),
        claim=claim(results, raw),
        few=results["patients"] < FEW_PATIENTS,
    )
    path.write_text(text, encoding="utf-8")


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


def _charts(raw: list[dict[str, Any]], tables: dict[str, Any]) -> dict[str, Any]:
    grades: dict[str, list[tuple[int, int]]] = {}
    values: dict[str, list[tuple[float, float]]] = {}
    for case in raw:
        for name, found in (("gradings", grades), ("measurements", values)):
            for row in case.get(name, ()):
                if "prediction" in row:
                    found.setdefault(row["name"], []).append((row["reference"], row["prediction"]))
    risk = tables["risk_coverage"]
    return {
        "dice": dice_chart(raw),
        "confusion": [
            confusion_chart(name, [a for a, _ in pairs], [b for _, b in pairs])
            for name, pairs in list(grades.items())[:MAX_CHARTS]
        ],
        "bland_altman": [
            bland_altman_chart(name, *np.asarray(pairs, float).T) for name, pairs in list(values.items())[:MAX_CHARTS]
        ],
        "outcomes": [outcome_chart(name, curves) for name, curves in tables["outcome_curves"].items()],
        "risk": risk_chart(risk) if "curve" in risk else None,
    }


def _gallery(raw: list[dict[str, Any]], inputs: Any) -> list[dict[str, Any]]:
    """The best, the median and the worst cases by mean Dice over structures; each case once."""
    scored = sorted((case for case in raw if math.isfinite(case_dice(case))), key=case_dice, reverse=True)
    middle = max(0, len(scored) // 2 - GALLERY_EACH // 2)
    wanted = [("best", one) for one in scored[:GALLERY_EACH]]
    wanted += [("worst", one) for one in scored[::-1][:GALLERY_EACH]]
    wanted[GALLERY_EACH:GALLERY_EACH] = [("median", one) for one in scored[middle : middle + GALLERY_EACH]]
    shown: dict[str, dict[str, Any]] = {}
    for title, case in wanted:
        name = case["case"]
        if name not in shown:
            uri = case_picture(inputs.images.get(name), inputs.references[name], inputs.predictions[name])
            shown[name] = {"title": title, "case": name, "dice": case_dice(case), "uri": uri}
    return list(shown.values())


def _failures(raw: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Cases whose masks could not be scored, where any of the cohort could be."""
    failed = [(case["case"], case["masks"]["not_measurable"]) for case in raw if "not_measurable" in case["masks"]]
    return failed if len(failed) < len(raw) else []
