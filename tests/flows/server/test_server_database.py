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

from reviewlm.flows.server.prefect_server import LockFirstSqlite, lock_first


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
