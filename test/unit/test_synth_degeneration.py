"""Every degeneration parameter moves what it should in the raster, and nothing but its own grade in the truth."""

from dataclasses import replace

import numpy as np
import pytest

from lab.synth.phantom import Phantom, rasterise
from lab.synth.plan import SpinePlan, Window
from lab.synth.sample import sample_spine
from lab.synth.tissue import Tissue
from spine.anatomy import Structure

L4_L5 = 1  # index of the disc and of L4


@pytest.fixture(scope="module")
def plan() -> SpinePlan:
    drawn = sample_spine(np.random.default_rng(5), "lumbar", healthy=True)
    disc = replace(drawn.discs[L4_L5], pfirrmann=2, bulge_mm=0.0, cleft=False)
    return replace(with_disc(drawn, disc), irregularity_mm=0.0)


def with_disc(plan: SpinePlan, disc) -> SpinePlan:
    return replace(plan, discs=(*plan.discs[:L4_L5], disc, *plan.discs[L4_L5 + 1 :]))


def with_vertebra(plan: SpinePlan, **changes) -> SpinePlan:
    vertebrae = list(plan.vertebrae)
    vertebrae[L4_L5] = replace(vertebrae[L4_L5], **changes)
    return replace(plan, vertebrae=tuple(vertebrae))


def paint(plan: SpinePlan) -> Phantom:
    centre = plan.frames[L4_L5].world(0, -8, 5)
    return rasterise(plan, (2.0, 0.6, 0.6), 9, Window(tuple(float(c) for c in centre), (80.0, 90.0)))


def change(plan: SpinePlan, **changes) -> Phantom:
    return paint(with_disc(plan, replace(plan.discs[L4_L5], **changes)))


def count(phantom: Phantom, *tissues: Tissue) -> int:
    return int(np.isin(phantom.tissues, tissues).sum())


def reach_back(phantom: Phantom) -> float:
    """Most posterior column of the disc L4/L5, mm."""
    return float(np.nonzero(phantom.instances == 202)[2].max() * phantom.spacing_mm[2])


def test_pfirrmann_changes_the_nucleus(plan):
    for grade in (1, 2, 3, 4, 5):
        phantom = change(plan, pfirrmann=grade)
        code = Tissue(Tissue.NUCLEUS_1 + grade - 1)
        inside = phantom.tissues[phantom.instances == 202]
        assert np.isin(inside, code).mean() > 0.2
        assert phantom.truth["discs"][L4_L5]["grades"]["pfirrmann"] == grade


def test_a_bulge_reaches_further_back(plan):
    flat, bulged = change(plan, bulge_mm=0.0), change(plan, bulge_mm=3.0)
    assert reach_back(bulged) - reach_back(flat) == pytest.approx(3.0, abs=1.3)
    assert bulged.truth["discs"][L4_L5]["grades"]["bulging"]
    assert not flat.truth["discs"][L4_L5]["grades"]["bulging"]


@pytest.mark.parametrize("kind", ["protrusion", "extrusion"])
def test_a_herniation_is_disc_and_narrows_the_canal(plan, kind):
    flat, out = paint(plan), change(plan, herniation=kind, herniation_mm=7.0)
    assert reach_back(out) - reach_back(flat) == pytest.approx(7.0, abs=1.3)
    assert count(out, Tissue.HERNIATION) > 0
    assert count(out, Tissue.CSF, Tissue.ROOTS) < count(flat, Tissue.CSF, Tissue.ROOTS)
    assert out.truth["discs"][L4_L5]["grades"]["herniation"]


@pytest.mark.parametrize(("grade", "tissue"), [(1, Tissue.OEDEMA), (2, Tissue.FATTY_MARROW), (3, Tissue.SCLEROSIS)])
def test_modic_changes_lie_in_both_bodies_beside_the_disc(plan, grade, tissue):
    assert count(paint(plan), tissue) == 0
    phantom = change(plan, modic=grade, modic_mm=6.0)
    for label in (1, 2):
        assert np.any((phantom.tissues == tissue) & (phantom.instances == label))


