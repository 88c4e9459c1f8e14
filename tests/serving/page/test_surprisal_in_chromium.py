"""The heat map in a real browser: each token's bits, what was expected instead, and texts as they were pasted."""

from __future__ import annotations

import re

import pytest

from tests.serving.made_versions import MadeSource, bundle_of, food_of
from tests.serving.page.chromium import Chromium, in_chromium
from tests.serving.served import answering

pytestmark = [pytest.mark.long, in_chromium]
HOSTILE = "<img src=x onerror=alert(1)>"


def test_what_was_expected_is_listed_from_the_likeliest_on_also_if_it_is_a_number(page: Chromium) -> None:
    page.click("#tab-surprisal")
    page.run("""{ const ask = window.fetch; window.fetch = async (path, options) => {
      const answer = await ask(path, options);
      if (path !== "/score") return answer;
      const said = await answer.json();
      for (const each of said.scores[0].alternatives.likeliest) each.push(["20", 9]);
      return Response.json(said);
    } }""")
    page.fill("#surprisal-text", f"The {food_of(1)} was good")
    page.click("#surprisal-form button")
    page.click("#heat span", f" {food_of(1)}")
    shares = re.findall(r"” (?:< )?([\d.]+) %", page.text("alternatives").split("Expected:")[1])
    assert shares == sorted(shares, key=float, reverse=True)
    assert "“20” < 0.1 %." in page.text("alternatives")


def test_surprising_tokens_are_coloured_and_explained(page: Chromium) -> None:
    page.click("#tab-surprisal")
    page.fill("#surprisal-text", f"The {food_of(1)} was {HOSTILE}")
    page.click("#surprisal-form button")
    page.until("document.querySelectorAll('#heat span').length > 3")
    assert page.run("document.querySelectorAll('#heat img').length") == 0, "a text stays text"
    assert page.text("heat") == f"The {food_of(1)} was {HOSTILE}", "unknown words are shown as they are written"
    page.click("#heat span", f" {food_of(1)}")
    assert page.text("alternatives").startswith(f"“{food_of(1)}”")
    assert "Expected:" in page.text("alternatives")
    assert "open bits per byte" in page.text("surprisal-sum")


QUOTED = "  It’s the “best” pizza\n\n\nin town — 5 stars!!\tZzyzx café 😀 İstanbul\u00a0ok "


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (QUOTED, QUOTED.strip()),
        ("The pizza &amp; the staff: someone@example.com", "The pizza &amp; the staff: someone@example.com"),
        ("The pizza was Zzyzx, the st&#97;ff was good.", "The pizza was <unk> <unk> the staff was good."),
    ],
    ids=["as it was pasted", "with an address", "as the model reads it"],
)
def test_a_pasted_text_is_shown(page: Chromium, text: str, shown: str) -> None:
    page.click("#tab-surprisal")
    page.run("(document.getElementById('surprisal-text').focus(), document.getElementById('surprisal-text').select())")
    page.paste(text)
    assert page.run("document.getElementById('surprisal-text').value") == text
    page.click("#surprisal-form button")
    page.until("document.getElementById('surprisal-sum').textContent !== ''")
    assert page.text("heat") == shown
    page.click("#heat span", " pizza")
    assert page.text("alternatives").startswith("“pizza”: ")


@pytest.mark.parametrize(
    ("rating", "said"),
    [("", "No rating is given: averaged over reviews with 1 and 5 stars."), ("1", "Read as a review with 1 star.")],
)
def test_the_bits_of_tokens_sum_to_the_total_of_the_same_reading(browser: Chromium, rating: str, said: str) -> None:
    source = MadeSource(champion=1)
    source.make = lambda number: bundle_of(number, one_star=True)
    with answering(source) as (address, _):
        browser.open(address)
        browser.fill("#stars", rating)
        browser.click("#tab-surprisal")
        browser.fill("#surprisal-text", "The pizza was cold.")
        browser.click("#surprisal-form button")
        browser.until("document.getElementById('surprisal-sum').textContent !== ''")
        count = browser.run("document.querySelectorAll('#heat span').length")
        assert count == 6, "five tokens and the end of the text"
        bits = []
        for place in range(count):
            browser.run(f"document.getElementById('token-{place}').click()")
            bits += [float(found) for found in re.findall(r": ([\d.]+) bits", browser.text("alternatives"))]
            assert "Expected: “" in browser.text("alternatives") or place == count - 1
        assert browser.text("surprisal-sum").startswith(f"reviewlm/1. {said}")
        [total] = re.findall(r"([\d.]+) bits in 6 tokens", browser.text("surprisal-sum"))
        assert sum(bits) == pytest.approx(float(total), abs=0.31)
