"""Runs that a killed process has left are ended as soon as any command looks; those of an interrupted one at once."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from shutil import copytree

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.sqlite_files import home_database
from reviewlm.options import tidy
from reviewlm.tracking.client import open_client
from reviewlm.tracking.registry.locating import tracker_at
from reviewlm.tracking.runs.record import Record, Records, open_locks
from reviewlm.tracking.runs.runs import Tracker, end_left_runs, end_open_runs
from reviewlm.tracking.tags import OUTCOME
from tests.programs import command

ROOT = Path(__file__).resolve().parents[3]
TINY = str(ROOT / "tests/flows/tiny.toml")


@pytest.fixture
def config(own_home: Path) -> RunConfig:
    return load_config(TINY, [])


def statuses(tracker: Tracker) -> dict[str, str]:
    found = open_client(tracker.uri).search_runs([tracker.experiment_id])
    return {run.info.run_name: run.info.status for run in found}


@pytest.mark.slow
@pytest.mark.drill(
    "killed at any moment",
    "kill -9 of a command with open MLflow runs",
    "the next command ends them",
)
def test_the_runs_of_a_killed_process_are_ended_by_whatever_command_comes_next(
    config: RunConfig,
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    writer = subprocess.run(command("leave_runs_open", TINY), env=environment)
    assert writer.returncode == -signal.SIGKILL
    assert statuses(tracker_at(config.workspace)) == {"finished": "FINISHED", "left": "RUNNING"}
    assert len(open_locks(config.home, held=False)) == 1
    tidy(config.home)
    assert statuses(tracker_at(config.workspace)) == {
        "finished": "FINISHED",
        "killed left": "KILLED",
    }
    assert not any((config.home / "runs").rglob("open.lock"))


@pytest.mark.slow
def test_a_run_is_not_ended_while_its_process_lives(config: RunConfig) -> None:
    """Its lock says so, here and in another container with the same home folder."""
    writer = subprocess.Popen(
        command("leave_runs_open", TINY, "wait"),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    tracker = tracker_at(config.workspace)
    try:
        assert writer.stdout.readline() == b"open\n"
        tidy(config.home)
        assert statuses(tracker)["left"] == "RUNNING"
    finally:
        writer.stdin.close()
        writer.wait(60)
    tidy(config.home)
    assert statuses(tracker)["killed left"] == "KILLED"


def test_a_restored_home_without_locks_ends_the_runs_of_its_own_store(tmp_path: Path) -> None:
    run = Record("run", "reviewlm", open=True)
    assert Records(tmp_path, home_database(tmp_path)).is_left(run)


def test_a_restored_home_without_locks_leaves_the_runs_of_a_shared_store(tmp_path: Path) -> None:
    run = Record("run", "reviewlm", open=True)
    assert not Records(tmp_path, "http://mlflow.invalid:5000").is_left(run)


def test_a_copy_of_a_home_does_not_end_the_runs_that_its_original_has_open(tmp_path: Path) -> None:
    shared = "http://mlflow.invalid:5000"
    (home := tmp_path / "home").mkdir()
    # It waits, since nobody answers.
    run = Tracker(shared, "reviewlm", home / "mlartifacts").start_run("run")
    left = [
        records.is_left(record)
        for place in (home, copytree(home, tmp_path / "copy"))
        if (record := (records := Records(place, shared)).read(run)) is not None
    ]
    assert left == [False, False]
    end_open_runs()


def test_a_run_that_was_deleted_in_mlflow_is_forgotten(config: RunConfig) -> None:
    tracker = tracker_at(config.workspace)
    run_id = tracker.start_run("run")
    (tracker.records.folder / run_id / "open.lock").unlink()
    tracker.client.delete_run(run_id)
    end_left_runs(config.home)
    assert list(tracker.records.all()) == []
    end_open_runs()


@pytest.mark.slow
def test_an_interrupted_process_ends_its_own_runs(config: RunConfig) -> None:
    tracker = tracker_at(config.workspace)
    done, parent = tracker.start_run("done"), tracker.start_run("parent")
    tracker.end_run(done)
    tracker.start_run("fit", None, parent)
    tracker.set_tags(tracker.start_run("promoted"), {OUTCOME: "Promoted: first model"})
    end_open_runs()
    assert statuses(tracker) == {
        "done": "FINISHED",
        "interrupted parent": "KILLED",
        "interrupted fit": "KILLED",
        "promoted": "FINISHED",
    }
    assert not any((config.home / "runs").rglob("open.lock"))
