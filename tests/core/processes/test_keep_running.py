"""A service that fails is started again; one that ends by itself, is stopped or cannot start is not."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.programs import command, path_of


def keeper(folder: Path) -> subprocess.Popen[str]:
    """Keep a program running, which notes each of its starts in the file `starts`."""
    words = command("keep_program_running", 0.05, path_of("note_start"), folder)
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)


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
    process = keeper(tmp_path)
    time.sleep(0.3)
    os.kill(wait_for(tmp_path, 1)[0], signal.SIGKILL)
    assert len(set(wait_for(tmp_path, 2))) == 2
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)


def test_a_program_that_cannot_start_is_not_started_again(tmp_path: Path) -> None:
    file = tmp_path / "none.py"
    process = subprocess.Popen(command("keep_program_running", 60, file))
    assert process.wait(timeout=60) == 1


@pytest.mark.parametrize(
    "whole_family", [True, False], ids=["the whole family", "the keeper alone"]
)
def test_a_program_that_is_stopped_is_not_started_again(tmp_path: Path, whole_family: bool) -> None:
    process = keeper(tmp_path)
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    if whole_family:
        os.kill(starts(tmp_path)[0], signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == (3 if whole_family else -signal.SIGALRM)
    assert len(starts(tmp_path)) == 1
