"""Damaged bytes for the readers: whatever they are, reading ends in a Study or in an InputError of one sentence.

    python -m lab.evaluate.fuzz --n 20000 --out docs/faults

Each input is a small sound case of which one file (image header or body, DICOM slice, inputs.json, clinical record) is
changed at one to eight places. A process that dies takes its part of the inputs with it: the count then falls short.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK
from tqdm import tqdm

from spine.errors import InputError
from spine.read import read_study
from spine.records import Study

FOLDER = "images/sagittal-spine-mri"
# Bytes from the start that are changed: the header, and for packed files the first part of the body.
IMAGES = {"raw.mha": 400, "packed.mha": 420, "raw.nrrd": 420, "packed.nrrd": 420, "raw.nii": 352, "packed.nii.gz": 150}
DOCUMENTS = ("inputs.json", "clinical-information-spine.json")
DICOM = "1.dcm"
KINDS = (*IMAGES, DICOM, *DOCUMENTS)
BODY_SHARE = 0.2  # of the inputs are changed anywhere, not only in the header
WORDS = [b"-1", b"0", b"99999999999", b"nan", b"1e400", b"=", b":", b"\n", b"\r", b" ", b"\0", b"\xff", b"LOCAL",
         b"True", b"(1,0,0)", b"raw", b"gzip", b"none", b"..", b"null", b"{}", b"[", b'"', b"socket"]  # fmt: skip


def mutate(content: bytes, chance: random.Random, reach: int) -> bytes:
    """`content` with one to eight random changes in its first `reach` bytes."""
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 3, 8])):
        at = chance.randrange(max(1, min(len(data), reach)))
        change = chance.randrange(5)
        if change == 0:
            data[at : at + 1] = bytes([chance.randrange(256)])
        elif change == 1:
            word = chance.choice(WORDS)
            data[at : at + chance.choice([0, len(word)])] = word
        elif change == 2:
            del data[at : at + chance.randrange(1, 20)]
        elif change == 3:
            data[at:at] = data[at : at + chance.randrange(1, 40)]
        elif chance.random() < 0.3:
            del data[at:]
    return bytes(data)


def write_seed(case: Path, kind: str) -> Path:
    """A small sound case in `case`; returns the file of `kind` that is to be changed."""
    (case / FOLDER).mkdir(parents=True)
    array = np.random.default_rng(1).integers(0, 999, (3, 12, 10)).astype(np.int16)
    image = SimpleITK.GetImageFromArray(array)
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, 1, 0))
    if kind in IMAGES:
        SimpleITK.WriteImage(image, str(case / FOLDER / kind), kind.startswith("packed"))
        return case / FOLDER / kind
    if kind == DICOM:
        return _write_slices(case, array)
    SimpleITK.WriteImage(image, str(case / FOLDER / "a.mha"))
    slugs = {"sagittal-spine-mri": FOLDER, "clinical-information-spine": DOCUMENTS[1]}
    listed = [{"socket": {"slug": slug, "relative_path": path}} for slug, path in slugs.items()]
    record = {"age_years": 47, "sex": "female", "smoker": True, "levels_planned": ["L4/L5"], "bmi_kg_m2": 24.5}
    for name, document in zip(DOCUMENTS, (listed, record), strict=True):
        (case / name).write_text(json.dumps(document))
    return case / kind


def _write_slices(case: Path, array: np.ndarray) -> Path:
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number, plane in enumerate(array):
        image = SimpleITK.JoinSeries(SimpleITK.GetImageFromArray(plane))
        image.SetSpacing((0.5, 0.75, 4.0))
        image.SetDirection((0, 0, -1, 1, 0, 0, 0, -1, 0))
        image.SetOrigin((-4.0 * number, 0.0, 0.0))
        facts = {"0008|0060": "MR", "0020|000d": "1.2.3", "0020|000e": "1.2.3.4", "0008|0018": f"1.2.3.4.{number}"}
        for tag, value in facts.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(case / FOLDER / f"{number}.dcm"))
        writer.Execute(image)
    return case / FOLDER / DICOM


def outcome(case: Path) -> Study | InputError:
    """What reading ends in. Raises AssertionError for a sentence that is none, and whatever else escapes."""
    try:
        study = read_study(case)
    except InputError as fault:
        text = str(fault)
        if not (text.endswith((".", "?")) and text.isprintable()):
            raise AssertionError(f"not a sentence: {text!r}") from fault
        return fault
    array = study.primary.array
    if array.shape != study.primary.grid.size[::-1] or not np.isfinite(array).all():
        raise AssertionError(f"an array of {array.shape} for a grid of {study.primary.grid.size}")
    return study


def fuzz_kind(kind: str, count: int, seed: int, tell: Callable[[], object] = lambda: None) -> Counter[str]:
    """Outcomes of `count` inputs of `kind`: 'read', or the class of the refusal; decided by `seed` alone."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        case = Path(folder)
        path = write_seed(case, kind)
        if not isinstance(outcome(case), Study):
            raise AssertionError(f"{kind}: the sound case is refused")
        content, chance = path.read_bytes(), random.Random(f"{kind} {seed}")
        for _ in range(count):
            everywhere = chance.random() < BODY_SHARE
            path.write_bytes(mutate(content, chance, len(content) if everywhere else IMAGES.get(kind, len(content))))
            ended = outcome(case)
            found["read" if isinstance(ended, Study) else type(ended).__name__] += 1
            tell()
    return found


def main() -> None:
    """Fuzz every kind and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=20_000, help="inputs, over all kinds of file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    lines = ["| file changed | inputs | read | refused, by class |", "|---|---|---|---|"]
    start, each = time.perf_counter(), -(-args.n // len(KINDS))
    with tqdm(total=each * len(KINDS), unit="input") as bar:
        for kind in KINDS:
            found = fuzz_kind(kind, each, args.seed, bar.update)
            refused = ", ".join(f"{name} {count}" for name, count in found.most_common() if name != "read")
            lines.append(f"| {kind} | {each} | {found['read']} | {refused} |")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines.append(
        f"\n{each * len(KINDS)} inputs, seed {args.seed}: none ended otherwise; peak memory {peak_mb:.0f} MB, "
        f"{time.perf_counter() - start:.0f} s.\n"
    )
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "fuzz.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
