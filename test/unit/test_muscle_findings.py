"""Muscles of a drawn trunk: areas by hand, whatever the storage, the tilt and the turn; and when there is no answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
import pytest

from spine.anatomy import AxialStructure, Structure
from spine.errors import ModelError
from spine.muscle import measure_muscles, support_stenosis
from spine.muscle.conform import conform_axial, network_input, restore_labels
from spine.muscle.levels import MEASURED_LEVELS, Sections, find_levels
from spine.muscle.segment import clean_slice, segment_slices
from spine.records import Disc, Doubt, Grade, Grid, LabelledSpine, Numbering, Series, Vertebra, Volume
from spine.settings import AxialSettings

SETTINGS = AxialSettings("axial.onnx", "0" * 64, 0.9)
# Ellipses at right angles to a straight spine: structure, middle (left, back) and half axes in mm. Right and left are
# drawn from the same row, the left psoas 1.2 times as deep.
ROUND = (
    (AxialStructure.BODY, 0.0, 0.0, 24.0, 17.0),
    (AxialStructure.SAC, 0.0, 28.0, 9.0, 7.0),
    (AxialStructure.MULTIFIDUS, 14.0, 52.0, 11.0, 13.0),
    (AxialStructure.ERECTOR_SPINAE, 38.0, 50.0, 11.0, 16.0),
    (AxialStructure.PSOAS, 40.0, 2.0, 13.0, 16.0),
    (AxialStructure.QUADRATUS_LUMBORUM, 66.0, 18.0, 8.0, 12.0),
)
LEFT_PSOAS = 1.2
AREA_MM2 = {s.name.lower(): np.pi * a * b for s, _, _, a, b in ROUND}
MUSCLE, FAT, OTHER = 40.0, 180.0, 90.0
DISC_MM = {"L5/S1": 0.0, "L4/L5": 38.0, "L3/L4": 76.0}  # heights of the discs' middles above the first
BODIES_MM = {0: -19.0, 1: 19.0, 2: 57.0, 3: 95.0}  # S1, L5, L4, L3
HALF_DISC_MM, HALF_BODY_MM = 5.0, 14.0


def structure_at(points):
    """AxialStructure at phantom points (..., 3): left, back, up, mm."""
    left, back, _up = np.moveaxis(points, -1, 0)
    found = np.zeros(left.shape, np.uint8)
    for structure, x, y, a, b in ROUND:
        for side in (-1, 1) if x else (1,):
            deep = b * LEFT_PSOAS if structure == AxialStructure.PSOAS and side > 0 else b
            found[((left - side * x) / a) ** 2 + ((back - y) / deep) ** 2 < 1] = structure
    return found


def intensity_at(points, fat=0.1):
    """Trunk with subcutaneous fat, muscles that hold a share `fat` of it, air around."""
    left, back, _up = np.moveaxis(points, -1, 0)
    structure = structure_at(points)
    grey = np.where((abs(left) < 100) & (back > -70) & (back < 72), OTHER, 0.0)
    grey[(abs(left) < 100) & (back >= 72) & (back < 88)] = FAT
    # Rows of fat along the spine, so that every slice shows the same share of it.
    streak = np.mod(np.floor(left / 0.9 + 0.5) + 7 * np.floor(back / 0.9 + 0.5), round(1 / fat)) == 0
    muscle = np.isin(structure, (1, 2, 3, 4))
    grey[muscle] = np.where(streak, FAT, MUSCLE)[muscle]
    grey[structure == AxialStructure.SAC] = 1.2 * FAT
    return grey


@dataclass(frozen=True)
class Patient:
    """How the phantom lies in the scanner: lps = matrix @ phantom + shift."""

    tilt_deg: float = 0.0
    turn_deg: float = 0.0
    shift: tuple[float, float, float] = (3.0, -20.0, 400.0)

    @property
    def matrix(self):
        a, b = np.radians([self.tilt_deg, self.turn_deg])
        tilt = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
        turn = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
        return turn @ tilt

    def phantom(self, lps):
        return (np.asarray(lps) - self.shift) @ self.matrix

    def lps(self, points):
        return np.asarray(points, float) @ self.matrix.T + self.shift


@cache
def axial_series(of, spacing=(0.9, 0.9, 4.0), slices=21, size=200, middle=(0.0, 10.0, 38.0), tilt_deg=0.0, fat=0.1):
    """An axial stack around the phantom point `middle`, tilted about the patient's left-right axis."""
    a = np.radians(tilt_deg)
    axes = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])  # columns i, j, k in LPS
    rows = columns = int(size / spacing[0])
    centre = of.lps(middle)
    origin = centre - axes @ (np.array([columns - 1, rows - 1, slices - 1]) / 2 * np.array(spacing))
    return sampled(of, Grid((columns, rows, slices), spacing, tuple(origin), tuple(axes.ravel())), fat)


