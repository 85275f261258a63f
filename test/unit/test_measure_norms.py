"""Norms: the right row for the person, z by hand, and no z where the definition or the source does not allow it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from spine.measure.norms import WEAK_TAG, compare, find_norm, load_norms
from spine.records import Measurement

TABLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "clinical" / "cervical_canal_cord_spinegeneric.csv"


def value(name: str, subject: str, number: float | None = 1.0) -> Measurement:
    missing = None if number is not None else "out of view"
    return Measurement(subject, name, number, "mm", not_measurable=missing)


def test_z_and_percentile_of_the_own_sex():
    # C5 canal: women 12.52 +- 1.13, so 10.26 lies two standard deviations below
    found = compare(value("canal_ap_diameter_mm", "C5", 10.26), {"sex": "female"})
    assert found.z == pytest.approx(-2.0)
    assert found.percentile == pytest.approx(2.28, abs=0.01)
    assert "[V]" in found.reference
    assert "female" in found.reference
    assert "spine-generic" in found.reference


def test_unknown_sex_is_pooled_and_says_so():
    found = compare(value("canal_ap_diameter_mm", "C5", 12.78), None)
    assert found.z == 0
    assert found.percentile == 50
    assert "unknown sex: pooled" in found.reference
    # L5 anterior height 29.6 +- 1.8 and 30.7 +- 1.9: mean 30.15, variance (3.24 + 3.61) / 2 + 0.55 ** 2
    norm = find_norm("body_height_anterior_mm", "L5", {})
    assert norm.mean == pytest.approx(30.15)
    assert norm.sd == pytest.approx((3.425 + 0.3025) ** 0.5)


def test_age_chooses_the_band():
    means = [find_norm("c2_c7_angle_deg", "alignment", {"age_years": age}).mean for age in (15, 30, 40, 59, 75)]
    assert means == [7.6, 7.6, 13.3, 13.3, 16.0]
    assert "unknown age" in find_norm("c2_c7_angle_deg", "alignment", {}).text


def test_stature_scales_the_mean():
    plain = find_norm("body_height_posterior_mm", "L3", {})
    # spine (188 - 47.258) / 2.069 = 68.024 cm against (172.1 - 47.258) / 2.069 = 60.339 cm
    tall = find_norm("body_height_posterior_mm", "L3", {"height_cm": 188})
    assert plain.mean == pytest.approx(23.8 * 1.15)
    assert tall.mean / plain.mean == pytest.approx(68.024 / 60.339, rel=1e-4)
    # depth = 1.2326 h + 2.838 with h = 0.3941 * spine
    deep = find_norm("endplate_depth_superior_mm", "L3", {"height_cm": 188})
    ratio = (1.2326 * 0.3941 * 68.024 + 2.838) / (1.2326 * 0.3941 * 60.339 + 2.838)
    assert deep.mean == pytest.approx(35.2 * ratio, rel=1e-4)
    assert "scaled to a stature of 188 cm" in deep.text


@pytest.mark.parametrize(
    ("name", "subject", "why"),
    [
        ("canal_ap_diameter_mm", "L4", "bony canal"),
        ("t1_slope_deg", "alignment", "standing"),
        ("lumbar_lordosis_l1_s1_deg", "alignment", "T12"),
        ("body_wedge_deg", "L3", "no standard deviation"),
        ("disc_height_middle_mm", "C5/C6", "imaging method"),
        ("body_height_posterior_mm", "C3", "outlines of bodies of the neck are unproven"),
        ("canal_ap_diameter_mm", "C5/C6", "contradict each other"),
    ],
)
def test_no_z_where_the_definition_differs(name, subject, why):
    found = compare(value(name, subject, 12.0), {"sex": "male", "age_years": 50})
    assert found.z is None
    assert found.percentile is None
    assert "no z-score" in found.reference
    assert why in found.reference


def test_a_norm_that_another_source_contradicts_says_so():
    # C5 pooled: canal 12.78 +- 1.17 in spine-generic, 11.2 in the other set
    found = compare(value("canal_ap_diameter_mm", "C5", 12.78), {})
    assert found.z == pytest.approx(0.0)
    assert "another set of healthy adults" in found.reference
    assert "another set" not in compare(value("canal_ap_diameter_mm", "C4", 12.78), {}).reference


def test_nothing_to_compare():
    missing = value("canal_ap_diameter_mm", "C5", None)
    assert compare(missing, {"sex": "male"}) is missing
    foreign = value("disc_volume_mm3", "L4/L5")
    assert compare(foreign, None) is foreign


def test_every_row_has_source_and_tag_and_weak_ones_make_no_z():
    data = load_norms()
    assert len(data["index"]) == sum(len(row["subjects"]) for row in data["norms"])  # no row hides another
    for row in data["norms"]:
        assert row["tag"] in ("V", "M-hi", "M-med", WEAK_TAG, "synthesis, untagged")
        for subject in row["subjects"]:
            norm = find_norm(row["measurement"], subject, {"sex": "male", "age_years": 45, "height_cm": 180})
            assert norm.sd is None or 0 < norm.sd < abs(norm.mean) or row["measurement"].endswith("_deg")
            if row["tag"] == WEAK_TAG:
                assert norm.refused is not None
    assert "MIT" in data["sources"]["spine_generic"]["licence"]


@pytest.mark.skipif(not TABLE.exists(), reason="the shared data are not beside this checkout")
def test_cervical_rows_are_the_published_table():
    names = {"F": "female", "M": "male", "all": "pooled"}
    index = load_norms()["index"]
    with TABLE.open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            part = "canal" if row["structure"] == "spinal_canal" else "cord"
            columns = {"ap_diameter_mm": ("ap_mean_mm", "ap_sd"), "area_mm2": ("area_mean_mm2", "area_sd")}
            columns |= {"width_mm": ("rl_mean_mm", "rl_sd")} if part == "cord" else {}
            for name, (mean, sd) in columns.items():
                norm = index[f"{part}_{name}", row["level"]][names[row["sex"]]]
                assert (norm["mean"], norm["sd"]) == (float(row[mean]), float(row[sd]))


def test_room_of_the_cord_is_derived_from_canal_and_cord():
    # C5 pooled: canal 12.78 +- 1.17, cord 7.47 +- 0.51
    room, share = (find_norm(name, "C5", {}) for name in ("space_available_cord_mm", "cord_canal_ratio"))
    assert room.mean == pytest.approx(12.78 - 7.47, abs=0.006)
    assert room.sd == pytest.approx((1.17**2 + 0.51**2) ** 0.5, abs=0.006)
    assert share.mean == pytest.approx(7.47 / 12.78, abs=6e-4)
    assert share.sd == pytest.approx(share.mean * ((1.17 / 12.78) ** 2 + (0.51 / 7.47) ** 2) ** 0.5, abs=6e-4)
    assert "derived" in room.text
