"""Software bill of materials of the Python that runs this file, as CycloneDX 1.5 JSON, or its licences as a table.

    docker run --rm -i --entrypoint python spine - < lab/sbom.py > sbom.cdx.json
    docker run --rm -i --entrypoint python spine - --licences < lab/sbom.py > licences.csv

Standard library only, so that it describes the image from inside and adds nothing to it: Python itself, every installed
distribution, every package of Debian's package manager and the model files with digests; licences as SPDX identifiers
where they have one, and where their texts lie.
"""

from __future__ import annotations

import csv
import hashlib
import json
import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

MODEL_FOLDERS = (Path("/opt/app/model"), Path("model"))
DPKG_STATUS, DOCUMENTATION = Path("/var/lib/dpkg/status"), Path("/usr/share/doc")
UNKNOWN = "not declared"
LONGEST = 80  # some packages put the whole text of their licence into the field
LICENCE_FILE = re.compile(r"^(licen[cs]e|copying|notice|copyright|authors)", re.IGNORECASE)
# Declared in words that do not tell which licence of a family; read in the licence file of the pinned version.
READ_IN_TEXT = {
    "jinja2": "BSD-3-Clause",
    "reportlab": "BSD-3-Clause",
    "scipy": "BSD-3-Clause",
    "simpleitk": "Apache-2.0",
}
CLASSIFIERS = {"MIT License": "MIT", "Apache Software License": "Apache-2.0"}
DEBIAN_NAMES = {
    "expat": "MIT", "mit": "MIT", "x11": "X11", "apache-2": "Apache-2.0", "apache-2.0": "Apache-2.0",
    "bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause", "bsd-4-clause": "BSD-4-Clause", "isc": "ISC",
    "zlib": "Zlib", "cc0-1.0": "CC0-1.0", "cc0": "CC0-1.0", "artistic": "Artistic-1.0-Perl", "mpl-2.0": "MPL-2.0",
    "mpl-1.1": "MPL-1.1", "curl": "curl", "bsl-1.0": "BSL-1.0", "openssl": "OpenSSL", "unlicense": "Unlicense",
    "artistic-2.0": "Artistic-2.0", "0bsd": "0BSD", "beerware": "Beerware", "latex2e": "Latex2e", "hpnd": "HPND",
}  # fmt: skip
SPDX_IDS = {
    *DEBIAN_NAMES.values(), "MIT-CMU", "PSF-2.0", "Python-2.0.1", "0BSD", "LGPL-3.0-or-later",
    *(f"{family}-{version}-{which}" for family, versions in (
        ("GPL", ("1.0", "2.0", "3.0")), ("LGPL", ("2.0", "2.1", "3.0")), ("AGPL", ("3.0",)),
        ("GFDL", ("1.1", "1.2", "1.3")),
    ) for version in versions for which in ("only", "or-later")),
}  # fmt: skip
_ID = "(?:" + "|".join(sorted(map(re.escape, SPDX_IDS), key=len, reverse=True)) + ")"
EXPRESSION = re.compile(rf"{_ID}(?: (?:AND|OR) {_ID})*")


def python_packages() -> Iterator[dict[str, Any]]:
    """One component for each installed distribution, `texts` the paths of its licence files."""
    for one in sorted(metadata.distributions(), key=lambda d: str(d.metadata["Name"]).lower()):
        name = str(one.metadata["Name"])
        texts = [str(one.locate_file(file)) for file in one.files or () if LICENCE_FILE.search(file.name)]
        purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{one.version}"
        yield component("library", name, one.version, purl, [licence(one)], texts)


def licence(distribution: metadata.Distribution) -> str:
    """SPDX expression of what the distribution declares, or its own words where they are not SPDX."""
    facts = distribution.metadata
    name = str(facts["Name"]).lower().replace("_", "-")
    stated = facts.get("License-Expression") or READ_IN_TEXT.get(name) or facts.get("License") or ""
    if stated and len(stated) <= LONGEST and "\n" not in stated:
        return stated
    classified = [c.rsplit(" :: ", 1)[-1] for c in facts.get_all("Classifier") or [] if c.startswith("License ::")]
    return "; ".join(CLASSIFIERS.get(c, c) for c in classified) or UNKNOWN


