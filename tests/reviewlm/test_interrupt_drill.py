"""Ctrl-C in a real terminal, at every stage: one line, exit 130, nothing left running, and a rerun goes on."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from reviewlm.flows.server import private_server
from tests.reviewlm.drilled_terminal import Ended, Terminal

ROOT = Path(__file__).resolve().parent.parent.parent
TINY = "tests/flows/tiny.toml"
RUN = ("run", "--preset", TINY)
LONG_FIT = ("--set", "models.1.training.epochs=400")
HELD = (
    "read",
    "prepare",
    "vocabulary",
    "score",
    "audit",
    "confidence intervals",
    "register",
    "gate",
    "report",
)
MOST_SECONDS = 10
"""The clean-ups have 4.9 s in all, which a loaded machine stretches."""
RESUME = "run the same command to resume"


@contextmanager
def started(
    home: Path,
    stage: str,
    hold: bool,
    *arguments: str,
) -> Iterator[tuple[Terminal, Callable[[], bool]]]:
    """Yield a terminal in which a run has just begun, and the question whether it is in a stage by now."""
    mark = home.parent / f"mark-{time.monotonic_ns()}"
    program = [
        str(ROOT / "tests/reviewlm/drilled_run.py"),
        stage,
        "hold" if hold else "go",
        str(mark),
        *arguments,
    ]
    own = {
        "REVIEWLM_HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "PYTHONPATH": str(ROOT),
    }
    terminal = Terminal(program, own, ROOT)
    try:
        yield terminal, mark.exists
    finally:
        terminal.close()


def statuses(home: Path) -> list[str]:
    """Return the status of every MLflow run of a home folder."""
    if not (home / "mlflow.db").exists():
        return []
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        return [status for (status,) in database.execute("SELECT status FROM runs")]


def flow_states(home: Path) -> list[str]:
    """Return the state of every flow run in Prefect's database of a home folder."""
    with closing(sqlite3.connect(home / "prefect" / "prefect.db")) as database:
        return [state for (state,) in database.execute("SELECT state_type FROM flow_run")]


def check(
    ended: Ended,
    line: str,
    code: int = 130,
) -> None:
    assert ended.left == []
    assert [bool(re.fullmatch(line, said)) for said in ended.lines] == [True], ended
    assert ended.code == code
    assert ended.seconds < MOST_SECONDS
    sys.__stderr__.write(f"\n| {ended.lines[0]} | {ended.code} | {ended.seconds:.2f} s |")


def interrupted_in(
    home: Path,
    stage: str,
    hold: bool = True,
    ready: Callable[[Terminal], bool] | None = None,
    arguments: tuple[str, ...] = RUN,
) -> Ended:
    with started(home, stage, hold, *arguments) as (terminal, reached):
        terminal.wait_for(reached)
        if ready is not None:
            terminal.wait_for(lambda: ready(terminal))
        return terminal.press()


def runs(*words: str) -> Callable[[Terminal], bool]:
    """Return the question whether the program has a child with these words in its command line."""
    return lambda terminal: any(
        set(words) <= set(process.cmdline()) for process in terminal.processes()
    )


def fits(terminal: Terminal) -> bool:
    """Return whether the program has the process of a fit, which is a fork."""
    return any(process.name().startswith("fit ") for process in terminal.processes())


def serves(terminal: Terminal) -> bool:
    """Return whether the program has its Prefect server: a fork of it, or a child of its own."""
    forked = any(process.name() == private_server.FORKED for process in terminal.processes())
    return forked or runs(private_server.PROGRAM)(terminal)


@pytest.mark.drill(
    "cancelled", "Ctrl-C while the server starts", "exit code 130; no process is left"
)
@pytest.mark.long
def test_ctrl_c_while_the_server_starts(tmp_path: Path) -> None:
    with started(tmp_path / "home", "none", False, *RUN) as (terminal, _):
        terminal.wait_for(lambda: serves(terminal))
        check(terminal.press(), f"Interrupted during start-up; {RESUME}")


@pytest.mark.drill(
    "cancelled", "Ctrl-C in a fit", "exit code 130; no process is left; runs are ended"
)
@pytest.mark.long
def test_ctrl_c_during_a_fit(tmp_path: Path) -> None:
    home = tmp_path / "home"
    ended = interrupted_in(
        home,
        "fit lstm",
        False,
        fits,
        (*RUN, *LONG_FIT),
    )
    check(ended, f"Interrupted during .*fit .*; {RESUME}")  # the floor may be estimated beside it
    assert "RUNNING" not in statuses(home)
    assert "KILLED" in statuses(home)
    assert {"RUNNING", "PENDING"}.isdisjoint(flow_states(home))
    assert "CRASHED" in flow_states(home)


