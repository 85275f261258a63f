"""The output sockets: all or none, on the source's grid, whatever the disk does."""

import json
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from spine import resources
from spine.errors import OutputError, SoftwareError
from spine.records import Grid, Report, Series, Study
from spine.resources import output_sockets, violations
from spine.write import COMPRESSION_LEVEL, clear_outputs, write_outputs

ROOT = Path(__file__).resolve().parents[2]
OBLIQUE = (0.0, 0.2955202066613396, 0.955336489125606, 1.0, 0.0, 0.0, 0.0, 0.955336489125606, -0.2955202066613396)
GRID = Grid((10, 12, 5), (0.699999988079071, 1 / 3, 4.4), (-11.123456789012344, 1e-7, 1033.3), OBLIQUE)
MASK_PATH = "images/sagittal-spine-mr-segmentation/output.mha"
FILES = {
    MASK_PATH,
    "spine-degeneration-report.json",
    "accelerated-degeneration-likelihood.json",
    "spine-treatment-outcome-prediction.json",
    "spine-report.pdf",
}
ABSENT = {"not_measurable": "no grades"}
LIKELIHOOD = {
    "likelihood": 0.25, "interval_90": [0.1, 0.5], "disc_age_years": 51.5, "disc_age_interval_90": [44, 60],
    "without_images": 0.2, "threshold_years": 10, "abstained": False, "reason": "none",
}  # fmt: skip
OPTION = {
    "treatment": "surgery", "outcome": "satisfied", "horizon_months": 12, "probability": 0.8,
    "interval_90": [0.7, 0.9], "model": "Dialogue Support", "missing": ["smoker"], "abstained": False, "reason": "none",
}  # fmt: skip
OUTCOME = {"indication": "disc_herniation", "options": [OPTION], "caveats": ["für Ärzte"]}


@pytest.fixture(autouse=True)
def loose_report_schema(tmp_path_factory, monkeypatch):
    """The report's own schema is tested with the report; here any object will do."""
    folder = tmp_path_factory.mktemp("resources")
    for path in (ROOT / "resources").glob("*.json"):
        shutil.copy(path, folder)
    (folder / "spine-degeneration-report.schema.json").write_text('{"type": "object"}')
    monkeypatch.setattr(resources, "RESOURCES", folder)
    for cache in (resources.load_schema, resources._validator):
        cache.cache_clear()
    yield
    for cache in (resources.load_schema, resources._validator):
        cache.cache_clear()


def study(grid: Grid = GRID) -> Study:
    return Study(sagittal=Series("sagittal-spine-mri", "a.mha", np.zeros(grid.size[::-1], np.int16), grid))


def mask(grid: Grid = GRID, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice([0, 1, 5, 100, 105, 201, 223], grid.size[::-1]).astype(np.uint8)


def report(pdf: bytes = b"%PDF-1.7 page", **changes) -> Report:
    parts = {"report": {"b": 1, "a": "µm"}, "degeneration": LIKELIHOOD, "outcome": OUTCOME, **changes}
    return Report(pdf=pdf, **parts)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def everything(folder: Path) -> list[Path]:
    return list(folder.rglob("*")) if folder.exists() else []


def test_every_output_socket_is_written(tmp_path):
    write_outputs(report(), mask(), study(), tmp_path / "out" / "deep")
    assert files(tmp_path / "out" / "deep") == FILES
    for socket in output_sockets():
        assert (tmp_path / "out" / "deep" / socket.relative_path).exists()
    assert (tmp_path / "out" / "deep" / "spine-report.pdf").read_bytes() == b"%PDF-1.7 page"


def test_documents_are_utf8_in_the_order_they_were_composed(tmp_path):
    write_outputs(report(), mask(), study(), tmp_path)
    assert (tmp_path / "spine-degeneration-report.json").read_bytes() == '{\n  "b": 1,\n  "a": "µm"\n}\n'.encode()
    assert json.loads((tmp_path / "spine-treatment-outcome-prediction.json").read_text("utf-8")) == OUTCOME
    assert json.loads((tmp_path / "accelerated-degeneration-likelihood.json").read_text("utf-8")) == LIKELIHOOD


@pytest.mark.parametrize(
    "grid", [GRID, Grid((10, 12, 1), GRID.spacing_mm, GRID.origin_mm, (1, 0, 0, 0, 0, -1, 0, 1, 0))]
)
def test_the_mask_lies_on_the_grid_of_the_source(tmp_path, grid):
    write_outputs(report(), mask(grid), study(grid), tmp_path)
    image = SimpleITK.ReadImage(str(tmp_path / MASK_PATH))
    assert image.GetPixelID() == SimpleITK.sitkUInt8
    assert (image.GetSize(), image.GetSpacing()) == (grid.size, grid.spacing_mm)
    assert (image.GetOrigin(), image.GetDirection()) == (grid.origin_mm, tuple(grid.direction))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), mask(grid))
    assert b"CompressedData = True" in (tmp_path / MASK_PATH).read_bytes()
    assert 1 <= COMPRESSION_LEVEL <= 9


