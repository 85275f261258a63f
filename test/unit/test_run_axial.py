"""Evaluation of the axial muscles: the way back to the stored grid, pooling, intervals."""

import numpy as np
import pytest

from lab.evaluate.axial_tables import draw_overlay, interval, pooled_dice
from lab.evaluate.run_axial import on_stored_grid, overlaps
from spine.muscle.conform import conform_axial
from spine.muscle.segment import Outline
from spine.records import Grid, Series


def series(flip):
    """Five slices of 120 x 140 pixels of 0.9 mm; columns run to the right where `flip`."""
    i, start = (-1.0, 62.55) if flip else (1.0, -62.55)
    direction = (i, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, i)
    grid = Grid((140, 120, 5), (0.9, 0.9, 4.0), (start, -20.0, 0.0), direction)
    array = np.random.default_rng(0).integers(50, 200, (5, 120, 140)).astype(np.uint16)
    return Series("axial-t2-spine-mri", "stack", array, grid)


@pytest.mark.parametrize("flip", [False, True])
def test_outlines_return_to_the_stored_pixels(flip):
    given = series(flip)
    stack = conform_axial(given, 0.9)
    shape = stack.content(0)
    outlines = {}
    for index in range(len(stack)):
        labels = np.zeros(shape, np.uint8)
        labels[5:10, 3:9] = 1  # at the patient's right
        left = np.zeros(shape, bool)
        left[:, shape[1] // 2 :] = True
        outlines[index] = Outline(np.zeros(shape, np.float32), labels, left, {}, {})
    labels, right = on_stored_grid(stack, outlines, given.grid)
    columns = slice(131, 137) if flip else slice(3, 9)
    expected = np.zeros((5, 120, 140), np.uint8)
    expected[:, 5:10, columns] = 1
    np.testing.assert_array_equal(labels, expected)
    assert right[labels == 1].all()


def test_overlaps_keep_sides_apart():
    labels = np.zeros((1, 4, 8), np.uint8)
    labels[0, :, 1:3] = 1
    labels[0, :, 5:7] = 1
    right = np.broadcast_to(np.arange(8) < 4, labels.shape)
    found = labels.copy()
    found[0, 0] = 0
    (row,) = overlaps((found, right), (labels, right))
    assert row["multifidus_right"] == [6, 6, 8]
    assert row["multifidus_left"] == [6, 6, 8]
    assert row["psoas_left"] == [0, 0, 0]


def test_pooled_dice_by_hand():
    assert pooled_dice([[6, 6, 8], [0, 2, 0]]) == pytest.approx(2 * 6 / 16)
    assert pooled_dice([[0, 0, 0]]) == 1.0


def test_interval_holds_its_value_and_is_reproducible():
    rows = [[5, 10, 10], [9, 10, 10], [7, 10, 10]]
    value, low, high = interval(rows, pooled_dice)
    assert value == pytest.approx(0.7)
    assert low <= value <= high
    assert interval(rows, pooled_dice) == (value, low, high)


def test_overlay_colours_what_was_found_and_outlines_the_reference():
    found = np.zeros((10, 10), np.uint8)
    found[2:8, 2:8] = 1
    picture = draw_overlay(np.full((10, 10), 50), found, found)
    assert picture.shape == (10, 10, 3)
    assert (picture[2, 2] == 255).all()
    assert picture[5, 5, 0] > picture[5, 5, 1]
