"""Guard a local web server against other web pages: check Host, Origin and password of every request (ASGI).

A browser lets any page send requests to `http://127.0.0.1:4200`. Without these checks, such a page could read runs or
start processes, directly or through a domain name that it resolves to this machine (DNS rebinding). The guard wraps the
server's own application, so a refused request reaches nothing behind it.
"""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.responses import PlainTextResponse

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

HOSTS_VARIABLE = "REVIEWLM_UI_HOSTS"
"""Variable with more allowed values of the Host header, comma-separated, e.g. `reviews.example.org,localhost:9000` for
an SSH tunnel."""
HEALTH = "/health"
FOREIGN = (b"cross-site", b"same-site")


class Guard:
    """An ASGI application that passes on only requests with its Host name, from its own pages, and with the password.

    Args:
        app: The application behind it.
        credentials: "user:password" of HTTP Basic; empty if the application asks for a password itself.
    """

    def __init__(self, app: Application, credentials: str = "") -> None:
        self.app, self._token = app, base64.b64encode(credentials.encode()) if credentials else b""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request (ASGI 3)."""
        status, reason = (200, "") if scope["type"] == "lifespan" else self._verdict(scope)
        if status == 200:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": reason})
        else:
            login = (
                {"www-authenticate": 'Basic realm="ReviewLM", charset="UTF-8"'}
                if status == 401
                else None
            )
            await PlainTextResponse(reason, status, login)(scope, receive, send)

    def _verdict(self, scope: Message) -> tuple[int, str]:
        if reason := foreign(scope, _own_hosts(scope).__contains__):
            return 403, reason
        if self._token and not self._knows_password(scope):
            return 401, "The password is needed; `reviewlm services password` shows it."
        return 200, ""

    def _knows_password(self, scope: Message) -> bool:
        if (
            scope["type"] == "http"
            and scope["method"] in ("GET", "HEAD")
            and scope["path"] == HEALTH
        ):
            return True
        scheme, _, token = b"".join(header(scope, b"authorization")).partition(b" ")
        return scheme.lower() == b"basic" and hmac.compare_digest(token.strip(), self._token)


def foreign(scope: Message, own_host: Callable[[bytes], bool]) -> str:
    """Return why a request is refused that another web page may have caused, or "" if it is not refused.

    Args:
        scope: Scope of the request (ASGI).
        own_host: Whether a value of the Host header, in lower case, is one of this server's.
    """
    hosts, origins = header(scope, b"host"), header(scope, b"origin")
    if len(hosts) != 1 or not own_host(hosts[0]):
        return "This server does not answer to that Host name."
    if any(origin not in (b"http://" + hosts[0], b"https://" + hosts[0]) for origin in origins):
        return "Requests from other web pages are refused."
    return "Requests from other web pages are refused." if _from_another_page(scope) else ""


def header(scope: Message, name: bytes) -> list[bytes]:
    """Return the values of a header, "host" in lower case."""
    return [
        value.lower() if name == b"host" else value
        for key, value in scope["headers"]
        if key.lower() == name
    ]


def _own_hosts(scope: Message) -> set[bytes]:
    """Return the allowed Host headers: loopback names with the server's port, and those that the user added."""
    port = (scope.get("server") or ("", None))[1]
    hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
    hosts |= {name.strip().lower() for name in os.environ.get(HOSTS_VARIABLE, "").split(",")} - {""}
    return {name.encode() for name in hosts}


def _from_another_page(scope: Message) -> bool:
    """Return whether the browser reports a page of another site as the sender; following a link is allowed."""
    if not any(site in FOREIGN for site in header(scope, b"sec-fetch-site")):
        return False
    clicked = header(scope, b"sec-fetch-mode") == [b"navigate"] and header(
        scope, b"sec-fetch-dest"
    ) == [b"document"]
    return not (clicked and scope.get("method") in ("GET", "HEAD"))
