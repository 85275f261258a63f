"""DICOM series: sorted by position, read only as one even stack, chosen by a stated rule, identifiers kept out."""

import json
import resource
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from spine.errors import InputError, MissingInput, UnreadableImage, UnusableImage
from spine.read import read_files, read_study
from spine.records import Study

SAGITTAL, AXIAL = (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 1, 0)  # cosines of rows and columns
COUNT, GAP_MM = 6, 4.4
FOLDER = "images/sagittal-spine-mri"


def voxels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 999, (COUNT, 12, 10)).astype(np.int16)


def put(
    folder: Path,
    series: str = "1.2.3.4",
    cosines: tuple[int, ...] = SAGITTAL,
    offsets_mm: tuple[float, ...] = tuple(GAP_MM * k for k in range(COUNT)),
    array: np.ndarray | None = None,
    slide_mm: float = 0.0,
    **tags: str,
) -> list[Path]:
    """One DICOM file a slice, named so that names say nothing of positions."""
    folder.mkdir(parents=True, exist_ok=True)
    array = voxels() if array is None else array
    rows, columns = np.array(cosines[:3], float), np.array(cosines[3:], float)
    normal = np.cross(rows, columns)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    paths = []
    for k, offset_mm in enumerate(offsets_mm):
        image = SimpleITK.JoinSeries(SimpleITK.GetImageFromArray(array[k]))
        image.SetSpacing((0.5, 0.75, 4.0))
        image.SetDirection(np.stack([rows, columns, normal], axis=1).ravel().tolist())
        image.SetOrigin((np.array([5.0, -60.0, 80.0]) + offset_mm * normal + slide_mm * k * rows).tolist())
        uid = f"{series}.{(7 * k) % 11}{k}.{round(100 * offset_mm)}"
        facts = {
            "0008|0060": "MR", "0008|0008": "ORIGINAL\\PRIMARY\\M", "0020|000d": "1.2.3", "0020|000e": series,
            "0008|0018": uid, "0020|0052": "1.2.9", "0010|0020": "SECRET-4711", "0010|0010": "Doe^Jane",
            "0008|103e": "t2 of Jane Doe", "0018|0080": "3500", "0018|0081": "101", "0018|0087": "1.5",
            "0018|0050": "4", "0020|0013": str(99 - k),
            **{name.removeprefix("t").replace("_", "|"): value for name, value in tags.items()},
        }  # fmt: skip
        for tag, value in facts.items():
            image.SetMetaData(tag, value)
        paths.append(folder / f"{uid}.dcm")
        writer.SetFileName(str(paths[-1]))
        writer.Execute(image)
    return paths


def sentence(path: Path, kind: type[InputError] = UnusableImage, **others: Path) -> str:
    with pytest.raises(kind) as caught:
        read_files(path, **others)
    text = str(caught.value)
    assert type(caught.value) is kind
    assert "SECRET" not in text
    assert "Doe" not in text
    return text


def test_a_series_folder_is_sorted_by_position(tmp_path):
    put(tmp_path / "s")
    series = read_files(tmp_path / "s").primary
    np.testing.assert_array_equal(series.array, voxels())
    assert series.name == "s"
    assert series.grid.size == (10, 12, COUNT)
    np.testing.assert_allclose(series.grid.spacing_mm, (0.5, 0.75, GAP_MM))
    np.testing.assert_allclose(series.grid.origin_mm, (5, -60, 80))
    np.testing.assert_allclose(np.reshape(series.grid.direction, (3, 3)), [[0, 0, -1], [1, 0, 0], [0, -1, 0]], atol=0)


def test_the_grid_agrees_with_the_position_of_every_slice(tmp_path):
    c, s = np.cos(0.3), np.sin(0.3)
    put(tmp_path / "s", cosines=(-s, c, 0, 0, 0, -1))
    grid = read_files(tmp_path / "s").primary.grid
    for k in range(COUNT):
        expected = np.array([5, -60, 80]) + k * GAP_MM * np.cross((-s, c, 0), (0, 0, -1))
        np.testing.assert_allclose((grid.affine @ [0, 0, k, 1])[:3], expected, atol=1e-4)


def test_one_file_stands_for_its_series(tmp_path):
    paths = put(tmp_path / "s")
    put(tmp_path / "s", series="1.2.3.5", cosines=AXIAL)
    series = read_files(paths[3]).primary
    np.testing.assert_array_equal(series.array, voxels())


def test_harmless_facts_are_kept_and_identifiers_are_not(tmp_path):
    put(tmp_path / "s", t0018_0022="FS\\SFS", t0018_0020="SE; DROP TABLE")
    study = read_files(tmp_path / "s")
    assert study.primary.tags == {
        "modality": "MR", "image_type": "ORIGINAL\\PRIMARY\\M", "magnetic_field_strength_t": "1.5",
        "repetition_time_ms": "3500", "echo_time_ms": "101", "slice_thickness_mm": "4", "scan_options": "FS\\SFS",
        "photometric": "MONOCHROME2",
    }  # fmt: skip
    shown = json.dumps([study.flags, dict(study.primary.tags), study.primary.name])
    assert not any(word in shown for word in ("SECRET", "Doe", "Jane", "1.2."))


