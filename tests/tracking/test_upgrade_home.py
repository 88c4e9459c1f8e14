"""A home with the tables of an older MLflow is backed up and migrated; a current one is left alone."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from reviewlm.core.errors import ArtifactError, ConfigError, Damaged
from reviewlm.core.processes.leftovers import hold
from reviewlm.core.table_revisions import revisions_in
from reviewlm.flows.server.private_server import private_server
from reviewlm.flows.server.tables import tables_of
from reviewlm.tracking.backup import restore_backup, upgrade_home
from reviewlm.tracking.client import open_client
from reviewlm.tracking.database import has_tables, require_current_at, revision_of


def mlflow_revisions() -> list[str]:
    """Return the revisions of MLflow's tables, the newest first."""
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    return [
        script.revision
        for script in ScriptDirectory.from_config(_get_alembic_config("")).walk_revisions()
    ]


def make_mlflow_tables(uri: str, revision: str) -> None:
    """Create MLflow's tables as they were at a revision, as MLflow does it: the first ones, then its migrations."""
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base
    from sqlalchemy import create_engine

    Base.metadata.create_all(engine := create_engine(uri))
    engine.dispose()
    command.upgrade(_get_alembic_config(uri), revision)


@pytest.fixture
def older_home(tmp_path: Path) -> Path:
    """A home whose MLflow tables are those of the revision before the newest, with one experiment."""
    (home := tmp_path / "home").mkdir()
    make_mlflow_tables(f"sqlite:///{home / 'mlflow.db'}", mlflow_revisions()[1])
    with closing(sqlite3.connect(home / "mlflow.db")) as database, database:
        database.execute(
            "INSERT INTO experiments (name, lifecycle_stage) VALUES ('kept', 'active')"
        )
    return home


def names(home: Path) -> list[str]:
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        return [
            str(name) for (name,) in database.execute("SELECT name FROM experiments ORDER BY name")
        ]


@pytest.mark.slow
def test_older_tables_are_migrated_after_a_backup_from_which_they_come_back(
    older_home: Path, tmp_path: Path
) -> None:
    before = revision_of(older_home / "mlflow.db")
    with pytest.raises(ArtifactError, match="older MLflow"):
        has_tables(f"sqlite:///{older_home / 'mlflow.db'}")

    found = upgrade_home(older_home)

    assert (found["upgraded"], found["before"], found["after"]) == (
        True,
        before,
        mlflow_revisions()[0],
    )
    assert has_tables(f"sqlite:///{older_home / 'mlflow.db'}")
    assert "kept" in {
        one.name
        for one in open_client(f"sqlite:///{older_home / 'mlflow.db'}").search_experiments()
    }
    restore_backup(Path(found["backup"]), tmp_path / "back")
    assert (revision_of(tmp_path / "back" / "mlflow.db"), names(tmp_path / "back")) == (
        before,
        ["kept"],
    )
    assert upgrade_home(older_home) == nothing(mlflow_revisions()[0])


@pytest.mark.slow
def test_a_home_in_use_is_not_migrated(older_home: Path) -> None:
    (folder := older_home / "runs" / "home" / "0123").mkdir(parents=True)
    lock = hold(folder / "open.lock")
    assert lock is not None
    with pytest.raises(ConfigError, match="in use"):
        upgrade_home(older_home)
    assert revision_of(older_home / "mlflow.db") != mlflow_revisions()[0]
    assert list(older_home.parent.glob("*.tar*")) == []
    os.close(lock)  # as where that command is killed
    assert upgrade_home(older_home)["upgraded"]


@pytest.mark.slow
def test_a_database_that_is_no_file_of_the_home_is_asked_through_sqlalchemy(
    older_home: Path, tmp_path: Path
) -> None:
    """As one of PostgreSQL is; SQLite stands in for it here."""
    uri = f"sqlite:///{older_home / 'mlflow.db'}"
    with pytest.raises(ArtifactError, match="older MLflow") as told:
        require_current_at(uri)
    assert f"mlflow db upgrade {uri}" in told.value.remedy
    upgrade_home(older_home)
    require_current_at(uri)
    require_current_at(f"sqlite:///{tmp_path / 'empty.db'}")


@pytest.mark.slow
def test_a_migration_that_fails_names_the_backup(older_home: Path) -> None:
    with closing(sqlite3.connect(older_home / "mlflow.db")) as database, database:
        for (table,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall():
            if table not in ("alembic_version", "experiments"):
                database.execute(f"DROP TABLE {table}")
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(ArtifactError, match="could not migrate") as failed:
        upgrade_home(older_home)
    [backup] = older_home.parent.glob("*.tar.gz")
    assert str(backup) in failed.value.remedy
    assert revision_of(older_home / "mlflow.db") == "451aebb31d03"
    assert list(older_home.glob(".upgrade-*")) == []


def test_a_home_without_a_database_has_nothing_to_migrate(tmp_path: Path) -> None:
    assert upgrade_home(tmp_path / "none") == nothing("")


def nothing(revision: str) -> dict[str, object]:
    """The result where all tables are current."""
    return {
        "upgraded": False,
        "before": revision,
        "after": revision,
        "prefect_before": "",
        "prefect_after": "",
        "backup": "",
    }


def test_no_server_starts_on_older_tables_of_prefect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would migrate them at once, without a backup. The installed scripts tell which revision is the newest."""
    from prefect.server import database

    monkeypatch.delenv("PREFECT_API_DATABASE_CONNECTION_URL", raising=False)
    scripts = Path(str(database.__file__)).parent / "_migrations" / "versions" / "sqlite"
    _, newest = revisions_in([scripts])
    [last] = [
        text
        for file in scripts.glob("*.py")
        if f'\nrevision = "{newest}"' in (text := file.read_text())
    ]
    before = last.split('\ndown_revision = "')[1].split('"')[0]
    home = home_with_prefect(tmp_path, before)
    assert (tables_of(home).stored, tables_of(home).installed) == (before, newest)
    monkeypatch.setenv("REVIEWLM_HOME", str(home))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(ArtifactError, match="older Prefect") as told, private_server():
        pass
    assert "`reviewlm home upgrade`" in told.value.remedy


def test_tables_of_a_newer_prefect_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_DATABASE_CONNECTION_URL", raising=False)
    with pytest.raises(ArtifactError, match="newer Prefect"):
        tables_of(home_with_prefect(tmp_path, "ffffffffffff"))


def test_tables_of_prefect_in_another_database_need_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "postgresql+asyncpg://me@host/prefect"
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", address)
    assert not tables_of(home_with_prefect(tmp_path, "ffffffffffff")).older


def test_a_damaged_database_of_prefect_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_DATABASE_CONNECTION_URL", raising=False)
    home = home_with_prefect(tmp_path, "ffffffffffff")
    no_database = b"no database, although it is long enough to be taken for one" * 9
    (home / "prefect" / "prefect.db").write_bytes(no_database)
    with pytest.raises(Damaged):
        tables_of(home)


def test_a_home_without_tables_of_prefect_needs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_DATABASE_CONNECTION_URL", raising=False)
    assert not tables_of(tmp_path / "none").older


def home_with_prefect(folder: Path, revision: str) -> Path:
    """Return a home whose only database is one of Prefect with this revision."""
    (file := folder / "home" / "prefect" / "prefect.db").parent.mkdir(parents=True)
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
    return folder / "home"
