"""Accept connections within this process's limits: slow ones make room for others, and the log stays short."""

from __future__ import annotations

import asyncio
import logging
import resource
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from reviewlm.serving.api.answers import ApiError

HEAD_SECONDS = 10.0
"""Time within which the head of a request must have arrived, from its first byte on or, of a new connection, from its
beginning on."""
HEAD_BYTES = 1 << 16
"""Bytes of a head, about."""
DESCRIPTORS = 1 << 16
SPARE = 256
"""File descriptors that the process asks for (the system's limit may be lower), and those that are not connections."""
AT_ONCE = 32
"""Connections that the loop accepts before it looks at those that it has."""
TOLD_SECONDS = 60.0
"""Time after which the log tells again that connections are too many."""
TLS = b"\x16"
"""First byte of a client that speaks TLS."""
HEAD = b"HTTP/1.1 "
"""Beginning of an answer."""
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


class JoinedWrites:
    """A transport that sends the head of an answer with its body, if that is written in the same turn of the loop.

    Each call of the system lets go of the interpreter: to get it back from an engine's thread may take longer than the
    call.

    Args:
        transport: Sends; it does all else, too.
        loop: Its loop.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send data; keep what looks like a head until more is written, or the turn of the loop ends."""
        if self._head:
            data = self._head + data
            self._head = b""
        elif data.startswith(HEAD):
            self._head = data
            self._loop.call_soon(self._send_head)
            return
        self._transport.write(data)

    def close(self) -> None:
        """Send what was written, and close the connection."""
        self._send_head()
        self._transport.close()

    def _send_head(self) -> None:
        if self._head:
            self._transport.write(self._head)
            self._head = b""


class TimedConnection(HttpToolsProtocol):
    """A connection that is closed if the head of a request takes longer than `HEAD_SECONDS`.

    If there are as many connections as `limit_concurrency`, from which on requests are refused, the one that has waited
    longest for a head is closed: clients that send their requests at once are answered, however many keep silent.

    The parser keeps what it has read of a head, and of the lines that may follow a body, without a limit. So requests
    are refused whose head or last lines have more than `HEAD_BYTES`.
    """

    waiting: ClassVar[dict[TimedConnection, None]] = {}
    """Connections whose next head has not arrived, the oldest first."""
    closed_early: ClassVar[SeldomLog] = SeldomLog()
    unreadable: ClassVar[SeldomLog] = SeldomLog()
    _begin: bytes | None = None
    _head_timer: asyncio.TimerHandle | None = None
    _within_message = False
    """Whether a head was read and the end of its body was not."""
    _kept_bytes = 0
    """Bytes since the last head, piece of a body or end of a request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        joined = cast(asyncio.Transport, JoinedWrites(transport, self.loop))
        super().connection_made(joined)
        self._wait_for_head()
        if self.limit_concurrency and len(self.connections) >= self.limit_concurrency:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Read on; the time of a head begins with its first byte, or with an empty line before it."""
        if self._begin is None:
            self._begin = data[:1]
        if not self._within_message:
            self._wait_for_head()
        self._kept_bytes += len(data)
        super().data_received(data)
        if self._kept_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begin with a request; it may follow another one in the same packet."""
        self._wait_for_head()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header; lines after a body are none."""
        if not self._within_message:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer a request, unless it does not name one host as HTTP/1.1 has it (RFC 9112, 3.2)."""
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            raise ValueError(f"{hosts} hosts")

        self._stop_waiting()
        self._within_message = True
        self._kept_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Note a piece of a body."""
        self._kept_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of a request."""
        self._within_message = False
        self._kept_bytes = 0
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP/1.1 request, in the form of all errors, and close the connection."""
        what = "this is no valid HTTP/1.1 request"
        if self._begin == TLS:
            what = "this address speaks HTTP, not HTTPS: write http://, or put a proxy with TLS before it"

        body = ApiError(400, what, "invalid_http").body()
        head = (
            "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
        self.unreadable.warn(
            self.loop.time(),
            f"%d requests were refused that are no valid HTTP/1.1; the last: {what}",
        )

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing of a client that asks for another protocol: it is answered in this one."""

    def _wait_for_head(self) -> None:
        """Begin to wait for a head, unless an answer is under way: clients may send an empty line behind a body."""
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self._head_timer is None:
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
