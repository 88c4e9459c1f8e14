"""Send requests to a server over many connections at once, from one thread with plain sockets.

The client shares the machine with the server, so it does as little as it can: it waits for readiness (epoll), joins
bytes, and looks at them after the measurement. Each connection stays open and sends the next request when it has read
the answer to the last one.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

LAST_CHUNK = b"0\r\n\r\n"
RECEIVE = 1 << 16


@dataclass
class Answer:
    """An answer and its times.

    Args:
        sent: When the request was sent.
        first: When the first byte of its text came.
        ended: When it was complete.
        head: Status line and headers.
        body: As it came, with the marks of chunks.
    """

    sent: float
    first: float = 0.0
    ended: float = 0.0
    head: bytes = b""
    body: bytes = b""

    @property
    def status(self) -> int:
        """The status of HTTP."""
        return int(self.head.split(b" ", 2)[1])


@dataclass(frozen=True)
class Load:
    """What a server did with all requests.

    Args:
        answers: In the order in which they ended.
        seconds: From the first request to the last answer.
    """

    answers: Sequence[Answer]
    seconds: float

    def first_ms(self, share: float) -> float:
        """Return a percentile of the milliseconds from a request to its first text."""
        ranked = sorted(1000 * (answer.first - answer.sent) for answer in self.answers)
        return round(ranked[min(len(ranked) - 1, int(share * len(ranked)))], 1)


def post(path: str, values: Mapping[str, Any]) -> bytes:
    """Return the bytes of a request with a JSON body."""
    body = json.dumps(values).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def send_all(
    port: int,
    requests: Sequence[bytes],
    connections: int,
    timeout: float = 300.0,
) -> Load:
    """Send the requests in their order, each as soon as one of the connections is free.

    Raises:
        TimeoutError: No byte came for *timeout* seconds.
        ConnectionError: The server closed a connection before its answer was complete.
    """
    waiting = iter(requests)
    answers: list[Answer] = []
    with selectors.DefaultSelector() as selector:
        open_ones = [_Connection(port) for _ in range(min(connections, len(requests)))]
        for one in open_ones:
            selector.register(one.socket, selectors.EVENT_READ, one)
        began = perf_counter()
        for one in open_ones:
            one.send(next(waiting))
        while len(answers) < len(requests):
            ready = selector.select(timeout)
            if not ready:
                raise TimeoutError(f"no answer for {timeout:.0f} s")
            for key, _ in ready:
                if (answer := key.data.receive()) is not None:
                    answers.append(answer)
                    if (request := next(waiting, None)) is not None:
                        key.data.send(request)
                    else:
                        selector.unregister(key.fileobj)  # the server may close what is idle
        seconds = perf_counter() - began
        for one in open_ones:
            one.socket.close()

    return Load(answers, seconds)


class _Connection:
    """One connection and the answer that it reads."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes) -> None:
        self._parts: list[bytes] = []
        self._answer = Answer(perf_counter())
        self._length = -1
        self._got = 0
        self.socket.sendall(request)

    def receive(self) -> Answer | None:
        """Read what there is; return the answer if it is complete."""
        found = self.socket.recv(RECEIVE)
        if not found:
            raise ConnectionError("the server closed the connection before its answer was complete")

        answer = self._answer
        if not answer.head:
            found = self._head(found)
            if not found:
                return None

        if not answer.first:
            answer.first = perf_counter()

        self._parts.append(found)
        self._got += len(found)
        complete = self._got >= self._length if self._length >= 0 else self._ends(found)
        if not complete:
            return None

        answer.ended = perf_counter()
        answer.body = b"".join(self._parts)
        return answer

    def _head(self, found: bytes) -> bytes:
        """Take the head from what came so far; return the rest, or nothing if the head is not complete."""
        whole = b"".join([*self._parts, found])
        head, end, rest = whole.partition(b"\r\n\r\n")
        if not end:
            self._parts = [whole]
            return b""

        self._parts = []
        self._answer.head = head
        said = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        self._length = int(said[1]) if said else -1
        return rest

    def _ends(self, found: bytes) -> bool:
        if len(found) < len(LAST_CHUNK) and self._parts[:-1]:
            found = self._parts[-2][-len(LAST_CHUNK) :] + found
        return found.endswith(LAST_CHUNK)
