"""Training of the grader: what each row may teach, who is left out, and probabilities that stay in order."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lab.train.grade_data import BOTH, NO_LABEL, OF_T1, Table  # noqa: E402
from lab.train.grade_network import (  # noqa: E402
    SLIP,
    TARGETS,
    THRESHOLDS,
    Grader,
    Member,
    Recipe,
    Unpack,
    probabilities,
    standardiser,
)
from lab.train.grade_slip import CAP_MM, Slip, fit_slip  # noqa: E402
from lab.train.grade_train import FIRST_RATIO, agreement, shifted, targets_of  # noqa: E402
from spine.grade import decide  # noqa: E402
from spine.grade.classes import CHANNELS, FLAGS, HEADS, MIYAZAKI, PFIRRMANN  # noqa: E402
from spine.grade.features import FEATURES  # noqa: E402
from spine.grade.inputs import pack  # noqa: E402

LEVELS = ("L5/S1", "L4/L5", "L3/L4", "L2/L3", "L1/L2", "T12/L1")


def table_of(group: tuple[str, ...], pfirrmann: tuple[int, ...], patient: tuple[str, ...] | None = None) -> Table:
    """Rows whose Pfirrmann classes are given; every other grade is 0."""
    n = len(group)
    labels = np.zeros((n, len(HEADS)), np.int64)
    labels[:, 0] = pfirrmann
    level = np.array([LEVELS[i % len(LEVELS)] for i in range(n)])
    features = np.random.default_rng(0).normal(size=(n, len(FEATURES))).astype(np.float32)
    return Table(
        features,
        labels,
        np.array(group),
        np.array(patient or ("1",) * n),
        level,
        np.array(["train"] * n),
        np.ones(n, np.bool_),
    )


def test_each_group_teaches_what_it_may():
    targets, weights = targets_of(table_of(("spider_t2", "spider_t1", BOTH, "mendeley_t2"), (2, 2, NO_LABEL, 3)))
    stenosis = THRESHOLDS + 1 + FLAGS.index("stenosis")
    assert targets[0, :THRESHOLDS].tolist() == [1, 1, 0, 0]  # grade III: above I and II
    assert targets[0, FIRST_RATIO:].tolist() == [1, 1, 0, 0]
    assert weights[0].tolist() == [1.0] * TARGETS
    assert set(weights[1, :FIRST_RATIO]) == {0.5}
    assert set(weights[1, FIRST_RATIO:]) == {0.0}  # T1 has no signal against fluid
    assert set(weights[2, :THRESHOLDS]) == {0.0}  # no grade
    assert np.flatnonzero(weights[3]).tolist() == [stenosis]


def test_patients_whose_grades_are_shifted_are_left_out():
    grades = (0, 1, 4, 4, 1, 0)
    right, moved = np.array(grades, float), np.array((4, 4, 1, 0, 0, 0), float)  # fits two levels further down
    table = table_of(("spider_t2",) * 18, grades * 3, ("1",) * 6 + ("2",) * 6 + ("3",) * 6)
    noisy = right + np.array([1, -1, 1, -1, 1, -1]) * 0.9  # far off, but no shift explains it
    found = shifted(np.concatenate([right, moved, noisy]), table)
    assert found.tolist() == [False] * 6 + [True] * 6 + [False] * 6


def test_probabilities_are_in_order_and_sum_to_one():
    sure = torch.full((1, TARGETS), 0.5)
    sure[0, :THRESHOLDS] = torch.tensor([0.9, 0.95, 0.3, 0.1])  # calibration pushed the second past the first
    told = probabilities(sure, torch.tensor([0.1, 0.8, 0.1]))[0].numpy()
    assert told[PFIRRMANN.channels] == pytest.approx((0.1, 0.0, 0.6, 0.2, 0.1), abs=1e-6)
    for head in (*HEADS, MIYAZAKI):
        assert told[head.channels].sum() == pytest.approx(1.0)
        assert (told[head.channels] >= 0).all()
    assert decide(PFIRRMANN, told[PFIRRMANN.channels]) == 2


def test_graph_ignores_what_is_unknown():
    torch.manual_seed(0)
    members = [Member(Recipe()).eval(), Member(Recipe(hidden=0)).eval()]
    ones = torch.ones(TARGETS)
    unpack = Unpack(torch.zeros(len(FEATURES)), torch.ones(len(FEATURES)))
    slip = Slip(torch.zeros(2, 2))
    grader = Grader(unpack, members, slip, (ones, 0 * ones), torch.tensor([0.1, 0.8, 0.1])).eval()
    table = table_of(("spider_t2",) * 2, (1, 2))
    features = table.features.copy()
    features[1] = features[0]
    features[:, OF_T1] = np.nan
    batch = pack(features)
    batch[1, 0, 0, OF_T1] = 7.0  # a value that is marked unknown
    answer = grader(torch.from_numpy(batch)).detach().numpy()
    assert answer.shape == (2, CHANNELS, 1, 1)
    np.testing.assert_allclose(answer[0], answer[1], atol=1e-6)


def slips(rows: tuple[tuple[float, float, float, float], ...]) -> torch.Tensor:
    """Packed features with level, slip_mm, step_back and step_front alone."""
    features = np.full((len(rows), len(FEATURES)), np.nan, np.float32)
    features[:, [FEATURES.index(name) for name in ("level", "slip_mm", "step_back", "step_front")]] = rows
    return torch.from_numpy(pack(features))


def test_slip_is_the_larger_of_two_readings_by_hand():
    nan = float("nan")
    slip = Slip(torch.tensor([[-1.0, -2.0], [0.0, 0.0]]), slope=0.5, shift=-4.0, unknown=-3.5)
    batch = slips(
        (
            (1, 4.0, 0.0, 0.0),  # rear corners 5 mm from usual, outlines 2 mm
            (1, -1.0, 4.0, 2.0),  # outlines 5 mm
            (1, -6.0, nan, 0.0),  # backward, 5 mm; one end of the outlines unknown
            (6, 5.0, nan, nan),  # thoracic: 5 mm from another usual place
            (1, 60.0, 0.0, 0.0),  # not believed: outlines, 2 mm
            (1, 15.0, 0.0, 0.0),  # capped
            (1, nan, nan, nan),
        )
    )
    moved_mm, known = slip.moved(batch)
    assert moved_mm[:6, 0].tolist() == pytest.approx([5, 5, 5, 5, 2, CAP_MM])
    assert known[:, 0].tolist() == [1] * 6 + [0]
    assert slip(batch)[:, 0].tolist() == pytest.approx([-1.5] * 4 + [-3.0, 0.0, -3.5])


def test_slip_is_learnt_centred_and_unknown_is_the_share():
    generator = np.random.default_rng(0)
    usual = generator.normal(-1.0, 1.0, (200, 3))
    usual[:20] += 7.0  # slipped
    present = np.arange(200) < 20
    batch = slips(tuple((2.0, *row) for row in usual))
    slip = fit_slip(batch, present, np.ones(200, np.float32))
    assert slip.usual_mm[0].tolist() == pytest.approx([-1.0, -1.0], abs=0.2)
    told = slip(batch)[:, 0].numpy()
    assert told[present].min() > told[~present].max()
    assert torch.sigmoid(torch.tensor(slip.unknown)).item() == pytest.approx(0.1)
    with pytest.raises(ValueError, match="with and without"):
        fit_slip(batch, np.zeros(200, np.bool_), np.ones(200, np.float32))


def test_spondylolisthesis_is_told_by_the_slip_alone():
    torch.manual_seed(0)
    ones = torch.ones(TARGETS)
    unpack = Unpack(torch.zeros(len(FEATURES)), torch.ones(len(FEATURES)))
    slip = Slip(torch.zeros(2, 2), slope=1.0, shift=-5.0)
    grader = Grader(unpack, [Member(Recipe()).eval()], slip, (ones, 0 * ones), torch.tensor([0.1, 0.8, 0.1])).eval()
    answer = grader(slips(((1, 5.0, 0.0, 0.0), (1, 0.0, 0.0, 0.0)))).detach().numpy()[:, :, 0, 0]
    head = next(h for h in HEADS if h.name == "spondylolisthesis")
    assert THRESHOLDS + 1 + FLAGS.index("spondylolisthesis") == SLIP
    assert answer[:, head.start + 1] == pytest.approx([0.5, 1 / (1 + np.exp(5.0))], abs=1e-5)


def test_standardiser_survives_features_that_nobody_has():
    values = np.full((30, 3), np.nan, np.float32)
    values[:, 0] = np.linspace(0, 1, 30)
    unpack = standardiser(values)
    assert unpack.mean.tolist() == pytest.approx([0.5, 0.0, 0.0])
    assert unpack.spread.tolist()[1:] == [1.0, 1.0]


def test_agreement_by_hand():
    found = agreement(np.array([0, 1, 2, 4]), np.array([0, 1, 4, 4]))
    assert found["exact"] == 0.75
    assert found["off_by_more"] == 0.25
