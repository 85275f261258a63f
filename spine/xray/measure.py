"""Landmarks -> sizes and angles. Every function computes all draws at once; a str is the reason for no value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from spine.geometry import Array, unit
from spine.records import Measurement
from spine.xray.expected import CERVICAL_REGION, levels_of, read_limits, read_sizes, vertebrae_of
from spine.xray.landmarks import CENTRE, SPINOLAMINAR
from spine.xray.scene import Plates, Scene, Values, along, angle_deg, bisector, measured, wrapped_deg

ALIGNMENT = "xray alignment"
VERTICAL = "the film's edge is taken for the vertical; whether the patient stood is not known"
HEIGHT_NOTE = "at right angles to the bisector of the end plates (Frobin 1997, doi 10.1016/s0268-0033(96)00067-8)"
INDEX_NOTE = (
    "Frobin-type index: mean of anterior and posterior disc height over the depth of the upper body; "
    "free of magnification"
)
SLIP_NOTE = "posterior corners along the bisector of the end plates; + forward, - backward; % of the lower end plate"
MEYERDING_STEP_PERCENT = 25.0  # I < 25, II 25-50, III 50-75, IV 75-100, V > 100 % [M-hi]
TIP_NOTE = "how far the tip reaches before the corner, along the end plate"
REFERENCE_QUANTILE = 2 / 3  # of the other levels: worn ones among them pull it little, lucky errors push it little
FEWEST_OTHERS = 2  # levels that the height of one is compared with


@dataclass(frozen=True)
class LevelSizes:
    """What grading needs of one level, in every draw."""

    level: str
    index: Values  # Frobin-type disc height index
    loss: Values  # share of the height expected from the other levels that is missing; negative: higher
    loss_against: str  # which levels
    osteophyte: Values  # larger of the two anterior osteophytes, share of the depth of its end plate
    osteophyte_at: str


def level_sizes(scene: Scene) -> tuple[LevelSizes, ...]:
    """LevelSizes of every level of the region, the uppermost first."""
    levels = levels_of(scene.region)
    indices = {level: _height_index(scene, level) for level in levels}
    found = []
    for level in levels:
        loss, against = _height_loss(scene, level, indices)
        share, where = _level_osteophyte(scene, level)
        found.append(LevelSizes(level, indices[level], loss, against, share, where))
    return tuple(found)


def measure_film(scene: Scene, sizes: tuple[LevelSizes, ...]) -> tuple[Measurement, ...]:
    """Every measurement of the film: levels and vertebrae from the uppermost down, then the alignment."""
    found: list[Measurement] = []
    for size in sizes:
        found += _level(scene, size)
    for vertebra in vertebrae_of(scene.region):
        found += _vertebra(scene, vertebra)
    return (*found, *_alignment(scene))


def facing_plates(scene: Scene, level: str) -> tuple[Plates, Plates] | str:
    """Lower end plate of the upper body and upper end plate of the lower one."""
    upper, lower = level.split("/")
    return _both(scene, (upper, "inferior"), (lower, "superior"))


def _both(scene: Scene, one: tuple[str, str], other: tuple[str, str]) -> tuple[Plates, Plates] | str:
    """Two end plates, each named by (vertebra, side), or why one of them is missing."""
    first, second = scene.plate(*one), scene.plate(*other)
    if isinstance(first, str):
        return first
    return second if isinstance(second, str) else (first, second)


def _heights(above: Plates, below: Plates) -> tuple[Array, Array]:
    """Anterior and posterior disc height (n,), not below zero."""
    _, up = bisector(above, below)
    heights = [along(a - b, up) for a, b in ((above.front, below.front), (above.back, below.back))]
    return np.maximum(heights[0], 0.0), np.maximum(heights[1], 0.0)


def _height_index(scene: Scene, level: str) -> Values:
    plates = facing_plates(scene, level)
    if isinstance(plates, str):
        return plates
    above, _ = plates
    upper_end = scene.plate(level.split("/", maxsplit=1)[0], "superior")
    depth = above.depth if isinstance(upper_end, str) else (above.depth + upper_end.depth) / 2
    return np.asarray(sum(_heights(*plates)) / 2 / depth)


def _height_loss(scene: Scene, level: str, indices: Mapping[str, Values]) -> tuple[Values, str]:
    """1 - height over the height expected from the other levels of this film, and which they were.

    The expected height of a level is its usual one (resources/xray.json) times how the other levels of this film
    compare with theirs; of those the value two thirds up counts.
    """
    own = _absolute(scene, level)
    if isinstance(own, str):
        return own, ""
    usual = read_sizes()["expected"][scene.region]["disc_mm"]
    others = {name: _absolute(scene, name) for name in indices if name != level}
    ratios = {name: value / usual[name] for name, value in others.items() if not isinstance(value, str)}
    if len(ratios) < FEWEST_OTHERS:
        return f"fewer than {FEWEST_OTHERS} other discs are seen to compare its height with", ""
    factor = np.quantile(np.stack(list(ratios.values())), REFERENCE_QUANTILE, axis=0)
    return np.asarray(1.0 - own / np.maximum(factor * usual[level], 1e-6)), ", ".join(ratios)


def _absolute(scene: Scene, level: str) -> Values:
    """Mean of anterior and posterior height (n,) in the film's own millimetres, which cancel in ratios."""
    plates = facing_plates(scene, level)
    return plates if isinstance(plates, str) else np.asarray(sum(_heights(*plates)) / 2)


