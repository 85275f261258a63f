"""Synthetic radiographs: the projection against answers by hand, landmarks on the bones, one film per seed."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lab.synth.plan import Frame, SpinePlan, VertebraPlan
from lab.synth.radiograph import Cast, cast, develop, render_film, sample_patient, visible_points
from lab.synth.radiograph_bank import FAMILIES, generator
from lab.synth.radiograph_beam import Beam, Shadows, bent, rotation_matrix, turned
from lab.synth.radiograph_bones import corner, landmarks_world, spur, spur_field
from lab.synth.radiograph_exposure import Exposure, expose
from lab.synth.radiograph_soft import tube
from lab.synth.sample import sample_spine
from spine.xray.landmarks import CERVICAL, LANDMARKS

# Source 1200 mm from the middle plane, 1500 mm from the film: the middle plane is magnified 1.25 times.
BEAM = Beam(1200.0, 1500.0, (0.0, 0.0, 0.0), (60.0, 50.0), 0.5, (240, 200))
QUIET = Exposure(1e9, 2.0, 0.0, 0.05, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1e-6)


def _points(plan: SpinePlan, region: str = "cervical") -> dict[tuple[str, str], np.ndarray]:
    return dict(zip(LANDMARKS, landmarks_world(plan, region), strict=True))


@pytest.fixture(scope="module")
def healthy() -> SpinePlan:
    """Without slips, wedges by disease or osteophytes."""
    return sample_spine(np.random.default_rng(4), "cervical", healthy=True)


@pytest.fixture(scope="module")
def neck(healthy: SpinePlan) -> Cast:
    return cast(healthy, np.random.default_rng(5), "cervical", plain=True)


def test_points_are_magnified_by_their_distance_from_the_source() -> None:
    points = np.array([[0.0, 10.0, 20.0], [300.0, 10.0, 20.0], [-200.0, 10.0, 20.0]])
    # 1500/1200, on the film itself 1500/1500, 200 mm nearer to the source 1500/1000
    expected = [[72.5, 75.0], [70.0, 70.0], [75.0, 80.0]]
    np.testing.assert_allclose(BEAM.project(points), expected)
    np.testing.assert_allclose(BEAM.magnification(0.0), 1.25)


def test_a_cube_casts_its_length_times_its_density_and_its_magnified_outline() -> None:
    """A cube of 40 mm in the middle plane: 40 mm x 0.01 in the middle; 50 mm wide on the film at its mid-plane."""
    shadows = Shadows(BEAM)
    box = (np.full(3, -20.0), np.full(3, 20.0))
    frame = Frame(np.zeros(3), np.array([[1.0, 0, 0], [0, -1.0, 0], [0, 0, 1.0]]))

    def density(points: tuple[np.ndarray, ...]) -> np.ndarray:
        inside = np.all([np.abs(p) < 20 for p in np.broadcast_arrays(*points)], axis=0)
        return 0.01 * inside.astype(np.float32)

    shadows.cast(frame, box, density)
    film = shadows.total()
    assert film[120, 100] == pytest.approx(0.4, rel=1e-3)  # the central ray falls at (60, 50) mm
    profile = film[120] > 0.2  # half of the planes: the edge of the middle plane
    assert profile.sum() * 0.5 == pytest.approx(50.0, abs=1.0)


def test_corners_are_where_wall_and_end_plate_meet(healthy: SpinePlan) -> None:
    c5 = replace(healthy.vertebrae[19], depth_mm=16.0, height_anterior_mm=12.0, height_posterior_mm=14.0)
    assert c5.name == "C5"
    assert corner(c5, upper=True, anterior=True) == pytest.approx((6.0, -8.0))
    assert corner(c5, upper=False, anterior=False) == pytest.approx((-7.0, 8.0))


def _reach(vertebra: VertebraPlan, upper: bool, seed: int) -> float:
    ridge = spur(vertebra, upper, seed)
    return 0.0 if ridge is None else float(np.hypot(*np.subtract(ridge.tip, corner(vertebra, upper, True))))


def test_the_larger_rim_reaches_as_far_as_the_plan_says_and_the_other_tells_nothing(healthy: SpinePlan) -> None:
    c5 = replace(healthy.vertebrae[19], osteophyte_anterior_mm=4.0)
    reaches = np.array([[_reach(c5, upper, seed) for upper in (True, False)] for seed in range(60)])
    np.testing.assert_allclose(reaches.max(1), 4.0)
    assert 15 < (reaches[:, 0] > reaches[:, 1]).sum() < 45
    smaller = reaches.min(1)
    assert (smaller == 0).any()
    assert smaller.std() > 0.8


def test_an_osteophyte_ends_at_its_tip_and_follows_the_rim(healthy: SpinePlan) -> None:
    c5 = replace(healthy.vertebrae[19], osteophyte_anterior_mm=4.0)
    ridge = spur(c5, True, seed=7) or spur(c5, True, seed=8)
    assert ridge is not None
    along = np.subtract(ridge.tip, ridge.base) / np.hypot(*np.subtract(ridge.tip, ridge.base))
    at = np.array([ridge.tip + s * along for s in (-0.2, 0.2)], np.float32)
    inside, outside = spur_field((np.zeros(2, np.float32), at[:, 0], at[:, 1]), ridge, c5.width_mm, c5.depth_mm)
    assert inside < 0 < outside  # the solid ends at the tip
    # Seen from the side it is a beak: a millimetre behind its tip the beam meets more bone than in a needle.
    u = np.arange(-8, 8, 0.05, dtype=np.float32)
    near = np.float32(ridge.tip) - np.float32(1.0) * along.astype(np.float32)
    line = spur_field((u, np.full_like(u, near[0]), np.full_like(u, near[1])), ridge, c5.width_mm, c5.depth_mm)
    assert 0.05 * (line < 0).sum() > 2.5 * ridge.tip_radius_mm
    assert line[0] > 0
    assert line[-1] > 0
    assert spur(replace(c5, osteophyte_anterior_mm=0.3), True, 7) is None


def test_without_osteophytes_tips_are_corners(healthy: SpinePlan) -> None:
    points = _points(replace(healthy, vertebrae=tuple(replace(v, osteophyte_anterior_mm=0) for v in healthy.vertebrae)))
    np.testing.assert_allclose(points["C5", "superior_tip"], points["C5", "superior_anterior"])


def test_the_spinolaminar_line_lies_a_canal_behind_the_body(healthy: SpinePlan) -> None:
    points = _points(healthy)
    wall = (points["C5", "superior_posterior"] + points["C5", "inferior_posterior"]) / 2
    gap = np.linalg.norm(points["C5", "spinolaminar"] - wall)
    assert gap == pytest.approx(healthy.vertebrae[19].osseous_ap_mm, abs=2.0)


def test_turning_the_patient_changes_no_distance_and_bending_only_the_angle(healthy: SpinePlan) -> None:
    before = _points(healthy)
    after = _points(turned(healthy, np.array([5.0, 0.0, 0.0]), (8.0, -5.0, 4.0)))
    pair = ("C3", "superior_anterior"), ("C7", "inferior_posterior")
    assert np.linalg.norm(after[pair[0]] - after[pair[1]]) == pytest.approx(
        np.linalg.norm(before[pair[0]] - before[pair[1]])
    )
    np.testing.assert_allclose(rotation_matrix((90, 0, 0)) @ [0, -1, 0], [0, 0, 1], atol=1e-12)  # up leans backwards
    lean = _points(bent(healthy, 17, 2.0))
    turn = {}
    for name, points in (("before", before), ("bent", lean)):
        chord = points["C4", "inferior_anterior"] - points["C4", "inferior_posterior"]
        turn[name] = np.degrees(np.arctan2(chord[1], chord[2]))
    # C7, C6, C5 and C4 each lean back by two degrees more
    assert abs(turn["bent"] - turn["before"]) == pytest.approx(8.0, abs=0.2)


def test_landmarks_lie_on_the_edges_of_the_shadows(neck: Cast) -> None:
    """A little inside each posterior corner the film is denser than a little outside, towards the canal."""
    points = dict(zip(LANDMARKS, neck.points_mm, strict=True))
    denser = []
    for name in ("C3", "C4", "C5", "C6"):
        top, bottom = points[name, "superior_anterior"], points[name, "inferior_anterior"]
        back = points[name, "superior_posterior"]
        middle, inward = (top + bottom) / 2, (back - top) / np.linalg.norm(back - top)
        inside, outside = ((middle + s * inward) / neck.pixel_mm for s in (4.0, -3.0))
        denser.append(neck.attenuation[tuple(inside.astype(int))] > neck.attenuation[tuple(outside.astype(int))])
    assert all(denser)


def test_channels_of_the_other_region_are_empty(neck: Cast) -> None:
    finite = np.isfinite(neck.points_mm).all(1)
    assert finite[: len(CERVICAL)].all()
    assert not finite[len(CERVICAL) :].any()


def test_a_film_is_a_function_of_its_seed(healthy: SpinePlan) -> None:
    films = [render_film(healthy, np.random.default_rng(8)) for _ in range(2)]
    np.testing.assert_array_equal(films[0][0], films[1][0])
    other = render_film(healthy, np.random.default_rng(9))
    assert other[0].shape != films[0][0].shape or not np.array_equal(other[0], films[0][0])
    truth = json.loads(json.dumps(films[0][2].as_json()))
    assert truth["region"] == "cervical"
    assert len(truth["landmarks"]) == len(CERVICAL)


def test_seed_families_are_disjoint() -> None:
    drawn = {family: generator(family, "cervical", 0).integers(2**62) for family in FAMILIES}
    assert len(set(drawn.values())) == len(FAMILIES)


def test_points_off_the_film_or_under_something_are_not_visible() -> None:
    hidden = np.zeros((100, 100), bool)
    hidden[50:, :] = True
    points = np.array([[20.0, 20.0], [20.0, 59.5], [40.0, 20.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(visible_points(points, hidden, 0.6), [True, False, False, False])


def test_dense_shoulders_hide_bone_and_thin_necks_do_not() -> None:
    attenuation = np.full((120, 120), 2.0, np.float32)
    attenuation[80:] = 14.0
    look = replace(QUIET, photons=3000.0, scatter=0.2, electronic=0.005)
    picture, hidden = expose(attenuation, 0.6, look, np.random.default_rng(0))
    assert hidden[95:].all()
    assert not hidden[10:60].any()
    assert picture[100, 60] > picture[20, 60]  # bone bright


def test_lumbar_films_show_the_sacrum() -> None:
    rng = np.random.default_rng(11)
    film = cast(sample_patient(rng, "lumbar"), rng, "lumbar")
    picture, visible, _ = develop(film, rng)
    points = dict(zip(LANDMARKS, film.points_mm, strict=True))
    assert picture.shape == film.attenuation.shape
    assert points["S1", "superior_anterior"][0] > points["L1", "superior_anterior"][0]
    assert visible[len(CERVICAL) :].sum() > 20


def test_a_tube_is_brightest_at_its_inner_wall_and_finite_everywhere() -> None:
    """Radius 5, wall 1: 2 mm through both walls in the middle, 2 * sqrt(25 - 16) mm along the inner wall, 0 outside."""
    distance = np.concatenate([np.linspace(-5, 3, 4001, dtype=np.float32), np.float32([-1e-7, 0, 1e-7])])
    for radius in (5.0, 4.7, 6.1):
        assert np.isfinite(tube(distance, radius, 1.0)).all()
    np.testing.assert_allclose(tube(np.array([-5, -1, 0, 2], np.float32), 5.0, 1.0), [2.0, 6.0, 0.0, 0.0], atol=1e-3)
