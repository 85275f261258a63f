"""The Bayesian layer: outcome equations updated with a collaborator's cohort, imaging features included.

Prior: the published equation with the covariance of spine.fuse.published, and zero-centred sceptical priors for imaging
features (resources/imaging_priors.json). `lab.train.fit_fusion` turns prior and cohort into a posterior and writes
model/fusion.json. Without that file imaging takes no part, and the answer is the published equation's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from spine.errors import ModelError
from spine.fuse.findings import anywhere
from spine.fuse.models import LOG_ODDS_PER_PROBIT, OutcomeModel, Predictor, predictor_of
from spine.records import Grade
from spine.resources import RESOURCES

FUSION_FILE = "fusion.json"
FUSION_FORMAT = 1
PRIORS_FILE = RESOURCES / "imaging_priors.json"
IMAGING = "imaging."  # prefix of imaging features among the predictors
MODEL_KEYS = ("id", "region", "indication", "treatment", "outcome", "horizon_months", "link", "constant")


@lru_cache(maxsize=1)
def read_priors() -> tuple[Mapping[str, Any], ...]:
    """Imaging features of resources/imaging_priors.json: name, rule, sd_logit, tag, why."""
    return tuple(json.loads(PRIORS_FILE.read_text(encoding="utf-8"))["features"])


def imaging_features(grades: Sequence[Grade], region: str) -> dict[str, float]:
    """'imaging.<feature>' -> probability that it is present anywhere in `region`; features not graded are absent."""
    values = {feature["name"]: anywhere(grades, feature["rule"], region) for feature in read_priors()}
    return {IMAGING + name: value for name, value in values.items() if value is not None}


def with_imaging(model: OutcomeModel, shares: Mapping[str, float]) -> OutcomeModel:
    """`model` with an imaging predictor for every 'imaging.<feature>' of `shares`: coefficient 0, sceptical variance.

    `shares` says how common each feature is in the cohort. The answer of the result is that of `model`.
    """
    known = {IMAGING + feature["name"]: feature for feature in read_priors()}
    chosen = [name for name in known if name in shares]
    if not chosen:
        return model
    unit = 1 / LOG_ODDS_PER_PROBIT if model.link == "probit" else 1.0
    added = tuple(Predictor(name, "binary", (0.0,), shares=(shares[name],)) for name in chosen)
    size, extra = len(model.parameters), len(chosen)
    covariance = np.zeros((size + extra, size + extra))
    covariance[:size, :size] = model.covariance
    means = np.array([shares[name] for name in chosen])
    variances = np.diag([(unit * known[name]["sd_logit"]) ** 2 for name in chosen])
    covariance[size:, size:] = variances
    covariance[0, size:] = covariance[size:, 0] = -variances @ means  # the mean patient stays where he was
    covariance[0, 0] += means @ variances @ means
    transfer = np.pad(model.transfer, ((0, extra), (0, extra)))
    return replace(model, predictors=(*model.predictors, *added), covariance=covariance, transfer=transfer)


def _local_model(entry: Mapping[str, Any]) -> OutcomeModel:
    predictors = tuple(predictor_of(item) for item in entry["predictors"])
    covariance = np.asarray(entry["covariance"], dtype=float)
    size = 1 + sum(len(predictor.coefficients) for predictor in predictors)
    if covariance.shape != (size, size) or not np.all(np.isfinite(covariance)):
        raise ValueError(f"the covariance of {entry['id']} is not a finite {size} x {size} table")
    if np.linalg.eigvalsh(covariance).min() < -1e-9 or entry["link"] not in ("logit", "probit"):
        raise ValueError(f"{entry['id']} has no valid covariance or link")
    return OutcomeModel(
        **{name: entry[name] for name in MODEL_KEYS},
        predictors=predictors,
        covariance=covariance,
        transfer=np.zeros_like(covariance),
        facts={**entry["facts"], "performance": entry["performance"], "provenance": entry["provenance"]},
        origin="local",
    )


def read_fusion(model_dir: Path | None) -> tuple[OutcomeModel, ...]:
    """Local models of `model_dir`/fusion.json; none when there is no such file.

    Raises:
        ModelError: the file is there but damaged or of another format.
    """
    path = None if model_dir is None else model_dir / FUSION_FILE
    if path is None or not path.is_file():
        return ()
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if table["format"] != FUSION_FORMAT:
            raise ValueError(f"format {table['format']!r}, expected {FUSION_FORMAT}")
        return tuple(_local_model(entry) for entry in table["models"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path.name}: the local outcome model cannot be used ({error}).") from error
