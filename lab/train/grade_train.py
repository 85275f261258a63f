"""Fit, compare, calibrate and export the grader.

    python -m lab.train.grade_train --table TABLE.npz --out model

Everything is chosen and calibrated by cross-validation over the training and validation patients: the members of a fold
are fitted without one fifth of them and say what they think of that fifth; Platt scaling (Platt 1999) of these answers
calibrates. Test patients are never read. Pfirrmann and the flags of SPIDER come from SPIDER patients only; stenosis
comes from the Mendeley boxes, whose Pfirrmann grades stay unseen, as a second data set.

Patients whose Pfirrmann grades fit the pictures much better one or two levels further up or down are left out of the
fit (not of the figures): either the reference or the numbering is shifted, and nobody can say which.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from sklearn.model_selection import GroupKFold
from torch import Tensor
from torch.nn import functional

from lab.train.grade_data import BOTH, NO_LABEL, Table, read_table
from lab.train.grade_network import (
    SLIP,
    TARGETS,
    THRESHOLDS,
    Grader,
    Member,
    Recipe,
    Unpack,
    probabilities,
    standardiser,
)
from lab.train.grade_slip import Slip, fit_slip
from spine.anatomy import disc_label
from spine.grade import LEVELS_IN_A_CALL, decide
from spine.grade.classes import FLAGS, HEADS, MIYAZAKI, PFIRRMANN
from spine.grade.inputs import CHANNELS_IN, pack

FOLDS = 5
RECIPES = {
    "linear": Recipe(hidden=0, dropout=0.3),
    "perceptron": Recipe(),
}
RATE, DECAY, BATCH = 2e-3, 1e-1, 64
GROUP_WEIGHT = {"spider_t1": 0.5, BOTH: 0.5}  # the same labels as the T2 of the same patient
MAX_POSITIVE_WEIGHT = 4.0  # rare findings weigh more in the fit; calibration takes it out again
SHIFT_ERROR, SHIFT_GAIN = 0.6, 0.5  # squared error in grades above which a patient is looked at, and what a shift saves
FIRST_RATIO = THRESHOLDS + 1 + len(FLAGS)


@dataclass(frozen=True)
class Data:
    """What is fitted."""

    features: Tensor  # (n, 2 F)
    targets: Tensor  # (n, TARGETS) 0 or 1
    weights: Tensor  # (n, TARGETS), 0 where there is no label

    def rows(self, index: NDArray[np.intp]) -> Data:
        """The rows `index`."""
        at = torch.from_numpy(index)
        return Data(self.features[at], self.targets[at], self.weights[at])


@dataclass(frozen=True)
class Fit:
    """Members, the slip's fit on all patients, and what the fits of each fold said of patients they did not see."""

    members: list[Member]
    slip: Slip
    unseen: NDArray[np.float32]  # (n, TARGETS) logits


