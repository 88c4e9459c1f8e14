"""The page loads nothing from elsewhere, runs no inline code, and never makes HTML of a model's text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from reviewlm.core.credentials import AccessTokens, add_token
from reviewlm.serving.page.routes import FOLDER
from tests.serving.made_versions import MadeSource
from tests.serving.served import answering

FILES = sorted(path.name for path in FOLDER.iterdir())


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with (
        answering(MadeSource(champion=1)) as (address, _),
        httpx.Client(base_url=address) as client,
    ):
        yield client


@pytest.mark.parametrize("path", ["/", *(f"/page/{name}" for name in FILES)])
def test_the_browser_may_load_and_ask_only_this_server(client: httpx.Client, path: str) -> None:
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
    kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
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
            r"\son\w+=|\sstyle=|<style|<script(?![^>]*src=\"/page/)|javascript:", text
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
