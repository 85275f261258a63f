"""An earlier report of someone else: by age and sex, by the sizes of the vertebral bodies; and what cannot be told."""

import pytest

from spine.fuse import fuse_findings
from spine.fuse.same_person import compare_bodies
from spine.records import Measurement
from spine.settings import FusionSettings

BODIES = ("L5", "L4", "L3", "L2", "L1")
DEPTH, HEIGHT, DISC = "body_ap_depth_mm", "body_height_middle_mm", "disc_height_middle_mm"
SETTINGS = FusionSettings()


def earlier(disc_mm=9.0, depth_mm=34.0, height_mm=26.0, bodies=BODIES, **more):
    sizes = {DEPTH: {"value": depth_mm}, HEIGHT: {"value": height_mm}}
    levels = [{"level": "L4/L5", "measurements": {DISC: {"value": disc_mm}}, "grades": {}}]
    return {"levels": levels, "vertebrae": [{"name": name, "measurements": sizes} for name in bodies], **more}


def now(depth_mm=34.0, height_mm=26.0, bodies=BODIES):
    sizes = [Measurement(name, DEPTH, depth_mm, "mm") for name in bodies]
    sizes += [Measurement(name, HEIGHT, height_mm, "mm") for name in bodies]
    return (Measurement("L4/L5", DISC, 8.5, "mm"), *sizes)


def compared(measurements, report, record=None):
    advice = fuse_findings(measurements, (), record, SETTINGS, None, report)
    return advice.score["progression"], advice.caveats


def test_bodies_within_the_error_of_measuring_are_compared():
    found, caveats = compared(now(depth_mm=34.6, height_mm=25.8), earlier())
    assert found["levels"][0]["height"]["loss_mm"] == pytest.approx(0.5)
    assert found["same_person"] == {
        "bodies": 5, "depth_change_mm": 0.6, "height_change_mm": -0.2,
        "note": "sizes of the vertebral bodies agree, as they also do in about a third of pairs of different persons",
    }  # fmt: skip
    assert not any("earlier report" in caveat for caveat in caveats)


@pytest.mark.parametrize(("depth_mm", "height_mm"), [(37.5, 26.0), (30.5, 26.0), (34.0, 23.9), (36.5, 27.5)])
def test_bodies_of_other_sizes_are_of_another_person_even_where_discs_are_lower(depth_mm, height_mm):
    found, caveats = compared(now(depth_mm, height_mm), earlier())
    assert list(found) == ["not_measurable"]
    assert found["not_measurable"] == (
        "the earlier report is taken for another person's or another kind of image: its vertebral bodies differ by "
        f"{depth_mm - 34:+.1f} mm in depth and {height_mm - 26:+.1f} mm in height (medians of 5), more than two "
        "measurements of one adult do"
    )
    assert caveats[0] == f"Check the patient: {found['not_measurable']}."


def test_one_broken_body_is_no_other_person():
    measured = [m for m in now() if (m.subject, m.name) != ("L3", HEIGHT)]
    found, _ = compared((*measured, Measurement("L3", HEIGHT, 14.0, "mm")), earlier())
    assert found["same_person"]["height_change_mm"] == 0.0


def test_too_few_bodies_cannot_be_checked_and_that_is_said_first():
    found, caveats = compared(now(bodies=("L5", "L4")), earlier())
    assert found["levels"]
    assert found["same_person"]["not_measurable"] == (
        "whether the earlier report is of the same person could not be checked: 2 vertebral bodies were measured in "
        "both, 3 are needed"
    )
    assert caveats[0] == f"Check the patient: {found['same_person']['not_measurable']}."
    assert "0 vertebral bodies" in compare_bodies((), {"vertebrae": ["x"]})["not_measurable"]


@pytest.mark.parametrize(
    ("before", "record", "years", "told"),
    [
        ({"sex": "female"}, {"sex": "male"}, None, "it states the sex female, this study male"),
        ({"age_years": 60}, {"age_years": 52}, None, "it states an age of 60 years, this study 52"),
        ({"age_years": 40}, {"age_years": 61}, 3.0, "it states an age of 40 years, this study 61, 3 years later"),
        ({"age_years": 40}, {"age_years": 42}, 3.0, None),
        ({"age_years": 40, "sex": "male"}, {"age_years": 66, "sex": "male"}, None, None),
        ({"not_measurable": "no clinical record was given"}, {"age_years": 42, "sex": "male"}, 3.0, None),
        ({"age_years": 40}, {}, 3.0, None),
    ],
)
def test_age_and_sex(before, record, years, told):
    report = earlier(input={"clinical": before}, **({"interval_years": years} if years else {}))
    found, caveats = compared(now(), report, record)
    if told is None:
        assert found["levels"]
        return
    assert found == {"not_measurable": f"the earlier report is taken for another person's: {told}"}
    assert caveats[0].startswith("Check the patient: the earlier report is taken for another person's")


def test_nothing_in_both_is_no_absence_of_change():
    found, _ = compared(now()[1:], earlier())
    assert found == {
        "not_measurable": "no disc was measured or graded in both studies, so that nothing can be compared"
    }
