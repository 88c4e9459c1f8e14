"""Check every HTTP request before the application (ASGI): access, size and time of the body; errors in one JSON shape.

It wraps the whole application, so that a refused request reaches nothing behind it, and no exception leaves a
traceback in an answer. Host, Origin, access token and requests per minute decide who is answered.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from math import ceil
from time import monotonic, perf_counter
from typing import Any

from reviewlm.core.credentials import AccessTokens
from reviewlm.core.errors import Unreadable
from reviewlm.core.web_guard import Application, Message, Receive, Send, header, reason_to_refuse
from reviewlm.serving.api.answers import ApiError, defect, new_id
from reviewlm.serving.metrics import Metrics

PROBES = frozenset({"/healthz", "/readyz"})
"""Paths that are answered under every Host name and without a token: who starts and stops servers may know only their
addresses."""
OPEN = PROBES | {"/", "/docs", "/openapi.json"}
"""Paths that need no token: the page, which asks for a token itself, and the description of the addresses."""
PAGE = "/page/"
"""Beginning of the paths of the page's files, which hold nothing secret."""
log = logging.getLogger(__name__)
NAME_A_HOST = """reviewlm serve --set 'serving.hosts=["HOST"]'"""
LOOPBACK = frozenset({b"127.0.0.1", b"localhost", b"[::1]"})
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
)
"""Headers of every answer that does not set them itself. An answer is never a page that may load or run anything."""
log = logging.getLogger(__name__)


