"""Each tab says with which version and rating a text was read or written, and keeps to them within one task."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from reviewlm.serving.versions.versions import Versions
from tests.serving.made_versions import MadeSource, bundle_of, food_of
from tests.serving.page.chromium import Chromium, in_chromium
from tests.serving.served import answering

pytestmark = [pytest.mark.long, in_chromium]
NOTED = """{ const ask = window.fetch; window.asked = []; window.fetch = async (path, options) => {
  if (options?.body) window.asked.push([path, options.body]);
  const answer = await ask(path, options);
  if (path === window.held) await new Promise((go) => { window.answer = go; });
  return answer;
} }"""
"""From now on requests are noted, and answers of the path `window.held` wait until `window.answer()` is called."""
AVERAGED = "No rating is given: averaged over reviews with 1 and 5 stars."


def asked(page: Chromium, path: str) -> list[dict[str, object]]:
    """Return the bodies of the requests to a path."""
    return [json.loads(body) for where, body in page.run("window.asked") if where == path]


@pytest.fixture
def rated(browser: Chromium) -> Iterator[Chromium]:
    """The page of a model of reviews with one star and with five."""
    source = MadeSource(champion=1, challenger=2)
    source.make = lambda number: bundle_of(number, one_star=True)
    with answering(source) as (address, _):
        browser.leave()
        browser.open(address)
        browser.run(NOTED)
        yield browser
        browser.leave()


def test_no_rating_is_given_until_one_is_chosen_in_any_tab(rated: Chromium) -> None:
    assert (
        rated.run("document.getElementById('stars').selectedOptions[0].textContent") == "not given"
    )
    rated.run("document.getElementById('write-text').focus()")
    rated.press("The ")
    rated.until(f"document.getElementById('write-read').textContent === 'reviewlm/1. {AVERAGED}'")
    rated.click("#tab-dasher")
    rated.until(f"document.getElementById('dasher-read').textContent === 'reviewlm/1. {AVERAGED}'")
    rated.click("#tab-surprisal")
    rated.click("#surprisal-form button")
    rated.until(
        f"document.getElementById('surprisal-sum').textContent.startsWith('reviewlm/1. {AVERAGED}')"
    )
    rated.click("#tab-generate")
    rated.click("#generate-form button")
    rated.until(
        "document.getElementById('generate-state').textContent.includes('No rating is given: it was drawn')"
    )
    for path in ("suggest", "intervals", "score", "v1/completions"):
        assert [body["stars"] for body in asked(rated, path)][:1] == [None], path


@contextmanager
def opened(browser: Chromium) -> Iterator[tuple[MadeSource, Versions]]:
    """Open the page of two versions whose champion a test can change."""
    source = MadeSource(champion=1, challenger=2)
    with answering(source) as (address, versions):
        browser.leave()
        browser.open(address)
        browser.run(NOTED)
        yield source, versions
        browser.leave()


def promote(
    source: MadeSource,
    versions: Versions,
    number: int,
) -> None:
    """Make a version the champion, and let the server notice."""
    source.aliases["champion"] = number
    versions.look()


def test_a_heat_map_is_of_one_version_although_the_champion_changes_in_the_middle(
    browser: Chromium,
) -> None:
    with opened(browser) as (source, versions):
        browser.run("window.held = 'score'")
        browser.click("#tab-surprisal")
        browser.fill("#surprisal-text", f"The {food_of(1)} was good")
        browser.click("#surprisal-form button")
        browser.until("window.answer && true")
        promote(source, versions, 2)
        browser.run("window.answer(), delete window.held")
        browser.until(
            "document.getElementById('surprisal-sum').textContent.startsWith('reviewlm/1. ')"
        )
        assert [path for path, _ in browser.run("window.asked")] == ["score"], "one answer has all"
        browser.click("#heat span", f" {food_of(1)}")
        assert re.search(
            rf"“{food_of(1)}”: .*Expected: “{food_of(1)}” ", browser.text("alternatives")
        )
        browser.click("#surprisal-form button")
        browser.until(
            "document.getElementById('surprisal-sum').textContent.startsWith('reviewlm/2. ')"
        )
        assert browser.text("moved") == "reviewlm@champion is reviewlm/2 now."
        browser.until(
            "document.getElementById('model').selectedOptions[0].textContent === "
            "'reviewlm@champion (version 2, 2026-11-02)'"
        )
