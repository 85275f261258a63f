"""Stage 9: Report and mask -> the output sockets, all of them or none."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from spine.errors import OutputError, SoftwareError
from spine.records import Grid, Report, Study
from spine.resources import Socket, extra_outputs, output_sockets, violations

STAGING_PREFIX = ".partial-"
IMAGE_NAME = "output.mha"
# zlib level of the mask. Best of 5 on SPIDER masks of 13 x 512 x 640 on one core, ms and kB: 1: 4.2, 144; 2: 5.1, 78;
# 3: 5.7, 61; 4: 5.3, 55; 5: 6.4, 47; 6: 10.5, 40; 9: 73, 35. Level 4 has most of the gain at none of the cost.
COMPRESSION_LEVEL = 4
NO_EXTRAS: Mapping[str, bytes] = MappingProxyType({})


def write_outputs(
    report: Report,
    mask: NDArray[np.uint8],
    study: Study,
    output_dir: Path,
    extras: Mapping[str, bytes] = NO_EXTRAS,
) -> None:
    """Write every output socket into `output_dir`, and `extras`, or nothing.

    The files are made complete in a hidden folder inside `output_dir` (which may be a mount point and cannot itself be
    renamed) and then moved into place. Outputs of an earlier case are replaced; after a failure none is left.

    Args:
        report: documents that satisfy their schemas in resources/.
        mask: uint8 with axes (k, j, i) on the grid of `study.primary`.
        study: the case that was read.
        output_dir: made when it does not exist.
        extras: slug of resources.extra_outputs -> content, for those that were asked for.

    Raises:
        OutputError: the folder cannot be written to, is full, or holds an image that is not ours.
        SoftwareError: a document breaks its schema or the mask does not fit the grid.
    """
    documents = {**_documents(report), **_extra_documents(extras)}
    grid = study.primary.grid
    if mask.dtype != np.uint8 or mask.shape != grid.size[::-1]:
        raise SoftwareError(
            f"The mask is {mask.dtype} of shape {mask.shape}; uint8 of shape {grid.size[::-1]} is expected."
        )
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=output_dir))
        for relative, content in documents.items():
            _write_bytes(staging / Path(relative).name, content)
        _write_mask(mask, grid, staging / IMAGE_NAME)
        _clear(output_dir, keep=staging)
        _place(staging, output_dir)
    except BaseException as fault:
        discard_outputs(output_dir)
        if isinstance(fault, OSError):
            raise OutputError(_cannot(output_dir, fault)) from fault
        raise


def clear_outputs(output_dir: Path) -> None:
    """Remove the outputs of an earlier case, and what a killed run left, from `output_dir`.

    Raises OutputError when that is not possible or when the folder of the mask holds an image that is not ours.
    """
    try:
        _clear(output_dir)
    except OSError as fault:
        raise OutputError(_cannot(output_dir, fault)) from fault


def discard_outputs(output_dir: Path) -> None:
    """Clear `output_dir` after a failure, whose own reason is the one to tell: never raises.

    The hidden folder goes first: a case that is given up in the middle of writing then finds nothing to put in place.
    """
    for leftover in output_dir.glob(f"{STAGING_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with suppress(OSError, OutputError):
        _clear(output_dir)


def _cannot(output_dir: Path, fault: OSError) -> str:
    return f"{output_dir}: the results cannot be written ({fault.strerror or type(fault).__name__})."


def _documents(report: Report) -> dict[str, bytes]:
    """Relative path -> content of every output but the mask. JSON keeps the order in which the report was composed."""
    values: dict[str, Mapping[str, Any]] = {
        "spine-degeneration-report": report.report,
        "accelerated-degeneration-likelihood": report.degeneration,
        "spine-treatment-outcome-prediction": report.outcome,
    }
    if not report.pdf.startswith(b"%PDF-"):
        raise SoftwareError("spine-report.pdf: the page is not a PDF document.")
    found = {}
    for socket in output_sockets():
        if socket.super_kind == "Value":
            found[socket.relative_path] = _json_bytes(values[socket.slug], socket)
        elif socket.super_kind == "File":
            found[socket.relative_path] = report.pdf
    return found


def _extra_documents(extras: Mapping[str, bytes]) -> dict[str, bytes]:
    """Relative path -> content of what was asked for beside the outputs."""
    paths = {socket.slug: socket.relative_path for socket in extra_outputs()}
    return {paths[slug]: content for slug, content in extras.items()}


def _json_bytes(document: Mapping[str, Any], socket: Socket) -> bytes:
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2)
        content = (text + "\n").encode("utf-8")
    except (TypeError, ValueError) as fault:
        raise SoftwareError(f"{socket.relative_path}: the document is not JSON ({fault}).") from fault
    broken = next(violations(json.loads(text), str(socket.schema)), None)
    if broken is not None:
        place = "/".join(str(part) for part in broken.absolute_path) or "the document"
        raise SoftwareError(f"{socket.relative_path}: {place} breaks the schema {socket.schema} ({broken.validator}).")
    return content


def _write_bytes(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _write_mask(mask: NDArray[np.uint8], grid: Grid, path: Path) -> None:
    """Write `mask` as compressed MHA on `grid`, and read it back: a library that loses bytes silently is found out."""
    image = SimpleITK.GetImageFromArray(mask)
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(grid.origin_mm)
    image.SetDirection(grid.direction)
    try:
        SimpleITK.WriteImage(image, str(path), useCompression=True, compressionLevel=COMPRESSION_LEVEL)
        stored = SimpleITK.ReadImage(str(path), imageIO="MetaImageIO")
    except RuntimeError as fault:
        reason = str(fault).rstrip().rsplit("Reason: ", maxsplit=1)[-1].splitlines()[-1]
        raise OSError(0, reason) from fault
    same_grid = (stored.GetSpacing(), stored.GetOrigin(), stored.GetDirection()) == (
        grid.spacing_mm,
        grid.origin_mm,
        grid.direction,
    )
    if not same_grid or not np.array_equal(SimpleITK.GetArrayViewFromImage(stored), mask):
        raise OutputError(f"{IMAGE_NAME}: the mask reads back otherwise than it was written.")
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _target(output_dir: Path, socket: Socket) -> Path:
    """Final path of an output; raises OutputError where a link leads out of the output folder."""
    inside = f"{socket.relative_path}/{IMAGE_NAME}" if socket.super_kind == "Image" else socket.relative_path
    target = output_dir / inside
    if not target.parent.resolve().is_relative_to(output_dir.resolve()):
        raise OutputError(f"{target.parent}: the path leads out of the output folder.")
    return target


def _place(staging: Path, output_dir: Path) -> None:
    for socket in (*output_sockets(), *extra_outputs()):
        target = _target(output_dir, socket)
        if (staging / target.name).exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging / target.name, target)
    staging.rmdir()


def _clear_extras(output_dir: Path) -> None:
    """Remove what an earlier case left beside the outputs; its folder too, unless somebody put more into it."""
    for socket in extra_outputs():
        target = _target(output_dir, socket)
        target.unlink(missing_ok=True)
        if target.parent != output_dir and target.parent.is_dir() and not any(target.parent.iterdir()):
            target.parent.rmdir()


def _clear(output_dir: Path, keep: Path | None = None) -> None:
    if not output_dir.exists():
        return
    for leftover in output_dir.glob(f"{STAGING_PREFIX}*"):
        if leftover != keep:
            shutil.rmtree(leftover)
    _clear_extras(output_dir)
    for socket in output_sockets():
        target = _target(output_dir, socket)
        target.unlink(missing_ok=True)
        if socket.super_kind == "Image" and target.parent.is_dir():
            foreign = sorted(path.name for path in target.parent.iterdir())
            if foreign:
                raise OutputError(
                    f"{target.parent}: the folder holds {foreign[0]}, which is not ours; an empty folder is expected."
                )
            target.parent.rmdir()
            if not any(target.parent.parent.iterdir()):
                target.parent.parent.rmdir()
