"""What was learnt about the network's failures: logistic models and calibration curves of model/quality.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import Structure
from spine.errors import ModelError
from spine.settings import QualitySettings, Settings

# Structures as reference masks know them: what a patient's mask can tell right from wrong.
GROUPS: dict[str, tuple[Structure, ...]] = {
    "vertebra": (Structure.BODY, Structure.POSTERIOR, Structure.C2, Structure.C1),
    "disc": (Structure.DISC,),
    "canal": (Structure.CANAL, Structure.CORD),
}
CLIP_SD = 4.0  # a feature counts at most this many standard deviations away from the mean of the cases learnt from


@dataclass(frozen=True)
class Logistic:
    """P = 1 / (1 + exp(-(intercept + sum of weight * z))), z the standardised features clipped to +-CLIP_SD."""

    features: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float

    def __call__(self, features: Mapping[str, float]) -> float:
        """Probability (or share) of the case with `features`."""
        values = np.array([features[name] for name in self.features])
        z = np.clip((values - self.mean) / np.asarray(self.scale), -CLIP_SD, CLIP_SD)
        return float(1.0 / (1.0 + np.exp(-(self.intercept + z @ np.asarray(self.weights)))))


@dataclass(frozen=True)
class Curve:
    """Stated probability -> observed share, linear between the knots."""

    stated: tuple[float, ...]
    observed: tuple[float, ...]

    def __call__(self, stated: NDArray[np.floating]) -> NDArray[np.float64]:
        """Observed share for each of `stated`, any shape."""
        return np.asarray(np.interp(stated, self.stated, self.observed))


@dataclass(frozen=True)
class QualityModel:
    """Everything learnt by lab.evaluate.run_quality, with the thresholds that were chosen there."""

    spine: Logistic  # P(the image shows a spine that this network can read)
    dice: Mapping[str, Logistic]  # group -> predicted Dice
    confidence: Mapping[str, Curve]  # group -> calibration of the network's voxel probabilities
    ranges: Mapping[str, tuple[float, float]]  # image feature -> range over sound cases
    upright: Logistic  # P(the slice is stored with the head up and the front in front)
    upright_gate_prob: float  # below it the network looks at the slice turned, too
    limits: QualitySettings
    fits: bool = True  # whether the networks that run are those whose failures were learnt


def read_quality(model_dir: Path, settings: Settings) -> QualityModel:
    """Read the file that `settings.quality` names, for the networks that `settings` names.

    Raises ModelError when it is missing, damaged or not the one named.
    """
    named = settings.quality
    path = model_dir / named.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path.name}: the model file cannot be read ({error.strerror}).") from error
    if hashlib.sha256(content).hexdigest() != named.sha256:
        raise ModelError(f"{path.name}: the model file is not the one that settings.json names (sha256 differs).")
    try:
        return build_quality(json.loads(content), settings)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{path.name}: the model file is of another version.") from error


def build_quality(data: Mapping[str, Any], settings: Settings) -> QualityModel:
    """The model from the parsed document `data`; KeyError, TypeError or ValueError where it is not one."""
    return QualityModel(
        spine=build_logistic(data["spine"]),
        dice={group: build_logistic(data["dice"][group]) for group in GROUPS},
        confidence={
            group: Curve(tuple(data["confidence"][group]["stated"]), tuple(data["confidence"][group]["observed"]))
            for group in GROUPS
        },
        ranges={name: (float(low), float(high)) for name, (low, high) in data["ranges"].items()},
        upright=build_logistic(data["upright"]),
        upright_gate_prob=float(data["upright_gate_prob"]),
        limits=settings.quality,
        fits=(data["segmenter_sha256"], data["neck_sha256"]) == (settings.segmenter.sha256, settings.neck.sha256),
    )


def build_logistic(data: Mapping[str, Any]) -> Logistic:
    """The model in `data`; keys that only record how it was fitted are passed over. ValueError where it is none."""
    lists = {name: tuple(data[name]) for name in ("features", "mean", "scale", "weights")}
    if len({len(values) for values in lists.values()}) != 1:
        raise ValueError("lists of different lengths")
    return Logistic(**lists, intercept=float(data["intercept"]))
