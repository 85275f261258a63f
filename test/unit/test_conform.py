"""conform: any storage order, spacing and obliquity to the model's grid, and exactly back."""

from itertools import permutations

import numpy as np
import pytest

from spine.anatomy import STRUCTURES, Structure
from spine.conform import (
    affordable_factor,
    anatomical_axes,
    conform_series,
    conform_study,
    from_canonical,
    intensity_offset,
    intensity_scale,
    interpolation_matrix,
    resampling_matrix,
    restore,
    to_canonical,
)
from spine.errors import UnusableImage
from spine.records import Grid, LabelledSpine, Numbering, Segmentation, Series, Study
from spine.settings import GridSettings

GRID = GridSettings(pixel_mm=0.8, slice_mm_min=2.0, multiple=32, max_voxels=10_000_000)
SAGITTAL = np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]])  # i to the back, j to the feet, k to the left


def series(array, spacing=(0.8, 0.8, 4.0), direction=SAGITTAL, origin=(0.0, 0.0, 0.0)):
    size = array.shape[::-1]
    return Series("sagittal-spine-mri", "x", array, Grid(size, spacing, origin, tuple(direction.ravel())))


def tilt(degrees, axis):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.eye(3)
    first, second = [n for n in range(3) if n != axis]
    turn[first, first] = turn[second, second] = c
    turn[first, second], turn[second, first] = -s, s
    return turn


def test_axes_of_a_plain_sagittal_stack():
    assert anatomical_axes(tuple(SAGITTAL.ravel())) == ((2, 1, 0), (False, False, False))


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
def test_every_storage_order_gives_the_same_volume_and_goes_back(order, signs):
    rng = np.random.default_rng(3)
    plain = rng.integers(1, 500, (5, 40, 48)).astype(np.int16)  # (k, j, i)
    first = conform_series(series(plain), GRID)
    stored = plain.transpose(2, 1, 0)  # (i, j, k)
    stored = stored.transpose(order)
    direction, spacing = SAGITTAL[:, list(order)].copy(), np.array((0.8, 0.8, 4.0))[list(order)]
    origin = np.zeros(3)
    for axis, sign in enumerate(signs):
        if sign < 0:
            origin += direction[:, axis] * spacing[axis] * (stored.shape[axis] - 1)
            direction[:, axis] *= -1
            stored = np.flip(stored, axis)
    again = series(np.ascontiguousarray(stored.transpose(2, 1, 0)), tuple(spacing), direction, tuple(origin))
    volume = conform_series(again, GRID)
    np.testing.assert_array_equal(volume.array, first.array)
    np.testing.assert_allclose(volume.affine, first.affine, atol=1e-9)
    back = from_canonical(to_canonical(again.array, volume.axes, volume.flips), volume.axes, volume.flips)
    np.testing.assert_array_equal(back, again.array)


@pytest.mark.parametrize("degrees", [5, 20, 40])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_oblique_stacks_keep_their_axes(degrees, axis):
    assert anatomical_axes(tuple((tilt(degrees, axis) @ SAGITTAL).ravel()))[0] == (2, 1, 0)


def test_affine_maps_the_first_and_last_sample_to_their_place():
    array = np.ones((6, 30, 20), np.uint8)
    source = series(array, (1.0, 1.0, 1.0), tilt(10, 2) @ SAGITTAL, (5.0, -7.0, 11.0))
    volume = conform_series(source, GRID)  # slices thinned by two: the first lies between stored slices 0 and 1
    assert volume.spacing_mm == (2.0, 0.8, 0.8)
    np.testing.assert_allclose(volume.affine @ [0, 0, 0, 1], source.grid.affine @ [0, 0, 0.5, 1])
    np.testing.assert_allclose(volume.affine @ [1, 10, 5, 1], source.grid.affine @ [4, 8, 2.5, 1])


def test_resampling_keeps_a_constant_and_a_ramp():
    for spacing, target in ((0.3, 0.8), (0.8, 0.8), (1.3, 0.8)):
        matrix = resampling_matrix(50, spacing, target)
        np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-5)
        ramp = matrix @ (np.arange(50) * spacing).astype(np.float32)
        inner = slice(3, -3)
        np.testing.assert_allclose(ramp[inner], (np.arange(len(ramp)) * target)[inner], atol=0.02)


def test_interpolation_beyond_the_end_repeats_the_last_sample():
    matrix = interpolation_matrix(4, 1.0, 3, 1.0)
    np.testing.assert_array_equal(matrix[3], [0, 0, 1])


def ball(shape, spacing, centre_mm, radius_mm):
    axes = np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij")
    return sum((a - c) ** 2 for a, c in zip(axes, centre_mm, strict=True)) <= radius_mm**2


@pytest.mark.parametrize("spacing", [(4.0, 0.6, 0.6), (4.0, 0.8, 0.8), (3.0, 1.1, 0.9), (1.0, 1.0, 1.0)])
def test_labels_on_the_model_grid_come_back_in_place(spacing):
    shape = tuple(round(n / s) for n, s in zip((48, 120, 100), spacing, strict=True))
    array = ball(shape, spacing, (24, 60, 50), 30).astype(np.int16) + 1
    study = Study(series(array, spacing[::-1]))
    volume = conform_study(study, GRID)
    inside = np.zeros(volume.array.shape, bool)
    grown = ball(volume.content, volume.spacing_mm, (24 - (volume.spacing_mm[0] - spacing[0]) / 2, 60, 50), 30)
    inside[:, : volume.content[1], : volume.content[2]] = grown
    probabilities = np.zeros((len(STRUCTURES), *volume.array.shape), np.float16)
    probabilities[Structure.BODY], probabilities[Structure.BACKGROUND] = inside, ~inside
    structures = inside.astype(np.uint8) * Structure.BODY
    spine = LabelledSpine(structures * 3, structures, (), (), Numbering("none", 0.0, (), None))
    mask = restore(spine, Segmentation(probabilities, structures, {}, ""), volume)
    truth = array > 1
    assert mask.shape == array.shape
    assert set(np.unique(mask)) == {0, 3}
    assert 2 * ((mask == 3) & truth).sum() / ((mask == 3).sum() + truth.sum()) > 0.97


