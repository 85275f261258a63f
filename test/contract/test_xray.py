"""MR, film and record of one patient through the whole pipeline; the film's network is told the landmarks."""

import json
import shutil
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from spine import pipeline
from spine.errors import ModelError
from spine.read import read_files, read_study
from spine.resources import violations
from spine.xray import analyse_radiograph
from spine.xray.decode import REACH
from spine.xray.landmarks import LANDMARKS

ROOT = Path(__file__).parents[2]
CASE = ROOT / "test" / "input" / "lumbar"
RECORD = {"age_years": 52, "sex": "female", "indication": "cervical_radiculopathy", "levels_planned": ["C5/C6"]}
BLOB = 2 * (REACH / 2) ** 2  # peaks as wide as the network is taught, in heatmap pixels squared
EXTRAS = frozenset({"html", "fhir"})


class Told:
    """A network that finds a straight neck, C5/C6 low and with an osteophyte, on the first reading that it is shown."""

    name = "told"

    def __init__(self):
        self.calls = 0

    def __call__(self, batch):
        self.calls += 1
        answer = np.zeros((1, len(LANDMARKS), batch.shape[2] // 2, batch.shape[3] // 2), np.float32)
        down, back = np.mgrid[: answer.shape[2], : answer.shape[3]]
        for key, (row, column) in corners_mm().items() if self.calls == 1 else ():
            blob = (down - (row / 1.2 - 0.5)) ** 2 + (back - (column / 1.2 - 0.5)) ** 2
            answer[0, LANDMARKS.index(key)] = 0.95 * np.exp(-blob / BLOB)
        return answer


def corners_mm():
    """Bodies of 16 x 12 mm, discs of 6 mm but for C5/C6 of 3 mm; C7 and T1 hidden."""
    places, row = {("C2", "inferior_anterior"): (60.0, 50.0), ("C2", "inferior_posterior"): (60.0, 66.0)}, 66.0
    for body in ("C3", "C4", "C5", "C6"):
        for side in ("superior", "inferior"):
            places[body, f"{side}_anterior"], places[body, f"{side}_posterior"] = (row, 50.0), (row, 66.0)
            places[body, f"{side}_tip"] = (row, 46.0 if (body, side) == ("C5", "inferior") else 50.0)
            row += 12.0 if side == "superior" else 3.0 if body == "C5" else 6.0
    return places


@cache
def models():
    return pipeline.open_models(ROOT / "model", "cpu")


def store_film(path, size=(480, 300), spacing=(0.5, 0.5)):
    film = sitk.GetImageFromArray(np.random.default_rng(3).integers(0, 4000, size).astype(np.uint16))
    film.SetSpacing(spacing)
    sitk.WriteImage(film, str(path))


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """The bundled MR with a film and a record, in the platform's layout."""
    folder = tmp_path_factory.mktemp("case")
    (folder / "images").mkdir()
    shutil.copytree(CASE / "images" / "sagittal-spine-mri", folder / "images" / "sagittal-spine-mri")
    (folder / "images" / "lateral-spine-xray").mkdir()
    store_film(folder / "images" / "lateral-spine-xray" / "film.mha")
    (folder / "clinical-information-spine.json").write_text(json.dumps(RECORD))
    return folder


@pytest.fixture(scope="module")
def report(case, tmp_path_factory):
    output = tmp_path_factory.mktemp("with")
    found = pipeline.run(partial(read_study, case), replace(models(), xray=Told()), output, extras=EXTRAS)
    return found, output


def test_the_film_changes_nothing_that_mr_says(case, report, tmp_path):
    shutil.copytree(case, tmp_path / "case", ignore=shutil.ignore_patterns("lateral-spine-xray"))
    alone = pipeline.run(partial(read_study, tmp_path / "case"), models(), tmp_path / "out")
    with_film, output = report
    for part in ("levels", "vertebrae", "alignment", "canal", "numbering"):
        assert alone.report[part] == with_film.report[part]
    masks = [
        next((folder / "images" / "sagittal-spine-mr-segmentation").iterdir()) for folder in (tmp_path / "out", output)
    ]
    assert masks[0].read_bytes() == masks[1].read_bytes()
    assert alone.report["xray"] == {"not_measurable": "no X-ray was given"}
    assert "xray.onnx" in with_film.report["software"]["models"]
    assert "xray.onnx" not in alone.report["software"]["models"]
    assert alone.report["software"]["seconds"]["xray"] < 0.01
    assert any(text.startswith("C4/C5, next to the planned C5/C6") for text in alone.outcome["caveats"])


def test_the_document_holds_what_the_film_shows(report):
    document = report[0].report
    assert not list(violations(document, "spine-degeneration-report.schema.json"))
    xray = document["xray"]
    assert (xray["region"], xray["facing"], xray["pixel_plane"]) == ("cervical", "left", "not stated")
    levels = {level["level"]: level for level in xray["levels"]}
    height = levels["C5/C6"]["measurements"]["disc_height_middle_mm"]
    assert height["value"] == pytest.approx(3.0, abs=0.1)
    assert height["interval_90"][0] < 3.0 < height["interval_90"][1]
    assert levels["C5/C6"]["grades"]["walraevens_height_loss"]["grade"] >= 2
    assert levels["C5/C6"]["grades"]["low_disc_with_osteophyte"]["grade"] is True
    assert levels["C5/C6"]["grades"]["kellgren"]["grade"] >= 2
    assert levels["C5/C6"]["measurements"]["osteophyte_anterior_percent"]["value"] > 12.5
    tips = [point for point in xray["landmarks"] if point["point"].endswith("_tip") and "row" in point]
    assert tips
    hidden = "C7 is not seen: hidden by the shoulders or outside the film"
    assert xray["alignment"]["c2_c7_angle_deg"] == {"not_measurable": hidden}
    assert levels["C6/C7"]["grades"]["kellgren"] == {"not_measurable": hidden}
    assert any(flag.startswith("lateral-spine-xray: Magnification is unknown") for flag in document["quality"]["flags"])
    assert "the film shows the cervical spine, the MR the lumbar spine" in " ".join(document["quality"]["flags"])
    purposes = {series["slug"]: series["purpose"] for series in document["input"]["series"]}
    assert purposes["lateral-spine-xray"] == "landmarks"


def test_levels_next_to_the_planned_one_are_named_and_predict_nothing(report):
    view = report[0].outcome["adjacent_segments"]
    assert [level["level"] for level in view["levels"]] == ["C4/C5", "C6/C7"]
    assert "nothing here enters a probability" in view["caveat"]
    assert "value" in view["levels"][0]["film"]["osteophyte_anterior_percent"]
    assert "anterior osteophyte" in view["sentences"][0]
    assert "osteophyte_half" not in view
    assert view == report[0].report["advice"]["adjacent_segments"]
    assert "not used for the likelihood" in report[0].degeneration["film"]


def test_every_page_speaks_of_the_film(report):
    output = report[1]
    page = (output / "spine-report.html").read_text()
    for text in ("Lateral radiograph", "Torg-Pavlov", "data:image/jpeg;base64,", "Levels next to a planned operation"):
        assert text in page
    assert "The osteophyte half of this combination could not be judged on this film" not in page
    assert "Kellgren</th>" in page
    assert "red: anterior osteophytes" in page
    assert "The program also looked at an X-ray of your neck." in page
    assert "Het programma heeft ook een röntgenfoto van uw nek bekeken." in page
    assert (output / "spine-report.pdf").read_bytes().startswith(b"%PDF")
    assert (output / "spine-fhir.json").exists()


def test_the_shipped_network_sees_no_spine_in_noise(case):
    """The true network, opened when the film comes; the film is noise."""
    study = read_study(case)
    found = analyse_radiograph(study.xray, models().xray, models().settings.xray)
    assert found.reason.startswith("no spine was recognised on the film")
    assert (found.measurements, found.grades, found.flags) == ((), (), (found.reason,))


@pytest.mark.parametrize("fault", ["absurd size", "damaged"])
def test_a_film_that_cannot_be_used_is_said_and_the_mr_is_reported(fault, tmp_path):
    store_film(tmp_path / "film.mha", spacing=(9.0, 9.0))
    if fault == "damaged":
        (tmp_path / "film.mha").write_bytes((tmp_path / "film.mha").read_bytes()[:-100])
    image = next((CASE / "images" / "sagittal-spine-mri").iterdir())
    (tmp_path / "record.json").write_text(json.dumps(RECORD))
    read = partial(read_files, image, xray=tmp_path / "film.mha", clinical=tmp_path / "record.json")
    report = pipeline.run(read, models(), tmp_path / "out", extras=EXTRAS).report
    reason = report["xray"]["not_measurable"]
    assert reason.startswith("given but not used: ")
    assert ("at most 1300 mm a side" in reason) is (fault == "absurd size")
    assert [flag for flag in report["quality"]["flags"] if "xray" in flag] == [f"lateral-spine-xray: {reason}"]
    assert report["levels"]
    assert "xray.onnx" not in report["software"]["models"]
    told = next(text for text in report["advice"]["caveats"] if text.startswith("C4/C5, next to the planned C5/C6"))
    assert "film: nothing was measured on the X-ray that was given" in told
    assert (
        "The program also got an X-ray, but could not read it" in (tmp_path / "out" / "spine-report.html").read_text()
    )


@pytest.mark.parametrize("change", ["missing", "foreign"])
def test_the_model_is_checked_before_any_film_comes(change, tmp_path):
    for path in (ROOT / "model").iterdir():
        if path.name != "xray.onnx":
            (tmp_path / path.name).symlink_to(path)
        elif change == "foreign":
            (tmp_path / path.name).write_bytes(b"another")
    with pytest.raises(ModelError, match=r"xray\.onnx: the model file"):
        pipeline.open_models(tmp_path, "cpu")
