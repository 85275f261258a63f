"""Two label images of one case -> raw results: structures, instances, numbering. Nothing is averaged here.

Label images of any method are read through a label map: a JSON file of `label_maps/` (or of the user) that gives each
number an anatomical name: a vertebra (`L5`), a partly visible one (`T10 partial`), a disc (`L5/S1`), `canal`, `cord`,
`sacrum`, one of the classes without instances `vertebra` and `disc`, or `ignore`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from lab.evaluate.metrics import SurfaceDistances, dice, surface_distances
from spine.anatomy import DISC_LEVELS, VERTEBRA_NAMES
from spine.errors import MissingInput, UnreadableImage, UnusableImage

LABEL_MAPS = Path(__file__).parent / "label_maps"
PARTIAL = " partial"
EXTRA_VERTEBRAE = ("L6", "L7", "T13")
VERTEBRAE = (*VERTEBRA_NAMES, *EXTRA_VERTEBRAE)
KINDS = ("vertebra", "disc", "canal", "sacrum")
TOLERANCES_MM = (1.0, 2.0)  # of the normalised surface distance
FOUND_DICE = 0.1  # an instance counts as found from this Dice on, as in SPIDER's own evaluation
MAX_LABEL = 65_535
GRID_TOLERANCE_MM = 1e-3


@dataclass(frozen=True)
class LabelMap:
    """What the numbers of a method's label images mean."""

    name: str
    source: str
    labels: Mapping[int, str]  # number -> anatomical name
    only_below_highest_vertebra: bool = False  # above it nothing is known, so nothing is scored

    @property
    def kinds(self) -> tuple[str, ...]:
        """The structures that this map can tell, in the order of KINDS."""
        found = {kind_of(name) for name in self.labels.values()}
        return tuple(kind for kind in KINDS if kind in found)


@dataclass(frozen=True)
class LabelImage:
    """Labels of one case. `array` has axes (k, j, i), `spacing_mm` is in the same order."""

    array: NDArray[np.int64]
    spacing_mm: tuple[float, float, float]
    labels: Mapping[int, str]
    up: tuple[int, bool]  # array axis nearest to superior, and whether its index rises upward


def kind_of(name: str) -> str | None:
    """Structure that the anatomical name belongs to; None for 'ignore'. The canal includes the cord here."""
    plain = name.removesuffix(PARTIAL)
    if plain in VERTEBRAE or name == "vertebra":
        return "vertebra"
    if name in DISC_LEVELS or name == "disc":
        return "disc"
    return {"canal": "canal", "cord": "canal", "sacrum": "sacrum", "ignore": None}[name]


