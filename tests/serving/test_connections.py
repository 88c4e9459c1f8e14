"""A head that comes too slowly ends its connection; a refusal arrives also at a client that still sends its body."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from reviewlm.core.config.sections.execution import ServingConfig
from reviewlm.serving.api.app import create_app
from reviewlm.serving.connections import (
    HEAD_BYTES,
    TOLD_SECONDS,
    JoinedWrites,
    SeldomLog,
    TimedConnection,
    tell_seldom,
)
from tests.serving.made_versions import MadeSource, made_versions, running
from tests.serving.served import served

DEADLINE = 60.0
HEAD = b"POST /suggest HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@contextmanager
def answering(**options: object) -> Iterator[str]:
    """Serve a model on the server's own connections."""
    with running(made_versions(MadeSource(champion=1))) as versions:
        app = create_app(versions, versions.settings, versions.metrics, None)
        with served(app, http=TimedConnection, **options) as address:
            yield address


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


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HT"], ids=["silent", "begun"])
def test_a_head_that_does_not_come_in_time_ends_its_connection(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reviewlm.serving.connections.HEAD_SECONDS", 0.2)
    with answering() as address, connected(address) as slow:
        slow.sendall(sent)
        assert whole(slow) == b""
        assert httpx.get(f"{address}/healthz").status_code == 200


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "in chunks"])
def test_a_client_that_sends_too_much_sees_why_it_is_refused(
    declared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client reads only after it has sent all, as most do; far more than sockets hold meanwhile."""
    body = b'{"prompt": "' + b"x" * 30_000_000 + b'"}'
    monkeypatch.setattr(ServingConfig, "max_body_kilobytes", 10)
    with answering() as address, connected(address) as client:
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


def test_silent_connections_make_room_for_a_request() -> None:
    with answering(limit_concurrency=8) as address:
        silent = [connected(address) for _ in range(20)]
        try:
            assert httpx.get(f"{address}/healthz").status_code == 200
            assert whole(silent[0]) == b""
        finally:
            for connection in silent:
                connection.close()


def test_what_happens_often_is_logged_once_a_minute_with_its_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seldom = SeldomLog()
    for second in range(int(TOLD_SECONDS) + 1):
        seldom.warn(1_000.0 + second, "closed %d")
    assert [record.getMessage() for record in caplog.records] == ["closed 1", "closed 60"]


def test_a_loop_without_descriptors_logs_one_line(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.new_event_loop()
    tell_seldom(loop)
    full = OSError(errno.EMFILE, "Too many open files")
    for _ in range(50):
        told = {"message": "socket.accept() out of system resource", "exception": full}
        loop.call_exception_handler(told)
    loop.close()
    [record] = caplog.records
    assert record.exc_info is None


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        (b"GET /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1"),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "HTTP/1.1"),
        (HEAD + b"Content-Length: -5\r\n\r\n", "HTTP/1.1"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200, "HTTPS"),
    ],
    ids=["no host", "two hosts", "negative length", "TLS"],
)
def test_what_is_no_http_request_is_refused_in_the_form_of_all_errors(
    sent: bytes, word: str
) -> None:
    with answering() as address, connected(address) as client:
        client.sendall(sent)
        head, _, body = whole(client).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        error = json.loads(body)["error"]
        assert error["code"] == "invalid_http"
        assert word in error["message"]
        assert httpx.get(f"{address}/healthz").status_code == 200


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BODY = b'{"prompt": "The"}'
CHUNK = b"%x\r\n%s\r\n" % (len(BODY), BODY)


@pytest.mark.parametrize(
    "begun",
    [b"GET /healthz HTTP/1.1\r\n", b"GET /", CHUNKED + CHUNK + b"0\r\n", CHUNKED + b"2;"],
    ids=["head", "address", "lines after a body", "extension of a chunk"],
)
def test_what_a_parser_would_keep_without_a_limit_is_refused(begun: bytes) -> None:
    line = b"a: b\r\n" * 170
    if begun.endswith((b"/", b";")):
        line = b"a" * 1_024

    answer = b"HTTP/1.1 400 "  # a client that still sends may lose the answer
    with answering() as address, connected(address) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(begun)
            for _ in range(8 * HEAD_BYTES // 1_024):
                client.sendall(line)
            answer = whole(client)
        assert answer.startswith(b"HTTP/1.1 400 ")


def test_lines_after_a_body_are_no_headers() -> None:
    names: list[bytes] = []

    async def note(
        scope: Any,
        receive: Any,
        send: Any,
    ) -> None:
        while (await receive())["more_body"]:
            pass
        names.extend(name for name, _ in scope["headers"])
        await send(
            {
                "type": "http.response.start",
                "status": 204,
                "headers": [],
            }
        )
        await send({"type": "http.response.body"})

    with served(note, http=TimedConnection) as address, connected(address) as client:
        client.sendall(CHUNKED + CHUNK + b"0\r\nX-Last: 1\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 204 ")
    assert b"host" in names
    assert b"x-last" not in names


def test_an_empty_line_after_a_request_does_not_end_the_connection_before_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some clients send one; the time of a head does not begin with it while an answer is under way."""
    monkeypatch.setattr("reviewlm.serving.connections.HEAD_SECONDS", 0.2)
    begun = threading.Event()

    async def answer(
        scope: Any,
        receive: Any,
        send: Any,
    ) -> None:
        begun.set()
        await asyncio.sleep(0.6)
        await send(
            {
                "type": "http.response.start",
                "status": 204,
                "headers": [],
            }
        )
        await send({"type": "http.response.body"})

    with served(answer, http=TimedConnection) as address, connected(address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        begun.wait(DEADLINE)
        client.sendall(b"\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 204 ")


def test_requests_of_one_packet_are_answered_in_their_order() -> None:
    with answering() as address, connected(address) as client:
        one = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n"
        last = one % b"no" + b"Connection: close\r\n\r\n"
        client.sendall(one % b"healthz" + b"\r\n" + last)
        found = whole(client)
        assert 0 <= found.index(b"HTTP/1.1 200 ") < found.index(b"HTTP/1.1 404 ")


class Sent:
    """A transport that notes what each call sends."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.calls.append(data)


def test_a_head_is_sent_in_one_call_with_its_body() -> None:
    async def write(later: bool) -> list[bytes]:
        sent = Sent()
        joined = JoinedWrites(sent, asyncio.get_running_loop())  # type: ignore[arg-type]
        joined.write(b"HTTP/1.1 200 OK\r\n\r\n")
        if later:
            await asyncio.sleep(0)
        joined.write(b"body")
        await asyncio.sleep(0)
        return sent.calls

    assert asyncio.run(write(later=False)) == [b"HTTP/1.1 200 OK\r\n\r\nbody"]
    assert asyncio.run(write(later=True)) == [b"HTTP/1.1 200 OK\r\n\r\n", b"body"]


def test_unreadable_requests_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    TimedConnection.unreadable = SeldomLog()
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with answering() as address:
        for sent in [b"\0\0\r\n\r\n"] * 5 + [
            b"GET / HTTP/1.0\r\nHost: localhost\r\n" + upgrade
        ] * 5:
            with connected(address) as client:
                client.sendall(sent)
                whole(client)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1


def test_a_whole_address_in_the_first_line_is_read_as_its_path() -> None:
    with answering() as address, connected(address) as client:
        client.sendall(
            b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        assert whole(client).startswith(b"HTTP/1.1 200 ")


def test_head_answers_as_get_without_the_body() -> None:
    with answering() as address:
        for path in (
            "/",
            "/healthz",
            "/readyz",
            "/v1/models",
            "/metrics",
            "/v1/completions",
            "/no",
        ):
            head = httpx.head(f"{address}{path}")
            got = httpx.get(f"{address}{path}")
            assert head.status_code == got.status_code
            assert head.headers["content-type"] == got.headers["content-type"]
            assert not head.content
