"""Recalibration of outcome predictions: fitted on one half of the patients, reported on the other.

Two ways: intercept and slope of the probabilities that were predicted (needs nothing else), and the posterior of the
published equation given the first half's clinical records, as `lab.train.fit_fusion` would fit it on all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lab.evaluate.outcomes import before_and_after, halves, recalibration_study
from lab.train.fusion_cohort import EVENTS_MIN, PATIENTS_MIN
from lab.train.fusion_posterior import columns_of, predict, prior_of, update
from lab.train.fusion_prior import imaging_shares
from spine.fuse.bayes import with_imaging
from spine.fuse.models import OutcomeModel
from spine.fuse.published import published_models
from spine.settings import FusionSettings

Row = dict[str, Any]
Studies = dict[str, dict[str, Any]]
Recalibrate = Callable[[list[Row], int], Studies]  # outcome rows of one treatment and outcome, bootstrap draws
IMPUTATIONS = 20


def slope_studies(rows: list[Row], draws: int) -> Studies:
    """Intercept and slope; rows of patients without a probability are left out."""
    known = [row for row in rows if "probability" in row]
    observed, probability = (np.asarray([row[key] for row in known], float) for key in ("observed", "probability"))
    return {_name(rows[0]): recalibration_study(observed, probability, draws=draws)}


def posterior_studies(rows: list[Row], draws: int, settings: FusionSettings) -> Studies:
    """The fusion posterior, one study an indication; patients without a record or indication are left out, counted.

    Args:
        rows: one a patient: treatment, outcome, observed, and `record` with region, indication and coded fields.
        draws: bootstrap samples.
        settings: group `fusion` of the model's settings.
    """
    whose: dict[tuple[Any, Any], list[Row]] = {}
    for row in rows:
        record = row.get("record", {})
        if record.get("indication"):
            whose.setdefault((record["region"], record["indication"]), []).append(row)
    left_out = len(rows) - sum(map(len, whose.values()))
    if not whose:
        return {_name(rows[0]): {"not_measurable": "no patient has a clinical record that names an indication"}}
    treatment, outcome = rows[0]["treatment"], rows[0]["outcome"]
    models = {model.key[:4]: model for model in published_models(settings)}
    studies = {}
    for (region, indication), own in whose.items():
        model = models.get((region, indication, treatment, outcome))
        name = f"{_name(rows[0])}, {indication}"
        if model is None:
            studies[name] = {"not_measurable": f"there is no published equation for {indication} to start from"}
        else:
            studies[name] = _study(model, own, draws) | {"without_record": left_out}
    return studies


def _study(model: OutcomeModel, rows: list[Row], draws: int) -> dict[str, Any]:
    records = [row["record"]["fields"] for row in rows]
    observed = np.asarray([row["observed"] for row in rows], float)
    model = with_imaging(model, imaging_shares(records))
    columns = columns_of(model.predictors, records)
    try:
        first = halves(observed, EVENTS_MIN)
        if first.sum() < PATIENTS_MIN:
            raise ValueError(f"{len(rows)} patients; {2 * PATIENTS_MIN} are needed")
        fitted = update(model, columns[first], observed[first], prior_of(model), IMPUTATIONS, seed=0)
    except ValueError as error:
        return {"not_measurable": str(error)}
    rest = ~first
    return {
        "how": f"Posterior of {model.id} given the first half; before: the published equation.",
        "fitted_on": int(first.sum()),
        "reported_on": int(rest.sum()),
        **before_and_after(observed[rest], predict(model, columns[rest]), predict(fitted, columns[rest]), draws),
    }


def _name(row: Row) -> str:
    return f"{row['treatment']}: {row['outcome']}"
