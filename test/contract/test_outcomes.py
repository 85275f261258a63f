"""Published outcome vectors and an earlier report, through process.py and the files it writes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from spine.errors import InputError
from spine.read import read_prior

ROOT = Path(__file__).parents[2]
VECTORS = json.loads((ROOT / "test" / "input" / "fusion_vectors.json").read_text(encoding="utf-8"))["cases"]


def run(folder, *arguments):
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(1, 400, (3, 64, 64)).astype(np.int16))
    image.SetSpacing((1.0, 1.0, 4.0))
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, -1, 0))
    sitk.WriteImage(image, str(folder / "noise.mha"))
    command = [sys.executable, str(ROOT / "process.py"), "--image", str(folder / "noise.mha"), "--runner", "cpu"]
    return subprocess.run(
        [*command, "--output", str(folder / "out"), *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["record"]["indication"])
def test_published_vectors_come_out_of_the_file(vector, tmp_path):
    (tmp_path / "record.json").write_text(json.dumps(vector["record"]), encoding="utf-8")
    done = run(tmp_path, "--clinical", tmp_path / "record.json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads((tmp_path / "out" / "spine-treatment-outcome-prediction.json").read_text(encoding="utf-8"))
    found = {o["outcome"]: o["probability"] for o in document["options"] if o["treatment"] == "surgery"}
    assert {k: round(v, 4) for k, v in found.items()} == {
        k: vector[k] for k in ("satisfied", "pain_gone_or_much_better")
    }


def test_an_earlier_report_gives_what_has_changed(tmp_path):
    assert run(tmp_path).returncode == 0
    earlier = tmp_path / "out" / "spine-degeneration-report.json"
    kept = tmp_path / "earlier.json"
    earlier.rename(kept)
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
