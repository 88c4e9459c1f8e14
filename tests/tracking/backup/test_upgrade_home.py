"""A home with the tables of an older MLflow is backed up and migrated; a current one is left alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from core.errors import ArtifactError, ConfigError, Damaged
from core.storing.migrations import Revisions, revisions_in
from flows.server.tables import tables_of
from reviewlm.verbs.maintenance import backup
from tracking.backup.restore import restore_backup
from tracking.backup.upgrade import upgrade_home
from tracking.client import open_client
from tracking.database import head_revision, require_current, revision_of
from tracking.runs.open_runs import marks_of


@pytest.fixture
def older_home(tmp_path: Path) -> Path:
    """A home whose MLflow tables are those of the revision before the newest, with one experiment."""
    from alembic import command
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base
    from sqlalchemy import create_engine

    (home := tmp_path / "home").mkdir()
    uri = f"sqlite:///{home / 'mlflow.db'}"
    Base.metadata.create_all(engine := create_engine(uri))
    engine.dispose()
    config = _get_alembic_config(uri)
    before = ScriptDirectory.from_config(config).get_revision("head").down_revision
    command.upgrade(config, str(before))
    with closing(sqlite3.connect(home / "mlflow.db")) as database, database:
        database.execute("INSERT INTO experiments (name, lifecycle_stage) VALUES ('kept', 'active')")
    return home


def names(home: Path) -> list[str]:
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        return [str(name) for (name,) in database.execute("SELECT name FROM experiments ORDER BY name")]


@pytest.mark.slow
def test_older_tables_are_migrated_after_a_backup_from_which_they_come_back(older_home: Path, tmp_path: Path) -> None:
    before = revision_of(older_home / "mlflow.db")
    with pytest.raises(ArtifactError, match="older MLflow"):
        require_current(older_home / "mlflow.db")

    found = upgrade_home(older_home)

    assert (found["upgraded"], found["before"], found["after"]) == (True, before, head_revision())
    require_current(older_home / "mlflow.db")
    assert "kept" in {one.name for one in open_client(f"sqlite:///{older_home / 'mlflow.db'}").search_experiments()}
    restore_backup(Path(found["backup"]), tmp_path / "back")
    assert (revision_of(tmp_path / "back" / "mlflow.db"), names(tmp_path / "back")) == (before, ["kept"])
    assert upgrade_home(older_home) == {
        "upgraded": False, "before": head_revision(), "after": head_revision(), "prefect_migrates": False, "backup": "",
    }  # fmt: skip


@pytest.mark.slow
def test_a_home_in_use_is_not_migrated(older_home: Path) -> None:
    marks_of(older_home).mkdir()
    (marks_of(older_home) / "1-a").touch()
    with pytest.raises(ConfigError, match="in use"):
        upgrade_home(older_home)
    assert revision_of(older_home / "mlflow.db") != head_revision()
    assert list(older_home.parent.glob("*.tar*")) == []


@pytest.mark.slow
def test_a_migration_that_fails_names_the_backup(older_home: Path) -> None:
    with closing(sqlite3.connect(older_home / "mlflow.db")) as database, database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if table not in ("alembic_version", "experiments"):
                database.execute(f"DROP TABLE {table}")
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(ArtifactError, match="could not migrate") as failed:
        upgrade_home(older_home)
    [backup] = older_home.parent.glob("*.tar.zst")
    assert str(backup) in failed.value.remedy


def test_a_home_without_a_database_has_nothing_to_migrate(tmp_path: Path) -> None:
    assert upgrade_home(tmp_path / "none") == {
        "upgraded": False, "before": "", "after": "", "prefect_migrates": False, "backup": "",
    }  # fmt: skip


def test_a_release_that_changes_only_prefects_tables_is_backed_up_before_its_server_starts(tmp_path: Path) -> None:
    home = home_with_prefect(tmp_path, "0123456789ab")
    found = upgrade_home(home, prefect=Revisions("0123456789ab", "ba9876543210"))
    assert (found["upgraded"], found["prefect_migrates"]) == (False, True)
    restore_backup(Path(found["backup"]), tmp_path / "back")
    with closing(sqlite3.connect(tmp_path / "back" / "prefect" / "prefect.db")) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [("0123456789ab",)]
    assert upgrade_home(home, prefect=Revisions("ba9876543210", "ba9876543210"))["backup"] == ""


def test_the_command_finds_that_prefects_tables_are_older(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The installed scripts tell which revision is the one before the newest."""
    from prefect.server import database

    monkeypatch.delenv("PREFECT_API_DATABASE_CONNECTION_URL", raising=False)
    scripts = Path(str(database.__file__)).parent / "_migrations" / "versions" / "sqlite"
    _, newest = revisions_in([scripts])
    [last] = [text for file in scripts.glob("*.py") if f'\nrevision = "{newest}"' in (text := file.read_text())]
    before = last.split('\ndown_revision = "')[1].split('"')[0]
    home = home_with_prefect(tmp_path, before)
    assert tables_of(home) == Revisions(before, newest)
    monkeypatch.setenv("REVIEWLM_HOME", str(home))
    backup.upgrade(to=None, preset="demo", set=None, json=False)
    assert f"from revision {before} to {newest}" in " ".join(capsys.readouterr().out.split())
    assert len(list(tmp_path.glob("*before-upgrade*"))) == 1


def test_current_tables_of_prefect_need_nothing_and_those_of_a_newer_one_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_DATABASE_CONNECTION_URL", raising=False)
    home = home_with_prefect(tmp_path, "ffffffffffff")
    with pytest.raises(ArtifactError, match="newer Prefect"):
        tables_of(home)
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "postgresql+asyncpg://me@host/prefect")
    assert not tables_of(home).differ
    (home / "prefect" / "prefect.db").write_bytes(b"no database, although it is long enough to be taken for one" * 9)
    monkeypatch.delenv("PREFECT_API_DATABASE_CONNECTION_URL")
    with pytest.raises(Damaged):
        tables_of(home)
    assert not tables_of(tmp_path / "none").differ


def home_with_prefect(folder: Path, revision: str) -> Path:
    """Return a home whose only database is one of Prefect with this revision."""
    (file := folder / "home" / "prefect" / "prefect.db").parent.mkdir(parents=True)
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
    return folder / "home"
