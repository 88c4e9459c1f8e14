"""Serve Prefect's API for one command, at a socket that the command has opened.

`python -m flows.server.private_program FD`; `private_server.py` starts it.
"""

from __future__ import annotations

import socket
import sys

from core.processes.memory import lasting_objects

with lasting_objects():
    import uvicorn
    from prefect.server.api.server import create_app
    from uvicorn.main import STARTUP_FAILURE

    from flows.server.prefect_server import lock_first


def main() -> None:
    """Serve until SIGTERM."""
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        lock_first()
        application = create_app(ephemeral=True, final=True)  # without pages and scheduled services
        server = uvicorn.Server(uvicorn.Config(application, lifespan="on", log_level="error"))
        server.run(sockets=[listening])
    if not server.started:
        sys.exit(STARTUP_FAILURE)


if __name__ == "__main__":
    main()
