"""The image itself: built by build.sh, run as the platform runs it, compared with the local run of the same code.

Needs a Docker engine that reaches the base image; skips with a reason without an engine. The layers stay in its cache.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pypdf
import pytest
import SimpleITK

REPOSITORY = Path(__file__).resolve().parents[2]
CASE = REPOSITORY / "test" / "input" / "lumbar"
MEMORY_BYTES = 8 * 1024**3
MAX_IMAGE_BYTES = 800e6
PORT = 4743
STOP_SECONDS = 5  # the platform's grace between SIGTERM and SIGKILL

HARDENED = [
    *("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--pids-limit", "256", "--shm-size", "128m", "--memory", "8g"),
]

# Runs in a second container: METHOD URL SECONDS; asks until the server answers, prints status and final URL.
CLIENT = """
import sys, time, urllib.error, urllib.request
method, url, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
end = time.monotonic() + seconds
while True:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=seconds) as answer:
            sys.exit(print(answer.status, answer.url))
    except urllib.error.HTTPError as error:
        answer = f"{error.code} {url}"
    except OSError as error:
        answer = str(error)
    if method == "POST" or time.monotonic() > end:
        sys.exit(print(answer))
    time.sleep(0.2)
"""


@dataclass(frozen=True)
class Outcome:
    """What a process left behind."""

    code: int
    stdout: str
    stderr: str


def docker(*arguments: str, check: bool = True, timeout: float = 600) -> Outcome:
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=False, timeout=timeout, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0 or not check, f"docker {' '.join(arguments)}: {done.stderr[-2000:]}"
    return Outcome(done.returncode, done.stdout.strip(), done.stderr)


def why_no_engine() -> str | None:
    if shutil.which("docker") is None:
        return "no docker command on this machine"
    try:
        answered = docker("info", "--format", "{{.ServerVersion}}", check=False, timeout=30)
    except subprocess.TimeoutExpired:
        return "the Docker engine does not answer"
    return None if answered.code == 0 else f"no Docker engine answers: {answered.stderr.strip()[-200:]}"


def build(tag: str, api: str) -> None:
    done = subprocess.run(
        [REPOSITORY / "build.sh", "--", "--network", "host"],
        env={**os.environ, "TAG": tag, "API": api},
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, f"build.sh failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.fixture(scope="module")
def engine() -> None:
    reason = why_no_engine()
    if reason is not None:
        pytest.skip(reason)


def tagged(api: str) -> Iterator[str]:
    tag = f"spine-test:{api}-{uuid.uuid4().hex[:12]}"
    try:
        build(tag, api)
        yield tag
    finally:
        docker("rmi", "--no-prune", tag, check=False)  # the untagged layers stay: they are the next build's cache


@pytest.fixture(scope="module")
def image(engine: None) -> Iterator[str]:
    yield from tagged("exec")


@pytest.fixture(scope="module")
def server_image(engine: None) -> Iterator[str]:
    yield from tagged("invoke")


class Folders:
    """/input and /output as the platform mounts them: the one read-only, the other writable by any user."""

    def __init__(self, root: Path, case: Path) -> None:
        self.input, self.output = root / "input", root / "output"
        shutil.copytree(case, self.input)
        self.output.mkdir()
        self.output.chmod(0o777)
        for path in (self.input, *self.input.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)

    @property
    def mounts(self) -> list[str]:
        return ["--volume", f"{self.input}:/input:ro", "--volume", f"{self.output}:/output"]

    def leave_to_owner(self, image: str) -> None:
        """The container's user gives its files away, so that whoever runs the tests can delete them."""
        docker("run", "--rm", *self.mounts, "--entrypoint", "find", image,
               *("/output", "-mindepth", "1", "-exec", "chmod", "a+rwX", "{}", "+"))  # fmt: skip


def run_once(image: str, *options: str) -> Outcome:
    """Run the image to its end; the engine's own warnings stay out of stdout and stderr."""
    name = docker("create", *HARDENED, "--network", "none", *options, image).stdout
    try:
        done = docker("start", "--attach", name, check=False)
        assert docker("inspect", "--format", "{{.State.OOMKilled}}", name).stdout == "false"
        return done
    finally:
        docker("rm", "--force", name, check=False)


def inside(image: str, *command: str) -> str:
    return docker("run", "--rm", "--network", "none", "--entrypoint", command[0], image, *command[1:]).stdout


def sockets() -> list[dict[str, Any]]:
    return json.loads((REPOSITORY / "resources" / "sockets.json").read_text(encoding="utf-8"))["outputs"]


