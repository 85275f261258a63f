"""label: instances, order, numbering and its doubt, on columns drawn by hand."""

import numpy as np
import pytest
from scipy import ndimage

from spine.anatomy import CANAL_LABEL, STRUCTURES, Structure
from spine.label import label_levels
from spine.label.instances import opened
from spine.records import Grid, Segmentation, Volume

SPACING = (4.0, 0.8, 0.8)
SLICES, ROWS, COLUMNS = 7, 384, 256


def volume(rows=ROWS):
    grid = Grid((COLUMNS, rows, SLICES), SPACING[::-1], (0.0, 0.0, 0.0), (0.0, 0, 1, 1, 0, 0, 0, -1, 0))
    array = np.zeros((SLICES, rows, COLUMNS), np.float32)
    return Volume(array, SPACING, array.shape, np.eye(4), grid, (2, 1, 0), (False, False, False))


def segmentation(structures):
    probabilities = np.full((len(STRUCTURES), *structures.shape), 0.01, np.float16)
    np.put_along_axis(probabilities, structures[None].astype(np.intp), np.float16(0.91), 0)
    return Segmentation(probabilities, structures, {}, "test")


def column(count, sacrum=True, top=20, body=30, disc=9, shift_per_level=0):
    """`count` bodies from row `top` down, discs between them, then S1; canal behind, spinous processes behind it."""
    s = np.zeros((SLICES, ROWS, COLUMNS), np.uint8)
    row = top
    for n in range(count + sacrum):
        x = 80 + shift_per_level * n
        s[1:-1, row : row + body, x : x + 42] = Structure.BODY if n < count else Structure.S1
        if n < count:
            s[3, row + 22 : row + 36, x + 68 : x + 95] = Structure.POSTERIOR
        if n < count - 1 + sacrum:
            s[1:-1, row + body + 1 : row + body + disc - 1, x : x + 42] = Structure.DISC
        row += body + disc
    s[2:5, 5 : min(row, ROWS), 126:144] = Structure.CANAL
    return s


def label(structures):
    return label_levels(segmentation(structures), volume(structures.shape[1]))


def test_six_levels_above_the_sacrum():
    spine = label(column(6))
    assert [v.name for v in spine.vertebrae] == ["L5", "L4", "L3", "L2", "L1", "T12"]
    assert [d.level for d in spine.discs] == ["L5/S1", "L4/L5", "L3/L4", "L2/L3", "L1/L2", "T12/L1"]
    assert spine.numbering.method == "sacrum"
    assert spine.numbering.probability > 0.9
    assert spine.numbering.doubt is None
    assert set(np.unique(spine.mask)) == {0, 1, 2, 3, 4, 5, 6, CANAL_LABEL, 201, 202, 203, 204, 205, 206}


def test_each_process_goes_to_its_own_vertebra():
    structures = column(6)
    spine = label(structures)
    for n, vertebra in enumerate(reversed(spine.vertebrae)):  # highest first, as drawn
        row = 20 + n * 39
        assert set(np.unique(spine.mask[3, row + 22 : row + 36, 148:175])) == {vertebra.label}


def test_without_an_anchor_the_names_are_doubtful():
    spine = label(column(4, sacrum=False))
    assert spine.numbering.method == "sizes"
    assert spine.numbering.doubt is not None
    assert spine.numbering.probability < 0.9


def test_a_blob_below_the_sacrum_is_no_vertebra():
    structures = column(6)
    structures[2:5, 340:365, 100:135] = Structure.BODY
    assert [v.name for v in label(structures).vertebrae][:2] == ["L5", "L4"]


def test_a_blob_behind_the_canal_is_no_vertebra():
    structures = column(6)
    structures[2:5, 100:125, 200:235] = Structure.BODY
    assert len(label(structures).vertebrae) == 6


def test_slips_in_the_fat_of_the_back_do_not_take_the_spine_along():
    structures = column(6)
    for row in (30, 70, 110, 150, 190):
        structures[2:5, row : row + 14, 215:245] = Structure.BODY
    structures[2:4, 60:80, 245:256] = Structure.CANAL
    spine = label(structures)
    assert [v.name for v in spine.vertebrae] == ["L5", "L4", "L3", "L2", "L1", "T12"]
    assert (spine.mask[2:4, 60:80, 245:256] == 0).all()


def test_a_vertebra_that_slipped_far_forward_keeps_its_place():
    structures = column(6)
    row = 20 + 5 * 39  # the lowest body above S1
    structures[:, row : row + 30] = 0
    structures[1:-1, row : row + 30, 48:90] = Structure.BODY  # three quarters of its depth in front of S1
    spine = label(structures)
    assert [v.name for v in spine.vertebrae] == ["L5", "L4", "L3", "L2", "L1", "T12"]
    assert spine.vertebrae[0].centre[2] < 75


def test_a_scrap_of_the_lowest_vertebra_makes_every_name_doubtful():
    structures = column(6)
    row = 20 + 5 * 39
    structures[:, row : row + 30, 96:] = np.where(
        structures[:, row : row + 30, 96:] == Structure.BODY, 0, structures[:, row : row + 30, 96:]
    )
    spine = label(structures)
    assert spine.numbering.doubt == "The lowest vertebra was found only in part, so every name may be one level off."
    assert spine.numbering.probability <= 0.5


def test_two_bodies_without_a_disc_are_told_apart():
    structures = column(6)
    merged = slice(20 + 2 * 39 + 30, 20 + 3 * 39)
    structures[:, merged, 80:122] = structures[:, merged.start - 1 : merged.start, 80:122]
    spine = label(structures)
    assert [v.name for v in spine.vertebrae] == ["L5", "L4", "L3", "L2", "L1", "T12"]


