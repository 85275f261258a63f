"""Training data and runs that cannot be used end with one sentence that names what is wrong, and exit code 2."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch

from lab.train import sources, volumes
from lab.train.averaging import NotFinite, descend
from lab.train.losses import segmentation_loss
from lab.train.network import build_network
from lab.train.sources import ALL, UnusableData, bits
from lab.train.train_segmenter import main
from spine.anatomy import Structure

PIXEL_MM = 0.8
CLASSES = {"background": ["BACKGROUND"], "vertebra": ["BODY", "POSTERIOR"], "disc": ["DISC"]}
NUMBERS = {"background": 0, "vertebra": 1, "disc": 2}
WIDTHS = ["--widths", "8", "8", "8", "8", "8"]


def _image(array: np.ndarray, spacing=(PIXEL_MM, PIXEL_MM, 4.0), origin=(0.0, 0.0, 0.0)) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, -1, 0))
    return image


def _write(image: SimpleITK.Image, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(file))


def _picture() -> np.ndarray:
    return np.random.default_rng(0).uniform(50, 900, (3, 40, 32)).astype(np.float32)


def _labels(vertebra: int = 1, disc: int = 201, kind: type = np.int16) -> np.ndarray:
    labels = np.zeros((3, 40, 32), kind)
    labels[:, 6:18, 6:18], labels[:, 18:24, 6:18], labels[:, 24:34, 6:18] = vertebra, disc, vertebra
    return labels


def _spider(
    folder: Path, mask: SimpleITK.Image | None = None, picture: np.ndarray | None = None, name="900_t2"
) -> Path:
    _write(_image(_picture() if picture is None else picture), folder / f"images/{name}.mha")
    _write(_image(_labels()) if mask is None else mask, folder / f"masks/{name}.mha")
    return folder


def _nnunet(folder: Path, labels: np.ndarray | None = None, numbers: object = None) -> Path:
    _write(_image(_picture()), folder / "imagesTr/a_0000.nii.gz")
    _write(_image(_labels(1, 2) if labels is None else labels), folder / "labelsTr/a.nii.gz")
    (folder / "dataset.json").write_text(json.dumps({"labels": NUMBERS if numbers is None else numbers}))
    return folder


def _refused(capsys, *words: object, data: str = "none") -> str:
    """The sentence a run ends with."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["--data", data, "--device", "cpu", *map(str, words)])
    assert ended.value.code == 2
    return capsys.readouterr().err


# --- folders


@pytest.mark.parametrize("option", ["--spider", "--bank", "--labelled", "--nnunet"])
def test_a_folder_that_is_given_must_be_there_and_hold_a_case(tmp_path, capsys, option):
    good = ["--spider", _spider(tmp_path / "good")] if option != "--spider" else []
    (tmp_path / "classes.json").write_text(json.dumps(CLASSES))
    more = ["--classes", tmp_path / "classes.json"] if option == "--nnunet" else []
    (tmp_path / "empty").mkdir()
    if option == "--nnunet":
        (tmp_path / "empty/dataset.json").write_text(json.dumps({"labels": NUMBERS}))
    for folder, reason in (("mistyped", "no such folder"), ("empty", "looked for")):
        words = [*good, option, tmp_path / folder, *more, "--out", tmp_path / "run"]
        told = _refused(capsys, *words)
        assert reason in told
        assert str(tmp_path / folder) in told.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_a_pack_that_is_not_there_is_refused(tmp_path, capsys):
    assert "spider_space" in _refused(
        capsys, "--spider", _spider(tmp_path / "s"), "--out", tmp_path / "run", data=str(tmp_path / "nowhere")
    )
    assert "nothing to train on" in _refused(capsys, "--out", tmp_path / "run")


def test_what_is_left_out_is_counted(tmp_path, capsys):
    folder = _spider(tmp_path)
    _spider(folder, name="22_t2")  # a test patient
    _spider(folder, mask=_image(_labels() * 0), name="901_t2")
    _spider(folder, name="902_t2")
    (folder / "masks/902_t2.mha").unlink()
    loaded = volumes.spider(folder, PIXEL_MM)
    assert len(loaded.items) == 1
    assert loaded.left_out == {"held back for validation or test": 1, "no vertebra labelled": 1, "no mask": 1}
    (folder / "masks/900_t2.mha").unlink()
    told = _refused(capsys, "--spider", folder, "--out", tmp_path / "run")
    assert "no case to train on" in told
    assert "2 (no mask)" in told


