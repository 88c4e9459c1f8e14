"""A database that another program exchanges or holds while it is in use is named, and nothing is written into nowhere."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from reviewlm.core.errors import Damaged, TrackingUnavailable
from reviewlm.core.sqlite_files import other_users
from reviewlm.tracking.client import reaching
from reviewlm.tracking.database import interference
from reviewlm.tracking.runs.runs import Tracker
from tests.programs import command


def replace(file: Path) -> None:
    shutil.copy(file, file.with_name("copy.db"))
    os.replace(file.with_name("copy.db"), file)


def remove(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("exchange", [replace, remove])
def test_a_database_that_was_exchanged_takes_no_more_writes(
    tracker: Tracker,
    store_home: Path,
    exchange: Callable[[Path], None],
) -> None:
    run_id = tracker.start_run("a")
    exchange(store_home / "mlflow.db")
    with pytest.raises(TrackingUnavailable) as caught:
        tracker.ask(lambda client: client.set_tag(run_id, "name", "value"))
    assert caught.value.cause


def test_a_database_that_nobody_touched_has_no_interference(
    tracker: Tracker, store_home: Path
) -> None:
    tracker.start_run("a")
    assert interference(store_home / "mlflow.db") == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a file open")
def test_another_process_that_has_the_database_open_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    with closing(sqlite3.connect(file)) as made, made:
        made.execute("CREATE TABLE t (n INTEGER)")
    assert other_users(file) == []
    with subprocess.Popen(
        command("read_database", file, "t", "hold"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        [name] = other_users(file)
        holder.communicate(b"\n")
    assert f"process {holder.pid}" in name


def test_a_database_that_lacks_a_table_is_damaged(
    tracker: Tracker,
    store_home: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_id = tracker.start_run("a")
    with closing(sqlite3.connect(store_home / "mlflow.db")) as made, made:
        made.execute("DROP TABLE tags")
    with pytest.raises(Damaged):
        tracker.ask(lambda client: client.set_tag(run_id, "name", "value"))
    assert not caplog.records, "the library's traceback says no more than the error"


def test_a_locked_database_is_told_from_a_server_that_does_not_answer(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with pytest.raises(TrackingUnavailable) as caught, reaching(address):
        raise MlflowException("(sqlite3.OperationalError) database is locked")
    assert "services start" not in caught.value.remedy
