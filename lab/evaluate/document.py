"""Results -> one document, as self-contained HTML (no script, nothing from outside) and as PDF for print."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lab.evaluate.charts import bland_altman_chart, case_picture, confusion_chart, dice_chart, outcome_chart, risk_chart
from lab.evaluate.contents import contents
from lab.evaluate.derive import case_dice
from lab.evaluate.document_pdf import write_pdf

HERE = Path(__file__).parent
MAX_CHARTS = 12
GALLERY_EACH = 2


def write_document(results: dict[str, Any], raw: list[dict[str, Any]], inputs: Any, folder: Path) -> None:
    """Write report.html and report.pdf of `results` into `folder`.

    `inputs` (`run_external.Inputs`) tells where the gallery's files lie.
    """
    blocks = contents(results, raw, _charts(raw, results["tables"]), _gallery(raw, inputs))
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    text = environment.get_template("document.html.j2").render(title=results["title"], blocks=blocks)
    (folder / "report.html").write_text(text, encoding="utf-8")
    write_pdf(blocks, results["title"], folder / "report.pdf")


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
            chart = case_picture(inputs.images.get(name), inputs.references[name], inputs.predictions[name])
            shown[name] = {"title": title, "case": name, "dice": case_dice(case), "chart": chart}
    return list(shown.values())
