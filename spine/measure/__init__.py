"""Stage 5: sizes, angles and signals of a labelled spine, each with unit, origin and, where one fits, its norm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spine.anatomy import C7_LABEL, DISC_OFFSET, LAST_VERTEBRA, disc_level, vertebra_name
from spine.measure import alignment, canal, cord, discs, signal, vertebrae
from spine.measure.norms import compare
from spine.measure.reading import record
from spine.measure.scene import build_scene
from spine.measure.unproven import with_errors
from spine.records import LabelledSpine, Measurement, Volume

__all__ = ["measure_levels"]


def measure_levels(
    spine: LabelledSpine, volume: Volume, clinical: Mapping[str, Any] | None = None
) -> tuple[Measurement, ...]:
    """Measure every disc and vertebra in view, the canal and the alignment.

    Every expected name of every level in view comes back, with a value or with the reason why there is none.

    Args:
        spine: labelled instances on the grid of `volume`.
        volume: the image; its padding is ignored.
        clinical: the clinical record, for sex, age and stature in the comparison with norms; None if unknown.

    Returns:
        Discs from the lowest up, vertebrae from the lowest up, 'canal', 'alignment'; lengths in mm of the patient.
    """
    scene = build_scene(spine, volume)
    canal_meter, signal_meter = canal.CanalMeter(scene), signal.SignalMeter(scene)
    found: list[Measurement] = []
    for k in scene.levels():
        units = {**discs.UNITS, **canal.LEVEL_UNITS, **canal.DISC_UNITS, **signal.UNITS}
        units |= {**canal.NECK_UNITS, **cord.UNITS} if k >= C7_LABEL else {}
        outcomes = {**discs.measure_disc(scene, k), **canal_meter.at_disc(k), **signal_meter.at_disc(k)}
        found += record(disc_level(DISC_OFFSET + k), units, outcomes)
    for k in sorted(scene.vertebrae):
        body = {} if k == LAST_VERTEBRA else vertebrae.measure_vertebra(scene, k)  # C1 has no body
        units = {**({} if k == LAST_VERTEBRA else vertebrae.UNITS), **canal.LEVEL_UNITS}
        units |= canal.NECK_UNITS if canal.in_neck(k) else {}
        found += record(vertebra_name(k), units, {**body, **canal_meter.at_body(k)})
    found += record("canal", canal.CANAL_UNITS, canal_meter.whole())
    found += record("alignment", alignment.UNITS, alignment.measure_alignment(scene))
    return tuple(compare(m, clinical) for m in with_errors(found, spine))
