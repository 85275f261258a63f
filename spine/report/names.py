"""Facts: names that every report lists, whether measured or not, and which of them the pages show."""

from __future__ import annotations

GRADES: tuple[str, ...] = (
    "pfirrmann",
    "modic",
    "upper_endplate",
    "lower_endplate",
    "spondylolisthesis",
    "herniation",
    "narrowing",
    "bulging",
    "stenosis",
)
FLAG_GRADES: tuple[str, ...] = GRADES[2:]  # false or true, with the probability of true

DISC_MEASUREMENTS: tuple[str, ...] = (
    "disc_height_anterior_mm",
    "disc_height_middle_mm",
    "disc_height_posterior_mm",
    "disc_height_index",
    "wedge_deg",
    "segmental_angle_deg",
    "slip_mm",
    "slip_percent",
    "meyerding_grade",
    "disc_midsagittal_area_mm2",
    "disc_volume_mm3",
    "bulge_anterior_mm",
    "bulge_posterior_mm",
    "canal_ap_diameter_mm",
    "canal_area_mm2",
    "canal_ap_diameter_min_mm",
    "canal_narrowing_percent",
    "disc_csf_signal_ratio",
    "nucleus_csf_signal_ratio",
    "disc_muscle_signal_ratio",
    "nucleus_muscle_signal_ratio",
)
ATLAS_MEASUREMENTS: tuple[str, ...] = ("canal_ap_diameter_mm", "canal_area_mm2")  # C1 has no body
VERTEBRA_MEASUREMENTS: tuple[str, ...] = (
    "body_height_anterior_mm",
    "body_height_middle_mm",
    "body_height_posterior_mm",
    "body_ap_depth_mm",
    "endplate_depth_superior_mm",
    "endplate_depth_inferior_mm",
    "body_wedge_deg",
    "wedge_percent",
    "biconcavity_ratio",
    "genant_grade",
    *ATLAS_MEASUREMENTS,
)
ALIGNMENT_MEASUREMENTS: tuple[str, ...] = (
    "lumbar_lordosis_l1_s1_deg",
    "lordosis_l4_s1_deg",
    "c2_c7_angle_deg",
    "c2_c7_sva_mm",
    "t1_slope_deg",
    "c7_slope_deg",
    "coronal_curve_hint_deg",
)
CANAL_MEASUREMENTS: tuple[str, ...] = (
    "narrowest_ap_diameter_mm",
    "narrowing_percent_of_neighbours",
    "narrowest_area_mm2",
)
DEGENERATION: tuple[str, ...] = ("score", "disc_age_years", "percentile_for_age")

# Columns of the findings table and panels of the trend figure: name -> decimals shown.
KEY_MEASUREMENTS: dict[str, int] = {
    "disc_height_middle_mm": 1,
    "disc_height_index": 2,
    "disc_csf_signal_ratio": 2,
    "canal_ap_diameter_mm": 1,
    "slip_mm": 1,
}
TREND_MEASUREMENTS: tuple[str, ...] = tuple(KEY_MEASUREMENTS)[:4]

UNUSUAL_Z = 2.0  # beyond this many standard deviations a value is marked: 95 % of the reference lie within 1.96
# Of these only the low side is degenerative: a wide canal or a high disc is unusual, but no finding to point at.
LOW_IS_WORN = frozenset(
    {
        "disc_height_anterior_mm",
        "disc_height_middle_mm",
        "disc_height_posterior_mm",
        "disc_height_index",
        "canal_ap_diameter_mm",
        "canal_area_mm2",
        "canal_ap_diameter_min_mm",
        "narrowest_ap_diameter_mm",
        "narrowest_area_mm2",
    }
)
MARKED_SLIP_MM = 3.0  # either way: the least slip that counts as one in the measurements (meyerding_grade 1)
WORN_PFIRRMANN = 4  # nucleus and annulus no longer told apart (Pfirrmann 2001, doi 10.1097/00007632-200109010-00011)
SURE_PROB = 0.8  # findings at least this likely are set in bold and told without "perhaps"; a choice
DOUBTFUL_NUMBERING = 0.9  # below this probability the pages say that the numbering is uncertain; a choice
