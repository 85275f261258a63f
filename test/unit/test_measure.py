"""The measure stage on an analytic spine: every answer follows from the numbers the phantom is drawn with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from lab.evaluate.cords import map_of
from spine.anatomy import DISC_OFFSET, Structure, disc_level, vertebra_name
from spine.cord import canal_course
from spine.measure import measure_levels
from spine.records import Disc, Grid, LabelledSpine, Measurement, Numbering, Vertebra, Volume

CANAL_GAP_MM = 2.0  # from the posterior corners to the canal


def turn(points: np.ndarray, angle_deg: float) -> np.ndarray:
    """(x to the front, y up) turned so that the front rises."""
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return points @ np.array([[c, s], [-s, c]])


@dataclass(frozen=True)
class Drawn:
    """A spine in its own plane (x to the front, y up, mm): bodies alike, discs alike, lowest first."""

    tilt_deg: float = 0.0  # of S1's superior end plate against the image
    bodies: int = 5
    lowest: int = 1  # label of the lowest vertebra; S1 is drawn under L5 only
    front_mm: float = 27.0
    back_mm: float = 25.0
    depth_mm: float = 34.0
    dent_mm: float = 1.5  # concavity of each end plate
    disc_back_mm: float = 6.0
    wedge_deg: float = 8.0
    slips_mm: dict[int, float] = field(default_factory=dict)  # disc label - 200 -> slip
    bulge_mm: float = 2.0
    canal_mm: float = 16.0
    canal_width_mm: float = 24.0
    cord_mm: float = 0.0
    lean_mm_per_mm: float = 0.0  # sideways lean
    width_mm: float = 44.0
    pixel_mm: float = 0.7
    slice_mm: float = 4.0
    slices: int = 15
    turned_deg: float = 0.0  # of everything in the plane
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)  # slice, down, back
    size: tuple[int, int] = (330, 230)

    @property
    def body_slope_deg(self) -> float:
        """Angle of either end plate against the body's own middle plane."""
        return float(np.degrees(np.arctan((self.front_mm - self.back_mm) / 2 / self.depth_mm)))

    @property
    def plate_mm(self) -> float:
        return self.depth_mm / np.cos(np.radians(self.body_slope_deg))

    @property
    def disc_front_mm(self) -> float:
        return self.disc_back_mm + 2 * self.plate_mm * np.sin(np.radians(self.wedge_deg / 2))

    @property
    def disc_middle_mm(self) -> float:
        """Between the deepest points of both end plates."""
        slope = np.radians(self.wedge_deg / 2 + self.body_slope_deg)
        return (self.disc_back_mm + self.disc_front_mm) / 2 + 2 * self.dent_mm * np.cos(slope)

    def poses(self) -> list[tuple[np.ndarray, float]]:
        """Centre (x, y) and angle of S1's and each vertebra's body."""
        half_d, half_b = self.depth_mm / 2, self.back_mm / 2
        angle = self.tilt_deg - self.body_slope_deg
        poses = [(np.zeros(2), angle)]
        for n in range(self.bodies):
            centre, angle = poses[-1]
            corner = centre + turn(np.array([-half_d, half_b]), angle)
            plate_deg = angle + self.body_slope_deg
            offset = np.array([self.slips_mm.get(self.lowest + n, 0.0), self.disc_back_mm])
            above = corner + turn(offset, plate_deg + self.wedge_deg / 2)
            angle = plate_deg + self.wedge_deg + self.body_slope_deg
            poses.append((above - turn(np.array([-half_d, -half_b]), angle), angle))
        middle = (poses[0][0] + poses[-1][0]) / 2
        return [(turn(c - middle, self.turned_deg), a + self.turned_deg) for c, a in poses]

    def draw(self) -> tuple[LabelledSpine, Volume]:
        """Voxels of the phantom."""
        rows, columns = self.size
        y = ((rows - 1) / 2 - np.arange(rows)) * self.pixel_mm + self.shift_mm[1]
        x = ((columns - 1) / 2 - np.arange(columns)) * self.pixel_mm + self.shift_mm[2]
        plane = np.stack(np.meshgrid(x, y), -1)  # (down, back, xy)
        kind = np.zeros(self.size, np.uint8)
        label = np.zeros(self.size, np.uint8)
        poses = self.poses()
        local = [turn(plane - c, -a) for c, a in poses]
        for n in range(self.bodies):
            kind_here, number = Structure.DISC, DISC_OFFSET + self.lowest + n
            inside = (
                self._between(plane, poses[n], poses[n + 1]) | self._body(local[n], 0) | self._body(local[n + 1], 0)
            )
            near = np.linalg.norm(plane - (poses[n][0] + poses[n + 1][0]) / 2, axis=-1) < self.depth_mm
            kind[inside & near & (kind == 0)] = kind_here
            label[inside & near & (label == 0)] = number
        for n, where in enumerate(local):
            inside = self._body(where, self.dent_mm)
            kind[inside] = Structure.S1 if n == 0 else Structure.BODY
            label[inside] = 0 if n == 0 else self.lowest + n - 1
        if self.lowest != 1:
            kind[kind == Structure.S1] = 0
        return self._extrude(kind, label, plane, y)

    def _body(self, p: np.ndarray, dent: float) -> np.ndarray:
        u = 2 * p[..., 0] / self.depth_mm
        height = (self.front_mm + self.back_mm) / 2 + (self.front_mm - self.back_mm) / 2 * u
        return (np.abs(u) < 1) & (np.abs(p[..., 1]) < height / 2 - dent * (1 - u**2))

    def _between(self, plane, lower, upper) -> np.ndarray:
        """Quadrilateral of the four corners with a parabolic bulge at the back."""
        half_d, half_f, half_b = self.depth_mm / 2, self.front_mm / 2, self.back_mm / 2
        corner = lambda pose, x, y: pose[0] + turn(np.array([x, y]), pose[1])  # noqa: E731
        p = [corner(lower, -half_d, half_b), corner(lower, half_d, half_f)]
        p += [corner(upper, half_d, -half_f), corner(upper, -half_d, -half_b)]
        inside = np.ones(plane.shape[:2], np.bool_)
        for a, b in ((p[0], p[1]), (p[1], p[2]), (p[2], p[3])):
            inside &= (b - a)[0] * (plane - a)[..., 1] - (b - a)[1] * (plane - a)[..., 0] > 0
        along = (p[3] - p[0]) / np.linalg.norm(p[3] - p[0])
        t = (plane - p[0]) @ along / np.linalg.norm(p[3] - p[0])
        behind = (plane - p[0]) @ np.array([-along[1], along[0]])
        return inside & (behind < self.bulge_mm * np.clip(1 - (2 * t - 1) ** 2, 0, None))

    def _extrude(self, kind, label, plane, y) -> tuple[LabelledSpine, Volume]:
        poses = self.poses()
        reach = self.depth_mm / 2 + CANAL_GAP_MM + self.bulge_mm + self.canal_mm / 2
        knots = np.array([c + turn(np.array([-reach, 0]), a) for c, a in poses])
        ends = [knots[0] + (knots[0] - knots[1]) * 0.6, knots[-1] + (knots[-1] - knots[-2]) * 0.6]
        knots = np.vstack([ends[0], knots, ends[1]])
        line = CubicSpline(np.arange(len(knots)), knots)(np.linspace(0, len(knots) - 1, 3000))
        away = cKDTree(line).query(plane.reshape(-1, 2), distance_upper_bound=self.canal_mm)[0].reshape(self.size)
        away[(plane @ (knots[-1] - knots[0]) > knots[-1] @ (knots[-1] - knots[0]))] = np.inf
        shape = (self.slices, *self.size)
        structures, mask = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        array = np.full(shape, 0.2, np.float32)
        for s in range(self.slices):
            side = (s - (self.slices - 1) / 2) * self.slice_mm + self.shift_mm[0]
            side = (side - self.lean_mm_per_mm * y)[:, None] * np.ones(self.size)
            solid = np.abs(side) < self.width_mm / 2
            structures[s], mask[s] = np.where(solid, kind, 0), np.where(solid, label, 0)
            canal = (2 * away / self.canal_mm) ** 2 + (2 * side / self.canal_width_mm) ** 2 < 1
            structures[s][canal], mask[s][canal] = Structure.CANAL, 100
            if self.cord_mm:
                structures[s][away**2 + side**2 < self.cord_mm**2 / 4] = Structure.CORD
        for number, value in (
            (Structure.CANAL, 1.0),
            (Structure.CORD, 0.5),
            (Structure.DISC, 0.6),
            (Structure.BODY, 0.4),
        ):
            array[structures == number] = value
        return spine_of(mask, structures), volume_of(array, (self.slice_mm, self.pixel_mm, self.pixel_mm))