def test_a_schmorl_node_lies_in_the_body_above(plan):
    phantom = change(plan, schmorl_upper_mm=5.0)
    where = phantom.tissues == Tissue.SCHMORL
    assert where.any()
    assert set(np.unique(phantom.instances[where])) == {2}
    assert phantom.truth["discs"][L4_L5]["grades"]["upper_endplate"]


def test_cleft_vacuum_and_fissure(plan):
    for name, tissue in (("cleft", Tissue.CLEFT), ("vacuum", Tissue.VACUUM), ("fissure", Tissue.FISSURE)):
        without, with_it = paint(plan), change(plan, **{name: True})
        assert not np.any(without.tissues[without.instances == 202] == tissue)
        assert np.any(with_it.tissues[with_it.instances == 202] == tissue)


def test_stenosis_takes_from_the_sac_what_it_says(plan):
    disc = plan.discs[L4_L5]
    tight = change(plan, stenosis=0.6, sac_ap_mm=0.4 * disc.sac_ap_mm)
    assert count(tight, Tissue.CSF, Tissue.ROOTS) < count(paint(plan), Tissue.CSF, Tissue.ROOTS)
    assert tight.truth["discs"][L4_L5]["grades"]["stenosis"]
    widths = (tight.structures[4] == Structure.CANAL).sum(axis=1) * tight.spacing_mm[2]
    open_widths = (paint(plan).structures[4] == Structure.CANAL).sum(axis=1) * tight.spacing_mm[2]
    assert widths[30:100].min() < 0.65 * open_widths[30:100].min()


def test_slip_moves_the_vertebra_forward():
    seeds = range(400)
    drawn = (sample_spine(np.random.default_rng(s), "lumbar") for s in seeds)
    plan = next(p for p in drawn if p.discs[L4_L5].slip_mm > 3)
    disc, upper, lower = plan.discs[L4_L5], plan.frames[L4_L5], plan.frames[0]
    below, above = plan.vertebrae[0], plan.vertebrae[L4_L5]
    rear_above = upper.world(0, -0.5 * above.height_posterior_mm, 0.5 * above.depth_mm)
    rear_below = lower.world(0, 0.5 * below.height_posterior_mm, 0.5 * below.depth_mm)
    forward = float((rear_below - rear_above) @ lower.axes[2])
    assert forward == pytest.approx(disc.slip_mm, abs=2.0)


def test_fracture_osteophytes_and_metal(plan):
    whole = paint(plan)
    spur = paint(with_vertebra(plan, osteophyte_anterior_mm=6.0))
    front = [int(np.nonzero(p.instances == 2)[2].min()) for p in (whole, spur)]
    assert front[0] - front[1] > 3
    fresh = paint(with_vertebra(plan, fracture="wedge", fracture_fresh=True, fracture_loss=0.3))
    assert count(whole, Tissue.OEDEMA) == 0
    assert count(fresh, Tissue.OEDEMA) > 0
    assert fresh.truth["vertebrae"][L4_L5]["fracture"] == "wedge"
    metal = paint(replace(plan, metal_label=2, metal_mm=15.0))
    assert count(metal, Tissue.METAL) > 0
    assert np.all(metal.instances[metal.tissues == Tissue.METAL] == 0)


def test_transitional_anatomy_makes_the_numbers_doubtful(plan):
    assert not paint(plan).truth["numbering_doubtful"]
    for seed in range(60):
        drawn = sample_spine(np.random.default_rng(seed), "lumbar")
        assert drawn.numbering_doubtful == (drawn.transitional != "none")
        ribless = sum(v.lumbar_type for v in drawn.vertebrae)
        assert ribless == {"six_lumbar": 6, "four_lumbar": 4}.get(drawn.transitional, 5)


def test_disease_follows_age():
    plans = [sample_spine(np.random.default_rng(s), "lumbar") for s in range(120)]
    ages = np.array([p.body.age_years for p in plans])
    grades = np.array([np.mean([d.pfirrmann for d in p.discs[:5]]) for p in plans])
    assert np.corrcoef(ages, grades)[0, 1] > 0.5
    healthy = [sample_spine(np.random.default_rng(s), "lumbar", healthy=True) for s in range(20)]
    assert all(d.pfirrmann <= 2 and d.modic == 0 and d.slip_mm == 0 for p in healthy for d in p.discs)
