"""Tools: how much memory this process may still take, so that a case too large ends in a sentence and not in a kill."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

# Control groups version 2, then version 1: root, and the files in each group's folder that hold limit and use in bytes.
CGROUP_MEMORY = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
OWN_CGROUPS = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")
STATM = Path("/proc/self/statm")
# Least that a voxel of the model's grid costs: float16 probabilities of ten classes, image, labels. The largest study
# measured (52 million voxels, 200 x 512 x 512) took 42 bytes a voxel beyond what the loaded process takes.
VOXEL_BYTES = 40
CASE_BYTES = 100_000_000  # what a case takes besides: compiled network, report. 1.5 million voxels took 156 MB in all
START_BYTES = 180_000_000  # what loading (110 MB were measured) and the smallest case take
STORED_VOXEL_BYTES = 4  # least that reading costs: 16 bits, once in the library and once in our array


def available_bytes() -> int | None:
    """Bytes that this process may still take: the least of container, machine and RLIMIT_AS; None where unknown."""
    found = [left for limit, use in _group_files() if (left := _left_in_group(limit, use)) is not None]
    try:
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text(encoding="ascii").splitlines())
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    except (OSError, ValueError, KeyError):
        pass
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        pages = int(STATM.read_text(encoding="ascii").split()[0])
        found.append(soft - pages * resource.getpagesize())
    return max(0, min(found)) if found else None


def _group_files() -> Iterator[tuple[Path, Path]]:
    """Files of limit and use of the root's group (in a container its own) and of every group on the way to ours."""
    try:
        lines = OWN_CGROUPS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    own = {PurePosixPath(line.split(":", 2)[-1].lstrip("/")) for line in lines if ".." not in line}
    places = {PurePosixPath(), *own, *(parent for path in own for parent in path.parents)}
    for root, limit, use in CGROUP_MEMORY:
        for place in sorted(places):
            yield root / place / limit, root / place / use


def _left_in_group(limit: Path, use: Path) -> int | None:
    try:
        # Pages of files count as used and are given back when they are needed: they are not subtracted here.
        return int(limit.read_text(encoding="ascii")) - _held_bytes(use)
    except (OSError, ValueError):  # no such group, or 'max'
        return None


def _held_bytes(use: Path) -> int:
    used = int(use.read_text(encoding="ascii"))
    try:
        stat = dict(line.split() for line in use.with_name("memory.stat").read_text(encoding="ascii").splitlines())
        return used - sum(
            int(stat.get(f"total_{name}", stat.get(name, 0))) for name in ("inactive_file", "active_file")
        )
    except (OSError, ValueError):
        return used


def require_memory(voxels: int, voxel_bytes: int = VOXEL_BYTES, fixed_bytes: int = CASE_BYTES) -> None:
    """Raise MemoryError where `voxels` of `voxel_bytes` each (default: the network) and `fixed_bytes` cannot fit."""
    left, needed = available_bytes(), voxels * voxel_bytes + fixed_bytes
    if left is not None and needed > left:
        raise MemoryError(f"about {needed / 1e6:.0f} MB are needed, {left / 1e6:.0f} MB are free")
