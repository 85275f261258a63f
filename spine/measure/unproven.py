"""The stated error of what is measured between end plates of the neck, which no patient's neck has proved.

Standard deviations are root mean square errors of network and measuring on eighteen synthetic necks (body wedges and
slopes: ten), the larger of two sets of seeds, rounded up; heights hold 0.2 mm more, by which four healthy volunteers
differ from synthetic necks (docs/measure/chain.md, docs/measure/edges.md). Patients may be worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from spine.anatomy import DISC_OFFSET, disc_level, vertebra_name
from spine.measure.reading import interval_of
from spine.records import LabelledSpine, Measurement

NOTE = "checked on synthetic necks and the images of four healthy volunteers, on no patient"
PLACES = ("anterior", "middle", "posterior")
LEVEL_ERRORS: Mapping[str, float] = {
    **{f"{part}_height_{place}_mm": 0.8 for part in ("disc", "body") for place in PLACES},
    "segmental_angle_deg": 2.7,
    "body_wedge_deg": 2.0,
}
ALIGNMENT_ERRORS: Mapping[str, tuple[float, str]] = {  # and the body that it hangs on
    "c2_c7_angle_deg": (2.5, "C7"),
    "c7_slope_deg": (1.2, "C7"),
    "t1_slope_deg": (1.2, "T1"),
}


def with_errors(measurements: list[Measurement], spine: LabelledSpine) -> list[Measurement]:
    """`measurements` with interval and note where the network of the neck outlined the end plates."""
    names = {vertebra_name(label) for label in spine.read_again}
    own = names | {disc_level(DISC_OFFSET + label) for label in spine.read_again if vertebra_name(label) != "C1"}
    out = []
    for one in measurements:
        error = LEVEL_ERRORS.get(one.name) if one.subject in own else None
        if one.subject == "alignment" and one.name in ALIGNMENT_ERRORS:
            stated, body = ALIGNMENT_ERRORS[one.name]
            error = stated if body in names else None
        if error is None or one.value is None:
            out.append(one)
        else:
            note = "; ".join(part for part in (one.reference, NOTE) if part)
            out.append(replace(one, interval_90=interval_of(one.value, error), reference=note))
    return out
