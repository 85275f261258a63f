"""Synthetic axial slices: reproducible, truth that fits the anatomy, geometry shared with the sagittal series."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from lab.synth.axial import CONTRASTS, crop_fold, picture, rasterise_axial, sample_axial
from lab.synth.axial_bank import write_stack
from lab.synth.axial_case import lower_stack, placing, sagittal_image, series_image
from lab.synth.axial_landmarks import disc_centre, level_point, stack_pose
from lab.synth.phantom import rasterise
from lab.synth.sample import sample_spine
from lab.synth.tissue import Tissue
from spine.anatomy import CANAL_LABEL, AxialStructure

LUMBAR = Path(__file__).parents[1] / "input" / "lumbar"
BACK = (AxialStructure.MULTIFIDUS, AxialStructure.ERECTOR_SPINAE)
FLESH = (Tissue.MUSCLE, Tissue.MUSCLE_DEEP, Tissue.PSOAS, Tissue.MUSCLE_FAT)


def level_l45(seed: int, fat: float = 0.1):
    """A plan through the middle of the disc L4/5, parallel to it, without a fold."""
    rng = np.random.default_rng(seed)
    plan = sample_axial(rng, 2)
    pose = stack_pose(disc_centre(plan.spine, 1), level_point(plan.spine, 0.5)[1])
    muscles = replace(plan.muscles, fat=(fat, fat, 0.02, 0.02), fat_tilt=(1.0, 1.0), level_shift=0.0)
    return replace(plan, pose=pose, muscles=muscles, field_mm=(200.0, 240.0), centre_mm=(-8.0, 0.0), fold_mm=0.0)


@pytest.fixture(scope="module")
def phantom():
    return rasterise_axial(level_l45(3))


def test_same_plan_same_phantom_and_same_seed_same_plan(phantom):
    again = rasterise_axial(level_l45(3))
    np.testing.assert_array_equal(again.tissues, phantom.tissues)
    np.testing.assert_array_equal(again.labels, phantom.labels)
    assert sample_axial(np.random.default_rng(5)).seed == sample_axial(np.random.default_rng(5)).seed


def test_shapes_and_level(phantom):
    assert phantom.labels.shape == (2, 222, 267)
    assert phantom.tissues.shape == (6, 222, 267)
    assert phantom.level == pytest.approx([0.5, 0.5], abs=0.25)


def test_every_class_occurs_and_muscles_are_made_of_flesh(phantom):
    assert set(np.unique(phantom.labels)) == {int(s) for s in AxialStructure}
    middle = phantom.tissues[1::3]
    muscle = (phantom.labels >= AxialStructure.MULTIFIDUS) & (phantom.labels <= AxialStructure.QUADRATUS_LUMBORUM)
    assert np.isin(middle[muscle], (*FLESH, Tissue.VISCERAL_FAT)).all()
    front = phantom.labels >= AxialStructure.PSOAS
    assert np.isin(middle[muscle & front], FLESH).all()  # only the back muscles have fat around them


def centres(labels, midline, structure):
    """(rows from the front, columns from the midline) of a structure on the right and on the left."""
    rows, columns = np.nonzero(labels == structure)
    right = columns < midline
    return [(rows[side].mean(), columns[side].mean() - midline) for side in (right, ~right)]


@pytest.mark.parametrize("seed", [3, 4, 8])
def test_anatomy(seed):
    phantom = rasterise_axial(level_l45(seed))
    labels, midline = phantom.labels[0], float(phantom.midline[0])
    body, sac = (np.argwhere(labels == s).mean(0) for s in (AxialStructure.BODY, AxialStructure.SAC))
    assert body[0] < sac[0]  # the sac lies behind the body
    multifidus, erector, psoas = (centres(labels, midline, AxialStructure(n)) for n in (1, 2, 3))
    for side in (0, 1):
        assert multifidus[side][0] > sac[0] > psoas[side][0]  # front to back
        assert abs(multifidus[side][1]) < abs(erector[side][1])
        assert abs(psoas[side][1]) * 0.9 > 20  # beside the body
    area_cm2 = {s: (labels == s).sum() * 0.81 / 200 for s in AxialStructure}
    assert 2 < area_cm2[AxialStructure.MULTIFIDUS] < 14
    assert 3 < area_cm2[AxialStructure.ERECTOR_SPINAE] < 30
    assert 5 < area_cm2[AxialStructure.PSOAS] < 26


def test_the_erector_reaches_to_the_front_beside_the_facets_and_the_multifidus_does_not():
    plan = level_l45(3)
    straight, dropped = (
        rasterise_axial(replace(plan, muscles=replace(plan.muscles, drop=drop))).labels[0] for drop in (0.0, 1.5)
    )
    front = [np.nonzero(labels == AxialStructure.ERECTOR_SPINAE)[0].min() for labels in (straight, dropped)]
    assert 0.9 * (front[0] - front[1]) == pytest.approx(1.5 * 7.0, abs=6.0)  # 7 mm in the table at L4/5
    multifidus = [(labels == AxialStructure.MULTIFIDUS).sum() for labels in (straight, dropped)]
    assert multifidus[1] == pytest.approx(multifidus[0], rel=0.03)


def test_through_s1_there_are_body_sac_and_multifidus():
    plan = level_l45(3)
    pose = stack_pose(*level_point(plan.spine, -1.2))
    labels = rasterise_axial(replace(plan, pose=pose)).labels[0]
    area_cm2 = {s: (labels == s).sum() * 0.0081 for s in AxialStructure}
    assert area_cm2[AxialStructure.BODY] > 3
    assert area_cm2[AxialStructure.SAC] > 0.3
    assert area_cm2[AxialStructure.MULTIFIDUS] > 3


def test_fat_is_what_was_asked_for_and_stays_inside_the_compartment():
    lean, fatty = (rasterise_axial(level_l45(3, fat)) for fat in (0.02, 0.45))
    assert np.mean(np.isin(lean.labels, BACK) != np.isin(fatty.labels, BACK)) < 1e-3  # fat that the bones paint over
    back = np.isin(lean.labels, BACK) & np.isin(lean.tissues[1::3], FLESH)
    assert lean.fat()[back].mean() == pytest.approx(0.08, abs=0.05)  # muscle itself holds 5 to 10 %
    assert fatty.fat()[back].mean() == pytest.approx(0.45, abs=0.12)


def test_the_fat_between_multifidus_and_erector_is_the_erectors():
    plan = level_l45(3)
    close, apart = (
        rasterise_axial(replace(plan, muscles=replace(plan.muscles, septum_mm=mm))).labels[0] for mm in (0.0, 6.0)
    )
    rows, columns = np.nonzero(close == AxialStructure.MULTIFIDUS)
    row = round(rows.mean())
    for labels in (close, apart):
        line = labels[row, columns.min() - 20 : columns.max() + 20]
        back = np.flatnonzero(np.isin(line, BACK))
        beside = line[back[0] : back[-1] + 1]
        middle = np.flatnonzero(beside == AxialStructure.MULTIFIDUS)
        assert np.isin(np.delete(beside, np.arange(middle[0], middle[-1] + 1)), BACK).all()  # no gap on either side
    assert (apart == AxialStructure.MULTIFIDUS).sum() < (close == AxialStructure.MULTIFIDUS).sum()


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_picture(phantom, contrast):
    plan = level_l45(3)
    image = picture(plan, phantom, np.random.default_rng(1), contrast)
    assert image.shape == phantom.labels.shape
    assert np.isfinite(image).all()
    assert image.min() >= 0


def test_folded_sides_are_cut_from_the_labels_too():
    plan = replace(level_l45(3), fold_mm=18.0)
    phantom = rasterise_axial(plan)
    image = picture(plan, phantom, np.random.default_rng(1), "t2")
    assert image.shape == crop_fold(plan, phantom, phantom.labels).shape == (2, 222, 267)


def test_pose_is_a_rotation_and_levels_the_disc():
    plan = level_l45(3)
    np.testing.assert_allclose(plan.pose.matrix @ plan.pose.matrix.T, np.eye(3), atol=1e-12)
    turned = plan.pose.turned(plan.spine)
    np.testing.assert_allclose(disc_centre(turned, 1), 0, atol=1e-9)
    up = turned.frames[0].axes[1] + turned.frames[1].axes[1]
    assert abs(up[2] / up[1]) < 0.05


def test_axial_and_sagittal_series_show_the_same_patient_at_the_same_place():
    rng = np.random.default_rng(11)
    spine = sample_spine(rng, "lumbar", healthy=True)
    place = placing(spine.window, (3.0, -2.0, 4.0))
    plan = lower_stack(rng, spine, (120.0, 120.0), 8.0)
    phantom = rasterise_axial(plan)
    sagittal = rasterise(spine, (3.0, 0.9, 0.9), 11)
    mask = sagittal_image(sagittal.instances, (3.0, 0.9, 0.9), place)
    axial = series_image(phantom.labels, phantom, place)
    assert np.linalg.det(np.reshape(axial.GetDirection(), (3, 3))) == pytest.approx(1)
    assert sac_dice(mask, axial) > 0.8


def sac_dice(sagittal, axial):
    seen = SimpleITK.Resample(sagittal, axial, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0)
    a = SimpleITK.GetArrayFromImage(seen) == CANAL_LABEL
    b = SimpleITK.GetArrayFromImage(axial) == AxialStructure.SAC
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_bundled_stack_lies_on_the_bundled_sagittal_series():
    sagittal = SimpleITK.ReadImage(str(LUMBAR.with_name("lumbar.truth.mha")))
    axial = SimpleITK.ReadImage(str(LUMBAR.with_name("lumbar.axial.truth.mha")))
    (stack,) = (LUMBAR / "images" / "axial-t2-spine-mri").glob("*.mha")
    image = SimpleITK.ReadImage(str(stack))
    for part in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(image, part)() == pytest.approx(getattr(axial, part)())
    assert stack.stat().st_size < 1_500_000
    assert sac_dice(sagittal, axial) > 0.85


def test_bank_is_written_once_and_again_the_same(tmp_path):
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        write_stack(folder, "val", 1, 4)
    first, second = (dict(np.load(tmp_path / n / "00004.npz")) for n in "ab")
    np.testing.assert_array_equal(first["images"], second["images"])
    assert first["images"].shape == (1, *first["labels"].shape)
    assert 30 < np.percentile(first["images"], 90) < 150  # the body is about 100
