"""Raw results of the test patients -> how well doubt works: refusals, flags, predicted Dice, calibration, in tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from lab.evaluate.quality_cases import NECKS
from lab.evaluate.quality_fit import GOOD_DICE, total_voxels, true_dice
from spine.quality import QualityModel, read_quality
from spine.quality.learnt import GROUPS
from spine.quality.orientation import FLAGGED_ODDS, REFUSED_ODDS, STORED, TURNED, upright_odds
from spine.quality.thresholds import read_thresholds
from spine.quality.verdict import answer_flags, case_dice, image_flags, is_plain_neck
from spine.settings import read_settings
from spine.warned import warns

Row = dict[str, Any]
DRAWS = 500


@dataclass(frozen=True)
class Measured:
    """Test rows with what the shipped models say of them, and the models."""

    rows: Sequence[Row]  # with 'prob', 'accepted', 'predicted', 'matched', 'flagged', 'image_flagged' and 'warned'
    model: QualityModel

    def of(self, *kinds: str) -> list[Row]:
        """Rows of these kinds."""
        return [row for row in self.rows if row["kind"] in kinds]

    def told(self) -> list[Row]:
        """Sound and damaged rows that have a reference, synthetic ones left out."""
        return [row for row in self.of("sound", "damaged") if "dice" in row and row["source"] != NECKS]

    def necks(self) -> list[Row]:
        """The same of synthetic necks."""
        return [row for row in self.rows if "dice" in row and row["source"] == NECKS]


def measure_quality(rows: Sequence[Row], model_dir: Path) -> Measured:
    """Apply the models in `model_dir` to the test rows."""
    model = read_quality(model_dir, read_settings(model_dir))
    return Measured([_judged(row, model) for row in rows if row["split"] == "test"], model)


def _judged(row: Row, model: QualityModel) -> Row:
    """`row` with the verdict: 'flagged' by what was learnt of the whole case, 'warned' by anything on page 1."""
    if row["refused"]:
        nothing = {"prob": 0.0, "predicted": 0.0, "matched": 0.0}
        return {**row, **nothing, "accepted": False, "flagged": True, "image_flagged": True, "warned": True}
    features = row["features"]
    by_group = {group: predict(features) for group, predict in model.dice.items()}
    prob, predicted = model.spine(features), case_dice(by_group)
    odds = turned_odds(row, model)
    limits = read_thresholds()
    readable = prob >= model.limits.refuse_below_prob or is_plain_neck(features, limits)
    accepted = readable and odds <= REFUSED_ODDS
    image = image_flags("", features, limits, model)
    doubted = answer_flags(prob, by_group, model) + ([TURNED] if odds > FLAGGED_ODDS else [])
    return {
        **row,
        "prob": prob,
        "accepted": accepted,
        "predicted": predicted,
        "matched": case_dice({group: by_group[group] for group in row.get("dice", by_group)}),
        "flagged": not accepted or bool(doubted),
        "image_flagged": bool(image),
        "warned": not accepted or any(warns(flag) for flag in (*row.get("flags", ()), *image, *doubted)),
    }


def ruled(rows: Sequence[Row]) -> list[Row]:
    """Rows for which the rules were tried, as page 1 needs them; results of earlier versions lack that."""
    return [row for row in rows if "flags" in row or row["refused"]]


def turned_odds(row: Row, model: QualityModel) -> float:
    """Log odds by which a turned reading of the row's slice looks more upright; 0 where none was tried."""
    if "turned" not in row or model.upright(row["features"]) >= model.upright_gate_prob:
        return 0.0
    scores = {turn: upright_odds(model, found) for turn, found in row["turned"].items()}
    return max(0.0, max(scores.values()) - scores[STORED])


def share(rows: Sequence[Row], test: Callable[[Row], bool]) -> float:
    """Share of `rows` that pass `test`; NaN for none."""
    return float(np.mean([test(row) for row in rows])) if rows else float("nan")


def interval(rows: Sequence[Row], figure: Callable[[Sequence[Row]], float]) -> tuple[float, float, float]:
    """(figure, 95 % bootstrap interval over patients)."""
    patients = sorted({row["patient"] for row in rows})
    own = {patient: [row for row in rows if row["patient"] == patient] for patient in patients}
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        value = figure([row for patient in rng.choice(patients, len(patients)) for row in own[patient]])
        if np.isfinite(value):
            drawn.append(value)
    low, high = np.percentile(drawn, (2.5, 97.5)) if drawn else (float("nan"), float("nan"))
    return figure(rows), float(low), float(high)


