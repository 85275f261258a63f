"""What else must not pass in silence: pictures put together, patients that moved, sizes of no usual person."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from spine.anatomy import Structure
from spine.quality import judge_sizes, withhold_grades, withhold_measurements
from spine.quality.motion import motion_doubts, slice_shifts_mm
from spine.quality.naming import NAME, name_doubts
from spine.quality.seams import seam_doubts
from spine.quality.sizes import expected_logs, scale_doubts, usual_mm
from spine.quality.spacing import SIZE, slice_spacing_doubts, widths_in_sides
from spine.quality.thresholds import read_thresholds
from spine.quality.verdict import ruled
from spine.records import Doubt, Grade, Grid, LabelledSpine, Measurement, Numbering, Quality, Series, Vertebra, Volume

LIMITS = read_thresholds()
ROWS, COLUMNS, PIXEL_MM = 320, 200, 0.8
SAGITTAL = (0.0, 0, 1, 1, 0, 0, 0, -1, 0)


def stored(array):
    """`array` as a series and, untouched, on the model's grid."""
    grid = Grid(array.shape[::-1], (PIXEL_MM, PIXEL_MM, 4.0), (0.0, 0.0, 0.0), SAGITTAL)
    series = Series("sagittal-spine-mri", "x.mha", np.rint(array * 1000).astype(np.int16), grid)
    volume = Volume(
        array.astype(np.float32), (4.0, PIXEL_MM, PIXEL_MM), array.shape, np.eye(4), grid, (2, 1, 0), (False,) * 3
    )
    return series, volume


def tissue(slices=3, seed=0):
    """Smooth structures that change little from slice to slice, with noise."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(0, 1, (slices + 12, ROWS, COLUMNS)), (3, 4, 4))[6:-6]
    return 0.3 + 0.7 * (field - field.min()) / np.ptp(field) + rng.normal(0, 0.005, field.shape)


def seams(array):
    flags, doubts = seam_doubts(*stored(array), LIMITS)
    assert all((doubt.subject, doubt.structure) == (None, None) for doubt in doubts)
    assert flags == ("picture_in_pieces",) * len(doubts)
    return [doubt.reason for doubt in doubts]


# --- pictures put together -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slices", [1, 3, 15])
def test_a_picture_of_one_piece_is_left_alone(slices):
    assert seams(tissue(slices)) == []


@pytest.mark.parametrize("band_mm", [10, 30])
def test_rows_that_were_cut_out_are_told_with_their_place(band_mm):
    array = np.delete(tissue(), np.s_[150 : 150 + round(band_mm / PIXEL_MM)], axis=1)
    (reason,) = seams(array)
    assert reason.startswith("all tissue breaks off below row 150 ")


def test_rows_that_were_stored_twice_are_told_with_both_places():
    array = tissue()
    (reason,) = seams(np.concatenate([array[:, :140], array[:, 120:]], 1))
    assert reason == "the rows from 121 on are stored once more from row 141 on: the picture is put together"


def test_two_patients_one_above_the_other_are_told_and_nothing_is_given():
    array = np.concatenate([tissue()[:, :160], tissue(seed=1)[:, 160:]], 1)
    _, doubts = seam_doubts(*stored(array), LIMITS)
    given = [Measurement("L4/L5", "slip_percent", 2.0, "%"), Measurement("L3", "body_wedge_deg", 3.0, "deg")]
    assert all("row 160" in m.not_measurable for m in withhold_measurements(given, doubts))
    (grade,) = withhold_grades([Grade("L4/L5", "pfirrmann", 3, (0.1, 0.2, 0.6, 0.1, 0.0))], doubts, ())
    assert (grade.grade, grade.probabilities) == (None, ())


def test_borders_of_anatomy_fading_edges_and_blown_up_pictures_are_no_seams():
    array = tissue()
    plate = array.copy()
    plate[:, 150:, 60:140] *= 0.4  # an end plate crosses less than half of the row
    assert seams(plate) == []
    fading = array.copy()
    fading[:, -12:] *= np.linspace(1, 0, 12)[:, None] ** 2  # the coil ends
    assert seams(fading) == []
    dark = array.copy()
    dark[:, 100:130] = 0  # blacked out: told by another rule
    assert seams(dark) == []
    assert seams(np.repeat(array[:, ::4], 4, axis=1)) == []
    assert seams(np.full((1, ROWS, COLUMNS), 0.5)) == []


def test_the_rules_of_a_case_hold_seams_and_motion():
    series, volume = stored(np.delete(tissue(5), np.s_[150:180], axis=1))
    empty = np.zeros(volume.array.shape, np.uint8)
    flags, doubts = ruled(series, volume, LabelledSpine(empty, empty, (), (), Numbering("none", 0.0, (), None)), 0.0)
    assert flags == ("picture_in_pieces",)
    assert [doubt.subject for doubt in doubts] == [None]


# --- motion between slices -------------------------------------------------------------------------------------------


def test_slices_that_lie_beside_their_neighbours_are_told():
    array = tissue(7)
    assert motion_doubts(stored(array)[1], LIMITS) == ((), ())
    array[3] = np.roll(array[3], (6, -8), axis=(0, 1))  # 8 mm
    shifts = slice_shifts_mm(stored(array)[1])
    np.testing.assert_allclose(np.hypot(shifts[:, 1], shifts[:, 2])[2:4], 8.0, atol=1.6)
    flags, (doubt,) = motion_doubts(stored(array)[1], LIMITS)
    assert flags == ("moved_between_slices",)
    assert (doubt.subject, doubt.structure) == (None, None)
    assert doubt.reason.startswith("the slices 3 and 4 fit best when one is moved by ")


def test_a_patient_that_lay_aside_from_one_slice_on_is_told():
    array = tissue(8)
    array[4:] = np.roll(array[4:], 10, axis=2)
    assert motion_doubts(stored(array)[1], LIMITS)[0] == ("moved_between_slices",)


def test_one_slice_and_empty_slices_say_nothing_of_motion():
    assert motion_doubts(stored(tissue(1))[1], LIMITS) == ((), ())
    array = tissue(6)
    array[[0, 5]] = 0
    assert motion_doubts(stored(array)[1], LIMITS) == ((), ())


# --- sizes of a person -----------------------------------------------------------------------------------------------


def lumbar(height=1.0, depth=1.0, bodies=5):
    """A usual person's lumbar bodies, times these factors from head to foot and from front to back."""
    height_mm, depth_mm, canal_mm = usual_mm(LIMITS)
    return [
        Measurement(f"L{n}", name, value, "mm")
        for n in range(5, 5 - bodies, -1)
        for name, value in (
            ("body_height_anterior_mm", height * (height_mm + 1)),
            ("body_height_posterior_mm", height * (height_mm - 1)),
            ("body_ap_depth_mm", depth * depth_mm),
            ("canal_ap_diameter_mm", depth * canal_mm),
        )
    ]


