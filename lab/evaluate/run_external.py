"""The validation kit: predictions, or raw cases, against a site's references; one document comes out.

    python -m lab.evaluate.run_external --cases DIR --reference DIR --output DIR
    python -m lab.evaluate.run_external --predictions DIR --prediction-map totalspineseg --reference DIR --output DIR
    python -m lab.evaluate.run_external --cases DIR --gradings gradings.csv --outcomes outcomes.csv --output DIR

Any part may be left out: masks, gradings, measurements, outcomes. `--cases` runs the pipeline first
(`lab.evaluate.run_cohort`, into OUTPUT/cohort). Layouts of folders: `lab.evaluate.cases`; of tables:
`lab.evaluate.references`; label maps: `lab/evaluate/label_maps`.

Written into --output: raw/CASE.json (what every score is derived from), results.json, one CSV a table,
report.html and report.pdf.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import SimpleITK
from tqdm import tqdm

from lab.evaluate.cases import find_cases, masks_by_case
from lab.evaluate.derive import derive
from lab.evaluate.document import write_document
from lab.evaluate.masks import LabelMap, read_label_image, read_label_map, score_masks
from lab.evaluate.recalibration import Recalibrate, posterior_studies, slope_studies
from lab.evaluate.references import (
    READERS,
    default_patient,
    predicted,
    read_cohort,
    read_gradings,
    read_measurements,
    read_outcomes,
    read_records,
    records_of,
    rows_of,
    with_images,
)
from lab.evaluate.run_cohort import OWN_MODEL, Task, run_cohort
from lab.evaluate.spider_leaderboard import leaderboard
from spine.errors import MissingInput, SpineError
from spine.settings import read_settings

Raw = dict[str, Any]
SCHEMA = "1"


@dataclass(frozen=True)
class Inputs:
    """All that is compared, by case or as rows of tables; see `lab.evaluate.references`."""

    predictions: dict[str, Path]  # case -> mask
    references: dict[str, Path]  # case -> mask
    images: dict[str, Path]  # case -> picture for the gallery
    folders: dict[str, Path]  # case -> folder with our output documents
    reference_map: LabelMap
    prediction_map: LabelMap
    tables: dict[str, list[dict[str, Any]]]  # gradings, measurements, outcomes of the reference
    rivals: dict[str, list[dict[str, Any]]]  # the same, predicted by another method
    cohort: dict[str, dict[str, str]]
    records: list[dict[str, Any]]  # clinical records, for the fusion posterior
    spider_spacing: str | None = None


def evaluate_case(case: str, inputs: Inputs) -> Raw:
    """Raw results of one case; what cannot be read is told in it, never raised."""
    columns = inputs.cohort.get(case, {})
    patient = columns.get("patient", default_patient(case))
    raw: Raw = {"schema": SCHEMA, "case": case, "patient": patient, "cohort": columns}
    document = predicted(inputs.folders[case]) if case in inputs.folders else {}
    if document.get("software"):
        raw["report"] = {
            key: document[key] for key in ("confidence", "numbering_probability", "flags", "software", "seconds")
        }
    raw["masks"] = _masks(case, inputs, raw)
    for row in rows_of(inputs.records, case, patient)[:1]:
        raw["record"] = with_images(row["record"], inputs.folders[case]) if case in inputs.folders else row["record"]
    for name in READERS:
        reference = rows_of(inputs.tables.get(name, []), case, patient)
        ours = rows_of(inputs.rivals[name], case, patient) if name in inputs.rivals else document.get(name, [])
        if reference:
            raw[name] = JOINS[name](reference, ours)
    return raw


def _masks(case: str, inputs: Inputs, raw: Raw) -> Raw:
    if case not in inputs.references:
        return {"not_measurable": "there is no reference mask"}
    if case not in inputs.predictions:
        return {"not_measurable": "there is no predicted mask"}
    try:
        reference, _ = read_label_image(inputs.references[case], inputs.reference_map)
        prediction, resampled = read_label_image(
            inputs.predictions[case], inputs.prediction_map, like=inputs.references[case]
        )
    except SpineError as error:
        return {"not_measurable": str(error)}
    if inputs.spider_spacing:
        as_published = inputs.spider_spacing == "published"
        spacing = SimpleITK.ReadImage(str(inputs.references[case])).GetSpacing()
        raw["spider_leaderboard"] = leaderboard(reference.array, prediction.array, spacing, as_published)
    return score_masks(reference, prediction, inputs.reference_map) | {"resampled": resampled}


def _join_gradings(reference: list[Raw], ours: list[Raw]) -> list[Raw]:
    return _join(reference, ours, ("level", "name"), "grade")


def _join_measurements(reference: list[Raw], ours: list[Raw]) -> list[Raw]:
    return _join(reference, ours, ("subject", "name"), "value")


def _join(reference: list[Raw], ours: list[Raw], keys: tuple[str, str], value: str) -> list[Raw]:
    """Reference rows with the prediction of the same subject and name, or with the reason why there is none."""
    known = {tuple(row[key] for key in keys): row for row in ours}
    joined = []
    for row in reference:
        identity = tuple(row[key] for key in keys)
        found = known.get(identity, {"not_measurable": "not predicted"})
        result = dict(zip(keys, identity, strict=True)) | {"reference": row[value]}
        if value in found:
            result["prediction"] = found[value]
            probabilities = found.get("probabilities") or ([found["probability"]] if "probability" in found else [])
            joined.append(result | ({"probabilities": probabilities} if probabilities else {}))
        else:
            joined.append(result | {"not_measurable": found["not_measurable"]})
    return joined


def _join_outcomes(reference: list[Raw], ours: list[Raw]) -> list[Raw]:
    """Observed outcomes with the probability for the same treatment and outcome."""
    known = {(row["treatment"], row["outcome"]): row for row in ours}
    joined = []
    for row in reference:
        found = known.get((row["treatment"], row["outcome"]), {"not_measurable": "not predicted"})
        kept = {key: found[key] for key in ("probability", "not_measurable") if key in found}
        joined.append({key: row[key] for key in ("treatment", "outcome", "observed")} | kept)
    return joined


JOINS = {"gradings": _join_gradings, "measurements": _join_measurements, "outcomes": _join_outcomes}


def all_cases(inputs: Inputs) -> list[str]:
    """Names of the cases that are compared: all with a mask or a result; those of the tables where there is none."""
    found = set(inputs.references) | set(inputs.predictions) | set(inputs.folders)
    if not found:
        rows = [row for rows in inputs.tables.values() for row in rows]
        found = {row["case"] if "case" in row else row["patient"] for row in rows}
    return sorted(found)


def strays(inputs: Inputs, raw: list[Raw]) -> dict[str, int]:
    """Rows of each reference table that belong to none of the cases."""
    owners = [(case["case"], case["patient"]) for case in raw]
    return {
        name: sum(not any(rows_of([row], case, patient) for case, patient in owners) for row in rows)
        for name, rows in inputs.tables.items()
    }


def write_tables(results: dict[str, Any], output: Path) -> None:
    """`results` as results.json, and each table as CSV; a cell that is not measurable shows its reason in both."""
    text = json.dumps(results, indent=1, allow_nan=False, ensure_ascii=False)
    (output / "results.json").write_text(text + "\n", encoding="utf-8")
    for name, rows in results["tables"].items():
        if isinstance(rows, list) and rows:
            columns = list(dict.fromkeys(key for row in rows for key in row))
            with (output / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(columns)
                writer.writerows([[_plain(row.get(column, "")) for column in columns] for row in rows])


def _plain(value: Any) -> Any:
    return value["not_measurable"] if isinstance(value, dict) else value


def read_raw(output: Path) -> list[Raw]:
    """The raw results of an earlier evaluation, sorted by case."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((output / "raw").glob("*.json"))]


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--cases", type=Path, help="raw cases: the pipeline runs on them first")
    what.add_argument("--predictions", type=Path, help="results of run_cohort, or one mask file a case")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--reference", type=Path, help="folder of reference masks, one file a case")
    parser.add_argument("--reference-map", default="spider", help="label map of the references (default: spider)")
    parser.add_argument("--prediction-map", default="spine", help="label map of the predictions (default: our own)")
    parser.add_argument("--images", type=Path, help="folder of images for the gallery (default: --cases)")
    for name in READERS:
        parser.add_argument(f"--{name}", type=Path, metavar="CSV", help=f"reference {name}")
        parser.add_argument(f"--predicted-{name}", type=Path, metavar="CSV", help=f"another method's {name}")
    parser.add_argument("--cohort", type=Path, metavar="CSV", help="case, patient, and columns for subgroups")
    parser.add_argument("--spider-leaderboard", choices=("published", "corrected"), help="SPIDER's scores; its spacing")
    parser.add_argument(
        "--recalibrate", nargs="?", const="slope", choices=("slope", "fusion"),
        help="refit outcome predictions on half of the patients, report on the rest: intercept and slope, or the "
        "fusion posterior of the published equation (needs clinical records)",
    )  # fmt: skip
    parser.add_argument("--records", type=Path, metavar="CSV", help="clinical records (default: those of --cases)")
    parser.add_argument("--draws", type=int, default=500, help="bootstrap samples (default: 500)")
    parser.add_argument("--title", default="External validation")
    parser.add_argument("--model", type=Path, default=OWN_MODEL)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--scheduler", help="Dask scheduler for --cases")
    args = parser.parse_args(argv)
    refit = args.recalibrate == "fusion" and args.records and args.outcomes
    if not (args.cases or args.predictions or args.predicted_gradings or args.predicted_outcomes or refit):
        parser.error("--cases, --predictions or a table of predictions is needed")
    if not (args.reference or any(getattr(args, name) for name in READERS)):
        parser.error("a reference is needed: --reference, --gradings, --measurements or --outcomes")
    return args