def test_one_slice(tmp_path):
    put(tmp_path / "s", offsets_mm=(0.0,))
    series = read_files(tmp_path / "s").primary
    assert series.grid.size == (10, 12, 1)
    assert series.grid.spacing_mm == (0.5, 0.75, 4.0)


def test_the_platforms_folder_of_slices(tmp_path):
    put(tmp_path / FOLDER)
    study = read_study(tmp_path)
    np.testing.assert_array_equal(study.primary.array, voxels())
    assert study.primary.name == "sagittal-spine-mri"
    put(tmp_path / FOLDER, series="1.2.3.5")
    with pytest.raises(UnusableImage) as caught:
        read_study(tmp_path)
    assert str(caught.value) == f"{FOLDER}: the slices belong to 2 DICOM series; one series is expected."


def test_the_only_series_that_fits_is_chosen(tmp_path):
    put(tmp_path / "s")
    put(tmp_path / "s", series="1.2.3.1", cosines=AXIAL)
    put(tmp_path / "s", series="1.2.3.2", t0008_0008="ORIGINAL\\PRIMARY\\LOCALIZER")
    put(tmp_path / "s", series="1.2.3.3", t0008_0060="CT")
    put(tmp_path / "s", series="1.2.3.6", offsets_mm=(0.0,))
    study = read_files(tmp_path / "s", axial=tmp_path / "s")
    np.testing.assert_array_equal(study.primary.array, voxels())
    assert np.argmax(np.abs(np.reshape(study.axial_t2.grid.direction, (3, 3))[:, 2])) == 2
    assert study.flags == (
        "sagittal-spine-mri: of 5 series the only one of sagittal MR series was read",
        "axial-t2-spine-mri: of 5 series the only one of axial MR series was read",
    )


def test_several_series_that_fit_are_told_apart_by_technique(tmp_path):
    put(tmp_path / "s")
    put(tmp_path / "s", series="1.2.3.5", t0018_0080="600", t0018_0081="9.8")
    put(tmp_path / "s", series="1.2.3.6", cosines=AXIAL)
    assert sentence(tmp_path / "s") == (
        "s: 3 DICOM series, 2 of them sagittal MR series (sagittal, 6 images, TR 3500 ms, TE 101 ms; "
        "sagittal, 6 images, TR 600 ms, TE 9.8 ms); the folder or one file of one series is expected."
    )


