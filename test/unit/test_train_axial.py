"""Training of the axial network: loss, augmentation, resuming, export."""

import numpy as np
import pytest
import torch

from lab.convert.axial_to_onnx import export_axial, padded
from lab.convert.ship import compare
from lab.synth.axial_bank import STEPS
from lab.train.axial_augment import AxialItem, augment, draw_item, read_item
from lab.train.run import Run, load_run
from lab.train.train_axial import CLASSES, axial_loss, build_axial, validate
from spine.runners import open_runner


@pytest.fixture
def bank(tmp_path):
    """Two stacks of three slices with a square of class 2 in the middle of a grey picture."""
    labels = np.zeros((3, 60, 70), np.uint8)
    labels[:, 20:40, 25:45] = 2
    images = np.stack([np.where(labels, 90, 40) + 10 * n for n in range(2)]).astype(np.uint8)
    for number in range(2):
        np.savez(tmp_path / f"{number:05d}.npz", images=images, labels=labels, slice_mm=4.0)
    return sorted(tmp_path.glob("*.npz"))


def test_loss_is_near_zero_for_the_truth_and_large_for_its_opposite():
    labels = torch.zeros(1, 16, 16, dtype=torch.int64)
    labels[:, 4:12, 4:12] = 3
    right = 20.0 * torch.nn.functional.one_hot(labels, CLASSES).movedim(-1, 1).float()
    assert axial_loss(right, labels).item() == pytest.approx(0, abs=1e-4)
    assert axial_loss(-right, labels).item() > 5


def test_loss_of_an_even_guess_by_hand():
    labels = torch.zeros(1, 10, 10, dtype=torch.int64)
    labels[:, :5] = 1
    # cross-entropy ln 7; Dice of the only class that occurs: (2 * 50 / 7 + 1) / (100 / 7 + 50 + 1)
    expected = np.log(7) + 1 - (100 / 7 + 1) / (100 / 7 + 51)
    assert axial_loss(torch.zeros(1, CLASSES, 10, 10), labels).item() == pytest.approx(expected, abs=1e-5)


def test_end_slices_stand_in_for_missing_neighbours(bank):
    item = read_item(bank[0], 1, 2)
    assert item.image.shape == (3, 60, 70)
    np.testing.assert_array_equal(item.image[1], item.image[2])
    assert item.image.max() == pytest.approx(100 / STEPS)


def test_augmented_crops_keep_image_and_labels_together(bank):
    rng = np.random.default_rng(0)
    for _ in range(20):
        image, labels = augment(draw_item(bank, rng), rng, (64, 96))
        assert image.shape == (3, 64, 96)
        assert image.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert set(labels.unique().tolist()) <= {0, 2}
        assert torch.isfinite(image).all()


def test_mirroring_and_moving_keep_the_marked_pixels_bright():
    labels = np.zeros((60, 70), np.uint8)
    labels[20:40, 25:45] = 2
    item = AxialItem(np.repeat(labels[None].astype(np.float32), 3, 0), labels)
    rng = np.random.default_rng(2)
    image, moved = augment(item, rng, (96, 96))
    assert image[1][moved == 2].mean() > 3 * image[1][moved == 0].mean()


def test_run_resumes_where_it_stopped(tmp_path, bank):
    rng = np.random.default_rng(0)
    pairs = [augment(draw_item(bank, rng), rng, (32, 32)) for _ in range(2)]
    images, labels = (torch.stack(part) for part in zip(*pairs, strict=True))
    run = Run(tmp_path, 1, build_axial, (4, 8))
    first = run.descend(axial_loss(run.network(images), labels), 1e-3)
    run.descend(axial_loss(run.network(images), labels), 1e-3)
    run.save()
    again = Run(tmp_path, 1, build_axial, (4, 8))
    assert again.step == 2
    assert np.isfinite(first)
    for a, b in zip(run.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert set(validate(again.average, bank)) >= {"dice_multifidus", "dice_erector_spinae", "dice_sac"}


@pytest.mark.filterwarnings(  # of the older exporter, which writes the segmenter too
    "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore:ONNX export mode:UserWarning"
)
def test_exported_file_answers_as_the_checkpoint(tmp_path, bank):
    Run(tmp_path, 1, build_axial, (4, 8)).save()
    digest = export_axial(tmp_path / "last.pt", tmp_path / "axial.onnx")
    network = load_run(tmp_path / "last.pt", build_axial)
    assert len(network.body.down) == 2
    found = compare(network, open_runner(tmp_path / "axial.onnx", digest, "cpu"), map(padded, bank))
    assert found["agree"] > 0.98
    assert found["largest_change_prob"] < 0.02
