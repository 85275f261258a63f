"""Quality: what is measured of image and answer, the rules of anatomy, refusals, and what a doubt takes away."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from spine.anatomy import DISC_OFFSET, Structure, disc_level, vertebra_name
from spine.errors import ModelError, UnusableImage
from spine.measure import canal, cord
from spine.quality import judge_quality, read_quality, withhold_grades, withhold_measurements
from spine.quality.answer import answer_features
from spine.quality.blank import blank_doubts
from spine.quality.confidence import calibrated_confidence
from spine.quality.image import image_features
from spine.quality.learnt import GROUPS, Curve, Logistic, QualityModel
from spine.quality.rules import anatomy_doubts, anatomy_flags, cord_doubts, plate_doubts, slice_doubts
from spine.quality.spacing import pitch_flags
from spine.quality.thresholds import read_thresholds
from spine.quality.withhold import structures_of
from spine.records import (
    Disc,
    Doubt,
    Grade,
    Grid,
    LabelledSpine,
    Measurement,
    Numbering,
    Segmentation,
    Series,
    Vertebra,
    Volume,
)
from spine.report import names
from spine.resources import RESOURCES
from spine.settings import QualitySettings, read_settings

MODEL = Path(__file__).parents[2] / "model"
ROWS, COLUMNS, STEP, PIXEL_MM = 320, 200, 44, 0.8
LIMITS = read_thresholds()


def volume_of(array):
    grid = Grid(array.shape[::-1], (PIXEL_MM, PIXEL_MM, 4.0), (0.0, 0.0, 0.0), (0.0, 0, 1, 1, 0, 0, 0, -1, 0))
    affine = np.eye(4)
    affine[0, 0] = 4.0
    return Volume(array, (4.0, PIXEL_MM, PIXEL_MM), array.shape, affine, grid, (2, 1, 0), (False,) * 3)


def series_of(array, scale=1000.0):
    stored = np.rint(array * scale).astype(np.int16)
    grid = Grid(array.shape[::-1], (PIXEL_MM, PIXEL_MM, 4.0), (0.0, 0.0, 0.0), (0.0, 0, 1, 1, 0, 0, 0, -1, 0))
    return Series("sagittal-spine-mri", "x.mha", stored, grid)


def texture(slices=3, seed=0):
    """Tissue everywhere: smooth structures between 0.3 and 1."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 1, (ROWS, COLUMNS)), 4)
    plane = 0.3 + 0.7 * (smooth - smooth.min()) / np.ptp(smooth)
    drift = ndimage.gaussian_filter(np.random.default_rng(seed + 1).normal(0, 1, (ROWS, COLUMNS)), 4)
    return np.stack([plane + 0.05 * s * drift for s in range(slices)]).astype(np.float32)  # no slice is another's copy


def features(array, series=None):
    return image_features(series or series_of(array), volume_of(array))


def test_noise_is_measured_as_it_was_added():
    clean = texture()
    noisy = clean + np.random.default_rng(1).normal(0, 0.05, clean.shape).astype(np.float32)
    assert features(clean)["noise"] < 0.003
    assert features(noisy)["noise"] == pytest.approx(0.05, rel=0.1)