@pytest.mark.parametrize("factor", [1.3, 1.5, 1 / 1.3, 1 / 1.5])
@pytest.mark.parametrize("axes", [(1, 1), (1, 0), (0, 1)])
def test_a_wrong_spacing_of_a_usual_person_is_told(factor, axes):
    (doubt,) = scale_doubts(lumbar(*(factor**axis for axis in axes)), LIMITS)
    assert (doubt.subject, doubt.structure) == (None, SIZE)
    assert doubt.reason.startswith("the voxel spacing may be wrong: the lumbar bodies are ")


def test_persons_of_usual_sizes_and_one_collapsed_body_are_left_alone():
    for factor in (0.87, 1.0, 1.13):
        assert scale_doubts(lumbar(factor, factor), LIMITS) == []
    crushed = [replace(m, value=m.value / 2) if m.subject == "L3" and "height" in m.name else m for m in lumbar()]
    assert scale_doubts(crushed, LIMITS) == []
    assert scale_doubts(lumbar(1.5, 1.5, bodies=2), LIMITS) == []
    assert scale_doubts([], LIMITS) == []


def test_stature_or_sex_move_what_is_usual():
    deep = lumbar(1, 1.28)
    assert [len(scale_doubts(deep, LIMITS, {"sex": sex})) for sex in ("female", "male")] == [1, 0]
    small = lumbar(0.78, 0.8)
    assert len(scale_doubts(small, LIMITS)) == 1
    assert scale_doubts(small, LIMITS, {"height_cm": 150.0, "sex": "female"}) == []
    assert len(scale_doubts(lumbar(1.25, 1.25), LIMITS, {"height_cm": 155.0})) == 1  # told sooner than without
    woman, man = (expected_logs({"sex": sex}) for sex in ("female", "male"))
    assert (woman < man)[:2].all()
    assert not expected_logs({}).any()