def gather(args: argparse.Namespace) -> Inputs:
    """Everything that the command line names; raises SpineError where something is not there or not understood."""
    folder, images, records = args.predictions, {}, []
    if args.cases:
        cases = find_cases(args.cases)
        records = records_of(cases)
        folder = args.output / "cohort"
        task = Task(str(folder.resolve()), str(args.model.resolve()))
        run_cohort(cases, task, args.workers, args.scheduler)
        images = {case.name: Path(path) for case in cases for role, path in case.files[:1] if role != "input"}
    if args.images:
        images = {case.name: Path(case.files[0][1]) for case in find_cases(args.images)}
    reference_map = read_label_map(args.reference_map)
    if args.spider_leaderboard:
        _require_spider_numbers(reference_map)
    folders = {path.parent.name: path.parent for path in folder.glob("*/*-report.json")} if folder else {}
    return Inputs(
        predictions=masks_by_case(folder) if folder and args.reference else {},
        references=masks_by_case(args.reference) if args.reference else {},
        images=images,
        folders=folders,
        reference_map=reference_map,
        prediction_map=read_label_map(args.prediction_map),
        tables={name: read(getattr(args, name)) for name, read in READERS.items() if getattr(args, name)},
        rivals=_rivals(args),
        cohort=read_cohort(args.cohort) if args.cohort else {},
        records=read_records(args.records) if args.records else records,
        spider_spacing=args.spider_leaderboard,
    )


