"""The table of network and measuring together: what was measured beside what was told."""

import numpy as np
import pytest

from lab.evaluate.run_chain import Read, errors_by_ruler, table
from lab.evaluate.run_phantoms import Error

NAME = "disc_height_anterior_mm"


def test_the_ruler_compares_what_both_masks_give():
    truth = {("L4/L5", NAME): 8.0, ("L3/L4", NAME): 9.0, ("L2/L3", NAME): None, ("L5", "body_ap_depth_mm"): 33.0}
    found = {("L4/L5", NAME): 7.5, ("L3/L4", NAME): None, ("L2/L3", NAME): 6.0, ("L5", "body_ap_depth_mm"): 30.0}
    errors = list(errors_by_ruler("lumbar", found, truth))
    assert [error.name for error in errors] == [NAME, NAME]
    assert errors[0].error == pytest.approx(-0.5)
    assert np.isnan(errors[1].error)


def test_the_last_column_is_of_what_was_told():
    reads = [Read(f"lumbar {n}", n < 9, Error("lumbar", NAME, 0.5 if n < 9 else 16.0)) for n in range(10)]
    reads.append(Read("lumbar 0", False, Error("lumbar", NAME, float("nan"))))
    row = next(line for line in table(reads, 1).splitlines() if NAME in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2:5] == ["10", "1", "90 %"]
    assert float(cells[5]) == pytest.approx(2.05)
    assert float(cells[8]) > 5.0
    assert float(cells[9]) == 0.5
