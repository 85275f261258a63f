"""Radiographs as they come: DICOM CR and DX, MHA in two and three dimensions; what the header says of a millimetre."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from spine.read import read_files
from spine.xray.conform import conform_film
from spine.xray.spacing import film_spacing

CR_CLASS, DX_CLASS = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"
XRAY = "lateral-spine-xray"
SAGITTAL = (0, 1, 0, 0, 0, -1)  # columns to the back, rows to the feet


@pytest.fixture
def mr(tmp_path):
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 900, (5, 20, 20)).astype(np.int16))
    sitk.WriteImage(image, str(tmp_path / "mr.mha"))
    return tmp_path / "mr.mha"


@pytest.fixture
def film(write_series):
    """A function that writes one DICOM film and returns its path."""

    def write(columns=120, **changes):
        array = np.random.default_rng(1).integers(0, 4000, (1, 160, columns)).astype(np.uint16)
        bare = {"ImageOrientationPatient": None, "ImagePositionPatient": None, "FrameOfReferenceUID": None}
        known = {"SOPClassUID": CR_CLASS, "Modality": "CR", **bare, **changes}
        folder = write_series(array, SAGITTAL, **known)
        path = next(folder.iterdir())
        data = path.read_bytes().replace(b"1.2.840.10008.5.1.4.1.1.4\x00", CR_CLASS.encode() + b"\x00")
        path.write_bytes(data)
        return path

    return write


def test_a_computed_radiograph_keeps_both_spacings_and_its_polarity(mr, film):
    path = film(PixelSpacing=[0.2, 0.2], ImagerPixelSpacing=[0.25, 0.25], PhotometricInterpretation="MONOCHROME1")
    series = read_files(mr, xray=path).xray
    assert series.grid.size == (120, 160, 1)
    assert series.tags["photometric"] == "MONOCHROME1"
    spacing = film_spacing(series, series.grid.spacing_mm[1::-1])
    assert spacing.step_mm == pytest.approx((0.2, 0.2))
    assert spacing.plane == "patient"


def test_a_detector_spacing_alone_is_used_and_doubted(mr, film):
    series = read_files(mr, xray=film(PixelSpacing=None, ImagerPixelSpacing=[0.5, 0.5])).xray
    spacing = film_spacing(series, series.grid.spacing_mm[1::-1])
    assert (spacing.step_mm, spacing.plane) == ((0.5, 0.5), "detector")
    assert "Magnification is unknown" in spacing.doubt


def test_no_spacing_at_all_is_no_millimetre(mr, film):
    series = read_files(mr, xray=film(PixelSpacing=None)).xray
    spacing = film_spacing(series, series.grid.spacing_mm[1::-1])
    assert (spacing.known, spacing.plane) == (False, "none")


def test_a_negative_that_says_so_is_turned_over_once(mr, film):
    """The DICOM reader turns MONOCHROME1 over: nothing is left to do, and a second time would undo it."""
    stored = {}
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        path = film(PixelSpacing=[0.5, 0.5], PhotometricInterpretation=photometric)
        series = read_files(mr, xray=path).xray
        reading = next(conform_film(series, 0.6))
        assert not reading.negated
        stored[photometric] = reading.shown
    assert np.corrcoef(*(shown.ravel() for shown in stored.values()))[0, 1] == pytest.approx(-1.0)


def test_the_view_is_kept_and_names_are_not(mr, film):
    tags = read_files(mr, xray=film(ViewPosition="AP", SeriesDescription="CWK lateral Anna")).xray.tags
    assert tags["view_position"] == "AP"
    assert not any("Anna" in value for value in tags.values())


def test_films_in_two_and_three_dimensions_are_one(mr, tmp_path):
    array = np.random.default_rng(2).integers(0, 4000, (160, 120)).astype(np.uint16)
    for name, stored in (("two", array), ("three", array[None])):
        image = sitk.GetImageFromArray(stored)
        image.SetSpacing((0.5, 0.5, 1.0)[: image.GetDimension()])
        sitk.WriteImage(image, str(tmp_path / f"{name}.mha"))
        series = read_files(mr, xray=tmp_path / f"{name}.mha").xray
        np.testing.assert_array_equal(series.array, array[None])
        assert series.grid.spacing_mm[:2] == (0.5, 0.5)


def test_colour_and_several_frames_are_refused(mr, film, tmp_path):
    colour = sitk.GetImageFromArray(np.zeros((160, 120, 3), np.uint8), isVector=True)
    sitk.WriteImage(colour, str(tmp_path / "colour.mha"))
    assert "a voxel has 3 values" in read_files(mr, xray=tmp_path / "colour.mha").unused[XRAY]
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 160, 120), np.uint8)), str(tmp_path / "cine.mha"))
    told = read_files(mr, xray=tmp_path / "cine.mha").unused[XRAY]
    assert told == "given but not used: the radiograph has 4 slices; one is expected"
    assert read_files(mr, xray=film(NumberOfFrames=3)).xray is None
    assert "the modality is MR" in read_files(mr, xray=film(Modality="MR")).unused[XRAY]


def test_what_a_header_says_of_view_part_and_distances_is_kept(mr, film):
    path = film(
        BodyPartExamined="CSPINE", ViewPosition="LL", DistanceSourceToDetector=1500, DistanceSourceToPatient=1250
    )
    tags = read_files(mr, xray=path).xray.tags
    kept = {name: tags[name] for name in ("body_part", "view_position", "source_detector_mm", "source_patient_mm")}
    assert kept == {
        "body_part": "CSPINE", "view_position": "LL", "source_detector_mm": "1500.0", "source_patient_mm": "1250.0",
    }  # fmt: skip
    assert "body_part" not in read_files(mr, xray=film(BodyPartExamined="ANNA")).xray.tags
