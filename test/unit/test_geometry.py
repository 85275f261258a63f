"""Axes, planes and millimetres, with the answers by hand."""

from __future__ import annotations

import numpy as np
import pytest

from spine.geometry import (
    FRONT,
    UP,
    arc_length,
    elevation_deg,
    extent,
    fit_curve,
    front_of,
    leaving,
    moving_mean,
    patient_horizontal,
    to_lps,
    unit,
    up_of,
    wrap_deg,
)

STANDARD = np.array([[4.0, 0, 0, 10], [0, 0, 0.8, 20], [0, -0.8, 0, 30], [0, 0, 0, 1]])


def test_directions():
    assert front_of(UP) == pytest.approx(FRONT)
    assert up_of(FRONT) == pytest.approx(UP)
    tilted = unit(np.array([-3.0, 4.0]))
    assert up_of(front_of(tilted)) == pytest.approx(tilted)
    assert unit(np.zeros((2, 3))) == pytest.approx(np.zeros((2, 3)))


def test_elevation():
    assert elevation_deg(FRONT) == 0
    assert elevation_deg(np.array([-1.0, -1.0])) == pytest.approx(45)  # one up, one to the front
    assert elevation_deg(np.array([1.0, -1.0])) == pytest.approx(-45)
    assert elevation_deg(FRONT, unit(np.array([-1.0, -1.0]))) == pytest.approx(-45)
    assert [wrap_deg(a) for a in (190.0, -190.0, 30.0)] == [-170, 170, 30]


def test_index_to_patient():
    assert to_lps(STANDARD, np.array([[1.0, 2, 3], [0, 0, 0]])) == pytest.approx(
        np.array([[14, 22.4, 28.4], [10, 20, 30]])
    )


def test_horizontal_of_the_patient():
    assert patient_horizontal(STANDARD) == pytest.approx(FRONT)
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    nod = np.eye(4)
    nod[1:3, 1:3] = [[c, -s], [s, c]]  # turns the image about the left-right axis, posterior towards the head
    # the image's back axis rises by 20 degrees: the patient's front then lies 20 degrees above the image's front
    assert elevation_deg(patient_horizontal(nod @ STANDARD)) == pytest.approx(20)
    axial = STANDARD[[2, 1, 0, 3]]
    assert patient_horizontal(axial) is None


def test_extent_between_samples():
    positions = np.arange(5.0)
    distance = np.array([[1.0, -1, -1, -3, 1], [1, 1, 1, 1, 1], [-1, -1, -1, 1, 1]])
    low, high = extent(positions, distance)
    assert low[0] == 0.5
    assert high[0] == 3.75
    assert np.isnan(low[1:]).all()  # missed, and reaching past the end
    assert np.isnan(high[1:]).all()


def test_leaving_may_begin_inside():
    distance = np.array([[-1.0, -1, 1, -3, 1], [-1, 1, 1, 1, 1], [1, 1, 1, 1, -1], [1, 1, 1, 1, 1]])
    last = leaving(np.arange(5.0), distance)
    assert last[:2] == pytest.approx([3.75, 0.5])
    assert np.isnan(last[2:]).all()  # still inside at the end, never inside


def test_curve_ignores_outliers():
    x = np.linspace(0, 10, 21)
    y = 2 + 0.5 * x - 0.1 * x**2
    y[4], y[15] = 30, np.nan
    curve = fit_curve(x, y, 2, noise=0.01)
    assert curve(x[:3]) == pytest.approx(2 + 0.5 * x[:3] - 0.1 * x[:3] ** 2, abs=1e-3)
    assert fit_curve(x[:3], y[:3], 2, noise=0.01) is None
    assert fit_curve(np.full(9, 3.0), np.full(9, 5.0), 1, noise=0.1)(3.0) == pytest.approx(5)


def test_moving_mean_keeps_straight_lines():
    line = np.stack([np.arange(9.0), 3 - 2 * np.arange(9.0)], -1)
    assert moving_mean(line, 3) == pytest.approx(line)
    assert moving_mean(np.array([0.0, 3, 0, 3, 0]), 1)[1:-1] == pytest.approx([1, 2, 1])
    assert moving_mean(np.array([1.0, 2]), 4) == pytest.approx([1, 2])
    assert moving_mean(np.zeros((0, 2)), 2).shape == (0, 2)


def test_arc_length():
    assert arc_length(np.array([[0.0, 0], [3, 4], [3, 5]])) == pytest.approx([0, 5, 6])
