"""The fault table: what a hospital, a platform or an attacker may do to the container, tried on process.py itself.

    python -m lab.evaluate.faults --out docs/faults

Every row starts a process of its own. A fault is survived when the exit code is the stated one, the last line on the
error stream is one sentence, no stack trace is the only message, and the output folder holds all files or none.
Faults that need a mount use a private mount namespace; where there is none, the row says that it was not tried.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lab.evaluate.fault_inputs import INPUTS, write_input
from spine.resources import output_sockets

ROOT = Path(__file__).resolve().parents[2]
CASE = ROOT / "test" / "input" / "lumbar"
TIMEOUT_S = 600
DONE, UNUSABLE, FAILED, STOPPED = 0, 2, 3, 143
READ_ONLY_TMP = "mount --bind /tmp /tmp && mount -o remount,ro,bind /tmp && mount -t tmpfs none {out}"
NAMESPACE = ("unshare", "--map-root-user", "--mount", "sh", "-c")


@dataclass(frozen=True)
class Fault:
    """One row: how the process is started and which exit codes are right."""

    name: str
    allowed: tuple[int, ...]
    prepare: Callable[[Path], dict[str, Any]]  # scratch folder -> keyword arguments of `attempt`
    tries: int = 1


def attempt(
    scratch: Path,
    flags: Sequence[str] = (),
    case: Path = CASE,
    mounts: str = "",
    environment: dict[str, str] | None = None,
    **more: Any,
) -> tuple[int, str, set[str]]:
    """(exit code, error stream, files in the output folder) of one run of process.py.

    `mounts` are shell commands run in a private mount namespace, where {out} is the output folder; `prefix` in
    `more` stands before the command, `stop_after_s` sends SIGTERM.
    """
    out = scratch / "out"
    out.mkdir(parents=True, exist_ok=True)
    command = [*more.get("prefix", ()), sys.executable, str(ROOT / "process.py"), "--input", str(case)]
    command += ["--output", str(out), "--runner", "cpu", *flags]
    if mounts:  # what is mounted over the output folder is seen from inside the namespace only: it is listed there
        script = f'{mounts.format(out=out)} && {{ "$@" >/dev/null; code=$?; cd {out} && find . -type f; exit $code; }}'
        command = [*NAMESPACE, script, "sh", *command]

    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **(environment or {})}, cwd=ROOT,
    )  # fmt: skip
    if "stop_after_s" in more:
        time.sleep(more["stop_after_s"])
        process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    if mounts:
        found = set(stdout.splitlines())
    else:
        found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    return process.returncode, stderr, found


def judge(fault: Fault, code: int, stderr: str, files: set[str]) -> str:
    """'' for a fault that was survived, else what was wrong."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    if code == -signal.SIGTERM and code in fault.allowed and not files:
        return ""  # ended by the signal while the interpreter started, before anybody listened
    if code not in fault.allowed:
        return f"exit code {code}: {lines[-1] if lines else 'no message'}"
    complete = len(output_sockets())
    if len(files) not in ((complete,) if code == DONE else (0,)):
        return f"{len(files)} files in the output folder"
    if code == DONE and lines:
        return f"a clean run wrote on the error stream: {lines[-1]}"
    if code != DONE and (not lines or not lines[-1].rstrip().endswith((".", "?"))):
        return "no sentence"
    return "a stack trace" if "Traceback" in stderr else ""


def copied_model(scratch: Path) -> Path:
    """A copy of the model folder to be spoilt."""
    shutil.copytree(ROOT / "model", scratch / "model", dirs_exist_ok=True)
    return scratch / "model"


def _spoilt_file(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], dict[str, Any]]:
    def prepare(scratch: Path) -> dict[str, Any]:
        model = copied_model(scratch)
        (model / name).write_bytes(change((model / name).read_bytes()))
        return {"flags": ("--model", str(model))}

    return prepare


def _spoilt_settings(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], dict[str, Any]]:
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