def foreign_auroc(rows: Sequence[Row]) -> float:
    """AUROC of P(readable spine) between sound and foreign images."""
    truth = [row["kind"] == "sound" for row in rows]
    return float(roc_auc_score(truth, [row["prob"] for row in rows])) if 0 < sum(truth) < len(truth) else float("nan")


def bad_auroc(rows: Sequence[Row]) -> float:
    """AUROC of predicted Dice for a Dice below GOOD_DICE."""
    bad = [true_dice(row) < GOOD_DICE for row in rows]
    return float(roc_auc_score(bad, [-row["predicted"] for row in rows])) if 0 < sum(bad) < len(bad) else float("nan")


def dice_error(rows: Sequence[Row]) -> float:
    """Mean absolute difference of true Dice and the one predicted for the same structures."""
    return float(np.mean([abs(row["matched"] - true_dice(row)) for row in rows]))


def dice_order(rows: Sequence[Row]) -> float:
    """Spearman's correlation of predicted and true Dice."""
    predicted, true = [row["matched"] for row in rows], [true_dice(row) for row in rows]
    if len(set(predicted)) < 2 or len(set(true)) < 2:
        return float("nan")
    return float(spearmanr(predicted, true).statistic)


def calibration(rows: Sequence[Row], group: str, model: QualityModel) -> dict[str, Any]:
    """Expected calibration error of `group`'s voxels as stated by the network and after the curve; and the points."""
    voxels, right = total_voxels(rows, group)
    seen = voxels > 0
    stated = ((np.arange(len(voxels)) + 0.5) / len(voxels))[seen]
    observed, weight = (right[seen] / voxels[seen]), voxels[seen] / max(voxels.sum(), 1)
    calibrated: NDArray[np.float64] = model.confidence[group](stated)
    return {
        "stated": stated,
        "calibrated": calibrated,
        "observed": observed,
        "weight": weight,
        "ece_raw": float((weight * np.abs(stated - observed)).sum()),
        "ece": float((weight * np.abs(calibrated - observed)).sum()),
    }


def write_tables(measured: Measured, out: Path) -> None:
    """OUT/table.md: the figures first, then by family and by damage, then every bad case that nobody flagged."""
    parts = [main_table(measured), family_table(measured), damage_table(measured), silent_list(measured)]
    (out / "table.md").write_text("\n".join(parts), encoding="utf-8")


def main_table(measured: Measured) -> str:
    """The figures with their intervals and targets."""
    told, sound = measured.told(), measured.of("sound")
    real = [row for row in sound if not row["source"].startswith("synthetic")]
    sound_told = [row for row in told if row["kind"] == "sound"]
    bad = [row for row in told if true_dice(row) < GOOD_DICE]
    good = [row for row in told if true_dice(row) >= GOOD_DICE]
    unseen = [row for row in measured.of("sound", "foreign") if not row["source"].startswith("synthetic")]
    lines = [
        "| test patients only | n | value | 95 % interval | wanted |",
        "|---|---|---|---|---|",
        _line("AUROC spine against no spine", unseen, foreign_auroc, ">= 0.97"),
        _line("sound real images accepted", real, lambda r: share(r, lambda x: x["accepted"]), ">= 0.98"),
        _line("sound real images flagged as a whole", real, lambda r: share(r, lambda x: x["flagged"]), ""),
        _line("sound real images with a page-1 warning", ruled(real), lambda r: share(r, lambda x: x["warned"]), ""),
        _line(
            "sound real images with a doubt on the level names",
            real,
            lambda r: share(r, lambda x: bool(x.get("numbering_doubted"))),
            "",
        ),
        _line(
            "images of no spine refused", measured.of("foreign"), lambda r: share(r, lambda x: not x["accepted"]), ""
        ),
        _line("... refused or flagged", measured.of("foreign"), lambda r: share(r, lambda x: x["flagged"]), ""),
        _line("AUROC of predicted Dice for Dice < 0.8", told, bad_auroc, ""),
        _line("Dice < 0.8: flagged or refused", bad, lambda r: share(r, lambda x: x["flagged"]), ">= 0.90"),
        _line("Dice < 0.8: page-1 warning or refused", ruled(bad), lambda r: share(r, lambda x: x["warned"]), ""),
        _line("Dice >= 0.8: page-1 warning or refused", ruled(good), lambda r: share(r, lambda x: x["warned"]), ""),
        _line("Dice >= 0.8: flagged or refused", good, lambda r: share(r, lambda x: x["flagged"]), ""),
        _line("predicted Dice, mean absolute error", told, dice_error, ""),
        _line("predicted Dice, Spearman, sound and damaged", told, dice_order, ""),
        _line("predicted Dice, Spearman, sound only", sound_told, dice_order, ""),
        _line("synthetic necks: predicted Dice, mean absolute error", measured.necks(), dice_error, ""),
        _line("synthetic necks: AUROC of predicted Dice for Dice < 0.8", measured.necks(), bad_auroc, ""),
    ]
    for group in GROUPS:
        found = calibration(sound_told, group, measured.model)
        lines.append(
            f"| calibration error of {group} voxels, sound | {sum('voxels' in row for row in sound_told)} | "
            f"{found['ece']:.4f} | stated by the network: {found['ece_raw']:.4f} | |"
        )
    limits = measured.model.limits
    lines.append(
        f"\nThresholds: refused below a probability of {limits.refuse_below_prob}, flagged below "
        f"{limits.flag_below_prob} or below a predicted Dice of {limits.flag_below_dice}; findings of a structure are "
        f"withheld below a predicted Dice of {limits.withhold_below_dice}.\n"
    )
    return "\n".join(lines)


