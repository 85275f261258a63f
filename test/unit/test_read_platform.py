"""The platform's folder: sockets, both generations of inputs.json, and paths that try to leave it."""

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from spine.errors import InputError, MissingInput, UnreadableImage, UnusableImage
from spine.read import read_study
from spine.resources import input_sockets

SAGITTAL, T1, AXIAL = "sagittal-spine-mri", "sagittal-t1-spine-mri", "axial-t2-spine-mri"
XRAY, CLINICAL = "lateral-spine-xray", "clinical-information-spine"
PATHS = {socket.slug: socket.relative_path for socket in input_sockets()}
FIELDS = {SAGITTAL: "sagittal", T1: "sagittal_t1", AXIAL: "axial_t2", XRAY: "xray", CLINICAL: "clinical"}
ALL_KEYS = ("socket", "interface")


def put(case: Path, slug: str, relative: str | None = None, seed: int = 0) -> None:
    path = case / (relative or PATHS[slug])
    if slug == CLINICAL:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"age_years": 47}))
        return
    path.mkdir(parents=True, exist_ok=True)
    shape = (1, 9, 8) if slug == XRAY else (3, 9, 8)
    array = np.random.default_rng(seed).integers(0, 99, shape).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path / f"{slug[:4]}-42.mha"), True)


def item(slug: str, relative: str | None = None, key: str = "socket") -> dict:
    kind = "Value" if slug == CLINICAL else "Image"
    return {
        "file": None,
        "image": {"name": "Doe^Jane.mha"} if kind == "Image" else None,
        "value": None,
        key: {"slug": slug, "relative_path": relative or PATHS.get(slug, "images/x"), "super_kind": kind},
    }


def list_inputs(case: Path, *items) -> None:
    (case / "inputs.json").write_text(json.dumps(list(items)))


def sentence(case: Path, kind: type[InputError] = MissingInput) -> str:
    with pytest.raises(kind) as caught:
        read_study(case)
    assert type(caught.value) is kind
    return str(caught.value)


COMBINATIONS = [c for n in range(1, 6) for c in itertools.combinations(PATHS, n) if SAGITTAL in c or T1 in c]


@pytest.mark.parametrize("key", [*ALL_KEYS, None])
@pytest.mark.parametrize("slugs", COMBINATIONS, ids="+".join)
def test_every_combination_of_sockets(tmp_path, slugs, key):
    for slug in slugs:
        put(tmp_path, slug)
    if key is not None:
        list_inputs(tmp_path, *(item(slug, key=key) for slug in slugs))
    study = read_study(tmp_path)
    assert {slug for slug, field in FIELDS.items() if getattr(study, field) is not None} == set(slugs)
    assert study.primary is (study.sagittal if SAGITTAL in slugs else study.sagittal_t1)
    assert study.flags == ()
    assert "Doe" not in study.primary.name
    if CLINICAL in slugs:
        assert study.clinical == {"age_years": 47}


def test_the_platforms_own_relative_path_is_followed(tmp_path):
    put(tmp_path, SAGITTAL, "images/spine-mri-7")
    put(tmp_path, CLINICAL, "record.json")
    list_inputs(tmp_path, item(SAGITTAL, "images/spine-mri-7"), item(CLINICAL, "record.json"))
    study = read_study(tmp_path)
    assert study.sagittal is not None
    assert study.clinical == {"age_years": 47}


def test_a_value_inside_inputs_json_is_not_believed(tmp_path):
    put(tmp_path, SAGITTAL)
    put(tmp_path, CLINICAL)
    list_inputs(tmp_path, item(SAGITTAL), {**item(CLINICAL), "value": {"age_years": 999}})
    assert read_study(tmp_path).clinical == {"age_years": 47}