def targets_of(table: Table) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(targets, weights), both (n, TARGETS); Mendeley teaches stenosis only, T1 alone no grade from signal ratios."""
    labels = table.labels
    above = labels[:, :1] > np.arange(THRESHOLDS)
    graded = np.repeat(labels[:, :1] != NO_LABEL, THRESHOLDS, 1)
    targets = np.concatenate([above, labels[:, 1:] > 0, above], 1)
    known = np.concatenate([graded, labels[:, 1:] != NO_LABEL, graded], 1)
    stenosis = THRESHOLDS + 1 + FLAGS.index("stenosis")
    known[np.ix_(table.group == "mendeley_t2", np.arange(TARGETS) != stenosis)] = False
    known[np.ix_(table.group == "spider_t1", np.arange(TARGETS) >= FIRST_RATIO)] = False
    weights = known * np.array([GROUP_WEIGHT.get(str(g), 1.0) for g in table.group])[:, None]
    return targets.astype(np.float32), weights.astype(np.float32)


def fit_member(recipe: Recipe, data: Data, epochs: int, seed: int) -> Member:
    """One member on all rows of `data`."""
    torch.manual_seed(seed)
    member = Member(recipe)
    optimiser = torch.optim.AdamW(member.parameters(), RATE, weight_decay=DECAY)
    steps = len(data.features) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=epochs * steps)
    share = (data.targets * data.weights).sum(0) / data.weights.sum(0).clamp(min=1)
    positive = ((1 - share) / share.clamp(min=1e-3)).sqrt().clamp(1.0, MAX_POSITIVE_WEIGHT)
    for _ in range(epochs):
        for part in torch.randperm(len(data.features))[: steps * BATCH].split(BATCH):
            loss = functional.binary_cross_entropy_with_logits(
                member(data.features[part]),
                data.targets[part],
                data.weights[part],
                pos_weight=positive,
                reduction="sum",
            )
            optimiser.zero_grad()
            (loss / BATCH).backward()
            optimiser.step()
            schedule.step()
    return member.eval()


def owners_of(table: Table) -> NDArray[np.str_]:
    """(n,) one name a person: all rows of one patient stay on one side of a split."""
    return np.char.add(np.char.partition(table.group.astype(str), "_")[:, 0], table.patient.astype(str))


def cross_fit(
    recipe: Recipe, table: Table, unpack: Unpack, effort: tuple[int, int], left_out: NDArray[np.bool_]
) -> Fit:
    """Members by patient; `effort` is (epochs, seeds a fold), rows `left_out` are told about but not learnt from."""
    epochs, seeds = effort
    batch = torch.from_numpy(pack(table.features))
    with torch.no_grad():
        features = unpack(batch)
    data = Data(features, *(torch.from_numpy(a) for a in targets_of(table)))
    present, weight = data.targets[:, SLIP].numpy() > 0, data.weights[:, SLIP].numpy()
    owners = owners_of(table)
    unseen = np.zeros((len(features), TARGETS), np.float32)
    members = []
    folds = GroupKFold(FOLDS, shuffle=True, random_state=0).split(owners, groups=owners)
    for fold, (inside, outside) in enumerate(folds):
        part = data.rows(inside[~left_out[inside]])
        for seed in range(seeds):
            member = fit_member(recipe, part, epochs, fold * seeds + seed)
            with torch.no_grad():
                unseen[outside] += member(data.features[outside]).numpy() / seeds
            members.append(member)
        # those left out for their Pfirrmann grades slip where the reference says so: they stay
        slip = fit_slip(batch[inside], present[inside], weight[inside])
        unseen[outside, SLIP] = slip(batch[outside])[:, 0].numpy()
    return Fit(members, fit_slip(batch, present, weight), unseen)


def calibrate(unseen: NDArray[np.float32], table: Table) -> tuple[Tensor, Tensor]:
    """Platt scale and shift (TARGETS,) on logits about unseen patients."""
    targets, weights = targets_of(table)
    scale, shift = np.ones(TARGETS, np.float32), np.zeros(TARGETS, np.float32)
    for t in range(TARGETS):
        known = weights[:, t] > 0
        if len(np.unique(targets[known, t])) < 2:  # nothing in this table to calibrate on
            continue
        platt = LogisticRegression(C=1.0).fit(unseen[known, t : t + 1], targets[known, t], weights[known, t])
        scale[t], shift[t] = max(float(platt.coef_[0, 0]), 0.05), platt.intercept_[0]
    return torch.tensor(scale), torch.tensor(shift)


def shifted(expected: NDArray[np.float64], table: Table) -> NDArray[np.bool_]:
    """(n,) rows of SPIDER patients whose grades fit `expected` (n,) much better one or two levels up or down."""
    found = np.zeros(len(expected), np.bool_)
    base = (table.group == "spider_t2") & (table.labels[:, 0] != NO_LABEL)
    for patient in np.unique(table.patient[base]):
        rows = np.flatnonzero(base & (table.patient == patient))
        rows = rows[np.argsort([disc_label(str(level)) for level in table.level[rows]])]
        truth, told = table.labels[rows, 0], expected[rows]
        errors = {0: float(np.mean((truth - told) ** 2))}
        for step in (1, 2):
            if len(rows) > step + 1:
                errors[step] = float(np.mean((truth[step:] - told[:-step]) ** 2))
                errors[-step] = float(np.mean((truth[:-step] - told[step:]) ** 2))
        if errors[0] > SHIFT_ERROR and min(errors.values()) < SHIFT_GAIN * errors[0]:
            found |= (table.patient == patient) & np.char.startswith(table.group.astype(str), "spider")
    return found


def modic_types(table: Table) -> Tensor:
    """(3,) share of each type among the changes of SPIDER T2, one added to each count."""
    values = table.labels[table.group == "spider_t2", 1]
    counts = np.array([(values == n).sum() + 1 for n in (1, 2, 3)], np.float32)
    return torch.tensor(counts / counts.sum())


def agreement(truth: NDArray[np.int64], told: NDArray[np.int64]) -> dict[str, float]:
    """Of Pfirrmann grades as class indices."""
    return {
        "kappa": round(float(cohen_kappa_score(truth, told, weights="quadratic", labels=range(5))), 3),
        "exact": round(float((truth == told).mean()), 3),
        "off_by_more": round(float((abs(truth - told) > 1).mean()), 3),
    }


def scores(probability: NDArray[np.float32], table: Table, group: str) -> dict[str, float]:
    """Agreement of (n, CHANNELS) probabilities with the labels of `group`."""
    rows = table.group == group
    found: dict[str, float] = {}
    for n, head in enumerate(HEADS):
        known = rows & (table.labels[:, n] != NO_LABEL)
        truth, told = table.labels[known, n], probability[known][:, head.channels]
        if len(np.unique(truth)) < 2:
            continue
        if head is PFIRRMANN:
            chosen = np.array([decide(head, p) for p in told])
            found |= {f"pfirrmann_{name}": value for name, value in agreement(truth, chosen).items()}
        else:
            found[f"{head.name}_auc"] = round(float(roc_auc_score(truth > 0, 1 - told[:, 0])), 3)
    return found


def rules(probability: NDArray[np.float32], table: Table) -> dict[str, dict[str, float]]:
    """Agreement on SPIDER T2 by what is told of the probabilities, and from ratios alone."""
    known = (table.group == "spider_t2") & (table.labels[:, 0] != NO_LABEL)
    truth, told = table.labels[known, 0], probability[known][:, PFIRRMANN.channels]
    ratios = probability[known][:, MIYAZAKI.channels]
    return {
        "most probable": agreement(truth, told.argmax(1)),
        "median": agreement(truth, np.minimum((np.cumsum(told, 1) < 0.5).sum(1), 4)),
        "expected, rounded": agreement(truth, np.rint(told @ np.arange(5)).astype(int)),
        "most probable, from ratios alone (used in the neck)": agreement(truth, ratios.argmax(1)),
    }


def unseen_answers(fit: Fit, scale: Tensor, shift: Tensor, types: Tensor) -> NDArray[np.float32]:
    """(n, CHANNELS) calibrated probabilities about unseen patients."""
    return np.asarray(probabilities(torch.sigmoid(torch.from_numpy(fit.unseen) * scale + shift), types).numpy())


def export(grader: Grader, file: Path) -> str:
    """Write the ONNX graph; returns its sha256."""
    example = torch.zeros(LEVELS_IN_A_CALL, CHANNELS_IN, 1, len(grader.unpack.mean))
    names = {"input_names": ["levels"], "output_names": ["probabilities"]}
    torch.onnx.export(grader.eval(), (example,), str(file), **names, opset_version=17, dynamo=False)
    return hashlib.sha256(file.read_bytes()).hexdigest()


def compare(table: Table, names: list[str], effort: tuple[int, int]) -> tuple[Grader, dict[str, object]]:
    """The grader of the best recipe by mean of kappa and AUC on SPIDER T2, and the record of all."""
    unpack, types = standardiser(table.features[table.group != "spider_t1"]), modic_types(table)
    first = cross_fit(RECIPES["linear"], table, unpack, (effort[0], 1), np.zeros(len(table.group), np.bool_))
    told = unseen_answers(first, *calibrate(first.unseen, table), types)
    left_out = shifted(told[:, PFIRRMANN.channels] @ np.arange(5), table)
    record: dict[str, object] = {"left_out": sorted({str(p) for p in table.patient[left_out]}, key=int)}
    compared, best, best_score = {}, None, -1.0
    for name in names:
        start = time.time()
        fit = cross_fit(RECIPES[name], table, unpack, effort, left_out)
        platt = calibrate(fit.unseen, table)
        told = unseen_answers(fit, *platt, types)
        found = {str(g): scores(told, table, g) for g in np.unique(table.group)}
        mean = float(np.mean([v for k, v in found["spider_t2"].items() if k.endswith(("kappa", "auc"))]))
        compared[name] = {"recipe": asdict(RECIPES[name]), "cross_validated": found, "rules": rules(told, table)}
        print(f"{name}: {time.time() - start:.0f} s, mean {mean:.4f}", json.dumps(found), flush=True)
        if mean > best_score:
            best_score, record["kept"] = mean, name
            record["slip"] = fit.slip.facts()
            best = Grader(unpack, fit.members, fit.slip, platt, types).eval()
    if best is None:
        raise SystemExit("no recipe was compared")
    return best, record | {"compared": compared}


def main() -> None:
    """Compare the recipes, keep the best, export it with its record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--recipe", choices=tuple(RECIPES), nargs="+", default=list(RECIPES), help="compared; best kept"
    )
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3, help="members a fold")
    parser.add_argument("--segmenter", default="", help="sha256 of the segmenter the table was made with")
    args = parser.parse_args()
    torch.set_num_threads(1)
    whole = read_table(args.table)
    table = whole.rows((whole.part != "test") & whole.sure)
    grader, found = compare(table, args.recipe, (args.epochs, args.seeds))
    record = {"segmenter_sha256": args.segmenter, "epochs": args.epochs, "folds": FOLDS, "seeds": args.seeds, **found}
    record["discs"] = {str(g): int((table.group == g).sum()) for g in np.unique(table.group)}
    record["sha256"] = export(grader, args.out / "grader.onnx")
    (args.out / "grader.record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(record["kept"], record["left_out"], record["sha256"])


if __name__ == "__main__":
    main()