def _require_spider_numbers(labels: LabelMap) -> None:
    """The leaderboard's rules go by the numbers of the reference: other numbers would give scores that mean nothing."""
    spider = read_label_map("spider").labels
    odd = [(number, name) for number, name in labels.labels.items() if spider.get(number, name) != name]
    if odd:
        number, name = odd[0]
        raise MissingInput(
            f"--spider-leaderboard needs references with SPIDER's numbers; in the label map {labels.name} {number} is "
            f"{name!r}, {spider[number]!r} is expected."
        )


def _rivals(args: argparse.Namespace) -> dict[str, list[Raw]]:
    found: dict[str, list[Raw]] = {}
    if args.predicted_gradings:
        found["gradings"] = read_gradings(args.predicted_gradings)
    if args.predicted_measurements:
        found["measurements"] = read_measurements(args.predicted_measurements)
    if args.predicted_outcomes:
        found["outcomes"] = read_outcomes(args.predicted_outcomes, "probability")
    return found


def _recalibration(args: argparse.Namespace) -> Recalibrate | None:
    if args.recalibrate == "fusion":
        return partial(posterior_studies, settings=read_settings(args.model).fusion)
    return slope_studies if args.recalibrate else None


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when the document was written, 2 when the inputs cannot be used."""
    args = _arguments(argv)
    start = time.perf_counter()
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        recalibrate = _recalibration(args)
        inputs = gather(args)
    except SpineError as error:
        print(error, file=sys.stderr)
        return 2
    (args.output / "raw").mkdir(exist_ok=True)
    for old in (args.output / "raw").glob("*.json"):
        old.unlink()
    cases = all_cases(inputs)
    if not cases:
        print("no case has both a prediction and a reference", file=sys.stderr)
        return 2
    for case in tqdm(cases, unit="case", desc="scoring"):
        text = json.dumps(evaluate_case(case, inputs), indent=1, allow_nan=False, ensure_ascii=False)
        (args.output / "raw" / f"{case}.json").write_text(text + "\n", encoding="utf-8")
    raw = read_raw(args.output)
    results = {
        "title": args.title,
        "command": sys.argv[1:] if argv is None else argv,
        "cases": len(raw),
        "patients": len({case["patient"] for case in raw}),
        "label_maps": {"reference": args.reference_map, "prediction": args.prediction_map},
        "spider_spacing": args.spider_leaderboard or {"not_measurable": "not asked for"},
        "rows_of_no_case": strays(inputs, raw),
        "tables": derive(raw, args.draws, recalibrate),
    }
    write_tables(results, args.output)
    write_document(results, raw, inputs, args.output)
    print(f"{len(raw)} cases in {time.perf_counter() - start:.0f} s: {args.output / 'report.html'} and report.pdf")
    return 0


if __name__ == "__main__":
    sys.exit(main())
