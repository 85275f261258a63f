"""Whether the picture stands on its head or shows the back in front: its header would then be wrong.

Where the answer does not look upright, the network reads one slice through the middle once as it is stored and once
turned in each of three ways. The reading that looks most like that of an upright spine (bodies that grow downward, the
sacrum lowest, the canal behind them, sure outlines: the learnt score `upright`) tells how the slice lies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import Structure
from spine.errors import UnusableImage
from spine.quality.answer import answer_features
from spine.quality.learnt import QualityModel
from spine.records import Doubt, LabelledSpine, Segmentation, Volume

Reader = Callable[[Volume], tuple[Segmentation, LabelledSpine]]

STORED = "as stored"
TURNS: dict[str, tuple[int, int]] = {  # what the picture seems to be -> steps along (down, back) that put it right
    STORED: (1, 1),
    "upside down": (-1, 1),
    "mirrored, the back in front": (1, -1),
    "rotated by 180 degrees": (-1, -1),
}
# Log odds by which a turned reading must look more upright. In cross-validation by patient 265 sound slices lay at -0.3
# or below, the same upside down at 0.3 or above, 95 % of them above 2.
FLAGGED_ODDS, REFUSED_ODDS = 0.0, 2.0
TURNED = "orientation_doubtful"  # words in resources/texts, names.flags
LOOKED_AT = (Structure.BODY, Structure.DISC, Structure.CANAL)


def orientation_doubt(
    slug: str, features: Mapping[str, float], answer: tuple[Volume, Segmentation], model: QualityModel, read: Reader
) -> Doubt | None:
    """A doubt about everything where the slice reads better when it is turned; None where it does not.

    `features` are those of the whole answer. Raises UnusableImage where it reads better by REFUSED_ODDS.
    """
    if model.upright(features) >= model.upright_gate_prob:
        return None
    scores = {name: upright_odds(model, found) for name, found in turned_features(*answer, read).items()}
    best = max(scores, key=lambda name: scores[name])
    odds = scores[best] - scores[STORED]
    if best == STORED or odds <= FLAGGED_ODDS:
        return None
    reason = f"the image seems to be {best}: the geometry in its header is wrong"
    if odds > REFUSED_ODDS:
        raise UnusableImage(f"{slug}: {reason}; a header that states where the head and the front are is expected.")
    return Doubt(None, None, reason)


def turned_features(volume: Volume, segmentation: Segmentation, read: Reader) -> dict[str, dict[str, float]]:
    """Turn -> features of the answer for the one slice that shows most of the spine."""
    one = middle_slice(volume, segmentation)
    found = {}
    for name, (down, back) in TURNS.items():
        turned = _turned(one, down, back)
        found[name] = answer_features(*read(turned), turned)
    return found


def upright_odds(model: QualityModel, features: Mapping[str, float]) -> float:
    """Log odds that the reading with `features` is that of an upright slice."""
    prob = float(np.clip(model.upright(features), 1e-9, 1 - 1e-9))
    return float(np.log(prob / (1 - prob)))


def middle_slice(volume: Volume, segmentation: Segmentation) -> Volume:
    """The slice with most voxels of bodies, discs and canal, as a volume of its own."""
    counts = np.isin(segmentation.structures, LOOKED_AT).sum((1, 2))
    index = int(counts.argmax())
    return replace(volume, array=volume.array[index : index + 1], content=(1, *volume.content[1:]))


def _turned(volume: Volume, down: int, back: int) -> Volume:
    """The content of `volume` turned; the padding stays at the high end."""
    _, high, wide = volume.content
    array: NDArray[np.float32] = np.zeros_like(volume.array)
    array[:, :high, :wide] = volume.array[:, :high, :wide][:, ::down, ::back]
    return replace(volume, array=array)
