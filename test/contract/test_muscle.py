"""An axial series through the whole path: drawn around the bundled spine, with a network that knows what was drawn."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pypdf import PdfReader

from spine import pipeline
from spine.anatomy import DISC_LEVELS, AxialStructure
from spine.errors import ModelError
from spine.muscle.conform import conform_axial, network_input
from spine.read import read_files, read_study
from spine.records import Grid, Series
from spine.settings import read_settings

ROOT = Path(__file__).parents[2]
CASE = ROOT / "test" / "input" / "lumbar"
LEVELS = ("L5/S1", "L4/L5", "L3/L4")
# structure, middle (left, back) from the disc's middle and half axes, mm; both sides where it is not in the middle
ROUND = (
    (AxialStructure.BODY, 0.0, 0.0, 22.0, 16.0),
    (AxialStructure.SAC, 0.0, 26.0, 7.0, 5.0),
    (AxialStructure.MULTIFIDUS, 14.0, 52.0, 11.0, 13.0),
    (AxialStructure.ERECTOR_SPINAE, 38.0, 50.0, 11.0, 16.0),
    (AxialStructure.PSOAS, 40.0, 2.0, 13.0, 16.0),
)
MULTIFIDUS_MM2, SAC_MM2 = np.pi * 11 * 13, np.pi * 7 * 5  # in a slice


@cache
def discs():
    """Level -> (3,) LPS middle of its disc, from the truth of the bundled case."""
    image = sitk.ReadImage(str(CASE.with_name("lumbar.truth.mha")))
    array = sitk.GetArrayFromImage(image)
    middles = {level: np.argwhere(array == 201 + n).mean(0)[::-1] for n, level in enumerate(DISC_LEVELS[:4])}
    return {
        level: np.array(image.TransformContinuousIndexToPhysicalPoint(middle.tolist()))
        for level, middle in middles.items()
    }


def drawn(lps):
    """AxialStructure at LPS points (..., 3): what is drawn follows the discs' middles up the spine."""
    middles = np.array(sorted(discs().values(), key=lambda middle: middle[2]))
    left, back = (lps[..., axis] - np.interp(lps[..., 2], middles[:, 2], middles[:, axis]) for axis in (0, 1))
    found = np.zeros(lps.shape[:-1], np.uint8)
    for structure, x, y, a, b in ROUND:
        for side in (-x, x):
            found[((left - side) / a) ** 2 + ((back - y) / b) ** 2 < 1] = structure
    return found, back


