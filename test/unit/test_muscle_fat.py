"""Fat fraction on drawn compartments: known shares, a coil's field, and when it must not be told."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from spine.muscle.fat import Scale, fat_fraction, fit_scale, subcutaneous
from spine.muscle.field import UNDECIDED

PIXEL_MM = 0.9
SHAPE = (160, 220)
MUSCLE, FAT = 0.25, 0.9


def drawn(share: float, noise: float = 0.02, coil: float = 0.0, fat: float = FAT, streaks: bool = False):
    """Two square muscles before subcutaneous fat and air; (grey, muscles). `coil` e-folds brighter over the picture."""
    rng = np.random.default_rng(7)
    rows, columns = np.indices(SHAPE)
    muscles = np.zeros(SHAPE, bool)
    muscles[60:110, 50:100] = muscles[60:110, 120:170] = True
    grey = np.full(SHAPE, 0.45)
    grey[116:140] = fat
    grey[140:] = 0.0
    inside = rng.random(SHAPE) < share
    if streaks:  # rows of fat, one in 1 / share
        inside = rows % round(1 / share) == 0
    grey[muscles] = np.where(inside, fat, MUSCLE)[muscles]
    grey = grey * np.exp(coil * (rows - 85) / 80 + 0.3 * coil * (columns - 110) / 110)
    return np.abs(grey + rng.normal(0, noise, SHAPE)).astype(np.float32), muscles


def measured(share: float, **kind: object) -> float:
    grey, muscles = drawn(share, **kind)
    scale = fit_scale(grey, muscles, muscles, PIXEL_MM)
    assert isinstance(scale, Scale), scale
    return fat_fraction(grey, muscles, scale)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.15, 0.3, 0.5])
@pytest.mark.parametrize("coil", [0.0, 0.7])
def test_a_known_share_of_fat_is_found(share, coil):
    # The drawn share is exact to sqrt(p (1 - p) / 5000) < 0.01; a coil of 0.7 makes the back four times the front.
    assert measured(share, coil=coil) == pytest.approx(share, abs=0.02)


def test_streaks_of_one_pixel_are_counted():
    assert measured(0.2, streaks=True) == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_pixels_that_are_partly_fat_are_shared_out(share):
    grey, muscles = drawn(share, streaks=True)
    lean, _ = drawn(0.0)
    grey[:112, 110:] = lean[:112, 110:]  # the other muscle is lean, as the psoas mostly is: it tells what muscle is
    muscles = ndimage.binary_erosion(muscles, iterations=3)
    blurred = 0.5 * grey + 0.25 * (np.roll(grey, 1, 0) + np.roll(grey, -1, 0))  # half of each streak lies beside it
    scale = fit_scale(blurred, muscles, muscles, PIXEL_MM)
    streaked = muscles & (np.arange(SHAPE[1]) < 110)
    assert fat_fraction(blurred, streaked, scale) == pytest.approx(share, abs=0.04)


def test_noise_alone_is_no_fat():
    assert measured(0.0, noise=0.06) < 0.03


def test_the_field_is_taken_off():
    grey, muscles = drawn(0.1, coil=0.7)
    scale = fit_scale(grey, muscles, muscles, PIXEL_MM)
    found = np.log(scale.field[100, 75] / scale.field[65, 75])
    assert found == pytest.approx(0.7 * 35 / 80, abs=0.06)


def test_the_scale_of_the_intensities_does_not_matter():
    grey, muscles = drawn(0.3)
    shares = [fat_fraction(grey * f, muscles, fit_scale(grey * f, muscles, muscles, PIXEL_MM)) for f in (1.0, 3.0)]
    assert shares[0] == pytest.approx(shares[1], abs=0.003)


def test_suppressed_fat_is_refused():
    grey, muscles = drawn(0.2, fat=0.3)
    assert "cannot be told from muscle" in fit_scale(grey, muscles, muscles, PIXEL_MM)


def test_without_subcutaneous_fat_in_view_nothing_is_told():
    grey, muscles = drawn(0.2)
    cut = slice(0, 112)  # the picture ends behind the muscles
    assert "no subcutaneous fat" in fit_scale(grey[cut], muscles[cut], muscles[cut], PIXEL_MM)


def test_no_muscle_and_no_signal_are_reasons_not_numbers():
    grey, muscles = drawn(0.2)
    none = np.zeros_like(muscles)
    assert isinstance(fit_scale(grey, none, none, PIXEL_MM), str)
    assert isinstance(fit_scale(np.zeros_like(grey), muscles, muscles, PIXEL_MM), str)


def test_the_subcutaneous_strip_is_fat_and_nothing_else():
    grey, muscles = drawn(0.2)
    strip = subcutaneous(grey, muscles, PIXEL_MM)
    rows = np.flatnonzero(strip.any(1))
    assert (rows[0], rows[-1]) == (116, 139)


def trunk(back_fat: float, front_fat: float, coil: float):
    """Back muscles as in `drawn` and two muscles in front of them; (grey, muscles, back)."""
    grey, back = drawn(back_fat, coil=coil)
    rng = np.random.default_rng(8)
    front = np.zeros(SHAPE, bool)
    front[10:50, 30:70] = front[10:50, 150:190] = True
    rows, columns = np.indices(SHAPE)
    field = np.exp(coil * (rows - 85) / 80 + 0.3 * coil * (columns - 110) / 110)
    tissue = np.where(rng.random(SHAPE) < front_fat, FAT, MUSCLE)
    grey[front] = np.abs(tissue * field + rng.normal(0, 0.02, SHAPE))[front]
    return grey, back | front, back


@pytest.mark.parametrize("coil", [-0.4, 0.0, 0.7])
@pytest.mark.parametrize(("back_fat", "front_fat"), [(0.7, 0.05), (0.9, 0.1), (0.3, 0.3)])
def test_a_psoas_in_front_of_a_fatty_back_is_told_apart_from_a_dark_coil(back_fat, front_fat, coil):
    # Where most of the back is fat, its darkest half is not lean: the psoas was told 50 to 100 % fat then.
    grey, muscles, back = trunk(back_fat, front_fat, coil)
    scale = fit_scale(grey, muscles, back, PIXEL_MM)
    assert isinstance(scale, Scale), scale
    assert fat_fraction(grey, muscles & ~back, scale) == pytest.approx(front_fat, abs=0.05)
    assert fat_fraction(grey, back, scale) == pytest.approx(back_fat, abs=0.08)


@pytest.mark.parametrize(("dark", "bright"), [(0.2, 0.3), (0.42, 0.5), (0.5, 0.6)])
def test_a_strip_that_is_hardly_fat_does_not_mislead(dark, bright):
    grey, muscles = drawn(0.3)
    grey[116:140] = np.where(np.arange(24)[:, None] % 6 < 3, bright, dark)  # fascia and skin of a very lean back
    scale = fit_scale(grey, muscles, muscles, PIXEL_MM)
    assert isinstance(scale, str) or fat_fraction(grey, muscles, scale) == pytest.approx(0.3, abs=0.05)


def test_two_explanations_of_one_picture_are_a_reason():
    # Even grey in front and behind: all lean under a bright coil, or all fat under a dark one.
    grey, muscles, back = trunk(0.0, 0.0, 0.0)
    rng = np.random.default_rng(9)
    grey[back] = (0.5 + rng.normal(0, 0.05, SHAPE))[back]
    assert fit_scale(grey, muscles, back, PIXEL_MM) == UNDECIDED
