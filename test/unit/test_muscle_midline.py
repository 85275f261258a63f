"""Right and left on axial slices: the line of a slice, and what parallel slices tell of each other."""

import numpy as np
import pytest

from spine.anatomy import AxialStructure
from spine.muscle.midline import Midline, agreed_midlines, own_midline
from spine.muscle.segment import clean_slice

SHAPE, PIXEL_MM = (160, 200), 1.0
NO_SAC = "the dural sac is not recognised on the axial slice, so that the sides are not told apart"
ROWS, COLUMNS = np.indices(SHAPE)


def disc(row, column, radius):
    return (ROWS - row) ** 2 + (COLUMNS - column) ** 2 < radius**2


def places(*along_mm, group=0):
    return {n: (group, mm) for n, mm in enumerate(along_mm)}


def test_own_line_goes_through_sac_and_vertebra_and_turns_with_them():
    line = own_midline(disc(50, 100, 20), disc(80, 130, 8), PIXEL_MM)  # a step of 30 and 30: 45 degrees
    assert (
        line
        == "the dural sac does not lie behind the vertebra on the axial slice, so that the sides are not told apart"
    )
    line = own_midline(disc(50, 100, 20), disc(80, 110, 8), PIXEL_MM)
    assert line.turn_deg == pytest.approx(np.degrees(np.arctan2(10, 30)), abs=0.3)
    assert line.column_at(50) == pytest.approx(100, abs=0.3)
    left = line.left_of(SHAPE)
    assert left[50, 102]
    assert not left[50, 98]
    assert not left[110, 118]  # the line has gone to column 120 there


def test_nothing_recognised_says_why():
    nothing = np.zeros(SHAPE, bool)
    assert "no vertebra or disc" in own_midline(nothing, nothing, PIXEL_MM)
    assert own_midline(disc(50, 100, 20), nothing, PIXEL_MM) == NO_SAC


def test_a_slice_without_a_sac_takes_the_line_of_its_neighbours():
    own = {0: NO_SAC, 1: Midline(80, 100, 0.0), 2: Midline(80, 104, 2.0)}
    agreed = agreed_midlines(own, places(0, 5, 10), PIXEL_MM)
    assert agreed[0] == Midline(80, 102, 1.0)
    assert agreed[1] == own[1]


@pytest.mark.parametrize("place", [{0: (0, 0.0), 1: (0, 17.0)}, {0: (0, 0.0), 1: (1, 4.0)}])
def test_slices_too_far_or_of_another_group_tell_nothing(place):
    own = {0: NO_SAC, 1: Midline(80, 100, 0.0)}
    assert agreed_midlines(own, place, PIXEL_MM)[0] == NO_SAC


def test_one_wrong_line_yields_to_neighbours_that_agree_but_not_to_a_single_one():
    wrong = Midline(80, 100, 30.0)
    own = {0: Midline(80, 100, 0.0), 1: wrong, 2: Midline(80, 102, 2.0)}
    assert agreed_midlines(own, places(0, 4, 8), PIXEL_MM)[1] == Midline(80, 101, 1.0)
    assert agreed_midlines({0: own[0], 1: wrong}, places(0, 4), PIXEL_MM)[1] == wrong
    quarrel = {0: Midline(80, 60, 0.0), 1: wrong, 2: Midline(80, 140, 0.0)}
    assert agreed_midlines(quarrel, places(0, 4, 8), PIXEL_MM)[1] == wrong


def test_empty_input():
    assert agreed_midlines({}, {}, PIXEL_MM) == {}


def test_muscles_beside_a_borrowed_line_have_their_sides():
    labels = np.zeros(SHAPE, int)
    labels[disc(50, 100, 20)] = AxialStructure.BODY
    for column in (80, 120):
        labels[disc(110, column, 14)] = AxialStructure.MULTIFIDUS
    probability = np.zeros((len(AxialStructure), *SHAPE), np.float32)
    np.put_along_axis(probability, labels[None], 1.0, 0)
    grey = np.full(SHAPE, 0.5, np.float32)
    assert clean_slice(grey, probability, PIXEL_MM).reasons["multifidus_right"] == NO_SAC
    outline = clean_slice(grey, probability, PIXEL_MM, Midline(80, 100, 0.0))
    np.testing.assert_array_equal(outline.mask("multifidus_right"), disc(110, 80, 14))
    np.testing.assert_array_equal(outline.mask("multifidus_left"), disc(110, 120, 14))
    assert outline.reasons["dural_sac"] == "not found on the axial slice"
