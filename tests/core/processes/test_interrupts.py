"""Signals are answered whatever the process does at that moment, and whoever reads what it says."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.programs import command

ROOT = Path(__file__).resolve().parents[3]
RESUMABLE = {True: "resumable", False: "plain"}


def ended(
    moment: str,
    resumable: bool,
    argument: object = "",
    stderr: int = subprocess.PIPE,
) -> int:
    """Return the exit code of a process that gets a signal at a moment of `answer_signals`."""
    words = command("answer_signals", moment, RESUMABLE[resumable], argument)
    process = subprocess.Popen(words, cwd=ROOT, stderr=stderr)
    try:
        return process.wait(timeout=30)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("resumable", [True, False])
def test_a_signal_while_the_main_thread_notes_what_it_does_ends_the_process(
    resumable: bool,
) -> None:
    assert ended("notes", resumable) == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_a_server_gets_its_time_to_stop(number: int) -> None:
    assert ended("serves", False, int(number)) == 128 + number


@pytest.mark.parametrize(("hears", "code"), [("hears", 128 + signal.SIGINT), ("does not", 0)])
def test_only_a_server_in_the_background_of_a_script_hears_an_interrupt(
    hears: str, code: int
) -> None:
    words = command("interrupt_in_background", hears)
    done = subprocess.run(
        words,
        cwd=ROOT,
        timeout=30,
        check=False,
    )
    assert done.returncode == code


@pytest.mark.parametrize("resumable", [True, False])
def test_a_standard_error_that_nobody_reads_holds_no_process_back(resumable: bool) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 65536)
    except BlockingIOError:
        os.set_blocking(writing, True)
    try:
        assert ended("waits", resumable, stderr=writing) == 128 + signal.SIGTERM
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("resumable", [True, False])
def test_an_unfinished_file_is_removed_even_if_the_interrupt_is_lost_on_the_way(
    tmp_path: Path, resumable: bool
) -> None:
    """Python drops an exception that a signal handler raises while an object is being deleted."""
    assert ended("writes", resumable, tmp_path / "out") == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
