"""Serve Prefect behind `reviewlm.core.web_guard.Guard`, for `uvicorn --factory`; or its API alone, for one command.

Prefect checks the password itself, but not the Host header. `python -m reviewlm.flows.server.prefect_server FD` serves at a
socket that a command has opened (`private_server.py`).

SQLite transactions of the server begin with the write lock, so that none fails as locked. Prefect begins most of them
as deferred ones, which take the lock with their first write. Where such a transaction reads first and another one
writes meanwhile, SQLite refuses its write at once with "database is locked", since waiting could not help
(SQLITE_BUSY_SNAPSHOT). In the server's event loop this repeats the event, so that alerts arrive twice, and drops it
after four attempts: a run that was taken up again would count as lost. A transaction that begins with the lock waits
for the others instead.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from filelock import FileLock

from reviewlm.core.empty_databases import keep_copy, place_copy
from reviewlm.core.processes.memory import lasting_objects
from reviewlm.core.sqlite_files import database_address
from reviewlm.core.web_guard import Application, Guard
from reviewlm.flows.server.tables import LIBRARY, database_file, newest_tables, turn_to_make

with lasting_objects():
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.server.database.configurations import AioSqliteConfiguration
    from prefect.server.database.dependencies import (
        provide_database_interface,
        set_database_config,
    )
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
    from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction
    from uvicorn.main import STARTUP_FAILURE


def application() -> Guard:
    """Return Prefect's server (API and web pages), which accepts requests from its own pages only."""
    from reviewlm.flows.server import automations  # noqa: F401  # the server sends the alerts, so it must know their block

    lock_first()
    if (file := new_database()) is not None:
        with FileLock(turn_to_make(file)):
            place_copy(LIBRARY, newest_tables(), file)
    return Guard(cast(Application, create_app(final=True)))


class LockFirstSqlite(AioSqliteConfiguration):
    """Begin each transaction with the write lock; what only reads uses no transaction in Prefect."""

    @asynccontextmanager
    async def begin_transaction(
        self, session: AsyncSession, with_for_update: bool = False
    ) -> AsyncGenerator[AsyncSessionTransaction, None]:
        """Begin as for an update, whatever the caller says."""
        async with super().begin_transaction(session, with_for_update=True) as transaction:
            yield transaction


def lock_first() -> None:
    """Configure the database of this process's Prefect server; PostgreSQL needs nothing, as its writers wait."""
    address = PREFECT_API_DATABASE_CONNECTION_URL.value()
    if address.startswith("sqlite"):
        set_database_config(LockFirstSqlite(connection_url=address))


def new_database() -> Path | None:
    """Return the file of this process's Prefect server if it does not exist yet; None if it does, or is elsewhere."""
    file = database_file()
    address = PREFECT_API_DATABASE_CONNECTION_URL.value()
    if file is None or file.exists() or address != database_address(file, "sqlite+aiosqlite"):
        return None
    return file


def make_tables(file: Path) -> None:
    """Make the tables of a new database: a copy of empty ones, or else by Prefect, which are kept for the next home.

    The command that has started this process holds the lock (`private_server.py`).
    """
    if not place_copy(LIBRARY, newest_tables(), file):
        asyncio.run(_migrate())
        keep_copy(LIBRARY, file)


async def _migrate() -> None:
    database = provide_database_interface()
    await database.create_db()
    engine = await database.engine()
    await engine.dispose()


def serve_api(listening: socket.socket) -> None:
    """Serve Prefect's API, without pages and scheduled services, until SIGTERM."""
    lock_first()
    if (file := new_database()) is not None:
        make_tables(file)
    application = create_app(ephemeral=True, final=True)
    server = uvicorn.Server(uvicorn.Config(application, lifespan="on", log_level="error"))
    server.run(sockets=[listening])
    if not server.started:
        sys.exit(STARTUP_FAILURE)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as given:
        serve_api(given)
