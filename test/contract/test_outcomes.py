"""Published outcome vectors and an earlier report, through process.py and the files it writes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lab.evaluate.run_endurance import small_case
from lab.synth.cohort import make_slab
from lab.synth.render import render
from spine.errors import InputError
from spine.read import read_prior

ROOT = Path(__file__).parents[2]
VECTORS = json.loads((ROOT / "test" / "input" / "fusion_vectors.json").read_text(encoding="utf-8"))["cases"]


LUMBAR = next((ROOT / "test" / "input" / "lumbar" / "images" / "sagittal-spine-mri").iterdir())


def put_lumbar(path):
    """Three slices of the bundled phantom, to be quick."""
    sitk.WriteImage(small_case(sitk.ReadImage(str(LUMBAR)), seed=0), str(path))
    return path


def put_neck(path):
    """Three thick T2 slices of a synthetic neck."""
    slab = make_slab(3, "cervical")
    middle = len(slab.tissues) // 2
    planes = slab.thick([middle - 2, middle, middle + 2])
    picture = render(planes, np.random.default_rng(1), "t2", 3, slab.spacing_mm[1], artefacts=0.3)
    image = sitk.GetImageFromArray((700 * picture / np.percentile(picture, 99)).astype(np.int16))
    image.SetSpacing((*slab.spacing_mm[:0:-1], 2 * slab.spacing_mm[0]))
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, -1, 0))
    sitk.WriteImage(image, str(path))
    return path


def run(folder, *arguments, image=None):
    image = put_lumbar(folder / "lumbar.mha") if image is None else image
    command = [sys.executable, str(ROOT / "process.py"), "--image", str(image), "--runner", "cpu"]
    return subprocess.run(
        [*command, "--output", str(folder / "out"), *map(str, arguments)], capture_output=True, text=True, check=False
    )


def document(folder, name):
    return json.loads((folder / "out" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["record"]["indication"])
def test_published_vectors_come_out_of_the_file(vector, tmp_path):
    (tmp_path / "record.json").write_text(json.dumps(vector["record"]), encoding="utf-8")
    image = put_neck(tmp_path / "neck.mha") if vector["record"]["region"] == "cervical" else None
    done = run(tmp_path, "--clinical", tmp_path / "record.json", image=image)
    assert (done.returncode, done.stderr) == (0, "")
    options = document(tmp_path, "spine-treatment-outcome-prediction")["options"]
    found = {o["outcome"]: o["probability"] for o in options if o["treatment"] == "surgery"}
    assert {k: round(v, 4) for k, v in found.items()} == {
        k: vector[k] for k in ("satisfied", "pain_gone_or_much_better")
    }


def test_a_record_of_the_neck_with_images_of_the_lumbar_spine(tmp_path):
    """The numbers of the record's equation stand, and every document says that the two do not belong together."""
    record = next(v for v in VECTORS if v["record"]["region"] == "cervical")
    (tmp_path / "record.json").write_text(json.dumps(record["record"]), encoding="utf-8")
    assert run(tmp_path, "--clinical", tmp_path / "record.json", image=LUMBAR).returncode == 0
    told = "the record speaks of the cervical spine, the images show the lumbar spine"
    outcome = document(tmp_path, "spine-treatment-outcome-prediction")
    assert outcome["options"][0]["probability"] == pytest.approx(record["satisfied"], abs=5e-5)
    assert outcome["caveats"][0].startswith(f"Check the patient: {told}")
    assert all(told in option["warnings"] for option in outcome["options"])
    likelihood = document(tmp_path, "accelerated-degeneration-likelihood")
    assert likelihood["abstained"]
    assert likelihood["reason"].startswith(told)
    assert likelihood["threshold_years"] == 10
    assert likelihood["without_images"] == {"not_measurable": likelihood["reason"]}


