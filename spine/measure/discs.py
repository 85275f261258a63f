"""Measurements of one motion segment: disc heights, wedge, size, bulge, slip."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spine.anatomy import C2_LABEL, DISC_OFFSET, disc_level, region_of
from spine.geometry import Array, leaving, moving_mean, unit, up_of, wrap_deg
from spine.measure.outline import EndPlate
from spine.measure.reading import Outcome, Reading
from spine.measure.scene import MIN_CONFIDENCE, S1_KEY, Scene, first_reason, key_name

UNITS: Mapping[str, str] = {
    "disc_height_anterior_mm": "mm",
    "disc_height_middle_mm": "mm",
    "disc_height_posterior_mm": "mm",
    "disc_height_index": "1",
    "wedge_deg": "deg",
    "segmental_angle_deg": "deg",
    "slip_mm": "mm",
    "slip_percent": "%",
    "meyerding_grade": "1",
    "disc_midsagittal_area_mm2": "mm2",
    "disc_volume_mm3": "mm3",
    "bulge_anterior_mm": "mm",
    "bulge_posterior_mm": "mm",
}

PLATES_MATCH = 0.6  # facing end plates of one spine differ by less in depth; a smaller share means a bad outline
SLIP_MIN_MM = 3.0  # usual threshold of a slip on images [M-med]; below it the Meyerding grade is 0
# Where segments without spondylolisthesis stand: medians of 849 of training and validation patients, rear corners and
# the mean of rear and front ones. The rear corner of an inferior end plate is the rounder one: all lie a little back.
USUAL_SLIP_MM = {"lumbar": (-1.1, -1.3), "thoracic": (-0.4, -0.9), "cervical": (0.0, 0.0)}
# T1 against T2 of the same patient, robust standard deviation at L5/S1, where it is largest (0.6 to 0.7 above L5); of
# necks 0.7 mm on phantoms and 0.84 mm at segments of four healthy volunteers, taken together.
SLIP_ERROR_MM = {"lumbar": 1.0, "thoracic": 0.6, "cervical": 1.1}
BOTH_CORNERS_MM = 2.0  # a vertebra that slips takes its front along; a corner outlined wrongly moves alone
RETROLISTHESIS_MAX_PERCENT = 50.0  # the facets stop a body long before; engineering choice
MEYERDING_STEP_PERCENT = 25.0  # I < 25, II 25-50, III 50-75, IV 75-100, V > 100 % [M-hi]
BULGE_REACH_MM = 20.0  # how far behind or before the line of the corners a disc is looked for
BULGE_BEYOND = 0.3  # share of the corners' distance looked at above and below them
BULGE_SAMPLE_MM = 0.5
DHI_NORMAL, DHI_COLLAPSE = 0.40, 0.20  # spinebase [V]

_PLATE_NAMES = tuple(UNITS)[:9]


def measure_disc(scene: Scene, k: int) -> dict[str, Outcome]:
    """Every name of UNITS for the motion segment below vertebra `k` (1..23)."""
    upper, lower = scene.inferior(k), scene.superior(k - 1)
    outcomes: dict[str, Outcome] = {**_size(scene, k)}
    if isinstance(upper, str) or isinstance(lower, str):
        reason = first_reason(upper, lower) or ""
        gone: dict[str, Outcome] = dict.fromkeys((*_PLATE_NAMES, "bulge_anterior_mm", "bulge_posterior_mm"), reason)
        return outcomes | gone
    heights = _heights(scene, upper, lower)
    return {
        **outcomes,
        **heights,
        "disc_height_index": _height_index(scene, k, heights),
        "wedge_deg": Reading(
            wrap_deg(upper.elevation_deg - lower.elevation_deg),
            scene.surface.lps(upper.back, upper.front, lower.back, lower.front),
            "between the two end plates, positive when it opens to the front",
        ),
        "segmental_angle_deg": _segmental_angle(scene, k, upper, lower),
        **_slip(scene, k, upper, lower),
        "bulge_anterior_mm": _bulge(scene, k, (upper.front, lower.front), behind=False),
        "bulge_posterior_mm": _bulge(scene, k, (upper.back, lower.back), behind=True),
    }


def disc_axis(upper: EndPlate, lower: EndPlate) -> Array:
    """Unit vector (2,) from back to front that halves the angle between two end plates."""
    return unit(upper.direction + lower.direction)


def _heights(scene: Scene, upper: EndPlate, lower: EndPlate) -> dict[str, Outcome]:
    """Distances at right angles to the bisector of the end plates (Frobin 1997, 10.1016/s0268-0033(96)00067-8)."""
    up = up_of(disc_axis(upper, lower))
    pairs = {
        "disc_height_anterior_mm": (upper.front, lower.front),
        "disc_height_middle_mm": (upper.middle, lower.middle),
        "disc_height_posterior_mm": (upper.back, lower.back),
    }
    outcomes: dict[str, Outcome] = {}
    for name, (a, b) in pairs.items():
        height_mm = float((a - b) @ up) * scene.surface.stretch(a, b)
        outcomes[name] = (
            Reading(height_mm, scene.surface.lps(a, b))
            if height_mm > 0
            else "the outlines of the two bodies overlap here"
        )
    return outcomes


def _height_index(scene: Scene, k: int, heights: Mapping[str, Outcome]) -> Outcome:
    """((A + M + P) / 3) / ((V1 + V2) / 2), V the middle heights of the bodies above and below (spinebase)."""
    known = [h.value for h in heights.values() if isinstance(h, Reading)]
    if len(known) < len(heights):
        return first_reason(*heights.values()) or ""
    bodies: list[float] = []
    for key in (k, k - 1):
        if key in (C2_LABEL, S1_KEY):
            continue  # no pair of end plates of their own
        body = scene.whole_body(key)
        if isinstance(body, str):
            return body
        bodies.append(scene.surface.length_mm(body[1].middle, body[2].middle))
    used = "both neighbours" if len(bodies) == 2 else "the one neighbour with two end plates"
    note = (
        f"DHI after spinebase, ((A+M+P)/3)/((V1+V2)/2), V = middle body height of {used}; "
        f"normal from {DHI_NORMAL:.2f}, collapse below {DHI_COLLAPSE:.2f} [V]"
    )
    return Reading(float(np.mean(known) / np.mean(bodies)), note=note)


def _segmental_angle(scene: Scene, k: int, upper: EndPlate, lower: EndPlate) -> Outcome:
    """Cobb angle of the segment; a body without a plate of its own on the far side lends the near one."""
    top = upper if k == C2_LABEL else scene.superior(k)
    bottom = lower if k - 1 == S1_KEY else scene.inferior(k - 1)
    if isinstance(top, str) or isinstance(bottom, str):
        return first_reason(top, bottom) or ""
    ends = (
        f"{'inferior' if k == C2_LABEL else 'superior'} end plate of {key_name(k)}, "
        f"{'superior' if k - 1 == S1_KEY else 'inferior'} end plate of {key_name(k - 1)}"
    )
    points = scene.surface.lps(top.back, top.front, bottom.back, bottom.front)
    return Reading(wrap_deg(top.elevation_deg - bottom.elevation_deg), points, f"Cobb: {ends}; lordosis is positive")


def _slip(scene: Scene, k: int, upper: EndPlate, lower: EndPlate) -> dict[str, Outcome]:
    """Offset of the posterior corners along the bisector of the end plates, after Frobin 1997 (sagittal displacement).

    Measured along the bisector, an unslipped segment gives zero whatever its wedge; along one of the end plates
    it would not.
    """
    depths_mm = sorted(float(np.linalg.norm(plate.chord)) for plate in (upper, lower))
    if depths_mm[0] < PLATES_MATCH * depths_mm[1]:
        reason = f"the two end plates were outlined {depths_mm[0]:.0f} and {depths_mm[1]:.0f} mm deep: one is not whole"
        return dict.fromkeys(("slip_mm", "slip_percent", "meyerding_grade"), reason)
    slip_mm = float((upper.back - lower.back) @ disc_axis(upper, lower))
    percent = 100 * slip_mm / float(np.linalg.norm(lower.chord))
    if percent < -RETROLISTHESIS_MAX_PERCENT:
        reason = f"a backward slip of {-percent:.0f} % is not believed: one of the two end plates is outlined wrongly"
        return dict.fromkeys(("slip_mm", "slip_percent", "meyerding_grade"), reason)
    points = scene.surface.lps(upper.back, lower.back)
    direction = "anterolisthesis" if slip_mm > 0 else "retrolisthesis"
    slipped = is_slip(k, slip_mm, float((upper.front - lower.front) @ disc_axis(upper, lower)))
    grade = min(5, 1 + int(abs(percent) // MEYERDING_STEP_PERCENT)) if slipped else 0
    how = (
        "posterior corners along the bisector of the end plates; positive = anterolisthesis, negative = retrolisthesis"
    )
    return {
        "slip_mm": Reading(slip_mm, points, how, SLIP_ERROR_MM["cervical"] if region_of(k) == "cervical" else None),
        "slip_percent": Reading(percent, points, "of the depth of the lower vertebra's superior end plate; " + how),
        "meyerding_grade": Reading(
            grade, points, direction if slipped else f"no slip of {SLIP_MIN_MM:.0f} mm beyond error"
        ),
    }


def is_slip(k: int, rear_mm: float, front_mm: float) -> bool:
    """Whether the offsets of the rear and of the front corners below vertebra `k` show a slip beyond error.

    The rear corners lie SLIP_MIN_MM apart, and so much and the error of measuring further than they usually do, and the
    front corners moved the same way.
    """
    region = region_of(k)
    usual_rear_mm, usual_mean_mm = USUAL_SLIP_MM[region]
    moved_mm = rear_mm - usual_rear_mm
    both_mm = np.sign(moved_mm) * ((rear_mm + front_mm) / 2 - usual_mean_mm)
    far = abs(rear_mm) >= SLIP_MIN_MM and abs(moved_mm) >= SLIP_MIN_MM + SLIP_ERROR_MM[region]
    return bool(far and both_mm >= BOTH_CORNERS_MM)


def _size(scene: Scene, k: int) -> dict[str, Outcome]:
    disc, section = scene.discs.get(k), scene.disc_sections.get(k)
    names = ("disc_midsagittal_area_mm2", "disc_volume_mm3")
    missing = _disc_reason(scene, k)
    if missing is not None or disc is None:
        return dict.fromkeys(names, missing or "")
    area: Outcome = (
        f"the disc {disc.level} does not reach the midline" if section is None else Reading(section.area_mm2)
    )
    box = scene.disc_boxes[k]
    voxels = int(np.count_nonzero(scene.spine.mask[box] == DISC_OFFSET + k))
    if scene.volume.content[0] == 1:
        volume: Outcome = "one slice shows no volume"
    elif box[0].start == 0 or box[0].stop >= scene.volume.content[0]:
        volume = f"the disc {disc.level} is cut by the outermost slice"
    elif _touches_edge(scene, k):
        volume = area = f"the disc {disc.level} is cut by the edge of the image"
    else:
        volume = Reading(voxels * float(np.prod(scene.volume.spacing_mm)))
    return dict(zip(names, (area, volume), strict=True))


def _touches_edge(scene: Scene, k: int) -> bool:
    limits = zip(scene.disc_boxes[k][1:], scene.volume.content[1:], strict=True)
    return any(span.start == 0 or span.stop >= size for span, size in limits)


def _disc_reason(scene: Scene, k: int) -> str | None:
    disc = scene.discs.get(k)
    if disc is None or k not in scene.disc_boxes:
        return f"no disc is seen at {disc_level(DISC_OFFSET + k)}"
    if disc.confidence < MIN_CONFIDENCE:
        return f"the disc {disc.level} is unsure: confidence {disc.confidence:.2f} is below {MIN_CONFIDENCE:.2f}"
    return None


def _bulge(scene: Scene, k: int, corners: tuple[Array, Array], behind: bool) -> Outcome:
    """How far the disc reaches beyond the line through the corners of the end plates; negative where it falls short.

    The furthest point, as a mean over three neighbouring rays 0.5 mm apart; rays start inside the disc.
    """
    missing = _disc_reason(scene, k)
    if missing is not None or k not in scene.disc_sections:
        return missing or f"the disc {scene.discs[k].level} does not reach the midline"
    top, bottom = corners
    length = float(np.linalg.norm(top - bottom))
    up = unit(top - bottom)
    out = np.array([up[1], -up[0]]) if behind else np.array([-up[1], up[0]])
    along = np.arange(-BULGE_BEYOND * length, (1 + BULGE_BEYOND) * length, BULGE_SAMPLE_MM)
    starts = bottom + along[:, None] * up
    ray = np.arange(-BULGE_REACH_MM, BULGE_REACH_MM + 1e-6, BULGE_SAMPLE_MM)
    reach_mm = leaving(ray, scene.disc_sections[k].at(starts[:, None] + ray[:, None] * out))
    known = np.flatnonzero(np.isfinite(reach_mm))
    if len(known) < 3:
        return f"the disc {scene.discs[k].level} has no border near the corners of the end plates"
    smooth = moving_mean(reach_mm[known], 1)[1:-1]
    n = int(smooth.argmax())
    foot = starts[known[n + 1]]
    return Reading(
        float(smooth[n]),
        scene.surface.lps(foot, foot + smooth[n] * out),
        "beyond the line that joins the corners of the two end plates",
    )
