"""The whole path on the bundled synthetic case, with the shipped network, against the case's truth."""

import json
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from spine import pipeline
from spine.anatomy import CANAL_LABEL, DISC_OFFSET
from spine.read import read_study

ROOT = Path(__file__).parents[2]
CASE = ROOT / "test" / "input" / "lumbar"


@cache
def models():
    return pipeline.open_models(ROOT / "model", "cpu")


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("output")
    pipeline.run(partial(read_study, CASE), models(), folder)
    return folder


def mask_of(folder):
    return sitk.ReadImage(str(next((folder / "images" / "sagittal-spine-mr-segmentation").iterdir())))


def kind(labels):
    """1 vertebra, 2 disc, 3 canal."""
    return np.select([labels == CANAL_LABEL, labels > DISC_OFFSET, labels > 0], [3, 2, 1], 0)


def test_the_segmentation_lies_on_the_inputs_grid(output):
    mask, image = mask_of(output), sitk.ReadImage(str(next((CASE / "images" / "sagittal-spine-mri").iterdir())))
    assert mask.GetPixelID() == sitk.sitkUInt8
    assert mask.GetSize() == image.GetSize()
    for fact in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(mask, fact)(), getattr(image, fact)(), atol=1e-9)


def test_structures_and_levels_agree_with_the_truth(output):
    found = sitk.GetArrayFromImage(mask_of(output))
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(CASE.with_name("lumbar.truth.mha"))))
    for number in (1, 2, 3):
        a, b = kind(found) == number, kind(truth) == number
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.85
    for label in (1, 2, 3, 4, 5, 201, 202, 203, 204, 205):  # L5..L1 and the discs below them carry the same numbers
        a, b = found == label, truth == label
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.75, label


def test_all_documents_are_there_and_say_the_same(output):
    report = json.loads((output / "spine-degeneration-report.json").read_text())
    names = sorted(p.name for p in output.iterdir())
    assert names == [
        "accelerated-degeneration-likelihood.json",
        "images",
        "spine-degeneration-report.json",
        "spine-report.pdf",
        "spine-treatment-outcome-prediction.json",
    ]
    assert report["levels"][0]["level"] == "L5/S1"
    assert report["numbering"]["method"] == "sacrum"
    labels = {level["disc_label"] for level in report["levels"]}
    assert labels == {int(n) for n in np.unique(sitk.GetArrayFromImage(mask_of(output))) if n > DISC_OFFSET}


def test_twice_gives_the_same_bytes(output, tmp_path):
    pipeline.run(partial(read_study, CASE), models(), tmp_path)
    np.testing.assert_array_equal(*(sitk.GetArrayFromImage(mask_of(f)) for f in (output, tmp_path)))
    for name in ("accelerated-degeneration-likelihood.json", "spine-treatment-outcome-prediction.json"):
        assert (output / name).read_bytes() == (tmp_path / name).read_bytes()
    one, two = (json.loads((f / "spine-degeneration-report.json").read_text()) for f in (output, tmp_path))
    for document in (one, two):
        del document["software"]["seconds"], document["software"]["peak_memory_mb"]
    assert one == two
