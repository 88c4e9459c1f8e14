"""An application on a real port for the time of a block."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

from reviewlm.core.credentials import AccessTokens
from reviewlm.serving.api.app import create_app
from reviewlm.serving.server import KEEP_ALIVE
from reviewlm.serving.versions.versions import Versions
from tests.serving.made_versions import MadeSource, made_versions, running


def ask(
    app: Any,
    method: str,
    path: str,
    base_url: str = "http://localhost",
    **options: Any,
) -> httpx.Response:
    """Return the answer of an application without a server to one request."""

    async def one() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url=base_url
        ) as client:
            return await client.request(method, path, **options)

    return asyncio.run(one())


@contextmanager
def served(app: Any, **more: Any) -> Iterator[str]:
    """Serve an application in a thread, with more options for uvicorn, and give its address."""
    options = {
        "log_config": None,
        "access_log": False,
        "ws": "none",
        "lifespan": "off",
        **more,
    }
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=0,
            timeout_keep_alive=KEEP_ALIVE,
            **options,
        )
    )
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
