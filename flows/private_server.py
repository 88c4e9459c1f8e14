"""The Prefect server that a command starts for itself: locked, and a child like all others.

Without a password it answers any page in a browser. As Prefect starts it, the terminal's Ctrl-C that ends a run would
end the server first, and the run would try for minutes to tell it; and a run that is killed would leave it behind.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import Any

from core.credentials import one_time, prefect_client, prefect_server
from core.processes.children import start_child


def prepare_private_server() -> None:
    """Prepare for the server that Prefect starts with the first flow, unless one is named already."""
    lock_private_server()
    start_as_child()


def lock_private_server() -> None:
    """Give the server that Prefect is going to start, and this process, a password; call it before the first flow.

    Does nothing where a server is named already: the settings of the user, or of `reviewlm ui`, are in force then.
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
    """Have the server end with this process, and not hear the terminal; nothing where no server will be started."""
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        from prefect.server.api import server  # takes a second, and Prefect will need it

        server.subprocess = _Children()  # type: ignore[assignment]


class _Children:
    """Stands in for the module `subprocess` where Prefect starts its server: what to run is Prefect's own affair."""

    @staticmethod
    def Popen(args: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start the server, whose command line begins with Python's own name."""
        return start_child(args[1:], **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)
