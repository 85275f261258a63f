"""Mask metrics against hand-made cases and against second implementations on random pairs."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from scipy.spatial import cKDTree

from lab.evaluate.metrics import assd_mm, dice, surface_distances

PAIRS = 200
SPACING_MM = (4.0, 0.8, 0.5)


def box(shape, *sides) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def random_pairs(count: int):
    """Masks of 1 to 7 voxels a side with holes, parts and faces on the image's border; some are alike, some apart."""
    generator = np.random.default_rng(7)
    for number in range(count):
        shape = tuple(generator.integers(1, 8, 3))
        a = generator.random(shape) < generator.uniform(0.1, 0.9)
        b = a ^ (generator.random(shape) < 0.1) if number % 2 else generator.random(shape) < generator.uniform(0.1, 0.9)
        if a.any() and b.any():
            yield a, b


def test_a_square_moved_by_two_voxels():
    # 4 x 4 squares, the second two columns further: they share 8 of 16 voxels.
    a, b = box((1, 8, 12), (0, 1), (2, 6), (2, 6)), box((1, 8, 12), (0, 1), (2, 6), (4, 8))
    assert dice(a, b) == 0.5
    surfaces = surface_distances(a, b, (4.0, 1.0, 1.0))
    # Of the 12 border voxels of a, drawn as distance to the border of b (columns 4 and 7, rows 2 and 5):
    #   2 1 0 0
    #   2 .  . 1     column 2 lies 2 away from column 4; column 5 of the inner rows lies 1 from column 4
    #   2 .  . 1
    #   2 1 0 0
    expected = sorted([2, 2, 2, 2, 1, 1, 0, 0, 1, 1, 0, 0])
    assert sorted(surfaces.a_to_b_mm) == expected
    assert sorted(surfaces.b_to_a_mm) == expected
    assert surfaces.assd_mm() == pytest.approx(12 / 12)
    assert surfaces.hausdorff_mm() == 2.0
    assert surfaces.hausdorff_mm(50) == 1.0
    assert surfaces.nsd(1.0) == pytest.approx(8 / 12)
    assert surfaces.nsd(0.5) == pytest.approx(4 / 12)


def test_millimetres_follow_the_axes():
    a, b = box((9, 9, 9), (1, 4), (3, 6), (3, 6)), box((9, 9, 9), (3, 6), (3, 6), (3, 6))
    assert surface_distances(a, b, (3.0, 1.0, 1.0)).hausdorff_mm(100) == 6.0
    # across: the same move along the last axis
    assert surface_distances(a.T, b.T, (1.0, 1.0, 0.25)).hausdorff_mm(100) == 0.5


def test_equal_masks_and_masks_on_the_border_of_the_image():
    a = box((3, 6, 6), (0, 3), (0, 3), (2, 5))  # cut by the image above and on both sides
    surfaces = surface_distances(a, a, SPACING_MM)
    assert (dice(a, a), surfaces.assd_mm(), surfaces.hausdorff_mm(), surfaces.nsd(0)) == (1.0, 0.0, 0.0, 1.0)
    # The lowest row and the two side columns are surface, in each of 3 slices: 3 + 2 * 2 voxels; the image's faces not.
    assert surfaces.a_to_b_mm.size == 3 * (3 + 2 * 2)


def test_a_mask_that_fills_the_image_has_a_border_all_the_same():
    full, inner = np.ones((3, 3, 3), bool), box((3, 3, 3), (1, 2), (1, 2), (1, 2))
    assert surface_distances(full, inner, (1.0, 1.0, 1.0)).hausdorff_mm(100) == pytest.approx(3**0.5)


def test_empty_masks():
    empty, some = np.zeros((2, 3, 3), bool), box((2, 3, 3), (0, 1), (0, 2), (0, 2))
    both = surface_distances(empty, empty, SPACING_MM)
    assert (dice(empty, empty), both.assd_mm(), both.hausdorff_mm(), both.nsd(1)) == (1.0, 0.0, 0.0, 1.0)
    for a, b in ((empty, some), (some, empty)):
        one = surface_distances(a, b, SPACING_MM)
        assert (dice(a, b), one.assd_mm(), one.hausdorff_mm(), one.nsd(1)) == (0.0, np.inf, np.inf, 0.0)


def test_dice_agrees_with_simpleitk():
    for a, b in random_pairs(PAIRS):
        overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
        overlap.Execute(*(SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in (a, b)))
        assert dice(a, b) == pytest.approx(overlap.GetDiceCoefficient(), abs=1e-6)


def second_border(mask: np.ndarray) -> np.ndarray:
    """Coordinates of voxels with a face neighbour inside the image that is not in the mask; all if there is none."""
    found = []
    for index in np.argwhere(mask):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                other = index.copy()
                other[axis] += step
                if 0 <= other[axis] < mask.shape[axis] and not mask[tuple(other)]:
                    found.append(tuple(index))
    if found:
        return np.array(sorted(set(found)))
    edge = [
        index for index in np.argwhere(mask) if any(i in (0, n - 1) for i, n in zip(index, mask.shape, strict=True))
    ]
    return np.array(edge)


def test_surface_metrics_agree_with_nearest_neighbours_of_border_points():
    compared = 0
    for a, b in random_pairs(PAIRS):
        first, second = (second_border(mask) * np.array(SPACING_MM) for mask in (a, b))
        there, back = cKDTree(second).query(first)[0], cKDTree(first).query(second)[0]
        surfaces = surface_distances(a, b, SPACING_MM)
        both = np.concatenate((there, back))
        assert surfaces.assd_mm() == pytest.approx(both.mean(), abs=1e-6)
        assert surfaces.hausdorff_mm() == pytest.approx(
            max(np.quantile(there, 0.95), np.quantile(back, 0.95)), abs=1e-6
        )
        assert surfaces.nsd(0.8) == pytest.approx(np.mean(both < 0.8 + 1e-6), abs=1e-6)
        assert assd_mm(a, b, SPACING_MM) == surfaces.assd_mm()
        compared += 1
    assert compared > 0.9 * PAIRS


def test_hausdorff_agrees_with_simpleitk_inside_the_image():
    for pair in random_pairs(60):
        a, b = (np.pad(mask, 1) for mask in pair)  # SimpleITK measures from every voxel, not from the border
        images = [SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in (a, b)]
        for image in images:
            image.SetSpacing(SPACING_MM[::-1])
        hausdorff = SimpleITK.HausdorffDistanceImageFilter()
        hausdorff.Execute(*images)
        ours = surface_distances(a, b, SPACING_MM).hausdorff_mm(100)
        inside = (a & b).sum() in (a.sum(), b.sum())  # one holds the other: only then can a border lie inside it
        assert ours >= hausdorff.GetHausdorffDistance() - 1e-6
        if not inside and not (a & b).any():
            assert ours == pytest.approx(hausdorff.GetHausdorffDistance(), abs=1e-6)
