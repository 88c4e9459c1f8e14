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

import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

from reviewlm.core.processes.memory import lasting_objects
from reviewlm.core.web_guard import Application, Guard

with lasting_objects():
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.server.database.configurations import AioSqliteConfiguration
    from prefect.server.database.dependencies import set_database_config
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
    from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction
    from uvicorn.main import STARTUP_FAILURE


def application() -> Guard:
    """Return Prefect's server (API and web pages), which accepts requests from its own pages only."""
    from reviewlm.flows.server import automations  # noqa: F401  # the server sends the alerts, so it must know their block

    lock_first()
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


def serve_api(listening: socket.socket) -> None:
    """Serve Prefect's API, without pages and scheduled services, until SIGTERM."""
    lock_first()
    application = create_app(ephemeral=True, final=True)
    server = uvicorn.Server(uvicorn.Config(application, lifespan="on", log_level="error"))
    server.run(sockets=[listening])
    if not server.started:
        sys.exit(STARTUP_FAILURE)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as given:
        serve_api(given)
