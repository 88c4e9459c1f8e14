"""A command is never silent for long: a line says what it does, and is gone before anything else is written."""

from __future__ import annotations

import importlib
import io
import re
from pathlib import Path

import pytest

from reviewlm.boundary import run_verb
from reviewlm.core.processes import standard_streams as room
from reviewlm.core.processes.interrupts import during, idle, work_in_progress
from reviewlm.core.processes.standard_streams import CLEAR, WaitingLine


class Screen(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(room.time, "monotonic", lambda: now[0])
    monkeypatch.setenv("TERM", "xterm")
    return now


def silent(
    line: WaitingLine,
    clock: list[float],
    seconds: int,
) -> None:
    for _ in range(seconds):
        clock[0] += 1
        line.show_if_due()


def write(
    line: WaitingLine,
    screen: Screen,
    text: str,
) -> None:
    with line.away(text):
        screen.write(text)


def test_a_terminal_shows_within_two_seconds_what_is_done_while_nothing_of_it_stays(
    clock: list[float],
) -> None:
    line = WaitingLine(screen := Screen(terminal=True), lambda: "gate")
    silent(line, clock, 2)
    assert screen.getvalue() == f"{CLEAR}gate, 2 s"
    silent(line, clock, 3)
    assert screen.getvalue().endswith(f"{CLEAR}gate, 5 s")
    write(line, screen, "decided\n")
    assert screen.getvalue().endswith(f"{CLEAR}decided\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password: ", False),
        ("a line\n", True),
        ("a bar \x1b[1m100%\x1b[0m", False),
        ("a bar\r\x1b[2K\x1b[?25h", True),
        ("a bar\r\x1b[2K again", False),
    ],
)
def test_half_a_line_is_not_written_over(
    text: str,
    shown: bool,
    clock: list[float],
) -> None:
    line = WaitingLine(screen := Screen(terminal=True), lambda: "gate")
    write(line, screen, text)
    silent(line, clock, 9)
    assert ("gate" in screen.getvalue()) == shown


def test_a_server_that_waits_for_requests_is_silent(clock: list[float]) -> None:
    silent(WaitingLine(screen := Screen(terminal=True), str), clock, 99)
    assert not screen.getvalue()


def test_who_waits_for_others_is_silent_until_it_works() -> None:
    with idle():
        assert work_in_progress("services start") == ""
        with during("starting: MLflow server"):
            assert work_in_progress("services start") == "starting: MLflow server"
    assert work_in_progress("services start")


def test_a_file_gets_a_few_whole_lines(clock: list[float]) -> None:
    silent(WaitingLine(screen := Screen(terminal=False), lambda: "gate"), clock, 600)
    assert re.findall(r"  gate \(no other news for (\d+) s\)\n", screen.getvalue()) == [
        "5",
        "10",
        "20",
        "40",
        "80",
        "160",
        "320",
    ]


def test_a_command_says_that_it_works(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(room, "FILE_SECONDS", -1.0)
    looked = room.threading.Event()
    show_if_due = WaitingLine.show_if_due

    def noted(line: WaitingLine) -> None:
        show_if_due(line)
        looked.set()

    monkeypatch.setattr(WaitingLine, "show_if_due", noted)
    assert run_verb(lambda: looked.wait(60) and None, []) == 0
    assert "still working" in capsys.readouterr().err


def test_the_seconds_before_the_command_could_say_anything_count(clock: list[float]) -> None:
    line = WaitingLine(screen := Screen(terminal=True), lambda: "gate", began_before=7)
    line.show_if_due()
    assert "gate, 7 s" in screen.getvalue()


def test_a_command_names_the_library_that_it_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine an import takes many seconds."""
    (tmp_path / "slow_library.py").write_text("import inner_library\n")
    (tmp_path / "inner_library.py").write_text(
        "from reviewlm.core.processes import interrupts\nsaid = interrupts.work_in_progress('run')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert work_in_progress("run") == "run: still working"
    library = importlib.import_module("slow_library")
    assert library.inner_library.said == "loading slow_library"
    with during("gate"):
        assert work_in_progress("run") == "gate"
