"""The entry in invoke form: a real server in a process of its own."""

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

STAND_IN = Path(__file__).with_name("stand_in.py")
OUTPUTS = 5


class Served:
    """A serving process and its folders."""

    def __init__(self, folder: Path, model: str) -> None:
        self.case, self.out, self.folder = folder / "case", folder / "out", folder
        (folder / "out").mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        flags = ["--serve", "--port", self.port, "--input", self.case, "--output", self.out, "--model", model]
        self.process = subprocess.Popen(
            [sys.executable, str(STAND_IN), str(folder), *map(str, flags)], stderr=subprocess.PIPE, text=True
        )

    def ask(self, verb: str, path: str, body: bytes | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(verb, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode().strip()

    def wait_until(self, status: int) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self.ask("GET", "/health")[0] == status:
                    return
            time.sleep(0.05)
        raise TimeoutError

    def terminate(self) -> tuple[int, str, float]:
        """Exit code, what was written on the error stream, seconds from SIGTERM to the end."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        _, stderr = self.process.communicate(timeout=30)
        return self.process.returncode, stderr, time.monotonic() - start

    def put(self, columns: int) -> None:
        folder = self.case / "images" / "sagittal-spine-mri"
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        array = np.random.default_rng(0).integers(0, 99, (3, 9, columns)).astype(np.int16)
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(folder / f"{columns}.mha"), True)

    def columns_reported(self) -> int:
        return json.loads((self.out / "spine-degeneration-report.json").read_text())["size"][0]

    def written(self) -> int:
        return sum(path.is_file() for path in self.out.rglob("*"))


@pytest.fixture
def served(tmp_path):
    started = []

    def start(model: str = "sound") -> Served:
        started.append(Served(tmp_path, model))
        return started[0]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


def test_cases_one_after_another(served):
    server = served()
    server.wait_until(200)
    for columns in (8, 6):
        server.put(columns)
        assert server.ask("POST", "/invoke") == (201, "The outputs are written.")
        assert (server.written(), server.columns_reported()) == (OUTPUTS, columns)
    (server.case / "images" / "sagittal-spine-mri" / "second.mha").write_bytes(b"")
    sentence = "images/sagittal-spine-mri: there are 2 images; one is expected."
    assert server.ask("POST", "/invoke") == (422, sentence)
    assert server.written() == 0
    server.put(7)
    assert server.ask("POST", "/invoke", b"{}")[0] == 201
    assert (server.written(), server.columns_reported()) == (OUTPUTS, 7)
    assert server.ask("GET", "/health") == (200, "ready")
    refused = [server.ask(*request)[0] for request in (
        ("GET", "/"), ("POST", "/other"), ("POST", "/health"), ("GET", "/invoke"), ("DELETE", "/invoke"),
        ("PUT", "/health"),
    )]  # fmt: skip
    assert refused == [404, 404, 405, 405, 405, 405]
    assert server.ask("POST", "/other", bytes(2_000_000))[0] == 404
    code, stderr, seconds = server.terminate()
    assert (code, stderr) == (0, sentence + "\n")
    assert seconds < 5
    assert server.written() == OUTPUTS


def test_a_failed_case_leaves_the_server_well(served):
    server = served("crash")
    server.put(8)
    server.wait_until(200)
    for _ in range(2):
        found, sentence = server.ask("POST", "/invoke")
        assert (found, sentence) == (500, "The software failed in segment: ValueError: two lines of text.")
        assert server.written() == 0
    assert server.ask("GET", "/health")[0] == 200
    assert server.terminate()[:2] == (0, 2 * (sentence + "\n"))


def test_health_answers_while_cases_wait_for_each_other(served):
    server = served("slow-case-short")
    server.put(8)
    server.wait_until(200)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(server.ask("POST", "/invoke"))) for _ in range(2)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    while not (server.folder / "running").exists():
        time.sleep(0.02)
    assert server.ask("GET", "/health")[0] == 200
    assert answers == []
    for thread in threads:
        thread.join()
    assert time.monotonic() - start > 2 * 1.5  # one at a time
    assert [status for status, _ in answers] == [201, 201]
    assert server.terminate()[:2] == (0, "")


def test_sigterm_in_a_case_that_does_not_listen(served):
    server = served("slow-case")
    server.put(8)
    server.wait_until(200)
    request = threading.Thread(target=_ask_quietly, args=(server,))
    request.start()
    while not (server.folder / "running").exists():
        time.sleep(0.02)
    code, stderr, seconds = server.terminate()
    request.join()
    assert (code, stderr, server.written()) == (0, "", 0)
    assert seconds < 5


def _ask_quietly(server: Served) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        server.ask("POST", "/invoke")


def test_before_the_models_are_loaded(served):
    server = served("slow-start")
    server.put(8)
    server.wait_until(503)
    assert server.ask("POST", "/invoke") == (503, "The models are not loaded yet.")
    code, stderr, seconds = server.terminate()
    assert (code, stderr) == (0, "")
    assert seconds < 5


def test_models_that_cannot_be_loaded_end_the_server(served):
    server = served("missing")
    _, stderr = server.process.communicate(timeout=60)
    assert (server.process.returncode, stderr) == (3, "missing: there are no models.\n")


def test_a_port_that_is_taken(tmp_path):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flags = ["--serve", "--port", str(port), "--output", str(tmp_path / "out")]
        done = subprocess.run(
            [sys.executable, str(STAND_IN), str(tmp_path), *flags],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 3
    assert done.stderr == f"port {port}: the server cannot listen (Address already in use).\n"
