"""Serve Prefect behind `core.web_guard.Guard`, for `uvicorn --factory`.

Prefect checks the password itself, but not the Host header.
"""

from __future__ import annotations

from typing import cast

from core.web_guard import Application, Guard


def application() -> Guard:
    """Return Prefect's server (API and web pages), which accepts requests from its own pages only."""
    from prefect.server.api.server import create_app

    from flows.server import automations  # noqa: F401  # the server sends the alerts, so it must know their block
    from flows.server.database import lock_first

    lock_first()
    return Guard(cast(Application, create_app(final=True)))
