"""Who the patient is stays out of messages and outputs: headers, file names and folders full of names.

The DICOM objects alone carry patient and study of their source: without them they would belong to nobody.
"""

import json
import subprocess
import sys
import zlib
from pathlib import Path

import pydicom
import pypdf
import pytest
import SimpleITK

from lab.evaluate.run_endurance import PHANTOM, small_case
from spine.errors import InputError
from spine.read import read_study

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "images/sagittal-spine-mri"
SAGITTAL_COSINES = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
NAME, IDENTIFIER, BORN = "Quuxworth^Zebulon", "ZQ-774411", "19571203"
HEADER = {
    "PatientName": NAME, "PatientID": IDENTIFIER, "PatientBirthDate": BORN, "OtherPatientIDs": "ALT-998877",
    "InstitutionName": "Sankt Hohenfels Klinik", "InstitutionAddress": "Wolkengasse 7", "StationName": "MRQUUX1",
    "ReferringPhysicianName": "Oberarzt^Quibble", "OperatorsName": "Vexley^Ida", "AccessionNumber": "ACC-556677",
    "StudyID": "ST-112233", "StudyDescription": "Quuxworth LWS", "SeriesDescription": "sag of Zebulon",
    "ProtocolName": "Zebulon protocol", "PatientComments": "call +49 171 5550000", "PatientAddress": "Nebelweg 12",
    "ImageComments": "<script>Quuxworth</script>", "DeviceSerialNumber": "SN-887766",
}  # fmt: skip
SECRETS = (
    "Quuxworth", "Zebulon", IDENTIFIER, BORN, "1957-12-03", "ALT-998877", "Hohenfels", "Wolkengasse", "MRQUUX1",
    "Quibble", "Vexley", "ACC-556677", "ST-112233", "5550000", "Nebelweg", "SN-887766",
)  # fmt: skip


def leaks(content: bytes) -> list[str]:
    text = content.decode("utf-8", errors="ignore")
    return [secret for secret in SECRETS if secret in text]


def process(*flags: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "process.py"), *map(str, flags), "--runner", "cpu"]
    return subprocess.run(command, capture_output=True, check=False, timeout=300, cwd=ROOT)


@pytest.fixture
def image():
    return small_case(SimpleITK.ReadImage(str(next(PHANTOM.iterdir()))), 0)


@pytest.fixture
def series(image, write_series):
    """A DICOM series with every identifying attribute, in files and a folder that bear the patient's name."""
    array = SimpleITK.GetArrayFromImage(image)
    columns, rows, slices = image.GetSpacing()
    folder = write_series(array, SAGITTAL_COSINES, spacing_mm=(rows, columns, slices), **HEADER)
    named = folder.with_name("Quuxworth_Zebulon_19571203")
    folder.rename(named)
    for number, path in enumerate(sorted(named.iterdir())):
        path.rename(path.with_name(f"Quuxworth^Zebulon {number}.dcm"))
    return named


def readable(path: Path) -> bytes:
    """The file with what is packed in it: the text of a PDF, the voxels of a mask apart from its header."""
    content = path.read_bytes()
    if path.suffix == ".pdf":
        pages = pypdf.PdfReader(path).pages
        return content + "\n".join(page.extract_text() for page in pages).encode()
    if path.suffix == ".mha":
        header, _, voxels = content.partition(b"ElementDataFile = LOCAL\n")
        return header + zlib.decompress(voxels)
    return content


def test_outputs_and_messages_of_a_dicom_series_name_nobody(tmp_path, series):
    out = tmp_path / "out"
    done = process("--image", series, "--output", out, "--html", "--fhir", "--dicom", "--progress")
    assert (done.returncode, done.stderr) == (0, b"")
    assert leaks(done.stdout) == []
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) == 10
    objects = [path for path in files if path.suffix == ".dcm"]
    found = {path.name: leaks(readable(path)) for path in files if path not in objects}
    assert not any(found.values()), found
    for path in objects:
        header = pydicom.dcmread(path)
        assert (str(header.PatientName), header.PatientID, header.PatientBirthDate) == (NAME, IDENTIFIER, BORN)
        told = {element.keyword for element in header.iterall() if leaks(str(element.value).encode())}
        carried = {"PatientName", "PatientID", "PatientBirthDate", "OtherPatientIDs", "AccessionNumber", "StudyID",
                   "StudyDescription", "ReferringPhysicianName"}  # fmt: skip
        assert told <= carried


def test_outputs_of_a_file_that_bears_a_name_name_nobody(tmp_path, image):
    case = tmp_path / "case"
    (case / FOLDER).mkdir(parents=True)
    SimpleITK.WriteImage(image, str(case / FOLDER / "Quuxworth^Zebulon 1957-12-03.mha"), True)
    item = {"image": {"name": "Quuxworth.mha"}, "socket": {"slug": "sagittal-spine-mri", "relative_path": FOLDER}}
    (case / "inputs.json").write_text(json.dumps([item]))
    out = tmp_path / "out"
    done = process("--input", case, "--output", out, "--html", "--fhir")
    assert (done.returncode, done.stderr, leaks(done.stdout)) == (0, b"", [])
    found = {path.name: leaks(readable(path)) for path in out.rglob("*") if path.is_file()}
    assert len(found) == 7
    assert not any(found.values()), found


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


def no_dicom(path: Path) -> None:
    path.write_bytes(b"hello")


def twice(path: Path) -> None:
    path.with_name(f"second {path.name}").write_bytes(path.read_bytes())


def link_out(path: Path) -> None:
    outside = path.parents[3] / path.name
    path.rename(outside)
    path.symlink_to(outside)


def as_kind(suffix: str):
    return lambda path: path.rename(path.with_suffix(suffix)) and None


@pytest.mark.parametrize("change", [cut, no_dicom, twice, link_out, as_kind(".nii"), as_kind(".tif")])
@pytest.mark.parametrize("kind", ["mha", "dicom"])
def test_refusals_on_the_platform_name_no_file(tmp_path, image, series, kind, change):
    folder = tmp_path / "case" / FOLDER
    folder.mkdir(parents=True)
    if kind == "mha":
        SimpleITK.WriteImage(image, str(folder / "Quuxworth^Zebulon.mha"), True)
    else:
        for path in series.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
    change(sorted(folder.iterdir())[0])
    with pytest.raises(InputError) as caught:
        read_study(tmp_path / "case")
    assert leaks(str(caught.value).encode()) == []
    assert FOLDER in str(caught.value)
