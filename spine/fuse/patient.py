"""A record that may be another patient's: its doubt goes with everything that was concluded from it."""

from __future__ import annotations

from dataclasses import replace

from spine.records import Advice

CAUTION = (
    "Check the patient: {doubt}. Treatment options and the comparison with age go by the record; they mean nothing "
    "until this is settled."
)
DOUBT = "given with a doubt: "


def caution(advice: Advice, doubt: str | None) -> Advice:
    """`advice` with `doubt`, a phrase, first among its caveats and beside a likelihood that was given."""
    if doubt is None:
        return advice
    degeneration = dict(advice.degeneration)
    if not degeneration.get("abstained"):
        earlier = degeneration.get("reason")
        silent = earlier in (None, "", "none")
        degeneration["reason"] = f"{DOUBT}{doubt}" if silent else f"{earlier}; {doubt}"
    return replace(advice, caveats=(CAUTION.format(doubt=doubt), *advice.caveats), degeneration=degeneration)
