"""A home keeps the ports of its pages, and `services start` says what it does and which ports it took."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from core.services import launch, service_list
from core.services.service_list import address_of, keep_ports

Step = tuple[str, float | None, str]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program uses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Names and addresses of the services that would be started; no process is."""
    found: dict[str, str] = {}

    def only_told(
        home: Path, known: dict[str, Any], name: str, command: list[str], address: str = "", *_: Any, **__: Any
    ) -> None:
        found[name] = address
        known[name] = service_list.Service(name, 1, 1.0, address)

    monkeypatch.setattr(launch, "_launch", only_told)
    monkeypatch.setattr(launch, "deploy", lambda environment, pools, home, keep: None)
    monkeypatch.setattr(launch, "usable_pools", lambda: ("cpu-pool",))
    return found


def started(home: Path) -> tuple[dict[str, str], list[Step]]:
    steps: list[Step] = []
    result = launch.start(home, lambda *step: steps.append(step))
    assert [name for name, seconds, _ in steps[::2] if seconds is None] == [name for name, *_ in steps[1::2]]
    return result, steps[1::2]


def test_a_link_leads_to_the_port_that_the_home_gets_when_its_pages_start(
    tmp_path: Path, taken: int, launched: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(launch.DEFAULT_PORTS, "mlflow", taken)
    before = address_of(tmp_path, "mlflow")
    assert before != f"http://127.0.0.1:{taken}", "another program answers there"
    started(tmp_path)
    assert launched["mlflow"] == before == address_of(tmp_path, "mlflow")


OURS = """
import os
LEVEL = os.environ.get("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "")
def application():
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": f"ours{LEVEL}".encode()})
    return app
"""


class Theirs(BaseHTTPRequestHandler):
    """The server of another home, which answers the same page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"theirs")

    def log_message(self, *_: object) -> None: ...


@pytest.mark.slow
def test_a_port_that_another_home_takes_at_the_same_time_is_given_up_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both found it free; the other server answers the health page, and would be taken for ours."""
    (tmp_path / "ours.py").write_text(OURS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # of the terminal, not of log files
    started: dict[str, service_list.Service] = {}
    (home := tmp_path / "home").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), Theirs) as theirs:
        threading.Thread(target=theirs.serve_forever, daemon=True).start()
        port = theirs.server_address[1]
        keep_ports(home, {"mlflow": port})
        real, chosen = launch._port, iter([port])
        monkeypatch.setattr(launch, "_port", lambda *asked: next(chosen, 0) or real(*asked))
        try:
            told = launch._serve(home, started, "mlflow", "ours", "/health")
            address = started["mlflow"].address
            assert urllib.request.urlopen(address, timeout=5).read() == b"ours"
        finally:
            service_list.stop(home)
            theirs.shutdown()
    assert address != f"http://127.0.0.1:{port}"
    assert told.startswith(f"{address}, because another program uses port {port}")
