"""An application on a real port for the time of a block."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from core.credentials import AccessTokens
from serving.api.app import create_app
from serving.server import KEEP_ALIVE
from serving.versions.versions import Versions
from tests.serving.made_versions import MadeSource, made_versions, running


@contextmanager
def served(app: Any, **more: Any) -> Iterator[str]:
    """Serve an application in a thread, with more options for uvicorn, and give its address."""
    options = {"log_config": None, "access_log": False, "ws": "none", "lifespan": "off", **more}
    server = uvicorn.Server(uvicorn.Config(app, port=0, timeout_keep_alive=KEEP_ALIVE, **options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


@contextmanager
def answering(
    source: MadeSource, tokens: AccessTokens | None = None, **settings: object
) -> Iterator[tuple[str, Versions]]:
    """Serve the versions of a source with these settings; give the address and the versions."""
    with running(made_versions(source, **settings)) as versions:
        app = create_app(versions, versions.settings, versions.metrics, tokens)
        with served(app) as address:
            yield address, versions
