"""Which level names may be wrong: those counted across a break in the column, or all where the count itself is unsure.

Beyond a break nothing is told: what lies there is most likely of another level. Where the count itself is unsure values
stay, and what is compared with the norm of the named level is taken back (withhold.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from spine.anatomy import DISC_OFFSET, disc_level
from spine.records import Doubt, LabelledSpine, Numbering

OF_A_BREAK = "Two neighbouring bodies "  # how the numbering's doubts about a break begin; others concern every name
NAME = "name"  # structure of a doubt about the name of a level: its norms do not apply
BEYOND = "counted across a break: {where}"
BROKEN = "Levels beyond a break of the column are not told; the probability of the names holds up to it."
UP, DOWN = "sacrum", "axis"  # methods of numbering: counted upward, counted downward


def name_doubts(spine: LabelledSpine, broken: Iterable[Doubt]) -> list[Doubt]:
    """Doubts about the names of the levels beyond a break, and about all where the numbering has a doubt of its own.

    `broken` are doubts about distances of neighbouring bodies; those about a level say where the column breaks.
    """
    levels = [disc_level(DISC_OFFSET + body.label) for body in spine.vertebrae[1:]]
    told = {doubt.subject: doubt.reason for doubt in broken if doubt.structure is None and doubt.subject in levels}
    breaks = [n for n, level in enumerate(levels) if level in told]  # between body n and body n + 1, lowest first
    if not breaks or not (spine.numbering.doubt or OF_A_BREAK).startswith(OF_A_BREAK):
        return [] if spine.numbering.doubt is None else [Doubt(None, NAME, _sentence(spine.numbering.doubt))]
    names = [body.name for body in spine.vertebrae]
    if spine.numbering.method == UP:
        doubtful: Sequence[str] = names[breaks[0] + 1 :]
    elif spine.numbering.method == DOWN:
        doubtful = names[: breaks[-1] + 1]
    else:
        return [Doubt(None, NAME, told[levels[breaks[0]]])]
    return [Doubt(name, None, BEYOND.format(where=told[levels[breaks[0]]])) for name in doubtful]


def stated_numbering(numbering: Numbering, doubts: Iterable[Doubt]) -> Numbering:
    """`numbering` with a doubt of its own where the column was counted across a break."""
    if numbering.doubt is None and any(doubt.reason.startswith(BEYOND.partition("{")[0]) for doubt in doubts):
        return replace(numbering, doubt=BROKEN)
    return numbering


def _sentence(doubt: str) -> str:
    """A sentence as the phrase that follows a colon."""
    return doubt[:1].lower() + doubt[1:].rstrip(".")
