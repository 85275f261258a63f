"""The measure stage on a few boxes: what is missing has a reason, and nothing raises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spine.anatomy import Structure, disc_level, vertebra_name
from spine.measure import alignment, canal, discs, measure_levels, signal, vertebrae
from spine.measure.scene import build_scene
from spine.records import Disc, Grid, LabelledSpine, Measurement, Numbering, Vertebra, Volume

# Boxes of 1 mm pixels: (label, structure, first row, last row + 1, first column, last column + 1)
BOXES = (
    (3, Structure.BODY, 10, 35, 20, 54),
    (203, Structure.DISC, 35, 44, 20, 54),
    (2, Structure.BODY, 44, 69, 20, 54),
    (202, Structure.DISC, 69, 78, 20, 54),
    (1, Structure.BODY, 78, 103, 20, 54),
    (201, Structure.DISC, 103, 112, 20, 54),
    (0, Structure.S1, 112, 132, 20, 54),
    (100, Structure.CANAL, 0, 150, 58, 74),
)


def boxes(slices: int = 7, top: int = 0, slice_mm: float = 4.0) -> tuple[LabelledSpine, Volume]:
    """Three vertebrae, S1 and a canal in the middle slices; `top` rows are left out above."""
    structures = np.zeros((slices, 150, 110), np.uint8)
    mask = np.zeros_like(structures)
    span = slice(1, -1) if slices > 2 else slice(None)
    for label, structure, r0, r1, c0, c1 in BOXES:
        structures[span, r0:r1, c0:c1], mask[span, r0:r1, c0:c1] = structure, label
    return scene_of(mask[:, top:], structures[:, top:], slice_mm)


def scene_of(mask: np.ndarray, structures: np.ndarray, slice_mm: float = 4.0) -> tuple[LabelledSpine, Volume]:
    """Records around a mask; intensities by structure, T2-like."""
    centre = {int(n): tuple(float(c) for c in np.argwhere(mask == n).mean(0)) for n in np.unique(mask) if n}
    spine = LabelledSpine(
        mask,
        structures,
        tuple(Vertebra(k, vertebra_name(k), False, c, 1, 0.9) for k, c in centre.items() if k <= 24),
        tuple(Disc(k, disc_level(k), c, 1, 0.9) for k, c in centre.items() if k > 200),
        Numbering("sacrum", 0.99, (), None),
    )
    values = np.full(256, 0.2, np.float32)
    values[[Structure.BODY, Structure.DISC, Structure.CANAL]] = 0.4, 0.5, 1.0
    affine = np.array([[slice_mm, 0, 0, 0], [0, 0, 1.0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1.0]])
    grid = Grid(mask.shape, (slice_mm, 1.0, 1.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    flips = (False, False, False)
    return spine, Volume(values[structures], (slice_mm, 1.0, 1.0), mask.shape, affine, grid, (0, 1, 2), flips)


def by_key(measurements: tuple[Measurement, ...]) -> dict[tuple[str, str], Measurement]:
    assert all((m.value is None) == (m.not_measurable is not None) for m in measurements)
    assert all(m.not_measurable is None or m.not_measurable.strip() for m in measurements)
    keys = [(m.subject, m.name) for m in measurements]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, measurements, strict=True))


def test_boxes_measure_what_was_drawn():
    found = by_key(measure_levels(*boxes()))
    for name in ("anterior", "middle", "posterior"):
        assert found["L4", f"body_height_{name}_mm"].value == pytest.approx(25, abs=0.05)
        assert found["L4/L5", f"disc_height_{name}_mm"].value == pytest.approx(9, abs=0.05)
    assert found["L4", "body_ap_depth_mm"].value == pytest.approx(34, abs=0.05)
    assert found["L4/L5", "disc_height_index"].value == pytest.approx(9 / 25, abs=0.005)
    assert found["L4/L5", "disc_volume_mm3"].value == 5 * 4 * 9 * 34
    assert found["L4/L5", "disc_midsagittal_area_mm2"].value == pytest.approx(9 * 34, rel=0.01)
    assert found["L4/L5", "canal_ap_diameter_mm"].value == pytest.approx(16, abs=0.05)
    assert found["L4/L5", "disc_csf_signal_ratio"].value == pytest.approx(0.5)
    # end points are LPS: here x = 4 * slice, y = column, z = -row; L4's front wall is column 20 - 1/2
    (x, y, z), (_, _, below) = found["L4", "body_height_anterior_mm"].points_mm
    assert (x, y, z, below) == pytest.approx((12, 19.5, -43.5, -68.5), abs=0.05)


def test_nothing_at_all():
    empty = np.zeros((3, 40, 40), np.uint8)
    spine, volume = scene_of(empty, empty)
    found = by_key(measure_levels(spine, volume, {}))
    assert {s for s, _ in found} == {"canal", "alignment"}
    assert all(m.value is None for m in found.values())
    assert found["alignment", "t1_slope_deg"].not_measurable == "T1 is not in view"


@pytest.mark.parametrize("missing", [Structure.BODY, Structure.DISC, Structure.CANAL, Structure.S1])
def test_one_kind_of_structure_missing(missing):
    spine, volume = boxes()
    gone = spine.structures == missing
    spine.mask[gone], spine.structures[gone] = 0, 0
    full = by_key(measure_levels(*boxes()))
    found = by_key(measure_levels(spine, volume))
    assert found.keys() == full.keys()  # the records still name the level: every name must come back
    assert any(m.value is None for m in found.values())


def test_each_part_without_input():
    empty = np.zeros((1, 20, 20), np.uint8)
    spine, volume = scene_of(empty, empty)
    scene = build_scene(spine, volume)
    parts = (
        (discs.measure_disc(scene, 2), discs.UNITS),
        (vertebrae.measure_vertebra(scene, 2), vertebrae.UNITS),
        (alignment.measure_alignment(scene), alignment.UNITS),
        (signal.SignalMeter(scene).at_disc(2), signal.UNITS),
        (canal.CanalMeter(scene).at_disc(2), {**canal.LEVEL_UNITS, **canal.DISC_UNITS}),
        (canal.CanalMeter(scene).at_body(18), {**canal.LEVEL_UNITS, **canal.NECK_UNITS}),
        (canal.CanalMeter(scene).whole(), canal.CANAL_UNITS),
    )
    for outcomes, units in parts:
        assert outcomes.keys() == units.keys()
        assert all(isinstance(o, str) and o for o in outcomes.values())


def test_vertebra_cut_by_the_top_of_the_image():
    spine, volume = boxes(top=20)  # only the lower 15 of L3's 25 mm are left
    spine.mask[spine.mask == 3] = 103
    cut = tuple(replace(v, partial=v.label == 3) for v in spine.vertebrae)
    centre = (3.0, 7.0, 37.0)
    top = Vertebra(3, "L3", True, centre, 1, 0.9)
    spine = replace(spine, vertebrae=(*(v for v in cut if v.label != 3), top))
    found = by_key(measure_levels(spine, volume))
    assert found["L3", "body_height_anterior_mm"].not_measurable == "L3 is cut by the edge of the image"
    assert found["L3", "endplate_depth_inferior_mm"].value == pytest.approx(34, abs=0.1)
    assert found["L3/L4", "disc_height_posterior_mm"].value == pytest.approx(9, abs=0.05)  # both its plates are in view
    assert found["L3/L4", "disc_height_index"].not_measurable == "L3 is cut by the edge of the image"
    assert found["L4", "body_height_anterior_mm"].value == pytest.approx(25, abs=0.05)


def test_one_slice():
    found = by_key(measure_levels(*boxes(slices=1)))
    assert found["L4", "body_height_anterior_mm"].value == pytest.approx(25, abs=0.05)
    assert found["L4/L5", "canal_ap_diameter_mm"].value == pytest.approx(16, abs=0.05)
    assert found["L4/L5", "disc_volume_mm3"].not_measurable == "one slice shows no volume"
    assert found["alignment", "coronal_curve_hint_deg"].not_measurable.startswith("fewer than three slices")
    assert found["L4/L5", "disc_muscle_signal_ratio"].not_measurable.startswith("no slice shows the muscle")


def test_unsure_structures_are_not_measured():
    spine, volume = boxes()
    unsure = tuple(replace(v, confidence=0.3) if v.label == 2 else v for v in spine.vertebrae)
    vague = tuple(replace(d, confidence=0.2) if d.label == 203 else d for d in spine.discs)
    found = by_key(measure_levels(replace(spine, vertebrae=unsure, discs=vague), volume))
    assert found["L4", "body_height_anterior_mm"].not_measurable == "L4 is unsure: confidence 0.30 is below 0.50"
    assert found["L4/L5", "wedge_deg"].not_measurable == "L4 is unsure: confidence 0.30 is below 0.50"
    assert "L3/L4 is unsure" in found["L3/L4", "disc_csf_signal_ratio"].not_measurable
    assert found["L5", "body_height_anterior_mm"].value is not None


def test_dark_fluid_gives_the_muscle_ratio_only():
    spine, volume = boxes(slices=15)
    values = np.full(256, 0.25, np.float32)
    values[[Structure.BODY, Structure.DISC, Structure.CANAL]] = 0.8, 0.5, 0.2
    dark = replace(volume, array=values[spine.structures])
    # the canal spans all boxes' slices: muscle is looked for beyond 10 mm from the midline, behind it
    found = by_key(measure_levels(spine, dark))
    assert found["L4/L5", "disc_csf_signal_ratio"].not_measurable.startswith("the canal's fluid is not bright")
    assert found["L4/L5", "nucleus_muscle_signal_ratio"].value == pytest.approx(0.5 / 0.25)


def test_wedge_fracture_is_hinted_at():
    spine, volume = boxes()
    rows, columns = np.arange(150)[:, None], np.arange(110)[None]
    # the front of L4 (rows 44..69, columns 20..54) loses 9 of its 25 mm from above: 36 %, grade 2
    lost = (spine.mask == 2) & (rows < 44 + 9 * (54 - columns) / 34)
    spine.structures[lost], spine.mask[lost] = Structure.DISC, 203
    found = by_key(measure_levels(spine, volume))
    assert found["L4", "wedge_percent"].value == pytest.approx(36, abs=3)
    assert found["L4", "body_wedge_deg"].value == pytest.approx(np.degrees(np.arctan(9 / 34)), abs=1)
    assert found["L4", "genant_grade"].value == 2
    assert "wedge" in found["L4", "genant_grade"].reference


def test_narrow_canal_names_its_level_and_neighbours():
    spine, volume = boxes()
    squeezed = np.zeros(spine.mask.shape, np.bool_)
    squeezed[:, 66:81, 58:66] = True  # 8 of 16 mm at L4/L5
    spine.structures[squeezed], spine.mask[squeezed] = 0, 0
    found = by_key(measure_levels(spine, volume))
    assert found["canal", "narrowest_ap_diameter_mm"].value == pytest.approx(8, abs=0.5)
    assert found["canal", "narrowest_ap_diameter_mm"].reference == "at L4/L5"
    assert found["canal", "narrowing_percent_of_neighbours"].value == pytest.approx(50, abs=4)
    assert found["L4/L5", "canal_ap_diameter_min_mm"].value == pytest.approx(8, abs=0.5)


def test_padding_is_no_image():
    spine, volume = boxes()
    # content ends inside S1: its superior end plate is in view, L5 is whole
    found = by_key(measure_levels(spine, replace(volume, content=(7, 118, 110))))
    assert found["L5/S1", "disc_height_middle_mm"].value == pytest.approx(9, abs=0.05)
    # content ends at L5's lower end plate
    found = by_key(measure_levels(spine, replace(volume, content=(7, 103, 110))))
    assert found["L5", "body_height_middle_mm"].not_measurable == "L5 is cut by the edge of the image"
    assert found["L5/S1", "wedge_deg"].value is None


@pytest.mark.parametrize("seed", range(12))
def test_damaged_masks_never_raise(seed):
    rng = np.random.default_rng(seed)
    spine, volume = boxes(slices=int(rng.integers(1, 8)))
    structures, mask = spine.structures.copy(), spine.mask.copy()
    if seed % 3 == 0:  # noise of every structure and label
        hit = rng.random(mask.shape) < 0.3
        structures[hit] = rng.integers(0, 10, hit.sum())
        mask[hit] = rng.choice([0, 1, 3, 23, 24, 100, 101, 201, 223], hit.sum())
        spine, volume = scene_of(mask, structures)
    else:  # crumbs, or a band missing, under records that still name everything
        low, high = sorted(rng.integers(0, 150, 2))
        gone = (
            rng.random(mask.shape) < 0.95 if seed % 3 == 1 else np.isin(np.arange(150), range(low, high))[None, :, None]
        )
        structures[np.broadcast_to(gone, mask.shape)], mask[np.broadcast_to(gone, mask.shape)] = 0, 0
        spine = replace(spine, structures=structures, mask=mask)
    for measurement in by_key(measure_levels(spine, volume, {})).values():
        assert measurement.value is None or np.isfinite(measurement.value)
        assert np.isfinite(np.array(measurement.points_mm)).all()
