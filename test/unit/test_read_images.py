"""Image files: what is read exactly as it was stored, and the one sentence for what is not."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from spine.errors import UnreadableImage, UnusableImage
from spine.read import read_files

OBLIQUE = (0.0, 0.2955202066613396, 0.955336489125606, 1.0, 0.0, 0.0, 0.0, 0.955336489125606, -0.2955202066613396)
SPACING, ORIGIN = (0.7, 0.71, 4.4), (-11.25, 22.5, 1033.125)
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def voxels(dtype: str = "int16", shape: tuple[int, ...] = (5, 12, 10)) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 100, shape).astype(dtype)


def as_image(array: np.ndarray, vector: bool = False) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(array, isVector=vector)
    if image.GetDimension() == 3:
        image.SetSpacing(SPACING)
        image.SetOrigin(ORIGIN)
        image.SetDirection(OBLIQUE)
    return image


def store(path: Path, array: np.ndarray | None = None, compressed: bool = True) -> Path:
    SimpleITK.WriteImage(as_image(voxels() if array is None else array), str(path), compressed)
    return path


def edit(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    return path


def sentence(path: Path, kind: type[Exception] = UnusableImage) -> str:
    with pytest.raises(kind) as caught:
        read_files(path)
    return str(caught.value)


def unused(path: Path, **beside: Path) -> str:
    """The one flag of a case whose other series cannot be read; it names the socket and no file."""
    (flag,) = read_files(path, **beside).flags
    return flag


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "a.nrrd", "a.nii", "a.nii.gz"])
def test_each_format_gives_the_stored_voxels_and_grid(tmp_path, name, compressed):
    array = voxels()
    series = read_files(store(tmp_path / name, array, compressed)).primary
    assert (series.name, series.slug, series.array.dtype) == (name, "sagittal-spine-mri", np.int16)
    np.testing.assert_array_equal(series.array, array)
    assert series.grid.size == (10, 12, 5)
    tolerance = 1e-6 if ".nii" in name else 1e-14  # NIfTI keeps single precision
    np.testing.assert_allclose(series.grid.spacing_mm, SPACING, rtol=tolerance)
    np.testing.assert_allclose(series.grid.origin_mm, ORIGIN, rtol=tolerance)
    np.testing.assert_allclose(series.grid.direction, OBLIQUE, atol=tolerance)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_each_voxel_type_is_kept(tmp_path, dtype):
    series = read_files(store(tmp_path / "a.mha", voxels(dtype))).primary
    assert series.array.dtype == dtype
    np.testing.assert_array_equal(series.array, voxels(dtype))


def test_one_slice_and_two_hundred_slices(tmp_path):
    for count in (1, 200):
        assert read_files(store(tmp_path / "a.mha", voxels(shape=(count, 6, 5)))).primary.grid.size == (5, 6, count)


def test_real_nifti_agrees_with_its_affine():
    nibabel = pytest.importorskip("nibabel")
    path = DATA / "spider_space" / "110_image.nii.gz"
    if not path.exists():
        pytest.skip("the shared data are not beside the repository")
    series, stored = read_files(path).primary, nibabel.load(path)
    np.testing.assert_array_equal(series.array, np.asarray(stored.dataobj).T)
    ras = np.diag([-1, -1, 1, 1]) @ stored.affine  # NIfTI is RAS, ours LPS
    np.testing.assert_allclose(series.grid.affine, ras, atol=1e-4)


def test_a_fourth_axis_of_one_is_dropped(tmp_path):
    array = voxels(shape=(1, 5, 12, 10))
    series = read_files(store(tmp_path / "a.nrrd", array)).primary
    np.testing.assert_array_equal(series.array, array[0])
    assert series.grid.size == (10, 12, 5)


def test_time_points_are_refused(tmp_path):
    for name in ("a.mha", "a.nii.gz"):
        assert sentence(store(tmp_path / name, voxels(shape=(2, 5, 12, 10)))) == (
            f"{name}: the file holds 2 volumes (time points, echoes or directions: 10 x 12 x 5 x 2 voxels); "
            "one volume is expected."
        )


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd", "a.nii.gz"])
def test_a_flat_image_is_no_mr_series(tmp_path, name):
    path = store(tmp_path / name, voxels(shape=(12, 10)))
    assert sentence(path) == f"{name}: the image has 2 dimensions and no position in the patient; 3 are expected."


def test_a_flat_image_is_a_radiograph(tmp_path):
    array = voxels(shape=(12, 10))
    xray = store(tmp_path / "x.mha", array)
    study = read_files(store(tmp_path / "a.mha"), xray=xray)
    np.testing.assert_array_equal(study.xray.array, array[None])
    assert study.xray.grid.size == (10, 12, 1)
    told = unused(tmp_path / "a.mha", xray=tmp_path / "a.mha")
    assert told == "lateral-spine-xray: given but not used: the radiograph has 5 slices; one is expected"


def test_a_tiff_is_refused(tmp_path):
    path = store(tmp_path / "a.tif", voxels("uint8", (12, 10)), compressed=False)
    expected = "a.tif: a TIFF states no position in the patient; an MHA file is expected."
    assert sentence(path) == expected
    assert unused(store(tmp_path / "a.mha"), xray=path) == (
        "lateral-spine-xray: given but not used: a TIFF states no position in the patient; an MHA file is expected"
    )


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd", "a.nii"])
def test_colour_is_refused(tmp_path, name):
    SimpleITK.WriteImage(as_image(voxels("uint8", (5, 12, 10, 3)), vector=True), str(tmp_path / name))
    assert sentence(tmp_path / name) == (
        f"{name}: a voxel has 3 values (colour, complex or several volumes); one is expected."
    )


def test_complex_is_refused(tmp_path):
    SimpleITK.WriteImage(as_image(voxels().astype("complex64")), str(tmp_path / "a.nii"))
    assert sentence(tmp_path / "a.nii") == "a.nii: the voxels are complex; one grey value is expected."


@pytest.mark.parametrize("value", [0, 7, -3])
def test_an_empty_image_is_refused(tmp_path, value):
    path = store(tmp_path / "a.mha", np.full((5, 12, 10), value, np.int16))
    assert sentence(path) == f"a.mha: the image is empty: every voxel is {value}."


def test_few_voxels_that_are_not_numbers_become_the_minimum(tmp_path):
    array = voxels("float32") + 5
    array[2, 3, 4], array[0, 0, 0], array[1, 1, 1] = np.nan, np.inf, 3e38
    study = read_files(store(tmp_path / "a.mha", array))
    assert study.flags == (
        "sagittal-spine-mri: 3 voxels were not finite numbers below 1e+30 and were set to the minimum",
    )
    assert study.primary.array[2, 3, 4] == study.primary.array[0, 0, 0] == study.primary.array[1, 1, 1] == 5


def test_many_voxels_that_are_not_numbers_are_refused(tmp_path):
    array = voxels("float32")
    array[0] = np.nan
    path = store(tmp_path / "a.mha", array)
    assert sentence(path) == "a.mha: 20.0 % of the voxels are not finite numbers below 1e+30; an image is expected."


def test_an_absurd_header_is_refused_before_memory_is_taken(tmp_path):
    import resource

    path = store(tmp_path / "a.mha", compressed=False)
    edit(path, b"DimSize = 10 12 5", b"DimSize = 10000 12000 5000")
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sentence(path) == "a.mha: the header claims 10000 x 12000 x 5000 voxels; at most 400 million are read."
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 50_000


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            b"DimSize = 10 12 5",
            b"DimSize = 10 -12 5",
            "the image has 10 x -12 x 5 voxels; at least one along each axis is",
        ),
        (b"DimSize = 10 12 5", b"DimSize = 10 0 5", "the image has 10 x 0 x 5 voxels; at least one along each axis is"),
        (b"DimSize = 10 12 5", b"DimSize = 10 12 6", "the file is truncated: 1200 bytes of voxels, 1440 are"),
        (b"0.69999999999999996", b"-0.7", "the voxel spacing is -0.7 x 0.71 x 4.4 mm; positive numbers are"),
        (b"0.69999999999999996", b"0", "the voxel spacing is 0 x 0.71 x 4.4 mm; positive numbers are"),
        (b"0.69999999999999996", b"0.0001", "the voxel spacing is 0.0001 x 0.71 x 4.4 mm; 0.02 to 50 mm is"),
        (b"4.4000000000000004", b"700", "the voxel spacing is 0.7 x 0.71 x 700 mm; 0.02 to 50 mm is"),
        (b"1033.125", b"1e9", "the origin lies more than 100 m away; a position in a scanner is"),
        (
            b"TransformMatrix = 0 ",
            b"TransformMatrix = 0.1 ",
            "the image axes are not at right angles; a rectangular grid is",
        ),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(tmp_path, old, new, expected):
    path = edit(store(tmp_path / "a.mha", compressed=False), old, new)
    assert sentence(path, (UnusableImage, UnreadableImage)) == f"a.mha: {expected} expected."


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"NDims = 3", b"NDims = 1000000"),  # ends the process inside the library
        (b"NDims = 3", b"NDims = -3"),  # the same
        (b"NDims = 3", b"NDims = 2"),
        (b"MET_SHORT", b"MET_OTHER"),
        (b"ElementSpacing = 0.69999999999999996", b"ElementSpacing = nan"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = ../../../../../../etc/passwd"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = LIST"),
        (b"BinaryData = True", b"BinaryData = False"),
        (b"CompressedData = False", b"CompressedData = True\nCompressedDataSize = -5"),
        (b"Offset", b"Comment = " + b"x" * 5000 + b"\nOffset"),
    ],
)
def test_a_hostile_header_never_reaches_the_library(tmp_path, old, new):
    path = edit(store(tmp_path / "a.mha", compressed=False), old, new)
    assert sentence(path, UnreadableImage) == (
        "a.mha: the header cannot be understood; the file is damaged or truncated, or of another kind."
    )


def test_voxels_outside_the_folder_are_refused(tmp_path):
    (tmp_path / "case").mkdir()
    path = store(tmp_path / "case" / "a.mhd", compressed=False)
    (tmp_path / "case" / "a.raw").rename(tmp_path / "a.raw")
    expected = "a.mhd: the header cannot be understood; the file is damaged or truncated, or of another kind."
    assert sentence(path, UnreadableImage) == expected
    (tmp_path / "case" / "a.raw").symlink_to(tmp_path / "a.raw")
    assert sentence(path, UnreadableImage) == expected
    assert sentence(edit(path, b"= a.raw", b"= ../a.raw"), UnreadableImage) == expected


@pytest.mark.parametrize("share", [0.3, 0.6, 0.98])
@pytest.mark.parametrize("name", ["raw.mha", "packed.mha", "raw.nrrd", "packed.nrrd", "a.nii", "a.nii.gz"])
def test_a_truncated_file_is_refused(tmp_path, name, share):
    path = store(tmp_path / name, voxels(shape=(8, 40, 30)), compressed=not name.startswith("raw"))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert sentence(path, UnreadableImage).startswith(f"{name}: the file is ")


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd", "a.nii.gz"])
def test_damaged_compressed_voxels_are_refused(tmp_path, name):
    path = store(tmp_path / name, voxels(shape=(8, 40, 30)))
    content = bytearray(path.read_bytes())
    content[-2000:-1900] = bytes(100)
    path.write_bytes(content)
    assert sentence(path, UnreadableImage) == f"{name}: the file is damaged or truncated."


def test_a_decompression_bomb_is_not_unpacked(tmp_path):
    import zlib

    path = store(tmp_path / "a.mha", compressed=False)
    header = path.read_bytes().split(b"LOCAL\n")[0] + b"LOCAL\n"
    path.write_bytes(header.replace(b"CompressedData = False", b"CompressedData = True") + zlib.compress(bytes(10**8)))
    assert sentence(path, UnreadableImage) == (
        "a.mha: the file unpacks to more than the 1200 bytes that its header states."
    )


@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "a.nii", "a.nii.gz", "a.nrrd"])
@pytest.mark.parametrize("content", [b"", b"hello world\n" * 100, bytes(5000), b"\xff" * 5000])
def test_garbage_under_each_name_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert sentence(tmp_path / name, UnreadableImage) == (
        f"{name}: the header cannot be understood; the file is damaged or truncated, or of another kind."
    )


@pytest.mark.parametrize("name", ["a.png", "a.dcm", "a.jpg", "a"])
def test_another_kind_of_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"hello")
    assert sentence(tmp_path / name) == (
        f"{name}: the kind of file is not known; .mha, .nii, .nii.gz, .nrrd or DICOM is expected."
    )


def test_hostile_names_stay_on_one_line(tmp_path):
    path = tmp_path / "a\n\x1b[31m.mha"
    path.write_bytes(b"")
    assert sentence(path, UnreadableImage).startswith("a??[31m.mha: the header cannot be understood;")


def test_a_missing_file_and_a_missing_series(tmp_path):
    from spine.errors import MissingInput

    assert sentence(tmp_path / "a.mha", MissingInput).endswith("/a.mha: there is no such file or folder.")
    with pytest.raises(MissingInput) as caught:
        read_files(None, axial=tmp_path)
    assert str(caught.value) == "command line: there is no sagittal MR series; --image or --t1 is expected."


def test_reading_writes_nothing_on_the_error_stream(tmp_path, capfd):
    for name in ("a.mha", "a.nii.gz", "a.nrrd"):
        read_files(store(tmp_path / name))
    path = store(tmp_path / "b.nrrd", compressed=False)
    edit(path, b"space origin: (", b"space origin: ((")
    sentence(path, UnreadableImage)
    assert capfd.readouterr().err == ""
