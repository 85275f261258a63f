"""When not to answer: damaged and foreign images through the pipeline, models of doubt fitted, tested once, written.

    python -m lab.evaluate.run_quality --data ../shared/data --out docs/quality

Sound, damaged and foreign images (lab.evaluate.quality_cases) go through the network; raw results of each are kept in
OUT/cases.jsonl. The models are fitted to the training and validation patients' cases and written to MODEL/quality.json
with their thresholds in MODEL/settings.json; OUT/table.md and the figures tell how they do on the test patients.
`--refit` takes the raw results of an earlier run with the same network.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lab.evaluate.quality_cases import all_samples
from lab.evaluate.quality_examine import examine
from lab.evaluate.quality_figures import draw_figures
from lab.evaluate.quality_fit import fit_quality
from lab.evaluate.quality_tables import measure_quality, write_tables
from spine.pipeline import open_models
from spine.settings import read_settings

CASES = "cases.jsonl"


def main() -> None:
    """Examine, fit, test, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, default=Path("model"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="every n-th image only: a quick look")
    parser.add_argument("--refit", action="store_true", help="take the raw results that lie in OUT")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    settings = read_settings(args.model)
    networks = {"segmenter_sha256": settings.segmenter.sha256, "neck_sha256": settings.neck.sha256}
    rows = (
        read_cases(args.out, networks)
        if args.refit
        else run_cases(args.data, args.model, args.out, networks, args.every)
    )
    document, limits = fit_quality([row for row in rows if row["split"] == "fit"])
    write_model(args.model, {"version": "1", **networks, **document}, limits)
    measured = measure_quality(rows, args.model)
    write_tables(measured, args.out)
    draw_figures(measured, args.out)
    print((args.out / "table.md").read_text(encoding="utf-8"))


def run_cases(data: Path, model: Path, out: Path, networks: dict[str, str], every: int = 1) -> list[dict[str, Any]]:
    """Examine every sample and keep the raw results, one JSON document a line; the first names the networks."""
    models = open_models(model, "cpu")
    rows = []
    with (out / CASES).open("w", encoding="utf-8") as file:
        file.write(json.dumps(networks) + "\n")
        for sample in tqdm(islice(all_samples(data), 0, None, every), unit="image"):
            rows.append(examine(sample, models))
            file.write(json.dumps(rows[-1]) + "\n")
            file.flush()
    return rows


def read_cases(out: Path, networks: dict[str, str]) -> list[dict[str, Any]]:
    """Raw results of an earlier run; they must be of the networks with the digests `networks`."""
    first, *lines = (out / CASES).read_text(encoding="utf-8").splitlines()
    if json.loads(first) != networks:
        raise SystemExit(f"{out / CASES}: the results are of another network; run without --refit.")
    return [json.loads(line) for line in lines]


def write_model(model: Path, document: dict[str, Any], limits: dict[str, float]) -> None:
    """Write quality.json, and its digest with the thresholds into the group `quality` of settings.json."""
    content = (json.dumps(document, indent=1) + "\n").encode("utf-8")
    (model / "quality.json").write_bytes(content)
    path = model / "settings.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["quality"] = {"file": "quality.json", "sha256": hashlib.sha256(content).hexdigest(), **limits}
    path.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