def spine_of(mask: np.ndarray, structures: np.ndarray) -> LabelledSpine:
    """Instances of a mask with every confidence 0.9."""

    def centre(number: int, solid: bool) -> tuple[tuple[float, float, float], int]:
        where = np.argwhere((mask == number) & (~solid | np.isin(structures, (Structure.BODY, Structure.C2))))
        return tuple(float(v) for v in where.mean(0)), len(where)

    found = [int(v) for v in np.unique(mask)]
    bodies = [(k, *centre(k, True)) for k in found if 1 <= k <= 24]
    discs = [(k, *centre(k, False)) for k in found if k > 200]
    return LabelledSpine(
        mask=mask,
        structures=structures,
        vertebrae=tuple(Vertebra(k, vertebra_name(k), False, c, n, 0.9) for k, c, n in bodies),
        discs=tuple(Disc(k, disc_level(k), c, n, 0.9) for k, c, n in discs),
        numbering=Numbering("sacrum", 0.99, (), None),
    )


def with_cord(spine: LabelledSpine, volume: Volume) -> LabelledSpine:
    """The cord of the structures as the sections that it is measured on."""
    middle = canal_course(np.isin(spine.structures, (Structure.CANAL, Structure.CORD)), volume.spacing_mm)
    to_index = np.concatenate((np.diag(1 / np.array(volume.spacing_mm)), np.zeros((3, 1))), 1)
    return replace(spine, cord=map_of(spine.structures == Structure.CORD, to_index, middle))


