"""The guard lets a server's own pages and clients through, and no other page, name or stranger."""

from __future__ import annotations

import asyncio
import base64

import pytest

from reviewlm.core.web_guard import HOSTS_VARIABLE, Guard

CREDENTIALS = "reviewlm:s3cret-of-this-home"
BASIC = b"Basic " + base64.b64encode(CREDENTIALS.encode())
HERE = (b"host", b"127.0.0.1:5000")
OWN = (b"origin", b"http://127.0.0.1:5000")
KNOWN = (b"authorization", BASIC)
LINK = (
    (b"sec-fetch-site", b"cross-site"),
    (b"sec-fetch-mode", b"navigate"),
    (b"sec-fetch-dest", b"document"),
)


def answer(
    *headers,
    method="GET",
    path="/",
    kind="http",
    credentials=CREDENTIALS,
):
    """The status of a request as the application behind the guard (200) or the guard itself gives it."""
    sent = []

    async def behind(
        scope,
        receive,
        send,
    ):
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [],
            }
        )

    async def send(message):
        sent.append(message)

    scope = {
        "type": kind,
        "path": path,
        "server": ("127.0.0.1", 5000),
        "headers": list(headers),
    }
    if kind == "http":
        scope["method"] = method
    asyncio.run(Guard(behind, credentials)(scope, None, send))
    return sent[0].get("status", sent[0]["type"])


def test_a_client_that_knows_the_password_passes():
    assert answer(HERE, KNOWN) == 200


@pytest.mark.parametrize("host", [b"127.0.0.1:5000", b"localhost:5000"])
def test_an_own_page_passes(host):
    origin = (b"origin", b"http://" + host)
    assert answer((b"host", host), KNOWN, origin, method="POST") == 200


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"evil.example:5000",
        b"127.0.0.1:5001",
        b"127.0.0.1",
        b"127.0.0.1.evil.example:5000",
        b"",
        b"localhost:5000@evil.example",
        b"0.0.0.0:5000",
    ],
)
def test_another_name_of_this_machine_is_refused(host):
    assert answer((b"host", host), KNOWN) == 403
    assert answer((b"host", host), path="/health") == 403


def test_a_request_without_host_is_refused():
    assert answer(KNOWN) == 403


def test_a_request_with_two_hosts_is_refused():
    assert answer(HERE, (b"host", b"evil.example"), KNOWN) == 403


@pytest.mark.parametrize(
    "origin",
    [
        b"http://evil.example",
        b"http://127.0.0.1:4200",
        b"http://localhost:5000",
        b"null",
        b"file://",
        b"",
        b"http://127.0.0.1:5000.evil.example",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_page_of_another_origin_is_refused_though_the_browser_knows_the_password(origin, method):
    assert answer(HERE, KNOWN, (b"origin", origin), method=method) == 403


@pytest.mark.parametrize(("site", "mode"), [(b"cross-site", b"no-cors"), (b"same-site", b"cors")])
def test_what_a_foreign_page_embeds_is_refused(site, mode):
    headers = ((b"sec-fetch-site", site), (b"sec-fetch-mode", mode))
    assert answer(HERE, KNOWN, *headers) == 403


def test_a_foreign_page_that_shows_ours_in_a_frame_is_refused():
    assert answer(HERE, KNOWN, *LINK[:2], (b"sec-fetch-dest", b"iframe")) == 403


def test_a_link_of_a_foreign_page_works_when_it_is_clicked():
    assert answer(HERE, KNOWN, *LINK) == 200


def test_a_form_that_a_foreign_page_sends_is_refused():
    assert answer(HERE, KNOWN, *LINK, method="POST") == 403


@pytest.mark.parametrize(
    "headers",
    [
        ((b"sec-fetch-site", b"same-origin"), (b"sec-fetch-mode", b"cors")),
        ((b"sec-fetch-site", b"none"),),
    ],
    ids=["an own page", "the address bar"],
)
def test_a_request_of_no_foreign_page_passes(headers):
    assert answer(HERE, KNOWN, *headers) == 200


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"Basic",
        b"Basic " + base64.b64encode(b"reviewlm:wrong"),
        b"Bearer " + BASIC[6:],
        b"Basic \xff\xfe",
    ],
)
def test_without_the_password_nothing_but_the_health_is_told(given):
    headers = [(b"authorization", given)] if given else []
    assert answer(HERE, *headers) == 401
    assert answer(HERE, *headers, method="POST", path="/health") == 401
    assert answer(HERE, *headers, path="/health") == 200


def test_web_sockets_of_other_pages_are_closed():
    assert (
        answer(HERE, KNOWN, (b"origin", b"http://evil.example"), kind="websocket")
        == "websocket.close"
    )
    assert answer(HERE, kind="websocket") == "websocket.close"
    assert answer(HERE, OWN, KNOWN, kind="websocket") == 200


def test_names_that_the_user_added_are_taken(monkeypatch):
    monkeypatch.setenv(HOSTS_VARIABLE, "Reviews.example.org, localhost:9000")
    assert (
        answer(
            (b"host", b"reviews.example.org"), (b"origin", b"https://reviews.example.org"), KNOWN
        )
        == 200
    )
    assert answer((b"host", b"localhost:9000"), KNOWN) == 200
    assert answer((b"host", b"evil.example"), KNOWN) == 403
