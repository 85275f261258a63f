"""Studies of a given size: the bundled synthetic case on another grid. Contents hardly matter for the time."""

from __future__ import annotations

import json
import math
from pathlib import Path

import SimpleITK as sitk  # noqa: N813  the name its own documentation uses

ROOT = Path(__file__).parents[2]
CASE = ROOT / "test" / "input" / "lumbar"
SIZES = {  # (slices, rows, columns) and (slice, row, column) spacing in mm
    "routine": ((18, 448, 448), (4.0, 0.6, 0.6)),
    "isotropic": ((120, 512, 512), (0.6, 0.6, 0.6)),
    "thick": ((200, 512, 512), (2.4, 0.8, 0.8)),  # not thinned, not resampled: the largest on the model's grid
}


def write_case(folder: Path, size: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Path:
    """The bundled case's sagittal T2 series on another grid, in the platform's layout.

    A stack wider than the case goes on with its mirror images, so that every slice shows a spine and costs what it may.
    """
    source = sitk.ReadImage(str(next((CASE / "images" / "sagittal-spine-mri").iterdir())))
    target = sitk.Image(*size[::-1], sitk.sitkInt16)
    target.SetSpacing(spacing_mm[::-1])
    target.SetDirection(source.GetDirection())
    missing = math.ceil((size[0] * spacing_mm[0] / source.GetSpacing()[2] - source.GetSize()[2]) / 2)
    if missing > 0:
        source = sitk.MirrorPad(source, (0, 0, missing), (0, 0, missing))
    centre = source.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in source.GetSize()])
    target.SetOrigin((0.0, 0.0, 0.0))
    own = target.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in target.GetSize()])
    target.SetOrigin([c - o for c, o in zip(centre, own, strict=True)])
    moved = sitk.Resample(source, target, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkInt16)
    (folder / "images" / "sagittal-spine-mri").mkdir(parents=True)
    sitk.WriteImage(moved, str(folder / "images" / "sagittal-spine-mri" / "case.mha"), useCompression=True)
    socket = {"slug": "sagittal-spine-mri", "relative_path": "images/sagittal-spine-mri", "super_kind": "Image"}
    (folder / "inputs.json").write_text(json.dumps([{"socket": socket, "value": None}]), encoding="utf-8")
    return folder
