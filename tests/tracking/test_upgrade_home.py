"""A home with the tables of an older MLflow is backed up and migrated; a current one is left alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from core.errors import ArtifactError, ConfigError
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
        "upgraded": False, "before": head_revision(), "after": head_revision(), "backup": "",
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
    assert upgrade_home(tmp_path / "none") == {"upgraded": False, "before": "", "after": "", "backup": ""}
