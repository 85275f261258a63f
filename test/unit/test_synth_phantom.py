"""The synthetic spine: same plan, same phantom; anatomy is in order; the raster measures as planned."""

from dataclasses import replace

import numpy as np
import pytest

from lab.synth.norms import DISCS, VERTEBRAE
from lab.synth.phantom import STRUCTURE_OF_TISSUE, Phantom, rasterise
from lab.synth.plan import VIEWS, SpinePlan, Window, rotation
from lab.synth.sample import sample_spine
from lab.synth.tissue import CLASSES, PROPERTIES, Tissue
from spine.anatomy import DISC_OFFSET, LAST_DISC, STRUCTURES, VERTEBRA_NAMES, Structure

COARSE = (4.0, 1.6, 1.6)


def healthy_spine(seed: int = 0, view: str = "whole") -> SpinePlan:
    plan = sample_spine(np.random.default_rng(seed), view, healthy=True)
    return replace(plan, irregularity_mm=0.0)


def around(plan: SpinePlan, index: int, fine_mm: float = 0.2) -> Phantom:
    """One sagittal slice through the middle of vertebra `index`, 70 x 80 mm."""
    centre = plan.frames[index].origin_mm
    window = Window((float(centre[0]), float(centre[1]), float(centre[2]) + 10.0), (70.0, 80.0))
    return rasterise(plan, (1.0, fine_mm, fine_mm), 1, window)


def length_along(
    phantom: Phantom, plan: SpinePlan, index: int, axis: tuple[float, float, float], classes: set[int]
) -> float:
    """Length (mm) of `classes` on the line through the middle of vertebra `index` along the local `axis` (u, h, p)."""
    steps = np.arange(-45.0, 45.0, 0.05)
    points = plan.frames[index].origin_mm + np.outer(steps, np.asarray(axis) @ plan.frames[index].axes)
    at = np.rint((points - phantom.origin_mm) / phantom.spacing_mm).astype(int)
    inside = np.all((at[:, 1:] >= 0) & (at[:, 1:] < phantom.tissues.shape[1:]), axis=1)
    hit = phantom.structures[0, at[inside, 1], at[inside, 2]]
    return 0.05 * float(np.isin(hit, list(classes)).sum())


def test_every_tissue_has_properties_and_every_structure_has_tissues():
    assert set(PROPERTIES) == set(Tissue)
    assert STRUCTURE_OF_TISSUE.shape == (256,)
    assert set(np.unique(STRUCTURE_OF_TISSUE)) == {int(s) for s in STRUCTURES}
    named = [name for names in CLASSES.values() for name in names.split()]
    assert len(named) == len(set(named))
    assert STRUCTURE_OF_TISSUE[Tissue.EPIDURAL_FAT] == Structure.BACKGROUND
    assert STRUCTURE_OF_TISSUE[Tissue.HERNIATION] == Structure.DISC


def test_norms_cover_every_vertebra_and_disc():
    assert tuple(v.name for v in VERTEBRAE) == VERTEBRA_NAMES
    assert len(DISCS) == LAST_DISC - DISC_OFFSET


def test_the_axes_of_a_vertebra_are_orthonormal():
    axes = rotation(20.0, 10.0, -5.0)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(rotation(0, 0, 0), [[1, 0, 0], [0, -1, 0], [0, 0, 1]])
    assert rotation(20.0, 0.0, 0.0)[1][2] > 0  # positive tilt: the upper end goes to the back


@pytest.mark.parametrize("view", VIEWS)
def test_the_same_seed_gives_the_same_phantom(view):
    first, second = (rasterise(sample_spine(np.random.default_rng(3), view), COARSE, 3) for _ in range(2))
    np.testing.assert_array_equal(first.tissues, second.tissues)
    np.testing.assert_array_equal(first.instances, second.instances)
    assert first.truth == second.truth
    other = rasterise(sample_spine(np.random.default_rng(4), view), COARSE, 3)
    assert other.tissues.shape != first.tissues.shape or np.any(other.tissues != first.tissues)


def test_an_unknown_view_is_refused():
    with pytest.raises(ValueError, match="none of"):
        sample_spine(np.random.default_rng(0), "lateral")


