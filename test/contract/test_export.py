"""The whole path on the bundled case as a DICOM series: objects for hospital systems beside the outputs."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK

from spine import pipeline
from spine.arguments import parse
from spine.errors import UnusableImage
from spine.read import read_files

ROOT = Path(__file__).parents[2]
CASE = ROOT / "test" / "input" / "lumbar"
OUTPUTS = {
    "images/sagittal-spine-mr-segmentation/output.mha",
    "spine-degeneration-report.json",
    "accelerated-degeneration-likelihood.json",
    "spine-treatment-outcome-prediction.json",
    "spine-report.pdf",
}
EXTRAS = {
    "spine-report.html",
    "spine-fhir.json",
    "dicom/segmentation.dcm",
    "dicom/measurements.dcm",
    "dicom/report.dcm",
}


@pytest.fixture(scope="module")
def models():
    return pipeline.open_models(ROOT / "model", "cpu")


def test_everything_that_can_be_asked_for(write_series, models, tmp_path, capfd):
    image = SimpleITK.ReadImage(str(next((CASE / "images" / "sagittal-spine-mri").iterdir())))
    direction = np.reshape(image.GetDirection(), (3, 3))
    spacing = image.GetSpacing()
    array = SimpleITK.GetArrayFromImage(image)
    folder = write_series(
        np.clip(array, 0, None),
        [*direction[:, 0], *direction[:, 1]],
        (spacing[1], spacing[0], spacing[2]),
        image.GetOrigin(),
        order=np.argsort(np.arange(len(array)) % 2, kind="stable"),  # interleaved
    )
    clinical = CASE / "clinical-information-spine.json"
    read = partial(read_files, folder, clinical=clinical)
    out = tmp_path / "out"
    pipeline.run(read, models, out, extras={"html", "fhir", "dicom_if_source"})
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == OUTPUTS | EXTRAS
    assert capfd.readouterr().err == ""
    segmentation = highdicom.seg.segread(out / "dicom" / "segmentation.dcm")
    mask = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(next((out / "images").rglob("*.mha")))))
    normal = np.cross(direction[:, 0], direction[:, 1])
    positions = [
        frame.PlanePositionSequence[0].ImagePositionPatient @ normal
        for frame in segmentation.PerFrameFunctionalGroupsSequence
    ]
    np.testing.assert_array_equal(segmentation.pixel_array[np.argsort(positions)], mask)
    assert {number for number in segmentation.segment_numbers if number} == set(np.unique(mask)) - {0}
    document = json.loads((out / "spine-degeneration-report.json").read_text())
    groups = highdicom.sr.srread(out / "dicom" / "measurements.dcm").content.get_volumetric_roi_measurement_groups()
    assert len(groups) == len(document["levels"]) + len(document["vertebrae"]) + 1  # the canal
    stored = pydicom.dcmread(out / "dicom" / "report.dcm")
    page = (out / "spine-report.pdf").read_bytes()
    assert stored.EncapsulatedDocument[: len(page)] == page
    for path in OUTPUTS | EXTRAS:
        content = (out / path).read_bytes()
        named = any(word in content for word in (b"SECRET", b"Anna", b"Huis"))
        assert named == path.startswith("dicom/"), path


def test_dicom_from_what_is_no_dicom_is_refused_before_the_work(models, tmp_path):
    image = next((CASE / "images" / "sagittal-spine-mri").iterdir())
    with pytest.raises(UnusableImage, match="--dicom: sagittal-spine-mri: it did not come in as DICOM"):
        pipeline.run(partial(read_files, image), models, tmp_path / "out", extras={"dicom"})
    assert not (tmp_path / "out").exists()


def test_help_tells_that_dicom_is_refused_without_a_study(capsys):
    with pytest.raises(SystemExit):
        parse(["--help"], ROOT / "model")
    assert "a series that is no DICOM is refused" in " ".join(capsys.readouterr().out.split())


def test_the_libraries_wait_until_they_are_asked_for():
    code = (
        "import sys, spine.pipeline\n"
        "early = {'highdicom', 'pydicom', 'spine.export.fhir', 'spine.report.html'} & sys.modules.keys()\n"
        "assert not early, early"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
