"""Landmarks of drawn spines -> values that follow from the drawing by hand, grades by rule, and what is thrown out."""

import numpy as np
import pytest

from spine.xray.decode import Landmark
from spine.xray.expected import levels_of
from spine.xray.grade import grade_film
from spine.xray.measure import ALIGNMENT, level_sizes, measure_film
from spine.xray.plausible import believable
from spine.xray.scene import draw_scene

BODIES = ("C3", "C4", "C5", "C6", "C7")
DEPTH, HEIGHT, DISC = 16.0, 12.0, 6.0


def upright_neck(**discs):
    """Corners of a straight neck: bodies 16 mm deep and 12 mm high, discs of 6 mm unless `discs` says otherwise.

    The anterior wall is at 50 mm; the spinolaminar line 18 mm behind the posterior wall; C2's centre 8 mm up.
    """
    places, row = {}, 60.0
    places["C2", "inferior_anterior"], places["C2", "inferior_posterior"] = (row, 50.0), (row, 66.0)
    places["C2", "inferior_tip"], places["C2", "centre"] = (row, 50.0), (row - 8.0, 58.0)
    for level, body in zip(levels_of("cervical"), (*BODIES, "T1"), strict=True):
        row += discs.get(level, DISC)
        places[body, "superior_anterior"], places[body, "superior_posterior"] = (row, 50.0), (row, 66.0)
        places[body, "superior_tip"] = (row, 50.0)
        if body == "T1":
            break
        places[body, "spinolaminar"] = (row + HEIGHT / 2, 84.0)
        row += HEIGHT
        places[body, "inferior_anterior"], places[body, "inferior_posterior"] = (row, 50.0), (row, 66.0)
        places[body, "inferior_tip"] = (row, 50.0)
    return places


def marks(places, sd_mm=0.2, prob=0.9):
    return {key: Landmark(place, prob, sd_mm) for key, place in places.items()}


def values(places, region="cervical", known_mm=True, sd_mm=0.2):
    """(subject, name) -> Measurement, and (level, name) -> Grade."""
    kept, reasons = believable(marks(places, sd_mm), region)
    scene = draw_scene(kept, reasons, region, known_mm)
    sizes = level_sizes(scene)
    measured = {(m.subject, m.name): m for m in measure_film(scene, sizes)}
    return measured, {(g.level, g.name): g for g in grade_film(scene, sizes)}


def turned(places, vertebrae, angle_deg, pivot):
    """`places` with the points of `vertebrae` turned so that their front sinks by `angle_deg`."""
    angle = np.radians(angle_deg)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return {
        key: tuple(rotation @ (np.array(place) - pivot) + pivot) if key[0] in vertebrae else place
        for key, place in places.items()
    }


def test_sizes_of_a_straight_neck():
    found, _ = values(upright_neck())
    expected = {
        ("C5/C6", "disc_height_anterior_mm"): 6.0,
        ("C5/C6", "disc_height_middle_mm"): 6.0,
        ("C5/C6", "disc_height_posterior_mm"): 6.0,
        ("C5/C6", "disc_height_index"): 6.0 / 16.0,
        ("C5/C6", "wedge_deg"): 0.0,
        ("C5/C6", "segmental_angle_deg"): 0.0,
        ("C5/C6", "slip_mm"): 0.0,
        ("C5/C6", "meyerding_grade"): 0.0,
        ("C5/C6", "osteophyte_anterior_percent"): 0.0,
        ("C5", "body_height_anterior_mm"): 12.0,
        ("C5", "body_height_posterior_mm"): 12.0,
        ("C5", "body_ap_depth_mm"): 16.0,
        ("C5", "body_wedge_deg"): 0.0,
        ("C5", "genant_grade"): 0.0,
        ("C5", "canal_ap_diameter_mm"): 18.0,
        ("C5", "torg_pavlov_ratio"): 18.0 / 16.0,
        (ALIGNMENT, "c2_c7_angle_deg"): 0.0,
        (ALIGNMENT, "c7_slope_deg"): 0.0,
        (ALIGNMENT, "t1_slope_deg"): 0.0,
        (ALIGNMENT, "c2_c7_sva_mm"): 66.0 - 58.0,
    }
    for key, value in expected.items():
        assert found[key].value == pytest.approx(value, abs=1e-3), key
        low, high = found[key].interval_90
        assert low <= value + 1e-3, key
        assert high >= value - 1e-3, key
    assert all(m.z is None for m in found.values())


