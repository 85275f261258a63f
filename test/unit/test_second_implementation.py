"""What test_metrics and test_agreement do not cover, against a second implementation on 200 random tables or pairs."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK
from scipy.spatial import cKDTree
from scipy.special import expit, logit
from scipy.stats import rankdata
from statsmodels.stats.inter_rater import cohens_kappa

from lab.evaluate.agreement import kappa
from lab.evaluate.compare import _signed_rank
from lab.evaluate.derive import derive
from lab.evaluate.masks import FOUND_DICE, LabelImage, LabelMap, score_masks
from lab.evaluate.outcomes import area_under_risk_coverage, fit_recalibration, recalibrate
from lab.evaluate.spider_leaderboard import leaderboard
from lab.evaluate.statistics import calibration_curve, calibration_groups, performance

TABLES = 200
NEAR = 1e-6
SPACING_MM = (3.0, 0.8, 0.5)
NAMES = {1: "L5", 2: "L4", 3: "L3", 201: "L5/S1", 202: "L4/L5"}


def outcome_tables():
    """(patient,) outcomes and probabilities that have something to do with each other; both outcomes occur."""
    generator = np.random.default_rng(21)
    for _ in range(TABLES):
        count = int(generator.integers(30, 120))
        truth = generator.uniform(0.1, 0.9, count)
        outcome = (generator.random(count) < truth).astype(float)
        outcome[:2] = (0.0, 1.0)
        yield outcome, expit(generator.uniform(0.5, 1.5) * logit(truth) + generator.normal(0, 0.7, count))


def newton(outcome, design, offset):
    """Maximum likelihood of a logistic regression, by Newton's method on the plain formulas."""
    theta = np.zeros(design.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-(offset + design @ theta)))
        information = (design.T * (chance * (1 - chance))) @ design
        theta = theta + np.linalg.solve(information, design.T @ (outcome - chance))
    return theta


def test_discrimination_and_calibration():
    for outcome, probability in outcome_tables():
        odds = np.log(probability / (1 - probability))
        ones = np.ones((len(outcome), 1))
        both = newton(outcome, np.column_stack([ones, odds]), 0.0)
        ranks, events = rankdata(probability), outcome.sum()
        expected = {
            "auc": (ranks[outcome == 1].sum() - events * (events + 1) / 2) / (events * (len(outcome) - events)),
            "brier": sum((p - o) ** 2 for p, o in zip(probability, outcome, strict=True)) / len(outcome),
            "calibration_intercept": newton(outcome, ones, odds)[0],
            "calibration_slope": both[1],
            "expected_over_observed": sum(probability) / sum(outcome),
        }
        assert performance(outcome, probability) == pytest.approx(expected, abs=NEAR)
        assert fit_recalibration(outcome, probability) == pytest.approx(tuple(both), abs=NEAR)
        odds_after = both[0] + both[1] * odds
        assert recalibrate(probability, *both) == pytest.approx(np.exp(odds_after) / (1 + np.exp(odds_after)), abs=NEAR)


def test_calibration_plots():
    for outcome, probability in outcome_tables():
        order = sorted(range(len(outcome)), key=lambda i: probability[i])
        size, more = divmod(len(order), 5)
        start = 0
        for place, group in enumerate(calibration_groups(outcome, probability)):
            members = order[start : start + size + (place < more)]
            start += len(members)
            assert group["n"] == len(members)
            assert group["observed"] == pytest.approx(np.mean([outcome[i] for i in members]), abs=NEAR)
            assert group["predicted"] == pytest.approx(np.mean([probability[i] for i in members]), abs=NEAR)
        at = np.quantile(probability, [0.2, 0.5, 0.8])
        curve = [local_line(outcome, probability, x) for x in at]
        assert calibration_curve(outcome, probability, at) == pytest.approx(np.clip(curve, 0, 1), abs=NEAR)


