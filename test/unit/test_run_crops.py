"""The study of cropped pictures: where a cut falls and how its cases are counted."""

from __future__ import annotations

import numpy as np

from lab.evaluate.run_crops import CUTS, cut_row, draw, summary


def _reference() -> np.ndarray:
    reference = np.zeros((100, 20), np.uint8)
    reference[20:40, 5:15], reference[50:70, 5:15], reference[74:84, 5:15] = 4, 5, 6
    return reference


def test_a_cut_is_told_from_the_body_it_takes():
    assert cut_row(_reference(), 6, 0.0) == 84
    assert cut_row(_reference(), 6, 0.5) == 79
    assert cut_row(_reference(), 5, 1.0) == 50
    assert cut_row(_reference(), 3, 1.0) is None  # not drawn


def test_right_doubtful_and_silent_are_counted_by_cut(tmp_path):
    flags = ((True, False), (False, True), (False, False), (True, True))
    cases = [{"patient": str(n), "cut": cut, "right": r, "doubt": d} for cut in CUTS for n, (r, d) in enumerate(flags)]
    rows = summary(cases).splitlines()[2:]
    assert len(rows) == len(CUTS)
    assert all(row.split("|")[2].strip() == "4" for row in rows)
    assert [cell.split()[0] for cell in rows[0].split("|")[3:6]] == ["0.500", "0.500", "0.250"]
    draw(cases, tmp_path / "crops.png")
    assert (tmp_path / "crops.png").stat().st_size > 1000
