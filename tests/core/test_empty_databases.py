"""An empty database of a library is kept once a machine, and copied into new homes as long as it can be trusted."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from reviewlm.core.empty_databases import keep_copy, place_copy

LIBRARY = "filelock"
"""Any installed distribution."""
NEWEST = "b2"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the user's cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def kept(tmp_path: Path, cache: Path) -> Path:
    """Keep a database with tables of the newest revision, and return the kept file."""
    made = tmp_path / "made.db"
    with closing(sqlite3.connect(made)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("CREATE TABLE runs (name TEXT)")
        database.execute("INSERT INTO alembic_version VALUES (?)", [NEWEST])
        database.commit()
        keep_copy(LIBRARY, made)
    [file] = cache.rglob("*.db")
    return file


def tables_of(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as database:
        rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name for (name,) in rows}


def test_a_new_database_gets_the_tables_of_the_kept_one(kept: Path, tmp_path: Path) -> None:
    assert place_copy(LIBRARY, NEWEST, tmp_path / "new.db")
    assert tables_of(tmp_path / "new.db") == {"alembic_version", "runs"}


def test_no_other_file_is_left_beside_a_copy(kept: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    place_copy(LIBRARY, NEWEST, home / "new.db")
    assert [file.name for file in home.iterdir()] == ["new.db"]
    assert [file.name for file in kept.parent.iterdir()] == [kept.name]


def test_the_log_of_a_removed_database_is_not_read_into_a_new_one(
    kept: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file)) as former:
        former.execute("PRAGMA journal_mode=WAL")
        former.execute("CREATE TABLE of_the_former (name TEXT)")
        former.commit()
        shutil.copy(tmp_path / "mlflow.db-wal", tmp_path / "log")
    file.unlink()
    shutil.move(tmp_path / "log", tmp_path / "mlflow.db-wal")

    assert not place_copy(LIBRARY, NEWEST, file)
    assert tables_of(file) == set()


def test_a_database_that_exists_is_left_alone(kept: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.db"
    there.write_bytes(b"")
    assert not place_copy(LIBRARY, NEWEST, there)
    assert there.read_bytes() == b""


def test_tables_of_another_revision_are_not_copied(kept: Path, tmp_path: Path) -> None:
    assert not place_copy(LIBRARY, "c3", tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()


def test_a_library_without_a_known_revision_gets_no_copy(kept: Path, tmp_path: Path) -> None:
    assert not place_copy(LIBRARY, "", tmp_path / "new.db")


def test_a_damaged_kept_database_is_not_copied(kept: Path, tmp_path: Path) -> None:
    kept.write_bytes(kept.read_bytes()[:3000] + b"\0" * 2000)
    assert not place_copy(LIBRARY, NEWEST, tmp_path / "new.db")


def test_a_kept_database_that_others_may_write_is_not_copied(kept: Path, tmp_path: Path) -> None:
    kept.chmod(0o666)
    assert not place_copy(LIBRARY, NEWEST, tmp_path / "new.db")


def test_nothing_is_kept_where_the_cache_cannot_be_written(tmp_path: Path, cache: Path) -> None:
    cache.write_text("a file, not a folder")
    made = tmp_path / "made.db"
    sqlite3.connect(made).close()
    keep_copy(LIBRARY, made)
    assert not place_copy(LIBRARY, NEWEST, tmp_path / "new.db")
