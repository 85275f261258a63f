"""The runtime's lock is complete: `pip install --no-deps -r requirements.txt` leaves no declared need unmet but one."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LEFT_OUT = {("openvino", "openvino-telemetry")}  # warns on import and reaches for a network; openvino runs without

# Imports every runtime package and asks OpenVINO for its devices; any look-up or connection ends the process at once.
IMPORTS = """
import os, sys
def watch(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request", "subprocess.Popen"}:
        os.write(2, f"{event} {arguments}".encode())
        os._exit(9)
sys.addaudithook(watch)
import cc3d, highdicom, jsonschema, numpy, openvino, PIL.Image, reportlab.pdfgen.canvas, scipy.ndimage, SimpleITK, tqdm
openvino.Core().available_devices
"""


def pins(name: str) -> dict[str, str]:
    """Normalised package name -> pinned version of each line of the requirements file `name`."""
    lines = (line.split("#")[0].strip() for line in (REPOSITORY / name).read_text(encoding="utf-8").splitlines())
    pairs = (line.split("==") for line in lines if line and not line.startswith("-"))
    return {normalised(package): version for package, version in pairs}


def normalised(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


@pytest.mark.parametrize("package", sorted(pins("requirements.txt")))
def test_every_need_of_a_runtime_package_is_a_line_of_the_lock(package: str) -> None:
    needs = [need for need in metadata.requires(package) or [] if "extra ==" not in need and "Windows" not in need]
    names = {normalised(re.match(r"[A-Za-z0-9._-]+", need).group()) for need in needs}
    unmet = {(package, name) for name in names - set(pins("requirements.txt"))}
    assert unmet <= LEFT_OUT


def test_installed_versions_are_those_of_the_lock() -> None:
    lock = pins("requirements.txt")
    assert {package: metadata.version(package) for package in lock} == lock


def test_the_lab_does_not_change_the_runtime() -> None:
    lock, lab = pins("requirements.txt"), pins("requirements-lab.txt")
    assert {package: lab[package] for package in lab.keys() & lock.keys()} == {
        package: lock[package] for package in lab.keys() & lock.keys()
    }


def test_imports_are_silent_and_reach_for_no_network() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
