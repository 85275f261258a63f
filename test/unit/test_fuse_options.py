"""Options side by side: abstention with reasons, ranking, local cohorts, questions about the indication."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spine.errors import ModelError
from spine.fuse import fuse_findings
from spine.fuse.bayes import imaging_features, read_fusion, with_imaging
from spine.fuse.engine import evaluate
from spine.fuse.models import read_table
from spine.fuse.options import Case, treatment_options
from spine.fuse.published import published_models
from spine.fuse.record import read_record
from spine.records import Grade, Measurement
from spine.report.compose import likelihood_document, outcome_document
from spine.resources import violations
from spine.settings import FusionSettings

ROOT = Path(__file__).resolve().parents[2]
CASES = json.loads((ROOT / "test" / "input" / "fusion_vectors.json").read_text(encoding="utf-8"))["cases"]
VECTORS = {case["record"]["indication"]: case["record"] for case in CASES}
SETTINGS = FusionSettings()
LEVELS = ("L5/S1", "L4/L5", "L3/L4", "L2/L3", "L1/L2")
INTERFACE = {
    "treatment",
    "outcome",
    "horizon_months",
    "probability",
    "interval_90",
    "model",
    "missing",
    "abstained",
    "reason",
}


def options_of(record, settings=SETTINGS, **more):
    advice = fuse_findings((), (), record, settings, **more)
    return {(o["treatment"], o["outcome"], o["horizon_months"]): o for o in advice.options}


def graded(name, positive, levels=LEVELS):
    return tuple(Grade(level, name, positive > 0.5, (1 - positive, positive)) for level in levels)


def fusion_entry(model, **changes):
    """An entry of fusion.json that repeats `model`."""
    head = ("id", "region", "indication", "treatment", "outcome", "horizon_months", "link", "constant")
    keys = ("field", "kind", "coefficients", "mean", "scale", "levels", "shares")
    entry = {name: getattr(model, name) for name in head}
    entry["predictors"] = [{key: getattr(p, key) for key in keys} for p in model.predictors]
    entry["covariance"] = (model.covariance + model.transfer).tolist()
    facts = {
        "n": 109,
        "population": "p",
        "outcome_definition": "o",
        "in_words": "satisfied",
        "source": "s",
        "tag": "local",
    }
    return {**entry, "facts": facts, "performance": {}, "provenance": {}, **changes}


def write_fusion(folder, *entries):
    (folder / "fusion.json").write_text(json.dumps({"format": 1, "models": entries}), encoding="utf-8")
    return folder


def published(indication, outcome="satisfied"):
    return next(m for m in published_models(SETTINGS) if (m.indication, m.outcome) == (indication, outcome))


@pytest.mark.parametrize("record", [None, {}, *VECTORS.values(), {"indication": "chronic_low_back_pain"}])
def test_options_have_the_interface_and_are_json(record):
    advice = fuse_findings((), (), record, SETTINGS)
    assert len(advice.options) >= 3
    for option in advice.options:
        assert set(option) >= INTERFACE
        assert option["treatment"] in ("surgery", "pain_programme")
        assert option["abstained"] == (option["probability"] is None)
        assert option["abstained"] == (option["reason"] != "none")
    json.dumps([*advice.options, advice.degeneration, advice.score, *advice.caveats], allow_nan=False)
    assert any("do not give the effect of operating" in caveat for caveat in advice.caveats)


@pytest.mark.parametrize("record", [None, *VECTORS.values()])
def test_documents_satisfy_their_schemas(record):
    advice = fuse_findings((), graded("herniation", 0.9), record, SETTINGS)
    outcome, likelihood = outcome_document(advice), likelihood_document(advice)
    assert not list(violations(outcome, "spine-treatment-outcome-prediction.schema.json"))
    assert not list(violations(likelihood, "accelerated-degeneration-likelihood.schema.json"))
    json.dumps([outcome, likelihood], allow_nan=False)


def test_a_record_with_every_field_missing_answers():
    options = options_of({})
    surgery = options["surgery", "satisfied", 12]
    assert surgery["abstained"]
    assert surgery["reason"] == "no indication for surgery is named"
    assert surgery["ask_first"]["field"] == "indication"
    assert set(surgery["missing_by_indication"]) == set(VECTORS)
    assert "ndi_percent" in surgery["missing_by_indication"]["cervical_radiculopathy"]
    low, high = surgery["wide_estimate"]["interval_90"]
    assert high - low > 0.5
    programme = options["pain_programme", "odi_22_or_less", 12]
    assert programme["abstained"]
    assert programme["ask_first"]["field"] == "odi_percent"
    assert "too little is known" in programme["reason"]
    assert programme["wide_estimate"]["interval_90"][1] - programme["wide_estimate"]["interval_90"][0] > 0.5


@pytest.mark.parametrize("indication", VECTORS)
def test_an_indication_alone_is_not_enough(indication):
    option = options_of({"indication": indication})["surgery", "satisfied", 12]
    assert option["abstained"]
    assert option["known_share"] == 0
    assert option["ask_first"]["field"] == option["missing_items"][0]["field"]
    assert option["missing"] == [p.field for p in published(indication).predictors]
    width = option["interval_width"]
    assert width["now"] > width["if_nothing_were_missing"] > width["in_the_hospitals_of_the_equation"] * 0.5


def test_the_programme_serves_chronic_and_segmental_back_pain_only():
    known = {"employed": True, "odi_percent": 40}
    key = ("pain_programme", "odi_22_or_less", 12)
    chronic = options_of({**known, "indication": "chronic_low_back_pain"})
    assert not chronic[key]["abstained"]
    assert any("partial equation" in w for w in chronic[key]["warnings"])
    assert "chronic low back pain is none by itself" in chronic["surgery", "satisfied", 12]["reason"]
    assert not options_of({**known, "region": "lumbar"})[key]["abstained"]
    segmental = options_of({**known, "indication": "segmental_back_pain"})[key]
    assert any("the record names segmental back pain" in w for w in segmental["warnings"])
    herniation = options_of({**known, "indication": "disc_herniation"})[key]
    assert "not fitted on patients with disc herniation" in herniation["reason"]
    neck = options_of({"indication": "cervical_radiculopathy"})[key]
    assert "conservative treatment of the neck" in neck["reason"]


@pytest.mark.parametrize(("odi", "reached"), [(22, True), (23, False)])
def test_an_outcome_that_is_there_already_is_not_predicted(odi, reached):
    record = {"indication": "chronic_low_back_pain", "employed": True, "odi_percent": odi}
    option = options_of(record)["pain_programme", "odi_22_or_less", 12]
    assert option["abstained"] is reached
    if reached:
        assert option["reason"].startswith("odi_percent is 22: the outcome asked about")
        assert option["probability"] is None


def test_the_programme_needs_a_rate():
    option = options_of({"region": "lumbar"}, FusionSettings(programme_success_prob=None))
    assert "success rate" in option["pain_programme", "odi_22_or_less", 12]["reason"]
    local = FusionSettings(programme_success_prob=0.3, programme_success_is_local=True)
    record = {"indication": "chronic_low_back_pain", "employed": True, "odi_percent": 40}
    warnings = options_of(record, local)["pain_programme", "odi_22_or_less", 12]["warnings"]
    assert not any("not one of this hospital" in warning for warning in warnings)


def test_children_and_contradictions_are_refused():
    child = options_of({**VECTORS["disc_herniation"], "age_years": 15})
    assert all("adults" in option["reason"] for option in child.values())
    assert "wide_estimate" not in options_of({"age_years": 15})["surgery", "satisfied", 12]
    wrong = options_of({"region": "cervical", "indication": "disc_herniation"})
    assert all("region cervical but indication disc herniation" in option["reason"] for option in wrong.values())


def test_a_wide_interval_is_kept_back():
    record = VECTORS["cervical_radiculopathy"]
    option = options_of(record, FusionSettings(interval_width_max=0.1))["surgery", "satisfied", 12]
    assert option["abstained"]
    assert "too wide" in option["reason"]
    assert option["wide_estimate"]["probability"] == pytest.approx(0.8003, abs=5e-5)


def test_different_outcomes_are_never_ranked():
    record = {**VECTORS["segmental_back_pain"], "employed": True}
    for option in options_of(record).values():
        assert not option["abstained"]
        assert option["ranking"]["allowed"] is False
        assert "different outcomes cannot be ranked" in option["ranking"]["reason"]


@pytest.mark.parametrize(("constant", "allowed"), [(0.0, False), (4.0, True)])
def test_ranking_needs_the_same_outcome_and_intervals_apart(constant, allowed):
    programme = published("chronic_low_back_pain", "odi_22_or_less")
    surgery = replace(
        programme, id="local", treatment="surgery", indication="segmental_back_pain", origin="local",
        constant=programme.constant + constant, transfer=0 * programme.transfer,
    )  # fmt: skip
    record = read_record({"indication": "segmental_back_pain", "employed": True, "odi_percent": 40})
    case = Case(record, "lumbar", {}, published_models(SETTINGS), (surgery,), SETTINGS)
    options = [o for o in treatment_options(case) if o["outcome"] == "odi_22_or_less"]
    assert [o["ranking"]["allowed"] for o in options] == [allowed, allowed]
    if allowed:
        assert {o["treatment"]: o["ranking"]["rank"] for o in options} == {"surgery": 1, "pain_programme": 2}
    else:
        assert all("overlap" in o["ranking"]["reason"] for o in options)


def test_imaging_does_not_move_a_published_equation():
    record = VECTORS["disc_herniation"]
    grades = (*graded("herniation", 0.95), *graded("stenosis", 0.9), *graded("spondylolisthesis", 0.9))
    plain, seen = (fuse_findings((), g, record, SETTINGS).options for g in ((), grades))
    assert [o["probability"] for o in plain] == [o["probability"] for o in seen]
    assert [o["interval_90"] for o in plain] == [o["interval_90"] for o in seen]


def test_imaging_features_need_the_core_levels():
    assert imaging_features(graded("herniation", 0.8), "lumbar") == {"imaging.herniation": 0.8}
    assert imaging_features(graded("herniation", 0.8, LEVELS[:2]), "lumbar") == {}
    modic = tuple(Grade(level, "modic", 1, (0.3, 0.5, 0.2, 0.0)) for level in LEVELS)
    features = imaging_features(modic, "lumbar")
    assert features["imaging.modic_1"] == pytest.approx(0.5)
    assert features["imaging.modic_any"] == pytest.approx(0.7)


def test_the_imaging_prior_is_centred_on_no_effect():
    own = published("disc_herniation")
    seen = with_imaging(own, {"imaging.modic_1": 0.2, "imaging.stenosis": 0.4})
    known = read_record(VECTORS["disc_herniation"]).known
    fields = read_table()["fields"]
    both = {**known, "imaging.modic_1": 1.0, "imaging.stenosis": 1.0}
    plain, wider = evaluate(own, known, fields), evaluate(seen, both, fields)
    assert wider.probability == pytest.approx(plain.probability, abs=1e-12)
    assert wider.width > plain.width
    sizes = np.sqrt(np.diag(seen.covariance))[-2:]
    assert sizes == pytest.approx([0.354, 0.354])


def test_a_local_cohort_takes_over_where_it_matches(tmp_path):
    own = published("cervical_radiculopathy")
    entry = fusion_entry(own, id="local_a", constant=own.constant - 1)
    two_years = fusion_entry(own, id="local_b", horizon_months=24)
    folder = write_fusion(tmp_path, entry, two_years)
    options = options_of(VECTORS["cervical_radiculopathy"], model_dir=folder)
    local = options["surgery", "satisfied", 12]
    assert local["model"] == "local_a"
    assert local["published_equation"]["probability"] == pytest.approx(0.8003, abs=5e-5)
    assert local["probability"] < 0.65
    later = options["surgery", "satisfied", 24]
    assert later["probability"] == pytest.approx(0.8003, abs=5e-5)
    assert (local["published_equation"]["horizon_months"], later["published_equation"]["horizon_months"]) == (12, 12)
    advice = fuse_findings((), (), VECTORS["cervical_radiculopathy"], SETTINGS, folder)
    assert any(
        "Those fitted on its cohort were checked on the patients they were fitted on" in c for c in advice.caveats
    )
    assert not any(c.startswith("The equations have not been validated") for c in advice.caveats)
    other = options_of(VECTORS["disc_herniation"], model_dir=folder)
    assert other["surgery", "satisfied", 12]["model"].startswith("swespine")
    assert ("surgery", "satisfied", 24) not in other


def test_performance_of_a_local_equation_is_one_sentence(tmp_path):
    estimate = {"value": 0.606, "low": 0.51, "high": 0.705}
    unknown = {"not_measurable": "the cohort is too small or separates the outcomes"}
    performance = {
        "published_equation": {"auc": {"value": 0.617, "low": 0.525, "high": 0.717}},
        "optimism_corrected": {"auc": estimate, "calibration_slope": {"value": unknown, "low": 0.1, "high": 1.0}},
    }
    told = {}
    for name, found in (("full", performance), ("empty", {})):
        (tmp_path / name).mkdir()
        folder = write_fusion(tmp_path / name, fusion_entry(published("disc_herniation"), performance=found))
        told[name] = options_of(VECTORS["disc_herniation"], model_dir=folder)["surgery", "satisfied", 12]["evidence"]
    assert told["full"]["performance"] == (
        "on that cohort, corrected for optimism: AUC 0.61 (90 % interval 0.51 to 0.70); the published equation on the "
        "same patients: AUC 0.62 (90 % interval 0.53 to 0.72)"
    )
    assert told["empty"]["performance"] == "performance on the local cohort is not stated"


def test_a_local_equation_may_use_images(tmp_path):
    own = published("disc_herniation")
    seen = with_imaging(own, {"imaging.herniation": 0.5})
    predictors = (*seen.predictors[:-1], replace(seen.predictors[-1], coefficients=(0.8,)))
    folder = write_fusion(tmp_path, fusion_entry(replace(seen, predictors=predictors)))
    record = VECTORS["disc_herniation"]
    values = []
    for probability in (0.0, 1.0):
        advice = fuse_findings((), graded("herniation", probability), record, SETTINGS, folder)
        values.append(advice.options[0]["probability"])
    logits = [np.log(p / (1 - p)) for p in values]
    assert logits[1] - logits[0] == pytest.approx(0.8, abs=1e-4)
    without = fuse_findings((), (), record, SETTINGS, folder).options[0]
    assert without["missing"] == ["imaging.herniation"]
    assert values[0] < without["probability"] < values[1]


@pytest.mark.parametrize("damage", ["not json", '{"format": 99, "models": []}', '{"format": 1, "models": [{}]}'])
def test_a_damaged_fusion_file_is_a_software_error(tmp_path, damage):
    (tmp_path / "fusion.json").write_text(damage, encoding="utf-8")
    with pytest.raises(ModelError, match=r"fusion\.json"):
        read_fusion(tmp_path)


def test_a_fusion_file_with_a_wrong_covariance_is_refused(tmp_path):
    entry = fusion_entry(published("disc_herniation"), covariance=[[1.0]])
    with pytest.raises(ModelError, match="covariance"):
        read_fusion(write_fusion(tmp_path, entry))
    assert read_fusion(None) == ()
    assert read_fusion(tmp_path / "nowhere") == ()


def test_the_indication_is_a_question_never_an_answer():
    grades = (*graded("stenosis", 0.83), *graded("herniation", 0.2))
    advice = fuse_findings((), grades, {"region": "lumbar"}, SETTINGS)
    questions = [c for c in advice.caveats if c.startswith("Question")]
    assert len(questions) == 1
    assert "stenosis at L5/S1 (probability 0.83). Is spinal stenosis the indication?" in questions[0]
    assert advice.indication is None
    assert advice.options[0]["abstained"]
    agreed = fuse_findings((), grades, {"indication": "spinal_stenosis"}, SETTINGS)
    assert not any(c.startswith("Question") for c in agreed.caveats)


def test_the_region_may_come_from_the_images():
    heights = tuple(Measurement(level, "disc_height_middle_mm", 8.0, "mm") for level in ("C5/C6", "C6/C7"))
    advice = fuse_findings(heights, (), {}, SETTINGS)
    assert "conservative treatment of the neck" in advice.options[2]["reason"]


def test_a_record_of_another_region_than_the_images_is_said_everywhere():
    grades = (*graded("stenosis", 0.1), *graded("narrowing", 0.9), *graded("bulging", 0.9))
    record = {"region": "cervical", "indication": "cervical_radiculopathy", "age_years": 50}
    advice = fuse_findings((), grades, record, SETTINGS)
    told = "the record speaks of the cervical spine, the images show the lumbar spine"
    assert advice.caveats[0].startswith(f"Check the patient: {told}.")
    assert all(told in option["warnings"] for option in advice.options)
    agreed = fuse_findings((), grades, {"region": "lumbar", "age_years": 50}, SETTINGS)
    assert not any("Check the patient" in caveat for caveat in agreed.caveats)
    assert not any(told in option["warnings"] for option in agreed.options)


def test_sentences_hold_words_and_no_codes():
    record = {"indication": "segmental_back_pain", "duration_back_pain": "none", "levels_planned": 6}
    grades = (*graded("stenosis", 0.9), *graded("herniation", 0.9))
    sentences = []
    for indication in ("segmental_back_pain", "chronic_low_back_pain", None):
        record["indication"] = indication
        advice = fuse_findings((), grades, record, SETTINGS)
        sentences += [*advice.caveats, *(text for o in advice.options for text in (*o["warnings"], o["reason"]))]
    assert any("duration of back pain: none lies outside the cohort" in text for text in sentences)
    assert not [text for text in sentences if re.search(r"[a-z0-9]_[a-z0-9]", text)]
