"""Checkpoints read back: a run continues only as what it was."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lab.train.sources import UnusableData


def read_checkpoint(file: Path, device: torch.device) -> dict[str, Any]:
    """The content of a last.pt.

    Raises:
        UnusableData: the file is missing, torn or no checkpoint of lab.train.train_segmenter.
    """
    if not file.exists():
        raise UnusableData(f"{file}: no such file; it is written by lab.train.train_segmenter.")
    try:
        stored = torch.load(file, map_location=device, weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, LookupError, pickle.UnpicklingError) as error:
        raise UnusableData(f"{file}: cannot be read; it is torn or no checkpoint.") from error
    if not isinstance(stored, dict) or not {"average", "step", "log"} <= set(stored):
        raise UnusableData(f"{file}: is no checkpoint of lab.train.train_segmenter.")
    return stored


def load_weights(module: Any, stored: Any, file: Path) -> None:
    """Load the state dict `stored` into a network or optimiser.

    Raises:
        UnusableData: it belongs to another network.
    """
    try:
        module.load_state_dict(stored)
    except (RuntimeError, ValueError, KeyError) as error:
        raise UnusableData(f"{file}: holds a network of other --widths or --neighbours.") from error


def require_same_run(file: Path, stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse to continue `file` with other arguments than it was trained with, both {argument: value}.

    Raises:
        UnusableData: some differ; the sentence names them.
    """
    told = []
    for name in given:
        if name not in stored:  # written before the argument existed
            continue
        if name == "data_sha256":
            told += _other_data(stored[name], given[name])
        elif stored[name] != given[name]:
            told.append(f"{name} {stored[name]}, now {given[name]}")
    if told:
        raise UnusableData(f"{file}: was trained with {'; '.join(told)}. Give the same as then, or another --out.")


def _other_data(stored: Mapping[str, str], given: Mapping[str, str]) -> list[str]:
    told = [f"{source} that is not given now" for source in sorted(set(stored) - set(given))]
    told += [f"no {source}, which is given now" for source in sorted(set(given) - set(stored))]
    both = sorted(set(stored) & set(given))
    return told + [f"other pictures or labels of {s}" for s in both if stored[s] != given[s]]


def file_digest(file: Path) -> str:
    """sha256 of a file.

    Raises:
        UnusableData: it is missing.
    """
    if not file.exists():
        raise UnusableData(f"{file}: no such file; it is written by lab.train.train_segmenter.")
    return hashlib.sha256(file.read_bytes()).hexdigest()