def test_unknown_and_unlisted_sockets_are_flagged(tmp_path):
    for slug in (SAGITTAL, T1):
        put(tmp_path, slug)
    list_inputs(tmp_path, item(SAGITTAL), item("sagital-spine-mri"))
    study = read_study(tmp_path)
    assert study.sagittal_t1 is None
    assert study.flags == (
        "inputs.json: the socket sagital-spine-mri is not known and was not read",
        "inputs.json: the socket sagittal-t1-spine-mri has files but is not listed and was not read",
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "inputs.json: the file is not valid JSON (Expecting value: line 1 column 1 (char 0))."),
        ("{}", "inputs.json: a list of sockets is expected."),
        ("[]", "inputs.json: there is no sagittal MR series; images/sagittal-spine-mri/<file>.mha or "
         "images/sagittal-t1-spine-mri/<file>.mha is expected."),
        ("[1]", "inputs.json: item 1 names no socket; a socket with its slug is expected."),
        ('[{"socket": {"slug": 7}}]', "inputs.json: item 1 names no socket; a socket with its slug is expected."),
        ('[{"socket": []}]', "inputs.json: item 1 names no socket; a socket with its slug is expected."),
        ("[NaN]", "inputs.json: the file is not valid JSON (NaN is not JSON)."),
        ("[" * 100_000, "inputs.json: the JSON is nested too deeply."),
        ('[{"a": 1, "a": 2}]', "inputs.json: the file is not valid JSON (a is given twice)."),
    ],
)  # fmt: skip
def test_inputs_json_that_cannot_be_used(tmp_path, content, expected):
    put(tmp_path, SAGITTAL)
    (tmp_path / "inputs.json").write_text(content)
    assert sentence(tmp_path) == expected


def test_inputs_json_that_is_not_text(tmp_path):
    (tmp_path / "inputs.json").write_bytes(b"\xff\xfe[]")
    assert sentence(tmp_path) == "inputs.json: the file is not UTF-8 text; JSON is expected."


def test_a_socket_listed_twice(tmp_path):
    put(tmp_path, SAGITTAL)
    list_inputs(tmp_path, item(SAGITTAL), item(SAGITTAL, key="interface"))
    assert sentence(tmp_path) == "inputs.json: the socket sagittal-spine-mri is listed twice; once is expected."


@pytest.mark.parametrize(
    "relative", ["../secret", "images/../../secret", "/etc", "images\\..\\..", "images/a\nb", "..", "images/.."]
)
def test_a_relative_path_never_leaves_the_folder(tmp_path, relative):
    case = tmp_path / "case"
    put(case, SAGITTAL)
    put(tmp_path, SAGITTAL, "secret")
    list_inputs(case, item(SAGITTAL, relative))
    shown = relative.replace("\n", "?")
    assert sentence(case) == (
        f"inputs.json: the relative_path of sagittal-spine-mri is {shown}; a path inside the input folder is expected."
    )


@pytest.mark.parametrize(
    ("slug", "relative"),
    [(SAGITTAL, "somewhere"), (SAGITTAL, PATHS[T1]), (CLINICAL, "images/x"), (SAGITTAL, PATHS[CLINICAL])],
)
def test_a_relative_path_of_another_sort(tmp_path, slug, relative):
    put(tmp_path, SAGITTAL)
    list_inputs(tmp_path, item(slug, relative))
    assert sentence(tmp_path) == (f"inputs.json: the relative_path of {slug} is {relative}; {PATHS[slug]} is expected.")


@pytest.mark.parametrize("relative", [5, "", [], "x" * 600])
def test_a_relative_path_that_is_none(tmp_path, relative):
    list_inputs(tmp_path, {"socket": {"slug": SAGITTAL, "relative_path": relative}})
    assert sentence(tmp_path) == (
        "inputs.json: the relative_path of sagittal-spine-mri is not a path; images/sagittal-spine-mri is expected."
    )


def test_a_name_that_the_file_system_refuses(tmp_path):
    put(tmp_path, SAGITTAL)
    list_inputs(tmp_path, item(SAGITTAL, "images/" + "x" * 300))
    assert sentence(tmp_path, UnreadableImage) == f"{tmp_path}: it cannot be read (File name too long)."