def test_a_record_with_every_field_missing_answers(tmp_path):
    (tmp_path / "record.json").write_text("{}", encoding="utf-8")
    assert run(tmp_path, "--clinical", tmp_path / "record.json", image=LUMBAR).returncode == 0
    options = document(tmp_path, "spine-treatment-outcome-prediction")["options"]
    assert len(options) == 3
    for option in options:
        assert option["abstained"]
        assert option["missing"]
        assert option["ask_first"]["ask"]
        low, high = option["wide_estimate"]["interval_90"]
        assert high - low > 0.5
    likelihood = document(tmp_path, "accelerated-degeneration-likelihood")
    assert likelihood["abstained"]
    assert likelihood["reason"].startswith("age_years is missing")
    assert 20 <= likelihood["disc_age_years"] <= 80


def test_adjacent_segments_of_a_neck_against_an_edited_earlier_report(tmp_path):
    """A disc that was higher has lost height, one that was not has none lost; osteophytes are not graded on MR."""
    neck = put_neck(tmp_path / "neck.mha")
    assert run(tmp_path, image=neck).returncode == 0
    report = document(tmp_path, "spine-degeneration-report")
    heights = {row["level"]: row["measurements"] for row in report["levels"]}
    assert all(heights[level]["disc_height_middle_mm"]["interval_90"] for level in ("C5/C6", "C4/C5"))
    for name in ("anterior", "middle", "posterior"):
        heights["C5/C6"][f"disc_height_{name}_mm"]["value"] *= 1.8
    report["provenance"]["image_sha256"] = "0" * 64  # as of another image
    (tmp_path / "earlier.json").write_text(json.dumps(report), encoding="utf-8")
    done = run(tmp_path, "--prior", tmp_path / "earlier.json", "--prior-years", 2, image=neck)
    assert (done.returncode, done.stderr) == (0, "")

    progression = document(tmp_path, "spine-degeneration-report")["degeneration"]["progression"]
    rows = {row["level"]: row for row in progression["levels"]}
    assert rows["C5/C6"]["height"]["beyond_measurement_error"] is True
    segment = rows["C5/C6"]["adjacent_segment_degeneration"]
    assert segment["present"]["not_measurable"] == "disc height decreased; anterior osteophytes are not graded"
    rose = segment["positive_progression"]
    assert rose is False or "pfirrmann is not graded" in rose["not_measurable"]
    assert rows["C4/C5"]["height"]["loss_mm"] == 0
    assert rows["C4/C5"]["adjacent_segment_degeneration"]["present"] is False


def test_an_earlier_report_gives_what_has_changed(tmp_path):
    assert run(tmp_path).returncode == 0
    earlier = tmp_path / "out" / "spine-degeneration-report.json"
    kept = tmp_path / "earlier.json"
    earlier.rename(kept)
    assert run(tmp_path, "--prior", kept, "--prior-years", 2).returncode == 0
    found = json.loads(earlier.read_text(encoding="utf-8"))["degeneration"]["progression"]
    assert "the earlier report is of the very same image" in found["not_measurable"]
    report = json.loads(kept.read_text(encoding="utf-8"))
    report["provenance"]["image_sha256"] = "0" * 64
    kept.write_text(json.dumps(report), encoding="utf-8")
    assert run(tmp_path, "--prior", kept, "--prior-years", 2).returncode == 0
    assert json.loads(earlier.read_text(encoding="utf-8"))["degeneration"]["progression"]["interval_years"] == 2.0


def test_a_foreign_file_is_no_earlier_report(tmp_path):
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    done = run(tmp_path, "--prior", tmp_path / "other.json")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "other.json: a spine-degeneration-report.json of an earlier study is expected."
    )
    assert not list((tmp_path / "out").rglob("*"))


def test_the_time_between_studies_must_be_one(tmp_path):
    assert run(tmp_path).returncode == 0
    with pytest.raises(InputError, match="--prior-years is -1; a number of years above 0 and below 100 is expected"):
        read_prior(tmp_path / "out" / "spine-degeneration-report.json", -1.0)
