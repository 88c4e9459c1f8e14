"""Runs that a killed process has left are ended as soon as any command looks; those of an interrupted one at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from core.config.presets import load_config
from core.config.run_config import RunConfig
from core.processes.leftovers import hold, this_process
from reviewlm.options import tidy
from tasks.track import parent_run
from tracking.client import open_client
from tracking.logged_models.opening import tracker_at
from tracking.runs import open_runs
from tracking.runs.abandoned import HOUR, end_left_runs, end_unheld, left_marks
from tracking.runs.open_runs import end_open_runs, marks_of
from tracking.runs.publish import Sent
from tracking.runs.runs import Tracker
from tracking.tags import PROCESS

ROOT = Path(__file__).resolve().parents[3]
WRITER = """
import os, signal, sys
from pathlib import Path
from core.config.presets import load_config
from core.processes import leftovers
if sys.argv[2]:
    leftovers.this_machine = lambda: sys.argv[2]
from tracking.logged_models.opening import tracker_at
tracker = tracker_at(load_config(sys.argv[1], []))
for name in ("finished", "left"):
    run_id = tracker.start_run(name)
    if name == "finished":
        tracker.end_run(run_id)
if sys.argv[3:]:
    print("open", flush=True)
    sys.stdin.read()
os.kill(os.getpid(), signal.SIGKILL)
"""
CONTAINER = "container 4026531836 0b1c2d"
"""Name of another machine than this one: host, namespace of processes, boot."""
TINY = str(ROOT / "tests/flows/tiny.toml")


@pytest.fixture
def config(own_home: Path) -> RunConfig:
    return load_config(TINY, [])


def statuses(tracker: Tracker) -> dict[str, str]:
    found = open_client(tracker.uri).search_runs([tracker.experiment_id])
    return {run.info.run_name: run.info.status for run in found}


@pytest.mark.slow
@pytest.mark.drill("killed at any moment", "kill -9 of a command with open MLflow runs", "the next command ends them")
@pytest.mark.parametrize("machine", ["", CONTAINER])
def test_the_runs_of_a_killed_process_are_ended_by_whatever_command_comes_next(
    config: RunConfig, machine: str
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    writer = subprocess.run([sys.executable, "-c", WRITER, TINY, machine], env=environment)
    assert writer.returncode == -signal.SIGKILL
    assert statuses(tracker_at(config)) == {"finished": "FINISHED", "left": "RUNNING"}
    assert len(left_marks(config.home)) == 1
    tidy(config)
    assert statuses(tracker_at(config)) == {"finished": "FINISHED", "left": "KILLED"}
    assert list(marks_of(config.home).iterdir()) == []


@pytest.mark.slow
def test_the_next_run_of_a_worker_ends_those_of_a_killed_container(config: RunConfig) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", WRITER, TINY, CONTAINER], env=environment).returncode
    with parent_run(config, "retrain"):
        assert statuses(tracker_at(config))["left"] == "KILLED"


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["", CONTAINER])
def test_a_run_is_not_ended_while_its_process_lives_wherever_that_is(config: RunConfig, machine: str) -> None:
    """Its lock says so, here and in another container with the same home folder."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, TINY, machine, "wait"], env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert writer.stdin is not None
    assert writer.stdout is not None
    tracker = tracker_at(config)
    try:
        assert writer.stdout.readline() == b"open\n"
        (marks_of(config.home) / "of-another-process").touch()
        tidy(config)
        assert end_unheld(config, in_a_day()) == []
        assert statuses(tracker)["left"] == "RUNNING"
    finally:
        writer.stdin.close()
        writer.wait(60)
    assert len(end_unheld(config, in_a_day())) == 1
    assert statuses(tracker)["left"] == "KILLED"


def in_a_day() -> int:
    return time.time_ns() + 24 * HOUR


def test_a_run_that_another_process_has_gone_on_with_is_not_ended_for_the_first_one(config: RunConfig) -> None:
    tracker = tracker_at(config)
    run_id = tracker.start_run("resumed")
    [mark] = marks_of(config.home).iterdir()
    left = mark.read_text().replace(this_process(), f"{CONTAINER} 7 1")
    (marks_of(config.home) / "7-killed").write_text(left)
    end_left_runs(config)
    assert statuses(tracker) == {"resumed": "RUNNING"}
    assert list(marks_of(config.home).iterdir()) == [mark]
    tracker.end_run(run_id)