def test_a_missing_body_is_said():
    structures = column(7, top=10)
    row = 10 + 3 * 39
    structures[:, row - 9 : row + 39, 80:122] = 0
    spine = label(structures)
    assert spine.numbering.doubt == (
        "Two neighbouring bodies lie so far apart that a vertebra between them was probably missed."
    )
    assert spine.numbering.probability <= 0.5


def test_a_body_cut_by_the_border_is_partial():
    spine = label(np.roll(column(7, top=0), -14, 1))
    assert spine.vertebrae[-1].partial
    assert (spine.mask == 100 + spine.vertebrae[-1].label).any()


def test_scoliosis_and_lordosis_shift_nothing():
    spine = label(column(6, shift_per_level=-3))
    assert [v.name for v in spine.vertebrae] == ["L5", "L4", "L3", "L2", "L1", "T12"]


def test_nothing_found_is_an_empty_spine():
    spine = label(np.zeros((SLICES, ROWS, COLUMNS), np.uint8))
    assert (spine.vertebrae, spine.discs) == ((), ())
    assert spine.numbering.method == "none"
    assert spine.numbering.doubt == "No vertebral body was found."
    assert spine.flags == ("no_canal_found",)


@pytest.mark.parametrize("slices", [1, 3])
def test_few_slices(slices):
    structures = column(6)[3 : 3 + slices]
    assert len(label_levels(segmentation(structures), volume()).vertebrae) == 6


def neck():
    s = np.zeros((SLICES, ROWS, COLUMNS), np.uint8)
    s[1:-1, 20:58, 90:110] = Structure.C2
    s[2:5, 10:24, 78:86] = Structure.C1
    row = 62
    for _ in range(5):
        s[1:-1, row - 4 : row, 90:110] = Structure.DISC
        s[1:-1, row : row + 16, 90:110] = Structure.BODY
        row += 22
    s[2:5, 5:row, 116:132] = Structure.CORD
    return s


def test_a_neck_is_numbered_from_the_axis():
    spine = label(neck())
    assert [v.name for v in spine.vertebrae] == ["C7", "C6", "C5", "C4", "C3", "C2"]
    assert spine.numbering.method == "axis"
    assert spine.discs[-1].level == "C2/C3"
    assert (spine.mask == 24).any()


def test_what_looks_like_body_and_disc_in_the_mouth_is_neither():
    s = neck()
    s[2:5, 84:102, 30:50] = Structure.BODY  # where C3 or C4 would be, were it not for the throat between
    s[2:5, 40:46, 20:44] = Structure.DISC
    spine = label(s)
    assert [v.name for v in spine.vertebrae] == ["C7", "C6", "C5", "C4", "C3", "C2"]
    assert (spine.mask[:, :, :60] == 0).all()
    assert len(spine.discs) == 5


@pytest.mark.parametrize("shape", [(5, 60, 70), (1, 3, 3), (2, 2, 9), (3, 1, 1)])
def test_opening_is_scipys(shape):
    part = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), 1) > 0
    np.testing.assert_array_equal(opened(part), ndimage.binary_opening(part, np.ones((1, 3, 3), bool)))


def test_a_sacrum_that_the_network_half_takes_for_l5_makes_every_name_doubtful():
    structures = column(6)
    found = segmentation(structures)
    s1 = structures == Structure.S1
    found.probabilities[Structure.S1][s1], found.probabilities[Structure.BODY][s1] = 0.55, 0.36
    spine = label_levels(found, volume())
    assert spine.vertebrae[0].name == "L5"
    assert "first sacral body may be the lowest lumbar one" in spine.numbering.doubt
    assert spine.numbering.probability <= 0.5


def test_a_vertebra_counted_twice_makes_every_name_doubtful():
    structures = column(6)
    row = 20 + 2 * 39  # the third body: a black band through its middle parts it
    structures[:, row + 12 : row + 18] = 0
    structures[2:5, row + 12 : row + 18, 126:144] = Structure.CANAL
    spine = label(structures)
    assert spine.numbering.doubt is not None
    assert spine.numbering.probability <= 0.5


def test_arches_and_processes_in_the_face_are_neither():
    s = neck()
    s[2:5, 60:80, 20:40] = Structure.POSTERIOR
    s[2:5, 70:80, 45:60] = Structure.C1
    spine = label(s)
    assert (spine.mask[:, :, :62] == 0).all()
    assert (spine.mask == 24).any()


def test_a_vessel_in_front_of_the_lower_bodies_is_no_canal():
    structures = column(6)
    structures[2:5, 200:280, 126:144] = 0  # the canal is not seen there: a scoliosis leaves the slice
    structures[2:5, 195:300, 40:52] = Structure.CANAL
    spine = label(structures)
    assert [v.name for v in spine.vertebrae] == ["L5", "L4", "L3", "L2", "L1", "T12"]
    assert (spine.mask[2:5, 195:300, 40:52] != CANAL_LABEL).all()


def test_discs_that_touch_beside_the_bodies_stay_two_discs():
    structures = column(6)
    structures[1, 60:140, 76:84] = Structure.DISC  # a bridge over the side of a body joins the discs above and below it
    structures[1, 60:140, 70:76] = Structure.DISC
    spine = label(structures)
    assert [d.level for d in spine.discs] == ["L5/S1", "L4/L5", "L3/L4", "L2/L3", "L1/L2", "T12/L1"]
    sizes = [d.voxels for d in spine.discs]
    assert max(sizes) < 2 * min(sizes)
