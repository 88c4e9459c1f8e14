"""The core of the page in a real browser: typing, accepting, streaming, errors. Its other tests are `long`."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.base import LanguageModel
from tests.serving.made_versions import MadeSource, bundle_of, food_of
from tests.serving.page.chromium import Chromium, in_chromium
from tests.serving.page.page_scripts import BUSY, CUT_OFF, write_until_offered
from tests.serving.served import answering

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


def test_nothing_is_offered_after_an_error(page: Chromium) -> None:
    write_until_offered(page)
    page.run(BUSY)
    page.press(food_of(1)[2])
    page.until("!document.getElementById('error').hidden")
    assert page.text("error") == "the queue is full; try again in 3 s"
    assert page.text("offers") == ""
    page.press("Tab")
    assert page.run("document.getElementById('write-text').value") == f"The {food_of(1)[:3]}"


def test_a_review_is_streamed(page: Chromium) -> None:
    page.click("#tab-generate")
    page.fill("#generate-form [name=prompt]", "The")
    page.click("#generate-form button")
    page.until("document.getElementById('generate-state').textContent.startsWith('reviewlm/1: ended after')")
    assert page.text("generated").startswith(f"The {food_of(1)}")


class Held:
    """A model that writes a word and waits before it reads it, until it may go on."""

    def __init__(self, model: LanguageModel, word: int) -> None:
        self._model, self._word = model, word
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def step(self, ids_B: np.ndarray, state: Any) -> Any:
        if self._word in ids_B:
            self.may_go_on.wait(30)
        return self._model.step(ids_B, state)


def test_a_review_is_shown_piece_by_piece(browser: Chromium) -> None:
    """What is written first is on the page while the model has not written the rest yet."""
    made, source = bundle_of(1), MadeSource(champion=1)
    held = Held(made.model, int(made.vocabulary.encode(food_of(1))[0]))
    source.make = lambda number: replace(made, model=held)
    with answering(source) as (address, _):
        browser.open(address)
        held.may_go_on.clear()
        browser.click("#tab-generate")
        browser.fill("#generate-form [name=prompt]", "The")
        browser.click("#generate-form button")
        browser.until(f"document.getElementById('generated').textContent === 'The {food_of(1)}'")
        assert browser.text("generate-state") == "Writing …"
        held.may_go_on.set()
        browser.until("document.getElementById('generate-state').textContent.includes(' ended after ')")
        assert browser.text("generated").startswith(f"The {food_of(1)} ")
        browser.leave()


def test_an_error_in_the_middle_of_a_stream_is_said_and_the_text_so_far_stays(page: Chromium) -> None:
    page.click("#tab-generate")
    page.fill("#generate-form [name=prompt]", "The")
    page.run(CUT_OFF)
    page.click("#generate-form button")
    page.until("!document.getElementById('error').hidden")
    assert page.text("error") == "the answer took longer than 5 s"
    assert page.text("generated") == "The pizza"
    assert page.text("generate-state") == ""
