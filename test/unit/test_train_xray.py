"""Training of the radiograph's network: targets, the two maps and their product, a run that continues."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.convert.xray_to_onnx import ShippedLandmarker
from lab.synth.radiograph_bank import write_bank
from lab.train import train_xray
from lab.train.train_xray import film_loss, main, peak_mm
from lab.train.xray_data import BLOB, SPUR_WEIGHT, as_tensors, draw_example, kind_target, level_target
from lab.train.xray_network import GROUP_LEVEL_OF, GROUPS, KIND_OF, KINDS, LEVELS, Landmarker, heatmaps
from spine.xray.landmarks import LANDMARKS

CANVAS = (128, 96)
WIDTHS = (4, 4, 8, 8, 8)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bank")
    write_bank(folder, "train", "cervical", range(1))
    return folder


def _points(**places: tuple[float, float]) -> np.ndarray:
    out = np.full((len(LANDMARKS), 2), np.nan)
    for name, at in places.items():
        vertebra, point = name.split("_", 1)
        out[LANDMARKS.index((vertebra, point))] = at
    return out


def test_a_blob_peaks_at_its_point() -> None:
    """Pixel m of the fine map has its centre at (m + 1/2) * 1.2 mm."""
    points = _points(C5_superior_anterior=(24.6, 36.6), C6_superior_anterior=(42.6, 36.6))
    seen = np.isfinite(points).all(1)
    kinds, weight = kind_target(points, seen, np.array([[60.0, 36.0]]), CANVAS)
    layer = kinds[KINDS.index("superior_anterior")]
    assert layer[20, 30] == pytest.approx(1.0)
    assert layer[35, 30] == pytest.approx(1.0)
    assert layer[22, 30] == pytest.approx(np.exp(-0.5 * (2 / BLOB) ** 2), abs=1e-5)  # two pixels away
    assert kinds.sum() == pytest.approx(layer.sum())
    assert weight[49, 29] == 0  # looks like a landmark but is none: nothing is asked
    seen[:] = False
    assert kind_target(points, seen, np.zeros((0, 2)), CANVAS)[0].max() == 0


def test_large_osteophytes_count_more_than_corners_without_one() -> None:
    points = _points(
        C5_superior_anterior=(24.6, 36.6),
        C5_superior_tip=(23.4, 31.8),
        C6_superior_anterior=(54.6, 36.6),
        C6_superior_tip=(54.6, 36.0),
    )
    weight = kind_target(points, np.isfinite(points).all(1), np.zeros((0, 2)), CANVAS)[1]
    between, small, far = weight[20, 28], weight[45, 30], weight[5, 5]
    assert between == SPUR_WEIGHT
    assert small == far == 1.0
    hidden = np.zeros(len(points), bool)
    assert kind_target(points, hidden, np.zeros((0, 2)), CANVAS)[1].max() == 1.0


def test_levels_own_the_cells_near_their_points() -> None:
    points = _points(
        C5_superior_anterior=(20.0, 20.0), C5_superior_posterior=(20.0, 36.0), C6_superior_anterior=(38.0, 20.0)
    )
    levels, weight = level_target(points, CANVAS)
    upper = {name: levels[LEVELS.index(name)] for name in ("C5", "C6")}
    assert upper["C5"][4, 5] == 1  # (21.6, 26.4) mm: between the corners of C5
    assert upper["C6"][4, 5] == 0
    assert weight[LEVELS.index("C6"), 4, 5] == 1
    assert upper["C6"][7, 4] == 1  # (36, 21.6) mm
    assert levels.shape == (len(GROUPS) * len(LEVELS), 16, 12)


def test_every_landmark_has_a_kind_and_a_level_of_its_own() -> None:
    pairs = set(zip(KIND_OF, GROUP_LEVEL_OF, strict=True))
    assert len(pairs) == len(LANDMARKS)


def test_examples_carry_their_points_along(bank: Path) -> None:
    """Where the fine target peaks, the level's target names the vertebra."""
    path = next(bank.glob("*.npz"))
    for seed in range(6):
        example = draw_example(path, np.random.default_rng(seed), (448, 352))
        if example.kinds.max() < 0.9:
            continue  # a negative
        assert example.image.shape == (448, 352)
        assert example.image.min() >= -0.2
        assert example.image.max() <= 1.3
        layer = example.kinds[KINDS.index("inferior_posterior")]
        row, column = np.unravel_index(int(layer.argmax()), layer.shape)
        own = example.levels[len(LEVELS) : 2 * len(LEVELS), row // 4, column // 4]
        assert own.sum() == 1
        return
    raise AssertionError("six negatives in a row")


def test_the_network_gives_both_maps_and_their_product() -> None:
    torch.manual_seed(0)
    network = Landmarker(WIDTHS).eval()
    with torch.no_grad():
        kinds, levels = network(torch.zeros(2, 1, 64, 96))
        maps = heatmaps(kinds, levels)
    assert kinds.shape == (2, 8, 32, 48)
    assert levels.shape == (2, 42, 8, 12)
    assert maps.shape == (2, 78, 32, 48)
    assert 0 <= maps.min() <= maps.max() <= 1


def test_the_shipped_network_answers_as_the_trained_one() -> None:
    torch.manual_seed(0)
    network = Landmarker(WIDTHS).eval()
    with torch.no_grad():
        for head in (network.kind_head, network.level_head):
            head.bias.zero_()  # answers in the middle of the range
        image = torch.randn(1, 1, 64, 64)
        reference = heatmaps(*network(image))
        answer = ShippedLandmarker(network)(image)
    assert answer.dtype == torch.float32
    np.testing.assert_allclose(answer, reference, atol=0.02)


def test_learning_lowers_the_loss(bank: Path) -> None:
    torch.manual_seed(0)
    path = next(bank.glob("*.npz"))
    examples = [as_tensors(draw_example(path, np.random.default_rng(s), CANVAS)) for s in (0, 1)]
    batch = [torch.stack(parts) for parts in zip(*examples, strict=True)]
    network = Landmarker(WIDTHS)
    optimiser = torch.optim.AdamW(network.parameters(), 5e-3)
    losses = []
    for _ in range(15):
        loss = film_loss(*network(batch[0]), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_a_run_continues_and_leaves_a_record(bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_xray, "BATCH", 1)
    arguments = ["--bank", str(bank), "--out", str(tmp_path), "--device", "cpu", "--minutes"]
    main([*arguments, "0.0001"])
    first = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    main([*arguments, str(first["log"][-1]["seconds"] / 60 + 0.0001)])
    second = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert second["steps"] > first["steps"] >= 1
    assert "no real radiograph" in second["data"]
    assert (tmp_path / "curves.png").exists()


def test_a_peak_is_read_between_pixels() -> None:
    kinds, _ = kind_target(
        _points(C5_superior_anterior=(30.3, 40.1)),
        np.arange(len(LANDMARKS)) == LANDMARKS.index(("C5", "superior_anterior")),
        np.zeros((0, 2)),
        CANVAS,
    )
    np.testing.assert_allclose(peak_mm(kinds[0]), (30.3, 40.1), atol=0.15)
