"""Updating an equation with a cohort: posterior, imputation, coverage, the command line, statistics."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm

from lab.evaluate import fusion_study
from lab.evaluate.fusion_real import read_table as read_real
from lab.evaluate.fusion_real import refit_study, split
from lab.evaluate.fusion_simulation import (
    coverage,
    different_truth,
    draw_records,
    drawn_cohort,
    false_alarms,
    prior_to_data,
    scenarios,
    true_probability,
)
from lab.evaluate.fusion_study import EXAMPLE_PATIENT, write_example
from lab.evaluate.statistics import (
    bootstrap_intervals,
    calibration,
    calibration_curve,
    calibration_groups,
    correct_optimism,
    performance,
)
from lab.train import fit_fusion
from lab.train.fusion_cohort import BadCohort, read_cohort
from lab.train.fusion_posterior import (
    Normal,
    at_home,
    columns_of,
    impute,
    laplace,
    pool,
    predict,
    prior_of,
    update,
)
from spine.fuse import fuse_findings
from spine.fuse.engine import evaluate
from spine.fuse.models import read_table
from spine.fuse.published import published_models
from spine.settings import FusionSettings

SETTINGS = FusionSettings()
ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data" / "clinical" / "lbp_orig.csv"
FIELDS = read_table()["fields"]


def model(indication="cervical_radiculopathy", outcome="satisfied"):
    return next(m for m in published_models(SETTINGS) if (m.indication, m.outcome) == (indication, outcome))


def simulated(own, theta, count, seed=0):
    generator = np.random.default_rng(seed)
    records = draw_records(own, count, generator)
    outcome = (generator.random(count) < true_probability(own, records, theta)).astype(float)
    return columns_of(own.predictors, records), outcome


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_with_a_flat_prior_the_mode_is_maximum_likelihood(link):
    generator = np.random.default_rng(4)
    columns = generator.standard_normal((400, 3))
    outcome = (generator.random(400) < 1 / (1 + np.exp(-(0.5 + columns @ [0.8, -0.5, 0.0])))).astype(float)
    family = sm.families.Binomial(link=sm.families.links.Probit() if link == "probit" else None)
    theirs = sm.GLM(outcome, sm.add_constant(columns), family=family).fit()
    ours = laplace(columns, outcome, Normal(np.zeros(4), 1e6 * np.eye(4)), link)
    np.testing.assert_allclose(ours.mean, theirs.params, atol=1e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(ours.covariance)), theirs.bse, rtol=1e-3)


@pytest.mark.parametrize("outcome", ["satisfied", "pain_gone_or_much_better"])
def test_without_patients_the_answer_is_the_published_one(outcome):
    own = model(outcome=outcome)
    fitted = update(own, np.zeros((0, len(own.coefficients))), np.zeros(0), prior_of(own), 5, 0)
    known = draw_records(own, 1, np.random.default_rng(0))[0]
    published, updated = evaluate(own, known, FIELDS), evaluate(fitted, known, FIELDS)
    assert (published.probability, published.low, published.high) == (updated.probability, updated.low, updated.high)


def test_from_prior_to_data():
    growth = prior_to_data(model("disc_herniation"), (0, 50, 10000), cohorts=2)
    first, middle, last = growth["points"]
    assert first["probability"] == pytest.approx(growth["published"], abs=1e-12)
    assert first["cohorts_low"] == pytest.approx(first["cohorts_high"])
    assert last["cohorts_low"] < last["probability"] < last["cohorts_high"]
    assert abs(last["probability"] - growth["truth"]) < 0.02
    assert last["low"] < growth["truth"] < last["high"]
    assert growth["truth"] < middle["probability"] < growth["published"]
    assert last["high"] - last["low"] < 0.1 * (first["high"] - first["low"])


def test_imputation_keeps_what_is_known_and_its_shape():
    own = model()
    columns, outcome = simulated(own, own.parameters, 600)
    generator = np.random.default_rng(5)
    holes = columns.copy()
    holes[generator.random(holes.shape) < 0.2] = np.nan
    copies = impute(holes, outcome, 5, 0, own.mean_row[1:])
    assert len(copies) == 5
    known = ~np.isnan(holes)
    for copy in copies:
        np.testing.assert_array_equal(copy[known], holes[known])
        assert not np.isnan(copy).any()
        np.testing.assert_allclose(copy.mean(axis=0), columns.mean(axis=0), atol=0.1)
        np.testing.assert_allclose(copy.std(axis=0), columns.std(axis=0), rtol=0.12)
    assert not np.array_equal(copies[0], copies[1])
    np.testing.assert_array_equal(copies[0], impute(holes, outcome, 5, 0, own.mean_row[1:])[0])


def test_a_field_nobody_has_leaves_its_coefficient_alone():
    own = model()
    columns, outcome = simulated(own, different_truth(own, -1.0, 0.5), 400)
    columns[:, 4] = np.nan
    fitted = update(own, columns, outcome, prior_of(own), 5, 0)
    assert fitted.coefficients[4] == pytest.approx(own.coefficients[4], abs=0.05)
    assert fitted.constant < own.constant - 0.5


def test_pooling_adds_variance_between_imputations():
    parts = [Normal(np.array([m]), np.array([[1.0]])) for m in (0.0, 2.0)]
    pooled = pool(parts)
    assert pooled.mean == pytest.approx([1.0])
    assert pooled.covariance[0, 0] == pytest.approx(1.0 + 1.5 * 2.0)


def test_standardising_at_home_changes_no_complete_answer():
    own = model(outcome="pain_gone_or_much_better")
    spreads = {"ndi_percent": {"mean": 50.0, "scale": 10.0}, "smoker": {"shares": [0.3]}}
    moved = at_home(own, spreads)
    known = draw_records(own, 1, np.random.default_rng(1))[0]
    before, after = evaluate(own, known, FIELDS, transfer=False), evaluate(moved, known, FIELDS)
    assert after.probability == pytest.approx(before.probability)
    assert after.low == pytest.approx(before.low)


def test_quick_predictions_agree_with_the_runtime():
    for own in (model(), model(outcome="pain_gone_or_much_better")):
        records = draw_records(own, 10, np.random.default_rng(2))
        for record in records:
            del record["ndi_percent"], record["duration_neck_pain"]
        quick = predict(own, columns_of(own.predictors, records))
        exact = [evaluate(own, record, FIELDS).probability for record in records]
        np.testing.assert_allclose(quick, exact, atol=0.012)


@pytest.mark.parametrize("index", [0, 1])
def test_intervals_hold_the_truth(index):
    """A short run of the study in docs/fusion; 87 to 93 % there, a wider net for few trials here."""
    scenario = replace(scenarios(model())[index], trials=(80, 15)[index])
    assert 0.82 < coverage(scenario, seed=3)["coverage"] < 0.96


def test_disc_age_accuses_no_age_more_than_another():
    means = [row["mean_likelihood"] for row in false_alarms(SETTINGS, people=200)]
    assert max(means) - min(means) < 0.03
    flat = [row["mean_likelihood_flat_prior"] for row in false_alarms(SETTINGS, people=200)]
    assert flat[0] - flat[-1] > 0.5


def test_the_example_runs_from_csv_to_advice(tmp_path, capsys):
    write_example(tmp_path / "cohort.csv", model())
    out = tmp_path / "fusion.json"
    words = [
        "--cohort",
        str(tmp_path / "cohort.csv"),
        "--region",
        "cervical",
        "--outcome",
        "satisfied",
        "--out",
        str(out),
    ]
    for months in ("12", "24"):
        assert fit_fusion.main([*words, "--horizon", months, "--bootstrap", "20", "--imputations", "2"]) == 0
    printed = capsys.readouterr()
    assert "optimism-corrected" in printed.out
    assert "value (90 % interval)" in printed.out
    assert "leave out the doubt of refitting" in printed.out
    assert "published at 12 months" in printed.out
    assert "published at 24 months" not in printed.out
    assert printed.err.startswith("--bootstrap 20 is few: the limits of the intervals")
    table = json.loads(out.read_text(encoding="utf-8"))
    assert [entry["horizon_months"] for entry in table["models"]] == [12, 24]
    provenance = table["models"][0]["provenance"]
    assert provenance["patients"] == 109
    assert len(provenance["cohort_sha256"]) == 64
    assert table["models"][0]["performance"]["optimism_corrected"]["auc"]["low"] > 0.3
    advice = fuse_findings((), (), EXAMPLE_PATIENT, SETTINGS, tmp_path)
    local = advice.options[0]
    assert local["model"].startswith("local_cervical_radiculopathy")
    assert local["probability"] < local["published_equation"]["probability"]
    width = lambda o: o["interval_90"][1] - o["interval_90"][0]  # noqa: E731
    assert width(local) < width(local["published_equation"])
    assert fit_fusion.main([*words, "--bootstrap", "20", "--imputations", "2"]) == 0
    assert len(json.loads(out.read_text(encoding="utf-8"))["models"]) == 2  # replaced, not added
    assert "fusion.json: the entry local_cervical_radiculopathy_surgery_satisfied_12_months was replaced." in (
        capsys.readouterr().err
    )
    before = out.read_bytes()
    assert fit_fusion.main([*words[:3], "lumbar", *words[4:], "--bootstrap", "20", "--imputations", "2"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "cohort.csv: --region is lumbar, but the indication cervical_radiculopathy is cervical."
    )
    assert out.read_bytes() == before


@pytest.mark.parametrize(("option", "told"), [("bootstrap", "at least 20"), ("imputations", "at least 2")])
def test_too_few_samples_are_refused_in_a_sentence(tmp_path, capsys, option, told):
    words = ["--cohort", "none.csv", "--region", "lumbar", "--outcome", "satisfied", "--out", str(tmp_path / "f.json")]
    assert fit_fusion.main([*words, f"--{option}", "1"]) == 2
    assert capsys.readouterr().err == f"--{option} is 1; {told} are needed for an interval.\n"
    assert not list(tmp_path.iterdir())


def cohort_file(folder, rows, columns=("patient", "indication", "odi_percent", "employed", "odi_22_or_less")):
    path = folder / "cohort.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def rows_of(count=60):
    generator = np.random.default_rng(6)
    return [
        [f"p{i}", "chronic_low_back_pain", int(generator.integers(10, 80)), "yes" if i % 3 else "no", int(i % 2)]
        for i in range(count)
    ]


def test_a_programme_cohort_updates_the_partial_equation(tmp_path):
    path, out = cohort_file(tmp_path, rows_of()), tmp_path / "fusion.json"
    words = ["--cohort", str(path), "--region", "lumbar", "--outcome", "odi_22_or_less", "--out", str(out)]
    assert fit_fusion.main([*words, "--bootstrap", "20", "--imputations", "2"]) == 0
    record = {"indication": "chronic_low_back_pain", "employed": True, "odi_percent": 40}
    programme = fuse_findings((), (), record, SETTINGS, tmp_path).options[2]
    assert programme["model"] == "local_chronic_low_back_pain_pain_programme_odi_22_or_less_12_months"
    assert not any("partial" in warning for warning in programme["warnings"])


def test_the_settings_beside_the_model_count(tmp_path):
    shutil.copy(ROOT / "model" / "settings.json", tmp_path)
    settings = json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))
    settings["fusion"]["programme_success_prob"] = 0.2
    (tmp_path / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    assert fit_fusion.settings_beside(tmp_path / "fusion.json").programme_success_prob == 0.2
    assert fit_fusion.settings_beside(tmp_path / "elsewhere" / "fusion.json") == SETTINGS


def test_without_a_published_equation_a_weak_prior_serves(tmp_path):
    rows = [[r[0], "spinal_stenosis", *r[2:]] for r in rows_of()]
    out = tmp_path / "fusion.json"
    words = ["--cohort", str(cohort_file(tmp_path, rows)), "--region", "lumbar", "--outcome", "odi_22_or_less"]
    assert fit_fusion.main([*words, "--out", str(out), "--bootstrap", "20", "--imputations", "2"]) == 0
    entry = json.loads(out.read_text(encoding="utf-8"))["models"][0]
    assert entry["treatment"] == "surgery"
    assert "weak prior" in entry["facts"]["source"]
    assert entry["performance"]["published_equation"] == "no published equation"
    options = fuse_findings(
        (), (), {"indication": "spinal_stenosis", "odi_percent": 40, "employed": True}, SETTINGS, tmp_path
    )
    assert [o["treatment"] for o in options.options if o["outcome"] == "odi_22_or_less"] == [
        "pain_programme",
        "surgery",
    ]


def test_reports_bring_imaging_features(tmp_path):
    levels = ("L5/S1", "L4/L5", "L3/L4")
    rows = []
    for i, row in enumerate(rows_of()):
        there = i % 4 == 0
        grades = {"herniation": {"grade": there, "probabilities": [float(not there), float(there)]}}
        report = {"levels": [{"level": level, "grades": grades} for level in levels]}
        (tmp_path / f"{i}.json").write_text(json.dumps(report), encoding="utf-8")
        rows.append([*row, f"{i}.json" if i % 5 else ""])
    names = ("patient", "indication", "odi_percent", "employed", "odi_22_or_less", "report")
    path = cohort_file(tmp_path, rows, names)
    cohort = read_cohort(path, "lumbar", "odi_22_or_less", 12)
    assert cohort.records[4]["imaging.herniation"] == 1.0
    assert "imaging.herniation" not in cohort.records[0]
    out = tmp_path / "fusion.json"
    words = ["--cohort", str(path), "--region", "lumbar", "--outcome", "odi_22_or_less", "--out", str(out)]
    assert fit_fusion.main([*words, "--bootstrap", "20", "--imputations", "2"]) == 0
    entry = json.loads(out.read_text(encoding="utf-8"))["models"][0]
    imaging = entry["predictors"][-1]
    assert imaging["field"] == "imaging.herniation"
    assert (
        -1.0 < imaging["coefficients"][0] < -0.3
    )  # no success with it in the cohort, held back by the sceptical prior
    assert entry["provenance"]["missing_share"]["imaging.herniation"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("rows", "columns", "told"),
    [
        (rows_of(40), None, "40 patients with a known outcome"),
        ([*rows_of(), rows_of()[0]], None, "patient 'p0' occurs twice"),
        ([[r[0], r[1], 140, *r[3:]] for r in rows_of()], None, "line 2: Clinical record: odi_percent is 140"),
        ([[*r[:3], "maybe", r[4]] for r in rows_of()], None, "'maybe' is neither"),
        ([[*r[:4], 2] for r in rows_of()], None, "column odi_22_or_less: '2' is neither"),
        (rows_of(), ("patient", "indication", "odi", "employed", "odi_22_or_less"), "column 'odi' is no field"),
        (rows_of(), ("patient", "indication", "odi_percent", "employed", "satisfied"), "has no column odi_22_or_less"),
        (
            [[r[0], ("disc_herniation", "spinal_stenosis")[i % 2], *r[2:]] for i, r in enumerate(rows_of())],
            None,
            "several",
        ),
    ],
)
def test_cohorts_that_are_refused(tmp_path, capsys, rows, columns, told):
    path = cohort_file(tmp_path, rows, *([columns] if columns else []))
    with pytest.raises(BadCohort, match=r".") as caught:
        read_cohort(path, "lumbar", "odi_22_or_less", 12)
    assert told in str(caught.value)
    words = [
        "--cohort",
        str(path),
        "--region",
        "lumbar",
        "--outcome",
        "odi_22_or_less",
        "--out",
        str(tmp_path / "f.json"),
    ]
    assert fit_fusion.main(words) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "f.json").exists()


def test_patients_without_outcome_are_left_out_and_counted(tmp_path):
    rows = rows_of()
    rows[7][4] = ""
    cohort = read_cohort(cohort_file(tmp_path, rows), "lumbar", "odi_22_or_less", 12)
    assert (len(cohort.outcome), cohort.without_outcome) == (59, 1)


def test_calibration_recovers_a_known_distortion():
    generator = np.random.default_rng(7)
    truth = generator.normal(0, 1.5, 40000)
    outcome = (generator.random(40000) < 1 / (1 + np.exp(-truth))).astype(float)
    assert calibration(outcome, 1 / (1 + np.exp(-truth))) == pytest.approx((0.0, 1.0), abs=0.05)
    assert calibration(outcome, 1 / (1 + np.exp(-2 * truth)))[1] == pytest.approx(0.5, abs=0.03)
    assert calibration(outcome, 1 / (1 + np.exp(-truth + 1)))[0] == pytest.approx(1.0, abs=0.05)


def test_performance_by_hand():
    outcome, probability = np.array([0.0, 0.0, 1.0, 1.0, 0.0]), np.array([0.1, 0.4, 0.35, 0.8, 0.5])
    found = performance(outcome, probability)
    assert found["auc"] == pytest.approx(4 / 6)
    assert found["brier"] == pytest.approx((0.01 + 0.16 + 0.4225 + 0.04 + 0.25) / 5)
    assert found["expected_over_observed"] == pytest.approx(2.15 / 2)
    groups = calibration_groups(outcome, probability, groups=2)
    assert [g["n"] for g in groups] == [3, 2]
    assert groups[0]["observed"] == pytest.approx(1 / 3)


def test_a_calibration_curve_follows_the_shares():
    generator = np.random.default_rng(10)
    truth = generator.random(4000)
    outcome = (generator.random(4000) < truth).astype(float)
    at = np.array([0.2, 0.5, 0.8])
    np.testing.assert_allclose(calibration_curve(outcome, truth, at), at, atol=0.04)
    np.testing.assert_allclose(calibration_curve(outcome, truth**2, at**2), at, atol=0.06)  # predictions too low
    assert np.isnan(calibration_curve(outcome, np.full(4000, 0.5), at)).all()


def test_any_measure_can_be_corrected_for_optimism():
    """Predictions that do not depend on the fit have no optimism: apparent and corrected are the same."""
    outcome = (np.arange(60) % 3 == 0).astype(float)

    def measure(observed, probability):
        return {"mean": float(np.mean(probability - observed))}

    found = correct_optimism(outcome, lambda rows: lambda those: np.full(len(those), 0.4), 30, measure=measure)
    assert set(found.corrected) == {"mean"}
    assert found.corrected["mean"].value == pytest.approx(0.4 - 1 / 3, abs=0.05)


@pytest.mark.skipif(not SHARED.is_file(), reason="the shared clinical data is not here")
def test_the_curves_of_the_real_cohort_have_limits():
    study = refit_study(SHARED, bootstrap=3, splits=2)
    for name in ("apparent", "optimism_corrected", "held_back"):
        curve = study["curve"][name]
        assert len(curve["value"]) == len(study["curve"]["predicted"])
        assert all(0 <= low <= high <= 1 for low, high in zip(curve["low"], curve["high"], strict=True))
    assert all(group["low"] < group["observed"] < group["high"] for group in study["groups_apparent"])


def test_a_constant_prediction_has_no_slope():
    found = calibration(np.array([0.0, 1.0, 1.0, 0.0]), np.full(4, 0.5))
    assert found[0] == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(found[1])


def test_intervals_hold_the_value():
    generator = np.random.default_rng(8)
    probability = generator.random(200)
    outcome = (generator.random(200) < probability).astype(float)
    for value in bootstrap_intervals(outcome, probability, resamples=30).values():
        assert value.low < value.value < value.high


def test_optimism_finds_noise():
    """Pure noise with many columns looks good on itself and like guessing once corrected."""
    generator = np.random.default_rng(9)
    columns, outcome = generator.standard_normal((80, 15)), (np.arange(80) % 2).astype(float)
    prior = Normal(np.zeros(16), 4 * np.eye(16))

    def fit(rows):
        theta = laplace(columns[rows], outcome[rows], prior, "logit").mean
        return lambda those: 1 / (1 + np.exp(-(theta[0] + columns[those] @ theta[1:])))

    found = correct_optimism(outcome, fit, resamples=15)
    assert found.apparent["auc"].value > 0.7
    assert found.corrected["auc"].value < found.apparent["auc"].value - 0.1
    assert found.corrected["calibration_slope"].value < 0.6


@pytest.mark.skipif(not SHARED.is_file(), reason="the shared clinical data is not here")
def test_the_real_cohort_is_read_and_split_by_patient():
    columns, outcome, predictors = read_real(SHARED)
    assert columns.shape == (159, 14)
    assert (int(outcome.sum()), int(np.isnan(columns).sum()), len(predictors)) == (69, 129, 14)
    train, test = split(outcome, np.random.default_rng(0))
    assert sorted([*train, *test]) == list(range(159))
    assert outcome[test].mean() == pytest.approx(outcome.mean(), abs=0.02)


def test_the_text_of_the_study_is_that_of_its_numbers(tmp_path):
    """study.md is written from study.json and by no hand."""
    docs = ROOT / "docs" / "fusion"
    shutil.copy(docs / "study.json", tmp_path)
    assert fusion_study.main(["--out", str(tmp_path), "--from-json"]) == 0
    assert (tmp_path / "study.md").read_text(encoding="utf-8") == (docs / "study.md").read_text(encoding="utf-8")


def test_a_drawn_cohort_has_holes():
    records, outcome = drawn_cohort(model(), model().parameters, 0.2, seed=1)
    held = sum(len(record) for record in records) / (109 * len(model().predictors))
    assert held == pytest.approx(0.8, abs=0.05)
    assert set(outcome) == {0.0, 1.0}
