"""A NIfTI file that SimpleITK has written as MHA carries keys with brackets: it is read like any other."""

import numpy as np
import SimpleITK as sitk  # noqa: N813

from spine.read import read_files


def test_a_converted_file_is_read(tmp_path):
    image = sitk.GetImageFromArray(np.arange(2 * 30 * 20, dtype=np.int16).reshape(2, 30, 20))
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, -1, 0))
    image.SetMetaData("dim[0]", "3")
    image.SetMetaData("pixdim[1]", "0.7")
    path = tmp_path / "converted.mha"
    sitk.WriteImage(image, str(path))
    assert b"dim[0]" in path.read_bytes()
    np.testing.assert_array_equal(read_files(image=path).primary.array, sitk.GetArrayFromImage(image))
