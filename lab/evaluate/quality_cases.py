"""Sound, damaged and foreign images with their split: what the models of doubt are fitted to and tested on.

'fit' holds training and validation patients of the pack, 'test' its test patients (lab/train/splits.json); drawn images
come from different families in the two splits.
"""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from lab.evaluate import quality_foreign as foreign
from lab.evaluate.quality_damage import DAMAGES
from lab.synth.cohort import Slab, make_slab
from lab.synth.render import render
from spine.anatomy import Structure
from spine.conform import anatomical_axes, to_canonical
from spine.read import read_files
from spine.records import Grid, Series, Study

SPLITS = Path(__file__).parents[1] / "train" / "splits.json"
SAGITTAL = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)  # i to the back, j to the feet, k to the left
MENDELEY_MM = (4.0, 0.78, 0.78)  # assumed by the data's own notes
SLUG = "sagittal-spine-mri"
THICK_STEP = 4  # slices of 1 mm: every fourth makes a clinical stack
FIT_DAMAGES, FIT_MENDELEY, FIT_SPIDER, FIT_SYNTHETIC = 4, 30, 40, 14
VALIDATION_MENDELEY = 18
BETWEEN_SLICES = ("swap", "shift")  # damages that take several slices
TEST_SYNTHETIC, FAMILY_SIZE = 8, 6
NECKS = "synthetic neck"
FIT_NECKS, TEST_NECKS = 10, 6
SMALL = "small field"
SMALL_MM = (112.0, 101.0)  # from head to foot, from front to back
TRUTH_OF = {
    1: (Structure.BODY, Structure.POSTERIOR, Structure.C2, Structure.C1),
    2: (Structure.DISC,),
    3: (Structure.CANAL, Structure.CORD),
}
SYNTHETIC_VIEWS = ("cervical", "whole", "thoracolumbar", "lumbar")


@dataclass(frozen=True)
class Sample:
    """One image to examine. `truth` (slice, down, back): 1 vertebra, 2 disc, 3 canal, 4 body; None: there is none."""

    name: str
    patient: str
    source: str
    split: str  # 'fit' or 'test'
    kind: str  # 'sound', 'damaged' or 'foreign'
    family: str  # kind of damage or of foreign image, '' for sound ones
    strength: float  # of the damage, 0..1
    image: NDArray[np.number]
    spacing_mm: tuple[float, float, float]
    truth: NDArray[np.uint8] | None = None

    def study(self) -> Study:
        """The image as a sagittal series."""
        slices, rows, columns = self.image.shape
        grid = Grid((columns, rows, slices), self.spacing_mm[::-1], (0.0, 0.0, 0.0), SAGITTAL)
        array = self.image if self.image.dtype.kind in "iu" else np.rint(self.image).astype(np.int16)
        return Study(Series(SLUG, self.name, array, grid))


def draw(*words: str) -> Generator:
    """The same generator for the same words."""
    return np.random.default_rng(zlib.crc32("/".join(words).encode()))


def all_samples(data: Path) -> Iterator[Sample]:
    """Every sample of both splits, one at a time."""
    splits = json.loads(SPLITS.read_text(encoding="utf-8"))
    for split, parts in (("fit", ("train", "val")), ("test", ("test",))):
        patients = {name: [p for part in parts for p in splits[name][part]] for name in splits if name != "comment"}
        yield from space_samples(data, patients["spider_space"], split)
        yield from mendeley_samples(data, patients["mendeley_midsagittal"], split)
        yield from spider_samples(data, patients["spider_midsagittal"], split)
        yield from synthetic_samples(split)
        yield from neck_samples(split)
        yield from foreign_samples(data, patients["mendeley_midsagittal"], split)
    yield from _cervical(data)
    for number, (family, (image, spacing)) in enumerate(foreign.real_foreign(data)):
        yield Sample(f"{family} {number}", family, "real foreign", "test", "foreign", family, 0.0, image, spacing)
    yield from flattened_samples(data, splits["spider_space"]["train"][::2], "fit", foreign.FLATTENED_FIT)
    yield from flattened_samples(data, splits["spider_space"]["test"], "test", foreign.FLATTENED_TEST)
    yield from _numbers(data, splits["spider_space"]["test"])
    for split, parts in (("fit", ("train", "val")), ("test", ("test",))):
        patients = [p for part in parts for p in splits["spider_midsagittal"][part]]
        yield from small_samples(data, patients, split)