def _with(**arguments: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda scratch: arguments


def _input(name: str) -> Callable[[Path], dict[str, Any]]:
    return lambda scratch: {"case": write_input(name, CASE, scratch / "case")}


SURROUNDINGS: tuple[Fault, ...] = (
    Fault("sound case", (DONE,), _with()),
    Fault("output folder full (64 kB)", (FAILED,), _with(mounts="mount -t tmpfs -o size=64k none {out}")),
    Fault("output folder read-only", (FAILED,), _with(mounts="mount -t tmpfs -o ro none {out}")),
    Fault("largest file 300 bytes", (FAILED,), _with(prefix=("prlimit", "--fsize=300"))),
    Fault("/tmp read-only and TMPDIR missing", (DONE,),
          _with(mounts=READ_ONLY_TMP, environment={"TMPDIR": "/nowhere", "HOME": "/nowhere"})),
    Fault("/dev/shm of 64 kB", (DONE,), _with(mounts="mount -t tmpfs -o size=64k none /dev/shm")),
    Fault("address space of 1.2 GB", (DONE, FAILED), _with(prefix=("prlimit", "--as=1200000000"))),
    Fault("address space of 0.5 GB", (FAILED,), _with(prefix=("prlimit", "--as=500000000"))),
    Fault("SIGTERM after 0.5 s", (STOPPED, -signal.SIGTERM), _with(stop_after_s=0.5), 3),
    Fault("SIGTERM after 3 s", (STOPPED, DONE), _with(stop_after_s=3.0), 3),
    Fault("SIGTERM after 6 s", (STOPPED, DONE), _with(stop_after_s=6.0), 3),
    Fault("one core", (DONE,), _with(prefix=("taskset", "-c", "0"))),
    Fault("no AVX-512 in the convolutions", (DONE,), _with(environment={"ONEDNN_MAX_CPU_ISA": "AVX2"})),
    Fault("clock in 1980", (DONE,), _with(prefix=("faketime", "1980-01-01 00:00:00"))),
    Fault("model: one bit flipped", (FAILED,), _spoilt_file("segmenter.onnx", _flip)),
    Fault("model: half of the file", (FAILED,), _spoilt_file("segmenter.onnx", _half)),
    Fault("model: another network under its name", (FAILED,), _spoilt_settings(_grader_as_segmenter)),
    Fault("model: quality.json changed", (FAILED,), _spoilt_file("quality.json", _flip)),
    Fault("model: settings of another version", (FAILED,), _spoilt_settings(lambda settings: settings.update(extra=1))),
    Fault("model: settings without a group", (FAILED,), _spoilt_settings(lambda settings: settings.pop("quality"))),
    Fault("model: folder of another software", (FAILED,), _spoilt_file("settings.json", lambda content: b"\x89PNG")),
)  # fmt: skip


def all_faults() -> tuple[Fault, ...]:
    """Surroundings first, then inputs."""
    return (*SURROUNDINGS, *(Fault(f"input: {name}", (code,), _input(name)) for name, code in INPUTS.items()))


def try_fault(fault: Fault, scratch: Path) -> dict[str, Any]:
    """The row of `fault`: how often it was tried and survived, and the sentence that a user sees."""
    survived, sentence, wrong = 0, "", ""
    for number in range(fault.tries):
        own = Path(tempfile.mkdtemp(prefix=f"{number}-", dir=scratch))
        try:
            arguments = fault.prepare(own)
            program = (arguments.get("prefix") or (NAMESPACE if arguments.get("mounts") else (sys.executable,)))[0]
            if shutil.which(program) is None:
                return {
                    "fault": fault.name,
                    "tried": 0,
                    "survived": 0,
                    "said": f"not tried: there is no {program} here",
                }
            code, stderr, files = attempt(own, **arguments)
            if arguments.get("mounts") and stderr.startswith(("unshare:", "mount:")):
                return {"fault": fault.name, "tried": 0, "survived": 0, "said": "not tried: no mounts are allowed here"}
            wrong = judge(fault, code, stderr, files) or wrong
            survived += not judge(fault, code, stderr, files)
            silent = "all outputs, no message" if code == DONE else f"ended by signal {-code}, nothing written"
            sentence = (stderr.strip().splitlines() or [silent])[-1].replace(str(own), "")
        finally:
            shutil.rmtree(own, ignore_errors=True)
    return {"fault": fault.name, "tried": fault.tries, "survived": survived, "said": wrong or sentence}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = ["| fault | tried | survived | what the user sees (or what was wrong) |", "|---|---|---|---|"]
    for row in rows:
        said = row["said"].replace("|", "/").replace(str(ROOT) + "/", "")
        lines.append(f"| {row['fault']} | {row['tried']} | {row['survived']} | {said[:220]} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Try every fault, or those whose name holds `--only`, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="", help="faults whose name holds this text")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    from lab.evaluate.fault_serve import serve_rows

    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        chosen = [fault for fault in all_faults() if args.only in fault.name]
        rows = [try_fault(fault, Path(folder)) for fault in tqdm(chosen, unit="fault")]
        if not args.only:
            rows += serve_rows(Path(folder))
    (args.out / "table.md").write_text(table(rows), encoding="utf-8")
    print(table(rows))
    if any(row["survived"] < row["tried"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
