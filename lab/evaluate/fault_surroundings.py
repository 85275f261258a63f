"""Rows of the fault table around a sound case: disk, folders, memory, clock, processor, streams, model files."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lab.evaluate.fault_attempt import DONE, FAILED, ROOT, STOPPED, Fault, with_arguments
from lab.evaluate.fault_signals import small_input

READ_ONLY_TMP = "mount --bind /tmp /tmp && mount -o remount,ro,bind /tmp && mount -t tmpfs none {out}"
TINY_TMP = "mount -t tmpfs none {out} && mkdir {out}/../tiny && mount -t tmpfs -o size=4k none {out}/../tiny"
# Levels at which chance decides where a case meets its end; each is a try.
FILE_LIMITS_BYTES = (0, 100, 300, 1_000, 3_000, 10_000, 30_000, 60_000, 100_000, 200_000)
DISK_SIZES_KB = tuple(range(4, 400, 36))
ADDRESS_SPACES_MB = tuple(range(200, 2_001, 200))
DAY_S = 86_400


def copied_model(scratch: Path) -> Path:
    """A copy of the model folder to be spoilt."""
    shutil.copytree(ROOT / "model", scratch / "model", dirs_exist_ok=True)
    return scratch / "model"


def _spoilt_file(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path, int], dict[str, Any]]:
    def prepare(scratch: Path, number: int) -> dict[str, Any]:
        model = copied_model(scratch)
        (model / name).write_bytes(change((model / name).read_bytes()))
        return {"flags": ("--model", str(model))}

    return prepare


def _spoilt_settings(change: Callable[[dict[str, Any]], None]) -> Callable[[Path, int], dict[str, Any]]:
    def edit(content: bytes) -> bytes:
        settings = json.loads(content)
        change(settings)
        return json.dumps(settings).encode()

    return _spoilt_file("settings.json", edit)


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _grader_as_segmenter(settings: dict[str, Any]) -> None:
    settings["segmenter"].update(file=settings["grader"]["file"], sha256=settings["grader"]["sha256"])


def _levels(values: Sequence[int], make: Callable[[int], dict[str, Any]]) -> Callable[[Path, int], dict[str, Any]]:
    """The n-th try takes the n-th of `values`, with a small case."""
    return lambda scratch, number: {"case": small_input(scratch), **make(values[number])}


def _span(values: Sequence[int]) -> str:
    return f"{values[0]} to {values[-1]}"


def _link_as_output(scratch: Path, number: int) -> dict[str, Any]:
    """The output folder is a link to another, as the platform's /input is."""
    (scratch / "elsewhere").mkdir()
    (scratch / "out").symlink_to(scratch / "elsewhere")
    return {}


def _dangling_output(scratch: Path, number: int) -> dict[str, Any]:
    (scratch / "out").symlink_to(scratch / "nowhere")
    return {"make_out": False}


def _file_as_output(scratch: Path, number: int) -> dict[str, Any]:
    (scratch / "out").write_text("x")
    return {"make_out": False, "ours": 1}


def _tiny_tmp(scratch: Path, number: int) -> dict[str, Any]:
    return {"mounts": TINY_TMP, "environment": {"TMPDIR": str(scratch / "tiny"), "HOME": str(scratch / "tiny")}}


def faketime_library() -> Path | None:
    """The preloaded library that changes what a process takes for the time; from the package libfaketime."""
    found = find_spec("libfaketime")
    places = found.submodule_search_locations if found else None
    paths = (Path(place) / "vendor" / "libfaketime" / "src" / "libfaketime.so.1" for place in places or ())
    return next((path for path in paths if path.is_file()), None)


def _clock(jumps_s: tuple[float, ...], every_s: float = 0.2) -> Callable[[Path, int], dict[str, Any]]:
    """The date jumps by each of `jumps_s` in turn while the case runs; the monotonic clock goes on."""

    def prepare(scratch: Path, number: int) -> dict[str, Any]:
        library = faketime_library()
        if library is None:
            return {"prefix": ("libfaketime",)}  # not there: the row says so
        rules = scratch / "time"
        rules.write_text("+0")
        environment = {
            "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(rules), "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1", "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }  # fmt: skip

        def turn(process: subprocess.Popen[str]) -> None:
            step = 0
            while process.poll() is None:
                rules.write_text(f"{jumps_s[step % len(jumps_s)]:+.0f}")
                step += 1
                time.sleep(every_s)

        return {"environment": environment, "beside": turn}

    return prepare