def load_space(data: Path, patient: str) -> tuple[NDArray[np.number], NDArray[np.uint8], tuple[float, float, float]]:
    """Image, truth and spacing of a SPIDER T2 SPACE patient, (slice, down, back)."""
    image = read_files(image=data / "spider_space" / f"{patient}_image.nii.gz").primary
    truth = read_files(image=data / "spider_space" / f"{patient}_mask.nii.gz").primary
    axes, flips = anatomical_axes(image.grid.direction)
    step = image.grid.spacing_mm
    spacing = (step[axes[0]], step[axes[1]], step[axes[2]])
    return to_canonical(image.array, axes, flips), to_canonical(truth.array, axes, flips).astype(np.uint8), spacing


def space_samples(data: Path, patients: list[str], split: str) -> Iterator[Sample]:
    """Each patient sound, as thin slices and as a stack of slices 4 mm apart in turn, and damaged in several ways."""
    for number, patient in enumerate(patients):
        image, truth, spacing = load_space(data, patient)
        middle = len(image) // 2
        thin = slice(middle - 3, middle + 3)
        thick = slice(middle - THICK_STEP, middle + THICK_STEP + 1, THICK_STEP)
        step = (spacing[0] * THICK_STEP, spacing[1], spacing[2])
        clean = partial(
            Sample, patient=patient, source="spider_space", split=split, kind="sound", family="", strength=0.0
        )
        yield clean(f"space {patient} thick", image=image[thick], spacing_mm=step, truth=truth[thick])
        if number % 2:
            yield clean(f"space {patient}", image=image[thin], spacing_mm=spacing, truth=truth[thin])
        for n, family in enumerate(_picked(patient, split)):
            few = thick if family in BETWEEN_SLICES or n % 3 == 0 else slice(middle, middle + 1)
            yield damaged(clean(patient, image=image[few], spacing_mm=step, truth=truth[few]), family)


def _picked(patient: str, split: str) -> list[str]:
    """All kinds of damage for a test patient, FIT_DAMAGES of them for one to learn from."""
    names = list(DAMAGES)
    if split == "test":
        return names
    start = int(draw(patient).integers(len(names)))
    return [names[(start + 3 * n) % len(names)] for n in range(FIT_DAMAGES)]


def damaged(sample: Sample, family: str) -> Sample:
    """A copy of `sample` damaged by `family`, as strongly as its name says."""
    rng = draw(sample.source, sample.patient, family)
    strength = float(rng.random())
    known = sample.truth if sample.truth is not None else np.ones(sample.image.shape, np.uint8)
    image, truth = DAMAGES[family](sample.image.astype(np.float32), known, strength, rng)
    return Sample(
        name=f"{sample.source} {sample.patient} {family} {strength:.2f}",
        patient=sample.patient,
        source=sample.source,
        split=sample.split,
        kind="damaged",
        family=family,
        strength=round(strength, 3),
        image=image,
        spacing_mm=sample.spacing_mm,
        truth=truth,
    )


