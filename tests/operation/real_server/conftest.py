"""A Prefect server with our alerts, and addresses that receive them."""

from __future__ import annotations

import os
import socketserver
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from reviewlm.core.credentials import credentials_of, prefect_client
from reviewlm.core.services import launch, service_list
from tests.operation.real_server.asked_server import set_up
from tests.operation.real_server.received import Hook, Mail


@pytest.fixture(scope="module")
def addresses() -> Iterator[list[str]]:
    servers = [
        ThreadingHTTPServer(("127.0.0.1", 0), Hook),
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail),
    ]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    hook, mail = (server.server_address[1] for server in servers)
    yield [
        f"json://127.0.0.1:{hook}/",
        f"mailto://127.0.0.1:{mail}?from=lm@example.com&to=me@example.com&mode=insecure",
    ]
    for server in servers:
        server.shutdown()


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, addresses: list[str]
) -> Iterator[dict[str, str]]:
    """The environment of programs that use a Prefect server with our alerts."""
    home, started = tmp_path_factory.mktemp("alerted"), dict[str, service_list.Service]()
    before = {
        name: os.environ.get(name)
        for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_HOME")
    }
    os.environ.pop("PREFECT_API_URL", None)
    os.environ["PREFECT_HOME"] = str(home / "prefect")
    try:
        (starter := launch.Starter(home, started)).serve("prefect")
        starter.wait("prefect")
        yield from alerting(started["prefect"].address, home, addresses)
    finally:
        service_list.stop(home)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def alerting(
    address: str,
    home: Path,
    addresses: list[str],
) -> Iterator[dict[str, str]]:
    """Set up the alerts, and give the environment of programs that use the server."""
    known = {"PREFECT_API_URL": address + "/api", **prefect_client(credentials_of(home))}
    environment = {**os.environ, **known}
    for _ in range(2):
        set_up(environment, addresses)
    yield environment
