"""A service that fails is started again; one that ends by itself, is stopped or cannot start is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
KEEPER = """
import sys
from core.processes import keep_running
keep_running.PROVEN_SECONDS, keep_running.OWN_SECONDS = 0.05, 0.5
keep_running.SHORTEST_PAUSE, keep_running.LONGEST_PAUSE = 0.05, 0.2
sys.exit(keep_running.keep_running(sys.argv[1:]))
"""


def keeper(folder: Path, program: str) -> subprocess.Popen[str]:
    """Run a program, which notes each of its starts in the file `starts`."""
    file = folder / "program.py"
    file.write_text(f"""
import os, sys, time
with open({str(folder / "starts")!r}, "a") as log:
    print(os.getpid(), file=log, flush=True)
starts = len(open({str(folder / "starts")!r}).readlines())
time.sleep(0.1)
{program}
""")
    return subprocess.Popen([sys.executable, "-c", KEEPER, str(file)], stderr=subprocess.PIPE, text=True)


def starts(folder: Path) -> list[int]:
    file = folder / "starts"
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(folder: Path, number: int) -> list[int]:
    until = time.monotonic() + 60
    while len(starts(folder)) < number:
        assert time.monotonic() < until
        time.sleep(0.02)
    return starts(folder)


def test_a_program_that_is_killed_is_started_again(tmp_path: Path) -> None:
    process = keeper(tmp_path, "time.sleep(60)")
    time.sleep(0.3)
    os.kill(wait_for(tmp_path, 1)[0], signal.SIGKILL)
    assert len(set(wait_for(tmp_path, 2))) == 2
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)


def test_a_program_that_cannot_start_is_left_alone_and_its_code_is_told(tmp_path: Path) -> None:
    file = tmp_path / "none.py"
    process = subprocess.Popen([sys.executable, "-c", KEEPER.replace("0.05, 0.5", "60, 0.5"), str(file)])
    assert process.wait(timeout=60) == 1


@pytest.mark.parametrize("whole_family", [True, False], ids=["the whole family", "the keeper alone"])
def test_a_program_that_is_stopped_is_not_started_again_and_gets_the_signal_once(
    tmp_path: Path, whole_family: bool
) -> None:
    process = keeper(tmp_path, f"""
import signal
def note(*_):
    open({str(tmp_path / "signals")!r}, "a").write("x")
    time.sleep(0.2)
    raise SystemExit(3)
signal.signal(signal.SIGTERM, note)
open({str(tmp_path / "ready")!r}, "w").close()
time.sleep(60)
""")
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    if whole_family:
        os.kill(starts(tmp_path)[0], signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 3
    assert len(starts(tmp_path)) == 1
    assert (tmp_path / "signals").read_text() == "x"


@pytest.mark.slow
def test_the_log_of_a_program_that_runs_for_months_stays_small_and_keeps_what_came_last(tmp_path: Path) -> None:
    """The program writes 60 lines, with pauses, into a log of about ten lines, and is started again in between."""
    log, program = tmp_path / "service.log", tmp_path / "program.py"
    program.write_text(f"""
import sys, time
began = open({str(tmp_path / "starts")!r}, "a")
began.write("x"); began.close()
starts = len(open({str(tmp_path / "starts")!r}).read())
for number in range(30):
    print(f"line {{30 * starts - 30 + number:03d}} of the log", flush=True)
    time.sleep(0.05)
sys.exit(1 if starts < 2 else 0)
""")
    keeper = KEEPER.replace("sys.exit(", "keep_running.LOOK_SECONDS = 0.02\nsys.exit(").replace(
        "keep_running.keep_running(", "keep_running.main(")
    with log.open("ab") as output:
        words = [sys.executable, "-c", keeper, "--log", str(log), "180", str(program)]
        assert subprocess.run(words, stdout=output, stderr=output, timeout=60).returncode == 0
    old = (tmp_path / "service.log.1").read_text()
    numbers = [int(line[5:8]) for line in (old + log.read_text()).splitlines() if line.startswith("line")]
    assert numbers == list(range(numbers[0], 60)), "no line is lost between the two files"
    assert 0 < numbers[0] < 59