def read_label_map(name: str) -> LabelMap:
    """The label map `name` of this folder, or of the JSON file with that path.

    Raises MissingInput when there is none, or when it gives a number a name that is not known.
    """
    path = Path(name) if name.endswith(".json") else LABEL_MAPS / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in LABEL_MAPS.glob("*.json")))
        raise MissingInput(f"{name}: there is no such label map; {known} or the path of a JSON file is expected.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        labels = {int(number): str(label) for number, label in data["labels"].items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise MissingInput(f"{path.name}: a JSON object with 'labels' (number -> name) is expected.") from error
    for number, label in labels.items():
        try:
            kind_of(label)
        except KeyError:
            raise MissingInput(
                f"{path.name}: label {number} is called {label!r}; a vertebra, a disc, canal, cord, sacrum, vertebra, "
                "disc or ignore is expected."
            ) from None
    return LabelMap(path.stem, str(data.get("source", "")), labels, bool(data.get("only_below_highest_vertebra")))


def read_label_image(path: Path, labels: LabelMap, like: Path | None = None) -> tuple[LabelImage, bool]:
    """Read the label image `path`, on the grid of the image file `like` if one is given.

    Returns:
        The labels, and whether they had to be resampled (nearest neighbour) because the grids differ.

    Raises:
        UnreadableImage: the file is no image. UnusableImage: not three axes, or numbers that the label map lacks.
    """
    image = _read(path)
    resampled = False
    if like is not None:
        target = _read(like)
        resampled = not _same_grid(image, target)
        if resampled:
            image = SimpleITK.Resample(image, target, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0)
    array = SimpleITK.GetArrayFromImage(image)
    if not np.array_equal(array, np.rint(array)) or array.min() < 0 or array.max() > MAX_LABEL:
        raise UnusableImage(f"{path.name}: the voxels are not whole label numbers of 0 to {MAX_LABEL}.")
    array = array.astype(np.int64)
    unknown = sorted(set(np.unique(array).tolist()) - {0} - set(labels.labels))
    if unknown:
        shown = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        raise UnusableImage(f"{path.name}: the label map {labels.name} does not name the numbers {shown}.")
    spacing_mm = image.GetSpacing()[::-1]
    return LabelImage(array, spacing_mm, labels.labels, _up(image)), resampled


def score_masks(reference: LabelImage, prediction: LabelImage, reference_map: LabelMap) -> dict[str, Any]:
    """Raw results of one case: `structures` (by kind), `instances`, `extra` (predicted instances without a match) and
    `numbering`. Only structures that both label maps can tell are scored.
    """
    window = _window(reference) if reference_map.only_below_highest_vertebra else (slice(None),) * 3
    found, truth = prediction.array[window], reference.array[window]
    ignored = np.isin(truth, [n for n, name in reference.labels.items() if kind_of(name) is None])
    found = np.where(ignored, 0, found)
    structures = {}
    theirs = {kind_of(name) for name in prediction.labels.values()}
    for kind in (kind for kind in reference_map.kinds if kind in theirs):
        a, b = _mask(truth, reference.labels, kind), _mask(found, prediction.labels, kind)
        structures[kind] = _pair(a, b, reference.spacing_mm)
    instances, extra = _instances(truth, found, reference, prediction)
    return {
        "structures": structures,
        "instances": instances,
        "extra": extra,
        "numbering": _numbering(instances),
    }


def _pair(reference: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> dict[str, Any]:
    """All metrics of one pair, rounded to what a voxel can tell; a distance that is not defined says why."""
    state = _state(reference.any(), prediction.any())
    voxel_mm3 = math.prod(spacing_mm)
    result: dict[str, Any] = {
        "state": state,
        "reference_mm3": round(float(np.count_nonzero(reference)) * voxel_mm3, 3),
        "prediction_mm3": round(float(np.count_nonzero(prediction)) * voxel_mm3, 3),
    }
    if state == "both empty":
        return result | {name: {"not_measurable": state} for name in ("dice", *_distance_names())}
    result["dice"] = round(dice(reference, prediction), 6)
    if state != "measured":
        zero = {f"nsd_{tolerance:g}mm": 0.0 for tolerance in TOLERANCES_MM}
        return result | zero | {name: {"not_measurable": state} for name in ("hd95_mm", "assd_mm")}
    return result | _distances(surface_distances(reference, prediction, spacing_mm))


def _state(reference: bool, prediction: bool) -> str:
    if reference and prediction:
        return "measured"
    if not reference and not prediction:
        return "both empty"
    return "prediction empty" if reference else "reference empty"


def _distance_names() -> tuple[str, ...]:
    return ("hd95_mm", "assd_mm", *(f"nsd_{tolerance:g}mm" for tolerance in TOLERANCES_MM))


def _distances(surfaces: SurfaceDistances) -> dict[str, float]:
    shares = {f"nsd_{tolerance:g}mm": round(surfaces.nsd(tolerance), 6) for tolerance in TOLERANCES_MM}
    return {"hd95_mm": round(surfaces.hausdorff_mm(), 6), "assd_mm": round(surfaces.assd_mm(), 6), **shares}


def _mask(array: NDArray[np.int64], labels: Mapping[int, str], kind: str) -> NDArray[np.bool_]:
    return np.isin(array, [number for number, name in labels.items() if kind_of(name) == kind])


def _named(labels: Mapping[int, str], present: set[int], kind: str) -> dict[int, str]:
    """Whole, named instances of `kind` among the numbers that are present."""
    names = VERTEBRAE if kind == "vertebra" else DISC_LEVELS
    return {number: labels[number] for number in sorted(present) if labels.get(number) in names}


def _instances(
    truth: NDArray[np.int64], found: NDArray[np.int64], reference: LabelImage, prediction: LabelImage
) -> tuple[list[dict[str, Any]], list[str]]:
    """Reference instances with the predicted one that fits best (one to one, greatest sum of Dice), and the rest."""
    results, extra = [], []
    for kind in ("vertebra", "disc"):
        ours = _named(reference.labels, set(np.unique(truth).tolist()), kind)
        theirs = _named(prediction.labels, set(np.unique(found).tolist()), kind)
        if not ours:
            continue
        scores = _dice_table(truth, found, list(ours), list(theirs))
        rows, columns = linear_sum_assignment(-scores)
        match = {r: c for r, c in zip(rows, columns, strict=True) if scores[r, c] >= FOUND_DICE}
        for row, (number, name) in enumerate(ours.items()):
            result: dict[str, Any] = {"kind": kind, "reference": name, "found": row in match}
            if row in match:
                other, other_name = list(theirs.items())[match[row]]
                pair = _pair(truth == number, found == other, reference.spacing_mm)
                result |= {"prediction": other_name, **pair}
            else:
                result |= {"prediction": {"not_measurable": "not found"}, "dice": 0.0}
            results.append(result)
        extra += [name for column, name in enumerate(theirs.values()) if column not in match.values()]
    return results, extra


def _dice_table(
    truth: NDArray[np.int64], found: NDArray[np.int64], ours: list[int], theirs: list[int]
) -> NDArray[np.float64]:
    """(reference instance, predicted instance) Dice of every pair, from one pass over the voxels."""
    row = np.zeros(MAX_LABEL + 1, np.int64)
    column = np.zeros(MAX_LABEL + 1, np.int64)
    row[ours] = np.arange(1, len(ours) + 1)
    column[theirs] = np.arange(1, len(theirs) + 1)
    width = len(theirs) + 1
    joint = np.bincount((row[truth] * width + column[found]).ravel(), minlength=(len(ours) + 1) * width)
    joint = joint.reshape(len(ours) + 1, width)
    total = joint.sum(1)[1:, None] + joint.sum(0)[None, 1:]
    return 2.0 * joint[1:, 1:] / np.maximum(total, 1)


def _numbering(instances: list[dict[str, Any]]) -> dict[str, Any]:
    """How many instances that were found carry the reference's name."""
    found = [one for one in instances if one["found"]]
    if not found:
        why = "no instance was found" if instances else "the reference does not tell instances apart"
        return {"not_measurable": why}
    right = sum(one["prediction"] == one["reference"] for one in found)
    return {"right": right, "found": len(found), "all_right": right == len(found)}


def _window(reference: LabelImage) -> tuple[slice, ...]:
    """The part of the image up to the top of the highest labelled vertebra; all of it where there is none."""
    axis, rising = reference.up
    vertebra = _mask(reference.array, reference.labels, "vertebra")
    filled = np.flatnonzero(vertebra.any(tuple(a for a in range(3) if a != axis)))
    sides = [slice(None)] * 3
    if filled.size:
        sides[axis] = slice(None, int(filled[-1]) + 1) if rising else slice(int(filled[0]), None)
    return tuple(sides)


def _read(path: Path) -> SimpleITK.Image:
    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise UnreadableImage(f"{path.name}: the file cannot be read as an image.") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise UnusableImage(f"{path.name}: an image of three axes with one number a voxel is expected.")
    return image


def _same_grid(a: SimpleITK.Image, b: SimpleITK.Image) -> bool:
    if a.GetSize() != b.GetSize():
        return False
    corners = ((0, 0, 0), tuple(n - 1 for n in a.GetSize()))
    there = [np.subtract(a.TransformIndexToPhysicalPoint(c), b.TransformIndexToPhysicalPoint(c)) for c in corners]
    directions = np.abs(np.subtract(a.GetDirection(), b.GetDirection())).max()
    return bool(np.abs(there).max() < GRID_TOLERANCE_MM and directions < GRID_TOLERANCE_MM)


def _up(image: SimpleITK.Image) -> tuple[int, bool]:
    z = np.reshape(image.GetDirection(), (3, 3))[2]  # share of superior in each image axis i, j, k
    axis = int(np.abs(z).argmax())
    return 2 - axis, bool(z[axis] > 0)
