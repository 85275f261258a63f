"""Levels next to a planned operation of the neck: which they are, what is said, and that nothing is predicted."""

from dataclasses import replace

import numpy as np
import pytest

from spine.fuse.adjacent import CAVEAT, COUNTED, ELSEWHERE, NO_FILM, NONE_PLANNED, NOT_USED, SIGN, with_adjacent
from spine.records import Advice, Grade, Measurement, XrayFindings

ADVICE = Advice("cervical_radiculopathy", ({"probability": 0.7},), ("first",), {"abstained": True, "reason": "neck"})
MR = (Grade("C4/C5", "pfirrmann", 3, (0.1, 0.2, 0.6, 0.1, 0.0), 0.6),)
SIZES = (Measurement("C4/C5", "disc_height_middle_mm", 5.24, "mm"),)


def film(**probabilities):
    """A film whose levels have the combined sign with the given probabilities."""
    grades = tuple(Grade(level, SIGN, p >= 0.5, (p,), p) for level, p in probabilities.items())
    measurements = (
        Measurement("C4/C5", "disc_height_loss_percent", 31.0, "%", interval_90=(20.0, 40.0)),
        Measurement("C6/C7", "disc_height_loss_percent", None, "%", not_measurable="C7 is not seen"),
    )
    picture = np.zeros((4, 4), np.uint8)
    return XrayFindings(measurements, grades, (), (), picture, 0.5, "patient", region="cervical", facing="left")


def view(clinical, found, grades=MR):
    return with_adjacent(ADVICE, SIZES, grades, clinical, found)


@pytest.mark.parametrize(
    ("planned", "levels"),
    [
        (["C5/C6"], ["C4/C5", "C6/C7"]),
        (["C2/C3"], ["C3/C4"]),
        (["C7/T1"], ["C6/C7"]),
        (["C4/C5", "C5/C6"], ["C3/C4", "C6/C7"]),
        (["C4/C5", "C6/C7"], ["C3/C4", "C5/C6", "C7/T1"]),
    ],
)
def test_neighbours_within_the_neck_are_named_once(planned, levels):
    advice = view({"levels_planned": planned}, film())
    assert [one["level"] for one in advice.adjacent["levels"]] == levels


def test_mr_and_film_stand_side_by_side_with_reasons():
    advice = view({"levels_planned": ["C5/C6"]}, film(**{"C4/C5": 0.8}))
    upper, lower = advice.adjacent["levels"]
    assert upper["mri"]["miyazaki"]["grade"] == 3
    assert upper["film"]["disc_height_loss_percent"]["interval_90"] == [20.0, 40.0]
    assert upper["film"][SIGN]["probabilities"] == [0.8]
    assert lower["film"]["disc_height_loss_percent"] == {"not_measurable": "C7 is not seen"}
    assert lower["mri"]["miyazaki"] == {"not_measurable": "the level is not graded on MR"}
    assert advice.adjacent["sentences"][0] == (
        "C4/C5, next to the planned C5/C6: MR: Miyazaki grade 3, disc height 5.2 mm; film: disc lower than expected by "
        "31 % (20 to 40), Kellgren not judged, low disc with osteophyte: probability 0.80."
    )


def test_no_probability_changes():
    advice = view({"levels_planned": ["C5/C6"]}, film(**{"C4/C5": 0.99}))
    assert advice.options == ADVICE.options
    assert {key: advice.degeneration[key] for key in ADVICE.degeneration} == ADVICE.degeneration
    assert advice.degeneration["film"] == NOT_USED
    assert advice.caveats == ADVICE.caveats  # the film's page tells them


def test_without_a_film_mr_is_told_among_the_caveats():
    advice = view({"levels_planned": ["C5/C6"]}, None)
    assert "film" not in advice.degeneration
    assert advice.adjacent["levels"][0]["film"] == {"not_measurable": NO_FILM}
    assert advice.caveats[0] == "first"
    assert advice.caveats[-1] == CAVEAT
    assert len(advice.caveats) == 4


@pytest.mark.parametrize(
    ("clinical", "why"),
    [
        ({}, NONE_PLANNED),
        ({"levels_planned": 2}, COUNTED),
        (None, NONE_PLANNED),
        ({"levels_planned": ["L4/L5"]}, ELSEWHERE.format(levels="L4/L5")),
    ],
)
def test_without_names_the_levels_with_the_sign_are_listed(clinical, why):
    advice = view(clinical, film(**{"C4/C5": 0.3, "C5/C6": 0.7}))
    assert advice.adjacent["reason"] == why
    assert [one["level"] for one in advice.adjacent["levels"]] == ["C5/C6"]
    assert "C5/C6 (0.70)" in advice.adjacent["sentences"][0]


@pytest.mark.parametrize(
    ("value", "interval", "said"),
    [
        (22.0, (-23.0, 59.0), "disc lower than expected by 22 % (-23 to 59: within the error of measuring)"),
        (-22.0, (-40.0, -10.0), "disc higher than expected by 22 % (10 to 40)"),
    ],
)
def test_a_value_is_told_with_its_error(value, interval, said):
    size = Measurement("C4/C5", "disc_height_loss_percent", value, "%", interval_90=interval)
    advice = view({"levels_planned": ["C5/C6"]}, replace(film(), measurements=(size,)))
    assert f"film: {said}," in advice.adjacent["sentences"][0]


def without_osteophytes(height=31.0):
    """A film whose osteophytes are withheld, and its heights too where `height` is None."""
    why = {"not_measurable": "in doubt"} if height is None else {}
    return replace(
        film(),
        measurements=(
            Measurement("C4/C5", "disc_height_loss_percent", height, "%", **why),
            Measurement("C4/C5", "osteophyte_anterior_percent", None, "%", not_measurable="withheld"),
        ),
        grades=(Grade("C4/C5", SIGN, None, not_measurable="needs osteophytes"),),
    )


def test_a_missing_osteophyte_half_is_said():
    advice = view({"levels_planned": ["C5/C6"]}, without_osteophytes())
    assert advice.adjacent["osteophyte_half"] == (
        "The osteophyte half of the combination could not be judged on this film (withheld); "
        "its disc height is told alone"
    )
    assert advice.adjacent["sentences"][0].endswith(
        "film: disc lower than expected by 31 %, Kellgren not judged, "
        "the osteophyte half of the combination not judged (withheld)."
    )


def test_where_both_halves_are_missing_neither_is_blamed():
    advice = view({"levels_planned": ["C5/C6"]}, without_osteophytes(None))
    assert "osteophyte_half" not in advice.adjacent
    assert "both together not judged (needs osteophytes)" in advice.adjacent["sentences"][0]


def test_an_unjudged_film_does_not_say_that_no_level_has_the_sign():
    said = view({}, without_osteophytes()).adjacent["sentences"][0]
    assert said.endswith("low disc with anterior osteophyte on the film: no level could be judged.")
    mixed = replace(film(**{"C4/C5": 0.3}), grades=(*film(**{"C4/C5": 0.3}).grades, *without_osteophytes().grades))
    assert "no such level on the film; not judged: C4/C5" in view({}, mixed).adjacent["sentences"][0]


def test_the_lower_back_and_a_missing_plan_have_no_such_view():
    assert view({"levels_planned": ["L4/L5"]}, None) == ADVICE
    assert view(None, None) == ADVICE