def local_line(outcome, probability, x):
    """Weighted straight line through the nearest two thirds of the points, tricube weights; its value at `x`."""
    count = int(2 / 3 * len(probability) + 1e-10)
    distance = np.abs(probability - x)
    weight = np.clip(1 - (distance / np.sort(distance)[count - 1]) ** 3, 0, None) ** 3
    design = np.column_stack([np.ones_like(probability), probability - x])
    return np.linalg.solve((design.T * weight) @ design, design.T @ (weight * outcome))[0]


def test_area_under_risk_coverage():
    generator = np.random.default_rng(22)
    for _ in range(TABLES):
        error, confidence = generator.random(25), np.round(generator.random(25), 1)  # with ties
        rows = sorted(zip(confidence, error, strict=True), key=lambda row: (-row[0], -row[1]))
        means = [np.mean([e for _, e in rows[:kept]]) for kept in range(1, 26)]
        assert area_under_risk_coverage(error, confidence) == pytest.approx(np.mean(means), abs=NEAR)


def test_linear_kappa():
    generator = np.random.default_rng(23)
    for _ in range(TABLES):
        a = np.r_[1, 5, generator.integers(1, 6, 40)]
        b = np.where(generator.random(42) < 0.5, a, generator.integers(1, 6, 42))
        table = np.zeros((5, 5))
        np.add.at(table, (a - 1, b - 1), 1)
        assert kappa(a, b, "linear") == pytest.approx(cohens_kappa(table, wt="linear").kappa, abs=NEAR)


def test_signed_rank_p_values():
    """Every way to put signs on the ranks, counted."""
    generator = np.random.default_rng(24)
    signs = np.array(list(product((0, 1), repeat=8)))
    for _ in range(TABLES):
        differences = generator.normal(0.4, 1.0, 8)
        ranks = rankdata(np.abs(differences))
        sums, own = signs @ ranks, ranks[differences > 0].sum()
        above, below = np.mean(sums >= own - 1e-9), np.mean(sums <= own + 1e-9)
        assert _signed_rank(differences, "greater") == pytest.approx(above, abs=NEAR)
        assert _signed_rank(differences, "two-sided") == pytest.approx(min(1.0, 2 * min(above, below)), abs=NEAR)


def label_pairs():
    """Stacks of blocks with names, some moved, some exchanged, some lost, and specks of noise."""
    generator = np.random.default_rng(25)
    for _ in range(TABLES):
        truth = np.zeros((16, 6, 3), np.int64)
        for place, label in enumerate((1, 202, 2, 201, 3)):
            truth[3 * place : 3 * place + 3, 1:5, 1:3] = label
        found = np.roll(truth, generator.integers(-2, 3, 3), (0, 1, 2))
        lost, (first, second) = generator.integers(1, 4), generator.choice([1, 2, 3], 2, replace=False)
        if generator.random() < 0.4:
            found = np.where(found == lost, 0, found)
        if generator.random() < 0.4:
            found = np.select([found == first, found == second], [second, first], found)
        specks = generator.random(truth.shape) < 0.05
        yield truth, np.where(specks, generator.choice([0, 1, 2, 3, 201, 202], truth.shape), found)


def overlap(a, b):
    """Dice by SimpleITK."""
    measures = SimpleITK.LabelOverlapMeasuresImageFilter()
    measures.Execute(*(SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in (a, b)))
    return measures.GetDiceCoefficient()


def best_matches(truth, found, labels):
    """Every one-to-one match with the greatest sum of Dice, as reference label -> (predicted label, Dice); by trial."""
    ours, theirs = ([n for n in labels if (array == n).any()] for array in (truth, found))
    dice = {(a, b): overlap(truth == a, found == b) for a in ours for b in theirs}
    orders = sorted(set(permutations([*theirs, *([-1] * len(ours))], len(ours))))
    sums = [sum(dice.get(pair, 0.0) for pair in zip(ours, order, strict=True)) for order in orders]
    best = [order for order, total in zip(orders, sums, strict=True) if total > max(sums) - 1e-9]
    found_dice = [{a: (b, dice.get((a, b), 0.0)) for a, b in zip(ours, order, strict=True)} for order in best]
    kept = [{a: pair for a, pair in match.items() if pair[1] >= FOUND_DICE} for match in found_dice]
    return kept, ours, theirs


