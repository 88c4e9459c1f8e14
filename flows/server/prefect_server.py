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
from reviewlm.core.table_revisions import stored_revision
from reviewlm.core.web_guard import Application, Guard
from reviewlm.flows.server.tables import LIBRARY, database_file, newest_tables, turn_to_make

with lasting_objects():
    import uvicorn
    from prefect.server.api import concurrency_limits_v2, events, flow_runs, flows, logs
    from prefect.server.api import server as prefect_api
    from prefect.server.api.server import create_app
    from prefect.server.database.configurations import AioSqliteConfiguration
    from prefect.server.database.dependencies import (
        provide_database_interface,
        set_database_config,
    )
    from prefect.settings import (
        PREFECT_API_DATABASE_CONNECTION_URL,
        PREFECT_API_DATABASE_MIGRATE_ON_START,
        temporary_settings,
    )
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


def look_first_at_routes_of_commands() -> None:
    """Let this process's Prefect server look for a route first where a command's requests go.

    FastAPI prepares all routes that it has looked at before one matches: those of events stood in the 22nd place.
    """
    routes = [part.router for part in (flows, flow_runs, events, logs, concurrency_limits_v2)]
    others = [router for router in prefect_api.API_ROUTERS if router not in routes]
    prefect_api.API_ROUTERS = (*routes, *others)


def own_database() -> Path | None:
    """Return the file of the tables of this process's Prefect server; None if they are elsewhere."""
    file = database_file()
    address = PREFECT_API_DATABASE_CONNECTION_URL.value()
    if file is None or address != database_address(file, "sqlite+aiosqlite"):
        return None
    return file


def new_database() -> Path | None:
    """Return the file of this process's Prefect server if it does not exist yet; None if it does, or is elsewhere."""
    file = own_database()
    if file is None or file.exists():
        return None
    return file


def make_tables(file: Path) -> None:
    """Make the tables of a new database: a copy of empty ones, or else by Prefect, which are kept for the next home.

    The command that has started this process holds the lock (`private_server.py`).
    """
    if not place_copy(LIBRARY, newest_tables(), file):
        asyncio.run(_migrate())
        keep_copy(LIBRARY, file)


def has_newest_tables() -> bool:
    """Return whether the tables of this process's server are in its file, and the newest that Prefect knows."""
    file = own_database()
    newest = newest_tables()
    return file is not None and bool(newest) and stored_revision(file) == newest


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

    look_first_at_routes_of_commands()
    # Prefect would read all its migrations again, to find that there is nothing to do.
    migrate = not has_newest_tables()
    with temporary_settings(updates={PREFECT_API_DATABASE_MIGRATE_ON_START: migrate}):
        served = create_app(ephemeral=True, final=True)
        server = uvicorn.Server(uvicorn.Config(served, lifespan="on", log_level="error"))
        server.run(sockets=[listening])

    if not server.started:
        sys.exit(STARTUP_FAILURE)


def serve_at(descriptor: int) -> None:
    """Serve Prefect's API at a socket that another process has opened, given its descriptor."""
    with socket.socket(fileno=descriptor) as given:
        serve_api(given)


if __name__ == "__main__":
    serve_at(int(sys.argv[1]))
