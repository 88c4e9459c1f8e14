"""The Prefect server's transactions on SQLite survive a writer beside them."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from threading import Thread

import pytest
from prefect.server.database import dependencies
from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, temporary_settings
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from reviewlm.core.sqlite_files import database_address
from reviewlm.flows.server import prefect_server
from reviewlm.flows.server.prefect_server import LockFirstSqlite, has_newest_tables, lock_first
from reviewlm.flows.server.tables import newest_tables


def written_beside_another(kind: type[AioSqliteConfiguration], file: Path) -> int:
    """Read, let another connection write, write too; return the number of rows in the end."""
    with sqlite3.connect(file) as made:
        made.execute("CREATE TABLE told (word TEXT)")

    def write() -> None:
        with sqlite3.connect(file, timeout=30) as beside:
            beside.execute("INSERT INTO told VALUES ('beside')")

    async def transaction() -> None:
        database = kind(connection_url=f"sqlite+aiosqlite:///{file}")
        async with (
            await database.session(await database.engine()) as session,
            database.begin_transaction(session),
        ):
            await session.execute(text("SELECT * FROM told"))
            writer.start()
            await asyncio.to_thread(writer.join, 0.3)
            await session.execute(text("INSERT INTO told VALUES ('own')"))

    writer = Thread(target=write)
    asyncio.run(transaction())
    writer.join()
    with sqlite3.connect(file) as read:
        return len(read.execute("SELECT * FROM told").fetchall())


def test_a_transaction_that_reads_first_writes_in_spite_of_a_writer_beside_it(
    tmp_path: Path,
) -> None:
    assert written_beside_another(LockFirstSqlite, tmp_path / "ours.db") == 2
    with pytest.raises(OperationalError, match="database is locked"):
        written_beside_another(AioSqliteConfiguration, tmp_path / "prefects.db")


@pytest.mark.parametrize(
    ("address", "configured"),
    [
        ("sqlite+aiosqlite:////tmp/prefect.db", True),
        ("postgresql+asyncpg://me@host/prefect", False),
    ],
)
def test_only_sqlite_is_configured(address: str, configured: bool) -> None:
    with (
        temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: address}),
        dependencies.temporary_database_config(None),
    ):
        dependencies.set_database_config(None)
        lock_first()
        assert (
            isinstance(dependencies.MODELS_DEPENDENCIES["database_config"], LockFirstSqlite)
            is configured
        )


@pytest.mark.parametrize("revision", ["newest", "older", ""])
def test_only_the_newest_tables_need_no_migrations(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    revision: str,
) -> None:
    file = tmp_path / "prefect.db"
    monkeypatch.setattr(prefect_server, "database_file", lambda: file)
    with sqlite3.connect(file) as made:
        made.execute("CREATE TABLE alembic_version (version_num TEXT)")
        if revision:
            stored = newest_tables() if revision == "newest" else "0123456789ab"
            made.execute("INSERT INTO alembic_version VALUES (?)", [stored])
    address = database_address(file, "sqlite+aiosqlite")
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: address}):
        assert has_newest_tables() is (revision == "newest")


def test_tables_elsewhere_are_migrated_by_prefect() -> None:
    elsewhere = "postgresql+asyncpg://me@host/prefect"
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: elsewhere}):
        assert not has_newest_tables()


def test_routes_that_commands_use_come_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = prefect_server.prefect_api.API_ROUTERS
    monkeypatch.setattr(prefect_server.prefect_api, "API_ROUTERS", before)
    prefect_server.look_first_at_routes_of_commands()
    after = prefect_server.prefect_api.API_ROUTERS
    assert sorted(map(id, after)) == sorted(map(id, before))
    assert [router.prefix for router in after[:5]] == [
        "/flows",
        "/flow_runs",
        "/events",
        "/logs",
        "/v2/concurrency_limits",
    ]
