"""Fit, compare, calibrate and export the grader.

    python -m lab.train.grade_train --table TABLE.npz --out model

Everything is chosen and calibrated by cross-validation over the training patients: each member of the ensemble is
fitted without one fifth of them and says what it thinks of that fifth; Platt scaling (Platt 1999) of these answers
calibrates. Test patients are never read. Pfirrmann and the flags of SPIDER come from SPIDER patients only; stenosis
comes from the Mendeley boxes, whose Pfirrmann grades stay unseen, as a second data set.
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

from lab.train.grade_data import NO_LABEL, Table, read_table
from lab.train.grade_network import THRESHOLDS, Grader, Member, Recipe, Unpack, logits, probabilities
from spine.grade import LEVELS_IN_A_CALL, decide
from spine.grade.classes import FLAGS, HEADS, PFIRRMANN
from spine.grade.inputs import CHANNELS_IN, PICTURES
from spine.grade.patch import COLUMNS, ROWS

FOLDS = 5
RECIPES = {
    "linear": Recipe(hidden=0, pictures=False),
    "perceptron": Recipe(pictures=False),
    "fused": Recipe(),
}
RATE, DECAY, BATCH = 2e-3, 2e-2, 64
T1_WEIGHT = 0.5  # T1 pictures carry the same labels as the T2 of the same patient
MAX_POSITIVE_WEIGHT = 4.0  # rare findings weigh more in the fit; calibration takes it out again
SHIFT_PIXELS = 2
TARGETS = THRESHOLDS + 1 + len(FLAGS)


@dataclass(frozen=True)
class Data:
    """What is fitted."""

    batch: Tensor  # (n, CHANNELS_IN, ROWS, COLUMNS)
    features: Tensor  # (n, 2 F)
    targets: Tensor  # (n, TARGETS) 0 or 1
    weights: Tensor  # (n, TARGETS), 0 where there is no label


def targets_of(table: Table) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(targets, weights), both (n, TARGETS); Mendeley teaches stenosis only."""
    labels = table.labels
    pfirrmann = labels[:, :1]
    targets = np.concatenate([pfirrmann > np.arange(THRESHOLDS), labels[:, 1:] > 0], 1)
    known = np.concatenate([np.repeat(pfirrmann != NO_LABEL, THRESHOLDS, 1), labels[:, 1:] != NO_LABEL], 1)
    known[table.group == "mendeley_t2", :-1] = False
    weights = known * np.where(table.group == "spider_t1", T1_WEIGHT, 1.0)[:, None]
    return targets.astype(np.float32), weights.astype(np.float32)


def standardise(table: Table) -> Unpack:
    """Mean and spread of every known feature of SPIDER T2."""
    values = table.features[table.group == "spider_t2"]
    middle = np.nanmedian(values, 0)
    low, high = np.nanpercentile(values, (16, 84), axis=0)
    spread = np.maximum((high - low) / 2, 1e-3)
    return Unpack(torch.tensor(middle, dtype=torch.float32), torch.tensor(spread, dtype=torch.float32))