def test_every_bad_file_is_named_at_once(tmp_path):
    folder = _spider(tmp_path)
    for name in ("901_t2", "902_t2"):
        _spider(folder, name=name)
        file = folder / f"images/{name}.mha"
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UnusableData, match=r"901_t2\.mha: cannot be read.*\n.*902_t2\.mha: cannot be read"):
        volumes.spider(folder, PIXEL_MM)


# --- geometry, intensities, labels


def _turned() -> SimpleITK.Image:
    mask = _image(_labels())
    mask.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, 1))
    return mask


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (_image(_labels()[:, :-1]), "size"),
        (_image(_labels(), spacing=(PIXEL_MM, PIXEL_MM, 4.4)), "spacing"),
        (_image(_labels(), origin=(60.0, 0.0, 0.0)), "origin"),
        (_turned(), "axes point elsewhere"),
    ],
)
def test_a_mask_that_lies_elsewhere_than_its_image_is_refused(tmp_path, mask, reason):
    with pytest.raises(UnusableData, match=rf"900_t2\.mha: .*{reason}"):
        volumes.spider(_spider(tmp_path, mask), PIXEL_MM)


def test_an_origin_less_than_a_voxel_away_is_ignored_and_counted(tmp_path):
    loaded = volumes.spider(_spider(tmp_path, _image(_labels(), origin=(0.4, 0.0, 0.0))), PIXEL_MM)
    assert loaded.origins_ignored == 1
    assert volumes.spider(_spider(tmp_path), PIXEL_MM).origins_ignored == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_that_is_not_finite_is_refused(tmp_path, value):
    picture = _picture()
    picture[0, 3, 3] = value
    with pytest.raises(UnusableData, match=r"images/900_t2\.mha: holds NaN"):
        volumes.spider(_spider(tmp_path, picture=picture), PIXEL_MM)


@pytest.mark.parametrize("value", [26, 99, 126, 200, 226, 255, 300, -1])
def test_a_label_that_spider_does_not_have_is_named(tmp_path, value):
    with pytest.raises(UnusableData, match=rf"masks/900_t2\.mha: label {value} is none of SPIDER's"):
        volumes.spider(_spider(tmp_path, _image(_labels(vertebra=value))), PIXEL_MM)


def test_pixels_that_are_not_square_are_refused(tmp_path):
    _write(_image(_picture(), spacing=(0.7, 0.74, 4.0)), tmp_path / "images/900_t2.mha")
    _write(_image(_labels(), spacing=(0.7, 0.74, 4.0)), tmp_path / "masks/900_t2.mha")
    with pytest.raises(UnusableData, match=r"900_t2\.mha: pixels of 0\.74? x 0\.74? mm"):
        volumes.spider(tmp_path, PIXEL_MM)


def test_labels_beyond_a_byte_and_labels_stored_as_floats_are_kept(tmp_path):
    numbers = {"background": 0, "vertebra": 300, "disc": 40000}
    for kind in (np.int32, np.float32):
        labels = _labels(300, 40000, kind)
        [item] = volumes.nnunet(_nnunet(tmp_path, labels, numbers), CLASSES, PIXEL_MM).items
        assert np.all(item.sets[:, 8:16, 8:16] == bits(Structure.BODY, Structure.POSTERIOR))
        assert np.all(item.sets[:, 19:23, 8:16] == bits(Structure.DISC))
    labels[0, 0, 0] = 0.5
    with pytest.raises(UnusableData, match=r"a\.nii\.gz: .*no whole numbers"):
        volumes.nnunet(_nnunet(tmp_path, labels, numbers), CLASSES, PIXEL_MM)


def test_a_label_that_dataset_json_does_not_have_is_named(tmp_path):
    with pytest.raises(UnusableData, match=r"a\.nii\.gz: label 9 is not in"):
        volumes.nnunet(_nnunet(tmp_path, _labels(1, 9)), CLASSES, PIXEL_MM)


def test_a_single_voxel_of_an_unknown_label_is_named_though_the_new_grid_loses_it(tmp_path):
    labels = _labels()
    labels[0, 1, 1] = 50
    for end, array in (("images", _picture()), ("masks", labels)):
        _write(_image(array, spacing=(0.3, 0.3, 4.0)), tmp_path / end / "900_t2.mha")
    with pytest.raises(UnusableData, match="label 50"):
        volumes.spider(tmp_path, PIXEL_MM)


