"""The core of the page in a real browser: typing, accepting, streaming, errors. Its other tests are `long`."""

from __future__ import annotations

import re

import pytest

from tests.serving.made_versions import food_of
from tests.serving.page.chromium import Chromium, in_chromium
from tests.serving.page.page_scripts import CUT_OFF, write_until_offered

pytestmark = [pytest.mark.slow, in_chromium]


def test_a_word_that_was_typed_in_part_is_completed(page: Chromium) -> None:
    write_until_offered(page)
    page.press("Tab")
    page.until(f"document.getElementById('write-text').value === 'The {food_of(1)}'")
    page.until(
        "document.getElementById('write-keys').textContent === "
        "'9 characters with 7 keys: 22 % of the keys saved'"
    )
    page.press("Escape")
    page.press("Tab")
    assert page.run("document.activeElement.id") != "write-text", (
        "the keyboard is not caught in the field"
    )


def test_a_review_is_streamed(page: Chromium) -> None:
    page.click("#tab-generate")
    page.fill("#generate-form [name=prompt]", "The")
    page.fill("#generate-form [name=seed]", "1")
    page.click("#generate-form button")
    page.until(
        "document.getElementById('generate-state').textContent.startsWith('reviewlm/1: ended after')"
    )
    assert page.text("generated").startswith(f"The {food_of(1)}")


def test_the_text_so_far_stays_beside_an_error_in_a_stream(
    page: Chromium,
) -> None:
    page.click("#tab-generate")
    page.fill("#generate-form [name=prompt]", "The")
    page.run(CUT_OFF)
    page.click("#generate-form button")
    page.until("!document.getElementById('error').hidden")
    assert page.text("error") == "the answer took longer than 5 s"
    assert page.text("generated") == "The pizza"
    assert page.text("generate-state") == ""


def test_enter_takes_the_word_that_arrow_keys_choose(page: Chromium) -> None:
    write_until_offered(page)
    page.press("ArrowDown")
    page.until("document.querySelector('#offers button').classList.contains('marked')")
    page.press("Enter")
    page.until(f"document.getElementById('write-text').value === 'The {food_of(1)}'")
    page.press("Enter")
    assert page.run("document.getElementById('write-text').value") == f"The {food_of(1)}\n", (
        "no word is chosen"
    )


def test_a_server_that_is_away_for_a_moment_is_asked_again(page: Chromium) -> None:
    page.run(
        "{ const ask = window.fetch; let away = 1; window.fetch = (...request) =>"
        " away-- > 0 ? Promise.reject(new TypeError('network error')) : ask(...request); }"
    )
    write_until_offered(page)
    assert page.run("document.getElementById('error').hidden")


def test_each_review_is_written_with_a_new_seed_that_is_shown(page: Chromium) -> None:
    page.click("#tab-generate")
    seeds = set()
    for _ in range(2):
        page.run("document.getElementById('generate-state').textContent = ''")
        page.click("#generate-form button")
        page.until("document.getElementById('generate-state').textContent.includes('seed ')")
        seeds.add(re.search(r"seed (\d+)", page.text("generate-state"))[1])
    assert len(seeds) == 2


def test_all_questions_of_a_tab_name_one_session_that_is_no_cookie(page: Chromium) -> None:
    sessions = []
    for _ in range(2):
        page.run(
            "{ const ask = window.fetch; window.fetch = (path, options) =>"
            " { window.sent = options.headers['X-Session-Id']; return ask(path, options); }; }"
        )
        write_until_offered(page)
        sessions.append(page.run("window.sent"))
        page.run("location.reload()")
        page.until(
            "window.sent === undefined && document.readyState === 'complete'"
            " && document.getElementById('model').options.length > 0"
        )
    assert re.fullmatch(r"[0-9a-f-]{36}", sessions[0])
    assert sessions[0] == sessions[1]
    assert page.run("document.cookie") == ""


def test_a_page_lists_the_addresses_with_their_parameters(page: Chromium) -> None:
    page.run("location.href = '/docs'")
    page.until("document.querySelectorAll('#addresses section').length > 10")
    rows = page.run(
        "[...document.querySelectorAll('#addresses section')].find((each) =>"
        " each.textContent.startsWith('POST /suggest')).querySelector('table').textContent"
    )
    assert "prompt" in rows
    assert "integer from 1 to 100" in rows
