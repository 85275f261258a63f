"""The validation kit from files to document, on small cases whose answers are known by hand."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pypdf import PdfReader

from lab.evaluate import compare
from lab.evaluate.fusion_simulation import different_truth, draw_records, forget, true_probability
from lab.evaluate.masks import LABEL_MAPS, kind_of, read_label_image, read_label_map, score_masks
from lab.evaluate.run_external import main
from lab.evaluate.spider_leaderboard import leaderboard
from spine.errors import MissingInput, UnusableImage
from spine.fuse.published import published_models
from spine.settings import FusionSettings

ROOT = Path(__file__).resolve().parents[2]
UPWARD = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def spine_labels(shift: int = 0, first: int = 1) -> np.ndarray:
    """(k up, j back, i left): three vertebrae of 6 x 6 x 2, two discs of 2 rows between them, a canal behind."""
    array = np.zeros((26, 14, 4), np.uint8)
    for number in range(3):
        array[1 + 8 * number : 7 + 8 * number, 2 + shift : 8 + shift, 1:3] = first + number
    for number in range(2):
        array[7 + 8 * number : 9 + 8 * number, 2 + shift : 8 + shift, 1:3] = 201 + first + number
    array[1:25, 10:12, 1:3] = 100
    return array


def put(path: Path, array: np.ndarray, spacing=(3.0, 1.0, 1.0)) -> Path:
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetDirection(UPWARD)
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path))
    return path


def put_table(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def site(tmp_path):
    """Three cases: exact, moved by one voxel, and numbered one level too high; and one without a prediction."""
    for case, array in (("a", spine_labels()), ("b", spine_labels(1)), ("c", spine_labels(0, 2))):
        put(tmp_path / "ours" / f"{case}.nii.gz", array)
    for case in "abcd":
        put(tmp_path / "reference" / f"{case}_mask.nii.gz", spine_labels())
        put(tmp_path / "images" / f"{case}_image.nii.gz", spine_labels().astype(np.int16))
    put_table(
        tmp_path / "cohort.csv", "case,patient,sex,age_years,vendor",
        "a,p1,F,30,Aera", "b,p1,F,30,Aera", "c,p2,M,70,Bex", "d,p3,M,50,Bex",
    )  # fmt: skip
    return tmp_path


def evaluate(site: Path, *more: object, out: str = "out") -> dict:
    arguments = ["--predictions", site / "ours", "--reference", site / "reference", "--output", site / out]
    assert main([str(part) for part in (*arguments, "--draws", 20, *more)]) == 0
    return json.loads((site / out / "results.json").read_text(encoding="utf-8"))


def test_masks_from_files_to_document(site):
    results = evaluate(
        site, "--cohort", site / "cohort.csv", "--images", site / "images", "--spider-leaderboard", "published"
    )
    tables = results["tables"]
    assert (results["cases"], results["patients"]) == (4, 3)
    dice = {row["structure"]: row for row in tables["masks"] if row["measure"] == "dice"}
    assert dice["vertebra"]["n"] == 3
    assert dice["vertebra"]["mean"] == pytest.approx((1 + 5 / 6 + 1) / 3, abs=1e-5)  # 5 of 6 columns are shared in b
    assert dice["canal"]["mean"] == 1.0
    detection = {row["instances"]: row for row in tables["detection"]}
    assert (detection["vertebra"]["found"], detection["vertebra"]["extra"]) == (9, 0)
    numbering = {row["what"]: row["share"] for row in tables["numbering"]}
    assert numbering["cases with every level named right"] == pytest.approx(2 / 3, abs=1e-6)
    groups = {(row["variable"], row["group"]): row["n"] for row in tables["subgroups"] if row["structure"] == "disc"}
    assert groups == {
        ("age", "above 60"): 1, ("age", "below 40"): 2,
        ("sex", "F"): 2, ("sex", "M"): 1, ("vendor", "Aera"): 2, ("vendor", "Bex"): 1,
    }  # fmt: skip
    scores = {row["score"]: row["mean"] for row in tables["spider_leaderboard"]}
    assert scores["DiceScoreVertebrae"] == pytest.approx((1 + 5 / 6 + 1) / 3, abs=1e-5)  # names cost nothing there
    raw = json.loads((site / "out" / "raw" / "d.json").read_text())
    assert raw["masks"] == {"not_measurable": "there is no predicted mask"}
    document = (site / "out" / "report.html").read_text(encoding="utf-8")
    assert document.count("<figure>") == 3
    assert "there is no predicted mask" in document
    assert "http" not in document.replace("http://www.w3.org", "")  # nothing is loaded from outside
    pages = PdfReader(site / "out" / "report.pdf").pages
    printed = " ".join(" ".join(page.extract_text() for page in pages).split())
    for words in ("External validation", "there is no predicted mask", "0.944 (", "case b, mean Dice", "TRIPOD+AI"):
        assert words in printed
    assert sum(len(page.images) for page in pages) >= 3  # Dice by structure, and the gallery, where a and c look alike
    assert {row["structure"] for row in table(site / "out" / "masks.csv")} == {"vertebra", "disc", "canal"}


def test_gradings_measurements_and_outcomes_from_tables_alone(tmp_path):
    generator = np.random.default_rng(1)
    grades = generator.integers(1, 6, 40)
    ours = np.where(generator.random(40) < 0.7, grades, np.clip(grades + 1, 1, 5))
    levels = ["L5/S1", "L4/L5"]
    put_table(
        tmp_path / "spider.csv", "Patient,IVD label,Modic,Pfirrman grade",
        *(f"p{n // 2},{n % 2 + 1},,{grade}" for n, grade in enumerate(grades)),
    )  # fmt: skip
    put_table(
        tmp_path / "ours.csv", "case,level,name,grade",
        *(f"p{n // 2},{levels[n % 2]},pfirrmann,{grade}" for n, grade in enumerate(ours)),
    )  # fmt: skip
    sizes = generator.normal(10, 2, 20)
    for name, error in (("reference", 0.0), ("predicted", 0.5)):
        rows = (f"p{n},L5/S1,disc_height_middle_mm,{size + error}" for n, size in enumerate(sizes))
        put_table(tmp_path / f"{name}_mm.csv", "case,subject,name,value", *rows)
    risk = generator.uniform(0.1, 0.9, 20)
    happened = np.r_[1, 1, 0, 0, generator.random(16) < risk[4:]].astype(int)
    put_table(
        tmp_path / "observed.csv", "case,treatment,outcome,observed",
        *(f"p{n},surgery,satisfied,{value}" for n, value in enumerate(happened)),
    )  # fmt: skip
    put_table(
        tmp_path / "probability.csv", "case,treatment,outcome,probability",
        *(f"p{n},surgery,satisfied,{value}" for n, value in enumerate(risk)),
    )  # fmt: skip
    arguments = ["--output", tmp_path / "out", "--draws", 20, "--recalibrate"]
    for flag, file in (("gradings", "spider"), ("measurements", "reference_mm"), ("outcomes", "observed")):
        arguments += [f"--{flag}", tmp_path / f"{file}.csv"]
    for flag, file in (("gradings", "ours"), ("measurements", "predicted_mm"), ("outcomes", "probability")):
        arguments += [f"--predicted-{flag}", tmp_path / f"{file}.csv"]
    assert main(list(map(str, arguments))) == 0

    tables = json.loads((tmp_path / "out" / "results.json").read_text())["tables"]
    (pfirrmann,) = tables["gradings"]
    assert (pfirrmann["name"], pfirrmann["n"], pfirrmann["patients"]) == ("pfirrmann", 40, 20)
    assert 0 < pfirrmann["kappa"] < pfirrmann["kappa_quadratic"] < 1
    (height,) = tables["measurements"]
    assert height["bias"] == pytest.approx(0.5, abs=1e-6)
    assert height["lower_limit"] == pytest.approx(0.5, abs=1e-5)  # every difference is the same
    (outcome,) = tables["outcomes"]
    assert (outcome["n"], outcome["events"]) == (20, happened.sum())
    assert "surgery: satisfied" in tables["recalibration"]
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """120 simulated patients of a hospital where fewer do well than the published equation says; some items missing."""
    folder = tmp_path_factory.mktemp("hospital")
    model = next(m for m in published_models(FusionSettings()) if m.key[1:4:2] == ("disc_herniation", "satisfied"))
    generator = np.random.default_rng(12)
    records = draw_records(model, 120, generator)
    chances = true_probability(model, records, different_truth(model, -1.2, 1.0))
    happened = (generator.random(120) < chances).astype(int)
    records = forget(records, 0.1, generator)
    fields = sorted({name for record in records for name in record})
    flags = {p.field for p in model.predictors if p.kind == "binary"}
    rows = []
    for number, record in enumerate(records):
        cells = [bool(record[n]) if n in flags and n in record else record.get(n, "") for n in fields]
        rows.append(f"p{number},disc_herniation," + ",".join(map(str, cells)))
    put_table(folder / "records.csv", ",".join(("patient", "indication", *fields)), *rows)
    put_table(
        folder / "observed.csv", "patient,treatment,outcome,observed",
        *(f"p{n},surgery,satisfied,{value}" for n, value in enumerate(happened)),
    )  # fmt: skip
    return folder


def recalibrated(folder: Path, out: Path, *more: object) -> dict:
    arguments = ["--outcomes", folder / "observed.csv", "--recalibrate", "fusion", "--output", out, "--draws", 20]
    assert main([str(part) for part in (*arguments, *more)]) == 0
    return json.loads((out / "results.json").read_text(encoding="utf-8"))["tables"]["recalibration"]


def test_the_fusion_posterior_is_fitted_on_half_and_told_of_the_rest(hospital, tmp_path):
    studies = recalibrated(hospital, tmp_path / "out", "--records", hospital / "records.csv")
    study = studies["surgery: satisfied, disc_herniation"]
    assert (study["fitted_on"], study["reported_on"], study["without_record"]) == (60, 60, 0)
    assert study["how"].startswith("Posterior of swespine_disc_herniation_satisfied given the first half")
    before, after = (study[when]["calibration_intercept"]["value"] for when in ("before", "after"))
    assert before < -0.7
    assert abs(after) < abs(before) / 2
    assert study["after"]["brier"]["value"] < study["before"]["brier"]["value"]
    assert "Recalibrated: surgery: satisfied, disc_herniation" in (tmp_path / "out" / "report.html").read_text()


def test_a_posterior_needs_records_and_enough_patients(hospital, tmp_path):
    rows = (hospital / "records.csv").read_text().splitlines()
    few = put_table(tmp_path / "few.csv", *rows[:60])
    studies = recalibrated(hospital, tmp_path / "out", "--records", few)
    (reason,) = (study["not_measurable"] for study in studies.values())
    assert "are needed" in reason
    other = put_table(tmp_path / "other.csv", rows[0], *(row.replace("disc_herniation", "") for row in rows[1:]))
    studies = recalibrated(hospital, tmp_path / "out", "--records", other)
    reason = studies["surgery: satisfied"]["not_measurable"]
    assert reason == "no patient has a clinical record that names an indication"


def test_a_patient_with_two_cases_has_one_outcome(tmp_path):
    put_table(tmp_path / "observed.csv", "patient,treatment,outcome,observed", "p1,surgery,satisfied,1")
    put_table(
        tmp_path / "probability.csv", "case,treatment,outcome,probability",
        "p1_t1,surgery,satisfied,0.4", "p1_t2,surgery,satisfied,0.6",
    )  # fmt: skip
    for case in ("p1_t1", "p1_t2"):
        put(tmp_path / "ours" / f"{case}.nii.gz", spine_labels())
        put(tmp_path / "reference" / f"{case}.nii.gz", spine_labels())
    results = evaluate(
        tmp_path, "--outcomes", tmp_path / "observed.csv", "--predicted-outcomes", tmp_path / "probability.csv"
    )
    assert [row["n"] for row in results["tables"]["outcomes"]] == [1]


def test_results_of_a_cohort_bring_confidence_flags_and_measurements(site):
    """The layout that run_cohort writes: masks and documents of each case in a folder of its own."""
    for case, confidence in (("a", 0.9), ("b", 0.4), ("c", 0.8)):
        folder = site / "cohort" / case
        put(folder / "images" / "sagittal-spine-mr-segmentation" / "output.mha", spine_labels(int(case == "b")))
        value = {"value": 8.0 + confidence, "unit": "mm", "z": 0.0, "percentile": 50, "reference": ""}
        report = {
            "software": {"models": {"segmenter.onnx": "ab" * 32}, "runner": "CPU", "seconds": {"read": 1.0}},
            "numbering": {"probability": confidence},
            "levels": [
                {
                    "level": "L5/S1",
                    "measurements": {"disc_height_middle_mm": value, "slip_mm": {"not_measurable": "blurred"}},
                    "grades": {"pfirrmann": {"not_measurable": "no grader"}},
                }
            ],
            "vertebrae": [],
            "muscle": {"not_measurable": "there is no axial series"},
            "quality": {"flags": ["dark"] if case == "b" else [], "confidence": {"disc": confidence}},
        }
        (folder / "spine-degeneration-report.json").write_text(json.dumps(report), encoding="utf-8")
    put_table(
        site / "mm.csv", "case,subject,name,value",
        "a,L5/S1,disc_height_middle_mm,9.0", "b,L5/S1,disc_height_middle_mm,8.0", "b,L5/S1,slip_mm,3",
        "z,L5/S1,slip_mm,3",
    )  # fmt: skip
    put_table(site / "grades.csv", "case,level,name,grade", "a,L5/S1,pfirrmann,4")
    arguments = ["--predictions", site / "cohort", "--reference", site / "reference", "--output", site / "out"]
    arguments += ["--measurements", site / "mm.csv", "--gradings", site / "grades.csv", "--draws", 20]
    assert main(list(map(str, arguments))) == 0
    results = json.loads((site / "out" / "results.json").read_text())
    assert results["rows_of_no_case"] == {"measurements": 1, "gradings": 0}
    risk = results["tables"]["risk_coverage"]
    assert [round(point["confidence"], 1) for point in risk["curve"]] == [0.9, 0.8, 0.4]
    assert [point["risk"] > 0 for point in risk["curve"]] == [False, False, True]  # only b is wrong, and least sure
    flags = {row["group"]: row["n"] for row in results["tables"]["subgroups"] if row["structure"] == "disc"}
    assert flags == {"flagged": 1, "none": 2}
    measured = {row["name"]: (row["n"], row["not_measured"]) for row in results["tables"]["measurements"]}
    assert measured == {"disc_height_middle_mm": (2, 0), "slip_mm": (0, 1)}
    assert results["tables"]["gradings"][0]["not_measured"] == 1
    assert "segmenter.onnx abababababab" in (site / "out" / "report.html").read_text(encoding="utf-8")


def test_two_methods_are_compared_case_by_case(site):
    evaluate(site, out="ours_out")
    for case in "abc":
        put(site / "ours" / f"{case}.nii.gz", spine_labels(2))
    evaluate(site, out="theirs_out")
    assert compare.main([str(site / "ours_out"), str(site / "theirs_out"), "--output", str(site / "both")]) == 0
    found = {
        (row["structure"], row["measure"]): row
        for row in json.loads((site / "both" / "comparison.json").read_text())["rows"]
    }
    row = found["vertebra", "dice"]
    assert row["n"] == 3
    assert row["difference"] == pytest.approx((1 + 5 / 6 + 1) / 3 - 4 / 6, abs=1e-5)
    assert (site / "both" / "comparison.html").is_file()


def test_masks_on_another_grid_are_brought_to_the_reference(tmp_path):
    labels = read_label_map("spider")
    reference = put(tmp_path / "r.nii.gz", spine_labels())
    fine = put(tmp_path / "f.nii.gz", np.repeat(spine_labels(), 2, axis=0), (3.0, 1.0, 0.5))
    image, resampled = read_label_image(fine, labels, like=reference)
    assert resampled
    assert image.array.shape == (26, 14, 4)
    truth, same = read_label_image(reference, labels)
    assert not same
    assert score_masks(truth, image, labels)["structures"]["vertebra"]["dice"] > 0.9


def test_nothing_is_scored_above_the_highest_labelled_vertebra(tmp_path):
    classes = read_label_map("vertebra_disc_canal")
    full = spine_labels()
    known = np.select([full == 100, full > 200, full > 0], [3, 2, 1], 0).astype(np.uint8)
    known[17:] = 0  # the third vertebra and all above it was not drawn
    reference, _ = read_label_image(put(tmp_path / "r.nii.gz", known), classes)
    prediction, _ = read_label_image(put(tmp_path / "p.nii.gz", full), read_label_map("spine"))
    scores = score_masks(reference, prediction, classes)
    assert {name: one["dice"] for name, one in scores["structures"].items()} == {
        "vertebra": 1.0,
        "disc": 1.0,
        "canal": 1.0,
    }
    assert scores["numbering"] == {"not_measurable": "the reference does not tell instances apart"}


def test_one_empty_and_both_empty_structures(tmp_path):
    spider = read_label_map("spider")
    whole = put(tmp_path / "w.nii.gz", spine_labels())
    bones = put(tmp_path / "b.nii.gz", np.where(spine_labels() < 100, spine_labels(), 0))
    (a, _), (b, _) = read_label_image(whole, spider), read_label_image(bones, spider)
    canal = score_masks(a, b, spider)["structures"]["canal"]
    assert (canal["state"], canal["dice"], canal["nsd_1mm"]) == ("prediction empty", 0.0, 0.0)
    assert canal["assd_mm"] == {"not_measurable": "prediction empty"}
    neither = score_masks(b, b, spider)["structures"]["canal"]
    assert neither["dice"] == {"not_measurable": "both empty"}


def test_every_label_map_is_readable_and_foreign_numbers_are_named(tmp_path):
    for path in LABEL_MAPS.glob("*.json"):
        labels = read_label_map(path.stem)
        assert labels.kinds
        assert labels.source
    assert read_label_map("spine").labels[201] == "L5/S1"
    assert read_label_map("totalspineseg").labels[45] == "L5"
    assert kind_of("T10 partial") == "vertebra"
    with pytest.raises(MissingInput, match="no such label map"):
        read_label_map("nobody")
    with pytest.raises(UnusableImage, match="does not name the numbers 77"):
        read_label_image(put(tmp_path / "x.nii.gz", np.full((2, 2, 2), 77, np.uint8)), read_label_map("spider"))


def spider_by_the_letter(reference, prediction, spacing) -> dict[str, float]:
    """The leaderboard's mean surface distance of vertebrae, from its description and without any cropping."""
    from scipy import ndimage

    values = []
    for label in sorted(set(np.unique(reference)) - {0}):
        if label >= 100:
            continue
        truth = reference == label
        found = prediction == np.bincount(prediction[truth][prediction[truth] > 0]).argmax()
        structure = ndimage.generate_binary_structure(3, 3)
        borders = [mask ^ ndimage.binary_erosion(mask, structure) for mask in (truth, found)]
        maps = [ndimage.distance_transform_edt(~border, sampling=spacing) for border in borders]
        values.append(np.r_[maps[0][borders[1]], maps[1][borders[0]]].mean())
    return float(np.mean(values))


