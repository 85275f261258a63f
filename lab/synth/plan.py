"""The parameters of one synthetic spine, and where each vertebra lies. World axes: (left, down, back), mm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VIEWS = ("lumbar", "thoracolumbar", "cervical", "whole")


@dataclass(frozen=True)
class Frame:
    """Position and axes of a vertebra: world = origin + left * u + up * h + back * p."""

    origin_mm: NDArray[np.float64]  # (3,) centre of the body
    axes: NDArray[np.float64]  # (3, 3): rows are the unit vectors left, up, back of the vertebra

    def world(self, u: float, h: float, p: float) -> NDArray[np.float64]:
        """(3,) world position of the local point (left, up, back)."""
        return self.origin_mm + np.array([u, h, p]) @ self.axes


@dataclass(frozen=True)
class VertebraPlan:
    """One presacral vertebra. Heights are between the bony rims, at the front and the back edge."""

    label: int
    name: str
    depth_mm: float  # AP, at the end plates
    width_mm: float
    height_anterior_mm: float
    height_posterior_mm: float
    concavity_upper_mm: float  # depth of the end plate's hollow below its rim
    concavity_lower_mm: float
    waist: float  # relative narrowing at mid-height
    sac_ap_mm: float  # dural sac at mid-body
    sac_width_mm: float
    osseous_ap_mm: float
    osseous_width_mm: float
    marrow: int  # 0..3, fat fraction rising
    arch_scale: float  # size of the posterior elements
    spinous_drop_deg: float  # added to the region's slant
    osteophyte_anterior_mm: float = 0.0  # reach of the larger of the two rims
    osteophyte_posterior_mm: float = 0.0
    fracture: str = "none"  # none, wedge, biconcave, crush
    fracture_loss: float = 0.0  # fraction of height lost at the worst place
    fracture_fresh: bool = False
    haemangioma_mm: float = 0.0  # radius, 0 for none
    facet_scale: float = 1.0  # hypertrophy of the facets
    lumbar_type: bool = False  # without ribs
    shape_noise: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class DiscPlan:
    """The disc below vertebra `label - 200`, and what the disease did to the segment."""

    label: int
    level: str
    height_mm: float  # between the rims, at mid-depth, after loss
    wedge_deg: float  # positive opens to the front
    pfirrmann: int  # 1..5
    height_loss: float  # fraction
    bulge_mm: float = 0.0
    herniation: str = "none"  # none, protrusion, extrusion
    herniation_mm: float = 0.0  # depth beyond the disc's own margin
    herniation_left_mm: float = 0.0
    herniation_down_mm: float = 0.0  # migration
    modic: int = 0
    modic_mm: float = 0.0  # reach from the end plate
    schmorl_upper_mm: float = 0.0  # depth of the node in the vertebra above the disc
    schmorl_lower_mm: float = 0.0
    schmorl_back_mm: float = 0.0
    endplate_upper_rough_mm: float = 0.0  # end-plate defects: irregularity
    endplate_lower_rough_mm: float = 0.0
    slip_mm: float = 0.0  # of the vertebra above, positive forward
    stenosis: float = 0.0  # fraction of the sac's AP diameter lost at the disc
    sac_ap_mm: float = 12.0  # at the disc, after the loss
    vacuum: bool = False
    fissure: bool = False
    cleft: bool = False


@dataclass(frozen=True)
class SacralPlan:
    """One sacral segment, S1 first."""

    depth_upper_mm: float
    depth_lower_mm: float
    width_mm: float
    height_mm: float
    disc_mm: float  # rudimentary disc below
    sac_ap_mm: float


@dataclass(frozen=True)
class BodyPlan:
    """The patient around the spine."""

    fat_mm: float  # subcutaneous fat behind L3
    muscle_scale: float
    muscle_fat: float  # 0..1 infiltration
    belly_mm: float  # skin of the belly in front of L3's body
    scale: float  # of the patient against the norm
    age_years: float
    male: bool


@dataclass(frozen=True)
class Window:
    """What the image shows: centre in world mm and field of view (down, back) mm."""

    centre_mm: tuple[float, float, float]
    size_mm: tuple[float, float]


@dataclass(frozen=True)
class SpinePlan:
    """Everything that determines the phantom; `rasterise(plan, ...)` is a pure function of it."""

    view: str
    seed: int
    vertebrae: tuple[VertebraPlan, ...]  # lowest first
    discs: tuple[DiscPlan, ...]  # lowest first
    sacrum: tuple[SacralPlan, ...]
    frames: tuple[Frame, ...]  # of the vertebrae
    sacral_frames: tuple[Frame, ...]
    body: BodyPlan
    window: Window
    conus_level: float  # vertebra index (0 = L5, 4 = L1) of the tip, fractions allowed
    sac_end: float  # sacral index of the tip of the sac: 1.0 = middle of S2
    cord_scale: float
    scoliosis_deg: float
    lordosis_deg: float  # between the end plates of L1 (upper) and S1
    transitional: str = "none"  # none, six_lumbar, four_lumbar, lumbarised_s1, sacralised_l5
    metal_label: int = 0  # vertebra around which a metal void lies, 0 for none
    metal_mm: float = 0.0
    irregularity_mm: float = 0.5  # of all contours

    @property
    def numbering_doubtful(self) -> bool:
        """Whether the transitional anatomy makes the numbers a matter of convention."""
        return self.transitional != "none"


def rotation(tilt_deg: float, lean_deg: float, turn_deg: float) -> NDArray[np.float64]:
    """(3, 3) axes (rows: left, up, back) of a vertebra.

    `tilt_deg` > 0 leans the upper end backwards, `lean_deg` > 0 to the left, `turn_deg` turns about the long axis.
    """
    tilt, lean, turn = np.radians([tilt_deg, lean_deg, turn_deg])
    up = np.array([np.sin(lean), -np.cos(lean) * np.cos(tilt), np.cos(lean) * np.sin(tilt)])
    back = np.array([0.0, np.sin(tilt), np.cos(tilt)])
    left = np.array([np.cos(lean), np.sin(lean) * np.cos(tilt), -np.sin(lean) * np.sin(tilt)])
    return np.stack(
        [left * np.cos(turn) + back * np.sin(turn), up, back * np.cos(turn) - left * np.sin(turn)],
    )