def test_links_out_of_the_folder_are_refused(tmp_path):
    case, outside = tmp_path / "case", tmp_path / "outside"
    put(outside, SAGITTAL)
    put(outside, CLINICAL)
    image = next((outside / PATHS[SAGITTAL]).iterdir())
    folder = case / PATHS[SAGITTAL]
    folder.mkdir(parents=True)
    (folder / "a.mha").symlink_to(image)
    tail = "the path leads out of the input folder; a file in it is expected."
    assert sentence(case) == f"images/sagittal-spine-mri/<file>.mha: {tail}"
    (folder / "a.mha").unlink()
    folder.rmdir()
    folder.symlink_to(outside / PATHS[SAGITTAL])
    assert sentence(case) == f"images/sagittal-spine-mri: {tail}"
    folder.unlink()
    put(case, SAGITTAL)
    (case / PATHS[CLINICAL]).symlink_to(outside / PATHS[CLINICAL])
    assert sentence(case) == f"clinical-information-spine.json: {tail}"
    (case / "inputs.json").symlink_to(outside / PATHS[CLINICAL])
    assert sentence(case) == f"inputs.json: {tail}"


def test_a_link_to_itself_is_no_image(tmp_path):
    folder = tmp_path / PATHS[SAGITTAL]
    folder.mkdir(parents=True)
    (folder / "a.mha").symlink_to(folder / "a.mha")
    list_inputs(tmp_path, item(SAGITTAL))
    assert sentence(tmp_path) == "images/sagittal-spine-mri: there is no image; one .mha file is expected."


def test_the_input_folder_and_links_inside_it_may_be_links(tmp_path):
    put(tmp_path / "real", SAGITTAL)
    (tmp_path / "real" / "images" / T1).mkdir()
    (tmp_path / "real" / "images" / T1 / "b.mha").symlink_to(next((tmp_path / "real" / PATHS[SAGITTAL]).iterdir()))
    (tmp_path / "input").symlink_to(tmp_path / "real")
    study = read_study(tmp_path / "input")
    assert study.sagittal is not None
    assert study.sagittal_t1 is not None


def test_two_images_in_one_folder(tmp_path):
    put(tmp_path, SAGITTAL)
    (tmp_path / PATHS[SAGITTAL] / "b.mha").write_bytes(b"")
    assert sentence(tmp_path, UnusableImage) == ("images/sagittal-spine-mri: there are 2 images; one is expected.")


def test_other_files_beside_the_image_are_passed_over(tmp_path):
    put(tmp_path, SAGITTAL)
    for name in (".DS_Store", "notes.txt"):
        (tmp_path / PATHS[SAGITTAL] / name).write_bytes(b"x")
    assert read_study(tmp_path).flags == ()


def test_missing_files_and_folders(tmp_path):
    expected = "images/sagittal-spine-mri/<file>.mha or images/sagittal-t1-spine-mri/<file>.mha is expected."
    assert sentence(tmp_path / "no").endswith("no: there is no such folder; the folder of a case is expected.")
    assert sentence(tmp_path).endswith(f": there is no sagittal MR series; {expected}")
    put(tmp_path, XRAY)
    list_inputs(tmp_path, item(XRAY))
    assert sentence(tmp_path) == f"inputs.json: there is no sagittal MR series; {expected}"
    list_inputs(tmp_path, item(SAGITTAL))
    assert sentence(tmp_path) == "images/sagittal-spine-mri: the folder is missing; one .mha file in it is expected."
    (tmp_path / PATHS[SAGITTAL]).mkdir()
    assert sentence(tmp_path) == "images/sagittal-spine-mri: there is no image; one .mha file is expected."
    (tmp_path / PATHS[SAGITTAL] / "a.jpg").write_bytes(b"x")
    assert sentence(tmp_path) == (
        "images/sagittal-spine-mri: there is no image among 1 other files; one .mha file is expected."
    )
    put(tmp_path, SAGITTAL)
    list_inputs(tmp_path, item(SAGITTAL), item(CLINICAL))
    assert sentence(tmp_path) == (
        "clinical-information-spine.json: the file is missing; the clinical record is expected there."
    )