def test_intervals_follow_from_the_error_of_the_landmarks():
    """A chord's length in the direction of its ends has sqrt(2) sd: body height is +- 1.645 * sqrt(2) * 0.5."""
    found, _ = values(upright_neck(), sd_mm=0.5)
    low, high = found["C5", "body_height_anterior_mm"].interval_90
    assert (high - low) / 2 == pytest.approx(1.645 * np.sqrt(2) * 0.5, rel=0.12)


def test_angles_and_slopes():
    """C7 and T1 with their front 20 degrees down: lordosis of 20 degrees, both slopes 20 degrees."""
    places = upright_neck()
    pivot = np.array(places["C7", "superior_posterior"])
    found, _ = values(turned(places, ("C7", "T1"), 20.0, pivot))
    assert found[ALIGNMENT, "c2_c7_angle_deg"].value == pytest.approx(20.0, abs=1e-3)
    assert found[ALIGNMENT, "c2_c6_angle_deg"].value == pytest.approx(0.0, abs=1e-3)
    assert found[ALIGNMENT, "c7_slope_deg"].value == pytest.approx(20.0, abs=1e-3)
    assert found[ALIGNMENT, "t1_slope_deg"].value == pytest.approx(20.0, abs=1e-3)
    assert found["C6/C7", "wedge_deg"].value == pytest.approx(20.0, abs=1e-3)  # opens to the front


def test_slip_osteophyte_and_wedge():
    places = upright_neck()
    for (vertebra, point), (row, column) in list(places.items()):
        if vertebra in ("C2", "C3", "C4"):
            places[vertebra, point] = (row, column - 4.0)  # C4 4 mm before C5
    places["C5", "inferior_tip"] = (places["C5", "inferior_anterior"][0] + 1.0, 50.0 - 3.2)
    places["C6", "superior_anterior"] = (places["C6", "superior_anterior"][0] + 6.0, 50.0)
    places["C6", "superior_tip"] = places["C6", "superior_anterior"]
    found, grades = values(places)
    assert found["C4/C5", "slip_mm"].value == pytest.approx(4.0, abs=1e-3)
    assert found["C4/C5", "slip_percent"].value == pytest.approx(25.0, abs=1e-3)
    assert found["C4/C5", "meyerding_grade"].value == 2.0
    assert found["C5", "osteophyte_inferior_mm"].value == pytest.approx(3.2, abs=1e-3)
    assert found["C5", "osteophyte_inferior_percent"].value == pytest.approx(20.0, abs=1e-3)
    assert grades["C5/C6", "lane_osteophytes"].grade == 2  # between an eighth and a quarter
    assert found["C6", "wedge_percent"].value == pytest.approx(50.0, abs=1e-3)  # 6 of 12 mm
    assert found["C6", "body_wedge_deg"].value == pytest.approx(np.degrees(np.arctan2(6, 16)), abs=1e-3)
    assert found["C6", "genant_grade"].value == 3.0


def test_grades_of_a_worn_level():
    """C5/C6 at 3 of 6 mm. The others give factors 6/5.5 (twice), 6/6, 6/6.4 (twice): two thirds up lies 1.0 + 2/3 of
    0.0909; the usual 6.1 mm become 6.47 mm, so that 53.6 % are missing."""
    factor = 1.0 + (2 / 3 * 4 - 2) * (6 / 5.5 - 1.0)
    found, grades = values(upright_neck(**{"C5/C6": 3.0}), sd_mm=0.1)
    loss = 100 * (1 - 3.0 / (6.1 * factor))
    assert found["C5/C6", "disc_height_loss_percent"].value == pytest.approx(loss, abs=1e-3)
    expected = {"kellgren": 3, "lane_narrowing": 2, "walraevens_height_loss": 3, "walraevens_osteophyte": 0}
    for name, grade in expected.items():
        assert grades["C5/C6", name].grade == grade, name
        assert sum(grades["C5/C6", name].probabilities) == pytest.approx(1.0, abs=1e-3)
    assert "sclerosis" in " ".join(grades["C5/C6", "walraevens_total"].evidence)
    for level in ("C2/C3", "C3/C4", "C4/C5"):
        assert grades[level, "kellgren"].grade == 0, level


def test_a_large_error_spreads_the_grade():
    sure, unsure = (
        values(upright_neck(**{"C5/C6": 4.5}), sd_mm=sd)[1]["C5/C6", "lane_narrowing"] for sd in (0.05, 1.0)
    )
    assert sure.confidence > 0.9 > unsure.confidence


