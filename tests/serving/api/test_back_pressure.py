"""A busy server refuses at once; clients that leave, wait too long or do not read cost the others nothing."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from reviewlm.core.config.sections.execution import ServingConfig
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.serving.versions.versions import Versions
from tests.core.waiting import until
from tests.serving.driven_engine import Endless
from tests.serving.made_versions import MadeSource, bundle_of
from tests.serving.served import answering

ENDLESS = {"prompt": "The", "max_tokens": 4_000}


class Slow(Endless):
    """A model whose texts never end, with a pause before each token."""

    def step(self, ids_B: Any, state: Any) -> Any:
        time.sleep(0.005)
        return super().step(ids_B, state)


def endless() -> MadeSource:
    def make(number: int) -> Bundle:
        bundle = bundle_of(number)
        return replace(bundle, model=Slow(bundle.model))

    source = MadeSource(champion=1)
    source.make = make
    return source


@contextmanager
def asked(source: MadeSource, **settings: object) -> Iterator[tuple[httpx.Client, Versions]]:
    """Serve a source and give a client and the versions."""
    with (
        answering(source, **settings) as (address, versions),
        httpx.Client(base_url=address) as client,
    ):
        yield client, versions


def test_a_full_queue_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ServingConfig, "max_waiting", 1)
    with asked(endless(), max_streams=1) as (client, versions):
        with client.stream("POST", "/v1/completions", json={**ENDLESS, "stream": True}) as first:
            lines = first.iter_lines()  # kept: httpx closes the connection with its iterator
            next(lines)
            with client.stream(
                "POST", "/v1/completions", json={**ENDLESS, "stream": True}
            ) as second:
                assert second.status_code == 200
                refused = client.post("/v1/completions", json=ENDLESS)
                assert refused.status_code == 429
                assert refused.json()["error"]["code"] == "server_busy"
                assert int(refused.headers["retry-after"]) >= 1
                assert client.post("/suggest", json={"prompt": "The"}).status_code == 200
        until(lambda: versions.champion.engine.figures().live == 0)
        assert (
            client.post("/v1/completions", json={"prompt": "The", "max_tokens": 3}).status_code
            == 200
        )


def test_an_answer_that_takes_too_long_is_a_timeout_in_openais_form() -> None:
    with asked(endless(), request_seconds=0.5) as (client, versions):
        late = client.post("/v1/completions", json=ENDLESS)
        assert (late.status_code, late.json()["error"]["type"]) == (504, "timeout_error")
        with client.stream("POST", "/v1/completions", json={**ENDLESS, "stream": True}) as answer:
            events = [line for line in answer.iter_lines() if line]
        assert len(events) > 5
        assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "deadline_exceeded"
        until(lambda: versions.champion.engine.figures().live == 0)


def test_a_client_that_leaves_frees_its_places() -> None:
    with asked(endless()) as (client, versions):
        with client.stream(
            "POST",
            "/v1/completions",
            json={
                **ENDLESS,
                "stream": True,
                "n": 3,
            },
        ) as answer:
            lines = answer.iter_lines()
            next(lines)
            until(lambda: versions.champion.engine.figures().live == 3)
        until(lambda: versions.champion.engine.figures().live == 0)
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/completions", json={**ENDLESS, "n": 2}, timeout=0.2)
        until(lambda: versions.champion.engine.figures().live == 0)
        until(lambda: versions.champion.leases == 0)


def connected(
    address: str,
    head: str,
    body: bytes = b"",
) -> socket.socket:
    """A client on a bare socket that takes in very little without being read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
    connection.settimeout(20)
    connection.connect((urlsplit(address).hostname, urlsplit(address).port))
    connection.sendall(head.replace("\n", "\r\n").encode() + body)
    return connection


HEAD = "POST /v1/completions HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length: {}\n\n"


def test_a_body_that_does_not_come_is_given_up() -> None:
    with asked(MadeSource(champion=1), request_seconds=0.3) as (client, _):
        connection = connected(str(client.base_url), HEAD.format(100), b'{"prompt"')
        told = b"".join(iter(lambda: connection.recv(10_000), b"")).decode()
        assert told.startswith("HTTP/1.1 408")
        assert "the body did not arrive within 0.3 s" in told
        connection.close()
