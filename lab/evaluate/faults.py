"""The fault table: what a hospital, a platform or an attacker may do to the container, tried on process.py itself.

    python -m lab.evaluate.faults --out docs/faults [--part signals]... [--only TEXT] [--image TAG]

Every try starts a process of its own. A fault is survived when the exit code is the stated one, the last line on the
error stream is one sentence, no stack trace is the only message, and the output folder holds all files or none.
Faults that need a mount use a private mount namespace; those of the container need an engine and the image TAG. Where
something is lacking, the row says that it was not tried. Rows of other parts and of faults not chosen stay in the
table as they are.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from lab.evaluate.fault_attempt import CASE, ROOT, Fault, Row, try_fault
from lab.evaluate.fault_inputs import INPUTS, write_input
from lab.evaluate.fault_surroundings import SURROUNDINGS

SHOWN = 260  # characters of what was said
PARTS = ("surroundings", "inputs", "signals", "serving", "container")
ROWS = "rows.json"


def _input(name: str) -> Callable[[Path, int], dict[str, Path]]:
    return lambda scratch, number: {"case": write_input(name, CASE, scratch / "case")}


def input_faults() -> tuple[Fault, ...]:
    """A row for each bad input."""
    return tuple(Fault(f"input: {name}", (code,), _input(name)) for name, code in INPUTS.items())


def all_faults() -> tuple[Fault, ...]:
    """Surroundings first, then inputs."""
    return (*SURROUNDINGS, *input_faults())


def rows_of(part: str, only: str, scratch: Path, image: str) -> list[Row]:
    """The rows of one of PARTS, of the faults whose name holds `only`."""
    if part == "signals":
        from lab.evaluate.fault_signals import signal_rows

        return signal_rows(scratch, only)
    if part == "serving":
        from lab.evaluate.fault_serve import serve_rows

        return serve_rows(scratch) if only in "serving" else []
    if part == "container":
        from lab.evaluate.fault_container import container_rows

        return container_rows(scratch, image, only)
    faults = SURROUNDINGS if part == "surroundings" else input_faults()
    return [try_fault(fault, scratch) for fault in tqdm(faults, unit="fault") if only in fault.name]


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| fault | tried | survived | what the user sees (or what was wrong) |", "|---|---|---|---|"]
    for row in rows:
        said = row["said"].replace("|", "/").replace(str(ROOT) + "/", "")
        lines.append(f"| {row['fault']} | {row['tried']} | {row['survived']} | {said[:SHOWN]} |")
    return "\n".join(lines) + "\n"


def merged(old: dict[str, list[Row]], part: str, new: Sequence[Row]) -> dict[str, list[Row]]:
    """`old` with the rows of `part` that were tried again replaced, and those that are new put behind them."""
    fresh = {row["fault"]: row for row in new}
    kept = [fresh.pop(row["fault"], row) for row in old.get(part, [])]
    return {**old, part: [*kept, *fresh.values()]}


def main() -> None:
    """Try the chosen faults and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--only", default="", help="faults whose name holds this text")
    parser.add_argument("--image", default="spine", help="tag for the part 'container'")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    stored = args.out / ROWS
    found: dict[str, list[Row]] = json.loads(stored.read_text(encoding="utf-8")) if stored.is_file() else {}
    parts = args.part or PARTS
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        for part in parts:
            found = merged(found, part, rows_of(part, args.only, Path(folder), args.image))
            stored.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    rows = [row for part in PARTS for row in found.get(part, [])]
    (args.out / "table.md").write_text(table(rows), encoding="utf-8")
    print(table([row for part in parts for row in found[part] if args.only in row["fault"]]))
    if any(row["survived"] < row["tried"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
