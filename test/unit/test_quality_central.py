"""The central slab that the models of doubt look at: which slices it holds, and what the others may still change."""

from dataclasses import replace

import numpy as np
import pytest

from spine.anatomy import Structure
from spine.quality.central import CENTRAL_MM, case_features, central_slices
from spine.quality.image import image_features
from spine.records import Grid, LabelledSpine, Numbering, Segmentation, Series, Vertebra, Volume

ROWS, COLUMNS = 160, 96


def stack(slices, slice_mm):
    grid = Grid((slices, ROWS, COLUMNS), (slice_mm, 0.8, 0.8), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
    rng = np.random.default_rng(3)
    array = (0.6 + 0.02 * rng.standard_normal((slices, ROWS, COLUMNS))).astype(np.float32)
    return Volume(array, (slice_mm, 0.8, 0.8), array.shape, np.eye(4), grid, (0, 1, 2), (False,) * 3)


def bodies(middle):
    return tuple(Vertebra(n + 1, f"L{5 - n}", False, (middle, 140.0 - 40 * n, 40.0), 900, 0.9) for n in range(3))


@pytest.mark.parametrize(
    ("slices", "slice_mm", "middle", "first", "last"),
    [
        (1, 4.0, 0.0, 0, 0),
        (3, 4.0, 1.0, 0, 2),  # as learnt on
        (6, 1.0, 2.6, 0, 5),
        (15, 4.0, 7.2, 6, 8),
        (26, 2.0, 12.0, 9, 15),
        (15, 4.0, 0.4, 0, 2),  # the spine lies at the border of the stack
        (9, 20.0, 4.4, 4, 4),  # never none
    ],
)
def test_the_slab_lies_round_the_bodies(slices, slice_mm, middle, first, last):
    assert central_slices(bodies(middle), stack(slices, slice_mm)) == slice(first, last + 1)


def test_without_a_body_all_slices_are_looked_at():
    assert central_slices((), stack(15, 4.0)) == slice(0, 15)


def case(slices=15, outer_noise=0.0, outer_prob=0.95, outer_canal=True):
    """Features of a stack whose slices beyond the slab are noisier, less sure or without a canal."""
    volume = stack(slices, 4.0)
    middle = slices // 2
    outer = np.abs(np.arange(slices) - middle) * 4.0 > CENTRAL_MM
    noise = outer_noise * np.random.default_rng(5).standard_normal(volume.array.shape)
    volume = replace(volume, array=np.where(outer[:, None, None], volume.array + noise, volume.array).astype("f4"))
    structures = np.zeros(volume.array.shape, np.uint8)
    structures[:, 20:150, 20:60] = Structure.BODY
    structures[:, 20:150, 66:80] = Structure.CANAL
    if not outer_canal:
        structures[~outer, :, 66:80] = 0
    sure = np.where(outer, outer_prob, 0.95)[:, None, None]
    probabilities = np.broadcast_to((1 - sure) / 9, (10, *structures.shape)).astype(np.float16)
    np.put_along_axis(
        probabilities, structures[None].astype(int), np.broadcast_to(sure, structures.shape)[None].astype("f2"), 0
    )
    segmentation = Segmentation(probabilities, structures, {"CANAL": 0.9}, "drawn")
    spine = LabelledSpine(structures, structures, bodies(float(middle)), (), Numbering("sacrum", 0.9, (), None))
    series = Series("sagittal-spine-mri", "x.mha", np.rint(1000 * volume.array).astype(np.int16), volume.source)
    return case_features(image_features(series, volume), volume, segmentation, spine)


def test_outer_slices_change_nothing_that_counts_voxels():
    plain, odd = case(), case(outer_noise=0.1, outer_prob=0.4)
    for name in ("noise", "sharpness", "contrast", "slice_correlation", "margin", "entropy", "found_share"):
        assert odd[name] == pytest.approx(plain[name]), name
    assert odd["thickness_mm"] == 60.0


def test_geometry_is_of_all_slices():
    """A spine that leaves the slab, as in scoliosis, keeps its canal."""
    assert case(outer_canal=False)["canal_share"] == 1.0


def test_a_narrow_stack_is_looked_at_as_before():
    assert case(3)["noise"] == pytest.approx(case(3, outer_noise=0.1)["noise"])
    assert case(3)["thickness_mm"] == 12.0
