"""What is wrong with MLflow's database is said, and a file that is none of MLflow's is left as it is."""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from reviewlm.core.errors import ArtifactError, Damaged, NotWritable, ReviewLMError
from reviewlm.core.sqlite_files import database_address
from reviewlm.flow_runs import run_flow
from reviewlm.tracking import database
from reviewlm.tracking.runs.runs import Tracker
from tests.programs import command


def execute(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as opened, opened:
        for statement in statements:
            opened.execute(statement)


def settled(file: Path) -> bytes:
    """Return the whole database, with what stood in its log."""
    execute(file, "PRAGMA wal_checkpoint(TRUNCATE)")
    return file.read_bytes()


def garbage(file: Path) -> None:
    file.write_bytes(b"\x00\xff no database \n" * 1000)


def cut_off(file: Path) -> None:
    raw = settled(file)
    file.write_bytes(raw[: len(raw) // 2])


def only_a_header(file: Path) -> None:
    file.write_bytes(settled(file)[:50])


def overwritten_within(file: Path) -> None:
    raw = bytearray(settled(file))
    raw[4096:] = b"\xff" * (len(raw) - 4096)
    file.write_bytes(raw)


def damaged_in_one_table(file: Path) -> None:
    """Nothing shows until the table is read, or every page is looked at."""
    raw = bytearray(settled(file))
    with closing(sqlite3.connect(file)) as opened:
        size = opened.execute("PRAGMA page_size").fetchone()[0]
        page = opened.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'registered_models'"
        ).fetchone()[0]
    raw[(page - 1) * size : page * size] = b"\xff" * size
    file.write_bytes(raw)


def emptied(file: Path) -> None:
    """As a copy that was cut off leaves it; runs have left artifacts beside it."""
    (file.parent / "mlartifacts" / "a run").mkdir(parents=True)
    for each in file.parent.glob("mlflow.db*"):
        each.unlink()
    file.touch()


def of_another_application(file: Path) -> None:
    file.unlink()
    execute(
        file,
        "CREATE TABLE songs (name TEXT)",
        "CREATE TABLE alembic_version (version_num TEXT)",
        "INSERT INTO alembic_version VALUES ('0123456789ab')",
    )


def of_a_newer_mlflow(file: Path) -> None:
    execute(file, "UPDATE alembic_version SET version_num = 'ffffffffffff'")


def of_an_older_mlflow(file: Path) -> None:
    execute(file, "UPDATE alembic_version SET version_num = '0584bdc529eb'")


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


FAULTS: dict[Callable[[Path], None], tuple[type, str, str]] = {
    garbage: (Damaged, "damaged or not a database", "backup"),
    cut_off: (Damaged, "malformed", "backup"),
    only_a_header: (Damaged, "damaged or not a database", "backup"),
    overwritten_within: (Damaged, "malformed", "backup"),
    damaged_in_one_table: (Damaged, "malformed", "backup"),
    emptied: (Damaged, "empty", "backup"),
    of_another_application: (ArtifactError, "songs", "move it aside"),
    of_a_newer_mlflow: (ArtifactError, "newer MLflow", "that version"),
    of_an_older_mlflow: (ArtifactError, "older MLflow", "mlflow db upgrade sqlite:"),
    a_folder: (NotWritable, "opened", "move it aside"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_database_that_cannot_be_used_is_named_with_what_to_do(
    store_home: Path, fault: Callable[[Path], None]
) -> None:
    kind, words, remedy = FAULTS[fault]
    file = store_home / "mlflow.db"
    fault(file)
    before = hashlib.sha256(file.read_bytes()).digest() if file.is_file() else None
    with pytest.raises(kind, match=words) as error:
        Tracker(f"sqlite:///{file}", "reviewlm", store_home / "mlartifacts").start_run(
            "one", {}, None
        )
    assert isinstance(error.value, ReviewLMError)
    assert str(file) in str(error.value)
    assert remedy in error.value.remedy
    assert "make ui" not in str(error.value)
    assert before == (hashlib.sha256(file.read_bytes()).digest() if file.is_file() else None)


@pytest.mark.parametrize("times", [2, 99])
def test_a_database_that_another_process_is_opening_is_tried_again(
    store_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    times: int,
) -> None:
    asked, calls = database.stored_revision, []

    def refuse(file: Path) -> str:
        calls.append(file)
        if len(calls) <= times:
            raise sqlite3.OperationalError("disk I/O error")
        return asked(file)

    monkeypatch.setattr(database, "stored_revision", refuse)
    monkeypatch.setattr(database.time, "sleep", lambda seconds: None)
    assert Tracker(
        f"sqlite:///{store_home / 'mlflow.db'}", "x", store_home / "mlartifacts"
    ).start_run("one", {}, None)


def test_a_run_says_so_before_any_work(own_home: Path) -> None:
    own_home.mkdir()
    garbage(own_home / "mlflow.db")
    with pytest.raises(Damaged):
        run_flow("retrain", "small", None, [])
    assert not (own_home / "store").exists()


@pytest.mark.slow
def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    """A process that was killed at its start leaves one."""
    (tmp_path / "mlflow.db").touch()
    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "reviewlm", tmp_path / "mlartifacts")
    assert tracker.start_run("one", {}, None)


def test_experiments_that_mlflow_makes_itself_lie_in_the_home_not_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "a home#1 ä"
    tracker = Tracker(database_address(home / "mlflow.db"), "reviewlm", home / "mlartifacts")
    with tracker.reaching() as client:
        places = {one.name: one.artifact_location for one in client.search_experiments()}
    assert places == {"Default": "mlflow-artifacts:/0"}
    assert [one.name for one in tmp_path.iterdir()] == [home.name]


def test_looking_at_a_database_leaves_the_locks_of_open_connections_alone(store_home: Path) -> None:
    """Else the next process to leave takes its log away, and every later write is an I/O error."""
    file = store_home / "mlflow.db"
    tracker = Tracker(f"sqlite:///{file}", "reviewlm", store_home / "mlartifacts")
    tracker.start_run("one", {}, None)
    with closing(sqlite3.connect(file)) as held:
        held.execute("SELECT 1 FROM runs").fetchall()
        assert database.is_ready(file)
        subprocess.run(command("read_database", file, "runs"), check=True)
        assert file.with_name("mlflow.db-wal").exists()
        held.execute("UPDATE runs SET name = 'two'")
        held.commit()
    tracker.start_run("three", {}, None)


def test_a_database_with_changes_in_its_log_is_whole(store_home: Path) -> None:
    """Its file may be shorter than its header says while they are not carried over."""
    file = store_home / "mlflow.db"
    with closing(sqlite3.connect(file)) as held:  # or the last one to leave would carry them over
        held.execute("SELECT 1 FROM experiments").fetchone()
        tracker = Tracker(f"sqlite:///{file}", "reviewlm", store_home / "mlartifacts")
        for number in range(20):
            tracker.start_run(f"{number}", {}, None)
        assert Tracker(tracker.uri, "reviewlm", tracker.artifact_root).start_run("again", {}, None)