def fit_member(recipe: Recipe, data: Data, epochs: int, seed: int) -> Member:
    """One member on all rows of `data`."""
    torch.manual_seed(seed)
    member = Member(recipe)
    optimiser = torch.optim.AdamW(member.parameters(), RATE, weight_decay=DECAY)
    steps = epochs * (len(data.batch) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    share = (data.targets * data.weights).sum(0) / data.weights.sum(0).clamp(min=1)
    positive = ((1 - share) / share.clamp(min=1e-3)).sqrt().clamp(1.0, MAX_POSITIVE_WEIGHT)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(data.batch), generator=generator)
        for part in order[: len(order) // BATCH * BATCH].split(BATCH):
            pictures = moved(data.batch[part, :PICTURES], generator) if recipe.pictures else data.batch[part, :0]
            answer = logits(member(pictures, data.features[part]), member.thresholds)
            loss = functional.binary_cross_entropy_with_logits(
                answer, data.targets[part], data.weights[part], pos_weight=positive, reduction="sum"
            ) / len(part)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return member.eval()


def moved(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures shifted by up to SHIFT_PIXELS and scaled in brightness, one draw a batch."""
    down, across = (int(torch.randint(-SHIFT_PIXELS, SHIFT_PIXELS + 1, (1,), generator=generator)) for _ in range(2))
    pictures = torch.roll(pictures, (down, across), (2, 3))
    gain = 1 + 0.15 * torch.randn(len(pictures), 1, 1, 1, generator=generator)
    return torch.cat([pictures[:, :2] * gain, pictures[:, 2:]], 1)


@dataclass(frozen=True)
class Fit:
    """Members, and what each said about the patients it did not see."""

    members: list[Member]
    unseen: NDArray[np.float32]  # (n, TARGETS) logits


def cross_fit(recipe: Recipe, table: Table, unpack: Unpack, epochs: int) -> Fit:
    """FOLDS members by patient (T1 and T2 of one patient stay together)."""
    batch = torch.from_numpy(table.batch)
    targets, weights = (torch.from_numpy(a) for a in targets_of(table))
    with torch.no_grad():
        data = Data(batch, unpack(batch), targets, weights)
    owners = np.char.add(np.char.partition(table.group.astype(str), "_")[:, 0], table.patient.astype(str))
    unseen = np.zeros((len(batch), TARGETS), np.float32)
    members = []
    for seed, (inside, outside) in enumerate(
        GroupKFold(FOLDS, shuffle=True, random_state=0).split(owners, groups=owners)
    ):
        rows = torch.from_numpy(inside)
        part = Data(*(getattr(data, name)[rows] for name in ("batch", "features", "targets", "weights")))
        member = fit_member(recipe, part, epochs, seed)
        with torch.no_grad():
            answer = logits(member(data.batch[outside, :PICTURES], data.features[outside]), member.thresholds)
        unseen[outside] = answer.numpy()
        members.append(member)
    return Fit(members, unseen)


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


def modic_types(table: Table) -> Tensor:
    """(3,) share of each type among the changes of SPIDER T2, one added to each count."""
    values = table.labels[table.group == "spider_t2", 1]
    counts = np.array([(values == n).sum() + 1 for n in (1, 2, 3)], np.float32)
    return torch.tensor(counts / counts.sum())


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
            found["pfirrmann_kappa"] = float(cohen_kappa_score(truth, chosen, weights="quadratic", labels=range(5)))
            found["pfirrmann_exact"] = float((truth == chosen).mean())
            found["pfirrmann_off_by_more"] = float((abs(truth - chosen) > 1).mean())
        else:
            found[f"{head.name}_auc"] = float(roc_auc_score(truth > 0, 1 - told[:, 0]))
    return {name: round(value, 3) for name, value in found.items()}


def answers(grader: Grader, table: Table) -> NDArray[np.float32]:
    """(n, CHANNELS) probabilities of the whole graph."""
    with torch.no_grad():
        parts = [
            grader(torch.from_numpy(part)) for part in np.array_split(table.batch, max(1, len(table.batch) // 256))
        ]
    return np.asarray(torch.cat(parts)[:, :, 0, 0].numpy())


def unseen_answers(fit: Fit, scale: Tensor, shift: Tensor, types: Tensor) -> NDArray[np.float32]:
    """(n, CHANNELS) calibrated probabilities about unseen patients."""
    return np.asarray(probabilities(torch.sigmoid(torch.from_numpy(fit.unseen) * scale + shift), types).numpy())


def export(grader: Grader, file: Path) -> str:
    """Write the ONNX graph; returns its sha256."""
    example = torch.zeros(LEVELS_IN_A_CALL, CHANNELS_IN, ROWS, COLUMNS)
    torch.onnx.export(
        grader.eval(),
        (example,),
        str(file),
        input_names=["levels"],
        output_names=["probabilities"],
        opset_version=17,
        dynamo=False,
    )
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main() -> None:
    """Compare the recipes, keep the wanted one, export it with its record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--recipe", choices=tuple(RECIPES), nargs="+", default=tuple(RECIPES), help="compared; best kept"
    )
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--segmenter", default="", help="sha256 of the segmenter the table was made with")
    args = parser.parse_args()
    torch.set_num_threads(1)
    whole = read_table(args.table)
    table = whole.rows((whole.part == "train") & whole.sure)
    val = whole.rows(whole.part == "val")
    unpack, types = standardise(table), modic_types(table)
    record: dict[str, object] = {
        "segmenter_sha256": args.segmenter,
        "epochs": args.epochs,
        "folds": FOLDS,
        "compared": {},
    }
    best, best_score = None, -1.0
    for name in args.recipe:
        start = time.time()
        fit = cross_fit(RECIPES[name], table, unpack, args.epochs)
        scale, shift = calibrate(fit.unseen, table)
        found = {g: scores(unseen_answers(fit, scale, shift, types), table, g) for g in np.unique(table.group)}
        record["compared"][name] = {"recipe": asdict(RECIPES[name]), "cross_validated": found}  # type: ignore[index]
        spider = found["spider_t2"]
        mean = float(np.mean([v for k, v in spider.items() if k.endswith(("kappa", "auc"))]))
        print(f"{name}: {time.time() - start:.0f} s, mean {mean:.3f}", json.dumps(found), flush=True)
        if mean > best_score:
            best, best_score = (name, Grader(unpack, fit.members, scale, shift, types).eval()), mean
    if best is None:
        raise SystemExit("no recipe was compared")
    record |= {"kept": best[0], "validation": {g: scores(answers(best[1], val), val, g) for g in np.unique(val.group)}}
    record["discs"] = {str(g): int((table.group == g).sum()) for g in np.unique(table.group)}
    record["sha256"] = export(best[1], args.out / "grader.onnx")
    (args.out / "grader.record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record["validation"]), record["kept"], record["sha256"])


if __name__ == "__main__":
    main()
