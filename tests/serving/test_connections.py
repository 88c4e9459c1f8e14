"""Slow and many connections lock nobody out; a refusal arrives also at a client that still sends its body."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from core.config.sections.execution import ServingConfig
from serving.api.app import create_app
from serving.connections import Connections
from serving.metrics import Metrics
from tests.serving.made_versions import MadeSource, made_versions, running
from tests.serving.served import served

DEADLINE = 60.0
HEAD = b"POST /suggest HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@contextmanager
def answering(most: int, head_seconds: float = DEADLINE, **settings: object) -> Iterator[tuple[str, Metrics]]:
    """Serve a model behind bounded connections."""
    with running(made_versions(MadeSource(champion=1), **settings)) as versions:
        app = create_app(versions, versions.settings, versions.metrics, None)
        with served(app, http=Connections(most, versions.metrics, head_seconds)) as address:
            yield address, versions.metrics


def connected(address: str) -> socket.socket:
    """A connection on which reading waits for a minute at most."""
    parts = urlsplit(address)
    return socket.create_connection((parts.hostname, parts.port), timeout=DEADLINE)


def whole(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    found = b""
    while piece := connection.recv(65_536):
        found += piece
    return found


def refused(metrics: Metrics, code: str) -> float:
    return metrics.refused.labels(code)._value.get()


class Loop:
    """The part of an event loop that a connection uses; its time passes when the test says so."""

    def __init__(self) -> None:
        self.now, self.timers = 0.0, list[tuple[float, Any, Mock]]()

    def call_later(self, seconds: float, call: Any) -> Mock:
        handle = Mock()
        self.timers.append((self.now + seconds, call, handle))
        return handle

    def create_task(self, work: Any) -> Mock:
        work.close()  # nobody answers
        return Mock()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for _, call, handle in due:
            if not handle.cancel.called:
                call()


class Transport:
    """The server's end of a connection."""

    def __init__(self) -> None:
        self.closed, self.written = False, list[bytes]()
        self.write, self.is_closing = self.written.append, lambda: self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("10.0.0.1", 5) if name == "peername" else default

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """An application; the test gives the answers."""


def begun(head_seconds: float = 10.0) -> tuple[Any, Loop, Transport, Metrics]:
    """A connection that has just begun."""
    config, metrics, loop = uvicorn.Config(nothing, lifespan="off", ws="none", log_config=None), Metrics(), Loop()
    config.load()
    connections = Connections(8, metrics, head_seconds)
    made = connections(config=config, server_state=ServerState(), app_state={}, _loop=loop)
    made.connection_made(transport := Transport())
    return made, loop, transport, metrics


def test_a_head_that_does_not_come_in_time_ends_its_connection() -> None:
    """Byte by byte, too: the time is that of the whole head."""
    for bytes_sent in (0, 5):
        made, loop, transport, metrics = begun()
        for byte in HEAD[:bytes_sent]:
            made.data_received(bytes([byte]))
            loop.pass_time(1.9)
        loop.pass_time(10.1 - loop.now)
        assert transport.closed
        [answer] = transport.written
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "head_too_slow"
        assert refused(metrics, "head_too_slow") == 1


def test_one_address_has_half_of_the_connections_and_gets_them_back() -> None:
    with answering(12) as (address, _), ExitStack() as opened:
        slow = [opened.enter_context(connected(address)) for _ in range(5)]
        for each in slow:
            each.sendall(b"GET /")
        client = opened.enter_context(httpx.Client(base_url=address, timeout=DEADLINE))
        assert client.get("/healthz").status_code == 200  # the sixth
        with connected(address) as seventh:
            assert whole(seventh).startswith(b"HTTP/1.1 429 ")
        for each in slow:
            each.shutdown(socket.SHUT_WR)
            each.close()
        for _ in range(600):  # until the server has seen that they are closed
            try:
                answer = httpx.get(f"{address}/healthz", timeout=DEADLINE)
            except httpx.HTTPError:
                continue
            if answer.status_code == 200:
                break
        else:
            raise AssertionError("no connection came back")


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "in chunks"])
def test_a_client_that_sends_too_much_sees_why_it_is_refused(declared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client reads only after it has sent all, as most do; far more than sockets hold meanwhile."""
    body = b'{"prompt": "' + b"x" * 30_000_000 + b'"}'
    monkeypatch.setattr(ServingConfig, "max_body_kilobytes", 10)
    with answering(16) as (address, _), connected(address) as client:
        if declared:
            client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        else:
            client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            for begin in range(0, len(body), 1 << 20):
                piece = body[begin : begin + (1 << 20)]
                client.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            client.sendall(b"0\r\n\r\n")
        answer = whole(client)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_large"
