"""Stated errors of the neck: where the network of the neck outlined the end plates, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest

from spine.measure.unproven import NOTE, with_errors
from spine.records import LabelledSpine, Measurement, Numbering

EMPTY = np.zeros((1, 1, 1), np.uint8)
SPINE = LabelledSpine(
    EMPTY, EMPTY, (), (), Numbering("axis", 1.0, (), None), read_again=frozenset(range(16, 25))
)  # T2-C1
GIVEN = [
    Measurement("C5/C6", "disc_height_middle_mm", 5.0, "mm"),
    Measurement("C5", "body_wedge_deg", 1.0, "deg", reference="between the end plates"),
    Measurement("alignment", "c2_c7_angle_deg", 12.0, "deg"),
    Measurement("C5/C6", "slip_mm", 0.5, "mm"),
    Measurement("T5/T6", "disc_height_middle_mm", 5.0, "mm"),
    Measurement("C6/C7", "disc_height_middle_mm", None, "mm", not_measurable="cut"),
]


def test_what_was_read_again_has_an_interval_and_says_what_it_rests_on():
    height, wedge, angle, *others = with_errors(GIVEN, SPINE)
    assert height.interval_90 == pytest.approx((5.0 - 1.645 * 0.8, 5.0 + 1.645 * 0.8), abs=1e-3)
    assert height.reference == NOTE
    assert wedge.reference == f"between the end plates; {NOTE}"
    assert angle.interval_90[1] - angle.interval_90[0] == pytest.approx(2 * 1.645 * 2.5, abs=1e-3)
    assert others == GIVEN[3:]


def test_a_spine_that_was_read_once_is_left_as_it_is():
    assert with_errors(GIVEN, replace(SPINE, read_again=frozenset())) == GIVEN
    lower = replace(SPINE, read_again=frozenset({20}))  # C5 alone
    found = with_errors(GIVEN, lower)
    assert [one.interval_90 is not None for one in found] == [True, True, False, False, False, False]
