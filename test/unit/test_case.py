"""One case to one sentence: when a signal may end it, and what is said to streams that cannot be written."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spine import write
from spine.case import DONE, INTERRUPTED, SOFTWARE_FAILED, TERMINATED, Progress, Stop, Stopped, explain, run_case, say

RAISED = {signal.SIGTERM: TERMINATED, signal.SIGINT: INTERRUPTED}


@pytest.fixture
def stop():
    """A process that listens, with its own handlers put back afterwards."""
    # A shell's background process is started with SIGINT ignored, and the software leaves an ignored signal alone.
    before = {number: signal.signal(number, signal.SIG_DFL) for number in RAISED}
    listening = Stop(at_once=True)
    listening.listen()
    yield listening
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", RAISED)
def test_a_signal_ends_the_case_it_meets(tmp_path, stop, number):
    def work():
        (tmp_path / ".partial-x").mkdir()
        signal.raise_signal(number)
        pytest.fail("the case went on")

    outcome = run_case(work, tmp_path, Progress(stop))
    assert outcome.exit_code == RAISED[number]
    assert outcome.sentence.endswith("in loading the models: no results were written.")
    assert list(tmp_path.iterdir()) == []


def test_a_signal_before_the_case_keeps_it_from_starting(tmp_path, stop):
    signal.raise_signal(signal.SIGTERM)
    outcome = run_case(lambda: pytest.fail("it started"), tmp_path, Progress(stop))
    assert outcome.exit_code == TERMINATED


def test_a_signal_does_not_disturb_cleaning_up(tmp_path, stop, monkeypatch):
    def discard(folder, _discard=write.discard_outputs):
        signal.raise_signal(signal.SIGTERM)
        _discard(folder)

    monkeypatch.setattr(write, "discard_outputs", discard)
    (tmp_path / ".partial-x").mkdir()
    outcome = run_case(lambda: 1 / 0, tmp_path, Progress(stop))
    assert (outcome.exit_code, outcome.sentence) == (
        SOFTWARE_FAILED,
        "The software failed in loading the models: ZeroDivisionError: division by zero.",
    )
    assert list(tmp_path.iterdir()) == []


def test_a_signal_after_the_case_changes_nothing(tmp_path, stop):
    outcome = run_case(lambda: "report", tmp_path, Progress(stop))
    signal.raise_signal(signal.SIGTERM)
    assert (outcome.exit_code, outcome.report, stop.wanted) == (DONE, "report", True)


def test_a_second_signal_changes_nothing(tmp_path, stop):
    def work():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)

    assert run_case(work, tmp_path, Progress(stop)).exit_code == TERMINATED


def test_a_server_hears_a_signal_without_an_exception():
    """Its case runs in another thread than the handler, and sees the wish at its next stage."""
    server = Stop()
    with server.interruptible():
        server._end(signal.SIGTERM, None)
    assert server.wanted
    with pytest.raises(Stopped):
        Progress(server)("segment")


def test_what_the_parent_had_ignored_stays_ignored(stop):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Stop(at_once=True).listen()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_a_stream_that_is_full_or_knows_few_characters_is_no_fault(tmp_path):
    say(None, "x")
    say(memory := io.StringIO(), "x")
    assert memory.getvalue() == "x"
    with (tmp_path / "told").open("w", encoding="ascii") as stream:
        say(stream, "L5\N{BONE}\udcff\n")
    assert (tmp_path / "told").read_text() == "L5\\U0001f9b4\\udcff\n"
    if not os.path.exists("/dev/full"):
        pytest.skip(f"{sys.platform} has no /dev/full")
    with open("/dev/full", "w", encoding="utf-8") as full:
        say(full, "x")


@pytest.mark.parametrize(
    ("stage", "fault", "said"),
    [
        ("segment", ValueError("too few"), "The software failed in segment: ValueError: too few."),
        ("read", ValueError("'Doe^Jane' is no number"), "The software failed in read: ValueError."),
        ("export", KeyError("Doe^Jane"), "The software failed in export: KeyError."),
        ("report", OSError(5, "Input/output error", "/input/Doe.mha"),
         "The software failed in report: OSError: Input/output error."),
    ],
)  # fmt: skip
def test_what_nobody_foresaw_does_not_name_the_patient(stage, fault, said):
    assert explain(fault, stage) == (SOFTWARE_FAILED, said)


def test_no_file_takes_the_place_of_a_closed_stream():
    code = "import os; from spine.case import reserve_streams; reserve_streams(); os._exit(os.open('/dev/null', 0))"
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode == 3
