"""The published equations: test vectors, agreement with the source, missing items, doubt about the coefficients."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import norm

from spine.errors import BadClinicalRecord
from spine.fuse import fuse_findings
from spine.fuse.engine import evaluate, extrapolation_variance, known_share, missing_fields, worth_of_items
from spine.fuse.missing import largest_entropy, spread
from spine.fuse.models import read_table
from spine.fuse.published import (
    logistic_information,
    ordered_probit_information,
    published_models,
)
from spine.fuse.record import read_record
from spine.resources import load_schema
from spine.settings import FusionSettings

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data" / "clinical" / "swespine_models.json"
VECTORS = json.loads((ROOT / "test" / "input" / "fusion_vectors.json").read_text(encoding="utf-8"))["cases"]
SETTINGS = FusionSettings()
FIELDS = read_table()["fields"]
PUBLISHED = {  # EVIDENCE: satisfied to 4 decimals, pain gone or much better to 3
    "disc_herniation": (0.8163, 0.744),
    "spinal_stenosis": (0.7490, 0.604),
    "segmental_back_pain": (0.8719, 0.809),
    "cervical_radiculopathy": (0.8003, 0.703),
}
MEAN_PROFILE = {  # EVIDENCE: every predictor at its cohort's mean
    "disc_herniation": (0.805, 0.783),
    "spinal_stenosis": (0.665, 0.607),
    "segmental_back_pain": (0.785, 0.706),
    "cervical_radiculopathy": (0.789, 0.724),
}


def model(indication, outcome="satisfied", settings=SETTINGS):
    return next(m for m in published_models(settings) if (m.indication, m.outcome) == (indication, outcome))


def vector(indication):
    return next(case["record"] for case in VECTORS if case["record"]["indication"] == indication)


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["record"]["indication"])
def test_vectors_to_four_decimals(case):
    advice = fuse_findings((), (), case["record"], SETTINGS)
    given = {option["outcome"]: option for option in advice.options if option["treatment"] == "surgery"}
    published = PUBLISHED[case["record"]["indication"]]
    for outcome, known, decimals in zip(("satisfied", "pain_gone_or_much_better"), published, (4, 3), strict=True):
        assert given[outcome]["probability"] == pytest.approx(case[outcome], abs=5e-5)
        assert round(given[outcome]["probability"], decimals) == pytest.approx(known)
        assert not given[outcome]["abstained"]
        assert given[outcome]["missing"] == []
        low, high = given[outcome]["interval_90"]
        assert 0 < low < given[outcome]["probability"] < high < 1


@pytest.mark.parametrize("indication", MEAN_PROFILE)
def test_the_mean_profile(indication):
    for outcome, known in zip(("satisfied", "pain_gone_or_much_better"), MEAN_PROFILE[indication], strict=True):
        own = model(indication, outcome)
        eta = own.mean_row @ own.parameters
        prob = norm.cdf(eta) if own.link == "probit" else 1 / (1 + np.exp(-eta))
        assert prob == pytest.approx(known, abs=6e-4)


def test_raw_unit_form_of_disc_herniation():
    """An independent path: the de-standardised form of EVIDENCE, five digits."""
    own = model("disc_herniation")
    for duration, odi, nrs, flag in product((0, 4), (0.0, 80.0), (0.0, 10.0), (0, 1)):
        words = dict(
            zip(FIELDS["duration_back_pain"]["codes"].values(), FIELDS["duration_back_pain"]["codes"], strict=True)
        )
        known = {"duration_back_pain": words[duration], "odi_percent": odi, "nrs_back": nrs}
        flags = ("comorbidity", "sick_pension", "college_education", "smoker", "unemployed", "previous_spine_surgery")
        known |= dict.fromkeys(flags, float(flag))
        weights = -0.4005 - 0.1508 + 0.1790 - 0.3056 - 0.5887 - 0.4829
        eta = 2.6598 - 0.22077 * duration - 0.00269 * odi - 0.09405 * nrs + flag * weights
        assert evaluate(own, known, FIELDS).probability == pytest.approx(1 / (1 + np.exp(-eta)), abs=2e-4)


@pytest.mark.skipif(not SHARED.is_file(), reason="the shared clinical data is not here")
def test_coefficients_are_those_of_the_source():
    source = json.loads(SHARED.read_text(encoding="utf-8"))
    names = {"segmental_back_pain": "srbp", "cervical_radiculopathy": "rhizopathy"}
    keys = {"satisfied": "satisfaction", "pain_gone_or_much_better": "ga"}
    for entry in read_table()["models"]:
        if entry["source"] != "swespine":
            continue
        theirs = source[names.get(entry["indication"], entry["indication"])][keys[entry["outcome"]]]
        assert entry["n"] == theirs["num_observations"]
        assert [entry["intercept"]] == theirs["intercept"] if "intercept" in entry else True
        assert entry.get("thresholds") == theirs.get("thresholds")
        for predictor in entry["predictors"]:
            name = predictor["source_name"]
            assert np.atleast_1d(theirs["coefficients"][name]).tolist() == predictor["coefficients"]
            scaler = theirs["features"][name].get("scaler")
            assert scaler is None or (scaler["mean"], scaler["scale"]) == (predictor["mean"], predictor["scale"])


def test_every_equation_says_where_it_comes_from():
    for entry in read_table()["models"]:
        assert entry["source"] in read_table()["sources"]
        for key in ("n", "outcome_definition", "horizon_months", "performance", "population", "in_words", "tag"):
            assert entry[key], (entry["id"], key)
        for predictor in entry["predictors"]:
            assert predictor["field"] in load_schema("clinical.schema.json")["properties"]


def test_codes_cover_the_words_of_the_schema():
    properties = load_schema("clinical.schema.json")["properties"]
    for name, spec in FIELDS.items():
        assert name in properties
        if "codes" in spec:
            assert list(spec["codes"]) == properties[name]["enum"]


@pytest.mark.parametrize(
    ("mean", "sd", "support"),
    [(2.07, 1.6, (0, 4, 1)), (3.64, 0.66, (0, 4, 1)), (47.5, 18.4, (0, 100, 1)), (0.35, 0.32, (-0.59, 1.0, 0.01))],
)
def test_largest_entropy_keeps_mean_and_spread(mean, sd, support):
    values, probabilities = largest_entropy(mean, sd, *support)
    assert probabilities.sum() == pytest.approx(1)
    assert values @ probabilities == pytest.approx(mean, abs=1e-4)
    assert np.sqrt((values - mean) ** 2 @ probabilities) == pytest.approx(sd, abs=1e-4)


def test_missing_items_are_integrated():
    """Three missing flags and one missing number against the sum over all their values."""
    own = model("disc_herniation")
    missing = ("smoker", "unemployed", "comorbidity", "nrs_back")
    known = {k: v for k, v in read_record(vector("disc_herniation")).known.items() if k not in missing}
    spreads = [spread(p, FIELDS) for p in own.predictors if p.field in missing]
    fields = [p.field for p in own.predictors if p.field in missing]
    total = 0.0
    for picks in product(*(range(len(values)) for values, _ in spreads)):
        weight = np.prod([spreads[i][1][k] for i, k in enumerate(picks)])
        values = {field: spreads[i][0][k] for i, (field, k) in enumerate(zip(fields, picks, strict=True))}
        total += weight * evaluate(own, {**known, **values}, FIELDS).probability
    assert evaluate(own, known, FIELDS).probability == pytest.approx(total, abs=5e-4)


def test_every_missing_item_has_a_price():
    own = model("segmental_back_pain", "pain_gone_or_much_better")
    known = dict(read_record(vector("segmental_back_pain")).known)
    full = evaluate(own, known, FIELDS)
    del known["comorbidity"], known["levels_planned"]
    items = worth_of_items(own, known, FIELDS)
    assert [item.field for item in items] == ["comorbidity", "levels_planned"]
    now = evaluate(own, known, FIELDS)
    assert now.width > full.width
    for item in items:
        assert item.narrows_by == pytest.approx(now.width - item.width_if_known)
    assert items[0].narrows_by > items[1].narrows_by
    assert missing_fields(own, known) == ["levels_planned", "comorbidity"]
    assert 0 < known_share(own, known) < 1


def test_the_answer_repeats_exactly():
    one, two = (fuse_findings((), (), {"indication": "spinal_stenosis", "age_years": 70}, SETTINGS) for _ in range(2))
    assert json.dumps([*one.options]) == json.dumps([*two.options])


def test_values_outside_the_cohort_warn_and_widen():
    own = model("spinal_stenosis")
    known = dict(read_record(vector("spinal_stenosis")).known)
    variance, warnings = extrapolation_variance(own, known, SETTINGS.cohort_z_limit)
    assert (variance, warnings) == (0.0, [])
    young = known | {"age_years": 25.0}
    variance, warnings = extrapolation_variance(own, young, SETTINGS.cohort_z_limit)
    assert variance > 0
    assert "age at imaging: 25 lies outside the cohort" in warnings[0]
    assert evaluate(own, young, FIELDS, variance).width > evaluate(own, young, FIELDS).width
    old = known | {"age_years": 100.0}
    assert extrapolation_variance(model("disc_herniation"), old, SETTINGS.cohort_z_limit)[1]  # a fact, no predictor


def test_binary_information_is_that_of_a_fit():
    """Standard errors of an unpenalised fit of simulated patients agree with the approximation."""
    generator = np.random.default_rng(1)
    design = np.column_stack([np.ones(20000), generator.standard_normal((20000, 2)), generator.random(20000) < 0.2])
    theta = np.array([1.0, -0.4, 0.3, -0.5])
    outcome = generator.random(20000) < 1 / (1 + np.exp(-design @ theta))
    errors = sm.GLM(outcome.astype(float), design, family=sm.families.Binomial()).fit().bse
    expected = np.sqrt(np.diag(np.linalg.inv(20000 * logistic_information(design, theta))))
    np.testing.assert_allclose(errors, expected, rtol=0.03)


def test_ordered_information_of_one_threshold_is_the_binary_probit():
    generator = np.random.default_rng(2)
    columns = generator.standard_normal((500, 2))
    beta, threshold = np.array([0.3, -0.2]), np.array([0.4])
    eta = threshold - columns @ beta
    weight = norm.pdf(eta) ** 2 / (norm.cdf(eta) * norm.cdf(-eta))
    design = np.column_stack([np.ones(500), -columns])
    expected = (design * weight[:, None]).T @ design / 500
    np.testing.assert_allclose(ordered_probit_information(columns, beta, threshold), expected, rtol=1e-10)


def test_ordered_information_is_that_of_a_fit():
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    generator = np.random.default_rng(3)
    columns = generator.standard_normal((4000, 1))
    beta, thresholds = np.array([0.5]), np.array([-0.5, 0.6, 1.5])
    latent = columns @ beta + generator.standard_normal(4000)
    category = np.searchsorted(thresholds, latent)
    fitted = OrderedModel(category, columns, distr="probit").fit(method="bfgs", disp=False)
    expected = np.linalg.inv(4000 * ordered_probit_information(columns, beta, thresholds))
    assert fitted.bse[0] == pytest.approx(np.sqrt(expected[-1, -1]), rel=0.05)
    assert fitted.bse[1] == pytest.approx(np.sqrt(expected[0, 0]), rel=0.05)


def test_the_hospital_of_the_register_needs_no_allowance():
    at_home = model("disc_herniation", settings=FusionSettings(transfer_allowance=0.0))
    elsewhere = model("disc_herniation")
    known = read_record(vector("disc_herniation")).known
    assert evaluate(at_home, known, FIELDS).probability == evaluate(elsewhere, known, FIELDS).probability
    assert evaluate(at_home, known, FIELDS).width < 0.5 * evaluate(elsewhere, known, FIELDS).width


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.8])
def test_the_programmes_intercept_gives_the_local_rate(rate):
    own = model("chronic_low_back_pain", "odi_22_or_less", FusionSettings(programme_success_prob=rate))
    assert evaluate(own, {}, FIELDS).probability == pytest.approx(rate, abs=1e-6)
    employed = evaluate(own, {"employed": 1.0, "odi_percent": 40.0}, FIELDS).probability
    without = evaluate(own, {"employed": 0.0, "odi_percent": 40.0}, FIELDS).probability
    worse = evaluate(own, {"employed": 1.0, "odi_percent": 41.0}, FIELDS).probability
    odds = lambda p: p / (1 - p)  # noqa: E731
    assert odds(employed) / odds(without) == pytest.approx(3.61)
    assert odds(worse) / odds(employed) == pytest.approx(0.94)


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"odi_percent": 140}, "odi_percent is 140; 0 or a percentage from 2 to 100"),
        ({"nrs_back": -1}, "nrs_back is -1"),
        ({"smoker": "yes"}, 'smoker is "yes"; true or false'),
        ({"age_years": float("nan")}, "age_years is nan"),
        ({"favourite_colour": "red"}, "'favourite_colour' is not a known field"),
        ({"duration_back_pain": "long"}, "duration_back_pain"),
        ({"height_cm": 60, "weight_kg": 400}, "body mass index"),
    ],
)
def test_records_that_are_refused(record, told):
    with pytest.raises(BadClinicalRecord, match="Clinical record: ") as caught:
        fuse_findings((), (), record, SETTINGS)
    assert told in str(caught.value)


def test_what_follows_from_the_record():
    assert read_record({"height_cm": 180, "weight_kg": 81}).known["bmi_kg_m2"] == pytest.approx(25.0)
    assert read_record({"employed": True}).known["unemployed"] == 0.0
    assert "unemployed" not in read_record({"employed": False}).known
    both = read_record({"employed": True, "unemployed": True})
    assert "employed" not in both.known
    assert both.warnings
    assert read_record({"levels_planned": ["L4/L5", "L5/S1"]}).known["levels_planned"] == 2.0
    assert read_record({"indication": "cervical_radiculopathy"}).region == "cervical"
    assert read_record({"smoker": None}).known == {}
    assert replace(read_record(None)).known == {}
