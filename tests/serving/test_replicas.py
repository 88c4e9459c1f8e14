"""Two replicas share a home: one is ended in the middle of its work, and no user notices."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.bundles.bundle import EQUAL_STARS
from models.completion.suggestions import suggest
from tests.serving.made_versions import bundle_of
from tests.serving.processes import Process, version

pytestmark = pytest.mark.long
TYPED = "The pizza was great and the staff was friendly."
NOT_ANSWERED = (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
USERS = 6


class RoundRobin:
    """A plain reverse proxy in one class: the next replica in turn; another one if it ends before it answers.

    No request changes anything, so one that got no byte of an answer may be sent again.
    """

    def __init__(self, addresses: list[str]) -> None:
        self.clients, self.turn = [httpx.Client(base_url=address, timeout=60) for address in addresses], count()
        self.again = 0

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        first = next(self.turn)
        for attempt in range(len(self.clients)):
            number = (first + attempt) % len(self.clients)
            try:
                answer = self.clients[number].post(path, json=body)
            except NOT_ANSWERED:
                self.again += 1
                continue
            if answer.status_code == 503:
                continue
            assert answer.status_code == 200, answer.text
            return number, answer.json()
        raise AssertionError("no replica answers")


class User(threading.Thread):
    """Types a text letter by letter, and asks for reviews and scores, until told to stop."""

    def __init__(self, proxy: RoundRobin, expected: dict[str, list[str]], stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.proxy, self.expected, self.stop = proxy, expected, stop
        self.failures: list[str] = []
        self.answers: Counter[int] = Counter()

    def run(self) -> None:
        while not self.stop.is_set():
            for end in range(1, len(TYPED) + 1):
                try:
                    self.ask(TYPED[:end], end)
                except Exception as error:
                    self.failures.append(repr(error))
                if self.stop.is_set():
                    return

    def ask(self, text: str, end: int) -> None:
        number, told = self.proxy.post("/suggest", {"prompt": text, "k": 3})
        self.answers[number] += 1
        if [word["word"] for word in told["words"]] != self.expected[text]:
            self.failures.append(f"{text!r}: {told['words']}")
        if end % 5 == 0:
            self.proxy.post("/v1/completions", {"prompt": text, "max_tokens": 20, "seed": end})
            self.proxy.post("/score", {"texts": [text]})


def test_a_replica_that_is_ended_loses_no_request_and_typing_goes_on_at_the_other(own_home: Path) -> None:
    version(own_home, 1, "champion")
    replicas = [Process(own_home), Process(own_home)]
    stop = threading.Event()
    try:
        for replica in replicas:
            assert replica.client.get("/readyz").status_code == 200
        bundle = replace(bundle_of(1), stars_prior=EQUAL_STARS)  # as it is registered
        beginnings = [TYPED[:end] for end in range(1, len(TYPED) + 1)]
        expected = {text: [word for word, _ in suggest(bundle, text, 3).words] for text in beginnings}
        proxy = RoundRobin([replica.told["address"] for replica in replicas])
        users = [User(proxy, expected, stop) for _ in range(USERS)]
        for user in users:
            user.start()
        body = {"prompt": "The", "max_tokens": 4_000, "n": 60, "stream": True, "temperature": 2.0, "seed": 5}
        with replicas[0].client.stream("POST", "/v1/completions", json=body) as answer:
            lines = answer.iter_lines()
            streamed = [next(lines)]
            replicas[0].process.send_signal(signal.SIGTERM)
            streamed += list(lines)
        assert replicas[0].process.wait(30) == 128 + signal.SIGTERM
        answered = sum(user.answers[1] for user in users)
        until(lambda: sum(user.answers[1] for user in users) > answered + 10 * USERS)
        stop.set()
        for user in users:
            user.join(60)
        assert [failure for user in users for failure in user.failures] == []
        assert all(min(user.answers[0], user.answers[1]) > 0 for user in users)
        assert "data: [DONE]" in streamed
        assert text_of(streamed) == text_of(lines_of(replicas[1], body))
        assert replicas[1].client.get("/readyz").status_code == 200
    finally:
        stop.set()
        for replica in replicas:
            replica.process.kill()
            replica.process.wait()


def lines_of(replica: Process, body: dict[str, Any]) -> list[str]:
    with replica.client.stream("POST", "/v1/completions", json=body) as answer:
        return list(answer.iter_lines())


def text_of(lines: list[str]) -> dict[int, str]:
    """Return the text of each choice of a stream."""
    texts: dict[int, str] = {}
    for line in lines:
        if line.startswith("data: {"):
            for choice in json.loads(line.removeprefix("data: "))["choices"]:
                texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    return texts


def until(holds: Any) -> None:
    over = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < over
        time.sleep(0.02)