def test_open_runs_that_nobody_lists_are_ended_unless_a_living_process_may_write_them(config: RunConfig) -> None:
    """After a restore, the home has the runs of another machine and no file of a process."""
    tracker = tracker_at(config)
    mine = tracker.start_run("mine")
    [mark] = marks_of(config.home).iterdir()
    tracker.start_run("theirs", {PROCESS: f"{CONTAINER} 7 1"})
    mark.write_text("".join(mark.read_text().splitlines(keepends=True)[:1]))  # lists only the first
    assert end_unheld(config, time.time_ns()) == [], "it may have begun just now"
    unknown = marks_of(config.home) / "of-a-process-that-just-starts"
    descriptor = hold(unknown)
    assert descriptor is not None
    assert end_unheld(config, in_a_day()) == [], "it lists nothing, so it may write any run"
    os.close(descriptor)
    unknown.unlink()
    assert len(end_unheld(config, in_a_day())) == 1
    assert statuses(tracker) == {"mine": "RUNNING", "theirs": "KILLED"}
    tracker.end_run(mine)


def test_a_run_has_the_tag_of_its_process_and_a_mark_as_long_as_it_is_open(config: RunConfig) -> None:
    tracker = tracker_at(config)
    first, second = tracker.start_run("first"), tracker.start_run("second")
    assert tracker.tag(first, PROCESS) == this_process()
    assert len(list(marks_of(config.home).iterdir())) == 1
    assert left_marks(config.home) == []
    tracker.end_run(first)
    assert len(list(marks_of(config.home).iterdir())) == 1
    tracker.end_run(second)
    assert list(marks_of(config.home).iterdir()) == []


@pytest.mark.slow
def test_an_interrupted_process_ends_its_own_runs(config: RunConfig) -> None:
    tracker = tracker_at(config)
    done, parent = tracker.start_run("done"), tracker.start_run("parent")
    tracker.end_run(done)
    tracker.start_run("fit", None, parent)
    end_open_runs()
    assert statuses(tracker) == {"done": "FINISHED", "parent": "KILLED", "fit": "KILLED"}
    assert list(marks_of(config.home).iterdir()) == []


def test_without_anything_left_no_command_waits_for_mlflow(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("tracking.runs.abandoned.end_left_runs", asked.append)
    tidy(config)
    assert asked == []


@pytest.mark.slow
def test_while_mlflow_is_away_the_mark_stays(own_home: Path) -> None:
    config = load_config(TINY, ["execution.tracking_uri=http://127.0.0.1:9"])
    mark = marks_of(config.home) / "1-gone"
    mark.parent.mkdir(parents=True)
    mark.touch()
    tidy(config)
    assert mark.exists()


@pytest.mark.slow
def test_an_interrupt_waits_for_a_run_that_another_thread_is_starting(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_runs, "_starting", threading.RLock())  # the true one would be held until this process ends
    tracker = tracker_at(config)
    tracker.end_run(tracker.start_run("first"))  # which also connects, and may take seconds
    writing, answered = threading.Event(), threading.Event()
    write = tracker.write

    def slow(run: str, **part: Any) -> Sent:
        writing.set()
        answered.wait(10)
        return write(run, **part)

    monkeypatch.setattr(tracker, "write", slow)
    starter = threading.Thread(target=tracker.start_run, args=("late",))
    starter.start()
    assert writing.wait(10)
    ending = threading.Thread(target=open_runs.end_for_good)
    ending.start()
    ending.join(0.3)  # long enough to end what is open, if it did not wait
    answered.set()
    for thread in (starter, ending):
        thread.join(10)
    assert statuses(tracker) == {"first": "FINISHED", "late": "KILLED"}


def test_a_mark_that_may_not_be_read_hides_no_other(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = marks_of(config.home)
    folder.mkdir(parents=True)
    for name in ("a-colleagues", "left"):
        (folder / name).touch()

    def refusing(mark: Path) -> bool:
        if mark.name == "a-colleagues":
            raise PermissionError
        return False

    monkeypatch.setattr("tracking.runs.abandoned.is_held", refusing)
    assert left_marks(config.home) == [folder / "left"]
