"""What the image is made of: a bill of materials, licences, and a lock with digests that follows requirements.txt."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab import sbom
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
    spdx_known = {"openvino": "Apache-2.0", "simpleitk": "Apache-2.0", "reportlab": "BSD-3-Clause", "pydicom": "MIT"}
    assert {name: found[name] for name in spdx_known} == spdx_known
    texts = {row["package"].lower(): row["texts"] for row in rows}
    assert all(Path(text).is_file() for text in texts["numpy"].split("; "))


def test_the_bill_gives_spdx_identifiers():
    runtime = {pin.split("==")[0].lower().replace("_", "-") for pin in pinned(ROOT / "requirements.txt")}
    for one in json.loads(told())["components"]:
        if one["name"].lower().replace("_", "-") in runtime:
            (licence,) = one["licenses"]
            stated = licence.get("expression") or licence["license"].get("id")
            assert stated is not None, f"{one['name']}: {licence}"
            assert sbom.EXPRESSION.fullmatch(stated)


@pytest.mark.parametrize(
    ("debian", "expected"),
    [
        ("GPL-2+", "GPL-2.0-or-later"), ("GPLv3+", "GPL-3.0-or-later"), ("LGPL-2.1", "LGPL-2.1-only"),
        ("GFDL-1.3", "GFDL-1.3-only"), ("Expat", "MIT"), ("LGPL-3+ or GPL-2+", "LGPL-3.0-or-later OR GPL-2.0-or-later"),
        ("GPL-3+ and ISC", "GPL-3.0-or-later AND ISC"), ("GPL or MIT-US-export", "GPL or MIT-US-export"),
        ("GPL-1+ or Artistic, and Expat", "GPL-1+ or Artistic, and Expat"), ("public-domain", "public-domain"),
    ],
)  # fmt: skip
def test_short_names_of_debian_become_spdx(debian, expected):
    assert sbom.spdx(debian) == expected


def test_licences_are_read_from_debians_copyright_files(tmp_path):
    new, old, none = tmp_path / "new", tmp_path / "old", tmp_path / "none"
    new.write_text(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nLicense: unused\n\n"
        "Files: *\nCopyright: x\nLicense: GPL-3+\n\nFiles: a\nLicense: Expat\n text of it\n\nLicense: GPL-3+\n text\n"
    )
    old.write_text("see `/usr/share/common-licenses/LGPL-2.1'.\n and /usr/share/common-licenses/GPL-2.\n")
    none.write_text("public domain\n")
    assert sbom.debian_licences(new) == ["GPL-3.0-or-later", "MIT"]
    assert sbom.debian_licences(old) == ["GPL-2.0-only", "LGPL-2.1-only"]
    assert sbom.debian_licences(none) == [f"see {none}"]


def test_the_lock_with_digests_follows_the_lock():
    hashed = (ROOT / "requirements.hashes.txt").read_text(encoding="utf-8")
    lines = [line.removesuffix(" \\") for line in hashed.splitlines() if "==" in line]
    assert lines == pinned(ROOT / "requirements.txt"), "requirements.txt has changed: python -m lab.lock"
    assert hashed.count("--hash=sha256:") >= len(lines)
