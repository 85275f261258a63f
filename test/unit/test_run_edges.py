"""The edges of the marrow beside the outlines: on drawn pictures whose edges are known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lab.evaluate.run_edges import DISCS, Compared, heights, table
from lab.evaluate.run_phantoms import labelled, volume_of
from lab.synth.phantom import rasterise
from lab.synth.sample import sample_spine
from spine.anatomy import Structure
from spine.measure.scene import build_scene

SPACING_MM = (3.0, 0.7, 0.7)


@pytest.fixture(scope="module")
def neck():
    """The true labels of a healthy neck, its empty picture, and where its bodies lie."""
    phantom = rasterise(sample_spine(np.random.default_rng(4), "cervical", healthy=True), SPACING_MM, 13)
    spine = labelled(phantom)
    return (
        spine,
        volume_of(spine.mask.shape, spacing_mm=SPACING_MM),
        np.isin(spine.structures, (Structure.BODY, Structure.C2)),
    )


def read(neck, marrow):
    spine, empty, _ = neck
    picture = ndimage.gaussian_filter(np.where(marrow, 1.0, 0.3).astype(np.float32), (0, 0.7, 0.7))
    return list(heights(build_scene(spine, replace(empty, array=picture))))


def test_edges_lie_where_the_bodies_end(neck):
    found = read(neck, neck[2])
    assert {level for level, *_ in found} == set(DISCS)
    assert np.mean([edges - ours for _, ours, edges in found]) == pytest.approx(0.0, abs=0.4)


def test_edges_further_apart_than_the_outlines_are_seen(neck):
    thinner = ndimage.binary_erosion(neck[2], np.ones((1, 3, 1), bool))
    moved = [edges - ours for _, ours, edges in read(neck, thinner)]
    assert np.mean(moved) == pytest.approx(2 * SPACING_MM[1], abs=0.5)


def test_a_picture_without_edges_has_no_height_between_them(neck):
    assert all(np.isnan(edges) for _, _, edges in read(neck, np.zeros_like(neck[2])))


def test_the_table_keeps_groups_and_what_has_no_edge_apart():
    rows = [Compared("synthetic", "synthetic 0", level, 5.0, 6.0 + n % 2, 5.5) for n, level in enumerate(DISCS)]
    rows += [Compared("healthy volunteers", "11", level, 5.0, float("nan"), float("nan")) for level in DISCS[:2]]
    text = table(rows)
    assert "| synthetic | 1 | 6 | 0 | -1.50 (0.55) | +1.00 (0.55) | -0.50 (0.00) |" in text
    assert "| healthy volunteers | 1 | 2 | 2 | - | - | - |" in text
    assert "| 11 | 5.0 / nan | 5.0 / nan | - | - | - | - |" in text
