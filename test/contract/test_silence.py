"""A clean case says nothing on the error stream, and no part of it, native code included, opens a network socket."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASE = ROOT / "test" / "input" / "lumbar"

# process.py with every look-up and connection that Python itself makes ended at once.
WATCHED = """
import os, runpy, sys
def watch(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.bind", "urllib.Request"}:
        os.write(2, f"{event} {arguments}".encode())
        os._exit(9)
sys.addaudithook(watch)
sys.argv[0] = "process.py"
sys.path.insert(0, os.getcwd())
runpy.run_path("process.py", run_name="__main__")
"""


def test_a_case_is_silent_and_reaches_for_no_network(tmp_path):
    command = [sys.executable, "-c", WATCHED, "--input", str(CASE), "--output", str(tmp_path / "out")]
    trace, strace = tmp_path / "trace", shutil.which("strace")
    if strace is not None and traces(strace):
        command = [strace, "-f", "-qq", "-e", "trace=socket,connect,sendto", "-o", str(trace), *command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "spine-degeneration-report.json").exists()
    if not trace.exists():
        pytest.skip("Python opened no socket; strace, which would tell of native code too, cannot trace here")
    assert re.findall(r".*(?:AF_INET|AF_NETLINK|AF_PACKET).*", trace.read_text()) == []


def traces(strace):
    """Whether strace may trace here; containers often forbid it."""
    return (
        subprocess.run([strace, "-f", "-qq", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode
        == 0
    )