@cache
def axial():
    """A straight axial stack from below L5/S1 to above L3/L4."""
    size, spacing = (230, 190, 25), (0.95, 0.95, 4.0)
    middle = discs()["L4/L5"] + (0, 10, 0)
    origin = middle - (np.array(size) - 1) / 2 * spacing
    grid = Grid(size, spacing, tuple(origin), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    k, j, i = np.meshgrid(*(np.arange(n) for n in size[::-1]), indexing="ij")
    structures, back = drawn(origin + np.stack([i, j, k], -1) * spacing)
    grey = np.where(back < 72, 90, np.where(back < 84, 180, 0))
    streaks = (i + 3 * j) % 4 == 0
    grey = np.where(np.isin(structures, (1, 2, 3)), np.where(streaks, 180, 40), grey)
    grey[structures == AxialStructure.SAC] = 220
    return Series("axial-t2-spine-mri", "axial.mha", grey.astype(np.uint16), grid)


class Drawn:
    """The axial network, knowing the drawing."""

    name = "drawn"

    def __init__(self, series):
        self.stack = conform_axial(series, 0.9)
        self.known = {network_input(self.stack, n).tobytes(): n for n in range(len(self.stack))}

    def __call__(self, batch):
        answer = np.full((len(batch), len(AxialStructure), *batch.shape[2:]), 0.01, np.float32)
        rows, columns = np.indices(batch.shape[2:])
        for one, place in zip(batch, answer, strict=True):
            if one.tobytes() not in self.known:  # a mirror image
                place[...] = self(np.ascontiguousarray(one[None, ..., ::-1]))[0, ..., ::-1]
                continue
            affine = self.stack.affine(self.known[one.tobytes()])
            lps = np.stack([0 * rows, rows, columns], -1) @ affine[:3, :3].T + affine[:3, 3]
            np.put_along_axis(place, drawn(lps)[0][None].astype(int), 0.94, 0)
        return answer


@cache
def models():
    opened = pipeline.open_models(ROOT / "model", "cpu")
    return replace(opened, axial=Drawn(axial()))


def run(folder, **series):
    study = replace(read_study(CASE), axial_t2=None, xray=None)
    report = pipeline.run(lambda: replace(study, **series), models(), folder)
    return report, json.loads((folder / "spine-degeneration-report.json").read_text())


@pytest.fixture(scope="module")
def with_axial(tmp_path_factory):
    return run(tmp_path_factory.mktemp("axial"), axial_t2=axial())


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    return run(tmp_path_factory.mktemp("sagittal"))


def test_levels_areas_and_grades_stand_in_the_report(with_axial):
    _, document = with_axial
    found = {level["level"]: level for level in document["muscle"]["levels"]}
    assert list(found) == list(LEVELS)
    middles = discs()
    for level in LEVELS:
        measured = found[level]["measurements"]
        # The spine's tilt at this level, roughly: from the middle of the disc below to that of the disc above.
        number = DISC_LEVELS.index(level)
        axis = middles[DISC_LEVELS[number + 1]] - middles[DISC_LEVELS[max(number - 1, 0)]]
        cosine = axis[2] / np.linalg.norm(axis)
        for side in ("right", "left"):
            area = measured[f"multifidus_{side}_area_mm2"]
            assert area["value"] == pytest.approx(MULTIFIDUS_MM2 * cosine, rel=0.12)
            assert found[level]["grades"][f"multifidus_{side}_goutallier"]["grade"] == 2
            assert measured[f"multifidus_{side}_fat_fraction_percent"]["value"] == pytest.approx(25, abs=5)
        assert measured["dural_sac_area_mm2"]["value"] == pytest.approx(SAC_MM2 * cosine, rel=0.12)
        assert measured["quadratus_lumborum_right_area_mm2"] == {"not_measurable": "not found on the axial slice"}
        assert found[level]["slices"]
    assert 13 in found["L4/L5"]["slices"]  # of 25, drawn around the middle of L4/L5
    assert document["software"]["models"]["axial.onnx"]
    assert document["software"]["seconds"]["muscle"] > 0


def test_the_sac_stands_beside_canal_stenosis(with_axial):
    _, document = with_axial
    stenosis = next(level for level in document["levels"] if level["level"] == "L4/L5")["grades"]["stenosis"]
    assert any("dural_sac_area_mm2 1" in text and "mm2 on the axial slices" in text for text in stenosis["evidence"])


def test_the_pages_show_the_muscles(with_axial):
    report, _ = with_axial
    pages = [" ".join(page.extract_text().split()) for page in PdfReader(io.BytesIO(report.pdf)).pages]
    assert any("Muscles on the axial series" in page and "the patient's right is on the left" in page for page in pages)
    assert any("Fat in the muscles of your lower back" in page for page in pages)
    assert any("Vet in de spieren van uw onderrug" in page for page in pages)


def test_without_an_axial_series_nothing_else_changes(with_axial, without):
    (_, one), (_, two) = with_axial, without
    assert "no axial series was given" in two["muscle"]["not_measurable"]
    assert two["software"]["seconds"]["muscle"] < 0.01
    for document in (one, two):
        for part in ("muscle", "software"):
            del document[part]
        document["input"]["series"] = document["input"]["series"][:2]
        for level in document["levels"]:
            grade = level["grades"]["stenosis"]
            grade["evidence"] = [text for text in grade.get("evidence", ()) if "dural_sac" not in text]
    assert one == two


def test_a_sagittal_series_in_the_axial_socket_is_said_and_the_rest_goes_on(without, tmp_path):
    sagittal = replace(read_study(CASE).primary, slug="axial-t2-spine-mri")
    _, document = run(tmp_path, axial_t2=sagittal)
    reason = "the series in the axial socket is sagittal: axial slices are expected"
    assert document["muscle"] == {"not_measurable": reason}
    assert f"axial-t2-spine-mri: {reason}" in document["quality"]["flags"]
    assert len(document["levels"]) == len(without[1]["levels"])


def test_the_network_belongs_to_the_settings(tmp_path):
    settings = read_settings(ROOT / "model").axial
    assert settings.pixel_mm == 0.9
    for path in (ROOT / "model").iterdir():
        if path.suffix in {".json", ".onnx"} and path.name != settings.file:
            (tmp_path / path.name).symlink_to(path)
    with pytest.raises(ModelError, match=settings.file):
        pipeline.open_models(tmp_path, "cpu")


AXIAL = (1, 0, 0, 0, 1, 0)
LEANING = (1, 0, 0, 0, 0.9396926, 0.3420201)  # by 20 degrees


def test_stacks_angled_disc_by_disc_are_one_series(write_series):
    """Two angled DICOM stacks under one series, and a sagittal series that they are compared with."""
    planes = np.arange(7 * 64 * 64).reshape(7, 64, 64) % 4000
    folder = write_series(planes[:4], AXIAL, (2.0, 2.0, 4.0), (-60.0, -60.0, 0.0))
    other = write_series(planes[4:], LEANING, (2.0, 2.0, 4.0), (-60.0, -70.0, 40.0), order=(4, 5, 6))
    header = sitk.ImageFileReader()
    header.SetFileName(str(next(folder.iterdir())))
    header.ReadImageInformation()
    for path in other.iterdir():
        move_into_series(path, folder, header.GetMetaData("0020|000e"))
    sagittal = next((CASE / "images" / "sagittal-spine-mri").iterdir())
    series = read_files(sagittal, axial=folder).axial_t2
    assert [grid.size[2] for grid in series.stacks] == [4, 3]
    assert series.array.shape == (7, 64, 64)
    assert series.grid.size == (64, 64, 7)
    tilt = [np.degrees(np.arccos(np.reshape(grid.direction, (3, 3))[2, 2])) for grid in series.stacks]
    assert tilt == pytest.approx([0, 20], abs=0.1)
    stack = conform_axial(series, 2.0)
    assert stack.neighbours(3) == (2, 3)  # not into the other stack
    assert stack.neighbours(4) == (4, 5)
    assert [stack.stored_number(n) for n in range(7)] == [1, 2, 3, 4, 5, 6, 7]


def move_into_series(path, folder, uid):
    from pydicom import dcmread

    one = dcmread(path)
    one.SeriesInstanceUID = uid
    one.save_as(folder / path.name, enforce_file_format=True)


def test_another_frame_of_reference_is_marked(write_series):
    planes = np.arange(5 * 64 * 64).reshape(5, 64, 64) % 4000
    sagittal = write_series(planes, (0, 1, 0, 0, 0, -1))
    same = write_series(planes, AXIAL, (2.0, 2.0, 4.0))
    foreign = write_series(planes, AXIAL, (2.0, 2.0, 4.0), FrameOfReferenceUID="1.2.10")
    assert not read_files(sagittal, axial=same).axial_t2.foreign_frame
    assert read_files(sagittal, axial=foreign).axial_t2.foreign_frame


def test_voxels_that_are_no_numbers_are_mended_when_read(tmp_path):
    grey = axial().array.astype(np.float32)
    grey[3, 10, 10] = np.nan
    image = sitk.GetImageFromArray(grey)
    image.SetSpacing(axial().grid.spacing_mm)
    sitk.WriteImage(image, str(tmp_path / "axial.mha"))
    sagittal = next((CASE / "images" / "sagittal-spine-mri").iterdir())
    study = partial(read_files, sagittal, axial=tmp_path / "axial.mha")()
    assert np.isfinite(study.axial_t2.array).all()
    assert any("axial-t2-spine-mri: 1 voxels were not finite" in flag for flag in study.flags)