def test_empty_folders_of_a_hand_made_case_are_empty_sockets(tmp_path):
    put(tmp_path, T1)
    for slug in (SAGITTAL, AXIAL, XRAY):
        (tmp_path / PATHS[slug]).mkdir()
    study = read_study(tmp_path)
    assert study.primary.slug == T1
    assert (study.sagittal, study.axial_t2, study.xray) == (None, None, None)


def test_messages_name_the_socket_and_not_the_file(tmp_path):
    put(tmp_path, SAGITTAL)
    put(tmp_path, AXIAL)
    path = tmp_path / PATHS[AXIAL] / "axia-42.mha"
    path.write_bytes(path.read_bytes()[:-10])
    study = read_study(tmp_path)
    assert study.flags == ("axial-t2-spine-mri: given but not used: the file is truncated",)
    path = tmp_path / PATHS[SAGITTAL] / "sagi-42.mha"
    path.write_bytes(path.read_bytes()[:-10])
    assert sentence(tmp_path, UnreadableImage) == "images/sagittal-spine-mri/<file>.mha: the file is truncated."


@pytest.mark.parametrize("slug", [T1, AXIAL, XRAY])
def test_a_series_beside_the_segmented_one_never_stops_the_case(tmp_path, slug):
    """All optional sockets alike: listed and missing, damaged, of the wrong kind, or leading out of the folder."""
    put(tmp_path, SAGITTAL)
    list_inputs(tmp_path, item(SAGITTAL), item(slug))
    folder = tmp_path / PATHS[slug]
    said = []
    for content in (None, b"no image", "link"):
        if content == "link":
            (folder / "a.mha").unlink()
            (folder / "a.mha").symlink_to("/etc/hostname")
        elif content is not None:
            folder.mkdir(parents=True)
            (folder / "a.mha").write_bytes(content)
        study = read_study(tmp_path)
        assert getattr(study, FIELDS[slug]) is None
        assert study.sagittal is not None
        assert study.flags == (f"{slug}: {study.unused[slug]}",)
        said.append(study.unused[slug].removeprefix("given but not used: "))
    assert said[0] == "the folder is missing; one .mha file in it is expected"
    assert "damaged" in said[1] or "header" in said[1]
    assert said[2] == "the path leads out of the input folder; a file in it is expected"


def test_a_t1_that_is_segmented_itself_must_be_sound(tmp_path):
    put(tmp_path, T1)
    next((tmp_path / PATHS[T1]).iterdir()).write_bytes(b"no image")
    with pytest.raises(InputError):
        read_study(tmp_path)


@pytest.mark.parametrize("name", ["inputs.json", PATHS[CLINICAL], f"{PATHS[SAGITTAL]}/b.mha", PATHS[SAGITTAL]])
def test_a_pipe_is_never_opened(tmp_path, name):
    """Opening one waits for its writer for ever."""
    if name != PATHS[SAGITTAL]:
        put(tmp_path, SAGITTAL)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(tmp_path / name)
    if name == "inputs.json":
        assert sentence(tmp_path) == "inputs.json: a regular file is expected, not a pipe."
    elif name == PATHS[SAGITTAL]:
        assert "there is no sagittal MR series" in sentence(tmp_path)
    else:  # passed over like any file that is no input
        study = read_study(tmp_path)
        assert (study.clinical, study.sagittal.name) == (None, "sagi-42.mha")


def test_a_pipe_that_is_listed_is_refused(tmp_path):
    put(tmp_path, SAGITTAL)
    list_inputs(tmp_path, item(SAGITTAL), item(CLINICAL))
    os.mkfifo(tmp_path / PATHS[CLINICAL])
    assert "the file is missing" in sentence(tmp_path)
