"""process.py that tells through a pipe where it is, so that a signal can be sent to a stage or between two files.

    python -m lab.evaluate.fault_marks FD FLAG_OF_PROCESS...

Marks, a line each: the stage that starts, `made FILE` for an output that is complete in the hidden folder, `placed
FILE` for one that was moved into place. Nothing else differs from process.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

STARTED, LOADING = "started", "loading"  # before it listens for signals; from then on until the first stage


def mark_stages(tell: Callable[[str], None]) -> None:
    """Let every case of this process call `tell` with its marks."""
    from spine import case

    original = case.Progress.__call__

    def marked(self: case.Progress, stage: str) -> None:
        original(self, stage)
        tell(stage)
        if stage == "write":
            _mark_files(tell)

    case.Progress.__call__ = marked  # type: ignore[method-assign]
    listen = case.Stop.listen

    def listening(self: case.Stop) -> None:
        listen(self)
        tell(LOADING)

    case.Stop.listen = listening  # type: ignore[method-assign]


def _mark_files(tell: Callable[[str], None]) -> None:
    from spine import write

    def after(function: Callable[..., Any], word: str, place: int) -> Callable[..., Any]:
        def called(*arguments: Any) -> None:
            function(*arguments)
            tell(f"{word} {Path(arguments[place]).name}")

        return called

    if getattr(write, "marked", False):  # a server's second case
        return
    write.marked = True  # type: ignore[attr-defined]
    write._write_bytes = after(write._write_bytes, "made", 0)
    write._write_mask = after(write._write_mask, "made", 2)
    write.os.replace = after(os.replace, "placed", 1)  # type: ignore[assignment]


def main() -> int:
    """Run process.py with marks."""
    marks = os.fdopen(int(sys.argv[1]), "w", buffering=1)

    def tell(mark: str) -> None:
        marks.write(mark + "\n")

    mark_stages(tell)
    import process

    tell(STARTED)
    return process.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
