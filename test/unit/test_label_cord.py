"""outline_cord: an ellipse of known size in a tube of fluid, found again through blur, noise and a poor start."""

import numpy as np
import pytest
from scipy import ndimage

from spine.anatomy import Structure
from spine.label.cord import outline_cord

SPACING = (2.0, 0.8, 0.8)
SHAPE = (15, 120, 60)
HALF_AP_MM, HALF_WIDTH_MM, TUBE_MM = 3.8, 6.2, 9.0


def across(shape=SHAPE):
    """Distance from the middle of each row, (slice, 1, back) mm to the side and to the back."""
    side = (np.arange(shape[0]) - 7.0)[:, None, None] * SPACING[0]
    bend = 1.5 * np.sin(np.arange(shape[1]) / 30.0)[None, :, None]
    return side, (np.arange(shape[2]) - 30.0)[None, None, :] * SPACING[2] - bend


def drawn(cord_signal, fluid_signal, wall_signal=0.15, noise=0.02, half_ap_mm=HALF_AP_MM, seed=0):
    """True cord, canal, and the image, blurred in the plane."""
    side, back = across()
    cord = np.square(side / HALF_WIDTH_MM) + np.square(back / half_ap_mm) < 1
    tube = np.square(side / (TUBE_MM + 2)) + np.square(back / TUBE_MM) < 1
    image = np.where(cord, cord_signal, np.where(tube, fluid_signal, wall_signal))
    image = ndimage.gaussian_filter(image, (0, 0.7, 0.7))
    image = image + np.random.default_rng(seed).normal(0, noise, image.shape)
    return cord, tube, image.astype(np.float32)


def poor_start(cord, tube):
    """Canal with a cord that is two pixels too thin and lost over a third of its length."""
    structures = np.where(tube, Structure.CANAL, 0).astype(np.uint8)
    thin = ndimage.binary_erosion(cord, np.ones((1, 5, 5), bool))
    thin[:, 30:70] = False
    structures[thin] = Structure.CORD
    return structures


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize(("cord_signal", "fluid_signal"), [(0.5, 1.4), (0.9, 0.4)], ids=["t2", "t1"])
def test_a_thin_and_broken_cord_is_outlined_again(cord_signal, fluid_signal):
    cord, tube, image = drawn(cord_signal, fluid_signal)
    start = poor_start(cord, tube)
    found = outline_cord(start, image, SPACING, SHAPE[1]) == Structure.CORD
    assert dice(start == Structure.CORD, cord) < 0.7
    assert dice(found, cord) > 0.93
    depth_mm = found[7].sum(1) * SPACING[2]
    np.testing.assert_allclose(depth_mm[5:-5].mean(), 2 * HALF_AP_MM, atol=0.4)


def test_nothing_outside_the_canal_changes_and_nothing_below_the_end():
    cord, tube, image = drawn(0.5, 1.4)
    start = poor_start(cord, tube)
    found = outline_cord(start, image, SPACING, 80)
    np.testing.assert_array_equal(found > 0, start > 0)
    np.testing.assert_array_equal(found[:, 80:], start[:, 80:])


def test_without_contrast_no_cord_is_told():
    cord, tube, image = drawn(1.0, 1.05)
    found = outline_cord(poor_start(cord, tube), image, SPACING, SHAPE[1])
    assert not (found == Structure.CORD).any()


def test_where_the_wall_touches_the_cord_the_wall_is_its_border():
    cord, tube, image = drawn(0.5, 1.4)
    _, back = across()
    pressed = np.broadcast_to(back < -2.0, SHAPE).copy()  # a disc takes the front of canal and cord
    pressed[:, :50], pressed[:, 62:] = False, False
    image[pressed] = 0.15
    start = poor_start(cord & ~pressed, tube & ~pressed)
    found = outline_cord(start, image, SPACING, SHAPE[1]) == Structure.CORD
    depth_mm = found[7].sum(1) * SPACING[2]
    np.testing.assert_allclose(depth_mm[54:58].mean(), HALF_AP_MM + 2.0, atol=0.9)
    np.testing.assert_allclose(depth_mm[10:40].mean(), 2 * HALF_AP_MM, atol=0.5)


def test_without_a_canal_nothing_changes():
    empty = np.zeros(SHAPE, np.uint8)
    assert outline_cord(empty, np.zeros(SHAPE, np.float32), SPACING, SHAPE[1]) is empty


def test_a_hole_in_the_canal_is_no_border():
    cord, tube, image = drawn(0.5, 1.4)
    start = poor_start(cord, tube)
    start[6:9, 40:60, 28:31] = 0  # the network took the middle of the cord for something else
    found = outline_cord(start, image, SPACING, SHAPE[1]) == Structure.CORD
    assert dice(found, cord) > 0.93
    assert found[7, 40:60, 29].all()


def test_a_layer_of_fluid_thinner_than_the_blur_does_not_make_the_cord_thick():
    _, back = across()
    side = across()[0]
    cord, _, _ = drawn(0.5, 1.4)
    tube = np.square(side / 9.0) + np.square(back / 4.9) < 1  # 1.1 mm of fluid before and behind
    image = np.where(cord, 0.5, np.where(tube, 1.4, 0.15))
    image = ndimage.gaussian_filter(image, (0, 0.7, 0.7)).astype(np.float32)
    start = np.where(tube, Structure.CANAL, 0).astype(np.uint8)
    start[ndimage.binary_erosion(cord, np.ones((1, 3, 3), bool))] = Structure.CORD
    found = outline_cord(start, image, SPACING, SHAPE[1]) == Structure.CORD
    np.testing.assert_allclose(found[7].sum(1)[10:-10].mean() * SPACING[2], 2 * HALF_AP_MM, atol=0.5)


def test_a_side_without_fluid_takes_the_radius_from_beside_it():
    cord, tube, image = drawn(0.5, 1.4)
    _, back = across()
    void = np.broadcast_to(back < -2.0, SHAPE).copy() & tube & ~cord  # flow takes the signal before the cord
    void[:, :54], void[:, 66:] = False, False
    image[void] = 0.5
    found = outline_cord(poor_start(cord, tube), image, SPACING, SHAPE[1]) == Structure.CORD
    depth_mm = found[7].sum(1) * SPACING[2]
    np.testing.assert_allclose(depth_mm[56:64].mean(), 2 * HALF_AP_MM, atol=0.8)  # the void draws the course


def test_noise_alone_is_no_fluid():
    cord, tube, image = drawn(0.5, 0.6, noise=0.1)
    found = outline_cord(poor_start(cord, tube), image, SPACING, SHAPE[1])
    assert not (found == Structure.CORD).any()
