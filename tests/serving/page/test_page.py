"""The page loads nothing from elsewhere, runs no inline code, and never makes HTML of a model's text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from reviewlm.core.credentials import AccessTokens, add_token
from reviewlm.serving.api.app import create_app
from reviewlm.serving.page.routes import FOLDER
from tests.serving.made_versions import MadeSource, made_versions, running
from tests.serving.served import answering, ask

FILES = sorted(path.name for path in FOLDER.iterdir())


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with (
        answering(MadeSource(champion=1)) as (address, _),
        httpx.Client(base_url=address) as client,
    ):
        yield client


@pytest.mark.parametrize("path", ["/", *(f"/page/{name}" for name in FILES)])
def test_the_browser_may_ask_only_this_server(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    rules = dict(
        rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; ")
    )
    assert rules["default-src"] == "'none'"
    assert {rules[name] for name in ("script-src", "style-src", "connect-src", "img-src")} == {
        "'self'"
    }
    assert {rules[name] for name in ("frame-ancestors", "base-uri", "form-action")} == {"'none'"}
    assert answer.headers["x-content-type-options"] == "nosniff"
    kinds = {
        "js": "text/javascript",
        "css": "text/css",
        "svg": "image/svg+xml",
    }
    assert answer.headers["content-type"].startswith(
        kinds.get(path.rpartition(".")[2], "text/html")
    )


@pytest.mark.parametrize("name", FILES)
def test_no_file_has_inline_code_or_a_foreign_address(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert not [
        link for link in re.findall(r"https?://[^\s\"']+", text) if "www.w3.org" not in link
    ]
    if name.endswith(".html"):
        assert not re.search(
            r"\son\w+=|\sstyle=|<style|<script(?![^>]*src=\"page/)|javascript:", text
        )
    if name.endswith(".js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
        )


def test_the_page_needs_no_token_but_its_questions_do(tmp_path: Path) -> None:
    add_token(tmp_path / "tokens.json", "someone")
    tokens = AccessTokens(tmp_path / "tokens.json")
    with (
        answering(MadeSource(champion=1), tokens) as (address, _),
        httpx.Client(base_url=address) as client,
    ):
        assert client.get("/").status_code == client.get("/page/app.js").status_code == 200
        assert client.post("/intervals", json={"prompt": ""}).status_code == 401
        assert client.get("/models/card").status_code == 401


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_asked_for_beside_the_page(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    addresses = re.findall(
        r"""(?:href|src)=["']([^"']*)|(?:from |fetch\(|sked?\()["'`]([^"'`]*)""", text
    )
    assert not [address for pair in addresses for address in pair if address.startswith("/")]


@pytest.mark.parametrize("before", ["", "/reviews"])
def test_a_path_of_a_proxy_may_be_passed_on_or_taken_off(before: str) -> None:
    with running(made_versions(MadeSource(champion=1), root_path="/reviews")) as versions:
        app = create_app(versions, versions.settings, versions.metrics, None)
        for path in ("/", "/docs", "/page/app.js", "/v1/models", "/readyz"):
            assert ask(app, "GET", before + path).status_code == 200, path
        asked = ask(app, "POST", f"{before}/suggest", json={"prompt": "The"})
        assert asked.status_code == 200
        described = ask(app, "GET", f"{before}/openapi.json").json()
        assert described["servers"] == [{"url": "/reviews"}]


def test_the_path_of_a_proxy_without_its_slash_leads_to_the_page() -> None:
    with running(made_versions(MadeSource(champion=1), root_path="/reviews")) as versions:
        app = create_app(versions, versions.settings, versions.metrics, None)
        answer = ask(app, "GET", "/reviews")
        assert (answer.status_code, answer.headers["location"]) == (307, "/reviews/")


def test_the_page_needs_no_token_below_a_path(tmp_path: Path) -> None:
    add_token(tmp_path / "tokens.json", "someone")
    tokens = AccessTokens(tmp_path / "tokens.json")
    with running(made_versions(MadeSource(champion=1), root_path="/reviews")) as versions:
        app = create_app(versions, versions.settings, versions.metrics, tokens)
        for path in ("/reviews/", "/reviews/page/app.js", "/reviews/healthz"):
            assert ask(app, "GET", path).status_code == 200, path
        assert ask(app, "GET", "/reviews/v1/models").status_code == 401
