"""Facts: the points that the network finds on a lateral radiograph, in the order of its output channels.

Corners are those of the vertebral body without its osteophyte (Frobin 1997, doi 10.1016/S0268-0033(97)00049-6): where
one grew, the corner lies where the end plate and the wall of the body would meet. The tip of the osteophyte is a point
of its own; without an osteophyte it is the corner. Where left and right edges do not coincide, each point is the
middle between the two.
"""

from __future__ import annotations

CORNERS = ("superior_anterior", "superior_posterior", "inferior_anterior", "inferior_posterior")
UPPER, LOWER = CORNERS[:2], CORNERS[2:]
TIPS = ("superior_tip", "inferior_tip")  # of the anterior osteophytes at the superior and inferior rim
CENTRE = "centre"  # of the body of C2 with the dens left out, for the C2-C7 sagittal vertical axis
SPINOLAMINAR = "spinolaminar"  # most anterior point of the spinolaminar line at mid-height of the body

_CERVICAL_BODIES = ("C3", "C4", "C5", "C6", "C7")
_LUMBAR_BODIES = ("L1", "L2", "L3", "L4", "L5")


def _of(vertebra: str, points: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((vertebra, point) for point in points)


CERVICAL: tuple[tuple[str, str], ...] = (
    *_of("C2", (*LOWER, TIPS[1], CENTRE)),
    *(pair for body in _CERVICAL_BODIES for pair in _of(body, (*CORNERS, *TIPS, SPINOLAMINAR))),
    *_of("T1", (*UPPER, TIPS[0])),
)
LUMBAR: tuple[tuple[str, str], ...] = (
    *_of("T12", (*LOWER, TIPS[1])),
    *(pair for body in _LUMBAR_BODIES for pair in _of(body, (*CORNERS, *TIPS))),
    *_of("S1", (*UPPER, TIPS[0])),
)
LANDMARKS: tuple[tuple[str, str], ...] = (*CERVICAL, *LUMBAR)  # (vertebra, point) of each channel
