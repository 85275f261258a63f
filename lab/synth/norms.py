"""Facts: mean dimensions per vertebra and per disc, lowest first (index 0 = L5 or the disc L5/S1).

Sources, with how far they were checked ([V] against the source, [M-hi/med/lo] general knowledge): lumbar and cervical
bodies Panjabi 1991/1992 (10.1097/00007632-199208000-00007, 10.1097/00007632-199108000-00001) [M-hi], lumbar heights
scaled by 1.15 to living CT [M-med]; lumbar wedge PMC2899959 [V]; cervical dural canal and cord, spine-generic, n = 203
[V]; thoracic bodies Panjabi 1991 (10.1097/00007632-199108000-00002), rounded [M-med]; lumbar disc heights a synthesis
of Shao 1997 and a morphable lumbar model [M-med]; thoracic discs, dural widths and the sacrum [M-lo].
"""

from __future__ import annotations

from typing import NamedTuple

L1, T12, T1, C7, C2, C1 = 4, 5, 16, 17, 22, 23  # indices into the plan's vertebrae


class VertebraNorm(NamedTuple):
    """Means of one vertebra, mm and degrees; `wedge_deg` is positive when the front is shorter."""

    name: str
    depth: float
    width: float
    height_posterior: float
    wedge_deg: float
    sac_ap: float
    sac_width: float
    osseous_ap: float
    osseous_width: float


class DiscNorm(NamedTuple):
    """Means of the disc below the vertebra: mid-height mm, wedge degrees (positive opens to the front)."""

    height: float
    wedge_deg: float


VERTEBRAE: tuple[VertebraNorm, ...] = tuple(
    VertebraNorm(*row)
    for row in (
        ("L5", 34.0, 48.4, 26.3, -6.2, 13.0, 17.5, 18.0, 27.1),
        ("L4", 34.7, 48.0, 27.7, -1.9, 13.2, 17.5, 17.6, 25.4),
        ("L3", 35.0, 46.0, 27.4, 0.0, 13.8, 17.5, 17.5, 24.3),
        ("L2", 34.7, 44.0, 27.9, 1.6, 14.5, 17.5, 18.0, 23.8),
        ("L1", 34.7, 42.2, 27.4, 3.3, 15.0, 17.5, 18.5, 23.7),
        ("T12", 32.8, 40.0, 25.5, 3.5, 14.5, 17.0, 18.0, 22.2),
        ("T11", 31.8, 36.0, 23.5, 3.2, 13.8, 16.0, 17.0, 19.5),
        ("T10", 30.5, 33.5, 22.5, 3.0, 13.2, 15.5, 16.2, 18.2),
        ("T9", 29.2, 31.5, 21.5, 3.0, 13.0, 15.0, 16.0, 17.9),
        ("T8", 28.0, 30.0, 20.8, 3.5, 12.8, 15.0, 16.0, 17.7),
        ("T7", 26.6, 28.5, 20.2, 3.8, 12.8, 15.0, 15.9, 17.3),
        ("T6", 25.0, 27.0, 19.5, 3.6, 12.8, 15.0, 16.0, 17.3),
        ("T5", 23.5, 26.0, 18.8, 3.2, 12.8, 15.0, 16.0, 17.0),
        ("T4", 22.0, 25.5, 18.2, 2.8, 12.8, 15.2, 16.0, 17.0),
        ("T3", 20.5, 25.8, 17.6, 2.2, 12.8, 15.6, 16.0, 17.6),
        ("T2", 19.0, 26.5, 17.0, 1.8, 12.8, 16.6, 15.8, 19.2),
        ("T1", 17.5, 27.0, 15.6, 1.2, 12.9, 18.0, 15.8, 21.8),
        ("C7", 17.4, 24.0, 13.8, 1.0, 12.8, 19.7, 15.4, 24.5),
        ("C6", 17.2, 21.0, 12.4, 0.5, 12.6, 20.7, 15.2, 25.8),
        ("C5", 16.6, 19.2, 12.3, 0.5, 12.8, 21.2, 15.3, 26.6),
        ("C4", 16.0, 18.0, 12.5, 0.0, 12.8, 21.0, 15.4, 26.0),
        ("C3", 15.6, 17.5, 12.8, -0.5, 13.1, 20.8, 15.8, 24.8),
        ("C2", 15.8, 17.5, 19.0, 0.0, 14.5, 22.2, 18.0, 25.0),
        ("C1", 10.0, 20.0, 12.0, 0.0, 16.1, 23.2, 21.0, 28.0),
    )
)

DISCS: tuple[DiscNorm, ...] = tuple(
    DiscNorm(*row)
    for row in (
        (10.0, 13.5),
        (10.8, 9.0),
        (10.0, 5.5),
        (9.2, 3.5),
        (8.0, 2.5),
        (7.0, 1.5),
        (6.2, 0.8),
        (5.5, 0.2),
        (5.0, 0.0),
        (4.8, -0.3),
        (4.5, -0.3),
        (4.3, -0.3),
        (4.2, -0.3),
        (4.2, 0.0),
        (4.2, 0.3),
        (4.4, 0.8),
        (4.8, 1.2),
        (5.4, 1.6),
        (5.9, 2.4),
        (5.7, 2.2),
        (5.6, 2.0),
        (5.3, 1.8),
        (5.0, 1.6),
    )
)

# Cord (AP, width) by label index; the conus ends the table, thoracic values rounded from PAM50 means.
CORD_AP: tuple[float, ...] = (
    *(6.5,) * 5,
    *(7.2, 6.9, 6.5, 6.3, 6.2, 6.2, 6.2, 6.2, 6.2, 6.2, 6.2, 6.3),
    *(6.6, 7.1, 7.5, 7.6, 7.6, 7.8, 8.3),
)
CORD_WIDTH: tuple[float, ...] = (
    *(7.5,) * 5,
    *(8.5, 8.2, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.2, 8.6, 9.4),
    *(10.9, 12.4, 13.0, 12.9, 12.1, 11.7, 11.4),
)

# Sacral segments S1..S5: depth at the upper end, depth at the lower end, width, height along the curve, kyphosis to
# the next (degrees), sac AP. General knowledge of low certainty, fitted by eye to the 29 SPACE studies.
SACRUM: tuple[tuple[float, float, float, float, float, float], ...] = (
    (33.0, 24.0, 50.0, 29.0, 12.0, 11.0),
    (23.0, 17.0, 42.0, 25.0, 16.0, 8.0),
    (16.5, 13.0, 34.0, 21.0, 20.0, 5.0),
    (12.5, 10.0, 28.0, 18.0, 20.0, 4.0),
    (9.5, 7.0, 22.0, 16.0, 18.0, 3.0),
)