def _level_osteophyte(scene: Scene, level: str) -> tuple[Values, str]:
    upper, lower = level.split("/")
    found = {
        f"{name} {side}": _osteophyte(scene, name, side) for name, side in ((upper, "inferior"), (lower, "superior"))
    }
    known = {where: share for where, (_, share) in found.items() if not isinstance(share, str)}
    if not known:
        return str(next(iter(found.values()))[1]), ""
    largest = max(known, key=lambda where: float(known[where][0]))
    return np.max(np.stack(list(known.values())), axis=0), largest if len(
        known
    ) == 2 else f"{largest}, the other rim unseen"


def _osteophyte(scene: Scene, vertebra: str, side: str) -> tuple[Values, Values]:
    """Reach of the anterior osteophyte (n,) in mm and as a share of the depth of its end plate."""
    plate, tip = scene.plate(vertebra, side), scene.point(vertebra, f"{side}_tip")
    if isinstance(plate, str) or isinstance(tip, str):
        reason = plate if isinstance(plate, str) else str(tip)
        return reason, reason
    reach = np.maximum(along(tip - plate.front, unit(plate.chord)), 0.0)
    return reach, reach / plate.depth


def _level(scene: Scene, size: LevelSizes) -> Iterator[Measurement]:
    level = size.level
    plates = facing_plates(scene, level)
    names = ("disc_height_anterior_mm", "disc_height_middle_mm", "disc_height_posterior_mm")
    heights: tuple[Values, ...] = (plates, plates, plates) if isinstance(plates, str) else ()
    if not isinstance(plates, str):
        front, back = _heights(*plates)
        heights = (front, (front + back) / 2, back)
    notes = (
        HEIGHT_NOTE,
        f"{HEIGHT_NOTE}; between the middles of the chords: concave end plates are not seen",
        HEIGHT_NOTE,
    )
    for name, values, note in zip(names, heights, notes, strict=True):
        yield measured(scene, level, name, "mm", values, note)
    yield measured(scene, level, "disc_height_index", "1", size.index, INDEX_NOTE)
    loss: Values = size.loss if isinstance(size.loss, str) else 100 * size.loss
    source = read_sizes()["sources"][read_sizes()["expected"][scene.region]["disc_source"]]
    against = f"against {size.loss_against} (value two thirds up), each over its usual height: {source}"
    yield measured(scene, level, "disc_height_loss_percent", "%", loss, against)
    wedge: Values = plates if isinstance(plates, str) else _between(*plates)
    yield measured(scene, level, "wedge_deg", "deg", wedge, "between the end plates; positive when open to the front")
    yield measured(scene, level, "segmental_angle_deg", "deg", *_segmental(scene, level))
    yield from _slip(scene, level, plates)
    share: Values = size.osteophyte if isinstance(size.osteophyte, str) else 100 * size.osteophyte
    where = f"larger of the two rims at this disc ({size.osteophyte_at}); % of the depth of its end plate; {TIP_NOTE}"
    yield measured(scene, level, "osteophyte_anterior_percent", "%", share, where)