@pytest.mark.drill(
    "cancelled",
    "Ctrl-C in every stage of one run",
    "exit code 130 each time; the last run completes",
)
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_ctrl_c_at_every_stage_of_one_run_that_is_resumed_each_time(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with started(home, "none", False, *RUN) as (terminal, _):
        terminal.wait_for(lambda: "starting" in terminal.text())
        time.sleep(0.5)
        # While the frameworks are imported.
        check(terminal.press(), f"Interrupted during start-up; {RESUME}")
    for stage in HELD[:3]:
        check(interrupted_in(home, stage), f"Interrupted during .*{stage}.*; {RESUME}")
    check(interrupted_in(home, "fit kn2", False), f"Interrupted during .*fit kn2.*; {RESUME}")
    journals = lambda terminal: bool(list(home.glob("store/.work/*/metrics.jsonl")))  # noqa: E731
    ended = interrupted_in(
        home,
        "fit lstm",
        False,
        journals,
        (*RUN, *LONG_FIT),
    )
    check(ended, f"Interrupted during .*fit .*; {RESUME}")
    with started(
        home,
        "fit lstm",
        False,
        *RUN,
        *LONG_FIT,
    ) as (terminal, reached):
        terminal.wait_for(reached)
        terminal.wait_for(lambda: fits(terminal))
        check(terminal.kill(signal.SIGTERM), f"Terminated during .*fit .*; {RESUME}", 143)
    for stage in HELD[3:7]:
        check(interrupted_in(home, stage), f"Interrupted during .*{stage}.*; {RESUME}")
    smoke = lambda terminal: any("smoke.py" in " ".join(p.cmdline()) for p in terminal.processes())  # noqa: E731
    check(
        interrupted_in(home, "smoke test", False, smoke),
        f"Interrupted during .*smoke test; {RESUME}",
    )
    for stage in HELD[7:]:
        check(interrupted_in(home, stage), f"Interrupted during .*{stage}.*; {RESUME}")
    assert "RUNNING" not in statuses(home)
    with started(home, "none", False, *RUN) as (terminal, _):
        assert terminal.wait_for_end() == 0, terminal.text()[-3000:]
        assert "is the champion" in terminal.text()
        assert terminal.processes() == []


@pytest.mark.drill(
    "killed at any moment",
    "kill -9 of `reviewlm run` in a fit",
    "the next command ends its runs and removes its files",
)
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_what_kill_nine_leaves_is_gone_after_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    with started(
        home,
        "fit lstm",
        False,
        *RUN,
        *LONG_FIT,
    ) as (terminal, reached):
        terminal.wait_for(reached)
        terminal.wait_for(lambda: fits(terminal))
        family = terminal.processes()
        assert len(family) > 2  # with the server and fits
        terminal.kill(signal.SIGKILL)
        assert psutil.wait_procs(family, timeout=20)[1] == []
    assert "RUNNING" in statuses(home)
    assert list(temporary.iterdir())
    with started(
        home,
        "none",
        False,
        "history",
        "--preset",
        TINY,
    ) as (terminal, _):
        terminal.wait_for_end()
    assert "RUNNING" not in statuses(home)
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_a_verb_that_is_no_run_takes_back_its_unfinished_file(tmp_path: Path) -> None:
    out = tmp_path / "out" / "reviews.jsonl"
    out.parent.mkdir()
    arguments = ("data", "synth", "--reviews", "3000000", "--out", str(out))
    folder = out.parent
    with started(tmp_path / "home", "none", False, *arguments) as (terminal, _):
        terminal.wait_for(lambda: any(file.stat().st_size for file in folder.iterdir()))
        check(terminal.press(), "Interrupted")
    assert not any(folder.iterdir())


@pytest.mark.slow
def test_a_second_ctrl_c_ends_the_process_at_once(tmp_path: Path) -> None:
    code = (
        "import time; from reviewlm.core.processes import interrupts\n"
        "with interrupts.watch_signals(), interrupts.resumable('resume'):\n"
        "    interrupts.at_interrupt(lambda: time.sleep(600))\n"
        "    interrupts.GRACE = 600; print('ready', flush=True); time.sleep(600)"
    )
    program = tmp_path / "program.py"
    program.write_text(code)
    terminal = Terminal([str(program)], {"PYTHONPATH": str(ROOT)}, tmp_path)
    try:
        terminal.wait_for(lambda: "ready" in terminal.text())
        os.write(terminal.master, b"\x03")
        terminal.wait_for(lambda: "Interrupted" in terminal.text())
        ended = terminal.press()
        assert (ended.code, ended.lines, ended.left) == (130, [], [])
    finally:
        terminal.close()
