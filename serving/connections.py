"""Accept connections within this process's limits: slow ones make room for others, and the log stays short."""

from __future__ import annotations

import asyncio
import logging
import resource
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from reviewlm.serving.api.answers import ApiError

HEAD_SECONDS = 10.0
"""Time within which the head of a request must have arrived, from its first byte on or, of a new connection, from its
beginning on."""
DESCRIPTORS = 1 << 16
SPARE = 256
"""File descriptors that the process asks for (the system's limit may be lower), and those that are not connections."""
AT_ONCE = 32
"""Connections that the loop accepts before it looks at those that it has."""
TOLD_SECONDS = 60.0
"""Time after which the log tells again that connections are too many."""
TLS = b"\x16"
"""First byte of a client that speaks TLS."""
log = logging.getLogger(__name__)


class _NoRepeated(logging.Filter):
    """Drop uvicorn's line for each unreadable request; `TimedConnection` tells it once a minute, with the number."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.getMessage() != "Invalid HTTP request received."


logging.getLogger("uvicorn.error").addFilter(_NoRepeated())


class SeldomLog:
    """Warn once a minute about what may happen thousands of times, with the number of times."""

    def __init__(self) -> None:
        self._count = 0
        self._next = 0.0

    def warn(self, now: float, message: str) -> None:
        """Count an event; log it unless the same was logged in the last minute.

        Args:
            now: The time in seconds.
            message: A sentence with "%d", the number of events since it was logged last.
        """
        self._count += 1
        if now >= self._next:
            log.warning(message, self._count)
            self._count = 0
            self._next = now + TOLD_SECONDS


class TimedConnection(H11Protocol):
    """A connection that is closed if the head of a request takes longer than `HEAD_SECONDS`.

    If there are as many connections as `limit_concurrency`, from which on requests are refused, the one that has waited
    longest for a head is closed: clients that send their requests at once are answered, however many keep silent.
    """

    waiting: ClassVar[dict[TimedConnection, None]] = {}
    """Connections whose next head has not arrived, the oldest first."""
    closed_early: ClassVar[SeldomLog] = SeldomLog()
    unreadable: ClassVar[SeldomLog] = SeldomLog()
    _begin: bytes | None = None
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._wait_for_head()
        if self.limit_concurrency and len(self.connections) >= self.limit_concurrency:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Read on; the time of a head begins with its first byte."""
        if self._begin is None:
            self._begin = data[:1]
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE or not self.conn.trailing_data[0]:
            self._stop_waiting()
        elif self._head_timer is None:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP/1.1 request, in the form of all errors, and close the connection."""
        what = "this is no valid HTTP/1.1 request"
        if self._begin == TLS:
            what = "this address speaks HTTP, not HTTPS: write http://, or put a proxy with TLS before it"

        error = ApiError(400, what, "invalid_http")
        body = error.body()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        for event in (
            h11.Response(
                status_code=error.status,
                headers=headers,
                reason=b"Bad Request",
            ),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")

        self.transport.close()
        self.unreadable.warn(
            self.loop.time(),
            f"%d requests were refused that are no valid HTTP/1.1; the last: {what}",
        )

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing of a client that asks for another protocol: it is answered in this one."""

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)
        self.waiting[self] = None

    def _stop_waiting(self) -> None:
        self.waiting.pop(self, None)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _make_room(self) -> None:
        """Close the connection of this server that has waited longest for its head, unless it is this one."""
        oldest = next(each for each in self.waiting if each.connections is self.connections)
        if oldest is self:
            return
        oldest._stop_waiting()
        oldest.transport.close()
        self.connections.discard(oldest)  # it leaves only in the next turn of the loop
        self.closed_early.warn(
            self.loop.time(),
            "too many connections are open: %d that had sent no whole request were closed to make room",
        )


def connections_allowed() -> int:
    """Raise this process's limit of file descriptors, and return how many connections it can have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        most = min(hard, DESCRIPTORS)

    if soft != resource.RLIM_INFINITY and soft < most:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        except (OSError, ValueError):  # some systems allow less than the hard limit says
            most = soft
    return max(most - SPARE, most // 2)


def tell_seldom(loop: asyncio.AbstractEventLoop) -> None:
    """Let a loop that cannot accept connections say so once a minute; it tries again by itself."""
    seldom = SeldomLog()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), OSError) and "accept" in context.get("message", ""):
            seldom.warn(
                loop.time(),
                f"connections cannot be accepted, %d times ({context['exception']}): raise the limit of open files",
            )
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
