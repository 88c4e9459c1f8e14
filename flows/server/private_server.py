"""Protect a command's private Prefect server with a password and run it as a child process.

Without a password the server answers any page in a browser. Prefect starts it in the terminal's process group: Ctrl-C
would end the server before the run, and the run would try for minutes to reach it. A killed run would leave the server
running.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import Any

from core.credentials import one_time, prefect_client, prefect_server
from core.processes.children import start_child


def prepare_private_server() -> None:
    """Prepare for the server that Prefect starts with the first flow, unless the settings name a server."""
    lock_private_server()
    start_as_child()


def lock_private_server() -> None:
    """Set a password for the server that Prefect will start and for this process; call it before the first flow.

    Do nothing if a server is already named: then the settings of the user or of `reviewlm ui` apply.
    """
    from prefect.context import refresh_global_settings_context
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url or settings.api.auth_string or settings.server.api.auth_string:
        return
    credentials = one_time()
    os.environ.update({**prefect_server(credentials), **prefect_client(credentials)})
    refresh_global_settings_context()


def start_as_child() -> None:
    """Make the server end with this process and ignore the terminal. Do nothing if Prefect will start no server."""
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        from prefect.server.api import server  # imported here because it takes a second; Prefect needs it anyway

        server.subprocess = _Children()  # type: ignore[assignment]


class _Children:
    """Replacement for the module `subprocess` in Prefect's code that starts the server. Prefect chooses the command."""

    @staticmethod
    def Popen(args: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start the server as a child; the first item of *args* is the Python executable and is dropped."""
        return start_child(args[1:], **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)