def read_outputs(folder: Path) -> dict[str, Any]:
    """Outputs by slug: voxels with geometry, JSON, or bytes. Fails when one is absent or when there are more."""
    found: dict[str, Any] = {}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for socket in sockets():
        slug, relative = socket["slug"], socket["relative_path"]
        if socket["super_kind"] == "Image":
            (file,) = [name for name in files if name.startswith(f"{relative}/")]
            picture = SimpleITK.ReadImage(folder / file)
            geometry = (picture.GetSize(), picture.GetSpacing(), picture.GetOrigin(), picture.GetDirection())
            found[slug] = (picture.GetPixelIDTypeAsString(), geometry, SimpleITK.GetArrayFromImage(picture))
        else:
            file = relative
            data = (folder / file).read_bytes()
            found[slug] = json.loads(data) if socket["super_kind"] == "Value" else data
        files.remove(file)
    assert not files, f"files that no socket names: {sorted(files)}"
    return found


def timeless(report: dict[str, Any]) -> dict[str, Any]:
    """The report without what two runs of the same software may differ in: times, memory, the runner's wording."""
    software = {k: v for k, v in report["software"].items() if k not in {"seconds", "peak_memory_mb", "runner"}}
    return {**report, "software": software}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    kind, geometry, voxels = found["sagittal-spine-mr-segmentation"]
    assert (kind, geometry) == expected["sagittal-spine-mr-segmentation"][:2]
    np.testing.assert_array_equal(voxels, expected["sagittal-spine-mr-segmentation"][2])
    report = "spine-degeneration-report"
    assert timeless(found[report]) == timeless(expected[report])
    for slug in ("accelerated-degeneration-likelihood", "spine-treatment-outcome-prediction"):
        assert found[slug] == expected[slug]
    assert page(found["spine-report"]) == page(expected["spine-report"])


def page(content: bytes) -> list[str]:
    """The text of each page of a PDF, without the line of times."""
    told = re.compile(r"\d+ threads?; [\d.]+ s up to this report; peak memory \d+ MB")
    return [told.sub("", one.extract_text()) for one in pypdf.PdfReader(io.BytesIO(content)).pages]