def load_mendeley(data: Path, patient: str, contrast: str = "t1") -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Picture and truth (4 body of L1..L5) of a Mendeley patient, (1, down, back)."""
    folder = data / "mendeley_midsagittal"
    picture = np.asarray(Image.open(folder / "images" / f"{int(patient):04d}_{contrast}.png"))
    labels = np.asarray(Image.open(folder / "masks" / f"{int(patient):04d}_t1.png"))
    return picture[None], np.where((labels >= 1) & (labels <= 5), 4, 0).astype(np.uint8)[None]


def mendeley_samples(data: Path, patients: list[str], split: str) -> Iterator[Sample]:
    """Each patient's T1 slice sound, and once damaged; to learn from, some of the patients."""
    names = list(DAMAGES)
    if split == "fit":  # validation patients come last: all of them, and some of those that the network learnt from
        patients = patients[:: len(patients) // FIT_MENDELEY][:FIT_MENDELEY] + patients[-VALIDATION_MENDELEY:]
        patients = list(dict.fromkeys(patients))
    for number, patient in enumerate(patients):
        picture, truth = load_mendeley(data, patient)
        sample = Sample(
            f"mendeley {patient}", patient, "mendeley_t1", split, "sound", "", 0.0, picture, MENDELEY_MM, truth
        )
        yield sample
        yield damaged(sample, names[number % len(names)])


def spider_samples(data: Path, patients: list[str], split: str) -> Iterator[Sample]:
    """Mid-sagittal slices of SPIDER, T1 and T2 in turn: sound, without a truth."""
    folder = data / "spider_midsagittal"
    with (folder / "spacing.csv").open(encoding="utf-8", newline="") as table:
        pixel = {row["file"]: float(row["pixel_mm"]) for row in csv.DictReader(table)}
    step = max(1, len(patients) // FIT_SPIDER) if split == "fit" else 1
    for number, patient in enumerate(patients[::step]):
        file = f"{patient}_{('t1', 't2')[number % 2]}.png"
        if (folder / file).exists():
            picture = np.asarray(Image.open(folder / file))[None]
            pixel_mm = pixel[file]
            yield Sample(
                f"spider {file}", patient, "spider_midsagittal", split, "sound", "", 0.0, picture,
                (4.0, pixel_mm, pixel_mm),
            )  # fmt: skip


def small_samples(data: Path, patients: list[str], split: str) -> Iterator[Sample]:
    """Every second slice of `spider_samples` with three or four levels in view: sound, however little it shows."""
    for sample in islice(spider_samples(data, patients, split), 0, None, 2):
        high, wide = (
            min(round(mm / step), size)
            for mm, step, size in zip(SMALL_MM, sample.spacing_mm[1:], sample.image.shape[1:], strict=True)
        )
        top = (sample.image.shape[1] - high) // 2
        # The spine lies a little behind the middle of the picture.
        left = min(
            (sample.image.shape[2] - wide) // 2 + round(8.0 / sample.spacing_mm[2]), sample.image.shape[2] - wide
        )
        part = sample.image[:, top : top + high, left : left + wide]
        yield replace(sample, name=f"small {sample.name}", source=SMALL, image=part)


def synthetic_samples(split: str) -> Iterator[Sample]:
    """Rendered spines of every view, most of them of necks and whole spines, for which there are no other images."""
    count, seed = (FIT_SYNTHETIC, 910_000) if split == "fit" else (TEST_SYNTHETIC, 920_000)
    for number in range(count):
        slab = make_slab(seed + number, SYNTHETIC_VIEWS[number % len(SYNTHETIC_VIEWS)])
        yield replace(_rendered(slab, "synthetic", split, number), truth=None)


def neck_samples(split: str) -> Iterator[Sample]:
    """Rendered necks with their truth, sound and damaged.

    What a readable spine looks like is learnt from them too, for want of real ones: without them, real necks were
    refused. The predicted Dice is not: with them it was worse for real lumbar spines in cross-validation.
    """
    count, seed = (FIT_NECKS, 930_000) if split == "fit" else (TEST_NECKS, 940_000)
    for number in range(count):
        sound = _rendered(make_slab(seed + number, "cervical"), NECKS, split, number)
        yield sound
        for family in _picked(sound.patient, "fit"):
            yield damaged(sound, family)


def _rendered(slab: Slab, source: str, split: str, number: int) -> Sample:
    """Three slices of `slab`, 4 mm apart, T2 and T1 in turn, with the truth of the planes in their middle."""
    rng = np.random.default_rng(slab.seed)
    middle = len(slab.tissues) // 2
    step = max(1, round(4.0 / slab.spacing_mm[0]))
    planes = [middle - step, middle, middle + step]
    image = render(slab.thick(planes), rng, ("t2", "t1")[number % 2], 3, slab.spacing_mm[1])
    structures = np.stack([slab.labels(plane) for plane in planes])
    truth = np.zeros(structures.shape, np.uint8)
    for label, members in TRUTH_OF.items():
        truth[np.isin(structures, members)] = label
    top = 900.0 / max(float(np.percentile(image, 99.5)), 1e-6)
    return Sample(
        name=f"{source} {slab.view} {slab.seed}",
        patient=str(slab.seed),
        source=source,
        split=split,
        kind="sound",
        family="",
        strength=0.0,
        image=image * top,
        spacing_mm=(step * slab.spacing_mm[0], slab.spacing_mm[1], slab.spacing_mm[2]),
        truth=truth,
    )


def _cervical(data: Path) -> Iterator[Sample]:
    """Real necks, for checks only: nothing is learnt from them."""
    for path in sorted((data / "cervical_t2").glob("*_image.nii.gz")):
        series = read_files(image=path).primary
        axes, flips = anatomical_axes(series.grid.direction)
        image = to_canonical(series.array, axes, flips)
        middle = image.shape[0] // 2
        step = tuple(series.grid.spacing_mm[a] for a in axes)
        about = (path.name[:8], "cervical_t2", "test", "sound", "", 0.0)
        yield Sample(f"{path.name} slab", *about, image[middle - 6 : middle + 7 : 4], (4 * step[0], step[1], step[2]))
        yield Sample(f"{path.name} whole", *about, image, (step[0], step[1], step[2]))


def foreign_samples(data: Path, patients: list[str], split: str) -> Iterator[Sample]:
    """Drawn images and derived ones, from the families of `split`."""
    drawn = foreign.DRAWN_FIT if split == "fit" else foreign.DRAWN_TEST
    derived = foreign.DERIVED_FIT if split == "fit" else foreign.DERIVED_TEST
    for family, draw_picture in drawn.items():
        for number in range(FAMILY_SIZE):
            image, spacing = draw_picture(draw(split, family, str(number)))
            yield Sample(f"{family} {number}", family, "drawn", split, "foreign", family, 0.0, image, spacing)
    if split == "test":  # what was learnt from, drawn anew
        for family, draw_picture in foreign.DRAWN_FIT.items():
            for number in range(2):
                image, spacing = draw_picture(draw(split, family, str(number)))
                yield Sample(f"{family} {number}", family, "drawn", split, "foreign", family, 0.0, image, spacing)
    yield from _derived(data, patients, split, derived)


def _derived(
    data: Path,
    patients: list[str],
    split: str,
    derived: dict[str, Callable[[foreign.Image, foreign.Spacing, Generator], foreign.Picture]],
) -> Iterator[Sample]:
    for family, change in derived.items():
        for patient in draw(split, family).permutation(patients)[: FAMILY_SIZE + 2]:
            picture, _ = load_mendeley(data, str(patient))
            image, spacing = change(picture.astype(np.float32), MENDELEY_MM, draw(split, family, str(patient)))
            yield Sample(f"{family} {patient}", str(patient), "derived", split, "foreign", family, 0.0, image, spacing)


def flattened_samples(
    data: Path, patients: list[str], split: str, families: dict[str, Callable[[foreign.Image], foreign.Image]]
) -> Iterator[Sample]:
    """All slices of a volume made one picture, as a radiograph adds up what lies along a ray."""
    for patient in patients:
        image, _, spacing = load_space(data, patient)
        for family, change in families.items():
            yield Sample(
                f"{family} {patient}", patient, "derived", split, "foreign", family, 0.0,
                change(image.astype(np.float32))[None].astype(np.float32), (4.0, spacing[1], spacing[2]),
            )  # fmt: skip


def _numbers(data: Path, patients: list[str]) -> Iterator[Sample]:
    """Label images, and bodies drawn in Hounsfield units: refused by a rule, before anything learnt."""
    for patient in patients[:FAMILY_SIZE]:
        _, truth, spacing = load_space(data, patient)
        labels = (truth * 80).astype(np.int16)[len(truth) // 2][None]
        yield Sample(
            f"mask {patient}", patient, "derived", "test", "foreign", "segmentation mask", 0.0, labels, spacing
        )
        image, plain = foreign.blobs(draw("ct", patient))
        yield Sample(
            f"ct {patient}", patient, "drawn", "test", "foreign", "CT numbers (drawn)", 0.0, image * 1.5 - 1000, plain
        )