def test_the_leaderboards_spacing_mistake_can_be_switched():
    reference, prediction, spacing = spine_labels(), spine_labels(1), (3.0, 1.0, 0.5)
    for as_published, used in ((True, spacing), (False, spacing[::-1])):
        scores = leaderboard(reference, prediction, spacing, as_published)
        assert scores["ASDVertebrae"] == pytest.approx(spider_by_the_letter(reference, prediction, used), abs=1e-6)
    assert leaderboard(reference, reference, spacing)["OveralDiceScore"] == 1.0
    empty = leaderboard(reference, np.zeros_like(reference), spacing)
    assert empty["DetectionRateVertebrae"] == 0.0
    assert "not_measurable" in empty["ASDVertebrae"]


def test_the_leaderboard_wants_spiders_numbers(site, capsys):
    arguments = ["--predictions", site / "ours", "--reference", site / "reference", "--output", site / "out"]
    more = ["--reference-map", "vertebra_disc_canal", "--spider-leaderboard", "corrected"]
    assert main([str(part) for part in (*arguments, *more)]) == 2
    assert capsys.readouterr().err == (
        "--spider-leaderboard needs references with SPIDER's numbers; in the label map vertebra_disc_canal 1 is "
        "'vertebra', 'L5' is expected.\n"
    )


