"""The platform's invoke API: GET /health and POST /invoke over HTTP, models loaded once, one case at a time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from spine.case import DONE, LOADING, TERMINATED, Outcome, Progress, Stop, explain, run_case
from spine.errors import InputError, SoftwareError
from spine.records import Report
from spine.write import discard_outputs

PORT = 4743  # the platform's
GRACE_S = 3.0  # for a running case after SIGTERM; the platform kills after 5
POLL_S = 0.1
CHUNK_BYTES = 1 << 16  # /invoke has no body; what a client sends in spite of that is read and forgotten
METHODS = {"/health": "GET", "/invoke": "POST"}
# Exit code -> HTTP status: written; the input cannot be used; asked to stop. Any other failure is 500.
STATUS = {DONE: 201, InputError.exit_code: 422, TERMINATED: 503}


class CaseServer(ThreadingHTTPServer):
    """Answers each request in a thread of its own, so that /health answers while a case runs.

    It listens before the models are loaded: until then both paths answer 503.
    """

    daemon_threads = True

    def __init__(
        self,
        port: int,
        run: Callable[[Any, Progress], Report],
        output_dir: Path,
        tell: Callable[[Outcome], None],
    ) -> None:
        try:
            super().__init__(("0.0.0.0", port), Handler)
        except OSError as fault:
            raise SoftwareError(f"port {port}: the server cannot listen ({fault.strerror}).") from fault
        self.models: Any = None  # None until they are loaded
        self.stop = Stop()
        self.busy = threading.Lock()
        self._run, self._output_dir, self._tell = run, output_dir, tell

    def invoke(self) -> tuple[int, str]:
        """Run one case, for a caller that holds `busy`: exit code and sentence. Nothing of it stays in this process."""
        progress = Progress(self.stop)
        outcome = run_case(lambda: self._run(self.models, progress), self._output_dir, progress)
        if outcome.exit_code != DONE:
            self._tell(outcome)
        return outcome.exit_code, outcome.sentence

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away: the error stream is for cases."""


class Handler(BaseHTTPRequestHandler):
    """The two paths."""

    server: CaseServer
    timeout = 30  # seconds for a client to send its request

    def do_GET(self) -> None:
        """Health, or a refusal."""
        if not self._refused():
            self._answer(*((200, "ready") if self.server.models is not None else (503, "loading the models")))

    def do_POST(self) -> None:
        """One case, or a refusal."""
        if self._refused():
            return
        if self.server.models is None:
            self._answer(503, "The models are not loaded yet.")
            return
        with self.server.busy:  # others wait; a server that ends waits too, until the answer is out
            code, sentence = self.server.invoke()
            self._answer(STATUS.get(code, 500), sentence or "The outputs are written.")

    do_HEAD = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815

    def _refused(self) -> bool:
        """Answer what is not one of the two requests, after reading the body that a client may still be sending."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit():
            self._answer(400, "Content-Length is a number.")
            return True
        left = int(length)
        while left > 0 and (part := self.rfile.read(min(left, CHUNK_BYTES))):
            left -= len(part)
        path = self.path.split("?")[0]
        if path not in METHODS:
            self._answer(404, f"There are only {' and '.join(f'{verb} {path}' for path, verb in METHODS.items())}.")
        elif self.command != METHODS[path]:
            self._answer(405, f"{METHODS[path]} is expected.", {"Allow": METHODS[path]})
        else:
            return False
        return True

    def _answer(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        body = b"" if self.command == "HEAD" else (text + "\n").encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep no access log: anything on the error stream marks a case with a warning."""


def serve(
    load: Callable[[], Any],
    run: Callable[[Any, Progress], Report],
    output_dir: Path,
    tell: Callable[[Outcome], None],
    port: int = PORT,
) -> int:
    """Load the models and answer until SIGTERM or SIGINT; returns the exit code, 0 for an orderly end.

    Args:
        load: gives the models; its failure ends the server.
        run: one case with the models, told to a Progress.
        output_dir: where `run` writes; emptied of our outputs before each case and after a failed one.
        tell: is given the Outcome of each failed case, and of failed loading.
        port: to listen on.
    """
    try:
        server = CaseServer(port, run, output_dir, tell)
    except SoftwareError as fault:
        tell(Outcome(*explain(fault, LOADING)))
        return fault.exit_code
    failures: list[Outcome] = []

    def load_models() -> None:
        try:
            server.models = load()
        except BaseException as fault:
            failures.append(Outcome(*explain(fault, LOADING)))

    server.stop.listen()
    loader = threading.Thread(target=load_models, daemon=True)
    for thread in (threading.Thread(target=server.serve_forever, daemon=True), loader):
        thread.start()
    while not server.stop.wanted and not failures:
        time.sleep(POLL_S)
    server.shutdown()
    idle = server.busy.acquire(timeout=GRACE_S)
    if not idle or (loader.is_alive() and not failures):
        discard_outputs(output_dir)  # native code is still running: leave without waiting for it or tearing it down
        os._exit(DONE)
    for outcome in failures:
        tell(outcome)
    return failures[0].exit_code if failures else DONE
