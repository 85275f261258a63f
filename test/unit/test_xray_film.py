"""Films of every sort -> canvas and back, peaks -> landmarks, and the whole analysis with a network that is told."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from spine.read import read_files
from spine.records import Grid, Series
from spine.settings import XraySettings
from spine.xray import analyse_radiograph
from spine.xray.conform import conform_film, exposed, mirrored, negative, resample, scale
from spine.xray.decode import REACH, Landmark, landmark_sd_mm, read_peaks
from spine.xray.expected import quoted, read_limits
from spine.xray.landmarks import LANDMARKS
from spine.xray.measure import ALIGNMENT
from spine.xray.spacing import film_spacing
from spine.xray.verdict import edge_ratio, metal_flag
from spine.xray.withhold import BY_NAME, DOUBTFUL_NAME, NEEDS_OSTEOPHYTES, OSTEOPHYTES

SETTINGS = XraySettings("x.onnx", "0" * 64, 0.6, 0.3, 0.4, 1.2, 0.5, 2.1, -2.0, 2.0, -10.0, 1.0, 0.8)
BLOB = 2 * (REACH / 2) ** 2  # peaks as wide as the network is taught, in heatmap pixels squared
IDENTITY = (1.0, 0, 0, 0, 1, 0, 0, 0, 1)
BODIES = ("C3", "C4", "C5", "C6", "C7")


def series(array, step_mm=(0.5, 0.5), direction=IDENTITY, **tags):
    """A film of (rows, columns) with pixels `step_mm` (down, across)."""
    rows, columns = array.shape
    grid = Grid((columns, rows, 1), (step_mm[1], step_mm[0], 1.0), (0.0, 0.0, 0.0), direction)
    return Series("lateral-spine-xray", "film.mha", array[None], grid, tags)


def neck_mm():
    """Landmarks of a straight neck in mm (down, across), facing left, as in test_xray_measure."""
    places, row = {("C2", "inferior_anterior"): (60.0, 50.0), ("C2", "inferior_posterior"): (60.0, 66.0)}, 66.0
    for body in BODIES:
        for side in ("superior", "inferior"):
            places[body, f"{side}_anterior"], places[body, f"{side}_posterior"] = (row, 50.0), (row, 66.0)
            row += 12.0 if side == "superior" else 6.0
    return places


def drawn_film(step_mm=0.5, size_mm=(240.0, 140.0)):
    """Bright bodies on a grey ground, a smooth gradient and a few marks; nothing that is symmetric."""
    rows, columns = (round(side / step_mm) for side in size_mm)
    down, across = np.mgrid[:rows, :columns] * step_mm
    film = 100.0 + 0.8 * across + 0.2 * down
    for body in BODIES:
        top = neck_mm()[body, "superior_anterior"][0]
        film[(down >= top) & (down < top + 12) & (across >= 50) & (across < 66)] += 400.0
    return film


class Told:
    """A network that finds the neck's landmarks where the canvas shows bodies at their place, bone bright."""

    name = "told"

    def __init__(self, places=None, prob=0.9):
        self.places, self.prob, self.calls = neck_mm() if places is None else places, prob, 0

    def __call__(self, batch):
        self.calls += 1
        canvas = batch[0, 0]
        tops = [round(row / 0.6) for (_, point), (row, _) in self.places.items() if point == "superior_anterior"]
        steps = [canvas[top + 7 : top + 13, 86:106].mean() - canvas[top - 6 : top - 3, 86:106].mean() for top in tops]
        sure = self.prob if min(steps) > 0.2 else 0.05
        answer = np.zeros((1, len(LANDMARKS), canvas.shape[0] // 2, canvas.shape[1] // 2), np.float32)
        down, back = np.mgrid[: answer.shape[2], : answer.shape[3]]
        for key, (row, column) in self.places.items():
            blob = (down - (row / 1.2 - 0.5)) ** 2 + (back - (column / 1.2 - 0.5)) ** 2
            answer[0, LANDMARKS.index(key)] = sure * np.exp(-blob / BLOB)
        return answer


def value(found, subject, name):
    return next(m for m in found.measurements if (m.subject, m.name) == (subject, name)).value


def grade(found, level, name):
    return next(g for g in found.grades if (g.level, g.name) == (level, name))


def test_a_film_is_read_and_every_point_finds_its_way_back():
    found = analyse_radiograph(series(drawn_film()), Told(), SETTINGS)
    assert (found.region, found.facing, found.negated, found.reason) == ("cervical", "left", False, None)
    assert value(found, "C5/C6", "disc_height_middle_mm") == pytest.approx(6.0, abs=0.05)
    assert value(found, "C5", "body_ap_depth_mm") == pytest.approx(16.0, abs=0.05)
    seen = {(p.vertebra, p.point): p for p in found.landmarks if p.reason is None}
    assert set(seen) == set(neck_mm())
    for key, (down, across) in neck_mm().items():
        assert seen[key].pixel == pytest.approx((down / 0.5 - 0.5, across / 0.5 - 0.5), abs=0.2)  # 0.5 mm pixels
        place = np.array(seen[key].place)
        np.testing.assert_allclose((place + 0.5) * found.picture_mm, (down, across), atol=0.1)


TIPS = {(key[0], f"{key[1].split('_')[0]}_tip"): place for key, place in neck_mm().items() if "anterior" in key[1]}


def test_osteophytes_are_withheld_until_they_are_trusted():
    told = {}
    for trusted in (0.0, 1.0):
        limits = {**read_limits(), "osteophytes_are_trusted": trusted}
        told[trusted] = analyse_radiograph(series(drawn_film()), Told({**neck_mm(), **TIPS}), SETTINGS, limits)
    for found in told.values():
        assert value(found, "C5/C6", "disc_height_middle_mm") == pytest.approx(6.0, abs=0.05)
        assert grade(found, "C5/C6", "walraevens_height_loss").grade is not None
    names = ("kellgren", "walraevens_total", "low_disc_with_osteophyte", "lane_osteophytes", "walraevens_osteophyte")
    assert {grade(told[0.0], "C5/C6", name).not_measurable for name in names} == {OSTEOPHYTES, NEEDS_OSTEOPHYTES}
    assert [grade(told[1.0], "C5/C6", name).grade for name in names] == [0, 0, False, 0, 0]
    spurs = [[m for m in told[trusted].measurements if m.name.startswith("osteophyte")] for trusted in (0.0, 1.0)]
    assert all(m.value is None and m.not_measurable for m in spurs[0])
    assert value(told[1.0], "C5/C6", "osteophyte_anterior_percent") == pytest.approx(0.0, abs=1.0)
    placed = [sum(p.place is not None and p.point.endswith("_tip") for p in found.landmarks) for found in told.values()]
    assert placed == [0, len(TIPS)]
    shipped = analyse_radiograph(series(drawn_film()), Told({**neck_mm(), **TIPS}), SETTINGS)
    assert shipped.grades == told[read_limits()["osteophytes_are_trusted"]].grades


def test_doubtful_names_leave_distances_and_no_grade():
    """C4 is missing between the others."""
    found = analyse_radiograph(
        series(drawn_film()), Told({k: p for k, p in neck_mm().items() if k[0] != "C4"}), SETTINGS
    )
    assert any(flag.startswith("C4 was not found between others") for flag in found.flags)
    assert value(found, "C5/C6", "disc_height_middle_mm") == pytest.approx(6.0, abs=0.05)
    assert value(found, "C5", "body_ap_depth_mm") == pytest.approx(16.0, abs=0.05)
    assert all(grade.grade is None and grade.not_measurable for grade in found.grades)
    assert grade(found, "C5/C6", "lane_narrowing").not_measurable == DOUBTFUL_NAME
    by_name = [m for m in found.measurements if m.name in BY_NAME or m.subject == ALIGNMENT]
    assert all(m.value is None for m in by_name)
    assert not any(
        quoted(m.name, m.subject) and quoted(m.name, m.subject) in (m.reference or "") for m in found.measurements
    )


def test_a_mirrored_film_gives_the_same_values_and_its_own_pixels():
    straight = analyse_radiograph(series(drawn_film()), Told(), SETTINGS)
    turned = analyse_radiograph(series(drawn_film()[:, ::-1]), Told(), SETTINGS)
    assert turned.facing == "right"
    assert [m.value for m in turned.measurements] == pytest.approx(
        [m.value for m in straight.measurements], nan_ok=True
    )
    one, other = straight.landmarks[0].pixel, turned.landmarks[0].pixel
    assert other == pytest.approx((one[0], 279 - one[1]), abs=0.2)  # 280 columns


@pytest.mark.parametrize(
    ("sign", "tags"), [(-1, {"photometric": "MONOCHROME1"}), (-1, {}), (1, {"photometric": "MONOCHROME1"})]
)
def test_negatives_are_turned_over(sign, tags):
    film = drawn_film() * sign + (2000 if sign < 0 else 0)
    found = analyse_radiograph(series(film, **tags), Told(), SETTINGS)
    assert found.negated == (sign < 0)
    assert value(found, "C5", "body_ap_depth_mm") == pytest.approx(16.0, abs=0.05)
    assert any("negative of what its header says" in flag for flag in found.flags) == (sign < 0)
    assert found.picture[: 2 * len(found.picture) // 3, 150:180].mean() > found.picture[:, 5:20].mean()


@pytest.mark.parametrize("true", [True, False])
def test_a_dicom_film_whose_header_says_negative(tmp_path, true):
    """MONOCHROME1 with bone stored dark is read as it is meant; with bone stored bright it contradicts itself."""
    stored = drawn_film().round().astype(np.uint16)
    path = tmp_path / "film.dcm"
    sitk.WriteImage(sitk.GetImageFromArray(2000 - stored if true else stored), str(path))
    header = pydicom.dcmread(path)
    header.Modality, header.PhotometricInterpretation = "CR", "MONOCHROME1"
    header.save_as(path)
    mr = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 900, (5, 20, 20)).astype(np.int16))
    sitk.WriteImage(mr, str(tmp_path / "mr.mha"))
    read = read_files(tmp_path / "mr.mha", xray=path).xray
    assert read.tags["photometric"] == "MONOCHROME1"
    found = analyse_radiograph(series(read.array[0], photometric="MONOCHROME1"), Told(), SETTINGS)
    assert found.negated != true
    assert any("negative of what its header says" in flag for flag in found.flags) != true


def test_a_poor_or_foreign_film_gives_no_number_but_a_reason():
    noise = np.random.default_rng(1).normal(500, 50, (480, 280))
    for film in (noise, drawn_film()[::-1].copy()):  # noise, upside down
        found = analyse_radiograph(series(film), Told(), SETTINGS)
        assert (found.measurements, found.grades, found.landmarks) == ((), (), ())
        assert found.reason.startswith("no spine was recognised on the film")
        assert found.flags == (found.reason,)


def test_a_film_that_reads_better_upside_down_is_not_measured():
    """The neck without C2 and C7 is found on the film, but more surely where its lower edge is on top."""
    lone = {key: place for key, place in neck_mm().items() if key[0] not in ("C2", "C7")}

    class Unsure(Told):
        def __call__(self, batch):
            self.calls += 1
            self.prob = {1: 0.6, 3: 0.9}.get(self.calls, 0.0)  # the film, and the film upside down
            answer = np.zeros((1, len(LANDMARKS), batch.shape[2] // 2, batch.shape[3] // 2), np.float32)
            down, back = np.mgrid[: answer.shape[2], : answer.shape[3]]
            for key, (row, column) in lone.items():
                blob = (down - (row / 1.2 - 0.5)) ** 2 + (back - (column / 1.2 - 0.5)) ** 2
                answer[0, LANDMARKS.index(key)] = self.prob * np.exp(-blob / BLOB)
            return answer

    found = analyse_radiograph(series(drawn_film()), Unsure(), SETTINGS)
    assert found.reason == "the film lies upside down: nothing was measured"
    assert found.measurements == ()


def test_a_view_that_says_it_is_frontal_is_not_measured():
    found = analyse_radiograph(series(drawn_film(), view_position="AP"), Told(), SETTINGS)
    assert found.reason == "the header says that this is no lateral view (AP)"
    assert found.measurements == ()


def test_without_a_pixel_size_angles_and_ratios_remain():
    """480 rows, of which the file says nothing; 260 mm is one of the heights that are tried."""
    found = analyse_radiograph(series(drawn_film(260 / 480, (260.0, 140.0)), (1.0, 1.0)), Told(), SETTINGS)
    assert value(found, "C5/C6", "disc_height_index") == pytest.approx(6 / 16, abs=0.01)
    assert found.pixel_plane == "none"
    assert any("states no pixel size" in flag for flag in found.flags)
    for measurement in found.measurements:
        assert measurement.unit != "mm" or measurement.value is None


@pytest.mark.parametrize(
    ("tags", "plane", "size"),
    [
        ({"imager_pixel_spacing_mm": "0.5\\0.5"}, "detector", 16.0),
        ({"pixel_spacing_mm": "0.4\\0.4", "imager_pixel_spacing_mm": "0.5\\0.5"}, "patient", 12.8),
        ({"imager_pixel_spacing_mm": "0.5\\0.5", "magnification": "1.25"}, "patient", 12.8),
        (
            {"imager_pixel_spacing_mm": "0.5\\0.5", "source_detector_mm": "1500", "source_patient_mm": "1200"},
            "patient",
            12.8,
        ),
        ({"pixel_spacing_mm": "0.5\\0.5"}, "detector", 16.0),
        ({"pixel_spacing_mm": "0.5\\0.5", "spacing_calibration": "FIDUCIAL"}, "patient", 16.0),
        ({}, "not stated", 16.0),
    ],
)
def test_in_which_plane_a_millimetre_holds(tags, plane, size):
    step = size / 16.0 * 0.5
    scaled = {key: (row * size / 16, column * size / 16) for key, (row, column) in neck_mm().items()}

    class Scaled(Told):
        def __call__(self, batch):
            self.calls += 1
            answer = np.zeros((1, len(LANDMARKS), batch.shape[2] // 2, batch.shape[3] // 2), np.float32)
            down, back = np.mgrid[: answer.shape[2], : answer.shape[3]]
            sure = 0.9 if self.calls == 1 else 0.0
            for key, (row, column) in scaled.items():
                blob = (down - (row / 1.2 - 0.5)) ** 2 + (back - (column / 1.2 - 0.5)) ** 2
                answer[0, LANDMARKS.index(key)] = sure * np.exp(-blob / BLOB)
            return answer

    found = analyse_radiograph(series(drawn_film(), **tags), Scaled(), SETTINGS)
    assert found.pixel_plane == plane
    assert value(found, "C5", "body_ap_depth_mm") == pytest.approx(size, abs=0.05)
    corrected = {"magnification", "source_detector_mm"} & set(tags)
    assert (found.doubt is None) == (plane == "patient" and not corrected)
    assert not corrected or "which ends at the table" in found.doubt
    assert found.landmarks[0].pixel[0] == pytest.approx(60.0 * size / 16 / step - 0.5, abs=0.3)


@pytest.mark.parametrize(
    "tags",
    [
        {"pixel_spacing_mm": "0.5\\0.5", "imager_pixel_spacing_mm": "0.4\\0.4"},  # larger than the detector's
        {"pixel_spacing_mm": "0.2\\0.2", "imager_pixel_spacing_mm": "0.5\\0.5"},
        {"imager_pixel_spacing_mm": "0.5\\0.5", "magnification": "1.6", "source_detector_mm": "1500",
         "source_patient_mm": "1250"},
        {"pixel_spacing_mm": "0.48\\0.48", "imager_pixel_spacing_mm": "0.5\\0.5", "magnification": "1.5"},
    ],
)  # fmt: skip
def test_a_pixel_size_that_contradicts_itself_is_said(tags):
    spacing = film_spacing(series(drawn_film(), **tags), (0.5, 0.5))
    assert spacing.doubt.startswith("What the header says of the pixel size contradicts itself (")


@pytest.mark.parametrize("shape", [(1, 400), (400, 1), (63, 300)])
def test_films_with_too_few_pixels_are_refused(shape):
    found = analyse_radiograph(series(np.random.default_rng(0).normal(size=shape)), Told(), SETTINGS)
    assert "at least 64 pixels and 60 mm a side are expected" in found.reason
    assert found.picture.size == 0


def test_absurd_sizes_are_said_in_one_sentence_and_nothing_is_measured():
    found = analyse_radiograph(series(drawn_film(), (20.0, 20.0)), Told(), SETTINGS)
    assert found.reason == (
        "given but not used: the radiograph has 280 x 480 pixels, 5600 x 9600 mm with pixels of 20 x 20 mm; at most "
        "1300 mm a side and nearly square pixels are expected"
    )
    assert (found.measurements, found.grades, found.flags) == ((), (), (found.reason,))
    assert "nearly square" in analyse_radiograph(series(drawn_film(), (0.3, 1.5)), Told(), SETTINGS).reason


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({"body_part": "CHEST"}, "the header says body part CHEST, the film was read as the cervical spine"),
        ({"body_part": "LSPINE"}, "the header says body part LSPINE"),
        ({"view_position": "RLO"}, "the header says that this is an oblique view (RLO)"),
        ({"body_part": "CSPINE", "view_position": "LL"}, None),
    ],
)
def test_a_header_that_contradicts_the_film_is_said(tags, told):
    found = analyse_radiograph(series(drawn_film(), **tags), Told(), SETTINGS)
    said = [flag for flag in found.flags if flag.startswith("the header says")]
    assert [flag.startswith(str(told)) for flag in said] == ([] if told is None else [True])


def neck_with(plate):
    """Smooth structure as of bone and soft tissue, with or without a bright, sharply bounded plate before C5 and C6."""
    rows, columns = 400, 233
    canvas = ndimage.gaussian_filter(np.random.default_rng(4).normal(size=(rows, columns)), 4)
    canvas = 0.5 + 0.1 * canvas / canvas.std()
    if plate:
        canvas[180:260, 82:86] = 1.3
    return canvas.astype(np.float32)


def test_metal_over_the_bodies_is_told_by_its_edges():
    marks = {key: Landmark(place, 0.9, 0.5) for key, place in neck_mm().items()}
    flag = metal_flag(neck_with(True), marks, "cervical", 0.6)
    assert flag.startswith("there may be metal over the bodies (edges ")
    assert metal_flag(neck_with(False), marks, "cervical", 0.6) is None
    few = {key: mark for key, mark in marks.items() if key == ("C2", "inferior_anterior")}
    assert edge_ratio(neck_with(True), few, 0.6) is None
    assert edge_ratio(np.zeros((400, 233), np.float32), marks, 0.6) is None


def test_values_that_are_no_numbers_do_no_harm():
    film = drawn_film()
    film[10, 10], film[11, 11], film[12, 12] = np.nan, np.inf, -np.inf
    found = analyse_radiograph(series(film), Told(), SETTINGS)
    assert value(found, "C5", "body_ap_depth_mm") == pytest.approx(16.0, abs=0.05)
    empty = analyse_radiograph(series(np.full((400, 300), np.nan)), Told(), SETTINGS)
    assert empty.reason is not None


def test_c7_outside_the_film_is_named():
    film = drawn_film()[:270]  # the film ends above C7
    places = {key: place for key, place in neck_mm().items() if key[0] != "C7"}

    found = analyse_radiograph(series(film), Told(places), SETTINGS)
    missing = next(m for m in found.measurements if m.name == "c2_c7_angle_deg")
    assert missing.not_measurable == "C7 is not seen: hidden by the shoulders or outside the film"
    assert value(found, "C5/C6", "disc_height_middle_mm") == pytest.approx(6.0, abs=0.05)


def test_a_sagittal_header_says_where_up_and_front_are():
    """Rows to the head, columns to the front: turned by both before the network sees it."""
    direction = (0.0, 0, 1, -1, 0, 0, 0, 1, 0)  # i runs to the front (-y), j to the head (+z), k to the left
    film = drawn_film()[::-1, ::-1].copy()
    found = analyse_radiograph(series(film, direction=direction), Told(), SETTINGS)
    assert found.reason is None
    assert value(found, "C5", "body_ap_depth_mm") == pytest.approx(16.0, abs=0.05)
    assert found.landmarks[0].pixel == pytest.approx((479 - 119.5, 279 - 99.5), abs=0.2)


def test_scale_ignores_the_collimator_and_clips():
    rng = np.random.default_rng(2)
    film = np.zeros((300, 200))
    film[40:260, 30:170] = rng.uniform(100, 200, (220, 140))
    rows, columns = exposed(film)
    assert abs(rows.start - 40) <= 2
    assert abs(rows.stop - 260) <= 2
    assert abs(columns.start - 30) <= 2
    assert abs(columns.stop - 170) <= 2
    scaled = scale(film)
    inner = scaled[45:255, 35:165]
    assert np.percentile(inner, 1) == pytest.approx(0.0, abs=0.02)
    assert np.percentile(inner, 99) == pytest.approx(1.0, abs=0.02)
    assert scaled.min() == np.float32(-0.2)
    assert not scale(np.full((100, 100), 7.0)).any()


def test_resample_keeps_centres_and_means():
    ramp = np.repeat(np.arange(300, dtype=np.float32)[:, None], 200, 1) + 0.5  # value = mm down at pixels of 1 mm
    small = resample(ramp * 0.1, (0.1, 0.1), 0.6)
    assert small.shape == (50, 33)
    np.testing.assert_allclose(small[:, 5], (np.arange(50) + 0.5) * 0.6, atol=1e-4)
    large = resample(ramp, (1.0, 1.0), 0.6)
    np.testing.assert_allclose(large[2:-2, 5], ((np.arange(len(large)) + 0.5) * 0.6)[2:-2], atol=1e-4)


def test_mirror_and_negative_are_their_own_inverse():
    film = next(conform_film(series(drawn_film()), 0.6))
    assert film.canvas.shape == (416, 256)
    assert film.content == (400, 233)
    assert not film.canvas[400:].any()
    np.testing.assert_array_equal(mirrored(mirrored(film)).canvas, film.canvas)
    inner = (slice(10, 390), slice(10, 220))
    np.testing.assert_allclose(negative(negative(film)).canvas[inner], film.canvas[inner], atol=0.15)


def test_peaks_between_pixels_are_found_and_weak_ones_are_not():
    heatmaps = np.zeros((len(LANDMARKS), 60, 50), np.float32)
    down, back = np.mgrid[:60, :50]
    heatmaps[0] = 0.8 * np.exp(-((down - 20.3) ** 2 + (back - 30.6) ** 2) / BLOB)
    heatmaps[1] = 0.29 * np.exp(-((down - 20) ** 2 + (back - 30) ** 2) / BLOB)
    heatmaps[2] = 0.8 * np.exp(-((down - 55) ** 2 + (back - 45) ** 2) / BLOB)  # beyond the film
    found = read_peaks(heatmaps, (90, 80), SETTINGS)
    assert set(found) == {LANDMARKS[0], LANDMARKS[1]}
    assert [mark.prob < SETTINGS.visible_prob_min for mark in found[LANDMARKS[1]]] == [True]
    mark = found[LANDMARKS[0]][0]
    assert mark.place_mm == pytest.approx(((20.3 + 0.5) * 1.2, (30.6 + 0.5) * 1.2), abs=0.08)
    assert mark.prob == pytest.approx(0.8, abs=0.05)


def test_the_error_grows_with_doubt_and_width():
    sure, unsure, wide = (landmark_sd_mm(*pair, SETTINGS) for pair in ((1.0, 2.1), (0.5, 2.1), (1.0, 3.1)))
    assert (sure, unsure, wide) == pytest.approx((0.4, 1.0, 0.9))
