"""lab.evaluate.run_cervical and run_cord: masks between grids without a shift, and what a spoilt canal looks like."""

import numpy as np
import pytest

from lab.evaluate.metrics import dice
from lab.evaluate.run_cervical import carried, stored_frame
from lab.evaluate.run_cord import spoilt
from spine.anatomy import Structure
from spine.records import Grid


def ellipse(spacing_mm, shape, origin_mm):
    """Rod along the second axis, half-axes 6.2 and 3.8 mm, about (24, 24) mm."""
    first, last = (np.arange(shape[n]) * spacing_mm[n] + origin_mm[n] for n in (0, 2))
    inside = np.square((first - 24.0) / 6.2)[:, None] + np.square((last - 24.0) / 3.8)[None] < 1
    return np.broadcast_to(inside[:, None], shape)


def frame(spacing_mm, origin_mm):
    matrix = np.diag([*spacing_mm, 1.0])
    matrix[:3, 3] = origin_mm
    return matrix


def test_averaged_slices_half_way_between_stored_ones_do_not_shift_a_mask():
    fine, coarse = ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), ((2.0, 0.8, 0.8), (0.5, 0.0, 0.0))
    truth = ellipse(fine[0], (48, 40, 48), fine[1])
    on_model = carried(truth, (frame(*fine), frame(*coarse)), (24, 50, 60))
    back = carried(on_model, (frame(*coarse), frame(*fine)), truth.shape)
    assert dice(back, truth) > 0.95
    centres = [np.argwhere(mask)[:, 0].mean() for mask in (truth, back)]
    assert centres[0] == pytest.approx(centres[1], abs=0.1)
    assert back.sum() == pytest.approx(truth.sum(), rel=0.08)  # two passages round the ends off


def test_stored_frame_takes_indices_in_the_order_of_the_array():
    grid = Grid((4, 5, 6), (0.5, 1.0, 3.0), (10.0, 20.0, 30.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    k, j, i = 2, 3, 1
    assert (stored_frame(grid) @ [k, j, i, 1])[:3] == pytest.approx([10.5, 23.0, 36.0])


def test_a_spoilt_canal_keeps_the_cord_inside():
    cord = ellipse((1.0, 1.0, 1.0), (48, 90, 48), (0.0, 0.0, 0.0)).copy()
    tube = np.pad(cord, ((2, 2), (0, 0), (2, 2)))[1:-3, :, :-4] | cord
    sizes = []
    for seed in (20, 21, 22):  # narrower, as it is, wider
        start = spoilt(tube, cord, seed)
        assert set(np.unique(start)) == {0, Structure.CANAL}
        assert (start[cord] == Structure.CANAL).all()
        sizes.append((start > 0).sum())
    assert sizes[0] < sizes[1] == tube.sum() < sizes[2]