def test_a_wrong_table_is_named(site, capsys):
    put_table(site / "wrong.csv", "case,level,name", "a,L5/S1,modic")
    arguments = [
        "--predictions",
        str(site / "ours"),
        "--gradings",
        str(site / "wrong.csv"),
        "--output",
        str(site / "x"),
    ]
    assert main(arguments) == 2
    assert capsys.readouterr().err.strip() == (
        "wrong.csv: the column grade is missing; level, name, grade are expected."
    )


def test_the_kit_needs_no_torch():
    code = "import sys, lab.evaluate.run_external, lab.evaluate.compare; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_kits_lock_is_complete_and_agrees_with_the_others():
    def pins(name: str) -> dict[str, str]:
        lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
        found = (line.split("==") for line in lines if line and not line.startswith("-"))
        return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in found}

    runtime, lab, kit = (pins(f"requirements{part}.txt") for part in ("", "-lab", "-evaluate"))
    assert "torch" not in kit
    assert {name: kit[name] for name in kit.keys() & lab.keys()} == {
        name: lab[name] for name in kit.keys() & lab.keys()
    }
    for package in kit:
        needs = [
            need for need in metadata.requires(package) or [] if "extra ==" not in need and "win" not in need.lower()
        ]
        names = {re.sub(r"[-_.]+", "-", re.match(r"[A-Za-z0-9._-]+", need).group()).lower() for need in needs}
        assert names - {"importlib-metadata"} <= set(runtime) | set(kit), package
