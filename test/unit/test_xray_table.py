"""When a film of the evaluation counts as named wrongly."""

import pytest

from lab.evaluate.xray_table import GROSS_MM, named_off


def case(far, near, found_region="lumbar"):
    """`far` landmarks a level off and `near` ones in place."""
    marks = [{"found": True, "error_mm": [4 * GROSS_MM, 1.0]}] * far + [{"found": True, "error_mm": [0.5, 9.0]}] * near
    return {"region": "lumbar", "found_region": found_region, "landmarks": [*marks, {"found": False}]}


@pytest.mark.parametrize(
    ("film", "wrong"),
    [
        (case(0, 30), False),
        (case(2, 28), False),  # single mistakes
        (case(10, 20), True),  # a vertebra was passed over: the names above it are off, the median is not
        (case(30, 0), True),
        (case(0, 30, "cervical"), True),
        (case(0, 0), False),
    ],
)
def test_a_film_is_named_wrongly_where_a_part_of_it_is(film, wrong):
    assert named_off(film) is wrong