def _between(upper: Plates, lower: Plates) -> Array:
    """Cobb angle (n,), lordosis positive."""
    return wrapped_deg(angle_deg(upper.chord) - angle_deg(lower.chord))


def _segmental(scene: Scene, level: str) -> tuple[Values, str]:
    """From the far end plate of the upper body to that of the lower one; the ends of the spine lend the near ones."""
    upper, lower = level.split("/")
    names = vertebrae_of(scene.region)
    sides = ("inferior" if upper == names[0] else "superior", "superior" if lower == names[-1] else "inferior")
    return _cobb(scene, (upper, sides[0]), (lower, sides[1]))


def _cobb(scene: Scene, top: tuple[str, str], bottom: tuple[str, str]) -> tuple[Values, str]:
    plates = _both(scene, top, bottom)
    note = f"Cobb: {top[1]} end plate of {top[0]}, {bottom[1]} of {bottom[0]}; lordosis is positive"
    return plates if isinstance(plates, str) else _between(*plates), note


def _slip(scene: Scene, level: str, plates: tuple[Plates, Plates] | str) -> Iterator[Measurement]:
    slip: Values = plates if isinstance(plates, str) else np.zeros(0)
    percent, grade = slip, slip
    limit_mm = read_limits()["slip_min_mm"]
    depth_mm = read_sizes()["expected"][scene.region]["superior_depth_mm"][level.split("/")[1]]
    limit = 100 * limit_mm / depth_mm  # as a share of the depth it holds without a pixel size too
    if not isinstance(plates, str):
        above, below = plates
        front, _ = bisector(above, below)
        slip = along(above.back - below.back, front)
        percent = 100 * slip / below.depth
        grade = np.minimum(1 + np.abs(percent) // MEYERDING_STEP_PERCENT, 5.0)
        grade = np.where(np.abs(percent) < limit, 0.0, grade)
    yield measured(scene, level, "slip_mm", "mm", slip, SLIP_NOTE)
    yield measured(scene, level, "slip_percent", "%", percent, SLIP_NOTE)
    note = f"0 below {limit:.0f} %, which is {limit_mm:g} mm of a usual end plate; {SLIP_NOTE}"
    yield measured(scene, level, "meyerding_grade", "1", grade, note)


def _vertebra(scene: Scene, vertebra: str) -> Iterator[Measurement]:
    names = vertebrae_of(scene.region)
    if vertebra not in (names[0], names[-1]):
        yield from _body(scene, vertebra)
        if scene.region == CERVICAL_REGION:
            yield from _canal(scene, vertebra)
    for side in ("superior", "inferior"):
        if (vertebra, side) in ((names[0], "superior"), (names[-1], "inferior")):
            continue  # no landmarks there
        reach, share = _osteophyte(scene, vertebra, side)
        yield measured(scene, vertebra, f"osteophyte_{side}_mm", "mm", reach, TIP_NOTE)
        percent: Values = share if isinstance(share, str) else 100 * share
        yield measured(
            scene, vertebra, f"osteophyte_{side}_percent", "%", percent, f"of the end plate's depth; {TIP_NOTE}"
        )


def _body(scene: Scene, vertebra: str) -> Iterator[Measurement]:
    plates = _both(scene, (vertebra, "superior"), (vertebra, "inferior"))
    names = ("body_height_anterior_mm", "body_height_posterior_mm", "body_ap_depth_mm")
    front = back = depth = wedge = deficit = genant = plates if isinstance(plates, str) else np.zeros(0)
    if not isinstance(plates, str):
        top, bottom = plates
        front, back = (np.linalg.norm(a - b, axis=-1) for a, b in ((top.front, bottom.front), (top.back, bottom.back)))
        depth, wedge = _mid_depth(top, bottom), -_between(top, bottom)
        deficit = 100 * (1 - np.minimum(front, back) / np.maximum(front, back))
        cuts = [read_limits()[f"genant_{name}_percent"] for name in ("mild", "moderate", "severe")]
        genant = np.searchsorted(cuts, deficit, side="right").astype(float)
    for name, value in zip(names, (front, back, depth), strict=True):
        yield measured(scene, vertebra, name, "mm", value, "corner to corner, osteophytes left out")
    yield measured(scene, vertebra, "body_wedge_deg", "deg", wedge, "positive when the front is lower")
    yield measured(
        scene, vertebra, "wedge_percent", "%", deficit, "lower of anterior and posterior height against the higher"
    )
    hint = "a hint after Genant 1993 (doi 10.1002/jbmr.5650080915) from two heights: crush and biconcavity are not seen"
    yield measured(scene, vertebra, "genant_grade", "1", genant, hint)


def _mid_depth(top: Plates, bottom: Plates) -> Array:
    """Depth (n,) at mid-height."""
    return np.asarray(np.linalg.norm((top.front + bottom.front) / 2 - (top.back + bottom.back) / 2, axis=-1))


def _canal(scene: Scene, vertebra: str) -> Iterator[Measurement]:
    """Bony canal at mid-height: middle of the posterior wall to the spinolaminar line (Torg-Pavlov)."""
    plates, line = _both(scene, (vertebra, "superior"), (vertebra, "inferior")), scene.point(vertebra, SPINOLAMINAR)
    canal: Values
    ratio: Values
    if isinstance(plates, str) or isinstance(line, str):
        canal = ratio = plates if isinstance(plates, str) else str(line)
    else:
        canal = np.asarray(np.linalg.norm((plates[0].back + plates[1].back) / 2 - line, axis=-1))
        ratio = canal / _mid_depth(*plates)
    note = "bony canal: middle of the posterior wall to the spinolaminar line"
    yield measured(scene, vertebra, "canal_ap_diameter_mm", "mm", canal, note)
    yield measured(
        scene, vertebra, "torg_pavlov_ratio", "1", ratio, f"{note}, over the body's depth; free of magnification"
    )


COBB = {
    "cervical": {
        "c2_c7_angle_deg": (("C2", "inferior"), ("C7", "inferior")),
        "c2_c6_angle_deg": (("C2", "inferior"), ("C6", "inferior")),
    },
    "lumbar": {
        "lumbar_lordosis_l1_s1_deg": (("L1", "superior"), ("S1", "superior")),
        "lordosis_l4_s1_deg": (("L4", "superior"), ("S1", "superior")),
    },
}
SLOPES = {"cervical": {"c7_slope_deg": "C7", "t1_slope_deg": "T1"}, "lumbar": {"sacral_slope_deg": "S1"}}


def _alignment(scene: Scene) -> Iterator[Measurement]:
    for name, ends in COBB[scene.region].items():
        yield measured(scene, ALIGNMENT, name, "deg", *_cobb(scene, *ends))
    for name, vertebra in SLOPES[scene.region].items():
        plate = scene.plate(vertebra, "superior")
        slope: Values = plate if isinstance(plate, str) else -angle_deg(plate.chord)
        note = f"superior end plate of {vertebra}, positive when its front is lower; {VERTICAL}"
        yield measured(scene, ALIGNMENT, name, "deg", slope, note)
    if scene.region == CERVICAL_REGION:
        note = f"centre of C2 before the upper back corner of C7; {VERTICAL}"
        yield measured(scene, ALIGNMENT, "c2_c7_sva_mm", "mm", _cervical_offset(scene), note)


def _cervical_offset(scene: Scene) -> Values:
    c2, c7 = scene.point("C2", CENTRE), scene.point("C7", "superior_posterior")
    if isinstance(c2, str) or isinstance(c7, str):
        return c7 if isinstance(c7, str) else str(c2)
    return np.asarray(c7[:, 1] - c2[:, 1])
