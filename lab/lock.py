"""requirements.txt with the digests of its wheels, for an installation that accepts nothing else.

    python -m lab.lock            writes requirements.hashes.txt
    pip install --no-deps --require-hashes -r requirements.hashes.txt

Wheels for Linux x86-64 and Python 3.11 and 3.12 are fetched by pip and counted; run it again when a pin changes.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

PYTHONS = ("3.11", "3.12")
PLATFORMS = (*(f"manylinux_2_{minor}_x86_64" for minor in (36, 34, 31, 28, 27, 24, 17)), "manylinux2014_x86_64")
HEADER = (
    "# requirements.txt with the digests of its wheels (Linux x86-64, Python 3.11 and 3.12), written by lab.lock:\n"
    "#     pip install --no-deps --require-hashes -r requirements.hashes.txt\n"
)


def pinned(path: Path) -> list[str]:
    """The 'name==version' lines of a requirements file."""
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if "==" in line]


def digests(pin: str) -> list[str]:
    """Sorted SHA-256 of the wheels of `pin` that PYTHONS would install."""
    found = set()
    for python in PYTHONS:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            command += [f"--python-version={python}", "--dest", folder, pin]
            command += [f"--platform={name}" for name in PLATFORMS]
            subprocess.run(command, check=True)
            found |= {hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(folder).iterdir()}
    return sorted(found)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path("requirements.txt"))
    parser.add_argument("--target", type=Path, default=Path("requirements.hashes.txt"))
    args = parser.parse_args()
    lines = [HEADER]
    for pin in pinned(args.source):
        hashes = "".join(f" \\\n    --hash=sha256:{digest}" for digest in digests(pin))
        lines.append(f"{pin}{hashes}\n")
        print(pin)
    args.target.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
