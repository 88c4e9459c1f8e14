"""Signals are answered whatever the process does at that moment, and whoever reads what it says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
RESUMABLE = {True: "interrupts.resumable('again')", False: "contextlib.nullcontext()"}


def ended(code: str, resumable: bool, stderr: int = subprocess.PIPE) -> int:
    program = (
        "import contextlib, os, signal, time; from reviewlm.core.processes import interrupts\n"
        f"with interrupts.watch_signals(), {RESUMABLE[resumable]}:\n{code}"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=stderr)
    try:
        return process.wait(timeout=30)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("resumable", [True, False])
def test_a_signal_while_the_main_thread_notes_what_it_does_ends_the_process(
    resumable: bool,
) -> None:
    code = (
        "    with interrupts._process.lock:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(0.2)\n"
        "    time.sleep(60)\n"
    )
    assert ended(code, resumable) == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_a_server_is_told_to_stop_and_gets_its_time(number: int) -> None:
    code = (
        "    import threading\n"
        "    told, begun = threading.Event(), time.monotonic()\n"
        "    with interrupts.drain_on_signal(told.set, 20):\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "        assert told.wait(5)\n"
        "        time.sleep(3.5)\n"  # longer than any other command gets
        "    open('/dev/stderr', 'w').close()\n"
    )
    assert ended(code, False) == 128 + number


IGNORED = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""What a shell does to the jobs in the background of a script."""


@pytest.mark.parametrize(
    ("hears", "code"), [("interrupts.hear_interrupt()", 128 + signal.SIGINT), ("pass", 0)]
)
def test_only_a_server_in_the_background_of_a_script_hears_an_interrupt(
    hears: str, code: int
) -> None:
    program = (
        f"import os, signal, time; {IGNORED}\n"
        "from reviewlm.core.processes import interrupts\n"
        f"with interrupts.watch_signals():\n    {hears}\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(0.5)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=30, check=False)
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
        code = "    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(60)\n"
        assert ended(code, resumable, stderr=writing) == 128 + signal.SIGTERM
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("resumable", [True, False])
def test_an_unfinished_file_is_removed_even_if_the_interrupt_is_lost_on_the_way(
    tmp_path: Path, resumable: bool
) -> None:
    """Python drops an exception that a signal handler raises while an object is being deleted."""
    code = (
        "    from pathlib import Path; from reviewlm.models.atomic_files import new_file\n"
        f"    with new_file(Path({str(tmp_path / 'out')!r})) as file:\n"
        "        with contextlib.suppress(KeyboardInterrupt):\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
        "            time.sleep(60)\n"
        "        time.sleep(60)\n"
    )
    assert ended(code, resumable) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