def test_equal_cases_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_outputs(report(), mask(), study(), tmp_path / name)
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_earlier_case_is_replaced_and_other_files_stay(tmp_path):
    write_outputs(report(report={"old": 1}), mask(seed=1), study(), tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".partial-killed").mkdir()
    (tmp_path / ".partial-killed" / "output.mha").write_bytes(b"x")
    write_outputs(report(), mask(), study(), tmp_path)
    assert files(tmp_path) == {*FILES, "notes.txt"}
    assert "old" not in (tmp_path / "spine-degeneration-report.json").read_text()
    clear_outputs(tmp_path)
    assert everything(tmp_path) == [tmp_path / "notes.txt"]


def test_an_image_that_is_not_ours_is_not_removed(tmp_path):
    foreign = tmp_path / "images" / "sagittal-spine-mr-segmentation" / "reference.mha"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"precious")
    expected = f"{foreign.parent}: the folder holds reference.mha, which is not ours; an empty folder is expected."
    for call in (lambda: write_outputs(report(), mask(), study(), tmp_path), lambda: clear_outputs(tmp_path)):
        with pytest.raises(OutputError) as caught:
            call()
        assert str(caught.value) == expected
        assert files(tmp_path) == {"images/sagittal-spine-mr-segmentation/reference.mha"}


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match=r"images/sagittal-spine-mr-segmentation: the path leads out of the output"):
        write_outputs(report(), mask(), study(), tmp_path / "out")
    assert everything(tmp_path / "elsewhere") == []
    assert os.listdir(tmp_path / "out") == ["images"]


@pytest.mark.parametrize("limit_bytes", [0, 20, 300, 700])
def test_a_full_disk_leaves_nothing_not_even_the_earlier_case(tmp_path, limit_bytes):
    """A real limit on file size, which each of the files meets in turn."""
    write_outputs(report(), mask(), study(), tmp_path)
    assert (tmp_path / MASK_PATH).stat().st_size > 700
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        with pytest.raises(OutputError) as caught:
            write_outputs(report(), mask(), study(), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value) == f"{tmp_path}: the results cannot be written (File too large)."
    assert everything(tmp_path) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError) as caught:
        write_outputs(report(), mask(), study(), tmp_path / "file" / "out")
    assert str(caught.value) == f"{tmp_path}/file/out: the results cannot be written (Not a directory)."
    with pytest.raises(OutputError):
        write_outputs(report(), mask(), study(), tmp_path / "file")
    with pytest.raises(OutputError, match="the results cannot be written"):
        write_outputs(report(), mask(), study(), Path("/proc/out"))
    assert (tmp_path / "file").read_text() == "x"


def test_a_place_that_is_taken_by_a_folder(tmp_path):
    (tmp_path / "spine-report.pdf" / "x").mkdir(parents=True)
    with pytest.raises(OutputError, match="the results cannot be written"):
        write_outputs(report(), mask(), study(), tmp_path)
    assert files(tmp_path) == set()
    assert os.listdir(tmp_path) == ["spine-report.pdf"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"report": {"x": float("nan")}}, "spine-degeneration-report.json: the document is not JSON (Out of range"),
        ({"report": {"x": float("inf")}}, "spine-degeneration-report.json: the document is not JSON (Out of range"),
        ({"report": {"x": np.float32(1)}}, "spine-degeneration-report.json: the document is not JSON (Object of type"),
        ({"report": {"x": "\ud800"}}, "spine-degeneration-report.json: the document is not JSON ('utf-8' codec"),
        ({"report": []}, "spine-degeneration-report.json: the document breaks the schema"),
        ({"degeneration": {}}, "accelerated-degeneration-likelihood.json: the document breaks the schema"),
        ({"outcome": {**OUTCOME, "options": [{**OPTION, "probability": 80}]}},
         "spine-treatment-outcome-prediction.json: options/0/probability breaks the schema"),
        ({"pdf": b""}, "spine-report.pdf: the page is not a PDF document."),
    ],
)  # fmt: skip
def test_documents_that_break_their_contract_are_not_written(tmp_path, changes, expected):
    with pytest.raises(SoftwareError) as caught:
        write_outputs(report(**changes), mask(), study(), tmp_path)
    assert str(caught.value).startswith(expected)
    assert everything(tmp_path) == []


