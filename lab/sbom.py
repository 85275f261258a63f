"""Software bill of materials of the Python that runs this file, as CycloneDX 1.5 JSON, or its licences as a table.

    docker run --rm -i --entrypoint python spine - < lab/sbom.py > sbom.cdx.json
    docker run --rm -i --entrypoint python spine - --licences < lab/sbom.py > licences.csv

Standard library only, so that it describes the image from inside and adds nothing to it: Python itself, every installed
distribution with its declared licence, every package of Debian's package manager, and the model files with digests.
"""

from __future__ import annotations

import csv
import hashlib
import json
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

MODEL_FOLDERS = (Path("/opt/app/model"), Path("model"))
DPKG_STATUS = Path("/var/lib/dpkg/status")
UNKNOWN = "not declared"
LONGEST = 80  # some packages put the whole text of their licence into the field


def python_packages() -> Iterator[dict[str, Any]]:
    """One component for each installed distribution."""
    for one in sorted(metadata.distributions(), key=lambda d: str(d.metadata["Name"]).lower()):
        name = str(one.metadata["Name"])
        yield component(
            "library", name, one.version, f"pkg:pypi/{name.lower().replace('_', '-')}@{one.version}", licence(one)
        )


def licence(distribution: metadata.Distribution) -> str:
    """What the distribution declares: SPDX expression, short licence field, or trove classifiers."""
    facts = distribution.metadata
    stated = facts.get("License-Expression") or facts.get("License") or ""
    if stated and len(stated) <= LONGEST and "\n" not in stated:
        return stated
    classified = [c.rsplit(" :: ", 1)[-1] for c in facts.get_all("Classifier") or [] if c.startswith("License ::")]
    return "; ".join(classified) or (stated.strip().splitlines()[0][:LONGEST] if stated.strip() else UNKNOWN)


def system_packages() -> Iterator[dict[str, Any]]:
    """One component for each package that Debian's package manager has installed."""
    if not DPKG_STATUS.exists():
        return
    for block in DPKG_STATUS.read_text(encoding="utf-8").split("\n\n"):
        facts = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(" "))
        if "installed" in facts.get("Status", "").split():
            purl = f"pkg:deb/debian/{facts['Package']}@{facts['Version']}?arch={facts['Architecture']}"
            yield component("library", facts["Package"], facts["Version"], purl, None)


def model_files() -> Iterator[dict[str, Any]]:
    """One component for each file of the model folder, with its digest."""
    folder = next((folder for folder in MODEL_FOLDERS if folder.is_dir()), None)
    for path in sorted(folder.glob("*")) if folder else ():
        if path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            kind = "machine-learning-model" if path.suffix == ".onnx" else "data"
            found = component(kind, path.name, digest[:12], None, "Apache-2.0")
            yield {**found, "hashes": [{"alg": "SHA-256", "content": digest}]}


def component(kind: str, name: str, version: str, purl: str | None, stated: str | None) -> dict[str, Any]:
    """A CycloneDX component."""
    found: dict[str, Any] = {"type": kind, "name": name, "version": version}
    if purl:
        found |= {"purl": purl, "bom-ref": purl}
    if stated:
        found["licenses"] = [{"license": {"name": stated}}]
    return found


def bill() -> dict[str, Any]:
    """The whole document; the same installation gives the same bytes."""
    interpreter = component(
        "platform", "CPython", platform.python_version(), f"pkg:generic/cpython@{platform.python_version()}", "PSF-2.0"
    )
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": "spine"}},
        "components": [interpreter, *python_packages(), *system_packages(), *model_files()],
    }


def main() -> None:
    """Write the bill, or the licences, to standard output."""
    if "--licences" in sys.argv[1:]:
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(("package", "version", "licence"))
        for one in (*python_packages(), *model_files()):
            table.writerow((one["name"], one["version"], one["licenses"][0]["license"]["name"]))
        return
    sys.stdout.write(json.dumps(bill(), indent=1) + "\n")


if __name__ == "__main__":
    main()
