"""Databases with the tables of earlier releases of MLflow and Prefect, and rows in them."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

FLOW, RUN, STATE = (f"11111111-0000-4000-8000-00000000000{number}" for number in (1, 2, 3))
LIMIT, ENDED = "db-writers", "2026-01-02 03:04:05.000000"
MIGRATED_LIMITS = "8bb517bae6f9"
"""Revision of Prefect's tables before a migration that moves rows: limits of tags become another kind of limit."""


def mlflow_revisions() -> list[str]:
    """Return the revisions of MLflow's tables, the newest first."""
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    return [script.revision for script in ScriptDirectory.from_config(_get_alembic_config("")).walk_revisions()]


def make_mlflow_tables(uri: str, revision: str) -> None:
    """Create MLflow's tables as they were at a revision, as MLflow does it: the first ones, then its migrations."""
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base
    from sqlalchemy import create_engine

    Base.metadata.create_all(engine := create_engine(uri))
    engine.dispose()
    command.upgrade(_get_alembic_config(uri), revision)


def make_mlflow_older(home: Path, revision: str) -> None:
    """Replace the database of a home by one with older tables and all rows that had a place in them."""
    file, older = home / "mlflow.db", home / "older.db"
    make_mlflow_tables(f"sqlite:///{older}", revision)
    with closing(sqlite3.connect(older)) as database:
        database.execute("ATTACH ? AS newer", (str(file),))
        for table in tables_in(database) - {"alembic_version"}:
            both = columns(database, table, "main") & columns(database, table, "newer")
            if names := ", ".join(f'"{name}"' for name in both):
                database.execute(f'INSERT OR REPLACE INTO main."{table}" ({names}) SELECT {names} FROM newer."{table}"')
        database.commit()
    for path in home.glob("mlflow.db*"):
        path.unlink()
    older.rename(file)
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode=WAL")


def tables_in(database: sqlite3.Connection) -> set[str]:
    return {name for (name,) in database.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'")}


def columns(database: sqlite3.Connection, table: str, schema: str) -> set[str]:
    """Return the columns that can be written: no generated ones."""
    rows = database.execute("SELECT name, hidden FROM pragma_table_xinfo(?, ?)", (table, schema))
    return {name for name, hidden in rows if not hidden}


def prefect_database(words: list[str], folder: Path, uri: str) -> None:
    """Run `prefect server database …`."""
    environment = {
        **os.environ, "PREFECT_HOME": str(folder), "PREFECT_SERVER_DATABASE_CONNECTION_URL": uri,
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    }
    command = [sys.executable, "-m", "prefect", "server", "database", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def make_prefect_older(home: Path, revision: str = MIGRATED_LIMITS) -> None:
    """Give a home a database of Prefect with older tables, a run that completed, and a limit with a place taken."""
    (file := home / "prefect" / "prefect.db").parent.mkdir(parents=True)
    uri = f"sqlite+aiosqlite:///{file}"
    prefect_database(["upgrade", "--yes"], file.parent, uri)
    prefect_database(["downgrade", "--yes", "-r", revision], file.parent, uri)
    with closing(sqlite3.connect(file)) as database, database:
        write_prefect_rows(database, took="1970-01-01 00:01:30.000000")


def write_prefect_rows(database: Any, took: str) -> None:
    """Write the rows of `make_prefect_older`.

    Args:
        database: It has `execute`.
        took: 90 seconds, as Prefect writes them: it cannot read the default 0 that its tables have in SQLite.
    """
    database.execute(f"INSERT INTO flow (id, name) VALUES ('{FLOW}', 'retrain')")
    database.execute(f"INSERT INTO flow_run (id, name, flow_id) VALUES ('{RUN}', 'brave-fox', '{FLOW}')")
    database.execute(
        f"INSERT INTO flow_run_state (id, flow_run_id, type, name, timestamp) "
        f"VALUES ('{STATE}', '{RUN}', 'COMPLETED', 'Completed', '{ENDED}')"
    )
    database.execute(
        f"UPDATE flow_run SET state_id = '{STATE}', state_type = 'COMPLETED', state_name = 'Completed', "
        f"state_timestamp = '{ENDED}', end_time = '{ENDED}', run_count = 1, total_run_time = '{took}'"
    )
    database.execute(
        f"INSERT INTO concurrency_limit (id, tag, concurrency_limit, active_slots) "
        f"VALUES ('{FLOW}', '{LIMIT}', 3, '[\"{RUN}\"]')"
    )


def prefect_rows(ask: Any) -> dict[str, Any]:
    """Return what has become of those rows; `ask` returns the rows that a query finds."""
    [(run, flow)] = ask("SELECT r.name, f.name FROM flow_run r JOIN flow f ON f.id = r.flow_id")
    [(limit, places, taken)] = ask('SELECT name, "limit", active_slots FROM concurrency_limit_v2')
    return {"run": run, "flow": flow, "limit": limit, "places": places, "taken": int(taken)}


KEPT = {"run": "brave-fox", "flow": "retrain", "limit": f"tag:{LIMIT}", "places": 3, "taken": 1}
