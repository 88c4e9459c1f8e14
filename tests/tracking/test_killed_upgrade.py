"""Kill -9 of an upgrade before any touch of a file, and in the midst of a migration: the next one goes on.

A database is as it was or migrated, never in between.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from core.sqlite_files import LibraryTables, Revisions
from tests.marked_cases import long_but
from tests.tracking.killed_upgrade import MIGRATION, NEW, OLD, contents, make_home, run
from tracking.restore import restore_backup
from tracking.upgrade import migrated_copy

pytestmark = pytest.mark.slow
Started = Callable[..., int]


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Started:
    """Run an upgrade in a child, forked from a server that has everything imported; return the exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.tracking.killed_upgrade"])
    (program := tmp_path_factory.mktemp("program") / "migrate.py").write_text(MIGRATION)

    def start(home: Path, **options: Any) -> int:
        child = context.Process(target=run, args=(str(home), str(program)), kwargs=options)
        child.start()
        child.join(120)
        assert child.exitcode is not None
        return child.exitcode

    return start


@pytest.fixture
def home(tmp_path: Path) -> Path:
    make_home(folder := tmp_path / "place" / "home")
    return folder


@pytest.fixture(scope="module")
def touches(upgraded: Started, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How often an upgrade that nobody kills touches a file."""
    folder = tmp_path_factory.mktemp("counted")
    make_home(folder / "place" / "home")
    assert upgraded(folder / "place" / "home", said=str(folder / "said")) == 0
    return int(json.loads((folder / "said").read_text())["touches"])


def require_whole(home: Path) -> None:
    """Each database is as it was or migrated."""
    assert set(map(str, contents(home).values())) <= {str(OLD), str(NEW)}


def require_upgraded(home: Path) -> None:
    """Both databases are migrated, and the first backup is that of the home before."""
    assert contents(home) == {"MLflow": NEW, "Prefect": NEW}
    for archive in sorted(home.parent.glob("home-before-upgrade-*.tar*"))[:1]:
        restore_backup(archive, home.with_name("back"))
        assert contents(home.with_name("back")) == {"MLflow": OLD, "Prefect": OLD}


@pytest.mark.drill(
    "killed at any moment", "kill -9 of `reviewlm home upgrade` before any touch of a file",
    "no database is half-migrated; the next goes on",
)  # fmt: skip
@pytest.mark.parametrize("part", long_but(range(8), [3, 7]))
def test_after_a_kill_before_any_touch_of_a_file_the_next_upgrade_goes_on(
    part: int, touches: int, upgraded: Started, tmp_path: Path
) -> None:
    """Every eighth touch is a part."""
    assert touches > 30
    for at in range(1 + part, touches + 1, 8):
        make_home(home := tmp_path / str(at) / "home")
        assert upgraded(home, at=at) == -signal.SIGKILL
        require_whole(home)
        assert upgraded(home) == 0
        require_upgraded(home)


@pytest.mark.parametrize("step", long_but(range(5), [2]))
def test_a_kill_in_the_midst_of_a_migration_hits_the_copy_only(
    step: int, upgraded: Started, home: Path
) -> None:
    assert upgraded(home, die=step) == -signal.SIGKILL
    assert contents(home) == {"MLflow": OLD, "Prefect": OLD}
    assert upgraded(home) == 0
    require_upgraded(home)


def older_tables(file: Path, folder: Path) -> LibraryTables:
    (program := folder / "migrate.py").write_text(MIGRATION)

    def migration(copy: Path) -> tuple[list[str], dict[str, str]]:
        return [str(program), str(copy), "-1"], dict(os.environ)

    return LibraryTables("MLflow", file, Revisions("one", "two"), migration)


def test_a_database_that_another_program_locks_stays_as_it_was(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracking.upgrade.PATIENCE", 0.2)
    file = home / "mlflow.db"
    with migrated_copy(older_tables(file, tmp_path), tmp_path, "backup.tar") as put_back:
        with closing(sqlite3.connect(file)) as database:
            database.execute("BEGIN IMMEDIATE")
            with pytest.raises(ConfigError, match="in use"):
                put_back()
        assert contents(home)["MLflow"] == OLD
        put_back()
    assert contents(home)["MLflow"] == NEW


def test_a_database_that_is_written_to_while_its_copy_is_migrated_keeps_what_was_written(
    home: Path, tmp_path: Path
) -> None:
    """Nothing of ours would write; a program of the user's may."""
    file = home / "mlflow.db"
    with migrated_copy(older_tables(file, tmp_path), tmp_path, "backup.tar") as put_back:
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("INSERT INTO rows VALUES ('c')")
        with pytest.raises(ConfigError, match="in use"):
            put_back()
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT * FROM rows").fetchall() == [("a",), ("b",), ("c",)]


PUT_BACK = """
import sqlite3, sys
source, target = map(sqlite3.connect, sys.argv[1:])
print("ready", flush=True)
sys.stdin.readline()
source.backup(target)
print("done", flush=True)
"""


@pytest.mark.long
@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_kill_while_a_copy_is_put_back_leaves_the_old_or_the_new_database(tmp_path: Path, mode: str) -> None:
    """What `put_back` relies on: SQLite's backup function is one transaction, at any moment and in both modes."""
    draw, found = random.Random(mode), set()
    for name, letter in (("old", "o"), ("new", "n")):
        with closing(sqlite3.connect(tmp_path / f"{name}.db", isolation_level=None)) as database:
            database.execute(f"PRAGMA journal_mode={mode}")
            database.execute("CREATE TABLE rows (text TEXT)")
            database.execute("BEGIN")
            database.executemany("INSERT INTO rows VALUES (?)", [(letter * 1_000,)] * 40_000)
            database.execute("COMMIT")
    took = 0.0
    for number in range(12):
        target = tmp_path / "target.db"
        for left in tmp_path.glob("target.db*"):
            left.unlink()
        with closing(sqlite3.connect(tmp_path / "old.db")) as old, closing(sqlite3.connect(target)) as copy:
            old.backup(copy)
            copy.execute(f"PRAGMA journal_mode={mode}")
        child = subprocess.Popen([sys.executable, "-c", PUT_BACK, str(tmp_path / "new.db"), str(target)],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        began = time.monotonic()
        child.stdin.write("go\n")
        child.stdin.flush()
        if number:
            time.sleep(draw.uniform(0, took))
            child.kill()
        else:
            assert child.stdout.readline() == "done\n"
            took = time.monotonic() - began
        child.communicate()
        with closing(sqlite3.connect(target)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            [(letter, rows)] = database.execute("SELECT DISTINCT substr(text, 500, 1), count(*) FROM rows GROUP BY 1")
        assert rows == 40_000
        found.add(letter)
    assert found == {"o", "n"}
