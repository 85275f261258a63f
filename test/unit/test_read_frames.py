"""Enhanced MR: one file of many frames is read like the series of single slices that it was made from, and exported."""

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.legacy import LegacyConvertedEnhancedMRImage

from spine.errors import UnreadableImage, UnusableImage
from spine.export import export_report, settle_extras
from spine.read import read_files
from spine.records import Report

C, S = np.cos(0.3), np.sin(0.3)
OBLIQUE = (-S, C, 0, 0, 0, -1)
LABELS = [0, 1, 100, 201]


def voxels() -> np.ndarray:
    return np.random.default_rng(1).choice(LABELS, (6, 12, 10)).astype(np.uint8)


@pytest.fixture
def enhance(write_series, tmp_path, caplog):
    """A function that writes a series and its enhanced form; frames of the latter may be shuffled, groups edited."""

    def make(order=None, edit=None, **changes):
        folder = write_series(voxels(), OBLIQUE, WindowCenter=100, WindowWidth=200, **changes)
        slices = sorted((pydicom.dcmread(path) for path in folder.iterdir()), key=lambda one: one.InstanceNumber)
        whole = LegacyConvertedEnhancedMRImage(
            slices, series_instance_uid=highdicom.UID(), series_number=9, sop_instance_uid=highdicom.UID(),
            instance_number=1,
        )  # fmt: skip
        if order is not None:
            frames = whole.PerFrameFunctionalGroupsSequence
            whole.PerFrameFunctionalGroupsSequence = [frames[n] for n in order]
            whole.PixelData = whole.pixel_array[list(order)].tobytes()
        if edit is not None:
            edit(whole)
        path = tmp_path / "enhanced" / "a.dcm"
        path.parent.mkdir(exist_ok=True)
        whole.save_as(path)
        return folder, path

    return make


@pytest.mark.parametrize("order", [None, (5, 4, 3, 2, 1, 0), (0, 3, 1, 4, 2, 5)])
def test_frames_are_read_like_slices(enhance, order):
    folder, path = enhance(order)
    apart, together = read_files(folder).primary, read_files(path).primary
    np.testing.assert_array_equal(together.array, apart.array)
    assert together.grid.size == apart.grid.size
    for fact in ("spacing_mm", "origin_mm", "direction"):
        np.testing.assert_allclose(getattr(together.grid, fact), getattr(apart.grid, fact), atol=1e-4)
    assert together.files == (path,)
    assert sorted(together.frames) == list(range(6))
    np.testing.assert_array_equal(read_files(path.parent).primary.array, apart.array)


@pytest.mark.parametrize("order", [None, (0, 3, 1, 4, 2, 5)])
def test_segmentation_frames_name_the_frames_they_lie_on(enhance, order):
    _, path = enhance(order)
    study = read_files(path)
    wanted, _ = settle_extras({"dicom_if_source"}, study)
    report = Report(
        {
            "software": {"version": "1", "models": {}},
            "levels": [], "vertebrae": [], "canal": {}, "alignment": {},
            "muscle": {"not_measurable": "x"}, "xray": {"not_measurable": "x"},
            "degeneration": {"accelerated": {"likelihood": 0.1, "disc_age_years": 50}},
            "numbering": {"probability": 1.0, "method": "sacrum", "doubt": "none"},
            "quality": {"flags": []},
            "provenance": {"intended_use": "Research use only."},
        }, {}, {}, b"%PDF-1.7",
    )  # fmt: skip
    mask = study.primary.array.astype(np.uint8)
    made = path.with_name("segmentation.dcm")
    made.write_bytes(export_report(report, mask, study.primary, wanted)["dicom-segmentation"])
    source, found = pydicom.dcmread(path), pydicom.dcmread(made)
    for frame, about in zip(found.pixel_array, found.PerFrameFunctionalGroupsSequence, strict=True):
        named = about.DerivationImageSequence[0].SourceImageSequence[0]
        assert named.ReferencedSOPInstanceUID == source.SOPInstanceUID
        number = int(named.ReferencedFrameNumber) - 1
        np.testing.assert_array_equal(frame, source.pixel_array[number])
        np.testing.assert_allclose(
            about.PlanePositionSequence[0].ImagePositionPatient,
            source.PerFrameFunctionalGroupsSequence[number].PlanePositionSequence[0].ImagePositionPatient,
        )


def forget_positions(whole):
    del whole.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence


def drop_a_frame(whole):
    whole.PerFrameFunctionalGroupsSequence = list(whole.PerFrameFunctionalGroupsSequence)[1:]


def scale_apart(whole):
    for n, frame in enumerate(whole.PerFrameFunctionalGroupsSequence):
        scale = pydicom.Dataset()
        scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = 1 + n, 0, "US"
        frame.PixelValueTransformationSequence = [scale]


@pytest.mark.parametrize(
    ("edit", "kind", "sentence"),
    [
        (forget_positions, UnreadableImage, "a frame states no position in the patient, or the file is damaged"),
        (drop_a_frame, UnreadableImage, "5 frames are described and 6 stored; the file is damaged or truncated."),
        (scale_apart, UnusableImage, "the frames are scaled each by its own slope; one scale for all is expected."),
    ],
)
def test_frames_that_cannot_be_placed_are_refused(enhance, edit, kind, sentence):
    _, path = enhance(edit=edit)
    with pytest.raises(kind) as caught:
        read_files(path)
    assert sentence in str(caught.value)
    assert "SECRET" not in str(caught.value)
