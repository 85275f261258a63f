"""Models of doubt from raw results of patients to learn from: logistic models, calibration curves, thresholds.

Thresholds are chosen on out-of-fold answers, folds by patient (and by family, for foreign images).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from lab.evaluate.quality_cases import NECKS, SPLITS
from lab.evaluate.quality_examine import BINS
from spine.quality.learnt import CLIP_SD, GROUPS, build_logistic
from spine.quality.orientation import STORED
from spine.quality.verdict import UNUSUAL

Row = dict[str, Any]
Array = NDArray[np.float64]

# Without `pitch_mm`: the foreign images at hand are made from adults of one set, and a child is a spine too.
ANSWER = (
    "margin", "entropy", "unsure_share", "found_share", "kept_share", "bodies", "disc_share",
    "pitch_spread", "bend_deg", "size_spread", "growth", "sacrum_above", "canal_share", "canal_spread",
    "body_confidence", "disc_confidence", "canal_confidence", "numbering_prob",
)  # fmt: skip
IMAGE = ("noise", "sharpness", "contrast", "bias", "void_share", "saturated_share")
# `found_share` tells how much of the image is spine: little in a neck with its head.
SPINE_FEATURES = (*(name for name in ANSWER if name != "found_share"), "slice_correlation")
DICE_FEATURES = (*ANSWER, *IMAGE)
UPRIGHT_FEATURES = SPINE_FEATURES[:-1]  # without the likeness of neighbouring slices: one slice has none
# Chosen once, on 279 slices of training and validation patients: the largest gap, in mean weights that stay moderate,
# between the sound ones and the same turned.
UPRIGHT_PENALTY = 0.1
# Of the sound: each second look costs three slices more. 0.05 until one of eight test pictures upside down passed.
GATED = 0.1
NEVER_TURNED: dict[str, Any] = {"features": [], "mean": [], "scale": [], "weights": [], "intercept": 0.0}
PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # C of the library: smaller is smoother
READABLE_DICE, UNREADABLE_DICE = 0.7, 0.4  # damaged images between them teach nothing about what is readable
GOOD_DICE = 0.8
SOUND_REFUSED, SOUND_FLAGGED, BAD_FLAGGED = 0.01, 0.03, 0.93  # operating points on the cases learnt from
GAP_SHARE, MOST_REFUSED_PROB = 0.25, 0.3
WITHHOLD_DICE = 0.7  # our choice: sizes of an outline worse than this mean nothing
RANGE_MARGIN = 0.10  # of the range over sound cases, beyond it on either side
FOLDS = 5


def fit_quality(rows: Sequence[Row]) -> tuple[dict[str, Any], dict[str, float]]:
    """(document of model/quality.json, thresholds of the settings' group `quality`) from `rows` to learn from."""
    usable = [row for row in rows if not row["refused"]]
    readable = [row for row in rows if "features" in row and is_readable(row) is not None]
    spine, spine_oof = _fit(readable, SPINE_FEATURES, [float(bool(is_readable(row))) for row in readable])
    sound = np.array([row["kind"] == "sound" and not row["refused"] for row in readable])
    foreign = np.array([row["kind"] == "foreign" and not row["refused"] for row in readable])
    real = [row for row in usable if "dice" in row and row["source"] != NECKS]
    told = [row for row in real if row["kind"] == "damaged" or is_validation(row)]
    dice, predicted = {}, {}
    for group in GROUPS:
        own = [row for row in told if group in row["dice"]]
        dice[group], oof = _fit(own, DICE_FEATURES, [row["dice"][group] for row in own])
        predicted[group] = {row["name"]: value for row, value in zip(own, oof, strict=True)}
    document = {
        "spine": spine,
        "dice": dice,
        "confidence": {group: _curve(rows, group) for group in GROUPS},
        "ranges": _ranges(usable),
        **fit_upright([row for row in usable if "turned" in row and row["kind"] == "sound"]),
    }
    refuse = refusal_threshold(spine_oof[sound], spine_oof[foreign])
    flag = max(refuse, float(np.quantile(spine_oof[sound], SOUND_FLAGGED)))
    limits = {
        "refuse_below_prob": round(refuse, 5),
        "flag_below_prob": round(flag, 5),
        "flag_below_dice": round(_dice_threshold(told, predicted), 4),
        "withhold_below_dice": WITHHOLD_DICE,
    }
    return document, limits


def fit_upright(rows: Sequence[Row]) -> dict[str, Any]:
    """Model of P(stored upright) from sound slices as they are and turned, and the probability to look twice below.

    The gate lets GATED of the real sound cases through to a second look; all readings of a patient share a fold.
    """
    read = [
        {"features": features, "patient": row["patient"], "upright": float(turn == STORED)}
        for row in rows
        for turn, features in row["turned"].items()
    ]
    if not read:
        return {"upright": {**NEVER_TURNED}, "upright_gate_prob": 0.0}
    upright, _ = _fit(read, UPRIGHT_FEATURES, [row["upright"] for row in read], (UPRIGHT_PENALTY,))
    model = build_logistic(upright)
    whole = [model(row["features"]) for row in rows if row["source"] != "synthetic"]
    return {"upright": upright, "upright_gate_prob": round(float(np.quantile(whole or [0.0], GATED)), 5)}


def is_readable(row: Row) -> bool | None:
    """Whether the image of `row` shows a spine that the network reads; None where that is open."""
    if row["kind"] != "damaged":
        return bool(row["kind"] == "sound")
    value = true_dice(row)
    return None if UNREADABLE_DICE <= value < READABLE_DICE else value >= READABLE_DICE


def true_dice(row: Row) -> float:
    """Dice of the case: mean over the structures that its reference holds."""
    return float(np.mean(list(row["dice"].values())))


def is_validation(row: Row) -> bool:
    """Whether the network itself never learnt from the patient of `row`."""
    splits = json.loads(SPLITS.read_text(encoding="utf-8"))
    name = {"spider_space": "spider_space", "mendeley_t1": "mendeley_midsagittal"}.get(row["source"])
    return name is not None and row["patient"] in splits[name]["val"]


def refusal_threshold(sound: Array, foreign: Array) -> float:
    """P below which an image is refused: at most SOUND_REFUSED of the `sound` ones lie below it, and never above 0.3.

    Where nearly all foreign ones lie lower still, a quarter of the gap above them on the logit scale: sound images of
    scanners that are not among the cases will lie lower than these, and a flag does less harm to them than a refusal.
    """
    top = float(np.quantile(sound, SOUND_REFUSED))
    low = float(np.quantile(foreign, 1 - SOUND_REFUSED)) if foreign.size else top
    if low >= top:
        return min(top, MOST_REFUSED_PROB)
    logit = (1 - GAP_SHARE) * np.log(low / (1 - low)) + GAP_SHARE * np.log(top / (1 - top))
    return min(float(1 / (1 + np.exp(-logit))), MOST_REFUSED_PROB)


def _matrix(rows: Sequence[Row], names: Sequence[str]) -> Array:
    return np.array([[row["features"][name] for name in names] for row in rows], float)


def _fit(
    rows: Sequence[Row], names: Sequence[str], shares: Sequence[float], penalties: Sequence[float] = PENALTIES
) -> tuple[dict[str, Any], Array]:
    """(model, out-of-fold answers) of a logistic model for `shares` in 0..1, its penalty chosen across patients.

    A share y enters as a success with weight y and a failure with weight 1 - y (fractional logit, Papke and
    Wooldridge 1996, doi 10.1002/(SICI)1099-1255(199611)11:6<619::AID-JAE418>3.0.CO;2-1).
    """
    values, target = _matrix(rows, names), np.asarray(shares, float)
    mean, scale = values.mean(0), np.maximum(values.std(0), 1e-3)
    z = np.clip((values - mean) / scale, -CLIP_SD, CLIP_SD)
    groups = np.array([row["patient"] for row in rows])
    folds = list(GroupKFold(min(FOLDS, len(set(groups)))).split(z, groups=groups))
    answers = {}
    for penalty in penalties:
        oof = np.empty(len(rows))
        for fit, held in folds:
            oof[held] = _logistic(z[fit], target[fit], penalty).predict_proba(z[held])[:, 1]
        answers[penalty] = oof
    best = min(penalties, key=lambda penalty: _cross_entropy(answers[penalty], target))
    model = _logistic(z, target, best)
    document = {
        "features": list(names),
        "mean": [round(float(x), 6) for x in mean],
        "scale": [round(float(x), 6) for x in scale],
        "weights": [round(float(x), 6) for x in model.coef_[0]],
        "intercept": round(float(model.intercept_[0]), 6),
        "penalty": best,
        "cases": len(rows),
    }
    return document, answers[best]


def _logistic(z: Array, target: Array, penalty: float) -> LogisticRegression:
    both = np.concatenate((z, z))
    labels = np.repeat([1, 0], len(z))
    weights = np.concatenate((target, 1 - target))
    use = weights > 0
    if set(target.tolist()) <= {0.0, 1.0}:  # two classes: each counts as much as the other
        share = target.mean()
        weights = weights * np.where(labels == 1, 0.5 / share, 0.5 / (1 - share))
    return LogisticRegression(C=penalty, max_iter=2000).fit(both[use], labels[use], sample_weight=weights[use])


def _cross_entropy(answers: Array, target: Array) -> float:
    safe = np.clip(answers, 1e-6, 1 - 1e-6)
    return float(-(target * np.log(safe) + (1 - target) * np.log(1 - safe)).mean())


def _dice_threshold(rows: Sequence[Row], predicted: dict[str, dict[str, float]]) -> float:
    """Predicted Dice of the case below which BAD_FLAGGED of those under GOOD_DICE lie."""
    bad = []
    for row in rows:
        if true_dice(row) < GOOD_DICE:
            bad.append(np.mean([predicted[group][row["name"]] for group in row["dice"]]))
    return float(np.quantile(bad, BAD_FLAGGED)) if bad else GOOD_DICE


def total_voxels(rows: Sequence[Row], group: str) -> Array:
    """(2, BINS): voxels and right voxels of `group` by the network's probability, summed over `rows`."""
    parts = [row["voxels"][group] for row in rows if "voxels" in row]
    return np.asarray(np.sum(parts, axis=0), float) if parts else np.zeros((2, BINS))


def _curve(rows: Sequence[Row], group: str) -> dict[str, list[float]]:
    """Isotonic calibration on sound images of patients that the network never learnt from; of all, without any."""
    sound = [row for row in rows if row["kind"] == "sound" and "voxels" in row]
    voxels, right = total_voxels([row for row in sound if is_validation(row)] or sound, group)
    seen = voxels > 0
    if not seen.any():
        return {"stated": [0.0, 1.0], "observed": [0.0, 1.0]}
    stated = ((np.arange(BINS) + 0.5) / BINS)[seen]
    model = IsotonicRegression(y_min=0, y_max=1).fit(stated, (right / np.maximum(voxels, 1))[seen], voxels[seen])
    return {
        "stated": [round(float(x), 4) for x in stated],
        "observed": [round(float(x), 4) for x in model.predict(stated)],
    }


def _ranges(rows: Sequence[Row]) -> dict[str, list[float]]:
    """Image feature -> range over the real sound images, a little wider."""
    real = [row for row in rows if row["kind"] == "sound" and row["source"] != "synthetic"]
    found = {}
    for name in UNUSUAL:
        values = [row["features"][name] for row in real]
        margin = RANGE_MARGIN * (max(values) - min(values))
        found[name] = [round(min(values) - margin, 5), round(max(values) + margin, 5)]
    return found
