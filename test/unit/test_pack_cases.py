"""The pack's SPIDER patients as cases of the validation kit; read from the real pack where it is there."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.evaluate.cases import find_cases
from lab.evaluate.pack_cases import write_pack
from lab.evaluate.references import read_cohort
from spine.conform import conform_study
from spine.settings import read_settings

MODEL = Path(__file__).parents[2] / "model"
PACK = Path(__file__).parents[3] / "shared" / "data"

pytestmark = pytest.mark.skipif(not PACK.is_dir(), reason="the data pack is not beside the repository")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pack")
    return folder, write_pack(PACK, "val", folder)


def test_cases_and_cohort_name_each_other(written):
    folder, count = written
    cases, cohort = find_cases(folder / "cases.csv"), read_cohort(folder / "cohort.csv")
    assert len(cases) == count == len(cohort)
    assert {case.name for case in cases} == set(cohort)
    assert {row["split"] for row in cohort.values()} == {"val"}
    slabs = [case for case in cases if "_" not in case.name]
    assert len(slabs) == 3
    assert all((PACK / "spider_space" / f"{case.name}_mask.nii.gz").is_file() for case in slabs)


def test_a_slice_keeps_its_pixels_and_their_size(written):
    folder, _ = written
    with (PACK / "spider_midsagittal" / "spacing.csv").open() as file:
        spacing = {row["file"]: float(row["pixel_mm"]) for row in csv.DictReader(file)}
    case = next(case for case in find_cases(folder / "cases.csv") if case.name.endswith("_slice"))
    study = case.reader()()
    series = study.primary
    file = f"{case.name.removesuffix('_slice')}_t2.png"
    picture = np.asarray(Image.open(PACK / "spider_midsagittal" / file).convert("L"))
    np.testing.assert_array_equal(series.array[0], picture)
    assert series.grid.spacing_mm[:2] == pytest.approx((spacing[file],) * 2)
    volume = conform_study(study, read_settings(MODEL).grid)
    assert (volume.axes, volume.flips) == ((2, 1, 0), (False, False, False))  # rows to the feet, columns to the back
