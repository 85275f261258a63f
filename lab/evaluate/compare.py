"""Two evaluations of the same cases against each other: new weights against old, ours against another method.

    python -m lab.evaluate.compare NEW_OUTPUT OLD_OUTPUT --output DIR [--margin 0.01]

Both folders are outputs of `run_external` on the same references; only cases that both measured are compared. For each
metric: mean of the paired differences with its interval over patients, the Wilcoxon signed-rank test (two-sided), and
the one-sided test that the new one is not worse by more than `--margin` (in the metric's own unit). p-values are of the
means of patients, Holm-corrected over the metrics of one kind. Differences are counted so that positive is better.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from scipy.stats import wilcoxon
from statsmodels.stats.multitest import multipletests

from lab.evaluate.agreement import bootstrap_by_patient
from lab.evaluate.contents import show
from lab.evaluate.derive import MEASURES, NOT_DEFINED, cell
from lab.evaluate.run_external import read_raw

Row = dict[str, Any]
MIN_PATIENTS = 6  # with fewer a two-sided signed-rank test cannot reach p < 0.05
COLUMNS = ("structure", "measure", "n", "patients", "new", "old", "difference", "p", "p_holm", "p_not_worse")
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Comparison</title><style>
body{font:15px/1.45 system-ui,sans-serif;max-width:66rem;margin:2rem auto}table{border-collapse:collapse}

td,th{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:right}td:first-child,
th:first-child{text-align:left}
</style></head><body><h1>Comparison</h1>
<p>New: <b>{{ new }}</b>. Old: <b>{{ old }}</b>. {{ cases }} cases in both.
Differences are paired, positive where the new one is better; intervals are 95 % bootstrap intervals over patients.
p: Wilcoxon signed-rank test of patients, two-sided; p (Holm): corrected over all rows; p (not worse): one-sided, the
new one being worse by {{ margin }} or more.</p><table><tr>{% for c in columns %}<th>{{ c.replace("_", " ") }}</th>
{% endfor %}</tr>{% for row in rows %}<tr>{% for c in columns %}<td>{{ row | show(c) }}</td>{% endfor %}</tr>
{% endfor %}</table><h2>Cases that changed most</h2><table>
<tr><th>case</th><th>structure</th><th>new</th><th>old</th></tr>
{% for one in changed %}<tr><td>{{ one.case }}</td><td>{{ one.structure }}</td><td>{{ "%.3f" % one.new }}</td>
<td>{{ "%.3f" % one.old }}</td></tr>{% endfor %}</table></body></html>
"""


def pairs(new: list[Row], old: list[Row]) -> dict[tuple[str, str], list[Row]]:
    """(structure, measure) -> one row a case that both measured."""
    before = {case["case"]: case for case in old}
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for case in new:
        ours = case["masks"].get("structures", {})
        theirs = before.get(case["case"], {"masks": {}})["masks"].get("structures", {})
        for structure in ours.keys() & theirs.keys():
            for measure in MEASURES:
                a, b = ours[structure][measure], theirs[structure][measure]
                if isinstance(a, int | float) and isinstance(b, int | float):
                    row = {"case": case["case"], "patient": case["patient"], "structure": structure, "new": a, "old": b}
                    found[structure, measure].append(row)
    return dict(sorted(found.items()))


def compare(new: list[Row], old: list[Row], margin: float, draws: int = 1000) -> list[Row]:
    """One row a structure and measure."""
    rows = list(_rows(pairs(new, old), margin, draws))
    tested = [row for row in rows if isinstance(row["p"], float)]
    if tested:
        for row, p in zip(tested, multipletests([row["p"] for row in tested], method="holm")[1], strict=True):
            row["p_holm"] = cell(p)
    return rows


def _rows(found: dict[tuple[str, str], list[Row]], margin: float, draws: int) -> Iterator[Row]:
    for (structure, measure), cases in found.items():
        owners = np.asarray([case["patient"] for case in cases])
        new, old = (np.asarray([case[key] for case in cases], float) for key in ("new", "old"))
        better = old - new if measure.endswith("_mm") else new - old
        estimate = bootstrap_by_patient(owners, lambda rows, b=better: float(b[rows].mean()), draws)
        patients = [float(better[owners == owner].mean()) for owner in np.unique(owners)]
        row = {"structure": structure, "measure": measure, "n": len(cases), "patients": len(patients)}
        row |= {"new": cell(new.mean()), "old": cell(old.mean()), "difference": cell(estimate.value)}
        row |= {"difference_low": cell(estimate.low), "difference_high": cell(estimate.high)}
        yield row | {
            "p": _signed_rank(np.asarray(patients), "two-sided"),
            "p_holm": NOT_DEFINED,
            "p_not_worse": _signed_rank(np.asarray(patients) + margin, "greater"),
        }


def _signed_rank(differences: Any, alternative: str) -> Any:
    if len(differences) < MIN_PATIENTS:
        return {"not_measurable": f"fewer than {MIN_PATIENTS} patients"}
    if not np.any(differences):
        return 1.0
    p = float(wilcoxon(differences, alternative=alternative, method="auto").pvalue)
    return cell(p) if math.isfinite(p) else NOT_DEFINED


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when the comparison was written, 2 when the folders have no case in common."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("new", type=Path)
    parser.add_argument("old", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--margin", type=float, default=0.01, help="how much worse still counts as not worse")
    args = parser.parse_args(argv)
    new, old = read_raw(args.new), read_raw(args.old)
    rows = compare(new, old, args.margin)
    if not rows:
        print("no case was measured in both folders", file=sys.stderr)
        return 2
    dice = [row for (_, measure), cases in pairs(new, old).items() if measure == "dice" for row in cases]
    changed = sorted(dice, key=lambda row: -abs(row["new"] - row["old"]))[:10]
    names = {"new": args.new.name, "old": args.old.name, "margin": args.margin}
    args.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(names | {"rows": rows, "changed": changed}, indent=1, allow_nan=False)
    (args.output / "comparison.json").write_text(text + "\n", encoding="utf-8")
    environment = Environment(autoescape=True)
    environment.filters["show"] = show
    cases = len({row["case"] for row in dice})
    page = environment.from_string(PAGE).render(columns=COLUMNS, rows=rows, changed=changed, cases=cases, **names)
    (args.output / "comparison.html").write_text(page, encoding="utf-8")
    print(f"{cases} cases in both; {args.output / 'comparison.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