def _emulated(processor: str) -> Callable[[Path, int], dict[str, Any]]:
    """A small case on an emulated processor: instructions that it lacks end a process that uses them."""
    return lambda scratch, number: {"prefix": ("qemu-x86_64", "-cpu", processor), "case": small_input(scratch)}


def _prefix(*words: str) -> Callable[[Path, int], dict[str, Any]]:
    return with_arguments(prefix=words)


MODEL_FAULTS: tuple[Fault, ...] = (
    Fault("model: one bit flipped", (FAILED,), _spoilt_file("segmenter.onnx", _flip)),
    Fault("model: half of the file", (FAILED,), _spoilt_file("segmenter.onnx", _half)),
    Fault("model: another network under its name", (FAILED,), _spoilt_settings(_grader_as_segmenter)),
    Fault("model: quality.json changed", (FAILED,), _spoilt_file("quality.json", _flip)),
    Fault("model: settings of another version", (FAILED,), _spoilt_settings(lambda settings: settings.update(extra=1))),
    Fault("model: settings without a group", (FAILED,), _spoilt_settings(lambda settings: settings.pop("quality"))),
    Fault("model: folder of another software", (FAILED,), _spoilt_file("settings.json", lambda content: b"\x89PNG")),
)

SURROUNDINGS: tuple[Fault, ...] = (
    Fault("sound case", (DONE,), with_arguments()),
    Fault(f"output folder full at {_span(DISK_SIZES_KB)} kB", (FAILED, DONE),
          _levels(DISK_SIZES_KB, lambda kb: {"mounts": f"mount -t tmpfs -o size={kb}k none {{out}}"}),
          len(DISK_SIZES_KB)),
    Fault(f"no file larger than {_span(FILE_LIMITS_BYTES)} bytes", (FAILED, DONE),
          _levels(FILE_LIMITS_BYTES, lambda size: {"prefix": ("prlimit", f"--fsize={size}")}), len(FILE_LIMITS_BYTES)),
    Fault("no inodes left in the output folder", (FAILED,),
          with_arguments(mounts="mount -t tmpfs -o nr_inodes=4 none {out}")),
    Fault("output folder read-only", (FAILED,), with_arguments(mounts="mount -t tmpfs -o ro none {out}")),
    Fault("output folder is a link to a folder", (DONE,), _link_as_output),
    Fault("output folder is a link to nothing", (FAILED,), _dangling_output),
    Fault("output folder is a file", (FAILED,), _file_as_output),
    Fault("/tmp read-only and TMPDIR missing", (DONE,),
          with_arguments(mounts=READ_ONLY_TMP, environment={"TMPDIR": "/nowhere", "HOME": "/nowhere"})),
    Fault("folder for temporary files of 4 kB", (DONE,), _tiny_tmp),
    Fault("/dev/shm of 64 kB", (DONE,), with_arguments(mounts="mount -t tmpfs -o size=64k none /dev/shm")),
    Fault(f"address space of {_span(ADDRESS_SPACES_MB)} MB", (DONE, FAILED),
          _levels(ADDRESS_SPACES_MB, lambda mb: {"prefix": ("prlimit", f"--as={mb}000000")}), len(ADDRESS_SPACES_MB)),
    Fault("at most 8 threads and processes more", (DONE, FAILED), _prefix("prlimit", "--nproc=8"), 1),
    Fault("at most 30 open files", (DONE, FAILED), _prefix("prlimit", "--nofile=30"), 1),
    Fault("SIGTERM after 0.5 s", (STOPPED, -signal.SIGTERM), with_arguments(stop_after_s=0.5), 3),
    Fault("one core", (DONE,), _prefix("taskset", "-c", "0"), 3),
    Fault("OpenVINO's convolutions held to AVX2", (DONE,), with_arguments(environment={"ONEDNN_MAX_CPU_ISA": "AVX2"})),
    Fault("processor without AVX-512 (Haswell, emulated)", (DONE,), _emulated("Haswell")),
    Fault("processor without AVX2 (Nehalem, emulated)", (DONE,), _emulated("Nehalem")),
    Fault("date of 1980", (DONE,), _clock((-46 * 365.25 * DAY_S,))),
    Fault("date jumps a day back and forth", (DONE,), _clock((0.0, -DAY_S, DAY_S)), 3),
    Fault("standard output full", (DONE,), _prefix("sh", "-c", 'exec "$@" >/dev/full', "sh")),
    Fault("standard output and error closed", (DONE,), _prefix("sh", "-c", 'exec "$@" >&- 2>&-', "sh")),
    *MODEL_FAULTS,
)  # fmt: skip
