"""Cases of lab.evaluate.run_xray -> the Markdown table: landmarks, measurements, grades, names of the levels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from lab.evaluate.agreement import bootstrap_by_patient, kappa
from lab.synth.radiograph_bank import REGIONS

Cases = list[dict[str, Any]]
MEASURES = {  # name -> unit, whether film mm are brought to the patient's plane
    "c2_c7_angle_deg": "°",
    "lumbar_lordosis_l1_s1_deg": "°",
    "lordosis_l4_s1_deg": "°",
    "segmental_angle_deg": "°",
    "t1_slope_deg": "°",
    "c7_slope_deg": "°",
    "sacral_slope_deg": "°",
    "c2_c7_sva_mm": "mm",
    "disc_height_anterior_mm": "mm",
    "disc_height_middle_mm": "mm",
    "disc_height_posterior_mm": "mm",
    "disc_height_loss_percent": "%",
    "slip_mm": "mm",
    "osteophyte_superior_mm": "mm",
    "osteophyte_inferior_mm": "mm",
    "body_ap_depth_mm": "mm",
    "canal_ap_diameter_mm": "mm",
    "torg_pavlov_ratio": "",
}
SIGN = "low_disc_with_osteophyte"  # there or not
GRADES = ("kellgren", "walraevens_height_loss", "lane_narrowing", "lane_osteophytes", SIGN)
SPURS_MM = ("osteophyte_superior_mm", "osteophyte_inferior_mm")
LARGE_SPUR_MM = 4.0
WRONG_SHARE = 0.15  # of a film's landmarks: fewer are mistakes of single points
GROSS_MM = 8.0  # larger errors are mistakes of the level, which an error model of a point cannot tell


def table(cases: Cases) -> str:
    """The Markdown table of `cases`; intervals over films drawn with replacement."""
    counts = {r: sum(c["region"] == r for c in cases) for r in REGIONS}
    head = [
        "Synthetic films of seeds that training never saw; **no real radiograph was at hand**. "
        f"{counts['cervical']} cervical and {counts['lumbar']} lumbar films through `spine.xray` end to end; half are "
        "stored mirrored, a tenth negated. Millimetres are of the patient's middle plane (film millimetres over the "
        "film's true magnification), with 95 % bootstrap intervals over films.",
        "",
        "| films | n | measure | value | 95 % interval |",
        "|---|---|---|---|---|",
    ]
    rows = [*_landmark_rows(cases), *_measure_rows(cases), *_grade_rows(cases)]
    return "\n".join([*head, *rows, "", *_level_lines(cases), ""])


def _row(films: str, rows: list[tuple[str, Any]], measure: str, of: Callable[[list[Any]], float], digits: int) -> str:
    """One line: the statistic `of` the second members of `rows`, resampled by the first (the film)."""
    values = [value for _, value in rows]
    owners = np.array([film for film, _ in rows])
    if not values:
        return f"| {films} | 0 | {measure} | - | - |"
    found = bootstrap_by_patient(owners, lambda at: of([values[i] for i in at]), draws=400)
    return (
        f"| {films} | {len(values)} | {measure} | {found.value:.{digits}f} | "
        f"{found.low:.{digits}f} to {found.high:.{digits}f} |"
    )


def _groups(cases: Cases) -> Iterator[tuple[str, Cases]]:
    for region in REGIONS:
        yield region, [c for c in cases if c["region"] == region]
    for nuisance in sorted({n for c in cases for n in c["nuisances"]}):
        yield nuisance, [c for c in cases if nuisance in c["nuisances"]]
    yield "none of these", [c for c in cases if not c["nuisances"]]
    yield "names not doubted", [c for c in cases if not c["names_doubted"]]
    yield "metal, names not doubted", [c for c in cases if "metal" in c["nuisances"] and not c["names_doubted"]]


def _landmark_rows(cases: Cases) -> Iterator[str]:
    for name, group in _groups(cases):
        errors = [(c["film"], float(np.hypot(*m["error_mm"]))) for c, m in found_points(group)]
        seen = [(c["film"], m["found"]) for c in group for m in c["landmarks"] if m["visible"]]
        false = [(c["film"], not m["visible"]) for c in group for m in c["landmarks"] if m["found"]]
        yield _row(name, errors, "landmark error, median, mm", np.median, 2)
        yield _row(name, errors, "landmark error, 90th percentile, mm", _p90, 2)
        yield _row(name, seen, "visible points found, %", _percent, 1)
        yield _row(name, false, "found points that are not visible, %", _percent, 1)
    within = [(c["film"], bool(np.all(np.abs(m["error_mm"]) < 1.645 * m["said_mm"]))) for c, m in found_points(cases)]
    yield _row("all", within, "points inside their own 90 % error box, %", _percent, 1)
    for key, said in (("facing_right", "facing"), ("polarity_right", "polarity")):
        yield _row("all", [(c["film"], c[key]) for c in cases], f"{said} told right, %", _percent, 1)
    regions = [(c["film"], c["found_region"] == c["region"]) for c in cases]
    yield _row("all", regions, "region told right, %", _percent, 1)


def found_points(cases: Cases) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(case, landmark) of every visible landmark that was found."""
    return ((c, m) for c in cases for m in c["landmarks"] if m["visible"] and "error_mm" in m)


