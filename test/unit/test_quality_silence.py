"""What must not pass in silence: turned pictures, slices in a wrong order, blanks, wrong spacings, doubtful names."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from spine.anatomy import DISC_OFFSET, Structure, disc_level, vertebra_name
from spine.errors import UnusableImage
from spine.measure.discs import is_slip
from spine.measure.norms import compare
from spine.quality import judge_sizes, withhold_grades, withhold_measurements
from spine.quality.blank import blank_doubts
from spine.quality.learnt import Logistic
from spine.quality.naming import NAME, name_doubts, stated_numbering
from spine.quality.order import order_doubts
from spine.quality.orientation import TURNS, middle_slice, orientation_doubt
from spine.quality.rules import anatomy_doubts, anatomy_flags, distance_doubts
from spine.quality.spacing import at_the_edge, size_doubts, spacing_doubts
from spine.quality.thresholds import read_thresholds
from spine.records import (
    Disc,
    Doubt,
    Grade,
    Grid,
    LabelledSpine,
    Measurement,
    Numbering,
    Quality,
    Segmentation,
    Series,
    Vertebra,
    Volume,
)
from spine.resources import RESOURCES
from spine.warned import WARNED_CODES, warns

LIMITS = read_thresholds()
ROWS, COLUMNS, PIXEL_MM, DEPTH, HEIGHT, STEP = 320, 200, 0.8, 44, 32, 44
SAGITTAL = (0.0, 0, 1, 1, 0, 0, 0, -1, 0)


def volume_of(array, spacing=(4.0, PIXEL_MM, PIXEL_MM)):
    grid = Grid(array.shape[::-1], spacing[::-1], (0.0, 0.0, 0.0), SAGITTAL)
    return Volume(array, spacing, array.shape, np.eye(4), grid, (2, 1, 0), (False,) * 3)


def series_of(array):
    grid = Grid(array.shape[::-1], (PIXEL_MM, PIXEL_MM, 4.0), (0.0, 0.0, 0.0), SAGITTAL)
    return Series("sagittal-spine-mri", "x.mha", np.rint(array * 1000).astype(np.int16), grid)


def tissue(slices, seed=0, noise=0.01):
    """Smooth structures that change from slice to slice, with noise."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(0, 1, (slices + 12, ROWS, COLUMNS)), (3, 4, 4))[6:-6]
    array = 0.3 + 0.7 * (field - field.min()) / np.ptp(field)
    return (array + rng.normal(0, noise, array.shape)).astype(np.float32)


def spine_of(count=6, method="sacrum", doubt=None, slices=3, top=None):
    """Boxes for bodies of HEIGHT x DEPTH pixels with STEP between them, a canal behind: one spine, counted from L5."""
    structures = np.zeros((slices, ROWS, COLUMNS), np.uint8)
    mask = np.zeros_like(structures)
    vertebrae, discs = [], []
    for n in range(count):
        row, half = ROWS - 60 - n * STEP, HEIGHT // 2
        rows = slice(max(row - half, 0), row + half)
        structures[:, rows, 60 : 60 + DEPTH], mask[:, rows, 60 : 60 + DEPTH] = Structure.BODY, n + 1
        voxels = slices * (rows.stop - rows.start) * DEPTH
        vertebrae.append(Vertebra(n + 1, vertebra_name(n + 1), False, (1.0, float(row), 82.0), voxels, 0.95))
        if n:
            middle = row + STEP // 2
            structures[:, middle - 5 : middle + 5, 60:100] = Structure.DISC
            mask[:, middle - 5 : middle + 5, 60:100] = DISC_OFFSET + n + 1
            label = DISC_OFFSET + n + 1
            discs.append(Disc(label, disc_level(label), (1.0, float(middle), 80.0), 960, 0.9))
    structures[:, 5 : ROWS - 10, 112:130] = Structure.CANAL
    numbering = Numbering(method, 0.97, (), doubt)
    return LabelledSpine(mask, structures, tuple(vertebrae), tuple(discs), numbering)


def value(subject, name, unit="mm", z=None):
    return Measurement(subject, name, 1.0, unit, z=z)


# --- orientation -----------------------------------------------------------------------------------------------------


