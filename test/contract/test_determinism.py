"""One case twice, on one processor and on all: byte-identical but for times, and the UIDs of new DICOM objects.

The container against the local run: test/container. Another date: a row of docs/faults/table.md.
"""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pydicom
import pypdf
import pytest
import SimpleITK

from lab.evaluate.run_endurance import PHANTOM, small_case

ROOT = Path(__file__).resolve().parents[2]
SAGITTAL_COSINES = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
TIMES = {"seconds", "peak_memory_mb"}  # of the report's `software`; `runner` tells the number of threads
# The line of the pages that tells the same, and what of it a FHIR bundle holds beside the time of its making.
TOLD = re.compile(r"\d+ threads?; [\d.]+ s up to this report; peak memory \d+ MB")
OF_THE_RUN = re.compile(r'"(issued|data|size|hash)": ?("[^"]*"|\d+)')


@pytest.fixture
def twice(tmp_path, write_series):
    """The outputs of two runs of one small DICOM series, on one processor and on all that there are."""
    image = small_case(SimpleITK.ReadImage(str(next(PHANTOM.iterdir()))), 0)
    columns, rows, slices = image.GetSpacing()
    array = SimpleITK.GetArrayFromImage(image)
    series = write_series(array, SAGITTAL_COSINES, spacing_mm=(rows, columns, slices))
    everywhere = os.sched_getaffinity(0)
    found = []
    for name, processors in (("one", {min(everywhere)}), ("all", everywhere)):
        out = tmp_path / name
        flags = ["--image", series, "--output", out, "--runner", "cpu", "--html", "--fhir", "--dicom"]
        done = subprocess.run(
            [sys.executable, str(ROOT / "process.py"), *map(str, flags)], capture_output=True, check=False, timeout=300,
            preexec_fn=lambda processors=processors: os.sched_setaffinity(0, processors),
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b"")
        found.append({str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()})
    return found


def timeless(report: bytes) -> tuple[bytes, str]:
    """The report's bytes without the values of its times, and its runner without the number of threads."""
    document = json.loads(report)
    software = document["software"]
    runner = re.sub(r"\d+ threads?", "threads", software.pop("runner"))
    document["software"] = {key: value for key, value in software.items() if key not in TIMES}
    return json.dumps(document).encode(), runner


def page(content: bytes) -> list[tuple[str, list[bytes]]]:
    """Text without the line of times, and pictures, of each page of a PDF."""
    pages = pypdf.PdfReader(io.BytesIO(content)).pages
    return [(TOLD.sub("", one.extract_text()), [image.data for image in one.images]) for one in pages]


def elements(content: bytes) -> list[tuple[str, str, str]]:
    """Place, kind and value of every element of a DICOM object but identifiers, dates, times and the page."""
    found = []
    for element in pydicom.dcmread(io.BytesIO(content)).iterall():
        if element.VR not in ("UI", "DA", "TM", "DT", "SQ") and not element.keyword.startswith("EncapsulatedDocument"):
            found.append((str(element.tag), element.VR, repr(element.value)))
    return found


def test_two_runs_give_the_same_bytes(twice):
    one, other = twice
    assert set(one) == set(other)
    assert len(one) == 10
    comparable = {
        "spine-degeneration-report.json": timeless,
        "spine-fhir.json": lambda content: OF_THE_RUN.sub("", content.decode()),
        "spine-report.html": lambda content: TOLD.sub("", content.decode()),
        "spine-report.pdf": page,
        **dict.fromkeys(("dicom/segmentation.dcm", "dicom/measurements.dcm", "dicom/report.dcm"), elements),
    }
    for name, content in one.items():
        view = comparable.get(name, bytes)
        assert view(content) == view(other[name]), name
