"""Guard a local web server against other web pages: check Host, Origin and password of requests (ASGI).

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
NAME_A_HOST = f"start it with the variable {HOSTS_VARIABLE}=HOST"
OTHER_PAGES = "Requests from other web pages are refused."
BEHIND_A_PROXY = (
    "If the page is this server's own behind a proxy, let the proxy pass on the Host header, or name the host of the "
    "page's address:"
)
HEALTH = "/health"
FOREIGN = (b"cross-site", b"same-site")


class Guard:
    """An ASGI application that passes on only requests with its Host name, from its own pages, and with the password.

    Args:
        app: The application behind it.
        credentials: "user:password" of HTTP Basic; empty if the application asks for a password itself.
    """

    def __init__(self, app: Application, credentials: str = "") -> None:
        self.app = app
        self._token = b""
        if credentials:
            self._token = base64.b64encode(credentials.encode())

    async def __call__(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer a request (ASGI 3)."""
        status = 200
        reason = ""
        if scope["type"] != "lifespan":
            status, reason = self._verdict(scope)

        if status == 200:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send(
                {
                    "type": "websocket.close",
                    "code": 1008,
                    "reason": reason,
                }
            )
        else:
            login = None
            if status == 401:
                login = {"www-authenticate": 'Basic realm="ReviewLM", charset="UTF-8"'}

            await PlainTextResponse(reason, status, login)(scope, receive, send)

    def _verdict(self, scope: Message) -> tuple[int, str]:
        named = _named_hosts()
        own = _loopback_hosts(scope) | named
        if reason := reason_to_refuse(scope, own.__contains__, named.__contains__, NAME_A_HOST):
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


def reason_to_refuse(
    scope: Message,
    own_host: Callable[[bytes], bool],
    named_host: Callable[[bytes], bool],
    setting: str,
) -> str:
    """Return why a request is refused that another web page may have caused, or "" if it is not refused.

    A proxy may put its own name for the server into Host, while Origin says where the page comes from. Such a page is
    the server's own if the user has named its host.

    Args:
        scope: Scope of the request (ASGI).
        own_host: Whether a value of the Host header, in lower case, is one of this server's.
        named_host: Whether the user has named it as one of this server's.
        setting: How the user names one, for messages.
    """
    hosts = header(scope, b"host")
    origins = header(scope, b"origin")
    if len(hosts) != 1 or not own_host(hosts[0]):
        return (
            f"This server does not answer to that Host name. If it is the server's own: {setting}"
        )

    for origin in origins:
        scheme, _, page = origin.lower().partition(b"://")
        own_page = page == hosts[0] or named_host(page)
        if scheme not in (b"http", b"https") or not own_page:
            return f"{OTHER_PAGES} {BEHIND_A_PROXY} {setting}"

    return OTHER_PAGES if _from_another_page(scope) else ""


def header(scope: Message, name: bytes) -> list[bytes]:
    """Return the values of a header, "host" in lower case."""
    return [
        value.lower() if name == b"host" else value
        for key, value in scope["headers"]
        if key.lower() == name
    ]


def _loopback_hosts(scope: Message) -> set[bytes]:
    """Return the Host headers of this machine: loopback names with the server's port."""
    port = (scope.get("server") or ("", None))[1]
    return {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost", "[::1]")}


def _named_hosts() -> set[bytes]:
    """Return the Host headers that the user has added."""
    names = os.environ.get(HOSTS_VARIABLE, "").split(",")
    return {name.strip().lower().encode() for name in names if name.strip()}


def _from_another_page(scope: Message) -> bool:
    """Return whether the browser reports a page of another site as the sender; following a link is allowed."""
    if not any(site in FOREIGN for site in header(scope, b"sec-fetch-site")):
        return False
    clicked = header(scope, b"sec-fetch-mode") == [b"navigate"] and header(
        scope, b"sec-fetch-dest"
    ) == [b"document"]
    return not (clicked and scope.get("method") in ("GET", "HEAD"))
