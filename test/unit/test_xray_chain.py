"""Several candidates for every corner -> the chain that suits them all; doubts of levels that cannot be counted."""

import pytest

from spine.xray.chain import UNSUITED, best_chain, choose
from spine.xray.decode import Landmark
from spine.xray.landmarks import CORNERS
from spine.xray.withhold import doubtful_names

BODIES = ("C3", "C4", "C5", "C6", "C7")
MIN_PROB = 0.3


def straight_neck():
    """Bodies of 16 x 12 mm with discs of 6 mm, below the lower end plate of C2 at 60 mm: one candidate a corner."""
    places = {("C2", "inferior_anterior"): (60.0, 50.0), ("C2", "inferior_posterior"): (60.0, 66.0)}
    for number, body in enumerate(BODIES):
        top = 66.0 + 18.0 * number
        for point in CORNERS:
            places[body, point] = (top + 12.0 * point.startswith("inferior"), 50.0 + 16.0 * point.endswith("posterior"))
    return {key: (Landmark(place, 0.6, 0.5),) for key, place in places.items()}


def place_of(candidates, key):
    return candidates[key][-1].place_mm


def test_a_sound_neck_is_kept_whole():
    candidates = straight_neck()
    assert best_chain(candidates, "cervical", 0.2) == {key: marks[0] for key, marks in candidates.items()}


def test_a_surer_peak_one_level_off_loses_to_the_one_that_fits():
    candidates = straight_neck()
    for point in CORNERS[:2]:  # the upper end plate of C5 answers most strongly where that of C6 is
        wrong = Landmark(place_of(candidates, ("C6", point)), 0.9, 0.5)
        candidates["C5", point] = (wrong, *candidates["C5", point])
    chosen, unsuited = choose(candidates, "cervical", MIN_PROB)
    assert chosen["C5", "superior_anterior"].place_mm == (66.0 + 36.0, 50.0)
    assert unsuited == {}


def test_a_corner_with_nowhere_to_go_is_left_out_and_named():
    candidates = straight_neck()
    far = Landmark((20.0, 120.0), 0.9, 0.5)
    candidates["C4", "inferior_anterior"] = (far,)
    chosen, unsuited = choose(candidates, "cervical", MIN_PROB)
    assert unsuited == {("C4", "inferior_anterior"): UNSUITED, ("C4", "inferior_posterior"): UNSUITED}
    assert ("C4", "superior_anterior") in chosen


def test_tips_go_to_their_own_corner():
    candidates = straight_neck()
    top, left = place_of(candidates, ("C5", "superior_anterior"))
    candidates["C5", "superior_tip"] = (Landmark((top + 60, left), 0.9, 0.5), Landmark((top - 1, left - 3), 0.5, 0.5))
    chosen, _ = choose(candidates, "cervical", MIN_PROB)
    assert chosen["C5", "superior_tip"].place_mm == (top - 1, left - 3)


def test_weak_pairs_are_no_end_plates_and_nothing_is_nothing():
    weak = {key: (Landmark(marks[0].place_mm, 0.2, 0.5),) for key, marks in straight_neck().items()}
    assert choose(weak, "cervical", MIN_PROB)[0] == {}
    assert choose({}, "cervical", MIN_PROB) == ({}, {})


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ((), None),
        (("C7",), None),
        (("C2",), "C2 was not found on the film"),
        (("C4",), "C4 was not found between others on the film"),
        (("C4", "C5"), "C4, C5 was not found between others on the film"),
    ],
)
def test_levels_that_cannot_be_counted_are_doubted(gone, said):
    doubt = doubtful_names({vertebra for vertebra, _ in straight_neck()} - set(gone), "cervical")
    assert (doubt is None) == (said is None)
    assert doubt is None or doubt.startswith(said)
