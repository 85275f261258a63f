"""Lateral radiographs end to end on the test family of synthetic films: landmarks, measurements, grades.

    python -m lab.evaluate.run_xray --model model --n 110 --out docs/xray
    python -m lab.evaluate.run_xray --model model --again                  # tables from cases.json, no film is read
    python -m lab.evaluate.run_xray --model model --n 60 --calibrate       # doubt from the validation family

Every figure is of synthetic films: no real radiograph was at hand. Half of the films are stored mirrored, a tenth
negated. Writes cases.json (every film), table.md (derived from it alone, and put into the model card) and films.png;
--calibrate writes what the settings say of doubt: four numbers of a landmark's error, four of a film's names.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.optimize import minimize
from tqdm import tqdm

from lab.evaluate.figures import fill
from lab.evaluate.xray_films import Film, draw_film, read_film
from lab.evaluate.xray_names import Named, fit_names, named_readings
from lab.evaluate.xray_table import GRADES, GROSS_MM, MEASURES, Cases, found_points, table
from lab.synth.radiograph_bank import REGIONS
from spine.runners import Runner, open_runner
from spine.settings import XraySettings, read_settings
from spine.xray.conform import scale
from spine.xray.landmarks import LANDMARKS

KEPT = {"measurements": tuple(MEASURES), "grades": GRADES}
ERROR_NAMES = ("error_floor_mm", "error_doubt_mm", "error_spread", "spread_mm")
SHOWN = 6


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("model"))
    parser.add_argument("--n", type=int, default=110, help="films of each region")
    parser.add_argument("--out", type=Path, default=Path("docs/xray"))
    parser.add_argument("--store", type=Path, help="folder that keeps the projected spines for the next time")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--again", action="store_true", help="write the tables anew from cases.json")
    args = parser.parse_args()
    if args.again:
        write_tables(json.loads((args.out / "cases.json").read_text(encoding="utf-8")), args.model, args.out)
        return
    if args.calibrate:
        calibrate(args.model, args.n, args.store, args.workers)
        return
    args.out.mkdir(parents=True, exist_ok=True)
    cases: Cases = []
    pictures: list[Image.Image] = []
    with ProcessPoolExecutor(args.workers) as pool:
        for found, drawn in pool.map(partial(read_region, args.model, args.n, args.store), REGIONS):
            cases += found
            pictures += drawn
    text = as_text(cases)
    (args.out / "cases.json").write_text(text, encoding="utf-8")
    write_tables(json.loads(text), args.model, args.out)
    side_by_side(pictures).quantize(96).save(args.out / "films.png", optimize=True)


def write_tables(cases: Cases, model: Path, out: Path) -> None:
    """table.md, and the same text in the model card."""
    text = table(cases)
    (out / "table.md").write_text(text, encoding="utf-8")
    card = model / "xray.md"
    if card.exists():
        card.write_text(fill(card.read_text(encoding="utf-8"), "xray test", text), encoding="utf-8")


def as_text(cases: Cases) -> str:
    """JSON of what the table is derived from, one film a line."""
    lines = []
    for case in cases:
        kept = {name: [e for e in case[name] if e["name"] in wanted] for name, wanted in KEPT.items()}
        lines.append(json.dumps({**case, **kept}, separators=(",", ":")))
    return "[\n" + ",\n".join(lines) + "\n]\n"


def open_network(model: Path) -> tuple[Runner, XraySettings]:
    """The radiograph's network on the CPU and its settings."""
    settings = read_settings(model).xray
    return open_runner(model / settings.file, settings.sha256, "cpu"), settings


def read_region(model: Path, count: int, store: Path | None, region: str) -> tuple[Cases, list[Image.Image]]:
    """Cases of the first `count` test films of a region, and drawings of the first few."""
    runner, settings = open_network(model)
    cases, pictures = [], {}
    for film in tqdm(in_order_of_size("test", region, count, store), desc=region, mininterval=30):
        cases.append(read_film(film, runner, settings))
        if int(film.name[-4:]) < SHOWN // 2:
            pictures[film.name] = drawing(film, cases[-1])
    return sorted(cases, key=lambda case: str(case["film"])), [p for _, p in sorted(pictures.items())]