def wide_spine(slice_mm):
    """Three lumbar bodies of 27 x 33 mm that are elliptic in section and 46 mm wide, in 15 slices."""
    mask = np.zeros((15, 120, 100), np.uint8)
    vertebrae = []
    for n in range(3):
        row = 95 - 36 * n
        for s in range(15):
            half = 16.5 * np.sqrt(max(0.0, 1 - ((s - 7) * 4.0 / 23) ** 2))
            mask[s, row - 13 : row + 14, round(40 - half) : round(40 + half)] = n + 1
        voxels = int((mask == n + 1).sum())
        vertebrae.append(Vertebra(n + 1, f"L{5 - n}", False, (7.0, float(row), 40.0), voxels, 0.95))
    structures = np.where(mask > 0, np.uint8(Structure.BODY), np.uint8(0))
    _, volume = stored(np.zeros(mask.shape))
    spine = LabelledSpine(mask, structures, tuple(vertebrae), (), Numbering("sacrum", 0.97, (), None))
    return spine, replace(volume, spacing_mm=(slice_mm, 1.0, 1.0))


def test_a_wrong_distance_of_the_slices_takes_what_is_measured_across_them():
    assert slice_spacing_doubts(*wide_spine(4.0), LIMITS) == []
    for wrong in (6.0, 2.6):
        (doubt,) = slice_spacing_doubts(*wide_spine(wrong), LIMITS)
        assert "from side to side" in doubt.reason
        given = [Measurement("L4/L5", "disc_volume_mm3", 9.0, "mm3"), Measurement("L4/L5", "slip_mm", 1.0, "mm")]
        assert [m.value for m in withhold_measurements(given, [doubt])] == [None, 1.0]


def test_bodies_that_the_stack_does_not_hold_say_nothing_of_its_slices():
    spine, volume = wide_spine(6.0)
    inner = slice(4, 11)
    cut = replace(spine, mask=spine.mask[inner], structures=spine.structures[inner])
    assert widths_in_sides(cut, volume) == {}
    assert slice_spacing_doubts(cut, volume, LIMITS) == []


def test_doubtful_sizes_take_millimetres_and_grades_and_no_ratios():
    given = [*lumbar(1.3, 1.3), Measurement("L4/L5", "disc_height_index", 0.4, "1")]
    quality = judge_sizes(Quality(0.9, {}, {}, {}, (), ()), given)
    assert quality.flags == ("sizes_implausible",)
    kept = {m.name: m.value for m in withhold_measurements(given, quality.doubts)}
    assert kept.pop("disc_height_index") == 0.4
    assert set(kept.values()) == {None}
    graded = [Grade(level, name, 1) for level in ("L4/L5", "C5/C6") for name in ("pfirrmann", "stenosis", "modic")]
    assert {grade.grade for grade in withhold_grades(graded, quality.doubts, ())} == {None}


# --- doubtful names --------------------------------------------------------------------------------------------------


def test_a_break_does_not_hide_a_doubt_about_every_name():
    spine, _ = wide_spine(4.0)
    broken = [Doubt("L4/L5", None, "L4 and L5 lie 70 mm apart where about 35 mm is usual here")]
    missed = "Two neighbouring bodies lie so far apart that a vertebra between them was probably missed."
    partial = "The lowest vertebra was found only in part, so every name may be one level off."
    for doubt, doubtful in ((None, ["L4", "L3"]), (missed, ["L4", "L3"]), (partial, [None])):
        numbered = replace(spine, numbering=Numbering("sacrum", 0.5, (), doubt))
        assert [found.subject for found in name_doubts(numbered, broken)] == doubtful


def test_whatever_is_told_of_a_doubtful_name_says_so():
    doubts = [Doubt("L3", NAME, "counted across a break")]
    words = "the name of the level is doubtful, counted across a break"
    given = [
        Measurement("L3", "canal_ap_diameter_mm", 12.0, "mm"),
        Measurement("L5", "canal_ap_diameter_mm", 12.0, "mm"),
        Measurement("L2/L3", "disc_height_index", 0.4, "1", reference="mean"),
    ]
    kept = withhold_measurements(given, doubts)
    assert [m.reference for m in kept] == [words, None, f"mean; {words}"]
    assert [m.value for m in kept] == [12.0, 12.0, 0.4]
    grades = withhold_grades([Grade("L2/L3", "pfirrmann", 2), Grade("L4/L5", "pfirrmann", 2)], doubts, ())
    assert [grade.evidence for grade in grades] == [(words,), ()]