def test_blur_takes_sharpness_away():
    array = texture() + (np.indices((3, ROWS, COLUMNS))[1] // 20 % 2 * 0.3).astype(np.float32)
    blurred = ndimage.gaussian_filter(array, (0, 3, 3))
    assert features(blurred)["sharpness"] < 0.75 * features(array)["sharpness"]


def test_slices_that_do_not_belong_together_are_seen():
    array = texture()
    assert features(array)["slice_correlation"] > 0.99
    array[1] = texture(1, seed=9)[0]
    assert features(array)["slice_correlation"] < 0.5
    assert features(array[:1])["slice_correlation"] == 1.0


def test_voids_bias_and_saturation():
    array = texture()
    holed = array.copy()
    holed[:, 100:140, 80:120] = 0
    assert features(holed)["void_share"] == pytest.approx(40 * 40 / (ROWS * COLUMNS), rel=0.2)
    assert features(array)["void_share"] < 0.01
    field = np.exp(np.linspace(-1.5, 1.5, ROWS))[None, :, None].astype(np.float32)
    assert features(array * field)["bias"] == pytest.approx(2.0, abs=0.3)  # between the means of opposite thirds
    assert features(np.minimum(array, 0.6))["saturated_share"] > 0.2
    assert features(array)["saturated_share"] < 0.01


def test_fold_over_makes_opposite_borders_alike():
    ramp = np.linspace(0.3, 1.0, COLUMNS)[None, None].astype(np.float32)
    array = texture() * 0.2 + ramp
    folded = np.roll(array, COLUMNS // 2, axis=2)
    assert features(array)["edge_ratio"] > 0.9
    assert features(folded)["edge_ratio"] < 0.3


def test_sizes_and_angles_of_the_grid():
    found = features(texture(5))
    assert (found["height_mm"], found["depth_mm"], found["thickness_mm"]) == (ROWS * 0.8, COLUMNS * 0.8, 20.0)
    assert found["oblique_deg"] == 0.0


def spine_of(count=6, upside_down=False):
    """Boxes for bodies that grow downward, discs between them, a canal behind: (segmentation, spine, volume)."""
    structures = np.zeros((3, ROWS, COLUMNS), np.uint8)
    vertebrae, discs = [], []
    for n in range(count):
        row, half = ROWS - 40 - n * STEP, 16 - n
        structures[:, row - half : row + half, 60:100] = Structure.BODY
        voxels = 3 * 2 * half * 40
        vertebrae.append(Vertebra(n + 1, vertebra_name(n + 1), False, (1.0, float(row), 80.0), voxels, 0.95))
        if n:
            middle = row + STEP // 2
            structures[:, middle - 4 : middle + 4, 60:100] = Structure.DISC
            level = disc_level(DISC_OFFSET + n + 1)
            discs.append(Disc(DISC_OFFSET + n + 1, level, (1.0, float(middle), 80.0), 960, 0.9))
    structures[:, 10 : ROWS - 10, 108:126] = Structure.CANAL
    probabilities = np.full((10, *structures.shape), 0.01, np.float16)
    np.put_along_axis(probabilities, structures[None].astype(int), np.float16(0.91), 0)
    confidence = {"BODY": 0.91, "DISC": 0.91, "CANAL": 0.91}
    segmentation = Segmentation(probabilities, structures, confidence, "drawn")
    numbering = Numbering("sacrum", 0.97, (), None)
    if upside_down:  # the same boxes, counted from the other end
        sizes = [v.body_voxels for v in vertebrae][::-1]
        vertebrae = [replace(v, body_voxels=size) for v, size in zip(vertebrae, sizes, strict=True)]
    spine = LabelledSpine(structures, structures, tuple(vertebrae), tuple(discs), numbering)
    return segmentation, spine, volume_of(texture())


def test_a_regular_spine_has_regular_features():
    found = answer_features(*spine_of())
    assert found["margin"] == pytest.approx(0.90, abs=0.01)
    assert found["kept_share"] == found["disc_share"] == found["canal_share"] == 1.0
    assert found["pitch_mm"] == pytest.approx(STEP * PIXEL_MM)
    assert found["pitch_spread"] == pytest.approx(0, abs=1e-6)
    assert found["canal_spread"] == pytest.approx(0, abs=1e-6)
    assert found["growth"] == pytest.approx(np.log(16 / 11) / 5, rel=0.05)
    assert answer_features(*spine_of(upside_down=True))["growth"] < 0


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_bodies_have_features_too(count):
    assert all(np.isfinite(value) for value in answer_features(*spine_of(count)).values())


def moved(spine, index, rows):
    vertebrae = list(spine.vertebrae)
    down = vertebrae[index].centre[1] + rows
    vertebrae[index] = replace(vertebrae[index], centre=(1.0, down, 80.0))
    return replace(spine, vertebrae=tuple(vertebrae))


def test_a_sound_spine_breaks_no_rule():
    _, spine, volume = spine_of()
    assert anatomy_doubts(spine, volume, LIMITS) == ()
    assert anatomy_flags(spine, volume, LIMITS) == ()
    assert pitch_flags(spine, volume, LIMITS) == []


def test_bodies_too_close_or_too_far_apart_are_doubted():
    _, spine, volume = spine_of()
    doubts = anatomy_doubts(moved(spine, 2, -24), volume, LIMITS)
    assert [(d.subject, d.structure) for d in doubts if d.structure is None] == [("L2/L3", None)]
    assert "L2 and L3 lie 16 mm apart where about" in next(d.reason for d in doubts if d.subject == "L2/L3")


def test_a_body_of_another_size_is_doubted():
    _, spine, volume = spine_of()
    vertebrae = list(spine.vertebrae)
    vertebrae[2] = replace(vertebrae[2], body_voxels=vertebrae[2].body_voxels // 5)
    doubts = anatomy_doubts(replace(spine, vertebrae=tuple(vertebrae)), volume, LIMITS)
    assert [(d.subject, d.structure) for d in doubts] == [("L3", "vertebra")]


def test_a_disc_beside_its_bodies_is_doubted():
    _, spine, volume = spine_of()
    discs = (replace(spine.discs[0], centre=(1.0, spine.discs[0].centre[1], 130.0)), *spine.discs[1:])
    doubts = anatomy_doubts(replace(spine, discs=discs), volume, LIMITS)
    assert [(d.subject, d.structure) for d in doubts] == [("L4/L5", "disc")]


def test_a_canal_as_wide_as_a_belly_is_doubted():
    _, spine, volume = spine_of()
    wide = spine.structures.copy()
    wide[:, 50:250, 108:170] = Structure.CANAL
    doubts = anatomy_doubts(replace(spine, structures=wide), volume, LIMITS)
    assert [(d.subject, d.structure) for d in doubts] == [(None, "canal")]


def test_unusual_distances_missing_discs_and_half_a_canal_are_flagged():
    _, spine, volume = spine_of()
    small = replace(volume, spacing_mm=(4.0, 0.3, 0.3))
    assert "the lumbar bodies lie 13 mm apart" in pitch_flags(spine, small, LIMITS)[0]
    assert anatomy_flags(replace(spine, discs=spine.discs[1:]), volume, LIMITS) == (
        "no disc was found between L4 and L5",
    )
    half = np.where(np.indices(spine.structures.shape)[1] > 230, spine.structures, 0).astype(np.uint8)
    assert "of the vertebrae in view only" in anatomy_flags(replace(spine, structures=half), volume, LIMITS)[0]
    assert anatomy_doubts(replace(spine, structures=half), volume, LIMITS) == ()


def test_a_single_slice_that_leaves_the_canal_gives_no_canal():
    _, spine, _ = spine_of()
    assert slice_doubts(replace(spine, structures=spine.structures[:1]), volume_of(texture(1)), LIMITS) == []
    half = np.where(np.indices(spine.structures.shape)[1] > 230, spine.structures, 0).astype(np.uint8)[:1]
    doubts = slice_doubts(replace(spine, structures=half), volume_of(texture(1)), LIMITS)
    assert [(d.subject, d.structure) for d in doubts] == [(None, "canal")]
    assert doubts[0].reason.endswith("of the vertebrae in view only, and the one slice may lie beside it")


def test_every_measurement_knows_its_structures():
    for name in (*names.DISC_MEASUREMENTS, *names.VERTEBRA_MEASUREMENTS, *names.ALIGNMENT_MEASUREMENTS):
        assert structures_of(name) <= {"vertebra", "disc", "canal", "slices", "plates", "wedge"}
        assert structures_of(name)
    assert structures_of("disc_csf_signal_ratio") == {"disc", "canal"}
    assert structures_of("disc_height_index") == {"disc", "vertebra", "plates"}
    assert structures_of("slip_mm") == {"vertebra"}
    assert structures_of("body_wedge_deg") == {"vertebra", "plates"}
    assert structures_of("narrowest_ap_diameter_mm") == {"canal"}
    assert structures_of("canal_area_mm2") == {"canal", "slices"}


def measurement(subject, name):
    return Measurement(subject, name, 1.0, "mm")


def test_a_doubt_takes_what_it_touches_and_no_more():
    given = [
        measurement("L4/L5", "disc_height_middle_mm"),
        measurement("L4/L5", "canal_ap_diameter_mm"),
        measurement("L3/L4", "slip_mm"),
        measurement("L3", "body_ap_depth_mm"),
        measurement("alignment", "lumbar_lordosis_l1_s1_deg"),
    ]

    def kept(*doubts):
        return [m.value is not None for m in withhold_measurements(given, doubts)]

    assert kept() == [True] * 5
    assert kept(Doubt(None, "disc", "x")) == [False, True, True, True, True]
    assert kept(Doubt(None, "canal", "x")) == [True, False, True, True, True]
    assert kept(Doubt("L4/L5", None, "x")) == [False, False, True, True, True]
    assert kept(Doubt("L3", "vertebra", "x")) == [True, True, False, False, True]
    assert kept(Doubt("L1", "vertebra", "x")) == [True, True, True, True, False]
    withheld = withhold_measurements(given, [Doubt(None, "disc", "the outline is doubtful")])[0]
    assert (withheld.value, withheld.not_measurable, withheld.points_mm) == (None, "the outline is doubtful", ())


def test_grades_follow_the_structures_they_are_read_from():
    grades = [Grade("L4/L5", name, 1, (0.9,), 0.9) for name in ("pfirrmann", "stenosis", "spondylolisthesis")]
    assert [g.grade for g in withhold_grades(grades, [Doubt(None, "canal", "x")], ())] == [1, None, 1]
    assert [g.grade for g in withhold_grades(grades, [Doubt("L5", "vertebra", "x")], ())] == [1, 1, None]
    gone = withhold_grades(grades, [Doubt(None, "disc", "x")], ())[0]
    assert (gone.grade, gone.probabilities, gone.confidence, gone.not_measurable) == (None, (), None, "x")


def constant(probability):
    return Logistic(("margin",), (0.0,), (1.0,), (0.0,), float(np.log(probability / (1 - probability))))


def model(spine_prob=0.99, dice=0.9, **changes):
    wide = dict.fromkeys(
        ("noise", "sharpness", "contrast", "bias", "void_share", "saturated_share", "slice_correlation", "edge_ratio"),
        (-1e9, 1e9),
    )
    limits = QualitySettings("quality.json", "", 0.1, 0.5, 0.8, 0.7)
    curve = Curve((0.0, 1.0), (0.0, 0.5))
    whole = QualityModel(
        constant(spine_prob),
        dict.fromkeys(GROUPS, constant(dice)),
        dict.fromkeys(GROUPS, curve),
        wide,
        upright=constant(0.99),
        upright_gate_prob=0.5,
        limits=limits,
    )
    return replace(whole, **changes)


def judge(judged=None, array=None, drawn=None, series=None):
    segmentation, spine, volume = drawn or spine_of()
    array = texture() if array is None else array
    return judge_quality(
        series or series_of(array), replace(volume, array=array), segmentation, spine, judged or model()
    )


def test_a_sound_case_is_accepted_with_its_numbers():
    quality = judge()
    assert quality.spine_prob == pytest.approx(0.99)
    assert quality.predicted_dice == pytest.approx(dict.fromkeys(GROUPS, 0.9))
    assert quality.confidence == pytest.approx(dict.fromkeys(GROUPS, 0.455), abs=0.02)  # half of 0.91: its curve
    assert quality.flags == quality.doubts == ()


def test_logistic_by_hand_and_clipped():
    rule = Logistic(("a", "b"), (1.0, 0.0), (2.0, 1.0), (1.0, -1.0), 0.5)
    assert rule({"a": 3.0, "b": 0.5}) == pytest.approx(1 / (1 + np.exp(-(0.5 + 1.0 - 0.5))))
    assert rule({"a": 1e9, "b": 0.0}) == pytest.approx(1 / (1 + np.exp(-4.5)))


def test_calibration_leaves_out_what_was_not_found():
    segmentation, _, _ = spine_of(1)
    assert set(calibrated_confidence(segmentation, model().confidence)) == {"vertebra", "canal"}


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        ((texture() > 0.6).astype(np.float32), "the image has 2 grey levels only, as a segmentation mask has"),
        (np.where(texture() < 0.5, -1.0, texture() - 0.6), "% of the voxels are -500 or less, as on CT"),
        (0.3 + 0.7 * texture(), "nearly all of the image is bright and nothing is dark, as on a negative"),
        (texture()[:, :60], "the image shows 48 mm from head to foot and 160 mm from front to back"),
    ],
)
def test_images_of_another_kind_are_refused(array, reason):
    segmentation, spine, _ = spine_of()
    with pytest.raises(UnusableImage, match=reason) as caught:
        judge_quality(series_of(array), volume_of(array), segmentation, spine, model())
    assert str(caught.value).startswith("No spine was found in sagittal-spine-mri: ")
    assert str(caught.value).endswith("; a sagittal MR series of the spine is expected.")


def test_no_body_and_an_unlikely_spine_are_refused():
    with pytest.raises(UnusableImage, match="no vertebral body was recognised"):
        judge(drawn=spine_of(0))
    with pytest.raises(UnusableImage, match=r"6 vertebrae and 5 discs is a spine with a probability of 0\.050 only"):
        judge(model(spine_prob=0.05))


def test_doubtful_cases_are_flagged_and_lose_only_what_is_doubtful():
    assert "probability of a readable spine 0.30" in judge(model(spine_prob=0.3)).flags[0]
    quality = judge(model(dice=0.75))
    assert quality.flags == ("the outlines are doubtful: predicted Dice 0.75",)
    assert quality.doubts == ()
    one_bad = {**dict.fromkeys(GROUPS, constant(0.9)), "canal": constant(0.4)}
    quality = judge(replace(model(), dice=one_bad))
    assert [(d.subject, d.structure) for d in quality.doubts] == [(None, "canal")]
    assert quality.doubts[0].reason == "the outline of the spinal canal is doubtful: predicted Dice 0.40 is below 0.70"


def test_another_network_than_the_one_learnt_from_is_said():
    assert judge(model(fits=False)).flags[0].startswith("the models of doubt were learnt on another network")


def test_an_image_outside_the_usual_range_is_flagged():
    narrow = {**model().ranges, "noise": (0.0, 0.02)}
    noisy = texture() + np.random.default_rng(1).normal(0, 0.05, texture().shape).astype(np.float32)
    flags = judge(model(ranges=narrow), array=noisy).flags
    assert flags[0].startswith("sagittal-spine-mri: the image is noisier than in the cases learnt from (noise 0.05")


def test_the_shipped_model_of_doubt_is_whole():
    settings = read_settings(MODEL)
    shipped = read_quality(MODEL, settings)
    assert 0 < shipped.limits.refuse_below_prob <= shipped.limits.flag_below_prob < 1
    found = {**features(texture()), **answer_features(*spine_of())}
    assert all(0 <= predict(found) <= 1 for predict in (shipped.spine, *shipped.dice.values()))


def test_a_spoilt_model_of_doubt_is_refused(tmp_path):
    settings = read_settings(MODEL)
    with pytest.raises(ModelError, match=r"quality.json: the model file cannot be read"):
        read_quality(tmp_path, settings)
    (tmp_path / "quality.json").write_text("{}")
    with pytest.raises(ModelError, match=r"not the one that settings.json names"):
        read_quality(tmp_path, settings)
    for document in ({}, [], {"segmenter_sha256": "x", "spine": {"features": ["a"]}}):
        content = json.dumps(document).encode()
        (tmp_path / "quality.json").write_bytes(content)
        named = replace(settings.quality, sha256=hashlib.sha256(content).hexdigest())
        with pytest.raises(ModelError, match="of another version"):
            read_quality(tmp_path, replace(settings, quality=named))


def labelled(spine):
    """`spine` with a mask of instances, from its centres."""
    mask = np.zeros_like(spine.structures)
    for part in (*spine.vertebrae, *spine.discs):
        own = Structure.DISC if part.label > DISC_OFFSET else Structure.BODY
        rows = slice(int(part.centre[1]) - STEP // 2, int(part.centre[1]) + STEP // 2)
        mask[:, rows][spine.structures[:, rows] == own] = part.label
    return replace(spine, mask=mask)


def banded(rows, value=0.0):
    """A picture whose `rows` hold the same value everywhere."""
    array = texture()
    array[:, rows] = value
    return volume_of(array)


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_a_blank_band_takes_the_levels_it_touches_and_no_more(value):
    spine = labelled(spine_of()[1])  # L3 lies in rows 178 to 205, the disc L3/L4 in 210 to 217, L4 from 221
    doubts = blank_doubts(spine, banded(slice(186, 222), value), 0.0, LIMITS)
    assert [(d.subject, d.structure) for d in doubts] == [
        ("L3", None),
        ("L3/L4", None),
        ("L4", "vertebra"),
        ("canal", None),
    ]
    assert "no signal over 68 % of the body of L3" in doubts[0].reason
    given = [measurement(subject, "canal_ap_diameter_mm") for subject in ("L4/L5", "L3/L4", "L2/L3", "L1/L2", "L1")]
    given += [measurement("L4", "body_ap_depth_mm"), measurement("canal", "narrowest_ap_diameter_mm")]
    kept = [m.value is not None for m in withhold_measurements(given, doubts)]
    assert kept == [True, False, False, True, True, False, False]
    grades = [Grade(level, "pfirrmann", 3) for level in ("L4/L5", "L3/L4", "L2/L3", "L1/L2")]
    assert [g.grade for g in withhold_grades(grades, doubts, ())] == [3, None, None, 3]


def test_noise_alone_is_no_signal_and_thin_dark_things_are_not_blank():
    _, spine, sound = spine_of()
    spine = labelled(spine)
    assert blank_doubts(spine, sound, 0.0, LIMITS) == ()
    noisy = texture()
    noise = np.random.default_rng(2).normal(0, 0.06, (2, *noisy[:, 180:225].shape))
    noisy[:, 180:225] = np.hypot(*noise)  # the magnitude of noise
    assert "L3" in {d.subject for d in blank_doubts(spine, volume_of(noisy), 0.06, LIMITS)}
    worn = np.where(spine.structures == Structure.DISC, np.float32(0.01), texture())  # 6 mm, black
    assert blank_doubts(spine, volume_of(worn), 0.0, LIMITS) == ()


def test_an_image_without_signal_and_an_unlikely_column_are_told_at_the_head():
    segmentation, spine, volume = spine_of()
    spine = labelled(spine)
    quality = judge(array=banded(slice(186, 222)).array, drawn=(segmentation, spine, volume))
    assert quality.flags[0] == "part_without_signal"
    assert "the image holds no signal right above or below the body of L4" in {d.reason for d in quality.doubts}
    assert judge(drawn=(segmentation, moved(spine, 2, -24), volume)).flags[0] == "outlines_implausible"
    for language in ("en", "nl"):
        known = json.loads((RESOURCES / "texts" / f"{language}.json").read_text(encoding="utf-8"))["names"]["flags"]
        assert {"part_without_signal", "outlines_implausible"} <= set(known)


def test_bodies_too_close_lose_their_own_measurements_too():
    _, spine, volume = spine_of()
    doubts = anatomy_doubts(moved(spine, 2, -24), volume, LIMITS)
    given = [measurement("L3", "body_ap_depth_mm"), measurement("L2", "body_ap_depth_mm")]
    given += [measurement("L5", "body_ap_depth_mm"), measurement("L3/L4", "slip_mm")]
    assert [m.value is not None for m in withhold_measurements(given, doubts)] == [False, False, True, False]


def test_stenosis_is_withheld_where_the_canal_is_not_measurable():
    grades = [Grade(level, name, 1) for level in ("L4/L5", "L3/L4") for name in ("stenosis", "pfirrmann")]
    unseen = Measurement("L4/L5", "canal_ap_diameter_mm", None, "mm", not_measurable="the canal is not seen")
    found = withhold_grades(grades, (), [unseen, measurement("L3/L4", "canal_ap_diameter_mm")])
    assert [g.grade for g in found] == [None, 1, 1, 1]
    assert found[0].not_measurable == "the canal is not seen"


def test_the_cord_is_withheld_where_a_hospital_does_not_trust_it():
    _, spine, _ = spine_of()
    neck = replace(spine, vertebrae=(*spine.vertebrae, replace(spine.vertebrae[-1], label=19, name="C6")))
    assert cord_doubts(spine, LIMITS) == cord_doubts(neck, {**LIMITS, "cord_is_trusted": 1.0}) == []
    assert LIMITS["cord_is_trusted"] == 1.0
    doubts = cord_doubts(neck, {**LIMITS, "cord_is_trusted": 0.0})
    given = [measurement("C5/C6", name) for name in (*cord.UNITS, *canal.NECK_UNITS)]
    assert all("three healthy necks" in m.not_measurable for m in withhold_measurements(given, doubts))
    kept = [measurement("C5/C6", name) for name in ("canal_ap_diameter_mm", "disc_height_index", "slip_mm")]
    assert all(m.value is not None for m in withhold_measurements(kept, doubts))
    grades = [Grade("C5/C6", "stenosis", True), Grade("C5/C6", "pfirrmann", 3), Grade("L4/L5", "stenosis", True)]
    assert [g.grade for g in withhold_grades(grades, doubts, ())] == [None, 3, True]


def test_between_the_end_plates_of_a_neck_that_was_not_read_again_nothing_is_told():
    _, spine, _ = spine_of()
    named = [replace(spine.vertebrae[-1], label=label, name=vertebra_name(label)) for label in (9, 10, 19, 20)]
    neck = replace(spine, vertebrae=(*spine.vertebrae, *named))
    again = replace(neck, read_again=frozenset({19, 20}))
    assert plate_doubts(spine, LIMITS) == []
    doubts = plate_doubts(neck, LIMITS)
    assert doubts == plate_doubts(again, {**LIMITS, "neck_plates_are_trusted": 0.0})
    assert [doubt.subject for doubt in doubts] == ["T8", "C6", "C5"]
    withheld = [measurement("C5/C6", name) for name in ("disc_height_middle_mm", "disc_height_index", "wedge_deg")]
    withheld += [measurement("C5", "body_height_anterior_mm"), measurement("T8/T9", "segmental_angle_deg")]
    assert all("synthetic necks" in m.not_measurable for m in withhold_measurements(withheld, doubts))
    kept = [
        measurement("C5/C6", "slip_mm"),
        measurement("C6", "canal_ap_diameter_mm"),
        measurement("C6", "body_ap_depth_mm"),
    ]
    kept += [measurement(level, "disc_height_middle_mm") for level in ("T9/T10", "L4/L5")]
    assert all(m.value is not None for m in withhold_measurements(kept, doubts))
    c7 = plate_doubts(replace(neck, vertebrae=(replace(named[0], label=18, name="C7"),)), LIMITS)
    angles = [measurement("alignment", name) for name in ("c2_c7_angle_deg", "c7_slope_deg", "lordosis_l4_s1_deg")]
    assert [m.value is None for m in withhold_measurements(angles, c7)] == [True, True, False]


def test_of_a_neck_that_was_read_again_only_the_wedges_of_discs_are_withheld():
    _, spine, _ = spine_of()
    named = [replace(spine.vertebrae[-1], label=label, name=vertebra_name(label)) for label in (10, 19, 20)]
    neck = replace(spine, vertebrae=(*spine.vertebrae, *named), read_again=frozenset({19, 20}))
    doubts = plate_doubts(neck, LIMITS)
    told = [("C5/C6", "disc_height_middle_mm"), ("C5/C6", "segmental_angle_deg"), ("C5", "body_wedge_deg")]
    told += [("alignment", "c2_c7_angle_deg"), ("L4/L5", "wedge_deg")]
    kept = withhold_measurements([measurement(*one) for one in told], doubts)
    assert all(m.value is not None for m in kept)
    gone = [measurement("C5/C6", "wedge_deg"), measurement("T8/T9", "disc_height_middle_mm")]
    reasons = [m.not_measurable for m in withhold_measurements(gone, doubts)]
    assert reasons[0].startswith("wedges of single discs of the neck")
    assert "did not outline" in reasons[1]
