"""What the image is made of: a bill of materials, licences, and a lock with digests that follows requirements.txt."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

from lab.lock import pinned

ROOT = Path(__file__).resolve().parents[2]


def told(*flags: str) -> str:
    """As export.sh runs it: the file comes through standard input."""
    script = (ROOT / "lab" / "sbom.py").read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-", *flags], input=script, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    assert done.stderr == ""
    return done.stdout


def test_the_bill_names_every_locked_package_and_the_models():
    bill = json.loads(told())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    versions = {one["name"].lower().replace("_", "-"): one["version"] for one in bill["components"]}
    for pin in pinned(ROOT / "requirements.txt"):
        name, version = pin.split("==")
        assert versions[name.lower().replace("_", "-")] == version
    models = {one["name"]: one for one in bill["components"] if one["type"] == "machine-learning-model"}
    assert {"segmenter.onnx", "grader.onnx"} <= set(models)
    assert all(len(one["hashes"][0]["content"]) == 64 for one in models.values())
    references = [one["bom-ref"] for one in bill["components"] if "bom-ref" in one]
    assert len(references) == len(set(references))


def test_the_licences_are_a_table():
    rows = list(csv.DictReader(io.StringIO(told("--licences"))))
    found = {row["package"].lower(): row["licence"] for row in rows}
    assert "BSD-3-Clause" in found["numpy"]
    assert "not declared" not in {found[name] for name in ("openvino", "simpleitk", "reportlab", "pydicom")}


def test_the_lock_with_digests_follows_the_lock():
    hashed = (ROOT / "requirements.hashes.txt").read_text(encoding="utf-8")
    lines = [line.removesuffix(" \\") for line in hashed.splitlines() if "==" in line]
    assert lines == pinned(ROOT / "requirements.txt"), "requirements.txt has changed: python -m lab.lock"
    assert hashed.count("--hash=sha256:") >= len(lines)
