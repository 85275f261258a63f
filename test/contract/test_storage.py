"""The same anatomy however it is stored: 12 orientations, obliquity and 3 spacings give the same labels back."""

from functools import cache
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from spine.anatomy import CANAL_LABEL
from spine.conform import conform_series, restore
from spine.label import label_levels
from spine.pipeline import open_models
from spine.records import Grid, Series
from spine.segment import segment_volume

ROOT = Path(__file__).parents[2]
ORIENTATIONS = [(p, f) for p in permutations(range(3)) for f in ((False, False, False), (True, False, True))]


@cache
def bundled():
    return sitk.ReadImage(str(next((ROOT / "test/input/lumbar/images/sagittal-spine-mri").iterdir())))


@cache
def models():
    return open_models(ROOT / "model", "cpu")


def series(image):
    grid = Grid(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    return Series("sagittal-spine-mri", "", sitk.GetArrayFromImage(image), grid)


def analyse(image):
    volume = conform_series(series(image), models().settings.grid)
    segmentation = segment_volume(volume, models().segmenter, models().settings.segmenter)
    spine = label_levels(segmentation, volume)
    return volume, segmentation, spine


@cache
def first():
    volume, segmentation, spine = analyse(bundled())
    return volume, segmentation, spine, restore(spine, segmentation, volume)


def as_image(mask, like):
    image = sitk.GetImageFromArray(mask)
    image.CopyInformation(like)
    return image


def dice_by_label(a, b):
    labels = [n for n in np.unique(a) if n and (a == n).sum() > 200]
    return {int(n): 2 * ((a == n) & (b == n)).sum() / ((a == n).sum() + (b == n).sum()) for n in labels}


@pytest.mark.parametrize(("order", "flip"), ORIENTATIONS)
def test_storage_order_changes_nothing(order, flip):
    stored = sitk.Flip(sitk.PermuteAxes(bundled(), order), flip)
    volume, segmentation, spine, mask = first()
    again = conform_series(series(stored), models().settings.grid)
    np.testing.assert_allclose(again.array, volume.array, atol=1e-4)  # so the network's answer is the same one
    back = as_image(restore(spine, segmentation, again), stored)
    expected = sitk.Flip(sitk.PermuteAxes(as_image(mask, bundled()), order), flip)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(expected))


def test_an_oblique_patient_changes_nothing():
    tilted = sitk.Image(bundled())
    turn = sitk.Euler3DTransform((0, 0, 0), 0.2, -0.15, 0.25)
    direction = np.reshape(turn.GetMatrix(), (3, 3)) @ np.reshape(bundled().GetDirection(), (3, 3))
    tilted.SetDirection(direction.ravel())
    volume, _, _ = analyse(tilted)
    np.testing.assert_array_equal(volume.array, first()[0].array)


@pytest.mark.parametrize("in_plane_mm", [0.5, 0.9, 1.1])
def test_spacing_changes_little(in_plane_mm):
    source = bundled()
    axes = [n for n, s in enumerate(source.GetSpacing()) if s < 2]
    spacing = [in_plane_mm if n in axes else s for n, s in enumerate(source.GetSpacing())]
    size = [round(n * s / t) for n, s, t in zip(source.GetSize(), source.GetSpacing(), spacing, strict=True)]
    other = sitk.Resample(
        source, size, sitk.Transform(), sitk.sitkLinear, source.GetOrigin(), spacing, source.GetDirection(), 0.0
    )
    volume, segmentation, spine = analyse(other)
    mask = restore(spine, segmentation, volume)
    # Compared on the other grid; labels are carried there by their linear weights, as nearest ones stand in steps.
    carried = sitk.Resample(as_image(first()[3], source), other, sitk.Transform(), sitk.sitkLabelLinear)
    scores = dice_by_label(sitk.GetArrayFromImage(carried), mask)
    assert [v.name for v in spine.vertebrae] == [v.name for v in first()[2].vertebrae]
    # A disc is a few pixels high: half a pixel at its borders costs it more than a vertebra.
    assert np.mean([score for label, score in scores.items() if label < CANAL_LABEL]) > 0.97, scores
    assert np.mean(list(scores.values())) > 0.96, scores