def test_detection_and_numbering():
    raw, found_all, total, extra_all, right_all = [], 0, 0, 0, 0
    for number, (truth, found) in enumerate(label_pairs()):
        images = (LabelImage(array, SPACING_MM, NAMES, (0, True)) for array in (truth, found))
        result = score_masks(*images, LabelMap("test", "", NAMES))
        raw.append({"case": str(number), "patient": str(number), "masks": result})
        instances = {one["reference"]: one for one in result["instances"]}
        for kind in ((1, 2, 3), (201, 202)):
            matches, ours, theirs = best_matches(truth, found, kind)
            own = {n: instances[NAMES[n]]["prediction"] for n in ours if instances[NAMES[n]]["found"]}
            (match,) = [m for m in matches if {a: NAMES[b] for a, (b, _) in m.items()} == own][:1]
            assert {n: instances[NAMES[n]]["dice"] for n in match} == pytest.approx(
                {n: dice for n, (_, dice) in match.items()}, abs=NEAR
            )
            found_all, total = found_all + len(match), total + len(ours)
            extra_all += len(theirs) - len(match)
            right_all += sum(a == b for a, (b, _) in match.items())
    tables = derive(raw, draws=2)
    assert sum(row["found"] for row in tables["detection"]) == found_all
    assert sum(row["reference"] for row in tables["detection"]) == total
    assert sum(row["extra"] for row in tables["detection"]) == extra_all
    for row in tables["detection"]:
        assert row["sensitivity"] == pytest.approx(row["found"] / row["reference"], abs=NEAR)
        assert row["precision"] == pytest.approx(row["found"] / (row["found"] + row["extra"]), abs=NEAR)
    share = next(row["share"] for row in tables["numbering"] if row["what"] == "found levels named right")
    assert share == pytest.approx(right_all / found_all, abs=NEAR)


def rim(mask):
    """Index of voxels with any of 26 neighbours outside the mask; beyond the image is outside."""
    padded = np.pad(mask, 1)
    shifted = [np.roll(padded, step, (0, 1, 2)) for step in product((-1, 0, 1), repeat=3)]
    return np.argwhere((padded & ~np.logical_and.reduce(shifted))[1:-1, 1:-1, 1:-1])


def second_leaderboard(truth, found, spacing):
    """Dice and surface distance of each reference label against the label that covers most of it."""
    scores = {}
    for label in sorted(set(truth[truth > 0].tolist())):
        under = sorted(found[(truth == label) & (found > 0)].tolist())
        if not under:
            scores[label] = (0.0, np.nan)
            continue
        other = max(sorted(set(under)), key=under.count)
        a, b = (rim(mask) * np.array(spacing) for mask in (truth == label, found == other))
        distances = [*cKDTree(b).query(a)[0], *cKDTree(a).query(b)[0]]
        scores[label] = (overlap(truth == label, found == other), np.mean(distances))
    return scores


@pytest.mark.parametrize("as_published", [True, False])
def test_scores_of_the_spider_leaderboard(as_published):
    for truth, found in label_pairs():
        ours = leaderboard(truth, found, SPACING_MM, as_published)
        scores = second_leaderboard(truth, found, SPACING_MM if as_published else SPACING_MM[::-1])
        for group, labels in (("Vertebrae", (1, 2, 3)), ("Discs", (201, 202))):
            dice, distance = (np.array([scores[n][i] for n in labels]) for i in (0, 1))
            assert ours[f"DetectionRate{group}"] == pytest.approx(np.mean(dice >= 0.1), abs=NEAR)
            if (dice >= 0.1).any():
                assert ours[f"DiceScore{group}"] == pytest.approx(dice[dice >= 0.1].mean(), abs=NEAR)
            if np.isfinite(distance).all():
                assert ours[f"ASD{group}"] == pytest.approx(distance.mean(), abs=NEAR)
            else:
                assert "not_measurable" in ours[f"ASD{group}"]
        assert ours["OveralDiceScore"] == pytest.approx(np.mean([d for d, _ in scores.values()]), abs=NEAR)
        assert ours["DiceScoreSpinalCanal"] == 999.0  # no canal in these
