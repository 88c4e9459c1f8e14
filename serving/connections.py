"""Bound connections before a request is read: time for its head, number from one address, file descriptors.

uvicorn limits none of these: a client that sends a head byte by byte keeps its connection for ever, and some hundreds
of them leave no descriptor for anybody else.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.api.errors import ApiError
from serving.metrics import Metrics

HEAD_SECONDS = 10.0
"""Time within which the head of a request must have arrived, from its first byte on or, of a new connection, from its
beginning on."""
DESCRIPTORS = 1 << 16
"""File descriptors that the process asks for; the system's limit may be lower."""
SPARE = 32
"""Descriptors that are left for files, sockets and pipes which are opened later."""
LEAST = 8
log = logging.getLogger(__name__)


def connections_allowed() -> int:
    """Raise this process's limit of file descriptors, and return how many connections it can have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < descriptors:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limit = DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
    opened = Path("/proc/self/fd")
    return max(LEAST, limit - (len(list(opened.iterdir())) if opened.is_dir() else SPARE) - SPARE)


class Connections:
    """The open connections of a server; give it to uvicorn as `http`.

    One address may have half of them, so that a single client never locks out the others. A proxy is one address, too.

    Args:
        most: Largest number.
        metrics: Where refusals are counted.
        head_seconds: See `HEAD_SECONDS`.
    """

    def __init__(self, most: int, metrics: Metrics, head_seconds: float = HEAD_SECONDS) -> None:
        self.most, self.metrics, self.head_seconds = most, metrics, head_seconds
        self.by_address: Counter[str] = Counter()

    def __call__(self, **options: Any) -> H11Protocol:
        """Return the protocol of a new connection."""
        return _Connection(self, **options)

    def refusal(self, address: str) -> ApiError | None:
        """Return why a new connection from an address is refused; None: it is not."""
        if self.by_address.total() >= self.most:
            return ApiError(503, "the server has no connection left", "too_many_connections")
        if self.by_address[address] >= max(1, self.most // 2):
            message = f"this address has {self.by_address[address]:,} connections, half of what the server can have"
            return ApiError(429, message, "too_many_connections")
        return None


class _Connection(H11Protocol):
    """A connection that is closed if the head of a request takes too long."""

    def __init__(self, open_connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._open, self._address = open_connections, ""
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection, or refuse it."""
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        refusal = self._open.refusal(self._address)
        self._open.by_address[self._address] += 1
        if refusal is None:
            self._wait_for_head()
        else:
            self._refuse(refusal)

    def data_received(self, data: bytes) -> None:
        """Read on; the time of a head begins with its first byte."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE or not self.conn.trailing_data[0]:
            self._stop_waiting()
        elif self._head_timer is None:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection."""
        self._stop_waiting()
        self._open.by_address[self._address] -= 1
        if not self._open.by_address[self._address]:
            del self._open.by_address[self._address]
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(self._open.head_seconds, self._head_is_late)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        message = f"the head of the request did not arrive within {self._open.head_seconds:g} s"
        self._refuse(ApiError(408, message, "head_too_slow"))

    def _refuse(self, error: ApiError) -> None:
        """Answer with an error before there is a request, and close."""
        if self.transport.is_closing():
            return
        self._open.metrics.refused.labels(error.code).inc()
        body = error.body()
        head = f"HTTP/1.1 {error.status} Refused\r\ncontent-type: application/json\r\nconnection: close\r\n"
        self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()
