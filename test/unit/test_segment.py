"""segment and runners: what the network is shown, what comes back, and which model files are refused."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from spine.anatomy import STRUCTURES, Structure
from spine.errors import ModelError
from spine.records import Grid, Volume
from spine.runners import available_threads, open_runner
from spine.segment import TILE_BYTES, largest, segment_volume, tile_slices, to_half
from spine.settings import SegmenterSettings, read_settings

MODEL = Path(__file__).parents[2] / "model"
SETTINGS = SegmenterSettings(file="x", sha256="", neighbours=1, batch=2)


def volume(array, content=None):
    grid = Grid(array.shape[::-1], (1.0, 1.0, 4.0), (0.0, 0.0, 0.0), (0.0, 0, 1, 1, 0, 0, 0, -1, 0))
    content = content or array.shape
    return Volume(array, (4.0, 0.8, 0.8), content, np.eye(4), grid, (2, 1, 0), (False, False, False))


class Recorder:
    """Answers that every voxel is a disc, and keeps what it was shown."""

    name = "recorder"

    def __init__(self, classes=10):
        self.shown, self.classes = [], classes

    def __call__(self, batch):
        self.shown.append(batch.copy())
        answer = np.zeros((len(batch), self.classes, *batch.shape[2:]), np.float32)
        answer[:, Structure.DISC] = 1
        return answer


def test_each_slice_comes_with_its_neighbours_and_the_last_stands_in_for_the_missing():
    array = np.arange(3, dtype=np.float32)[:, None, None] * np.ones((3, 32, 32), np.float32)
    runner = Recorder()
    segmentation = segment_volume(volume(array), runner, SETTINGS)
    shown = np.concatenate(runner.shown)[:, :, 0, 0]
    np.testing.assert_array_equal(shown, [[0, 0, 1], [0, 1, 2], [1, 2, 2], [1, 2, 2]])
    assert (segmentation.structures == Structure.DISC).all()
    assert segmentation.confidence == {"DISC": 1.0}
    assert segmentation.runner == "recorder"


def test_padding_is_background():
    segmentation = segment_volume(volume(np.zeros((1, 32, 64), np.float32), (1, 30, 50)), Recorder(), SETTINGS)
    assert (segmentation.structures[:, 30:] == 0).all()
    assert (segmentation.structures[:, :, 50:] == 0).all()


def test_half_precision_is_the_nearest_and_tiny_values_are_zero():
    exact = np.concatenate([np.linspace(0, 1, 100_001, dtype=np.float32), np.float32([2**-14, 0.0])])
    kept = exact >= 2**-14
    half = to_half(exact)
    assert half.dtype == np.float16
    error = np.abs(half.astype(np.float64) - exact)
    assert (error <= np.abs(exact.astype(np.float16).astype(np.float64) - exact))[kept].all()
    assert (half[~kept] == 0).all()
    np.testing.assert_array_equal(to_half(np.float32([1.0, 1 - 2**-13, 1e-38, 6e-8])), [1, 1, 0, 0])


def test_the_largest_class_is_numpys_argmax_ties_included():
    probability = np.random.default_rng(0).integers(0, 4, (5, 20, 30)).astype(np.float32)
    np.testing.assert_array_equal(largest(probability), probability.argmax(0))


def test_a_thick_volume_is_tiled_along_slices_in_whole_batches():
    assert tile_slices(18, 352, 352, 1) == 18
    assert tile_slices(18, 352, 352, 4) == 16
    assert tile_slices(3, 352, 352, 4) == 4
    assert tile_slices(200, 2048, 2048, 2) == 2  # never less than a batch
    slices = tile_slices(200, 512, 512, 1)
    assert slices * 10 * 512 * 512 * 4 <= TILE_BYTES < (slices + 1) * 10 * 512 * 512 * 4


def test_tiles_meet_without_a_seam(monkeypatch):
    array = np.random.default_rng(0).random((9, 32, 32), np.float32)
    monkeypatch.setattr("spine.segment.TILE_BYTES", 4 * 10 * 32 * 32 * 4)
    runner = Recorder()
    segment_volume(volume(array), runner, SETTINGS)
    assert [len(batch) for batch in runner.shown] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(runner.shown)[:9, 1], array)
    np.testing.assert_array_equal(runner.shown[1][0, 0], array[3])


def test_images_of_many_sizes_get_the_answer_of_their_own_size():
    settings = read_settings(MODEL)
    runner = open_runner(MODEL / settings.segmenter.file, settings.segmenter.sha256, "cpu")
    images = [np.random.default_rng(n).random((3, 3, 64, 32 * n), np.float32) for n in (2, 3, 4, 5)]
    first = [runner(image) for image in images]
    for image, answer in zip(images, first, strict=True):
        np.testing.assert_array_equal(runner(image), answer)
        np.testing.assert_array_equal(runner(image[1:2])[0], answer[1])


def test_a_network_with_other_classes_is_refused():
    with pytest.raises(ModelError, match="answers with 7 classes; 10 are expected"):
        segment_volume(volume(np.zeros((1, 32, 32), np.float32)), Recorder(7), SETTINGS)


def test_the_shipped_network_answers_with_probabilities():
    settings = read_settings(MODEL)
    runner = open_runner(MODEL / settings.segmenter.file, settings.segmenter.sha256, "cpu")
    answer = runner(np.random.default_rng(0).random((1, 3, 64, 96), np.float32))
    assert answer.shape == (1, len(STRUCTURES), 64, 96)
    np.testing.assert_allclose(answer.sum(1), 1, atol=1e-4)
    assert runner.name.startswith("OpenVINO CPU, f32")


def test_a_foreign_model_file_is_refused(tmp_path):
    file = tmp_path / "segmenter.onnx"
    file.write_bytes(b"not a network")
    with pytest.raises(ModelError, match=r"segmenter.onnx: the model file is not the one that settings.json names"):
        open_runner(file, "0" * 64, "cpu")
    with pytest.raises(ModelError, match="not a network that this version can read"):
        open_runner(file, hashlib.sha256(b"not a network").hexdigest(), "cpu")


def test_a_missing_model_file_is_said(tmp_path):
    with pytest.raises(ModelError, match=r"gone.onnx: the model file cannot be read \(No such file or directory\)"):
        open_runner(tmp_path / "gone.onnx", "", "cpu")


@pytest.mark.parametrize("choice", ["tensorrt", "cuda"])
def test_a_runner_that_is_not_there_is_said(choice):
    settings = read_settings(MODEL)
    with pytest.raises(ModelError, match=f"the runner '{choice}'"):
        open_runner(MODEL / settings.segmenter.file, settings.segmenter.sha256, choice)


def test_auto_falls_back_to_the_cpu():
    settings = read_settings(MODEL)
    runner = open_runner(MODEL / settings.segmenter.file, settings.segmenter.sha256, "auto")
    assert runner.name.startswith("OpenVINO CPU")


def test_threads_follow_the_quota_of_the_container(tmp_path, monkeypatch):
    limit = tmp_path / "cpu.max"
    limit.write_text("100000 100000\n")
    monkeypatch.setattr("spine.runners.CGROUP_LIMITS", ((limit,),))
    assert available_threads() == 1
    limit.write_text("max 100000\n")
    assert available_threads() >= 1


def test_unknown_settings_are_refused(tmp_path):
    text = (MODEL / "settings.json").read_text()
    (tmp_path / "settings.json").write_text(text.replace('"neighbours"', '"neighbors"'))
    with pytest.raises(ModelError, match="segmenter: expected exactly the keys"):
        read_settings(tmp_path)
    with pytest.raises(ModelError, match="the model's settings cannot be read"):
        read_settings(tmp_path / "nowhere")