@pytest.mark.parametrize("seed", range(4))
def test_vertebrae_are_stacked_and_the_canal_lies_behind_them(seed):
    plan = sample_spine(np.random.default_rng(seed), "whole")
    heights = [frame.origin_mm[1] for frame in plan.frames]
    assert np.all(np.diff(heights) < 0)  # every vertebra lies above the one before
    for vertebra, frame in zip(plan.vertebrae, plan.frames, strict=True):
        assert frame.world(0, 0, 0.5 * vertebra.depth_mm + 5)[2] > frame.origin_mm[2]
    whole = Window(
        (0.0, float(np.mean(heights)), float(np.mean([f.origin_mm[2] for f in plan.frames]))), (640.0, 320.0)
    )
    phantom = rasterise(replace(plan, metal_label=0), (3.0, 2.0, 2.0), 15, whole)
    rows = {int(k): np.nonzero(phantom.instances == k) for k in np.unique(phantom.instances)}
    bodies = np.isin(phantom.structures, [Structure.BODY, Structure.C2])
    for index in range(len(plan.vertebrae) - 2):
        body = np.nonzero(bodies & (phantom.instances == index + 1))
        upper = np.nonzero(bodies & (phantom.instances == index + 2))
        disc = rows[DISC_OFFSET + index + 2]
        assert upper[1].mean() < disc[1].mean() < body[1].mean()
        canal = (phantom.instances == 100)[:, int(body[1].mean())]
        assert np.nonzero(canal)[1].mean() > body[2].mean()


@pytest.mark.parametrize("name", ["L4", "L1", "T8", "C5"])
def test_depth_and_canal_measure_as_planned(name):
    plan = healthy_spine()
    index = VERTEBRA_NAMES.index(name)
    phantom, half_voxel_mm = around(plan, index), 0.4  # of the working grid, 0.8 mm
    truth = phantom.truth["vertebrae"][index]
    depth = length_along(phantom, plan, index, (0, 0, 1), {Structure.BODY})
    assert depth == pytest.approx(truth["depth_mid_mm"], abs=half_voxel_mm)
    canal = length_along(phantom, plan, index, (0, 0, 1), {Structure.CANAL, Structure.CORD})
    assert canal == pytest.approx(truth["canal_ap_diameter_mm"], abs=half_voxel_mm)


@pytest.mark.parametrize("name", ["L4", "T8", "C5"])
def test_the_middle_height_measures_as_planned(name):
    plan = healthy_spine(1)
    index = VERTEBRA_NAMES.index(name)
    phantom = around(plan, index)
    only = Phantom(
        np.where(phantom.instances == index + 1, phantom.tissues, 0).astype(np.uint8),
        phantom.instances,
        phantom.spacing_mm,
        phantom.origin_mm,
        phantom.truth,
    )
    height = length_along(only, plan, index, (0, 1, 0), {Structure.BODY})
    assert height == pytest.approx(phantom.truth["vertebrae"][index]["height_middle_mm"], abs=0.4)


@pytest.mark.parametrize("level", ["L4/L5", "T8/T9", "C5/C6"])
def test_the_disc_measures_as_planned(level):
    plan = healthy_spine(2)
    index = next(i for i, disc in enumerate(plan.discs) if disc.level == level)
    upper, lower = plan.frames[index], plan.frames[index - 1]
    halves = [0.25 * (v.height_anterior_mm + v.height_posterior_mm) for v in plan.vertebrae[index - 1 : index + 1]]
    middle = 0.5 * (upper.world(0, -halves[1], 0) + lower.world(0, halves[0], 0))
    window = Window((float(middle[0]), float(middle[1]), float(middle[2])), (50.0, 50.0))
    phantom = rasterise(plan, (1.0, 0.2, 0.2), 1, window)
    steps = np.arange(-12.0, 12.0, 0.05)
    points = middle + np.outer(steps, 0.5 * (upper.axes[1] + lower.axes[1]))
    at = np.rint((points - phantom.origin_mm) / phantom.spacing_mm).astype(int)
    height = 0.05 * float((phantom.instances[0, at[:, 1], at[:, 2]] == plan.discs[index].label).sum())
    assert height == pytest.approx(phantom.truth["discs"][index]["disc_height_middle_mm"], abs=0.4)


def test_numbers_lie_within_norms():
    plans = [healthy_spine(seed) for seed in range(40)]
    depth = np.mean([plan.vertebrae[2].depth_mm for plan in plans])
    assert depth == pytest.approx(35.0, abs=1.5)
    assert np.mean([plan.vertebrae[19].sac_ap_mm for plan in plans]) == pytest.approx(12.8, abs=0.5)
    assert np.mean([plan.lordosis_deg for plan in plans]) == pytest.approx(42.0, abs=6.0)