# --- nnU-Net folders and --classes


@pytest.mark.parametrize(
    ("classes", "reason"),
    [
        ({}, "is empty"),
        (["DISC"], "no mapping"),
        ({"disc": []}, "'disc' needs a list"),
        ({"disc": "DISC"}, "'disc' needs a list of structures, not 'DISC'"),
        ({"disc": ["disc"]}, "'disc' is not a structure"),
        ({"disk": ["DISC"]}, "has no label 'disk'"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(tmp_path, classes, reason):
    with pytest.raises(UnusableData, match=reason):
        volumes.nnunet(_nnunet(tmp_path), classes, PIXEL_MM)


def test_a_label_without_an_entry_is_unknown_and_told(tmp_path):
    loaded = volumes.nnunet(_nnunet(tmp_path), {k: v for k, v in CLASSES.items() if k != "disc"}, PIXEL_MM)
    assert np.all(loaded.items[0].sets[:, 19:23, 8:16] == ALL)
    assert "without an entry in --classes" in loaded.notes[0]
    assert loaded.notes[0].endswith(": disc.")


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ({**NUMBERS, "vertebra": [1, 2]}, "'vertebra' is a region"),
        ({"0": "background", "1": "vertebra"}, "version 1"),
        ({**NUMBERS, "disc": 1}, "same number"),
        ([], 'no "labels"'),
    ],
)
def test_a_dataset_json_of_another_kind_is_refused(tmp_path, numbers, reason):
    with pytest.raises(UnusableData, match=reason):
        volumes.nnunet(_nnunet(tmp_path, numbers=numbers), CLASSES, PIXEL_MM)


def test_absent_files_and_broken_json_are_named(tmp_path, capsys):
    folder, out = _nnunet(tmp_path / "d"), tmp_path / "run"
    broken, good = tmp_path / "broken.json", tmp_path / "good.json"
    broken.write_text('{"disc": [}')
    good.write_text(json.dumps(CLASSES))
    assert "needs --classes" in _refused(capsys, "--nnunet", folder, "--out", out)
    assert "is no JSON" in _refused(capsys, "--nnunet", folder, "--classes", broken, "--out", out)
    assert "cannot be read" in _refused(capsys, "--nnunet", folder, "--classes", tmp_path / "no.json", "--out", out)
    (folder / "imagesTr/a_0000.nii.gz").unlink()
    assert "a_0000.nii.gz is not in" in _refused(capsys, "--nnunet", folder, "--classes", good, "--out", out)
    (folder / "dataset.json").unlink()
    assert "dataset.json: cannot be read" in _refused(capsys, "--nnunet", folder, "--classes", good, "--out", out)


def test_a_bank_that_is_not_rendered_or_torn_is_named(tmp_path):
    np.savez(tmp_path / "1.npz", tissues=np.zeros(3), spacing_mm=np.ones(3))
    with pytest.raises(UnusableData, match=r"1\.npz: was not written by lab\.train\.prerender"):
        list(sources.synthetic(tmp_path))
    (tmp_path / "1.npz").write_bytes((tmp_path / "1.npz").read_bytes()[:200])
    with pytest.raises(UnusableData, match=r"1\.npz: cannot be read"):
        list(sources.synthetic(tmp_path))


# --- runs


def test_arguments_that_cannot_be_meant_are_refused(tmp_path, capsys):
    common = ["--spider", _spider(tmp_path / "s"), "--out", tmp_path / "run"]
    for words, reason in (
        (["--steps", -3], "--steps -3"),
        (["--neighbours", -1], "--neighbours -1"),
        (["--widths", 0], "--widths"),
        (["--shares", "spider=0.5", "necks=0.5"], "--shares necks=0.5: SOURCE=SHARE, one of spider_space, "),
        (["--shares", "spider=0"], "--shares spider=0: SOURCE=SHARE"),
        (["--shares", "spider"], "--shares spider: SOURCE=SHARE"),
        (["--shares", "spider=nan"], "--shares spider=nan: SOURCE=SHARE"),
        (["--synthetic-only"], "takes no --spider"),
        (["--device", "gpu"], "--device gpu"),
        (["--init", tmp_path / "nowhere"], "nowhere/last.pt: no such file"),
    ):
        assert reason in _refused(capsys, *common, *words)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder with SPIDER (two training patients, one of validation) and two steps on it."""
    folder = tmp_path_factory.mktemp("finished")
    for name in ("900_t2", "901_t2", "34_t2"):
        _spider(folder / "spider", name=name)
    main(_words(folder, "--steps", 2))
    return folder


def _words(folder: Path, *more: object) -> list[str]:
    words = [
        "--data",
        "none",
        "--spider",
        folder / "spider",
        "--out",
        folder / "run",
        *WIDTHS,
        "--device",
        "cpu",
        *more,
    ]
    return [str(w) for w in words]


def test_without_the_pack_the_validation_patients_of_the_folder_are_used(finished):
    record = json.loads((finished / "run/record.json").read_text())
    assert record["validation"] == {"source": "spider", "items": 1}
    assert record["items"] == {"spider": 2}
    assert set(record["shares"]) == {"spider"}
    assert "dice_disc" in record["log"][-1]


def test_no_validation_patient_is_told(tmp_path, capsys):
    _spider(tmp_path / "spider")
    main(_words(tmp_path, "--steps", 1))
    told = capsys.readouterr().err
    assert "nothing is validated" in told
    assert "spider: 1 read; left out: none." in told


def test_a_run_continues_only_as_what_it_was(finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    for more, reason in (
        (["--seed", 5], "seed 1, now 5"),
        (["--rate", 1e-3], "rate 0.002, now 0.001"),
        (["--neighbours", 2], "neighbours 1, now 2"),
        (["--init", finished / "run"], "init_sha256 None, now"),
        (["--widths", 8, 8], "widths [8, 8, 8, 8, 8], now [8, 8]"),
        (["--shares", "spider=0.5"], "shares {'spider': 0.4}, now {'spider': 0.5}"),
        (["--steps", 1], "has done 2 steps, --steps 1 is fewer"),
    ):
        assert reason in _refused(capsys, *_words(tmp_path, "--steps", 3)[2:], *more)
    _spider(tmp_path / "spider", picture=_picture() + 7)
    assert "other pictures or labels of spider" in _refused(capsys, *_words(tmp_path, "--steps", 3)[2:])


def test_seconds_go_on_and_an_older_checkpoint_is_taken(finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "run/last.pt"
    stored = torch.load(file, weights_only=True)
    older = {k: v for k, v in stored.items() if k not in ("arguments", "seconds")}
    older["log"] = [{**stored["log"][-1], "seconds": 1000.0}]
    torch.save(older, file)
    assert "other --widths or --neighbours" in _refused(capsys, *_words(tmp_path, "--steps", 3)[2:], "--neighbours", 2)
    main(_words(tmp_path, "--steps", 3))
    assert json.loads((tmp_path / "run/log.json").read_text())[-1]["seconds"] > 1000
    assert torch.load(file, weights_only=True)["arguments"]["seed"] == 1


def test_a_torn_checkpoint_is_named(finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "run/last.pt"
    for content in (file.read_bytes()[:10000], b"", b"text"):
        file.write_bytes(content)
        assert "last.pt: cannot be read" in _refused(capsys, *_words(tmp_path, "--steps", 3)[2:])


def test_a_loss_that_is_not_finite_changes_nothing():
    network, average = (torch.nn.Linear(2, 1) for _ in range(2))
    optimiser = torch.optim.AdamW(network.parameters())
    before = [p.clone() for p in network.parameters()]
    with pytest.raises(NotFinite, match="step 7"):
        descend(network(torch.full((1, 2), math.nan)).sum(), 0.1, network, average, optimiser, 7)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_a_run_whose_loss_is_not_finite_keeps_its_checkpoint(finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "run/last.pt"
    stored = torch.load(file, weights_only=True)
    stored["network"]["body.head.bias"][:] = math.nan
    torch.save(stored, file)
    before = file.read_bytes()
    told = _refused(capsys, *_words(tmp_path, "--steps", 3)[2:])
    assert "step 3: the loss is nan" in told
    assert file.read_bytes() == before


def test_a_batch_in_which_nothing_is_known_costs_nothing():
    logits = build_network(3, widths=(8, 8))(torch.rand(1, 3, 32, 32))
    loss = segmentation_loss(logits, torch.full((1, 32, 32), ALL, dtype=torch.int32))
    loss.backward()
    assert loss.item() == 0