def test_what_label_took_out_does_not_come_back():
    study = Study(series(np.arange(3 * 40 * 40, dtype=np.int16).reshape(3, 40, 40)))
    volume = conform_study(study, GRID)
    structures = np.zeros(volume.array.shape, np.uint8)
    structures[:, 5:15, 5:15] = structures[:, 25:35, 25:35] = Structure.DISC
    probabilities = (structures[None] == np.arange(len(STRUCTURES))[:, None, None, None]).astype(np.float16)
    kept = np.zeros_like(structures)
    kept[:, 5:15, 5:15] = 201
    spine = LabelledSpine(kept, structures, (), (), Numbering("none", 0.0, (), None))
    mask = restore(spine, Segmentation(probabilities, structures, {}, ""), volume)
    np.testing.assert_array_equal(mask, kept[:, :40, :40])


def test_a_body_that_the_network_called_s1_and_label_named_l5_comes_back_as_l5():
    study = Study(series(np.arange(3 * 40 * 40, dtype=np.int16).reshape(3, 40, 40)))
    volume = conform_study(study, GRID)
    structures = np.zeros(volume.array.shape, np.uint8)
    structures[:, 5:15, 5:15] = structures[:, 25:35, 5:15] = Structure.S1
    probabilities = (structures[None] == np.arange(len(STRUCTURES))[:, None, None, None]).astype(np.float16)
    named = np.zeros_like(structures)
    named[:, 5:15, 5:15] = 1
    spine = LabelledSpine(named, structures, (), (), Numbering("none", 0.0, (), None))
    mask = restore(spine, Segmentation(probabilities, structures, {}, ""), volume)
    np.testing.assert_array_equal(mask, named[:, :40, :40])


def test_an_axial_stack_is_refused():
    axial = series(np.ones((20, 64, 64), np.int16), (0.7, 0.7, 4.5), np.eye(3))
    with pytest.raises(UnusableImage) as error:
        conform_study(Study(axial), GRID)
    assert str(error.value) == (
        "sagittal-spine-mri: a sagittal series is expected, but the samples lie 0.70 mm apart from side to side, "
        "4.50 mm from head to foot and 0.70 mm from front to back."
    )


def test_a_series_over_the_limit_is_refused():
    small = GridSettings(0.8, 2.0, 32, 1000)
    with pytest.raises(UnusableImage, match="at most 0 million are read"):
        conform_study(Study(series(np.ones((5, 40, 48), np.int16))), small)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_every_kind_of_number_gives_the_same_scale(kind):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 200, (3, 40, 40))
    volume = conform_series(series(array.astype(kind)), GRID)
    expected = conform_series(series(array.astype(np.float32) * 7), GRID)
    np.testing.assert_allclose(volume.array, expected.array, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("factor", "offset"), [(1.0, -1000.0), (0.5, -200.0), (3.0, 700.0), (1.0, -32768.0)])
def test_scale_and_offset_of_the_stored_numbers_change_nothing(factor, offset):
    rng = np.random.default_rng(0)
    array = np.where(rng.random((3, 60, 60)) < 0.3, 0, rng.integers(0, 800, (3, 60, 60))).astype(np.float64)
    plain = conform_series(series(array), GRID).array
    moved = conform_series(series(factor * array + offset), GRID).array
    np.testing.assert_allclose(moved, plain, atol=2e-4)


def test_an_image_whose_minimum_is_zero_is_left_as_it_is():
    array = np.random.default_rng(0).integers(0, 800, (3, 60, 60)).astype(np.int16)
    array[0, 0, 0] = 0
    assert intensity_offset(array) == 0.0
    matrix = resampling_matrix(60, 0.8, 0.8)
    plane = (matrix @ array[1].astype(np.float32) @ matrix.T) * np.float32(intensity_scale(array))
    np.testing.assert_array_equal(conform_series(series(array), GRID).array[1, :60, :60], np.clip(plane, 0, 2.5))


def test_a_few_voxels_below_zero_are_no_offset():
    array = np.random.default_rng(0).integers(0, 800, (3, 60, 60)).astype(np.int16)
    array[array < 100] = 0
    array[0, 0, 0] = -32768
    assert intensity_offset(array) == 0.0


def test_one_slice_is_flagged():
    assert conform_series(series(np.ones((1, 40, 40), np.int16)), GRID).flags == ("one_slice",)


def test_a_series_beyond_the_budget_is_averaged_further_and_flagged(monkeypatch):
    array = np.random.default_rng(0).random((12, 40, 40)).astype(np.float32)
    plain = conform_series(series(array), GRID)
    assert plain.flags == ()
    monkeypatch.setattr("spine.conform.GRID_VOXELS_MAX", plain.array.size // 2)
    joined = conform_series(series(array), GRID)
    assert joined.flags == ("slices_averaged",)
    assert joined.array.size <= plain.array.size // 2
    assert joined.spacing_mm[0] == 2 * plain.spacing_mm[0]


def test_the_budget_in_slices():
    assert affordable_factor(200, 512, 512) == 1
    assert affordable_factor(245, 512, 512) == 2
    assert affordable_factor(3, 16_000, 16_000) == 3
