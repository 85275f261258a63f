"""The spinal canal along the spine: where the sac, the cord and the bony tube lie in every row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from lab.synth.norms import CORD_AP, CORD_WIDTH
from lab.synth.plan import SpinePlan
from lab.synth.shapes import Field

_COLUMNS = (
    "left",
    "back",
    "sac_ap",
    "sac_width",
    "front_gap",
    "osseous_ap",
    "osseous_width",
    "cord_ap",
    "cord_width",
    "tight",
)


@dataclass(frozen=True)
class CanalCourse:
    """One value per image row, mm; all float32 of shape (rows,)."""

    left: Field  # middle of the sac
    back: Field
    sac_ap: Field  # measured along the rows, so already divided by the cosine of the tilt
    sac_width: Field
    front_gap: Field  # from the sac's front to the posterior wall of the spine
    osseous_ap: Field
    osseous_width: Field
    cord_ap: Field
    cord_width: Field
    tight: Field  # fraction of the sac's diameter lost, 0..1
    slope: Field  # d back / d down
    sac_end_mm: float  # row position (mm) below which there is no sac
    conus_mm: float  # row position of the tip of the cord
    foramen_mm: float  # row position above which lies the skull


def _knots(plan: SpinePlan) -> list[tuple[float, ...]]:
    """Rows of (down, left, back) of the sac's middle and then `_COLUMNS` from the sac's AP on, lowest first."""
    rows: list[tuple[float, ...]] = []
    for index, (segment, frame) in enumerate(zip(plan.sacrum, plan.sacral_frames, strict=True)):
        if index > 2:
            continue
        gap = (4.0, 3.0, 2.0)[index]
        p = segment.depth_upper_mm / 2 + gap + segment.sac_ap_mm / 2
        point = frame.world(0, 0, p)
        shape = (
            segment.sac_ap_mm,
            15.0 - 3 * index,
            gap,
            segment.sac_ap_mm + gap + 2.5,
            24.0 - 4 * index,
            6.5,
            7.5,
            0.0,
        )
        rows.append((point[1], point[0], point[2], *shape))
    rows.reverse()
    for index, vertebra in enumerate(plan.vertebrae[:-1]):
        cord = (CORD_AP[index] * plan.cord_scale, CORD_WIDTH[index] * plan.cord_scale)
        disc = plan.discs[index]
        gap = 0.6 + (1.6 if index == 0 else 0.0) + disc.bulge_mm
        p = vertebra.depth_mm / 2 + gap + disc.sac_ap_mm / 2
        low = -0.5 * vertebra.height_posterior_mm - 0.5 * max(disc.height_mm - 3, 1)
        point = plan.frames[index].world(0, low, p)
        slip = 0.5 * disc.slip_mm * plan.frames[index].axes[2]
        # between the laminae the fat reaches further back
        bone = (vertebra.osseous_ap_mm + (3.5 if index < 8 else 1.2), vertebra.osseous_width_mm)
        width = vertebra.sac_width_mm * (1 - 0.35 * disc.stenosis)
        rows.append(
            (point[1] + slip[1], point[0], point[2] + slip[2], disc.sac_ap_mm, width, gap, *bone, *cord, disc.stenosis)
        )
        wall = 0.5 * vertebra.depth_mm * (1 - vertebra.waist)
        gap = 0.9 + 0.7 * (0.5 * vertebra.depth_mm - wall) + (1.0 if index == 0 else 0.0)
        point = plan.frames[index].world(0, 0, wall + gap + vertebra.sac_ap_mm / 2)
        bone = (vertebra.osseous_ap_mm, vertebra.osseous_width_mm)
        rows.append((point[1], point[0], point[2], vertebra.sac_ap_mm, vertebra.sac_width_mm, gap, *bone, *cord, 0.0))
    return rows + _upper_knots(plan)


def _upper_knots(plan: SpinePlan) -> list[tuple[float, ...]]:
    atlas, frame = plan.vertebrae[-1], plan.frames[-1]
    scale = plan.vertebrae[-2].depth_mm / 15.8
    front = 5.2 * scale + 3.0
    cord = (CORD_AP[-1] * plan.cord_scale, CORD_WIDTH[-1] * plan.cord_scale)
    out = []
    for height, sac, growth in ((0.0, atlas.sac_ap_mm, 1.0), (20.0, 24.0, 1.25), (45.0, 30.0, 1.9)):
        point = frame.world(0, height, front + sac / 2 - 0.1 * height)
        shape = (sac, sac * 1.3, 2.0, sac + 5, sac * 1.3 + 4, cord[0] * growth, cord[1] * growth, 0.0)
        out.append((point[1], point[0], point[2], *shape))
    return out


def canal_course(plan: SpinePlan, down_mm: Field) -> CanalCourse:
    """Interpolate the canal at the row positions `down_mm` (world millimetres)."""
    table = np.array(_knots(plan))
    table = table[np.argsort(table[:, 0])]
    keep = np.concatenate([[True], np.diff(table[:, 0]) > 0.5])
    table = table[keep]
    clipped = np.clip(down_mm, table[0, 0], table[-1, 0])
    curve = PchipInterpolator(table[:, 0], table[:, 1:], axis=0)
    values = dict(zip(_COLUMNS, curve(clipped).T, strict=True))
    smooth = PchipInterpolator(table[:, 0], table[:, 2])
    slope = (smooth(clipped + 4) - smooth(clipped - 4)) / 8
    values["back"] = values["back"] + slope * (down_mm - clipped)
    stretch = np.sqrt(1 + slope * slope)
    for name in ("sac_ap", "front_gap", "osseous_ap", "cord_ap"):
        values[name] = values[name] * stretch
    fields = {name: np.asarray(value, np.float32) for name, value in values.items()}
    conus = _conus_mm(plan)
    return CanalCourse(
        **fields,
        slope=np.asarray(slope, np.float32),
        sac_end_mm=_sac_end_mm(plan),
        conus_mm=conus,
        foramen_mm=float(plan.frames[-1].world(0, 16, 0)[1]),
    )


def _conus_mm(plan: SpinePlan) -> float:
    index = int(np.clip(plan.conus_level, 0, len(plan.frames) - 2))
    part = plan.conus_level - index
    return float((1 - part) * plan.frames[index].origin_mm[1] + part * plan.frames[index + 1].origin_mm[1])


def _sac_end_mm(plan: SpinePlan) -> float:
    index = int(plan.sac_end)
    part = plan.sac_end - index
    back = [f.world(0, 0, s.depth_upper_mm / 2 + 4)[1] for f, s in zip(plan.sacral_frames, plan.sacrum, strict=True)]
    return float((1 - part) * back[index] + part * back[min(index + 1, 4)])