def test_a_folder_without_dicom(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.txt").write_text("x")
    assert sentence(tmp_path / "s", MissingInput) == (
        "s: no DICOM image was found; the folder of one series is expected."
    )


@pytest.mark.parametrize(
    ("offsets_mm", "expected"),
    [
        ((0, 4.4, 13.2, 17.6), "slices are missing or unevenly spaced (gaps of 4.40 to 8.80 mm); a complete series"),
        ((0, 4.4, 4.4, 8.8), "several slices share a position (echoes or time points); one volume"),
        ((0, 4.4, 8.8, 20.0), "slices are missing or unevenly spaced (gaps of 4.40 to 11.20 mm); a complete series"),
    ],
)
def test_stacks_that_are_not_even(tmp_path, offsets_mm, expected):
    put(tmp_path / "s", offsets_mm=offsets_mm)
    assert sentence(tmp_path / "s") == f"s: {expected} is expected."


def test_rounded_positions_are_even_enough(tmp_path):
    put(tmp_path / "s", offsets_mm=(0.0, 4.35, 8.79, 13.22, 17.6))
    assert read_files(tmp_path / "s").primary.grid.spacing_mm[2] == pytest.approx(4.4)


def test_stacks_that_are_not_rectangular(tmp_path):
    put(tmp_path / "slide", slide_mm=0.5)
    assert sentence(tmp_path / "slide") == "slide: the slices slide sideways; a rectangular grid is expected."
    put(tmp_path / "fan", offsets_mm=(0.0, 4.4))
    put(tmp_path / "fan", cosines=(0.1, 0.99498744, 0, 0, 0, -1), offsets_mm=(8.8, 13.2, 17.6))
    assert sentence(tmp_path / "fan") == "fan: the slices are not parallel; one stack is expected."
    put(tmp_path / "sizes", offsets_mm=(0.0, 4.4))
    put(tmp_path / "sizes", offsets_mm=(8.8, 13.2), array=voxels()[:, :8])
    assert sentence(tmp_path / "sizes") == ("sizes: the slices differ in size; one series of equal slices is expected.")


def test_the_wrong_modality_and_localisers(tmp_path):
    put(tmp_path / "ct", t0008_0060="CT")
    assert sentence(tmp_path / "ct") == "ct: the modality is CT; MR is expected."
    put(tmp_path / "mr")
    assert read_files(tmp_path / "mr", xray=tmp_path / "mr").flags == (
        "lateral-spine-xray: given but not used: the modality is MR; CR or DX or RF or RG or XA is expected",
    )
    (tmp_path / "peter").mkdir()
    (tmp_path / "peter" / "pan.dcm").write_bytes(b"x" * 200)
    assert read_files(tmp_path / "mr", axial=tmp_path / "peter").flags == (
        "axial-t2-spine-mri: given but not used: one of its files is not a DICOM file",
    )
    put(tmp_path / "scout", t0008_0008="ORIGINAL\\PRIMARY\\LOCALIZER")
    assert sentence(tmp_path / "scout") == "scout: the image is a localiser; a diagnostic series is expected."
    put(tmp_path / "made", t0008_0008="DERIVED\\SECONDARY\\MPR")
    assert read_files(tmp_path / "made").flags == ("sagittal-spine-mri: the image is derived from others",)


def test_a_radiograph(tmp_path):
    put(tmp_path / "mr")
    paths = put(tmp_path / "dx", offsets_mm=(0.0,), t0008_0060="DX", t0010_0020="SECRET-4712", series="1.2.8")
    study = read_files(tmp_path / "mr", xray=paths[0])
    assert study.xray.grid.size == (10, 12, 1)
    assert study.flags == ("the series carry different patient identifiers: they may not be of one patient",)


def test_series_of_different_patients_and_frames_are_flagged(tmp_path):
    def read(**tags: str) -> Study:
        put(tmp_path / "t1", series="1.2.8", **tags)
        return read_files(tmp_path / "t2", tmp_path / "t1")

    put(tmp_path / "t2")
    frames = "the MR series lie in different frames of reference: positions may not agree between them"
    assert read().flags == ()
    assert read(t0020_0052="1.2.10").flags == (frames,)
    assert read(t0010_0020="SECRET-4712").flags == (
        "the series carry different patient identifiers: they may not be of one patient",
    )
    assert read(t0010_0020="", t0020_0052="").flags == ()


@pytest.mark.parametrize(
    ("tag", "what"), [("t0010_0020", "patients"), ("t0020_000d", "studies"), ("t0020_0052", "frames of reference")]
)
def test_slices_of_several_patients_in_one_series_are_refused(tmp_path, tag, what):
    put(tmp_path / "s", offsets_mm=(0.0, GAP_MM))
    put(tmp_path / "s", offsets_mm=(2 * GAP_MM, 3 * GAP_MM), **{tag: "1.2.77"})
    assert f"several {what}" in sentence(tmp_path / "s")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_slice_is_refused(tmp_path, share):
    path = put(tmp_path / "s")[0]  # an end slice: without it the rest would still be an even stack
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    told = {0.1: f"s: {path.name} is not a DICOM file."}
    damaged = f"s: {path.name}: the file is damaged or truncated."
    assert sentence(tmp_path / "s", UnreadableImage) == told.get(share, damaged)


@pytest.mark.parametrize("element", [b"\xe0\x7f\x10\x00OW\0\0", b"\x09\x00\x10\x10OB\0\0"])
def test_an_element_that_claims_gigabytes_gets_no_memory(tmp_path, element):
    path = put(tmp_path / "s")[0]
    content = path.read_bytes()
    at = content.find(element)  # the voxels; there is no such private element yet
    tail = content[at + 12 :] if at >= 0 else b""
    at = at if at >= 0 else content.find(b"\x10\x00\x10\x00PN")
    path.write_bytes(content[:at] + element + (0xFFFFFFF0).to_bytes(4, "little") + tail)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sentence(tmp_path / "s", UnreadableImage).startswith(f"s: {path.name}: the file is damaged")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 100_000


def test_what_is_not_dicom_in_the_platforms_folder(tmp_path):
    put(tmp_path / FOLDER)
    (tmp_path / FOLDER / "9.dcm").write_bytes(b"hello")
    with pytest.raises(UnreadableImage) as caught:
        read_study(tmp_path)
    assert str(caught.value) == f"{FOLDER}: file 7 of 7 by name is not a DICOM file."


def test_documents_beside_the_images_are_passed_over(tmp_path):
    put(tmp_path / "s")
    uid = b"1.2.840.10008.1.3.10"
    (tmp_path / "s" / "DICOMDIR").write_bytes(
        bytes(128) + b"DICM" + b"\x02\x00\x02\x00UI" + len(uid).to_bytes(2, "little") + uid + bytes(100)
    )
    np.testing.assert_array_equal(read_files(tmp_path / "s").primary.array, voxels())


def test_the_error_stream_stays_empty(tmp_path, capfd):
    put(tmp_path / "s", offsets_mm=(0, 4.4, 13.2, 17.6))
    capfd.readouterr()
    sentence(tmp_path / "s")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.dcm").write_bytes(bytes(128) + b"DICM" + bytes(500))
    with pytest.raises(InputError):
        read_files(tmp_path / "t")
    assert capfd.readouterr().err == ""