def _p90(values: list[float]) -> float:
    return float(np.percentile(values, 90))


def _percent(values: Iterable[bool]) -> float:
    return 100 * float(np.mean(list(values)))


def _measure_rows(cases: Cases) -> Iterator[str]:
    inside, spurs = [], []
    for name, unit in MEASURES.items():
        errors = []
        for case in cases:
            down = case["magnification"] if unit == "mm" else 1.0
            for entry in case["measurements"]:
                if entry["name"] == name and entry["value"] is not None:
                    errors.append((case["film"], abs(entry["value"] - entry["true"]) / down))
                    low, high = entry["interval_90"]
                    inside.append((case["film"], low <= entry["true"] <= high))
                    if name in SPURS_MM:
                        spurs.append(inside[-1])
        digits = 3 if unit == "" else 2
        yield _row(
            _where(cases, name), errors, f"{name}, mean absolute error{', ' if unit else ''}{unit}", np.mean, digits
        )
    yield _row("all", inside, "true values inside the 90 % interval, %", _percent, 1)
    yield _row("both", spurs, "true osteophyte sizes inside the 90 % interval, %", _percent, 1)
    large = [
        (case["film"], 100 * entry["value"] / entry["true"])
        for case in cases
        for entry in case["measurements"]
        if entry["name"] in SPURS_MM and entry["value"] is not None and entry["true"] >= LARGE_SPUR_MM
    ]
    yield _row(
        "both", large, f"osteophytes of {LARGE_SPUR_MM:g} mm or more on the film, found size, % of the true", np.mean, 0
    )


def _where(cases: Cases, name: str) -> str:
    regions = {c["region"] for c in cases for m in c["measurements"] if m["name"] == name}
    return regions.pop() if len(regions) == 1 else "both"


def _grade_rows(cases: Cases) -> Iterator[str]:
    for name in GRADES:
        pairs = [
            (c["film"], (g["true"], g["value"]))
            for c in cases
            for g in c["grades"]
            if g["name"] == name and g["value"] is not None
        ]
        where = "both" if name.startswith("lane") else "cervical"
        yield _row(where, pairs, f"{name}, same grade, %", lambda p: _percent(a == b for a, b in p), 1)
        if name != SIGN:
            gross = [(film, abs(true - told) > 1) for film, (true, told) in pairs]
            yield _row(where, gross, f"{name}, off by two or more, %", _percent, 1)
        yield _row(where, pairs, f"{name}, quadratic kappa", lambda p: kappa(*np.array(p).T, "quadratic"), 2)


def _level_lines(cases: Cases) -> list[str]:
    """How often a whole film was counted a level too high or too low, and what was said."""
    read = [c for c in cases if any(m["found"] for m in c["landmarks"])]
    off = [named_off(c) for c in read]
    doubted = [c["names_doubted"] for c in read]
    silent = sum(wrong and not said for wrong, said in zip(off, doubted, strict=True))
    needless = sum(said and not wrong for wrong, said in zip(off, doubted, strict=True))
    return [
        f"Films of which all or some vertebrae were named a level off: {sum(off)} of {len(cases)}; films refused: "
        f"{len(cases) - len(read)}.",
        "",
        f"Named wrongly and nothing said: {silent} of {len(read)} films read. The other {sum(off) - silent} of the "
        f"{sum(off)} are flagged and grades, alignment and height loss are withheld, as they are on {needless} films "
        "that were named rightly.",
        "",
        f"Stated probability of right names: mean {np.mean([c['names_prob'] for c in read]):.3f}, right on "
        f"{1 - np.mean(off):.3f} of the films read; Brier score "
        f"{np.mean([(c['names_prob'] - (not wrong)) ** 2 for c, wrong in zip(read, off, strict=True)]):.3f} "
        f"(the share alone: {np.mean(off) * (1 - np.mean(off)):.3f}).",
        "",
        "Osteophyte sizes and the grades that need them are measured here whatever `xray_osteophytes_are_trusted` of "
        "`resources/thresholds.json` says; at 0 no report holds them.",
    ]


def named_off(case: dict[str, Any]) -> bool:
    """Whether the film or a part of it is named a level off: more than WRONG_SHARE of its landmarks lie that far away.

    A vertebra passed over moves only the names above it: the median over the film would not show that.
    """
    far = [abs(m["error_mm"][0]) > GROSS_MM for m in case["landmarks"] if "error_mm" in m]
    return case["found_region"] != case["region"] or bool(far and np.mean(far) > WRONG_SHARE)
