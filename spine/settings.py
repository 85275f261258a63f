"""Frozen settings read from model/settings.json. An unknown or missing key is an error."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from spine.errors import ModelError


@dataclass(frozen=True)
class GridSettings:
    """The model's grid."""

    pixel_mm: float  # in-plane spacing
    slice_mm_min: float  # slices closer than this are thinned by a whole factor
    multiple: int  # rows and columns are padded to a multiple of this
    max_voxels: int  # refuse series with more voxels


@dataclass(frozen=True)
class SegmenterSettings:
    """The segmentation network."""

    file: str
    sha256: str
    neighbours: int  # slices on either side that enter as channels
    batch: int  # slices in one call of the runner


@dataclass(frozen=True)
class Settings:
    """Everything that belongs to the learnt part and may change without a change of code."""

    version: str
    grid: GridSettings
    segmenter: SegmenterSettings


def _build(kind: type, data: Any, where: str) -> Any:
    names = {f.name for f in fields(kind)}
    if not isinstance(data, dict) or set(data) != names:
        found = sorted(data) if isinstance(data, dict) else type(data).__name__
        raise ModelError(f"{where}: expected exactly the keys {sorted(names)}, found {found}.")
    return kind(**data)


def read_settings(model_dir: Path) -> Settings:
    """Read `model_dir`/settings.json; raises ModelError when it is missing, damaged or has other keys."""
    path = model_dir / "settings.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: the model's settings cannot be read ({error}).") from error
    settings = _build(Settings, data, str(path))
    return Settings(
        version=settings.version,
        grid=_build(GridSettings, settings.grid, f"{path}: grid"),
        segmenter=_build(SegmenterSettings, settings.segmenter, f"{path}: segmenter"),
    )
