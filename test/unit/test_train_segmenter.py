"""Training of the segmenter: published layouts on disk, labels from a first round, a run that continues."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch

from lab.train import volumes
from lab.train.network import build_network, load_average, seen_slices, with_more_slices
from lab.train.pseudo_label import _centred, _without_strays
from lab.train.sources import ALL, bits
from lab.train.train_segmenter import main
from spine.anatomy import Structure

PIXEL_MM = 0.8


def _store(array: np.ndarray, file: Path, axes: str = "PIL") -> None:
    """(slice, down, back) at 4 x 0.8 x 0.8 mm, stored with its axes running to `axes`."""
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing((PIXEL_MM, PIXEL_MM, 4.0))
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, -1, 0))
    file.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(SimpleITK.DICOMOrient(image, axes), str(file))


def _spine() -> tuple[np.ndarray, np.ndarray]:
    """Picture and SPIDER labels, (3, 64, 48): two vertebrae, a disc between them, canal, an arch behind it."""
    labels = np.zeros((3, 64, 48), np.uint8)
    labels[:, 8:24, 8:24], labels[:, 24:30, 8:24], labels[:, 30:46, 8:24] = 2, 201, 1
    labels[:, 8:46, 26:32], labels[:, 10:20, 36:42] = 100, 2
    picture = np.select([labels == 100, labels == 201, labels > 0], [900, 500, 300], 100).astype(np.float32)
    return picture + np.arange(64, dtype=np.float32)[:, None], labels


@pytest.mark.parametrize("axes", ["PIL", "LPS", "AIR"])
def test_spider_as_published_is_read_in_any_orientation(tmp_path, axes):
    picture, labels = _spine()
    for patient in ("900", "22"):  # 22 is a test patient
        _store(picture, tmp_path / "images" / f"{patient}_t2.mha", axes)
        _store(labels, tmp_path / "masks" / f"{patient}_t2.mha", axes)
    loaded = volumes.spider(tmp_path, PIXEL_MM)
    [item] = loaded.items
    assert loaded.left_out == {"held back for validation or test": 1}
    assert (item.patient, item.slice_mm) == ("900", 4.0)
    assert item.image.shape == item.sets.shape == (3, 64, 48)
    assert np.all(item.sets[:, 31:45, 9:23] == bits(Structure.BODY))
    assert np.all(item.sets[:, 25:29, 9:23] == bits(Structure.DISC))
    assert np.all(item.sets[:, 12:44, 27:31] == bits(Structure.CANAL, Structure.CORD))
    assert np.all(item.sets[:, 12:19, 37:41] == bits(Structure.POSTERIOR))
    assert np.all(item.sets[:, :8] == ALL)  # above the highest labelled vertebra


def test_an_island_apart_from_the_spine_becomes_unknown():
    sure = np.full((60, 60), bits(Structure.BACKGROUND), np.uint16)
    sure[10:30, 10:20], sure[32:50, 10:20] = bits(Structure.BODY), bits(Structure.BODY)
    sure[40:45, 45:50] = bits(Structure.SACRUM)
    kept = _without_strays(sure)
    assert np.all(kept[40:45, 45:50] == ALL)
    assert np.array_equal(kept == ALL, sure == bits(Structure.SACRUM))


def test_answers_of_two_matrices_meet_at_their_centre():
    answer = np.zeros((2, 4, 6), np.float32)
    answer[1, 1:3, 2:4] = 1
    moved = _centred(answer, (6, 4))
    assert np.array_equal(moved[1, 2:4, 1:3], np.ones((2, 2)))
    assert np.all(moved[:, 0] == 0.5)  # nothing known there


def test_a_run_continues_and_a_second_round_starts_from_it(tmp_path):
    picture, labels = _spine()
    _store(picture, tmp_path / "spider/images/900_t2.mha")
    _store(labels, tmp_path / "spider/masks/900_t2.mha")
    common = ["--data", "none", "--spider", str(tmp_path / "spider"), "--device", "cpu"]
    common += ["--widths", "8", "8", "8", "8", "8"]
    first, second = tmp_path / "first", tmp_path / "second"
    main([*common, "--out", str(first), "--steps", "1"])
    main([*common, "--out", str(first), "--steps", "2"])
    record = json.loads((first / "record.json").read_text())
    assert [entry["step"] for entry in record["log"]] == [1, 2]
    assert record["items"] == {"spider": 1}
    assert (first / "curves.png").stat().st_size > 1000
    main([*common, "--out", str(second), "--steps", "1", "--rate", "0", "--init", str(first)])
    before, after = (load_average(folder / "last.pt").state_dict() for folder in (first, second))
    assert all(torch.allclose(before[name], after[name]) for name in before)


def test_more_slices_change_nothing_at_first(tmp_path):
    three = build_network(3, widths=(8, 8, 8, 8, 8)).eval()
    five = build_network(5, widths=(8, 8, 8, 8, 8)).eval()
    five.load_state_dict(with_more_slices(three.state_dict(), 5))
    image = torch.rand(1, 5, 32, 64)
    with torch.no_grad():
        assert torch.allclose(five(image), three(image[:, 1:4]), atol=1e-5)
    torch.save({"average": five.state_dict()}, tmp_path / "last.pt")
    assert seen_slices(load_average(tmp_path / "last.pt")) == 5
