"""Kill -9 of an upgrade before any touch of a file, and in the midst of a migration: the next one goes on.

A database is as it was or migrated, never in between.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.errors import ArtifactError, ConfigError
from reviewlm.core.table_revisions import LibraryTables
from reviewlm.tracking.backup import migrate, restore_backup
from tests.marked_cases import long_but
from tests.tracking.killed_upgrade import MIGRATION, NEW, OLD, contents, make_home, run

pytestmark = pytest.mark.slow
Started = Callable[..., int]


@pytest.fixture(scope="module")
def upgraded() -> Started:
    """Run an upgrade in a child, forked from a server that has everything imported; return the exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.tracking.killed_upgrade"])

    def start(home: Path, **options: Any) -> int:
        child = context.Process(
            target=run,
            args=(str(home),),
            kwargs=options,
        )
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
    "killed at any moment",
    "kill -9 of `reviewlm home upgrade` before any touch of a file",
    "no database is half-migrated; the next goes on",
)
@pytest.mark.parametrize("part", long_but(range(8), [3, 7]))
def test_after_a_kill_before_any_touch_of_a_file_the_next_upgrade_goes_on(
    part: int,
    touches: int,
    upgraded: Started,
    tmp_path: Path,
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
    step: int,
    upgraded: Started,
    home: Path,
) -> None:
    assert upgraded(home, die=step) == -signal.SIGKILL
    assert contents(home) == {"MLflow": OLD, "Prefect": OLD}
    assert upgraded(home) == 0
    require_upgraded(home)


def older_tables(file: Path, meanwhile: Callable[[], object] = lambda: None) -> LibraryTables:
    def migration(copy: Path) -> tuple[list[str], dict[str, str]]:
        meanwhile()
        return [MIGRATION, str(copy), "-1"], dict(os.environ)

    return LibraryTables(
        "MLflow",
        file,
        migration,
        "one",
        "two",
    )


def test_no_database_is_migrated_if_the_migration_of_another_fails(
    home: Path, tmp_path: Path
) -> None:
    def fails(copy: Path) -> tuple[list[str], dict[str, str]]:
        return ["-c", "raise SystemExit(1)"], dict(os.environ)

    failing = LibraryTables(
        "Prefect",
        home / "prefect" / "prefect.db",
        fails,
        "one",
        "two",
    )
    with pytest.raises(ArtifactError):
        migrate([older_tables(home / "mlflow.db"), failing], tmp_path, "backup.tar")
    assert contents(home) == {"MLflow": OLD, "Prefect": OLD}


def test_a_database_that_another_program_locks_stays_as_it_was(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reviewlm.tracking.backup.PATIENCE", 0.2)
    file = home / "mlflow.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("BEGIN IMMEDIATE")
        with pytest.raises(ConfigError, match="in use"):
            migrate([older_tables(file)], tmp_path, "backup.tar")
    assert contents(home)["MLflow"] == OLD


def test_a_database_that_is_written_to_while_its_copy_is_migrated_keeps_what_was_written(
    home: Path, tmp_path: Path
) -> None:
    """Nothing of ours would write; a program of the user's may."""
    file = home / "mlflow.db"

    def write() -> None:
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("INSERT INTO rows VALUES ('c')")

    with pytest.raises(ConfigError, match="in use"):
        migrate([older_tables(file, write)], tmp_path, "backup.tar")
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT * FROM rows").fetchall() == [("a",), ("b",), ("c",)]
