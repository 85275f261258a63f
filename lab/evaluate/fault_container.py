"""The image itself under the platform's conditions and worse ones: memory limits, shared memory, folders, processors.

Needs an engine and the image. A limit is only as real as the engine makes it: where it ignores one, its rows say so.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab.evaluate.fault_attempt import CASE, DONE, FAILED, Fault, Row, judge, not_tried
from lab.evaluate.fault_signals import small_input

KILLED = 137
BARE = ("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
TMP, OUTPUT, SHM = ("--tmpfs", "/tmp"), ("--volume", "{out}:/output"), ("--shm-size", "128m")
LIMIT_FILES = "/sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes"
MEMORY_MB = (2048, 1024, 512, 384, 320, 304, 288, 272, 256, 240, 224, 192, 128)  # about 300 are enough for the case
TIMEOUT_S = 1_200


@dataclass(frozen=True)
class Run:
    """One row: options of `docker run`, which codes are right, and how often it is tried."""

    name: str
    options: tuple[str, ...]
    allowed: tuple[int, ...] = (DONE,)
    small: bool = True
    tries: int = 1


def _memory(mb: int) -> tuple[str, ...]:
    return (*BARE, *TMP, *OUTPUT, *SHM, "--memory", f"{mb}m", "--memory-swap", f"{mb}m")


RUNS = (
    Run("image as the platform runs it, 8 GB, 128 MB of shared memory", _memory(8192), small=False),
    *(Run(f"image with {mb} MB of memory", _memory(mb), (DONE, FAILED), small=False) for mb in MEMORY_MB),
    Run("image without /tmp", (*BARE, *OUTPUT)),
    Run("image with /tmp of 4 kB", (*BARE, *OUTPUT, "--tmpfs", "/tmp:size=4k")),
    Run("image with /tmp read-only", (*BARE, *OUTPUT, "--tmpfs", "/tmp:ro")),
    Run("image with 64 kB of shared memory", (*BARE, *OUTPUT, *TMP, "--shm-size", "64k")),
    Run("image with /output read-only", (*BARE, *TMP, "--volume", "{out}:/output:ro"), (FAILED,)),
    Run("image whose /output belongs to another user", (*BARE, *TMP, "--volume", "{closed}:/output"), (FAILED,)),
    Run("image on one processor", (*BARE, *TMP, *OUTPUT, "--cpuset-cpus", "0")),
    Run("image with half a processor", (*BARE, *TMP, *OUTPUT, "--cpus", "0.5")),
    Run("image with 16 processes at most", (*BARE, *TMP, *OUTPUT, "--pids-limit", "16"), (DONE, FAILED)),
)


def container_rows(scratch: Path, image: str, only: str = "") -> list[Row]:
    """A row for each of RUNS whose name holds `only`."""
    chosen = [run for run in RUNS if only in run.name]
    reason = _no_engine(image)
    if reason:
        return [not_tried(run.name, reason) for run in chosen]
    inputs = {True: small_input(scratch), False: CASE}
    return [_row(run, image, inputs[run.small], scratch) for run in chosen]


def _no_engine(image: str) -> str:
    if shutil.which("docker") is None:
        return "there is no docker here"
    answer = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False, timeout=60)
    return "" if answer.returncode == 0 else f"there is no engine or no image {image}"


def _row(run: Run, image: str, case: Path, scratch: Path) -> Row:
    fault = Fault(run.name, run.allowed, lambda folder, number: {})
    said, wrong, survived = "", "", 0
    if "--memory" in run.options and not _is_limited(run, image, scratch):
        return not_tried(run.name, "the engine does not enforce --memory")
    for _ in range(run.tries):
        own = Path(tempfile.mkdtemp(prefix="image-", dir=scratch))
        code, stderr, files = _run(run, image, case, own)
        fault_found = judge(fault, code, stderr, files)
        wrong = fault_found or wrong
        survived += not fault_found
        said = (stderr.strip().splitlines() or ["all outputs, no message"])[-1]
    return {"fault": run.name, "tried": run.tries, "survived": survived, "said": wrong or said}


def _folders(own: Path) -> dict[str, str]:
    """An output folder for any user, and one for its owner alone; the path to both is open."""
    out, closed = own / "out", own / "closed"
    for folder, mode in ((own, 0o755), (out, 0o777), (closed, 0o755)):
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)
    return {"out": str(out), "closed": str(closed)}


def _run(run: Run, image: str, case: Path, own: Path) -> tuple[int, str, set[str]]:
    places = _folders(own)
    options = [word.format(**places) for word in run.options]
    case_copy = own / "case"
    shutil.copytree(case, case_copy)
    for path in (case_copy, *case_copy.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    command = ["docker", "create", *options, "--volume", f"{case_copy}:/input:ro", image]
    name = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S).stdout.strip()
    try:
        done = subprocess.run(
            ["docker", "start", "--attach", name], capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False, timeout=TIMEOUT_S)
    stderr = done.stderr if done.returncode != KILLED else "the kernel killed it"
    files = {str(path) for place in places.values() for path in Path(place).rglob("*") if path.is_file()}
    return done.returncode, stderr, files


def _is_limited(run: Run, image: str, scratch: Path) -> bool:
    """Whether a container with this limit sees it."""
    places = _folders(Path(tempfile.mkdtemp(prefix="limit-", dir=scratch)))
    options = [word.format(**places) for word in run.options]
    command = ["docker", "run", "--rm", *options, "--entrypoint", "sh", image, "-c", f"cat {LIMIT_FILES} 2>/dev/null"]
    seen = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S).stdout.split()
    wanted = int(run.options[run.options.index("--memory") + 1].removesuffix("m")) * 1024**2
    return str(wanted) in seen
