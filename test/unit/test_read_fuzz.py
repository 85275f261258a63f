"""Damaged bytes: whatever they are, reading ends in a Study or in an InputError of one sentence."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from spine.errors import InputError
from spine.read import read_study
from spine.records import Study

HEADER_BYTES = {
    "raw.mha": 400,
    "packed.mha": 420,
    "raw.nrrd": 420,
    "packed.nrrd": 420,
    "raw.nii": 352,
    "packed.nii.gz": 150,
}
MUTATIONS = 50  # of each of eight kinds of file; the lab runs tens of thousands
WORDS = [b"-1", b"0", b"99999999999", b"nan", b"1e400", b"=", b":", b"\n", b"\r", b" ", b"\0", b"\xff", b"LOCAL",
         b"True", b"(1,0,0)", b"raw", b"gzip", b"none", b"..", b"null", b"{}", b"[", b'"', b"socket"]  # fmt: skip
FOLDER = "images/sagittal-spine-mri"


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


def outcome(case: Path) -> Study | InputError:
    try:
        return read_study(case)
    except InputError as fault:
        text = str(fault)
        assert text.endswith((".", "?"))
        assert text.isprintable()
        return fault


@pytest.mark.parametrize("name", HEADER_BYTES)
def test_mutated_image_files(tmp_path, name):
    array = np.random.default_rng(1).integers(0, 999, (3, 12, 10)).astype(np.int16)
    image = SimpleITK.GetImageFromArray(array)
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, 1, 0))
    path = tmp_path / FOLDER / name
    path.parent.mkdir(parents=True)
    SimpleITK.WriteImage(image, str(path), name.startswith("packed"))
    content, chance = path.read_bytes(), random.Random(name)
    assert isinstance(outcome(tmp_path), Study)
    found = []
    for _ in range(MUTATIONS):
        path.write_bytes(mutate(content, chance, HEADER_BYTES[name]))
        found.append(outcome(tmp_path))
    assert any(isinstance(one, InputError) for one in found)
    for one in found:
        if isinstance(one, Study):
            assert one.primary.array.shape == one.primary.grid.size[::-1]
            assert np.isfinite(one.primary.array).all()


@pytest.mark.parametrize("name", ["inputs.json", "clinical-information-spine.json"])
def test_mutated_json(tmp_path, name):
    (tmp_path / FOLDER).mkdir(parents=True)
    array = np.arange(27, dtype=np.int16).reshape(3, 3, 3)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(tmp_path / FOLDER / "a.mha"))
    slugs = {"sagittal-spine-mri": FOLDER, "clinical-information-spine": "clinical-information-spine.json"}
    listed = [{"socket": {"slug": slug, "relative_path": path}} for slug, path in slugs.items()]
    record = {"age_years": 47, "sex": "female", "smoker": True, "levels_planned": ["L4/L5"], "bmi_kg_m2": 24.5}
    contents = {"inputs.json": listed, "clinical-information-spine.json": record}
    for file, document in contents.items():
        (tmp_path / file).write_text(json.dumps(document))
    content, chance = (tmp_path / name).read_bytes(), random.Random(name)
    assert isinstance(outcome(tmp_path), Study)
    for _ in range(MUTATIONS):
        (tmp_path / name).write_bytes(mutate(content, chance, len(content)))
        outcome(tmp_path)
