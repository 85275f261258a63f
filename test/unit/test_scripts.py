"""The scripts a stranger starts: what they say when something is missing, and that an environment is made once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def call(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], cwd=REPOSITORY, env={**os.environ, **environment},
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip


def test_run_names_a_path_that_does_not_exist(tmp_path: Path) -> None:
    done = call("./run.sh", tmp_path / "absent.mha")
    assert done.returncode == 2
    assert done.stderr == (
        f"There is no {tmp_path / 'absent.mha'}: expected an MHA, NIfTI or NRRD file, "
        "a DICOM folder or a folder with inputs.json.\n"
    )


def test_run_explains_itself() -> None:
    done = call("./run.sh", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "./run.sh scan.mha" in done.stdout
    assert "Research use only" in done.stdout


def test_environment_names_an_unsuitable_python(tmp_path: Path) -> None:
    done = call("./environment.sh", tmp_path / "environment", PYTHON="/no/such/python")
    assert done.returncode == 1
    assert done.stderr == "PYTHON=/no/such/python is not a working Python 3.11 or 3.12.\n"
    assert not (tmp_path / "environment").exists()


def stand_in_python(folder: Path) -> Path:
    """A `python` that makes an environment of itself at once, and whose pip knows every package but no-such-package."""
    python = folder / "python"
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "  -VV) echo Python 3.11 ;;\n"
        '  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;\n'
        "  *no-such-package*) echo no such package; exit 1 ;;\n"
        "esac\n",
        encoding="utf-8",
    )
    python.chmod(0o755)
    return python


def test_environment_is_made_once_and_made_anew_when_its_requirements_change(tmp_path: Path) -> None:
    folder, requirements, python = tmp_path / "environment", tmp_path / "requirements.txt", stand_in_python(tmp_path)
    made = []
    for text in ("one", "one", "two"):
        requirements.write_text(text, encoding="utf-8")
        done = call("./environment.sh", folder, f"-r {requirements}", PYTHON=str(python))
        assert (done.returncode, done.stdout) == (0, f"{folder}/bin/python\n")
        made.append("Making the Python environment" in done.stderr)
    assert made == [True, False, True]


def test_the_runtime_is_installed_by_hash_where_there_are_hashes(tmp_path: Path) -> None:
    folder, python = tmp_path / "environment", stand_in_python(tmp_path)
    made = []
    for system in ("Linux x86_64", "Darwin arm64"):
        (tmp_path / "uname").write_text(f"#!/bin/sh\necho {system}\n", encoding="utf-8")
        (tmp_path / "uname").chmod(0o755)
        path = f"{tmp_path}:{os.environ['PATH']}"
        assert call("./environment.sh", folder, "runtime", PYTHON=str(python), PATH=path).returncode == 0
        made.append((folder / "made-from").read_text(encoding="utf-8").splitlines()[1:4])
    assert made[0] == ["--no-deps", "--require-hashes", "-r"]
    assert made[1] == ["--no-deps", "-r", "requirements.txt"]


def test_environment_says_what_could_not_be_installed_and_starts_again(tmp_path: Path) -> None:
    folder, python = tmp_path / "environment", stand_in_python(tmp_path)
    for _ in range(2):
        done = call("./environment.sh", folder, "no-such-package==1", PYTHON=str(python))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[1:] == [
            "no such package",
            f"pip install no-such-package==1 failed; the whole log is in {folder}/install.log",
        ]


def test_environment_leaves_a_folder_alone_that_it_did_not_make(tmp_path: Path) -> None:
    kept = tmp_path / "kept.txt"
    kept.touch()
    done = call("./environment.sh", tmp_path, PYTHON=str(stand_in_python(tmp_path)))
    assert (done.returncode, done.stderr) == (1, f"{tmp_path} was not made by this script: move it away first.\n")
    assert kept.exists()


def test_export_refuses_an_image_that_is_not_there() -> None:
    done = call("./export.sh", TAG="spine-test:never-built")
    assert done.returncode == 1
    assert done.stderr.startswith("There is no image spine-test:never-built here")


def test_build_knows_two_forms() -> None:
    done = call("./build.sh", API="other")
    assert (done.returncode, done.stderr) == (2, "API=other is not exec or invoke.\n")
