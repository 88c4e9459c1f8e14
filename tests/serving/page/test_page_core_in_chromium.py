"""The core of the page in a real browser: typing, accepting, streaming, errors. Its other tests are `long`."""

from __future__ import annotations

import pytest

from tests.serving.made_versions import food_of
from tests.serving.page.chromium import Chromium, in_chromium
from tests.serving.page.page_scripts import CUT_OFF, write_until_offered

pytestmark = [pytest.mark.slow, in_chromium]


def test_a_word_is_typed_completed_and_accepted(page: Chromium) -> None:
    write_until_offered(page)
    page.press("Tab")
    page.until(f"document.getElementById('write-text').value === 'The {food_of(1)}'")
    page.until("document.getElementById('write-keys').textContent === "
               "'9 characters with 7 keys: 22 % of the keys saved'")  # fmt: skip
    page.press("Escape")
    page.press("Tab")
    assert page.run("document.activeElement.id") != "write-text", "the keyboard is not caught in the field"


def test_a_review_is_streamed(page: Chromium) -> None:
    page.click("#tab-generate")
    page.fill("#generate-form [name=prompt]", "The")
    page.click("#generate-form button")
    page.until("document.getElementById('generate-state').textContent.startsWith('reviewlm/1: ended after')")
    assert page.text("generated").startswith(f"The {food_of(1)}")


def test_an_error_in_the_middle_of_a_stream_is_said_and_the_text_so_far_stays(page: Chromium) -> None:
    page.click("#tab-generate")
    page.fill("#generate-form [name=prompt]", "The")
    page.run(CUT_OFF)
    page.click("#generate-form button")
    page.until("!document.getElementById('error').hidden")
    assert page.text("error") == "the answer took longer than 5 s"
    assert page.text("generated") == "The pizza"
    assert page.text("generate-state") == ""