def system_packages() -> Iterator[dict[str, Any]]:
    """One component for each package that Debian's package manager has installed."""
    if not DPKG_STATUS.exists():
        return
    for block in DPKG_STATUS.read_text(encoding="utf-8").split("\n\n"):
        facts = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(" "))
        if "installed" in facts.get("Status", "").split():
            name = facts["Package"]
            purl = f"pkg:deb/debian/{name}@{facts['Version']}?arch={facts['Architecture']}"
            text = DOCUMENTATION / name / "copyright"
            licences, texts = (debian_licences(text), [str(text)]) if text.is_file() else ([UNKNOWN], [])
            yield component("library", name, facts["Version"], purl, licences, texts)


def debian_licences(path: Path) -> list[str]:
    """The licences that a Debian copyright file names for files of its package, SPDX where they have an identifier.

    In the machine-readable format (DEP 5) those of its stanzas of files; otherwise the common licences it refers to.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    if text.startswith("Format:"):
        stanzas = [stanza for stanza in re.split(r"\n\s*\n", text) if re.search(r"^Files:", stanza, re.M)]
        found = [match[1] for one in stanzas if (match := re.search(r"^License:[ \t]*(\S[^\n]*)", one, re.M))]
    else:
        found = re.findall(r"/usr/share/common-licenses/([A-Za-z]+(?:-[0-9.]*[0-9])?)", text)
    return sorted({spdx(one.strip()) for one in found if len(one) <= LONGEST}) or [f"see {path}"]


def spdx(name: str) -> str:
    """SPDX expression for a short name of Debian's; the name itself where SPDX has none for it."""
    parts = [part for part in re.split(r"\s+(or|and)\s+|,\s*", name) if part]
    if len(parts) > 1:
        known = [part.upper() if part in ("or", "and") else spdx(part) for part in parts]
        ids = known[::2]
        return " ".join(known) if all(EXPRESSION.fullmatch(one) for one in ids) and "," not in name else name
    family = re.fullmatch(r"(A?GPL|LGPL|GFDL)-?v?([0-9](?:\.[0-9])?)(?:\.0)?(\+?)", name)
    if family:
        version = family[2] if "." in family[2] else f"{family[2]}.0"
        return f"{family[1]}-{version}-{'or-later' if family[3] else 'only'}"
    return DEBIAN_NAMES.get(name.lower(), name)


def model_files() -> Iterator[dict[str, Any]]:
    """One component for each file of the model folder, with its digest."""
    folder = next((folder for folder in MODEL_FOLDERS if folder.is_dir()), None)
    for path in sorted(folder.glob("*")) if folder else ():
        if path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            kind = "machine-learning-model" if path.suffix == ".onnx" else "data"
            found = component(kind, path.name, digest[:12], None, ["Apache-2.0"], [])
            yield {**found, "hashes": [{"alg": "SHA-256", "content": digest}]}


def component(
    kind: str, name: str, version: str, purl: str | None, licences: list[str], texts: list[str]
) -> dict[str, Any]:
    """A CycloneDX component; where its licence texts lie is a property of each."""
    found: dict[str, Any] = {"type": kind, "name": name, "version": version}
    if purl:
        found |= {"purl": purl, "bom-ref": purl}
    if len(licences) == 1 and " " in licences[0] and EXPRESSION.fullmatch(licences[0]):
        found["licenses"] = [{"expression": licences[0]}]
    else:
        found["licenses"] = [{"license": {"id" if one in SPDX_IDS else "name": one}} for one in licences]
    if texts:
        found["properties"] = [{"name": "spine:licence-text", "value": text} for text in texts]
    return found


def words(one: dict[str, Any]) -> str:
    """The licences of a component in a cell of the table."""
    stated = [entry.get("expression") or next(iter(entry["license"].values())) for entry in one["licenses"]]
    return "; ".join(stated)


def bill() -> dict[str, Any]:
    """The whole document; the same installation gives the same bytes."""
    version = platform.python_version()
    interpreter = component("platform", "CPython", version, f"pkg:generic/cpython@{version}", ["Python-2.0.1"], [])
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
        table.writerow(("package", "version", "licence", "texts"))
        for one in (*python_packages(), *system_packages(), *model_files()):
            texts = "; ".join(entry["value"] for entry in one.get("properties", ()))
            table.writerow((one["name"], one["version"], words(one), texts))
        return
    sys.stdout.write(json.dumps(bill(), indent=1) + "\n")


if __name__ == "__main__":
    main()
