"""A home folder that was copied or moved writes into itself and leaves the place alone that it came from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import polars as pl
import psutil
import pytest

from core.errors import StoreFull, TrackingUnavailable
from core.processes.leftovers import this_machine
from core.services import service_list
from tracking import moved_home
from tracking.moved_home import MARKER, mend_moved_home
from tracking.registry.registry import Registry
from tracking.runs.runs import Tracker


def tracker_in(home: Path) -> Tracker:
    return Tracker(f"sqlite:///{home / 'mlflow.db'}", "reviewlm", home / "mlartifacts")


def write_run(home: Path, name: str) -> str:
    tracker = tracker_in(home)
    run = tracker.start_run(name, {}, None)
    tracker.log_table(run, pl.DataFrame({"a": [1]}), "tables/a.json")
    tracker.end_run(run)
    return run


def tree(home: Path) -> dict[str, str]:
    """SHA-256 of every file but SQLite's shared memory, which readers touch too."""
    files = (path for path in home.rglob("*") if path.is_file() and not path.name.endswith("-shm"))
    return {path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def texts(database: Path) -> list[str]:
    """All that any table of a database says."""
    with closing(sqlite3.connect(database)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for table in tables for row in connection.execute(f'SELECT * FROM "{table}"')]
    return [str(value) for row in rows for value in row]


@pytest.fixture
def origin(store_home: Path, stand_in: object) -> Path:
    """A home with a run, its file, and a registered version whose bundle lies in it."""
    from tracking.logged_models.bundles import log_bundle

    tracker = tracker_in(store_home)
    run = write_run(store_home, "first")
    bundle = stand_in.bundle(store_home / "bundle", "word")  # type: ignore[attr-defined]
    package = stand_in.package(store_home.parent / "models", "1")  # type: ignore[attr-defined]
    model = log_bundle(tracker, run, bundle, package=package)
    Registry(tracker, "reviewlm").register(model, run)
    tracker.client.log_inputs(run, datasets=[_dataset(store_home)])
    return store_home


def _dataset(home: Path) -> object:
    from mlflow.entities import Dataset, DatasetInput

    source = json.dumps({"uri": (home / "store" / "prepare" / "x.parquet").as_uri()})
    return DatasetInput(Dataset("reviews", "abc", "local", source))


def test_a_copy_writes_into_itself_and_the_original_stays_as_it_was(origin: Path) -> None:
    copy = origin.with_name("copy of a höme")
    shutil.copytree(origin, copy)
    before = tree(origin)
    run = write_run(copy, "second")
    assert tree(origin) == before
    assert list((copy / "mlartifacts" / run).rglob("a*"))
    folder = Registry(tracker_in(copy), "reviewlm").bundle_folder(1)
    assert folder.is_relative_to(copy)
    assert not [text for text in texts(copy / "mlflow.db") if str(origin) in text]
    [backup] = copy.glob("moved/mlflow.db.*")
    assert [text for text in texts(backup) if str(origin) in text]
    mend_moved_home(copy)
    assert list(copy.glob("moved/mlflow.db.*")) == [backup]


def test_a_moved_home_does_not_make_its_old_place_again(origin: Path) -> None:
    moved = origin.rename(origin.with_name("moved"))
    write_run(moved, "second")
    assert not origin.exists()
    from mlflow import MlflowClient

    found = MlflowClient(f"sqlite:///{moved / 'mlflow.db'}").get_model_version("reviewlm", "1")
    assert found.source.startswith(moved.as_uri())


def test_two_copies_and_the_original_each_write_into_themselves(origin: Path) -> None:
    homes = [origin, origin.with_name("b"), origin.with_name("c")]
    for copy in homes[1:]:
        shutil.copytree(origin, copy)
    for place in homes:
        before = [tree(other) for other in homes if other != place]
        run = write_run(place, "again")
        assert (place / "mlartifacts" / run).is_dir()
        assert [tree(other) for other in homes if other != place] == before


def test_a_home_whose_name_begins_like_the_old_one_is_left_alone(origin: Path) -> None:
    """`/a/home2` is not below `/a/home`."""
    other = origin.with_name(origin.name + "2")
    with closing(sqlite3.connect(origin / "mlflow.db")) as database, database:
        database.execute("UPDATE runs SET artifact_uri = ?", ((other / "mlartifacts/1/artifacts").as_uri(),))
    moved = origin.rename(origin.with_name("moved"))
    mend_moved_home(moved)
    assert (other / "mlartifacts/1/artifacts").as_uri() in texts(moved / "mlflow.db")


def test_a_link_to_a_home_is_the_same_home(origin: Path) -> None:
    link = origin.with_name("link")
    link.symlink_to(origin)
    before = tree(origin)
    mend_moved_home(link)
    assert tree(origin) == before


def test_a_new_home_gets_a_record_and_nothing_else(tmp_path: Path) -> None:
    mend_moved_home(tmp_path)
    assert json.loads((tmp_path / MARKER).read_text()) == {"path": str(tmp_path)}
    assert {path.name for path in tmp_path.iterdir()} <= {MARKER, "home.lock"}


def test_a_copy_neither_joins_nor_stops_the_services_of_the_original(origin: Path) -> None:
    here = psutil.Process(os.getpid())
    running = [{"name": "prefect", "pid": here.pid, "created": here.create_time(), "address": "http://127.0.0.1:1"}]
    (origin / service_list.STATE).write_text(json.dumps(running))
    copy = origin.with_name("copy")
    shutil.copytree(origin, copy)
    mend_moved_home(copy)
    assert service_list.running(copy) == []
    assert len(service_list.running(origin)) == 1


def test_a_home_seen_at_two_paths_keeps_the_services_of_both_and_two_backups(
    origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine and a container with the home at another path: neither path is there on the other side."""
    mounted = origin.with_name("mounted")
    here = psutil.Process(os.getpid())
    about = {"name": "prefect", "pid": here.pid, "created": here.create_time(), "address": "http://127.0.0.1:1"}
    (origin / service_list.STATE).write_text(json.dumps([{**about, "machine": this_machine(), "home": str(origin)}]))
    backups = []
    for _ in range(3):
        with monkeypatch.context() as inside:
            inside.setattr(service_list, "this_machine", lambda: "container 1 boot")
            origin.rename(mounted)
            mend_moved_home(mounted)
            assert service_list.running(mounted) == []
            service_list.stop(mounted)
        backups += sorted(path.name for path in mounted.glob("moved/mlflow.db.*"))
        mounted.rename(origin)
        mend_moved_home(origin)
        assert [service.pid for service in service_list.running(origin)] == [here.pid]
    left = sorted(path.name for path in origin.glob("moved/mlflow.db.*"))
    assert len(left) == 2
    assert left[-1] > max(backups), "the newest stay"


def test_services_of_a_home_that_was_moved_while_they_ran_are_stopped(origin: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        created = psutil.Process(process.pid).create_time()
        started = service_list.Service("prefect", process.pid, created, "", this_machine(), str(origin))
        (origin / service_list.STATE).write_text(json.dumps([asdict(started)]))
        mend_moved_home(origin.rename(origin.with_name("moved")))
        assert not psutil.pid_exists(process.pid)
        assert not (origin.with_name("moved") / service_list.STATE).exists()
    finally:
        process.kill()
        process.wait()


def test_without_space_for_the_backup_nothing_is_changed(origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = origin.rename(origin.with_name("moved"))
    before = texts(moved / "mlflow.db")

    def full(*arguments: object) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(moved_home, "_rewritten", full)
    with pytest.raises(StoreFull, match="moved"):
        mend_moved_home(moved)
    monkeypatch.undo()
    assert texts(moved / "mlflow.db") == before
    mend_moved_home(moved)
    assert not [text for text in texts(moved / "mlflow.db") if str(origin) in text]


def test_a_database_in_use_is_waited_for_and_then_named(origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moved_home, "WAIT", 0.1)
    moved = origin.rename(origin.with_name("moved"))
    with closing(sqlite3.connect(moved / "mlflow.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TrackingUnavailable, match="in use"):
            mend_moved_home(moved)


def test_a_copy_that_cannot_be_written_to_can_be_read(origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tracking.logged_models.lookup import find_version
    from tracking.registry.versions import Reference

    copy = origin.with_name("copy")
    shutil.copytree(origin, copy)

    def refuse(*arguments: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(moved_home, "_mend", refuse)
    mend_moved_home(copy)
    found = find_version(tracker_in(copy), Reference.parse("models:/reviewlm/1"))
    assert found is not None
    assert found.folder.is_relative_to(copy)