def test_the_hidden_c7_is_named():
    places = {key: place for key, place in upright_neck().items() if key[0] not in ("C7", "T1")}
    found, grades = values(places)
    for name in ("c2_c7_angle_deg", "c7_slope_deg", "c2_c7_sva_mm"):
        missing = found[ALIGNMENT, name]
        assert missing.value is None
        assert missing.not_measurable == "C7 is not seen: hidden by the shoulders or outside the film"
    assert found[ALIGNMENT, "t1_slope_deg"].not_measurable.startswith("T1 is not seen")
    assert found[ALIGNMENT, "c2_c6_angle_deg"].value == pytest.approx(0.0, abs=1e-3)
    assert grades["C6/C7", "kellgren"].not_measurable.startswith("C7 is not seen")
    assert grades["C5/C6", "kellgren"].grade == 0


def test_without_a_pixel_size_only_lengths_are_missing():
    found, grades = values(upright_neck(**{"C5/C6": 3.0}), known_mm=False)
    for measurement in found.values():
        assert (measurement.value is None) == (measurement.unit == "mm"), measurement
    assert grades["C5/C6", "kellgren"].grade == 3


def test_one_missing_point_changes_no_other_number():
    whole, part = upright_neck(), upright_neck()
    del part["C3", "spinolaminar"]
    one, other = values(whole)[0], values(part)[0]
    assert one["C6", "torg_pavlov_ratio"] == other["C6", "torg_pavlov_ratio"]
    assert other["C3", "torg_pavlov_ratio"].not_measurable == "the spinolaminar point of C3 is not seen"


def test_lumbar_lordosis_by_hand():
    """Upright bodies 34 mm deep and 27 mm high, S1 with its front 40 degrees down."""
    places, row = {}, 40.0
    for name in ("T12", "L1", "L2", "L3", "L4", "L5", "S1"):
        if name != "T12":
            places[name, "superior_anterior"], places[name, "superior_posterior"] = (row, 60.0), (row, 94.0)
            row += 27.0
        if name != "S1":
            places[name, "inferior_anterior"], places[name, "inferior_posterior"] = (row, 60.0), (row, 94.0)
            row += 11.0
    places = turned(places, ("S1",), 40.0, np.array(places["S1", "superior_posterior"]))
    found, grades = values(places, "lumbar")
    for name in ("lumbar_lordosis_l1_s1_deg", "lordosis_l4_s1_deg", "sacral_slope_deg"):
        assert found[ALIGNMENT, name].value == pytest.approx(40.0, abs=1e-3)
    assert found["L3/L4", "disc_height_middle_mm"].value == pytest.approx(11.0, abs=1e-3)
    assert ("L3/L4", "kellgren") not in grades
    assert grades["L3/L4", "lane_osteophytes"].not_measurable == "the inferior tip point of L3 is not seen"


BACK_TO_FRONT = {("C5", "superior_anterior"): 66.0, ("C5", "superior_posterior"): 50.0}


@pytest.mark.parametrize(
    ("columns", "said"),
    [(BACK_TO_FRONT, "back to front"), ({("C5", "superior_posterior"): 85.0}, "times the size expected")],
)
def test_impossible_corners_are_left_out(columns, said):
    places = upright_neck()
    for key, column in columns.items():
        places[key] = (places[key][0], column)
    kept, reasons = believable(marks(places), "cervical")
    assert ("C5", "superior_posterior") not in kept
    assert said in reasons["C5", "superior_posterior"]
    assert ("C3", "superior_anterior") in kept


def test_two_vertebrae_at_one_place_keep_the_surer():
    places = upright_neck()
    found = marks(places)
    for end in ("superior_anterior", "superior_posterior", "inferior_anterior", "inferior_posterior"):
        found["C6", end] = Landmark(places["C5", end], 0.4, 0.2)  # C6 drawn over C5, less sure
    kept, reasons = believable(found, "cervical")
    assert reasons["C6", "superior_anterior"] == "this point of C6 was found where that of C5 is"
    assert {("C5", "superior_anterior"), ("C7", "superior_anterior")} <= set(kept)


def test_a_skipped_level_is_noticed():
    """Everything below C4 one level too low: no distance fits."""
    places = upright_neck(**{"C4/C5": 6.0 + 18.0})
    _, reasons = believable(marks(places), "cervical")
    assert any("does not lie where its neighbours let expect" in why for why in reasons.values())


def test_nothing_gives_nothing():
    found, grades = values({})
    assert all(m.value is None and m.not_measurable for m in found.values())
    assert all(g.grade is None and g.not_measurable for g in grades.values())
