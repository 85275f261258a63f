"""The end of exporting a small network: parity with torch, the record beside the file, the digest in the settings."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from spine.runners import Runner

Parity = dict[str, float | int | str]


@torch.no_grad()
def compare(network: nn.Module, runner: Runner, pictures: Iterable[Tensor]) -> Parity:
    """Share of the pixels of `pictures`, each (n, channels, H, W), that torch in float32 and `runner` class alike."""
    same, total, largest = 0, 0, 0.0
    for picture in pictures:
        wanted, found = network(picture).softmax(1).numpy(), runner(picture.numpy())
        same += int((wanted.argmax(1) == found.argmax(1)).sum())
        total += wanted[:, 0].size
        largest = max(largest, float(np.abs(wanted - found).max()))
    return {"agree": same / total, "largest_change_prob": largest, "runner": runner.name}


def write_record(out: Path, digest: str, compared: Parity, run: Path) -> None:
    """The run's record with digest and parity beside `out`; its digest in the settings, where they know the network."""
    record = json.loads((run / "record.json").read_text(encoding="utf-8"))
    record = {"file": out.name, "sha256": digest, "parity": compared, **record}
    out.with_suffix(".record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    settings = out.with_name("settings.json")
    data = json.loads(settings.read_text(encoding="utf-8")) if settings.exists() else {}
    if out.stem in data:
        data[out.stem].update(file=out.name, sha256=digest)
        settings.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print(f"{out}  {out.stat().st_size / 1e6:.1f} MB  sha256 {digest}\n{compared}")
