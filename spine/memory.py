"""Tools: how much memory this process may still take, so that a case too large ends in a sentence and not in a kill."""

from __future__ import annotations

import resource
from pathlib import Path

# (limit, current use) in bytes of a container's memory: control groups version 2, then version 1.
CGROUP_MEMORY = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)
MEMINFO = Path("/proc/meminfo")
STATM = Path("/proc/self/statm")
# Least that a voxel of the model's grid costs: float16 probabilities of ten classes, image, labels. Measured on the
# routine study (2.2 million voxels): about 90 bytes a voxel beyond what the loaded process takes.
VOXEL_BYTES = 60


def available_bytes() -> int | None:
    """Bytes that this process may still take: the least of container, machine and RLIMIT_AS; None where unknown."""
    found = [left for limit, use in CGROUP_MEMORY if (left := _left_in_group(limit, use)) is not None]
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
        return used - int(stat.get("inactive_file", 0)) - int(stat.get("active_file", 0))
    except (OSError, ValueError):
        return used


def require_memory(voxels: int) -> None:
    """Raise MemoryError where the network's answer for `voxels` of the model's grid cannot fit."""
    left = available_bytes()
    if left is not None and voxels * VOXEL_BYTES > left:
        raise MemoryError(f"about {voxels * VOXEL_BYTES / 1e6:.0f} MB are needed, {left / 1e6:.0f} MB are free")