def sampled(of, grid, fat=0.1):
    k, j, i = np.meshgrid(*(np.arange(n) for n in grid.size[::-1]), indexing="ij")
    lps = np.stack([i, j, k], -1) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    return Series("axial-t2-spine-mri", "axial.mha", intensity_at(of.phantom(lps), fat).astype(np.uint16), grid)


def restored(series, order, flips):
    """The same series stored with its axes in another `order` (of i, j, k) and some of them running the other way."""
    array, grid = series.array, series.grid
    direction, origin = np.reshape(grid.direction, (3, 3)), np.array(grid.origin_mm)
    for axis, flip in enumerate(flips):
        if flip:
            origin = origin + direction[:, axis] * grid.spacing_mm[axis] * (grid.size[axis] - 1)
            direction = direction * np.where(np.arange(3) == axis, -1, 1)
            array = np.flip(array, 2 - axis)
    array = array.transpose([2 - order[2 - n] for n in range(3)])
    return replace(series, array=np.ascontiguousarray(array), grid=Grid(
        tuple(grid.size[a] for a in order), tuple(grid.spacing_mm[a] for a in order), tuple(origin),
        tuple(direction[:, list(order)].ravel()),
    ))  # fmt: skip


@cache
def labelled(of, levels=tuple(DISC_MM), doubt=None):
    """The sagittal series of the same patient: (Volume, LabelledSpine), sampled on a straight grid."""
    shape, spacing = (14, 130, 80), np.array([4.0, 1.6, 1.6])
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]) * spacing
    affine[:3, 3] = of.lps((0, 5, 38)) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    points = of.phantom(index @ affine[:3, :3].T + affine[:3, 3])
    column, sac = (structure_at(points) == s for s in (AxialStructure.BODY, AxialStructure.SAC))
    mask, structures = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    mask[sac], structures[sac] = 100, Structure.CANAL
    vertebrae, discs = [], []
    for label, up in BODIES_MM.items():
        part = column & (abs(points[..., 2] - up) < HALF_BODY_MM)
        mask[part], structures[part] = label, Structure.BODY if label else Structure.S1
        if label:
            vertebrae.append(Vertebra(label, f"L{6 - label}", False, middle_of(part), int(part.sum()), 0.9))
    for number, (level, up) in enumerate(DISC_MM.items(), start=1):
        part = column & (abs(points[..., 2] - up) < HALF_DISC_MM)
        if level in levels:
            mask[part], structures[part] = 200 + number, Structure.DISC
            discs.append(Disc(200 + number, level, middle_of(part), int(part.sum()), 0.9))
    numbering = Numbering("sacrum", 0.99, (), doubt)
    grid = Grid((80, 130, 14), (1.6, 1.6, 4.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    volume = Volume(np.zeros(shape, np.float32), (4.0, 1.6, 1.6), shape, affine, grid, (2, 1, 0), (False,) * 3)
    return volume, LabelledSpine(mask, structures, tuple(vertebrae), tuple(discs), numbering)


def middle_of(part):
    return tuple(float(c) for c in np.argwhere(part).mean(0))


class Truth:
    """A runner that knows the phantom: it finds the slice that it is asked about and answers with what is there."""

    name = "truth"

    def __init__(self, series, of, sure=0.97):
        self.stack, self.of, self.sure, self.asked = conform_axial(series, SETTINGS.pixel_mm), of, sure, 0
        self.known = {network_input(self.stack, n).tobytes(): n for n in range(len(self.stack))}

    def __call__(self, batch):
        return np.stack([self.of_one(one) for one in batch])

    def of_one(self, one):
        n = self.known.get(one.tobytes())
        if n is None:  # a mirror image
            one = np.ascontiguousarray(one[..., ::-1])
            return self.answer(self.known[one.tobytes()], one.shape[1:])[..., ::-1]
        return self.answer(n, one.shape[1:])

    def answer(self, n, shape):
        self.asked += 1
        rows, columns = np.indices(shape)
        affine = self.stack.affine(n)
        place = np.stack([0 * rows, rows, columns], -1) @ affine[:3, :3].T + affine[:3, 3]
        labels = structure_at(self.of.phantom(place))
        answer = np.full((len(AxialStructure), *shape), (1 - self.sure) / 6, np.float32)
        np.put_along_axis(answer, labels[None].astype(int), self.sure, 0)
        return answer


def found(series, of, **more):
    volume, spine = labelled(of)
    return measure_muscles(series, spine, volume, Truth(series, of), SETTINGS, **more)


def value(findings, level, name):
    one = next(m for m in findings.measurements if (m.subject, m.name) == (level, name))
    return one.value if one.value is not None else one.not_measurable


LYING = {
    "straight": (Patient(), {}),
    "turned": (Patient(turn_deg=18), {}),
    "tilted slices": (Patient(), {"tilt_deg": 30.0}),
    "tilted patient": (Patient(tilt_deg=-25), {}),
    "disc-parallel": (Patient(tilt_deg=35), {"tilt_deg": 35.0}),
    "finer pixels": (Patient(), {"spacing": (0.625, 0.625, 5.0), "slices": 21}),
}


@pytest.mark.parametrize("case", LYING)
def test_areas_at_right_angles_to_the_spine(case):
    of, stored = LYING[case]
    findings = found(axial_series(of, **stored), of)
    for level in MEASURED_LEVELS:
        for name, scale in (("multifidus_right", 1), ("erector_spinae_left", 1), ("psoas_left", LEFT_PSOAS)):
            area = AREA_MM2[name.rpartition("_")[0]] * scale
            assert value(findings, level, f"{name}_area_mm2") == pytest.approx(area, rel=0.03), (level, name)
        assert value(findings, level, "dural_sac_area_mm2") == pytest.approx(AREA_MM2["sac"], rel=0.04)
        # right - left over the larger: (1 - 1.2) / 1.2
        assert value(findings, level, "psoas_area_asymmetry_percent") == pytest.approx(-16.67, abs=1.5)
    assert findings.reason is None


def test_storage_changes_nothing():
    of = Patient(turn_deg=8)
    series = axial_series(of)
    expected = found(series, of)
    orders = ((0, 1, 2), (2, 0, 1), (1, 2, 0), (1, 0, 2))
    for order, flips in zip(orders, product((False, True), repeat=3), strict=False):
        other = found(restored(series, order, flips), of)
        assert other.measurements == expected.measurements
        assert other.grades == expected.grades


def test_fat_its_free_area_and_goutallier():
    of = Patient()
    findings = found(axial_series(of, fat=1 / 3), of)
    for name in ("multifidus_right", "psoas_left"):
        fat = value(findings, "L4/L5", f"{name}_fat_fraction_percent")
        assert fat == pytest.approx(33.3, abs=4)
        area = value(findings, "L4/L5", f"{name}_area_mm2")
        assert value(findings, "L4/L5", f"{name}_fat_free_area_mm2") == pytest.approx(area * (1 - fat / 100))
        grade = next(g for g in findings.grades if (g.level, g.name) == ("L4/L5", f"{name}_goutallier"))
        assert grade.grade == 2  # 20 to 45 %
        assert sum(grade.probabilities) == pytest.approx(1)


def test_up_to_three_slices_in_the_disc_are_averaged_and_drawn():
    of = Patient()
    findings = found(axial_series(of, spacing=(0.9, 0.9, 3.0), slices=33), of)
    shown = [one for one in findings.slices if one.level == "L4/L5"]
    assert sorted(one.offset_mm for one in shown) == pytest.approx([-3, 0, 3], abs=0.5)  # the disc is 10 mm high
    assert sorted(one.number for one in shown) == [16, 17, 18]
    right = shown[0].labels[~shown[0].left & (shown[0].labels == AxialStructure.PSOAS)]
    assert len(right) * 0.81 == pytest.approx(AREA_MM2["psoas"], rel=0.03)


def test_names_of_the_slices():
    of = Patient()
    series = axial_series(of, slices=33)
    volume, spine = labelled(of)
    names = Sections(conform_axial(series, 0.9), spine, volume).names
    up = np.arange(33) * 4.0 - 64 + 38
    expected = ["S1" if u < -5 else "L5/S1" if u < 5 else "L5" if u < 33 else "L4/L5" if u < 43 else
                "L4" if u < 71 else "L3/L4" if u < 81 else "L3" for u in up]  # fmt: skip
    sure = [n for n, u in enumerate(up) if min(abs(u - edge) for edge in (-5, 5, 33, 43, 71, 81)) > 1 and -33 < u < 109]
    assert [names[n] for n in sure] == [expected[n] for n in sure]


def test_a_level_between_two_slices_far_apart_and_one_beyond_the_stack():
    of = Patient()
    findings = found(axial_series(of, spacing=(0.9, 0.9, 4.0), slices=9), of)  # 22 to 54 mm: L4/L5 alone
    assert value(findings, "L4/L5", "multifidus_right_area_mm2") == pytest.approx(AREA_MM2["multifidus"], rel=0.03)
    reason = value(findings, "L3/L4", "multifidus_right_area_mm2")
    assert reason == "no axial slice lies in the disc L3/L4: the nearest passes 22 mm from its middle"


def test_one_slice_is_enough_for_its_level():
    of = Patient()
    findings = found(axial_series(of, slices=1), of)
    assert value(findings, "L4/L5", "psoas_right_area_mm2") == pytest.approx(AREA_MM2["psoas"], rel=0.03)
    assert any("single slice" in flag for flag in findings.flags)


def test_a_muscle_cut_by_the_edge_of_the_picture_is_not_measured():
    of = Patient()
    series = axial_series(of, size=130, middle=(25.0, 10.0, 38.0), slices=13)  # its right edge lies at -40 mm
    findings = found(series, of)
    assert value(findings, "L4/L5", "psoas_right_area_mm2") == "it is cut by the edge of the picture"
    assert value(findings, "L4/L5", "psoas_right_fat_free_area_mm2") == "it is cut by the edge of the picture"
    assert value(findings, "L4/L5", "psoas_area_asymmetry_percent") == "right: it is cut by the edge of the picture"
    assert value(findings, "L4/L5", "multifidus_right_area_mm2") == pytest.approx(AREA_MM2["multifidus"], rel=0.03)
    grade = next(g for g in findings.grades if (g.level, g.name) == ("L4/L5", "psoas_right_goutallier"))
    assert grade.not_measurable == "it is cut by the edge of the picture"


def test_several_stacks_in_one_series_are_each_measured_in_their_disc():
    of = Patient(tilt_deg=20)
    parts = [axial_series(of, slices=4, middle=(0.0, 10.0, up), tilt_deg=20.0 + turn)
             for (_, up), turn in zip(DISC_MM.items(), (10, 0, -5), strict=True)]  # fmt: skip
    series = replace(parts[0], array=np.concatenate([p.array for p in parts]), stacks=tuple(p.grid for p in parts))
    findings = found(series, of)
    for level in MEASURED_LEVELS:
        assert value(findings, level, "multifidus_right_area_mm2") == pytest.approx(AREA_MM2["multifidus"], rel=0.03)
    groups = {one.level: (one.number - 1) // 4 for one in findings.slices}
    assert groups == {"L5/S1": 0, "L4/L5": 1, "L3/L4": 2}


REFUSED = {
    "sagittal": (lambda s: replace(s, grid=replace(s.grid, direction=(0, 0, 1, 1, 0, 0, 0, -1, 0))), "is sagittal"),
    "coronal": (lambda s: replace(s, grid=replace(s.grid, direction=(1, 0, 0, 0, 0, 1, 0, -1, 0))), "is coronal"),
    "elsewhere": (lambda s: replace(s, grid=replace(s.grid, origin_mm=(0.0, 0.0, 2000.0))), "no slice of the axial"),
    "other frame": (lambda s: replace(s, foreign_frame=True), "different frames of reference"),
    "small": (lambda s: replace(s, array=s.array[:, :90, :90], grid=replace(s.grid, size=(90, 90, 21))), "81 x 81 mm"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_axial_series_of_this_spine_is_said_in_a_sentence(case):
    change, words = REFUSED[case]
    of = Patient()
    volume, spine = labelled(of)
    findings = measure_muscles(change(axial_series(of)), spine, volume, None, SETTINGS)
    assert words in findings.reason
    assert findings.flags == (f"axial-t2-spine-mri: {findings.reason}",)
    assert not findings.measurements


def test_a_spine_without_lumbar_discs_has_no_muscles():
    of = Patient()
    volume, spine = labelled(of, levels=())
    assert "none of which" in measure_muscles(axial_series(of), spine, volume, None, SETTINGS).reason


def test_the_patient_moved_between_the_series():
    of = Patient()
    series = axial_series(of)
    volume, spine = labelled(Patient(shift=(3.0, -5.0, 400.0)))  # 15 mm further back
    findings = measure_muscles(series, spine, volume, Truth(series, of), SETTINGS)
    assert "the patient moved" in findings.reason
    assert findings.flags[-1] == f"axial-t2-spine-mri: {findings.reason}"
    assert not findings.measurements


class Elsewhere(Truth):
    """The same, with what it finds in the slices of L4/L5 about 20 mm further back."""

    def answer(self, n, shape):
        answer = super().answer(n, shape)
        return np.roll(answer, round(20 / 0.9), 1) if 8 <= n <= 12 else answer


def test_one_level_that_lies_elsewhere_withholds_all():
    """Another person's axial series: it agrees by chance at two levels, the third betrays it."""
    of = Patient(tilt_deg=10)  # no two slices are alike
    series = axial_series(of)
    volume, spine = labelled(of)
    findings = measure_muscles(series, spine, volume, Elsewhere(series, of), SETTINGS)
    assert findings.reason.startswith("at L4/L5 the vertebra lies 19 mm away")
    assert findings.flags[-1] == f"axial-t2-spine-mri: {findings.reason}"
    assert (findings.measurements, findings.grades, findings.slices) == ((), (), ())


def test_doubts_of_the_sagittal_series_are_carried_on():
    of = Patient()
    series = axial_series(of)
    doubted = found(series, of, doubts=(Doubt("L5", "vertebra", "its outline breaks a rule"),))
    assert value(doubted, "L4/L5", "psoas_right_area_mm2") == "its outline breaks a rule"
    assert value(doubted, "L5/S1", "psoas_right_area_mm2") == "its outline breaks a rule"
    assert isinstance(value(doubted, "L3/L4", "psoas_right_area_mm2"), float)
    assert isinstance(
        value(found(series, of, doubts=(Doubt(None, "cord", "x"),)), "L4/L5", "dural_sac_area_mm2"), float
    )
    volume, spine = labelled(of, doubt="no anchor in view")
    flags = measure_muscles(series, spine, volume, Truth(series, of), SETTINGS).flags
    assert any("as doubtful as those of the sagittal series" in flag for flag in flags)
    misnamed = found(series, of, doubts=(Doubt("L4/L5", "name", "counted across a break"),))
    assert any("as doubtful as those of the sagittal series" in flag for flag in misnamed.flags)


def test_an_unsure_outline_is_not_measured():
    of = Patient()
    series = axial_series(of, slices=13)
    volume, spine = labelled(of)
    findings = measure_muscles(series, spine, volume, Truth(series, of, sure=0.5), SETTINGS)
    assert value(findings, "L4/L5", "psoas_right_area_mm2") == "its outline is not sure enough (mean probability 0.50)"


def test_strays_are_dropped_holes_filled_and_a_fold_in_the_midline_kept_whole():
    probability = np.zeros((7, 160, 200), np.float32)
    rows, columns = np.indices((160, 200))
    labels = np.zeros((160, 200), int)
    labels[(rows - 50) ** 2 + (columns - 100) ** 2 < 20**2] = AxialStructure.BODY
    labels[(rows - 82) ** 2 + (columns - 100) ** 2 < 8**2] = AxialStructure.SAC
    for middle in (80, 120):
        labels[(rows - 110) ** 2 + (columns - middle) ** 2 < 14**2] = AxialStructure.MULTIFIDUS
    labels[110, 80] = 0  # a hole
    labels[20:23, 20:23] = AxialStructure.MULTIFIDUS  # a stray, and a larger one far away
    labels[30:42, 5:17] = AxialStructure.MULTIFIDUS
    labels[109:111, 101:110] = AxialStructure.MULTIFIDUS  # the left one reaches over the midline
    labels[109:111, 98:101] = AxialStructure.MULTIFIDUS
    np.put_along_axis(probability, labels[None], 1.0, 0)
    outline = clean_slice(np.full((160, 200), 0.5, np.float32), probability, 0.9)
    right, left = outline.mask("multifidus_right"), outline.mask("multifidus_left")
    assert right[110, 80]
    assert not right[:80].any()
    assert left[110, 99]
    assert not right[110, 99]
    assert not outline.reasons.get("multifidus_right")


def test_labels_come_back_to_the_stored_grid():
    of = Patient()
    series = restored(axial_series(of, spacing=(0.7, 0.7, 4.0), slices=5, fat=0.1), (2, 0, 1), (True, False, True))
    outlines = segment_slices(stack := conform_axial(series, 0.9), range(5), Truth(series, of))
    back = restore_labels({n: one.labels for n, one in outlines.items()}, stack, series)
    k, j, i = np.meshgrid(*(np.arange(n) for n in series.grid.size[::-1]), indexing="ij")
    lps = np.stack([i, j, k], -1) @ series.grid.affine[:3, :3].T + series.grid.affine[:3, 3]
    truth = structure_at(of.phantom(lps))
    for structure in AxialStructure:
        one, two = back == structure, truth == structure
        assert 2 * (one & two).sum() / (one.sum() + two.sum()) > 0.97, structure


def test_a_network_of_another_kind_is_refused():
    of = Patient()
    series = axial_series(of, slices=3)
    stack = conform_axial(series, 0.9)
    with pytest.raises(ModelError, match="2 classes; 7 are expected"):
        segment_slices(stack, [0], lambda batch: np.zeros((len(batch), 2, *batch.shape[2:]), np.float32))


def test_thin_slices_take_neighbours_further_away():
    of = Patient()
    stack = conform_axial(axial_series(of, spacing=(0.9, 0.9, 1.0), slices=12), 0.9)
    assert stack.neighbours(5) == (2, 8)
    assert stack.neighbours(1) == (0, 4)
    assert conform_axial(axial_series(of, slices=5), 0.9).neighbours(4) == (3, 4)


def test_steep_slices_are_refused_at_their_level():
    of = Patient(tilt_deg=40)
    series = axial_series(of, tilt_deg=-12.0)
    volume, spine = labelled(of)
    levels = find_levels(conform_axial(series, 0.9), spine, volume)
    assert levels["L4/L5"] == "the axial slices at L4/L5 are tilted by 52 degrees against the spine"


@pytest.mark.parametrize(("graded", "words"), [(True, "below 100 mm2 (relative)"), (False, "look at the image")])
def test_the_sac_stands_beside_canal_stenosis(graded, words):
    of = Patient()
    findings = found(axial_series(of, slices=13), of)
    small = tuple(
        replace(m, value=88.0) if (m.subject, m.name) == ("L4/L5", "dural_sac_area_mm2") else m
        for m in findings.measurements
    )
    grades = (
        Grade("L4/L5", "stenosis", graded, (0.7,), 0.7, ("canal_ap_diameter_min_mm 8.00 mm",)),
        Grade("L2/L3", "stenosis", False, (0.1,), 0.9),
    )
    told = support_stenosis(grades, replace(findings, measurements=small))
    assert told[0].evidence[0] == "canal_ap_diameter_min_mm 8.00 mm"
    assert "dural_sac_area_mm2 88 mm2" in told[0].evidence[1]
    assert words in told[0].evidence[1]
    assert told[1] == grades[1]
