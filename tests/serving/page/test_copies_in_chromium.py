"""What the page lets copy is the text, or a request that gives it again; an example of `/docs` is answered."""

from __future__ import annotations

import json
import shlex

import httpx
import pytest

from tests.serving.page.chromium import Chromium, in_chromium

pytestmark = [pytest.mark.long, in_chromium]
KEEP = "navigator.clipboard.writeText = async (text) => { window.copied = text; }"
PROMPT = "It's the"


def copied(
    page: Chromium,
    place: str,
    name: str,
) -> str:
    page.run("window.copied = ''")
    page.click(f"#{place} button", f"Copy {name}")
    text: str = page.until("window.copied")
    return text


@pytest.fixture
def written(page: Chromium) -> Chromium:
    page.run(KEEP)
    page.click("#tab-generate")
    page.fill("#generate-form [name=prompt]", PROMPT)
    page.fill("#generate-form [name=seed]", "3")
    page.click("#generate-form button")
    page.until("document.querySelectorAll('#generate-copies button').length === 3")
    return page


def test_a_text_is_copied_as_it_is_shown(written: Chromium) -> None:
    assert copied(written, "generate-copies", "the text") == written.text("generated")


def test_a_copied_command_names_the_version_with_all_that_was_chosen(written: Chromium) -> None:
    words = shlex.split(copied(written, "generate-copies", "as a command"))
    assert words[:2] == ["reviewlm", "generate"]
    chosen = dict(zip(words[2::2], words[3::2], strict=True))
    assert chosen == {
        "--model": "reviewlm/1",
        "--prompt": PROMPT,
        "--temperature": "0.8",
        "--seed": "3",
        "--max-tokens": "300",
    }


def test_a_copied_request_gives_the_same_text(written: Chromium) -> None:
    words = shlex.split(copied(written, "generate-copies", "as curl"))
    address = next(word for word in words if word.startswith("http"))
    answer = httpx.post(address, json=json.loads(words[-1]))
    [choice] = answer.json()["choices"]
    assert PROMPT + choice["text"] == written.text("generated")


def test_a_copied_request_never_has_the_token(page: Chromium) -> None:
    page.run(KEEP)
    page.fill("#token", "s3cret")
    command = copied(page, "write-copies", "as curl")
    assert "Authorization: Bearer TOKEN" in command
    assert "s3cret" not in command


def test_an_example_of_the_documentation_is_answered(page: Chromium) -> None:
    page.open(
        page.run("location.origin") + "/docs", until="document.querySelector('details') !== null"
    )
    page.run("[...document.querySelectorAll('details')].forEach((each) => { each.open = true; })")
    page.click("section:has(textarea[aria-label='Body of POST /suggest']) button", "Send")
    answer = page.until(
        "document.querySelector(\"section:has(textarea[aria-label='Body of POST /suggest']) pre\")"
        ".textContent.match(/^200[^]*words/)?.[0]"
    )
    assert answer.startswith("200")