@pytest.mark.parametrize("wrong", [mask().astype(np.int16), mask()[:-1], mask().transpose(2, 1, 0)])
def test_a_mask_that_does_not_fit_is_not_written(tmp_path, wrong):
    with pytest.raises(SoftwareError, match=r"uint8 of shape \(5, 12, 10\) is expected\."):
        write_outputs(report(), wrong, study(), tmp_path)
    assert everything(tmp_path) == []


ABSTAINED = {"likelihood": ABSENT, "interval_90": ABSENT, "abstained": True, "reason": "age_years is missing"}


@pytest.mark.parametrize(
    ("changes", "valid"),
    [
        ({}, True),
        (ABSTAINED, True),
        ({**ABSTAINED, "disc_age_years": ABSENT, "disc_age_interval_90": ABSENT}, True),
        ({**ABSTAINED, "abstained": False}, False),  # nothing is known, yet it does not abstain
        ({**ABSTAINED, "likelihood": 0.2}, False),  # abstains, yet gives a number
        ({"likelihood": None}, False),
        ({"likelihood": 1.2}, False),
        ({"interval_90": [0.1]}, False),
        ({"extra": 1}, False),
        ({"reason": ""}, False),
    ],
)
def test_the_schema_of_the_likelihood(changes, valid):
    found = list(violations({**LIKELIHOOD, **changes}, "accelerated-degeneration-likelihood.schema.json"))
    assert (found == []) is valid


SILENT = {"probability": ABSENT, "interval_90": ABSENT, "abstained": True, "reason": "no equation"}


@pytest.mark.parametrize(
    ("changes", "valid"),
    [
        ({}, True),
        (SILENT, True),
        ({"explained": "further keys are free"}, True),
        ({**SILENT, "abstained": False}, False),
        ({**SILENT, "probability": 0.5}, False),
        ({"probability": None}, False),
        ({"treatment": "prayer"}, False),
        ({"outcome": "happy"}, False),
        ({"horizon_months": 0}, False),
        ({"missing": "smoker"}, False),
    ],
)
def test_the_schema_of_the_outcomes(changes, valid):
    schema = "spine-treatment-outcome-prediction.schema.json"
    assert (list(violations({**OUTCOME, "options": [{**OPTION, **changes}]}, schema)) == []) is valid
    assert list(violations({**OUTCOME, "options": [], "indication": ABSENT}, schema)) == []
    assert list(violations({**OUTCOME, "indication": "other"}, schema)) != []


EXTRAS = {"html": b"<html>", "dicom-segmentation": b"DICM 1", "dicom-report": b"DICM 2"}
EXTRA_FILES = {"spine-report.html", "dicom/segmentation.dcm", "dicom/report.dcm"}


def test_extras_come_and_go_with_the_outputs(tmp_path):
    write_outputs(report(), mask(), study(), tmp_path, EXTRAS)
    assert files(tmp_path) == FILES | EXTRA_FILES
    assert (tmp_path / "dicom" / "report.dcm").read_bytes() == b"DICM 2"
    write_outputs(report(), mask(), study(), tmp_path)
    assert files(tmp_path) == FILES
    write_outputs(report(), mask(), study(), tmp_path, EXTRAS)
    clear_outputs(tmp_path)
    assert everything(tmp_path) == []


def test_a_folder_of_extras_that_holds_more_is_kept(tmp_path):
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "source.dcm").write_bytes(b"theirs")
    write_outputs(report(), mask(), study(), tmp_path, EXTRAS)
    clear_outputs(tmp_path)
    assert files(tmp_path) == {"dicom/source.dcm"}