class Looker:
    """Reads a slice: the mean of its upper third over that of its lower third tells how upright it looks."""

    def __init__(self):
        self.seen = 0

    def __call__(self, volume):
        self.seen += 1
        high = volume.content[1]
        count = 6 if volume.array[0, high * 2 // 3 : high].mean() > volume.array[0, : high // 3].mean() else 3
        spine = spine_of(count, slices=1)
        probabilities = np.full((10, 1, ROWS, COLUMNS), 0.1, np.float16)
        return Segmentation(probabilities, spine.structures, {}, "drawn"), spine


def by_bodies(weight):
    """A model of doubt for which six bodies are upright and three are not."""
    rule = Logistic(("bodies",), (0.5625,), (0.1875,), (weight,), 0.0)
    return type("Model", (), {"upright": staticmethod(rule), "upright_gate_prob": 0.5})()


def answer(volume):
    structures = np.zeros(volume.array.shape, np.uint8)
    structures[1, 50:100, 50:100] = Structure.BODY
    return volume, Segmentation(np.zeros((10, *structures.shape), np.float16), structures, {}, "drawn")


def bright_below(up=False):
    ramp = np.linspace(0.2, 1, ROWS, dtype=np.float32)[None, :, None] * np.ones((3, 1, COLUMNS), np.float32)
    return volume_of(np.ascontiguousarray(ramp[:, ::-1]) if up else ramp)


def test_a_picture_on_its_head_is_refused_or_doubted_whole():
    turned = {"bodies": 3 / 8}
    with pytest.raises(UnusableImage, match="the image seems to be upside down: the geometry in its header is wrong"):
        orientation_doubt("x", turned, answer(bright_below(up=True)), by_bodies(2.0), Looker())
    doubt = orientation_doubt("x", turned, answer(bright_below(up=True)), by_bodies(0.5), Looker())
    assert (doubt.subject, doubt.structure) == (None, None)
    given = [value("L4/L5", "slip_mm"), value("L3", "body_wedge_deg", "deg")]
    assert all(m.value is None for m in withhold_measurements(given, [doubt]))


def test_an_upright_picture_is_looked_at_again_only_where_it_looks_odd():
    look = Looker()
    assert orientation_doubt("x", {"bodies": 6 / 8}, answer(bright_below()), by_bodies(2.0), look) is None
    assert look.seen == 0
    assert orientation_doubt("x", {"bodies": 3 / 8}, answer(bright_below()), by_bodies(2.0), look) is None
    assert look.seen == len(TURNS)


def test_the_slice_looked_at_shows_most_of_the_spine():
    volume = bright_below()
    one = middle_slice(*answer(volume))
    assert one.content == (1, ROWS, COLUMNS)
    np.testing.assert_array_equal(one.array[0], volume.array[1])


# --- order of the slices ---------------------------------------------------------------------------------------------


def order(array):
    flags, doubts = order_doubts(series_of(array), volume_of(array), LIMITS)
    return flags, [(d.subject, d.structure) for d in doubts]


def test_slices_in_their_order_are_left_alone():
    for slices in (1, 2, 4, 9, 15):
        assert order(tissue(slices)) == ((), [])
    flat = tissue(9)
    flat[[0, 8]] = 0  # empty slices at both ends are no copies of each other
    assert order(flat) == ((), [])


def test_exchanged_and_shuffled_slices_are_told():
    array = tissue(11)
    changed = array[[0, 1, 2, 7, 4, 5, 6, 3, 8, 9, 10]]
    assert order(changed) == (("slices_out_of_order",), [(None, None)])
    interleaved = array[[0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9]]
    assert order(interleaved) == (("slices_out_of_order",), [(None, None)])


def test_a_repeated_slice_is_told_with_its_number():
    array = tissue(7)
    flags, doubts = order_doubts(series_of(array[[0, 1, 1, 3, 4, 5, 6]]), volume_of(array), LIMITS)
    assert flags == ("slices_repeated",)
    assert doubts[0].reason == "the slices 2 and 3 are the same picture"
    given = [
        value("L4/L5", "disc_volume_mm3", "mm3"),
        value("L4/L5", "canal_area_mm2", "mm2"),
        value("L4/L5", "slip_mm"),
    ]
    assert [m.value is not None for m in withhold_measurements(given, doubts)] == [False, False, True]


# --- parts without signal --------------------------------------------------------------------------------------------


def without_front(fill):
    """L3 lost its front half to a block of one value, in the picture and in the answer."""
    spine, array = spine_of(), tissue(3)
    row = round(spine.vertebrae[2].centre[1])
    rows, block = slice(row - HEIGHT // 2, row + HEIGHT // 2), slice(40, 60 + DEPTH // 2)
    array[:, rows, block] = fill
    spine.structures[:, rows, block], spine.mask[:, rows, block] = 0, 0
    return spine, volume_of(array)


@pytest.mark.parametrize("fill", [0.0, 0.4])
def test_a_vertebra_blacked_out_from_the_front_is_withheld(fill):
    spine, volume = without_front(fill)
    found = {d.subject: d.reason for d in blank_doubts(spine, volume, 0.0, LIMITS)}
    assert "one value only" in found["L3"]
    assert not {"L5", "L1", "T12"} & set(found)


def test_real_tissue_and_overexposed_fluid_are_no_blanks():
    spine, array = spine_of(), tissue(3)
    assert blank_doubts(spine, volume_of(array), 0.0, LIMITS) == ()
    array[:, 100:140, 112:130] = array.max() + 0.1  # the canal at the largest stored value
    assert blank_doubts(spine, volume_of(array), 0.0, LIMITS) == ()
    array = tissue(3)
    array[:, 100:140, 20:50] = 0  # in front of the spine's corridor
    assert blank_doubts(spine, volume_of(array), 0.0, LIMITS) == ()


# --- spacing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 6])
def test_a_spacing_that_contradicts_takes_millimetres_and_no_ratios(count):
    spine, array = spine_of(count), tissue(3)
    assert spacing_doubts(spine, volume_of(array), LIMITS) == []
    doubts = spacing_doubts(spine, volume_of(array, (4.0, 1.3, PIXEL_MM)), LIMITS)
    assert "the bodies lie 1.6 times their depth apart" in doubts[0].reason
    assert ("weak evidence" in doubts[0].reason) == (count == 3)
    assert warns(doubts[0].reason)
    given = [value("L4/L5", "slip_mm"), value("L4/L5", "slip_percent", "%"), value("L4/L5", "wedge_deg", "deg")]
    given += [value("L4/L5", "disc_height_index", "1"), value("L4/L5", "meyerding_grade", "1")]
    kept = [m.value is not None for m in withhold_measurements(given, doubts)]
    assert kept == [False, True, True, True, False]
    neck = Grade("C5/C6", "spondylolisthesis", True)
    assert withhold_grades([neck], doubts, ())[0].grade is None


def test_two_bodies_far_too_large_are_told_with_their_weak_evidence():
    spine, array = spine_of(2), tissue(3)
    assert spacing_doubts(spine, volume_of(array), LIMITS) == []
    reasons = [d.reason for d in spacing_doubts(spine, volume_of(array, (4.0, 1.6, 1.6)), LIMITS)]
    assert len(reasons) == 1
    assert reasons[0].endswith("(one pair only: weak evidence)")


def test_many_sizes_far_from_their_reference_withhold_the_millimetres():
    sizes = [value("L5", f"size_{n}_mm", z=-6.0) for n in range(6)]
    assert size_doubts(sizes[:5], LIMITS) == []
    quality = judge_sizes(Quality(0.9, {}, {}, {}, ("x",), ()), sizes)
    assert quality.flags == ("sizes_implausible", "x")
    assert all(m.value is None for m in withhold_measurements(sizes, quality.doubts))
    assert judge_sizes(quality, sizes[:5]) is quality


def halved(spine, n):
    """`spine` with the body `n` counted twice: its halves stand for it and for the next one up."""
    mask, bodies = spine.mask.copy(), list(spine.vertebrae)
    row = round(bodies[n].centre[1])
    mask[(mask > 0) & (mask < 25) & (np.indices(mask.shape)[1] < row - 1) & (mask >= n + 1)] += 1
    for k in range(n, len(bodies)):
        bodies[k] = replace(bodies[k], centre=(1.0, np.argwhere(mask[1] == k + 1)[:, 0].mean(), 82.0))
    return replace(spine, mask=mask, vertebrae=tuple(bodies))


def test_a_body_counted_twice_among_three_is_told():
    spine, volume = spine_of(3), volume_of(tissue(3))
    assert distance_doubts(spine, volume, LIMITS) == []
    twice = halved(replace(spine_of(2), vertebrae=spine.vertebrae), 1)
    doubts = distance_doubts(twice, volume, LIMITS)
    assert [d.subject for d in doubts if d.structure is None] == ["L3/L4"]
    assert "weak evidence: 3 bodies only are in view" in doubts[0].reason
    assert [d.subject for d in name_doubts(twice, doubts)] == ["L3"]


def test_a_stump_at_the_edge_is_no_doubt():
    spine, volume = spine_of(6), volume_of(tissue(3))
    rows = slice(0, 12)
    stump = Vertebra(7, vertebra_name(7), False, (1.0, 6.0, 82.0), 3 * 10 * DEPTH, 0.8)
    spine.mask[:, 2:12, 60 : 60 + DEPTH], spine.structures[:, rows, 60 : 60 + DEPTH] = 7, Structure.BODY
    spine.mask[:, :2], spine.structures[:, :2] = 0, 0
    cut = replace(spine, vertebrae=(*spine.vertebrae, stump))
    assert at_the_edge(cut, volume) == {7}
    assert anatomy_doubts(cut, volume, LIMITS) == ()
    assert anatomy_flags(cut, volume, LIMITS) == ()


# --- names -----------------------------------------------------------------------------------------------------------

BREAK = Doubt("L3/L4", None, "L3 and L4 lie 70 mm apart where about 35 mm is usual here")


@pytest.mark.parametrize(
    ("method", "doubtful"),
    [("sacrum", ["L3", "L2", "L1", "T12"]), ("axis", ["L5", "L4"]), ("sacrum and axis", [None])],
)
def test_names_beyond_a_break_are_doubtful(method, doubtful):
    spine = spine_of(method=method, doubt="Two neighbouring bodies lie far apart.")
    found = name_doubts(spine, [BREAK])
    assert [d.subject for d in found] == doubtful
    assert {d.structure for d in found} == ({NAME} if doubtful == [None] else {None})


def test_a_doubt_of_the_numbering_concerns_every_name():
    assert name_doubts(spine_of(), []) == []
    found = name_doubts(spine_of(method="sizes", doubt="Neither the sacrum nor C2 is in view."), [])
    assert found == [Doubt(None, NAME, "neither the sacrum nor C2 is in view")]


def test_a_doubtful_name_loses_its_norm_and_keeps_its_value():
    compared = compare(Measurement("L3", "body_height_posterior_mm", 30.0, "mm", reference="wall to wall"), {})
    sound = compare(Measurement("L5", "body_height_posterior_mm", 30.0, "mm", reference="wall to wall"), {})
    assert None not in (compared.z, sound.z)
    kept = withhold_measurements([compared, sound], [Doubt("L3", NAME, "no anchor is in view")])
    assert (kept[0].value, kept[0].z, kept[0].percentile) == (30.0, None, None)
    assert kept[0].reference.startswith("wall to wall; no norm: the name of the level is doubtful, no anchor")
    assert kept[1] == sound


def test_beyond_a_break_nothing_is_told_and_the_numbering_says_so():
    doubts = name_doubts(spine_of(), [BREAK])
    given = [Measurement(level, "canal_ap_diameter_mm", 12.0, "mm") for level in ("L3", "L5")]
    assert [m.value for m in withhold_measurements(given, doubts)] == [None, 12.0]
    [upper, lower] = withhold_grades([Grade(level, "pfirrmann", 3) for level in ("L2/L3", "L5/S1")], doubts, ())
    assert (upper.grade, lower.grade) == (None, 3)
    assert (upper.not_measurable or "").startswith("counted across a break: L3 and L4 lie")
    assert stated_numbering(spine_of().numbering, doubts).doubt is not None
    assert stated_numbering(spine_of().numbering, ()).doubt is None


# --- words and slips -------------------------------------------------------------------------------------------------


def test_every_code_of_page_one_has_words():
    for language in ("en", "nl"):
        text = (Path(RESOURCES) / "texts" / f"{language}.json").read_text(encoding="utf-8")
        assert all(f'"{code}"' in text for code in WARNED_CODES)
    assert warns("sagittal-spine-mri: the image is noisier than usual", "sagittal-spine-mri")
    assert not warns("no disc was found between L1 and L2")


def test_a_slip_is_told_only_beyond_error_and_with_both_corners():
    assert is_slip(1, 5.0, 4.0)
    assert is_slip(1, -6.0, -5.0)
    assert not is_slip(1, -4.0, -4.0)  # a rear corner that is rounder than the one below
    assert not is_slip(1, -6.0, 3.0)  # one corner outlined wrongly
    assert not is_slip(19, -3.5, -3.0)  # C6: within the error of necks
    assert is_slip(19, -4.5, -4.0)


def test_a_disc_as_high_as_the_body_beside_it_is_not_believed():
    """Bone as dark as a disc was outlined as one: nothing of the disc, no height of the bodies, the rest stays."""

    def heights(disc_mm):
        given = {("L3/L4", "disc_height_middle_mm"): disc_mm, ("L3/L4", "canal_ap_diameter_mm"): 14.0}
        given |= {(body, "body_height_middle_mm"): mm for body, mm in (("L2", 24.0), ("L3", 17.0), ("L4", 23.0))}
        given |= {("L3", "body_ap_depth_mm"): 34.0, ("L5/S1", "disc_height_middle_mm"): 9.0}
        return [Measurement(subject, name, value, "mm") for (subject, name), value in given.items()]

    usual = Quality(0.9, {}, {}, {}, (), ())
    assert judge_sizes(usual, heights(12.0)) is usual
    assert judge_sizes(usual, heights(15.9)) is usual
    quality = judge_sizes(usual, heights(20.0))
    assert quality.flags == (
        "L3/L4 was outlined 20 mm high, a body beside it 17 mm: bone as dark as a disc may have been taken for one",
    )
    kept = {(m.subject, m.name): m.value for m in withhold_measurements(heights(20.0), quality.doubts)}
    told = {key for key, value in kept.items() if value is not None}
    assert told == {
        ("L2", "body_height_middle_mm"),
        ("L3", "body_ap_depth_mm"),
        ("L5/S1", "disc_height_middle_mm"),
    }


def joined(spine, n):
    """`spine` with the body `n` and the next one up outlined as one; those above bear the name of the one below."""
    mask, structures, bodies = spine.mask.copy(), spine.structures.copy(), list(spine.vertebrae)
    rows = sorted(round(body.centre[1]) for body in bodies[n : n + 2])
    columns = slice(round(bodies[n].centre[2]) - 15, round(bodies[n].centre[2]) + 15)
    mask[:, rows[0] : rows[1], columns] = n + 1
    structures[:, rows[0] : rows[1], columns] = Structure.BODY
    mask[(mask > n + 1) & (mask < 25)] -= 1
    gone = bodies.pop(n + 1)
    bodies[n] = replace(bodies[n], centre=(1.0, (rows[0] + rows[1]) / 2, gone.centre[2]))
    bodies = [replace(b, label=k + 1, name=vertebra_name(k + 1)) for k, b in enumerate(bodies)]
    return replace(spine, mask=mask, structures=structures, vertebrae=tuple(bodies))


def test_two_bodies_taken_for_one_break_the_column():
    """As a collapsed vertebra does that is outlined together with its neighbour: names above it are a level off."""
    array, spine = tissue(3), spine_of(6)
    assert distance_doubts(spine, volume_of(array), LIMITS) == []
    found = joined(spine, 3)
    doubts = [d for d in distance_doubts(found, volume_of(array), LIMITS) if "taken for one" in d.reason]
    assert [d.subject for d in doubts] == ["L2/L3", "L1/L2", "L2"]
    assert [d.subject for d in name_doubts(found, doubts)] == ["L2", "L1"]