def _line(what: str, rows: Sequence[Row], figure: Callable[[Sequence[Row]], float], wanted: str) -> str:
    if not rows:
        return f"| {what} | 0 | none | | {wanted} |"
    value, low, high = interval(rows, figure)
    return f"| {what} | {len(rows)} | {value:.3f} | {low:.3f} to {high:.3f} | {wanted} |"


def family_table(measured: Measured) -> str:
    """Each family of images: how many are refused and flagged."""
    lines = [
        "| images | made | n | refused | refused or flagged | refused or page-1 warning | median P(spine) |",
        "|---|---|---|---|---|---|---|",
    ]
    names = dict.fromkeys((row["source"] if row["kind"] == "sound" else row["family"]) for row in _undamaged(measured))
    for name in names:
        rows = [row for row in _undamaged(measured) if name in (row["source"], row["family"])]
        made = "sound" if rows[0]["kind"] == "sound" else rows[0]["source"]
        refused, flagged = share(rows, lambda x: not x["accepted"]), share(rows, lambda x: x["flagged"])
        warned, median = share(ruled(rows), lambda x: x["warned"]), float(np.median([row["prob"] for row in rows]))
        lines.append(f"| {name} | {made} | {len(rows)} | {refused:.2f} | {flagged:.2f} | {warned:.2f} | {median:.3f} |")
    return "\n".join(lines) + "\n"


def _undamaged(measured: Measured) -> list[Row]:
    return sorted(measured.of("sound", "foreign"), key=lambda row: row["kind"] == "foreign")


def damage_table(measured: Measured) -> str:
    """Each kind of damage: Dice, and what was flagged."""
    lines = [
        "| damage | n | mean Dice | Dice < 0.8 | of them flagged | of the others flagged | image flagged | "
        "page-1 warning |",
        "|---|---|---|---|---|---|---|---|",
    ]
    damaged = [row for row in measured.told() if row["kind"] == "damaged"]
    for name in dict.fromkeys(row["family"] for row in damaged):
        rows = [row for row in damaged if row["family"] == name]
        bad = [row for row in rows if true_dice(row) < GOOD_DICE]
        good = [row for row in rows if true_dice(row) >= GOOD_DICE]
        told = [f"{share(part, lambda x: x['flagged']):.2f}" if part else "none" for part in (bad, good)]
        mean = float(np.mean([true_dice(row) for row in rows])) if rows else float("nan")
        image, warned = share(rows, lambda x: x["image_flagged"]), share(ruled(rows), lambda x: x["warned"])
        lines.append(
            f"| {name} | {len(rows)} | {mean:.3f} | {len(bad)} | {told[0]} | {told[1]} | {image:.2f} | {warned:.2f} |"
        )
    return "\n".join(lines) + "\n"


def silent_list(measured: Measured) -> str:
    """Bad cases that were neither refused nor flagged, and foreign images that were accepted without a flag."""
    bad = [row for row in measured.told() if true_dice(row) < GOOD_DICE and not row["flagged"]]
    lines = [f"- {row['name']}: Dice {true_dice(row):.2f}, predicted {row['predicted']:.2f}" for row in bad]
    lines += [
        f"- {row['name']}: P(spine) {row['prob']:.3f}, predicted Dice {row['predicted']:.2f}"
        for row in measured.of("foreign")
        if not row["flagged"]
    ]
    return "Wrong and not flagged:\n\n" + ("\n".join(lines) or "none") + "\n"
