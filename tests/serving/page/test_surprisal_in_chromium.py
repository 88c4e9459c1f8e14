"""The heat map in a real browser: each token's bits, what was expected instead, and texts as they were pasted."""

from __future__ import annotations

import re

import pytest

from tests.serving.made_versions import MadeSource, bundle_of, food_of
from tests.serving.page.chromium import Chromium, in_chromium
from tests.serving.served import answering

pytestmark = [pytest.mark.long, in_chromium]
HOSTILE = "<img src=x onerror=alert(1)>"


def test_surprising_tokens_are_explained(page: Chromium) -> None:
    page.click("#tab-surprisal")
    page.fill("#surprisal-text", f"The {food_of(1)} was {HOSTILE}")
    page.click("#surprisal-form button")
    page.until("document.querySelectorAll('#heat span').length > 3")
    assert page.run("document.querySelectorAll('#heat img').length") == 0, "a text stays text"
    assert page.text("heat") == f"The {food_of(1)} was {HOSTILE}", (
        "unknown words are shown as they are written"
    )
    page.click("#heat span", f" {food_of(1)}")
    assert page.text("alternatives").startswith(f"“{food_of(1)}”")
    assert "Expected:" in page.text("alternatives")
    assert "open bits per byte" in page.text("surprisal-sum")


@pytest.mark.parametrize(
    ("rating", "said"),
    [
        ("", "No rating is given: averaged over reviews with 1 and 5 stars."),
        ("1", "Read as a review with 1 star."),
    ],
)
def test_the_bits_of_tokens_sum_to_the_total_of_the_same_reading(
    browser: Chromium,
    rating: str,
    said: str,
) -> None:
    source = MadeSource(champion=1)
    source.make = lambda number: bundle_of(number, one_star=True)
    with answering(source) as (address, _):
        browser.open(address)
        browser.fill("#stars", rating)
        browser.click("#tab-surprisal")
        browser.fill("#surprisal-text", "The pizza was cold.")
        browser.click("#surprisal-form button")
        browser.until("document.querySelectorAll('#heat span').length > 0")
        count = browser.run("document.querySelectorAll('#heat span').length")
        assert count == 6, "five tokens and the end of the text"
        bits = []
        for place in range(count):
            browser.run(f"document.getElementById('token-{place}').click()")
            bits += [
                float(found)
                for found in re.findall(r": ([\d.]+) bits", browser.text("alternatives"))
            ]
            assert "Expected: “" in browser.text("alternatives") or place == count - 1
        assert browser.text("surprisal-sum").startswith(f"reviewlm/1. {said}")
        [total] = re.findall(r"([\d.]+) bits in 6 tokens", browser.text("surprisal-sum"))
        assert sum(bits) == pytest.approx(float(total), abs=0.31)