def path_of(scope: Message) -> str:
    """Return the path of a request below the path at which the application is."""
    path = str(scope["path"])
    root = str(scope.get("root_path", ""))
    if path.startswith(f"{root}/"):
        return path.removeprefix(root)
    return path


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Access:
    """Refuse requests of other web pages, without a token, and beyond a token's rate.

    Args:
        hosts: Values of the Host header that are answered, beside those of this machine; None: any.
        tokens: Known tokens; None: none is needed.
        per_minute: Requests per token and minute; 0: no limit.
        clock: Seconds.
    """

    def __init__(
        self,
        hosts: Collection[str] | None,
        tokens: AccessTokens | None,
        per_minute: int,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._hosts = None
        if hosts is not None:
            self._hosts = {host.strip().lower().encode() for host in hosts}

        self._tokens = tokens
        self._per_minute = per_minute
        self._clock = clock
        self._spent: dict[str, tuple[float, float]] = {}

    def require(self, scope: Message) -> None:
        """Raise ApiError if a request is refused.

        A probe is never refused. But `scope["stranger"]` says whether it must learn no more than the status: it has no
        known token though there are tokens, or a page may have caused it that has given its own name to this machine
        (DNS rebinding).
        """
        reason = reason_to_refuse(scope, self._is_own, self._is_named, NAME_A_HOST)
        path = path_of(scope)
        if path in PROBES:
            scope["stranger"] = bool(reason) or not self._is_known(scope)
            return
        if reason:
            raise ApiError(403, reason, "foreign_request")
        if self._tokens is None or path in OPEN or path.startswith(PAGE):
            return

        name = self._name_in(scope, self._tokens)
        if self._per_minute:
            self._count(name)

    def _is_known(self, scope: Message) -> bool:
        """Return whether a request has a known token, or none is needed."""
        try:
            return self._tokens is None or bool(self._name_in(scope, self._tokens))
        except ApiError:
            return False

    @staticmethod
    def _name_in(scope: Message, tokens: AccessTokens) -> str:
        """Return the name of a request's token; raise ApiError if it has none that is known."""
        try:
            tokens.refresh()
        except Unreadable as error:
            log.error("no token is accepted: %s", error.what)
            raise ApiError(503, "the access tokens cannot be read", "tokens_unreadable") from error

        scheme, _, token = b"".join(header(scope, b"authorization")).partition(b" ")
        name = None
        if scheme.lower() == b"bearer":
            name = tokens.name_of(token.strip().decode("latin-1"))
        if name is None:
            message = "the access token is not known"
            if not token:
                message = "the access token is missing; send the header Authorization: Bearer TOKEN"
            headers = {"WWW-Authenticate": "Bearer"}
            raise ApiError(
                401,
                message,
                "invalid_api_key",
                None,
                headers,
            )

        return name

    def _is_own(self, host: bytes) -> bool:
        return self._hosts is None or _name_of(host) in LOOPBACK or self._is_named(host)

    def _is_named(self, host: bytes) -> bool:
        """Return whether the user has named a host, with its port or without."""
        return self._hosts is not None and not self._hosts.isdisjoint((host, _name_of(host)))

    def _count(self, name: str) -> None:
        """Take one request out of a token's budget, which fills up again within a minute."""
        now = self._clock()
        left, before = self._spent.get(name, (float(self._per_minute), now))
        left = min(float(self._per_minute), left + (now - before) * self._per_minute / 60)
        if left < 1:
            wait = max(1, ceil((1 - left) * 60 / self._per_minute))
            self._spent[name] = left, now
            message = f"the token '{name}' has made {self._per_minute} requests in a minute; try again in {wait} s"
            raise ApiError(
                429,
                message,
                "rate_limit_exceeded",
                None,
                {"Retry-After": str(wait)},
            )
        self._spent[name] = left - 1, now


def _without_origin(path: str) -> str:
    """Return the path of a request whose first line has a whole address, as clients send it to a proxy (RFC 9112)."""
    scheme, separator, rest = path.partition("://")
    if separator and scheme.lower() in ("http", "https"):
        return f"/{rest.partition('/')[2]}"
    return path


def _name_of(host: bytes) -> bytes:
    """Return a host without its port."""
    name, _, port = host.rpartition(b":")
    return name if port.isdigit() else host


class Door:
    """The application behind its checks.

    Args:
        app: The application; a request's `scope["started"]` is the time when it came.
        access: Who is answered.
        metrics: What is counted.
        most_bytes: Largest body.
        seconds: Time within which a body must have arrived.
        root: Path at which a proxy offers the application, such as "/reviews"; it may take it off requests or not.
    """

    def __init__(
        self,
        app: Application,
        access: Access,
        metrics: Metrics,
        most_bytes: int,
        seconds: float,
        root: str = "",
    ) -> None:
        self.app = app
        self.access = access
        self.metrics = metrics
        self.most_bytes = most_bytes
        self.seconds = seconds
        self.root = root

    async def __call__(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer a request (ASGI 3)."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send(
                {
                    "type": "websocket.close",
                    "code": 1008,
                    "reason": "there are no web sockets here",
                }
            )
        elif self.root and scope["path"] == self.root:
            location = (b"location", f"{self.root}/".encode())
            await send(
                {
                    "type": "http.response.start",
                    "status": 307,
                    "headers": [location],
                }
            )
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._answer(self._below_root(scope), receive, send)

    def _below_root(self, scope: Message) -> Message:
        """Return the scope of a request with the path at which the application is, as ASGI has it."""
        path = _without_origin(scope["path"])
        if not self.root:
            return {**scope, "path": path}
        whole = path
        if not path.startswith(f"{self.root}/"):
            whole = self.root + path

        return {
            **scope,
            "path": whole,
            "root_path": self.root,
        }

    async def _answer(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
    ) -> None:
        if scope["method"] == "HEAD":
            # The web server, which keeps its own scope, leaves out the body.
            scope = {**scope, "method": "GET"}

        started = scope["started"] = perf_counter()
        answer = _Answer(send, new_id())
        try:
            self.access.require(scope)
            await self.app(scope, await self._bound_body(scope, receive), answer.send)
        except ApiError as error:
            # A client that waits for leave to send its body sends none after a refusal.
            waits = header(scope, b"expect")
            rest = receive if error.status == 413 and not waits else None
            await self._refuse(answer, error, rest)
        except Exception:
            log.exception("request %s (%s %s) failed", answer.id, scope["method"], scope["path"])
            if not answer.status:
                await self._refuse(answer, defect())
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, str(answer.status or 499)).inc()
            self.metrics.seconds.labels(route).observe(perf_counter() - started)

    async def _refuse(
        self,
        answer: _Answer,
        error: ApiError,
        rest: Receive | None = None,
    ) -> None:
        """Refuse a request before the application sees it.

        The rest of a body that is too large is read and thrown away: a client that still sends it when the connection
        is closed would see that, and not the answer.
        """
        self.metrics.refused.labels(error.code).inc()
        body = error.body()
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            **error.headers,
        }
        if error.status in (408, 413):
            headers["connection"] = "close"

        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await answer.send(
            {
                "type": "http.response.start",
                "status": error.status,
                "headers": raw,
            }
        )
        await answer.send(
            {
                "type": "http.response.body",
                "body": body,
                "more_body": rest is not None,
            }
        )
        if rest is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.seconds):
                    while (await rest()).get("more_body", False):
                        pass
            await answer.send({"type": "http.response.body", "body": b""})

    async def _bound_body(self, scope: Message, receive: Receive) -> Receive:
        """Read the whole body, and return a `receive` that gives it and then tells when the client leaves."""
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return receive

        length = b"".join(header(scope, b"content-length"))
        if length.isdigit() and int(length) > self.most_bytes:
            raise self._too_large()

        try:
            async with asyncio.timeout(self.seconds):
                body = await self._body(receive)
        except TimeoutError:
            message = f"the body did not arrive within {self.seconds:g} s"
            raise ApiError(408, message, "body_too_slow") from None

        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {
                "type": "http.request",
                "body": body,
                "more_body": False,
            }

        return again

    async def _body(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ApiError(499, "the client left", "client_left")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.most_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                return b"".join(parts)

    def _too_large(self) -> ApiError:
        return ApiError(
            413,
            f"the body has more than {self.most_bytes:,} bytes, the limit of this server "
            "(serving.max_body_kilobytes); send fewer or shorter texts at a time",
            "too_large",
        )


class _Answer:
    """Sends an answer with the headers of all answers, and remembers its status (0: not begun)."""

    def __init__(self, send: Send, id: str) -> None:
        self._send = send
        self.id = id
        self.status = 0

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            there = {name.lower() for name, _ in headers}
            missing = [pair for pair in HEADERS if pair[0] not in there]
            request_id = (b"x-request-id", self.id.encode())
            message = {**message, "headers": [*headers, request_id, *missing]}

        await self._send(message)
