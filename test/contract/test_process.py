"""The entry in exec form: exit codes, the one sentence, the outputs, signals."""

import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = Path(__file__).with_name("stand_in.py")
FILES = {
    "images/sagittal-spine-mr-segmentation/output.mha",
    "spine-degeneration-report.json",
    "accelerated-degeneration-likelihood.json",
    "spine-treatment-outcome-prediction.json",
    "spine-report.pdf",
}
EXPECTED = "images/sagittal-spine-mri/<file>.mha or images/sagittal-t1-spine-mri/<file>.mha"


def put_image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(0).integers(0, 99, (3, 9, 8)).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path), True)
    return path


@pytest.fixture
def case(tmp_path):
    put_image(tmp_path / "case" / "images" / "sagittal-spine-mri" / "a.mha")
    return tmp_path / "case"


def command(tmp_path: Path, *flags: object) -> list[str]:
    return [sys.executable, str(STAND_IN), str(tmp_path), *map(str, flags)]


def run(tmp_path: Path, *flags: object, **environment: str) -> subprocess.CompletedProcess:
    variables = {**os.environ, **environment}
    return subprocess.run(
        command(tmp_path, *flags), capture_output=True, text=True, check=False, timeout=120, env=variables, cwd=tmp_path
    )


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_case_of_the_platform(tmp_path, case):
    done = run(tmp_path, "--input", case, "--output", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout
        == "Found 1 disc level, L5/S1 (lumbar, T2-like); numbering: counted upward from the sacrum, probability 0.99.\n"
    )
    assert files(tmp_path / "out") == FILES


def test_a_file_of_a_user(tmp_path, case):
    image = put_image(tmp_path / "b.nii.gz")
    done = run(tmp_path, "--image", image, "--output", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "Found 1 disc level, L5/S1 (lumbar, T2-like); numbering: counted upward from the sacrum, probability 0.99.",
        "Findings: Pfirrmann 4 or 5 at L5/S1; bulging at L5/S1; largest slip 1.2 mm at L5/S1.",
        "Not measurable: 12 values (stand-in).",
        f"Results: {tmp_path}/out (spine-report.pdf, spine-degeneration-report.json, segmentation in images).",
    ]
    assert files(tmp_path / "out") == FILES


def test_the_bundled_case_with_the_real_models(tmp_path):
    bundled = ROOT / "test" / "input" / "lumbar"
    if not bundled.is_dir() or not (ROOT / "model" / "settings.json").is_file():
        pytest.skip("the bundled case or the model is not there")
    flags = ["--input", str(bundled), "--output", str(tmp_path / "out"), "--runner", "cpu", "--progress"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "process.py"), *flags], capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 4
    assert files(tmp_path / "out") == FILES


def test_an_input_that_cannot_be_used_leaves_an_empty_output(tmp_path, case):
    out = tmp_path / "out"
    assert run(tmp_path, "--input", case, "--output", out).returncode == 0
    (tmp_path / "empty").mkdir()
    done = run(tmp_path, "--input", tmp_path / "empty", "--output", out)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{tmp_path}/empty: there is no sagittal MR series; {EXPECTED} is expected.\n"
    assert list(out.rglob("*")) == []


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("missing", "missing: there are no models."),
        ("crash", "The software failed in segment: ValueError: two lines of text."),
        ("memory", "The software ran out of memory in segment: more memory or a smaller image is needed."),
    ],
)
def test_a_failure_of_the_software(tmp_path, case, model, sentence):
    done = run(tmp_path, "--input", case, "--output", tmp_path / "out", "--model", model)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", sentence + "\n")
    assert not (tmp_path / "out").exists()


def test_the_traceback_is_shown_to_those_who_ask(tmp_path, case):
    done = run(tmp_path, "--input", case, "--output", tmp_path / "out", "--model", "crash", SPINE_DEBUG="1")
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert done.stderr.endswith("\nThe software failed in segment: ValueError: two lines of text.\n")


def test_an_output_that_cannot_be_written(tmp_path, case):
    (tmp_path / "file").write_text("x")
    done = run(tmp_path, "--input", case, "--output", tmp_path / "file" / "out")
    assert done.returncode == 3
    assert done.stderr == f"{tmp_path}/file/out: the results cannot be written (Not a directory).\n"


def test_sigterm_in_a_stage(tmp_path, case):
    out = tmp_path / "out"
    process = subprocess.Popen(
        command(tmp_path, "--input", case, "--output", out, "--model", "slow-case"), stderr=subprocess.PIPE, text=True
    )
    wait_for(tmp_path / "running")
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 143
    assert stderr == "The software was asked to stop in segment: no results were written.\n"
    assert not out.exists()


def test_sigterm_between_two_outputs(tmp_path, case):
    out = tmp_path / "out"
    process = subprocess.Popen(
        command(tmp_path, "--input", case, "--output", out, "--model", "slow-write"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == process.stdout.readline() == "placed\n"
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 143
    assert stderr == "The software was asked to stop in write: no results were written.\n"
    assert list(out.rglob("*")) == []


def test_the_bar_is_for_a_terminal(tmp_path, case):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    flags = ("--input", case, "--output", tmp_path / "out", "--progress")
    process = subprocess.Popen(command(tmp_path, *flags), stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end was closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(20) == 0
    assert all(stage in shown.decode() for stage in ("read", "segment", "write", "2/3"))


@pytest.mark.parametrize(
    "flags",
    [("--image", "a.mha"), ("--image", "a.mha", "--input", "c"), ("--t1", "a.mha", "--serve"), ("--runner", "x")],
)
def test_flags_that_do_not_go_together(flags, capsys):
    from spine.arguments import parse

    with pytest.raises(SystemExit) as caught:
        parse(list(flags), ROOT / "model")
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err.splitlines()[-1]


def test_the_platforms_defaults():
    from spine.arguments import parse

    arguments = parse([], ROOT / "model")
    assert (arguments.input, arguments.output) == (Path("/input"), Path("/output"))
    assert (arguments.files, arguments.runner, arguments.port) == (None, "auto", 4743)
    assert arguments.model in {ROOT / "model", Path("/opt/ml/model")}


@pytest.mark.parametrize(
    ("flags", "extras"),
    [
        ([], set()),
        (["--input", "c", "--fhir", "--html", "--dicom"], {"fhir", "html", "dicom"}),
        (["--image", "s", "--output", "o"], {"dicom_if_source"}),
        (["--image", "s", "--output", "o", "--no-dicom", "--fhir"], {"fhir"}),
        (["--t1", "s", "--output", "o", "--dicom"], {"dicom"}),
    ],
)
def test_what_is_written_beside_the_outputs(flags, extras):
    from spine.arguments import parse

    assert parse(flags, ROOT / "model").extras == extras


def test_help_names_the_exit_codes_and_loads_nothing_heavy():
    code = (
        "import sys, process\n"
        "try: process.main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'numpy', 'SimpleITK', 'scipy', 'openvino', 'jsonschema', 'spine.pipeline'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "0 done; 2 the input cannot be used; 3 the software failed" in done.stdout


def test_process_stays_short():
    assert len((ROOT / "process.py").read_text().splitlines()) <= 60
