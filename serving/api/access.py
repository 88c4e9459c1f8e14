"""Decide which requests are answered: Host, Origin, access token, requests per minute."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Collection
from math import ceil
from time import monotonic

from core.credentials import AccessTokens
from core.errors import Unreadable
from core.web_guard import Message, foreign, header
from serving.api.errors import ApiError

PROBES = frozenset({"/healthz", "/readyz"})
"""Paths that are answered under every Host name and without a token: who starts and stops servers may know only their
addresses."""
OPEN = PROBES | {"/", "/docs", "/openapi.json"}
"""Paths that need no token: the page, which asks for a token itself, and the description of the addresses."""
PAGE = "/page/"
"""Beginning of the paths of the page's files, which hold nothing secret."""
log = logging.getLogger(__name__)
LOOPBACK = frozenset({b"127.0.0.1", b"localhost", b"[::1]"})


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
        self, hosts: Collection[str] | None, tokens: AccessTokens | None, per_minute: int,
        clock: Callable[[], float] = monotonic,
    ) -> None:  # fmt: skip
        self._hosts = None if hosts is None else {host.strip().lower().encode() for host in hosts}
        self._tokens, self._per_minute, self._clock = tokens, per_minute, clock
        self._spent: dict[str, tuple[float, float]] = {}

    def require(self, scope: Message) -> None:
        """Raise ApiError if a request is refused.

        A probe is never refused. But `scope["stranger"]` says whether it must learn no more than the status: it has no
        known token though there are tokens, or a page may have caused it that has given its own name to this machine
        (DNS rebinding).
        """
        reason = foreign(scope, self._is_own)
        if scope["path"] in PROBES:
            scope["stranger"] = bool(reason) or not self._is_known(scope)
            return
        if reason:
            raise ApiError(403, reason, "foreign_request")
        if self._tokens is None or scope["path"] in OPEN or scope["path"].startswith(PAGE):
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
        name = tokens.name_of(token.strip().decode("latin-1")) if scheme.lower() == b"bearer" else None
        if name is None:
            fault = "is not known" if token else "is missing; send the header Authorization: Bearer TOKEN"
            raise ApiError(401, f"the access token {fault}", "invalid_api_key", None, {"WWW-Authenticate": "Bearer"})
        return name

    def _is_own(self, host: bytes) -> bool:
        name = host.rpartition(b":")[0] if host.rpartition(b":")[2].isdigit() else host
        return self._hosts is None or name in LOOPBACK or host in self._hosts or name in self._hosts

    def _count(self, name: str) -> None:
        """Take one request out of a token's budget, which fills up again within a minute."""
        now = self._clock()
        left, before = self._spent.get(name, (float(self._per_minute), now))
        left = min(float(self._per_minute), left + (now - before) * self._per_minute / 60)
        if left < 1:
            wait = max(1, ceil((1 - left) * 60 / self._per_minute))
            self._spent[name] = left, now
            message = f"the token '{name}' has made {self._per_minute} requests in a minute; try again in {wait} s"
            raise ApiError(429, message, "rate_limit_exceeded", None, {"Retry-After": str(wait)})
        self._spent[name] = left - 1, now
