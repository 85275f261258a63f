"""--serve over the real pipeline: many cases one after another in one process, without growth of its memory."""

from lab.benchmark.cases import write_case
from lab.benchmark.serving import serve

CASES = 10
GROWTH_MB = 25


def test_cases_one_after_another_do_not_make_the_process_grow(tmp_path):
    case = write_case(tmp_path / "input", (7, 224, 192), (6.0, 1.2, 1.2))
    found = serve(case, tmp_path / "output", CASES)
    assert len(found["seconds"]) == CASES
    assert found["growth_mb"] < GROWTH_MB, found["held_mb"]
    assert found["peak_mb"] < 2000