@pytest.fixture(scope="module")
def local_outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the same code answers outside the container."""
    output = tmp_path_factory.mktemp("local")
    done = subprocess.run(
        [sys.executable, REPOSITORY / "process.py", "--input", CASE, "--output", output],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=600,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return read_outputs(output)


def test_image_is_small_and_runs_as_an_ordinary_user(image: str) -> None:
    facts = json.loads(docker("image", "inspect", image).stdout)[0]
    assert facts["Size"] <= MAX_IMAGE_BYTES
    assert int(facts["Config"]["User"].split(":")[0]) >= 1000  # a number, as the platform cannot look names up
    assert facts["Config"]["Labels"]["org.grand-challenge.api-method"] == "exec"
    assert facts["Config"]["Entrypoint"] == ["python", "/opt/app/process.py"]
    assert inside(image, "id", "-u") != "0"


def test_image_holds_no_torch_no_compiler_and_no_tests(image: str) -> None:
    question = (
        "from importlib.util import find_spec; "
        "print([n for n in ('torch', 'lab', 'pytest', 'openvino_telemetry', 'pip', 'setuptools') if find_spec(n)])"
    )
    assert inside(image, "python", "-c", question) == "[]"
    assert inside(image, "sh", "-c", "command -v cc gcc g++ clang ld as make || echo none") == "none"
    assert inside(image, "sh", "-c", "find / -xdev -type d -path '*/.cache/pip' 2>/dev/null; true") == ""
    assert set(inside(image, "ls", "-A", "/opt/app").split()) == {
        *("LICENSE", "__pycache__", "model", "process.py", "resources", "spine"),
    }


def test_every_module_is_precompiled(image: str) -> None:
    question = (
        "import spine.pipeline, sys, os; "
        "print([m.__name__ for m in list(sys.modules.values()) if (getattr(m, '__file__', None) or '').endswith('.py') "
        "and not os.path.exists(getattr(m, '__cached__', None) or '/')])"
    )
    assert inside(image, "python", "-c", question) == "[]"


def test_memory_limit_is_enforced(image: str) -> None:
    """The runs below are only as strict as the engine: says so where it ignores --memory."""
    files = "/sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes"
    name = docker("create", *HARDENED, "--network", "none", "--entrypoint", "sh", image,
                  *("-c", f"cat {files} 2>/dev/null")).stdout  # fmt: skip
    try:
        limit = docker("start", "--attach", name, check=False).stdout
    finally:
        docker("rm", "--force", name, check=False)
    if limit != str(MEMORY_BYTES):
        pytest.skip(f"this engine does not enforce --memory 8g: the limit inside is {limit or 'unknown'}")


def test_exec_answers_as_the_local_run_does(image: str, local_outputs: dict[str, Any], tmp_path: Path) -> None:
    folders = Folders(tmp_path, CASE)
    empty_model = tmp_path / "model"  # the platform mounts an empty folder where no model was uploaded
    empty_model.mkdir()
    try:
        done = run_once(image, *folders.mounts, "--volume", f"{empty_model}:/opt/ml/model:ro")
        assert (done.code, done.stderr) == (0, "")
        assert_same(read_outputs(folders.output), local_outputs)
    finally:
        folders.leave_to_owner(image)


def test_exec_uses_the_model_that_the_platform_mounts(image: str, tmp_path: Path) -> None:
    folders = Folders(tmp_path, CASE)
    foreign = tmp_path / "model"
    foreign.mkdir()
    (foreign / "settings.json").write_text("{}", encoding="utf-8")
    for path, mode in ((foreign, 0o755), (foreign / "settings.json", 0o644)):
        path.chmod(mode)
    done = run_once(image, *folders.mounts, "--volume", f"{foreign}:/opt/ml/model:ro")
    assert done.code == 3
    assert "/opt/ml/model/settings.json" in done.stderr.strip().splitlines()[-1]
    assert list(folders.output.iterdir()) == []


def test_exec_refuses_a_damaged_image_in_one_sentence(image: str, tmp_path: Path) -> None:
    folders = Folders(tmp_path, CASE)
    (scan,) = (folders.input / "images" / "sagittal-spine-mri").iterdir()
    scan.write_bytes(scan.read_bytes()[:1000])
    done = run_once(image, *folders.mounts)
    assert done.code == 2
    (sentence,) = done.stderr.strip().splitlines()
    assert scan.name in sentence or "sagittal-spine-mri" in sentence
    assert sentence.endswith(".")
    assert list(folders.output.iterdir()) == []


class Server:
    """The image's invoke form on a network of its own, and a client in a second container."""

    def __init__(self, image: str, folders: Folders) -> None:
        self.image, self.network = image, f"spine-test-{uuid.uuid4().hex[:12]}"
        docker("network", "create", "--internal", self.network)
        self.name = docker("create", *HARDENED, "--network", self.network, "--network-alias", "algorithm",
                           *folders.mounts, image).stdout  # fmt: skip
        docker("start", self.name)

    def ask(self, method: str, path: str, seconds: float) -> str:
        return docker("run", "--rm", "--network", self.network, "--entrypoint", "python", self.image,
                      *("-c", CLIENT, method, f"http://algorithm:{PORT}{path}", str(seconds))).stdout  # fmt: skip

    def stop(self) -> tuple[float, int, str]:
        """Seconds that stopping took, exit code, stderr."""
        start = time.perf_counter()
        docker("stop", "--time", str(STOP_SECONDS), self.name)
        seconds = time.perf_counter() - start
        code = int(docker("inspect", "--format", "{{.State.ExitCode}}", self.name).stdout)
        return seconds, code, docker("logs", self.name).stderr

    def remove(self) -> None:
        docker("rm", "--force", self.name, check=False)
        docker("network", "rm", self.network, check=False)


def test_invoke_serves_two_cases_and_stops_in_time(
    server_image: str, local_outputs: dict[str, Any], tmp_path: Path
) -> None:
    facts = json.loads(docker("image", "inspect", server_image).stdout)[0]
    assert facts["Config"]["Labels"]["org.grand-challenge.api-method"] == "invoke"
    folders = Folders(tmp_path, CASE)
    server = Server(server_image, folders)
    try:
        origin = f"http://algorithm:{PORT}"
        assert server.ask("GET", "/health", 300) == f"200 {origin}/health"
        for _ in range(2):
            assert server.ask("POST", "/invoke", 300) == f"201 {origin}/invoke"
            assert_same(read_outputs(folders.output), local_outputs)
            folders.leave_to_owner(server_image)
            for path in folders.output.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        seconds, code, stderr = server.stop()
        assert seconds < STOP_SECONDS
        assert code in {0, 143}  # 137 would be SIGKILL
        assert stderr == ""
    finally:
        server.remove()
        folders.leave_to_owner(server_image)
