"""Synthetic cords and the training of their network: painting, scanning, loss, resuming, export."""

import json
from argparse import Namespace

import numpy as np
import pytest
import torch

from lab.convert.cord_to_onnx import export_cord
from lab.convert.ship import compare, write_record
from lab.synth import cord_bank
from lab.synth.tissue import STRUCTURE_OF_TISSUE, Tissue
from lab.train.cord_draw import CLASSES, draw_sections, read_cord, scan
from lab.train.run import Run, load_run
from lab.train.train_cord import CORD, CordNetwork, cord_loss, draw_batch, train, validate
from spine.anatomy import Structure
from spine.runners import open_runner
from spine.sections import ROWS_BESIDE, SIDE, STEP_MM


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cords")
    for number in range(2):
        cord_bank.write_cord(folder, "val", number)
    return sorted(folder.glob("*.npz"))


def test_the_cord_lies_in_its_sac_and_the_course_in_its_middle(bank):
    for file in bank:
        cord = read_cord(file)
        structures = STRUCTURE_OF_TISSUE[cord.tissues]
        sac = np.isin(structures, (Structure.CANAL, Structure.CORD))
        inside = structures == Structure.CORD
        rows = np.flatnonzero(inside.any((0, 2)))
        assert len(rows) > 0.9 * cord.tissues.shape[1]
        area_mm2 = inside.sum((0, 2)) * cord.spacing_mm[0] * cord.spacing_mm[2]
        assert 25 < np.median(area_mm2[rows]) < 130
        assert (inside.sum((0, 2)) < 0.75 * np.maximum(sac.sum((0, 2)), 1)).all()
        middle = (sac.sum(0) @ np.arange(sac.shape[2]))[rows] / sac.sum((0, 2))[rows] * cord.spacing_mm[2]
        assert np.abs(middle - cord.course_mm[rows, 1]).max() < 2.5
        assert set(np.unique(cord.tissues[sac])) <= {
            Tissue.CSF, Tissue.ROOTS, Tissue.CORD, Tissue.CORD_GREY, Tissue.MYELOPATHY
        }  # fmt: skip


def test_the_same_number_gives_the_same_cord_and_families_differ():
    first, again, other = (cord_bank.make_cord(family, 3)[0].tissues for family in ("val", "val", "train"))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.01


def test_a_scanned_ball_lies_where_it_was(bank):
    spacing = np.array((0.7, 0.8, 0.5))
    place = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip((52, 80, 100), spacing, strict=True)),
                                 indexing="ij"), -1)  # fmt: skip
    ball = (np.linalg.norm(place - (18.0, 30.0, 24.0), axis=-1) < 7).astype(np.float32)
    for seed in range(6):
        stored, to_index = scan(ball, spacing, np.random.default_rng(seed))
        weight = np.clip(stored - np.percentile(stored, 90), 0, None) if stored.mean() > 0.3 else stored
        weight = np.where(weight > 0.4 * weight.max(), weight, 0)
        centre = np.array([(weight.sum(tuple(a for a in range(3) if a != axis)) @ np.arange(n)) / weight.sum()
                           for axis, n in enumerate(stored.shape)])  # fmt: skip
        expected = to_index[:, :3] @ (18.0, 30.0, 24.0) + to_index[:, 3]
        np.testing.assert_allclose(centre, expected, atol=0.8)


def test_drawn_sections_and_their_truth_belong_together(bank):
    images, shares = draw_sections(read_cord(bank[0]), np.random.default_rng(5), 10)
    assert images.shape == (10, len(ROWS_BESIDE), SIDE, SIDE)
    assert shares.shape == (10, CLASSES, SIDE, SIDE)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
    area_mm2 = shares[:, CORD].sum((1, 2)) * STEP_MM**2
    assert ((area_mm2 > 15) & (area_mm2 < 160)).all()
    # over many stacks cord and fluid differ on the picture more often than not
    differ = []
    for seed in range(8):
        images, shares = draw_sections(read_cord(bank[seed % 2]), np.random.default_rng(seed), 6)
        own = images[:, ROWS_BESIDE.index(0)]
        differ.append(abs(own[shares[:, 2] > 0.9].mean() - own[shares[:, 1] > 0.9].mean()))
    assert np.median(differ) > 0.3


def test_loss_is_near_zero_for_the_truth_and_large_for_its_opposite():
    shares = torch.zeros(1, CLASSES, 16, 16)
    shares[:, 0], shares[:, 0, 4:12, 4:12], shares[:, 2, 4:12, 4:12] = 1, 0, 1
    assert cord_loss(20 * shares, shares).item() == pytest.approx(0, abs=1e-4)
    assert cord_loss(-20 * shares, shares).item() > 5


def test_a_run_goes_on_where_it_stopped_and_is_recorded(tmp_path, bank):
    images = draw_batch(bank, 0.5, (1, 2))[0]
    np.testing.assert_array_equal(images, draw_batch(bank, 0.5, (1, 2))[0])
    args = Namespace(bank=bank[0].parent, val=bank[0].parent, out=tmp_path, steps=2, rate=1e-3, widths=(4, 8), seed=1,
                     init=None, narrowest=0.5)  # fmt: skip
    train(Namespace(**vars(args), workers=1))
    train(Namespace(**{**vars(args), "steps": 3}, workers=1))
    run = Run(tmp_path, 1, CordNetwork, (4, 8))
    assert run.step == 3
    record = json.loads((tmp_path / "record.json").read_text())
    assert (record["steps"], record["spines"], record["seed"]) == (3, 2, 1)
    assert set(validate(run.average, bank)) == {"dice_fluid", "dice_cord"}


@pytest.mark.filterwarnings(  # of the older exporter, which writes the segmenter too
    "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore:ONNX export mode:UserWarning"
)
def test_exported_file_answers_as_the_checkpoint_and_enters_the_settings(tmp_path, bank):
    Run(tmp_path, 1, CordNetwork, (4, 8)).save()
    (tmp_path / "record.json").write_text('{"steps": 0}')
    out = tmp_path / "model" / "cord.onnx"
    digest = export_cord(tmp_path / "last.pt", out)
    (out.parent / "settings.json").write_text(json.dumps({"cord": {"file": "old", "sha256": "old"}, "other": {}}))
    pictures = [torch.from_numpy(draw_sections(read_cord(bank[0]), np.random.default_rng(1), 4)[0])]
    found = compare(load_run(tmp_path / "last.pt", CordNetwork), open_runner(out, digest, "cpu"), pictures)
    assert found["agree"] > 0.98
    assert found["largest_change_prob"] < 0.02
    write_record(out, digest, found, tmp_path)
    assert json.loads(out.with_suffix(".record.json").read_text())["parity"] == found
    settings = json.loads((out.parent / "settings.json").read_text())
    assert settings == {"cord": {"file": "cord.onnx", "sha256": digest}, "other": {}}