def volume_of(array: np.ndarray, spacing: tuple[float, float, float], affine: np.ndarray | None = None) -> Volume:
    """A Volume without padding, in the standard pose unless an affine is given."""
    if affine is None:  # slices to the left, rows to the feet, columns to the back
        affine = np.array([[spacing[0], 0, 0, 0], [0, 0, spacing[2], 0], [0, -spacing[1], 0, 0], [0, 0, 0, 1.0]])
    grid = Grid(array.shape, spacing, (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    return Volume(array.astype(np.float32), spacing, array.shape, affine, grid, (0, 1, 2), (False, False, False))


def table(measurements: tuple[Measurement, ...]) -> dict[tuple[str, str], float | None]:
    return {(m.subject, m.name): m.value for m in measurements}


def measured(drawn: Drawn) -> dict[tuple[str, str], float | None]:
    return table(measure_levels(*drawn.draw()))


LUMBAR_DISCS = ("L5/S1", "L4/L5", "L3/L4", "L2/L3", "L1/L2")
LENGTH_MM, ANGLE_DEG = 0.5, 1.5  # what a phantom of 0.7 x 4 mm voxels must reach


@pytest.fixture(scope="module", params=[-35.0, -20.0, 12.0])
def lumbar(request) -> tuple[Drawn, dict[tuple[str, str], float | None]]:
    drawn = Drawn(turned_deg=request.param, slips_mm={2: 5.0, 4: -4.0}, shift_mm=(1.3, 0.2, 0.3))
    return drawn, measured(drawn)


def test_disc_sizes(lumbar):
    drawn, found = lumbar
    for level in LUMBAR_DISCS:
        heights = [found[level, f"disc_height_{place}_mm"] for place in ("anterior", "middle", "posterior")]
        assert heights == pytest.approx((drawn.disc_front_mm, drawn.disc_middle_mm, drawn.disc_back_mm), abs=LENGTH_MM)
        assert found[level, "wedge_deg"] == pytest.approx(drawn.wedge_deg, abs=ANGLE_DEG)
        assert found[level, "bulge_posterior_mm"] == pytest.approx(drawn.bulge_mm, abs=LENGTH_MM)
        assert found[level, "bulge_anterior_mm"] == pytest.approx(0, abs=LENGTH_MM)
        body = (drawn.front_mm + drawn.back_mm) / 2 - 2 * drawn.dent_mm
        mean = (drawn.disc_front_mm + drawn.disc_middle_mm + drawn.disc_back_mm) / 3
        assert found[level, "disc_height_index"] == pytest.approx(mean / body, rel=0.05)


def test_slip_with_its_direction_and_grade(lumbar):
    drawn, found = lumbar
    for level, slip in zip(LUMBAR_DISCS, (0.0, 5.0, 0.0, -4.0, 0.0), strict=True):
        assert found[level, "slip_mm"] == pytest.approx(slip, abs=LENGTH_MM)
        assert found[level, "slip_percent"] == pytest.approx(100 * slip / drawn.plate_mm, abs=2.0)
        # Rear corners of sound segments lie 1 mm back, known to 1 mm: 4 mm back is no sure slip, 5 mm forward is.
        assert found[level, "meyerding_grade"] == (1 if slip > 0 else 0)


def test_impossible_backward_slip_is_not_told():
    drawn = Drawn(bodies=3, slips_mm={2: -26.0}, turned_deg=-12, size=(220, 230), wedge_deg=2.0)
    found = {(m.subject, m.name): m for m in measure_levels(*drawn.draw())}
    for name in ("slip_mm", "slip_percent", "meyerding_grade"):
        assert "not believed" in found["L4/L5", name].not_measurable
    assert found["L5/S1", "slip_mm"].value == pytest.approx(0.0, abs=LENGTH_MM)


def test_body_sizes(lumbar):
    drawn, found = lumbar
    for name in ("L5", "L4", "L3", "L2", "L1"):
        heights = [found[name, f"body_height_{place}_mm"] for place in ("anterior", "middle", "posterior")]
        assert heights == pytest.approx((27.0, 26.0 - 3.0, 25.0), abs=LENGTH_MM)
        assert found[name, "body_ap_depth_mm"] == pytest.approx(drawn.depth_mm, abs=LENGTH_MM)
        assert found[name, "body_wedge_deg"] == pytest.approx(-2 * drawn.body_slope_deg, abs=ANGLE_DEG)
        assert found[name, "wedge_percent"] == pytest.approx(-8.0, abs=4.0)
        assert found[name, "biconcavity_ratio"] == pytest.approx(23 / 25, abs=0.03)
        assert found[name, "genant_grade"] == 0


def test_canal_across_its_own_line(lumbar):
    drawn, found = lumbar
    for level in (*LUMBAR_DISCS, "L5", "L4", "L3", "L2", "L1"):
        assert found[level, "canal_ap_diameter_mm"] == pytest.approx(drawn.canal_mm, abs=LENGTH_MM)
    # the least of all places finds the largest step of the mask: one pixel
    assert found["canal", "narrowest_ap_diameter_mm"] == pytest.approx(drawn.canal_mm, abs=drawn.pixel_mm)
    assert found["canal", "narrowing_percent_of_neighbours"] == pytest.approx(0, abs=3)


def test_lordosis_is_the_sum_of_its_parts(lumbar):
    drawn, found = lumbar
    body, disc = 2 * drawn.body_slope_deg, drawn.wedge_deg
    assert found["alignment", "lumbar_lordosis_l1_s1_deg"] == pytest.approx(5 * (body + disc), abs=ANGLE_DEG)
    assert found["alignment", "lordosis_l4_s1_deg"] == pytest.approx(2 * (body + disc), abs=ANGLE_DEG)
    assert found["L3/L4", "segmental_angle_deg"] == pytest.approx(2 * body + disc, abs=ANGLE_DEG)
    assert found["L5/S1", "segmental_angle_deg"] == pytest.approx(body + disc, abs=ANGLE_DEG)


def test_area_volume_and_signal():
    drawn = Drawn(
        bodies=2,
        turned_deg=-10,
        slice_mm=2.0,
        slices=25,
        pixel_mm=0.8,
        size=(200, 200),
        dent_mm=0.0,
        bulge_mm=0.0,
        width_mm=42.0,
    )
    found = measured(drawn)
    assert found["L4/L5", "canal_area_mm2"] == pytest.approx(np.pi / 4 * 16 * 24, rel=0.04)
    assert found["canal", "narrowest_area_mm2"] == pytest.approx(np.pi / 4 * 16 * 24, rel=0.05)
    flat = (drawn.disc_front_mm + drawn.disc_back_mm) / 2 * drawn.plate_mm * np.cos(np.radians(drawn.wedge_deg / 2))
    assert found["L4/L5", "disc_midsagittal_area_mm2"] == pytest.approx(flat, rel=0.03)
    assert found["L4/L5", "disc_volume_mm3"] == pytest.approx(flat * 42, rel=0.04)
    assert found["L4/L5", "disc_csf_signal_ratio"] == pytest.approx(0.6)
    assert found["L4/L5", "nucleus_csf_signal_ratio"] == pytest.approx(0.6)
    assert found["L4/L5", "disc_muscle_signal_ratio"] == pytest.approx(3.0)


def test_mirrored_slices_and_other_storage_change_nothing():
    spine, volume = Drawn(turned_deg=-20, shift_mm=(1.3, 0.2, 0.3), lean_mm_per_mm=0.08).draw()
    usual = table(measure_levels(spine, volume))
    mirrored_spine = spine_of(spine.mask[::-1].copy(), spine.structures[::-1].copy())
    mirrored = table(measure_levels(mirrored_spine, volume_of(volume.array[::-1].copy(), volume.spacing_mm)))
    a, b = np.radians(25), np.radians(-15)
    oblique = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    oblique = oblique @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    turned = volume.affine.copy()
    turned[:3, :3] = oblique @ turned[:3, :3]
    elsewhere = table(measure_levels(spine, replace(volume, affine=turned)))
    for found in (mirrored, elsewhere):
        assert found.keys() == usual.keys()
        for key, value in usual.items():
            assert (found[key] is None) == (value is None)
            if value is not None:
                assert found[key] == pytest.approx(value, abs=0.2), key


def test_leaning_spine_is_measured_along_its_own_axis():
    drawn = Drawn(turned_deg=-18, lean_mm_per_mm=0.25, slices=25, shift_mm=(0.5, 0.3, 0.2))
    found = measured(drawn)
    # L4 stands upright in the plane (within 4 degrees): leaning stretches its height, not its depth
    assert abs(drawn.poses()[2][1]) < 4
    assert found["L4", "body_height_posterior_mm"] == pytest.approx(25 * np.hypot(1, 0.25), abs=LENGTH_MM)
    assert found["L4", "body_ap_depth_mm"] == pytest.approx(34, abs=LENGTH_MM)
    assert found["alignment", "coronal_curve_hint_deg"] == pytest.approx(0, abs=3)


NECK = Drawn(
    lowest=17, bodies=7, front_mm=13, back_mm=13, depth_mm=16.5, dent_mm=0.5, disc_back_mm=5, wedge_deg=3, bulge_mm=0.5,
    canal_mm=13, canal_width_mm=21, cord_mm=7, width_mm=18, slice_mm=1, slices=25, turned_deg=-35,
    shift_mm=(0.4, 0.2, 0.1),
)  # fmt: skip


def test_neck():
    spine, volume = NECK.draw()
    spine.structures[spine.mask == 23] = Structure.C2
    found = table(measure_levels(with_cord(spine_of(spine.mask, spine.structures), volume), volume))
    for level in ("C7/T1", "C5/C6", "C2/C3", "C6", "C3"):
        assert found[level, "canal_ap_diameter_mm"] == pytest.approx(13, abs=LENGTH_MM)
        assert found[level, "cord_ap_diameter_mm"] == pytest.approx(7, abs=LENGTH_MM)
        assert found[level, "cord_width_mm"] == pytest.approx(7, abs=LENGTH_MM)
        assert found[level, "cord_area_mm2"] == pytest.approx(np.pi * 3.5**2, rel=0.08)
        assert found[level, "space_available_cord_mm"] == pytest.approx(6, abs=LENGTH_MM)
    assert found["C5", "body_height_posterior_mm"] == pytest.approx(13, abs=LENGTH_MM)
    assert found["C5/C6", "disc_height_posterior_mm"] == pytest.approx(5, abs=LENGTH_MM)
    assert found["alignment", "c2_c7_angle_deg"] == pytest.approx(5 * 3, abs=ANGLE_DEG)
    centres, angles = zip(*NECK.poses(), strict=True)  # 1 = T1, 2 = C7, 7 = C2
    assert found["alignment", "t1_slope_deg"] == pytest.approx(-angles[1], abs=ANGLE_DEG)
    assert found["alignment", "c7_slope_deg"] == pytest.approx(-angles[2], abs=ANGLE_DEG)
    corner = centres[2] + turn(np.array([-16.5 / 2, 13 / 2]), angles[2])
    assert found["alignment", "c2_c7_sva_mm"] == pytest.approx(centres[7][0] - corner[0], abs=2 * LENGTH_MM)
    assert found["C2", "body_height_anterior_mm"] is None
    assert found["C5", "genant_grade"] is None


def test_a_neck_that_is_narrow_at_every_body_is_not_called_sound():
    spine, volume = replace(NECK, canal_mm=10.5).draw()
    spine.structures[spine.mask == 23] = Structure.C2
    found = {
        (m.subject, m.name): m
        for m in measure_levels(with_cord(spine_of(spine.mask, spine.structures), volume), volume)
    }
    loss = found["C5/C6", "subarachnoid_loss_percent"]
    assert loss.value == pytest.approx(0, abs=15)
    # 14 % where 4 mm of room are left, the same millimetres of 3.5 mm
    assert np.ptp(loss.interval_90) == pytest.approx(2 * 1.645 * 14 * 4 / 3.5, rel=0.15)
    assert "narrow at the bodies beside this level too" in found["C5/C6", "kang_grade"].not_measurable


def test_a_level_whose_cord_is_lost_in_part_tells_nothing_of_it():
    spine, volume = NECK.draw()
    spine.structures[spine.mask == 23] = Structure.C2
    whole = with_cord(spine_of(spine.mask, spine.structures), volume)
    across = next(m for m in measure_levels(whole, volume) if (m.subject, m.name) == ("C5/C6", "canal_ap_diameter_mm"))
    down_mm = -np.mean([point[2] for point in across.points_mm])
    lost = np.abs(whole.cord.middle_mm[:, 1] - down_mm - 4) < 2.5
    unseen = whole.cord.probability * ~lost[:, None, None]
    for cut, reason in ((False, "no border between cord and fluid"), (True, "reaches the edge of the image")):
        part = replace(whole, cord=replace(whole.cord, probability=unseen, cut=lost & cut))
        found = {(m.subject, m.name): m for m in measure_levels(part, volume)}
        for name in ("space_available_cord_min_mm", "cord_compression_percent", "kang_grade"):
            assert reason in found["C5/C6", name].not_measurable
            assert found["C3/C4", name].value is not None


def test_cord_in_a_narrow_neck():
    spine, volume = NECK.draw()
    spine.structures[spine.mask == 23] = Structure.C2
    measurements = measure_levels(with_cord(spine_of(spine.mask, spine.structures), volume), volume)
    usual = table(measurements)
    assert usual["C5/C6", "kang_grade"] == 0
    assert usual["C5/C6", "cord_canal_ratio"] == pytest.approx(7 / 13, abs=0.05)
    assert usual["C5/C6", "cord_signal_ratio"] == pytest.approx(1.0)
    assert abs(usual["C5/C6", "cord_compression_percent"]) < 10
    # behind C5/C6 only the cord and a rim of 0.8 mm on either side are left: 1.6 of 6 mm of room
    across = next(m for m in measurements if (m.subject, m.name) == ("C5/C6", "canal_ap_diameter_mm"))
    row = round(-np.mean([point[2] for point in across.points_mm]) / NECK.pixel_mm)
    rows = slice(row - 5, row + 6)
    structures = spine.structures.copy()
    band = structures[:, rows]
    cord = band == Structure.CORD
    for rim_mm, grade in ((1.1, None), (0.75, 1)):  # about 72 % of the room lost are within the error of half of it
        near = np.stack([distance_transform_edt(~plane) * NECK.pixel_mm < rim_mm for plane in cord])
        band[(band == Structure.CANAL) & ~near] = 0
        narrow = table(measure_levels(with_cord(spine_of(spine.mask, structures), volume), volume))
        assert narrow["C5/C6", "kang_grade"] == grade
        assert narrow["C5/C6", "subarachnoid_loss_percent"] > 50
        assert narrow["C5/C6", "space_available_cord_min_mm"] < 3
        assert narrow["C3/C4", "kang_grade"] == 0
    assert ("L5", "cord_canal_ratio") not in narrow
