"""Tissues to MR: shapes, ranges, contrasts, the platform case and the bank."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from lab.synth.case import write_case
from lab.synth.cohort import draw_example, load_slab, write_bank
from lab.synth.phantom import rasterise
from lab.synth.render import CONTRASTS, render, signal_tables
from lab.synth.sample import sample_spine
from lab.synth.tissue import Tissue
from spine.anatomy import Structure

BUNDLED = Path(__file__).parents[1] / "input" / "lumbar"


@pytest.fixture(scope="module")
def tissues() -> np.ndarray:
    plan = sample_spine(np.random.default_rng(2), "lumbar", healthy=True)
    return rasterise(plan, (1.3, 1.2, 1.2), 9).tissues


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_render_gives_finite_positive_slices_and_repeats_itself(tissues, contrast):
    first, second = (render(tissues, np.random.default_rng(1), contrast, 3) for _ in range(2))
    assert first.shape == (3, *tissues.shape[1:])
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert first.min() >= 0
    assert 0.2 < np.percentile(first, 99) < 30
    np.testing.assert_array_equal(first, second)


def test_thin_slices_keep_the_number_of_planes(tissues):
    assert render(tissues, np.random.default_rng(1), "t2").shape == tissues.shape


def test_an_unknown_contrast_is_refused():
    with pytest.raises(ValueError, match="none of"):
        signal_tables(np.random.default_rng(0), "flair")


def test_contrasts_order_the_tissues_as_scanners_do():
    def mean_signal(contrast: str) -> np.ndarray:
        rng = np.random.default_rng(0)
        return np.mean([sum(signal_tables(rng, contrast)) for _ in range(30)], axis=0)

    t1, t2, stir = (mean_signal(c) for c in ("t1", "t2", "stir"))
    assert t2[Tissue.CSF] > t2[Tissue.CORD] > t2[Tissue.MUSCLE] > t2[Tissue.CORTEX]
    assert t1[Tissue.SUBCUTANEOUS_FAT] > t1[Tissue.MARROW_B] > t1[Tissue.CORD] > t1[Tissue.CSF]
    assert stir[Tissue.CSF] > stir[Tissue.SUBCUTANEOUS_FAT]
    assert stir[Tissue.OEDEMA] > stir[Tissue.MARROW_B]
    nuclei = [t2[Tissue.NUCLEUS_1 + i] for i in range(5)]
    assert nuclei == sorted(nuclei, reverse=True)
    assert t1[Tissue.OEDEMA] < t1[Tissue.MARROW_B] < t1[Tissue.FATTY_MARROW]
    assert t2[Tissue.SCLEROSIS] < t2[Tissue.MARROW_B] < t2[Tissue.OEDEMA]


def test_without_artefacts_a_tissue_keeps_its_signal(tissues):
    picture = render(tissues, np.random.default_rng(1), "t2", artefacts=0.0)
    csf, muscle = picture[tissues == Tissue.CSF], picture[tissues == Tissue.MUSCLE]
    assert np.median(csf) > 2 * np.median(muscle)
    assert picture[tissues == Tissue.AIR].max() == 0


def test_a_thick_slice_is_the_weighted_mean_of_its_planes():
    planes = np.zeros((3, 40, 40), np.uint8)
    planes[1] = Tissue.CSF  # half of the slice
    planes[:, :20] = Tissue.CSF
    picture = render(planes, np.random.default_rng(0), "t2", 3, artefacts=0.0)[0]
    assert np.median(picture[20:]) / np.median(picture[:20]) == pytest.approx(0.5, abs=0.05)


def test_a_bank_can_be_written_twice_and_drawn_from(tmp_path: Path):
    names = write_bank(tmp_path / "a", 1, 9)
    assert write_bank(tmp_path / "b", 1, 9) == names
    assert write_bank(tmp_path / "a", 1, 9) == []  # nothing is done twice
    slab, twin = (load_slab(tmp_path / folder / names[0]) for folder in "ab")
    np.testing.assert_array_equal(slab.tissues, twin.tissues)
    assert max(slab.tissues.shape[1:]) <= 400
    picture, labels = draw_example(slab, np.random.default_rng(0))
    assert picture.shape == (3, *labels.shape)
    assert labels.max() <= max(Structure)


def read(path: Path) -> np.ndarray:
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).astype(float)


def test_the_bundled_case_is_what_seed_7_gives(tmp_path: Path):
    folder = tmp_path / "lumbar"
    truth = write_case(folder, 7)
    made = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    kept = sorted(
        str(path.relative_to(BUNDLED.parent)) for path in BUNDLED.parent.rglob("lumbar*/**/*") if path.is_file()
    )
    assert made == sorted([*kept, "lumbar.axial.truth.mha", "lumbar.truth.json", "lumbar.truth.mha"])
    assert sum((BUNDLED.parent / name).stat().st_size for name in made) < 6e6
    assert json.loads((BUNDLED.parent / "lumbar.truth.json").read_text()).keys() == truth.keys()
    for name in made:
        if name.endswith(".mha"):  # another processor may round differently: a few voxels, never more
            new, old = read(tmp_path / name), read(BUNDLED.parent / name)
            assert np.mean(np.abs(new - old) > 5) < 0.01
    items = json.loads((folder / "inputs.json").read_text())
    assert [item["socket"]["slug"] for item in items] == [
        "sagittal-spine-mri",
        "sagittal-t1-spine-mri",
        "axial-t2-spine-mri",
        "clinical-information-spine",
    ]


def test_the_bundled_case_and_its_truth_fit_together():
    image = SimpleITK.ReadImage(str(next((BUNDLED / "images/sagittal-spine-mri").iterdir())))
    mask = SimpleITK.ReadImage(str(BUNDLED.parent / "lumbar.truth.mha"))
    truth = json.loads((BUNDLED.parent / "lumbar.truth.json").read_text())
    assert image.GetDirection() == mask.GetDirection()
    assert image.GetSize() == mask.GetSize()
    assert np.linalg.det(np.reshape(image.GetDirection(), (3, 3))) == pytest.approx(1.0)
    labels = set(np.unique(SimpleITK.GetArrayFromImage(mask)))
    assert {1, 2, 3, 4, 5, 100, 201, 202, 203, 204, 205} <= labels
    assert {disc["level"] for disc in truth["discs"] if disc["grades"]["herniation"]} == {"L4/L5"}
    assert all(v["partial"] == (100 + v["label"] in labels) for v in truth["vertebrae"])