def in_order_of_size(family: str, region: str, count: int, store: Path | None) -> list[Film]:
    """`count` films, alike canvases together: the runner prepares itself once for each size."""
    films = [draw_film(family, region, index, store) for index in range(count)]
    return sorted(films, key=lambda film: [-(-n // 32) for n in film.series.array.shape])


def drawing(film: Film, case: dict[str, Any]) -> Image.Image:
    """The film as it should lie, with true points (yellow) and found ones (green)."""
    picture = film.series.array[0].astype(np.float32)
    picture = picture[:, ::-1] if film.mirrored else picture
    grey = np.clip(scale(-picture if film.negated else picture), 0, 1)
    image = Image.fromarray((255 * grey).astype(np.uint8)).convert("RGB").resize((2 * grey.shape[1], 2 * grey.shape[0]))
    pen = ImageDraw.Draw(image)
    for mark in case["landmarks"]:
        key = tuple(mark["name"].split(" ", 1))
        at = film.cast.points_mm[LANDMARKS.index((key[0], key[1]))]
        if mark["visible"]:
            _ring(pen, at / film.cast.pixel_mm * 2, "yellow", 4)
        if "error_mm" in mark:
            place = at + np.array(mark["error_mm"]) * film.cast.magnification
            _ring(pen, place / film.cast.pixel_mm * 2, "lime", 2)
    return image


def _ring(pen: ImageDraw.ImageDraw, at: NDArray[np.float64], colour: str, radius: int) -> None:
    row, column = at
    pen.ellipse((column - radius, row - radius, column + radius, row + radius), outline=colour)


def side_by_side(pictures: list[Image.Image]) -> Image.Image:
    """Pictures in rows of three."""
    wide, tall = max(p.width for p in pictures), max(p.height for p in pictures)
    out = Image.new("RGB", (3 * wide, -(-len(pictures) // 3) * tall))
    for index, picture in enumerate(pictures):
        out.paste(picture, (index % 3 * wide, index // 3 * tall))
    return out


def calibrate(model: Path, count: int, store: Path | None, workers: int) -> None:
    """Fit what the settings say of doubt on the validation family: the error of a landmark, and the names of a film."""
    file = model / "settings.json"
    with ProcessPoolExecutor(workers) as pool:
        read = list(pool.map(partial(read_validation, model, count, store), REGIONS))
    marks = np.concatenate([marks for marks, _ in read])
    names = [one for _, readings in read for one in readings]
    fitted = dict(zip(ERROR_NAMES, fit_error(marks[:, 0], marks[:, 1], marks[:, 2:]), strict=True))
    data = json.loads(file.read_text(encoding="utf-8"))
    new = {name: round(value, 3) for name, value in fitted.items()} | fit_names(names)
    data["xray"].update(new)
    file.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    wrong, films = sum(not one.right for one in names), len({one.film for one in names})
    print(f"{new} from {len(marks)} points and {len(names)} readings of {films} films, {wrong} of them named wrongly")


def read_validation(
    model: Path, count: int, store: Path | None, region: str
) -> tuple[NDArray[np.float64], list[Named]]:
    """((n, 4) peak, spread, error down and back of each landmark found near its place, film mm; names of readings)."""
    runner, settings = open_network(model)
    bare = replace(settings, error_floor_mm=0.0, error_doubt_mm=0.0, error_spread=1.0, spread_mm=0.0)
    marks: list[list[float]] = []
    names: list[Named] = []
    for film in tqdm(in_order_of_size("val", region, count, store), desc=region, mininterval=30):
        names += named_readings(film, runner, settings)
        case = read_film(film, runner, bare)
        for _, mark in found_points([case]):
            if float(np.hypot(*mark["error_mm"])) < GROSS_MM:
                film_mm = np.array([mark["said_mm"], *mark["error_mm"]]) * case["magnification"]
                marks.append([mark["prob"], *film_mm])
    return np.array(marks), names


def fit_error(
    peaks: NDArray[np.float64], spreads_mm: NDArray[np.float64], errors_mm: NDArray[np.float64]
) -> tuple[float, float, float, float]:
    """(floor, doubt, spread's weight, spread of a sure point) that make (n, 2) `errors_mm` most likely, normal."""
    usual = float(np.median(spreads_mm[peaks >= np.quantile(peaks, 0.5)]))
    wider, doubt = np.maximum(spreads_mm - usual, 0.0), 1.0 - np.minimum(peaks, 1.0)
    squares = np.square(errors_mm).mean(1)

    def cost(logs: NDArray[np.float64]) -> float:
        floor, by_doubt, by_spread = np.exp(logs)
        sd = floor + by_doubt * doubt + by_spread * wider
        return float(np.mean(2 * np.log(sd) + squares / sd**2))

    best = minimize(cost, np.log([0.4, 1.0, 0.5]), method="Nelder-Mead", options={"maxiter": 2000})
    floor, by_doubt, by_spread = (float(x) for x in np.exp(best.x))
    return floor, by_doubt, by_spread, usual


if __name__ == "__main__":
    main()
