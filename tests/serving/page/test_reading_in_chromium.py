"""Each tab says with which version and rating a text was read or written, and keeps to them within one task."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from serving.versions.versions import Versions
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


def choose(page: Chromium, rating: str) -> None:
    """Choose a rating as a user does."""
    page.fill("#stars", rating)
    page.run("document.getElementById('stars').dispatchEvent(new Event('change'))")


def test_no_rating_is_given_until_one_is_chosen_in_any_tab(rated: Chromium) -> None:
    assert rated.run("document.getElementById('stars').selectedOptions[0].textContent") == "not given"
    rated.run("document.getElementById('write-text').focus()")
    rated.press("The ")
    rated.until(f"document.getElementById('write-read').textContent === 'reviewlm/1. {AVERAGED}'")
    rated.click("#tab-dasher")
    rated.until(f"document.getElementById('dasher-read').textContent === 'reviewlm/1. {AVERAGED}'")
    rated.click("#tab-surprisal")
    rated.click("#surprisal-form button")
    rated.until(f"document.getElementById('surprisal-sum').textContent.startsWith('reviewlm/1. {AVERAGED}')")
    rated.click("#tab-generate")
    rated.click("#generate-form button")
    rated.until("document.getElementById('generate-state').textContent.includes('No rating is given: it was drawn')")
    for path in ("/suggest", "/intervals", "/score", "/v1/completions"):
        assert [body["stars"] for body in asked(rated, path)][:1] == [None], path


def test_a_chosen_rating_is_said_in_any_tab(rated: Chromium) -> None:
    choose(rated, "1")
    rated.until("document.getElementById('write-read').textContent === 'reviewlm/1. Read as a review with 1 star.'")
    rated.click("#tab-dasher")
    rated.until("document.getElementById('dasher-read').textContent === 'reviewlm/1. Read as a review with 1 star.'")
    rated.click("#tab-generate")
    rated.click("#generate-form button")
    assert rated.until("document.getElementById('generate-state').textContent.includes('as a review with 1 star.')")


@pytest.mark.parametrize(
    ("ratings", "said"),
    [
        ([1, 2, 3, 4, 5], "averaged over reviews with 1 to 5 stars."),
        ([1, 5], "averaged over reviews with 1 and 5 stars."),
        ([0, 1, 2, 5], "averaged over reviews with 1, 2, 5 stars and without one."),
        ([5], "read like all training reviews, with 5 stars."),
    ],
)
def test_the_ratings_of_an_average_are_named(page: Chromium, ratings: list[int], said: str) -> None:
    shown = page.run(f"import('/page/api.js').then(({{ readAs }}) => readAs({ratings}, null))")
    assert shown == f"No rating is given: {said}"


def test_compared_texts_are_said_to_have_one_rating_only_if_they_do(rated: Chromium) -> None:
    rated.click("#tab-compare")
    rated.fill("#compare-form [name=prompt]", "")
    rated.fill("[name=second]", "reviewlm@challenger")
    rated.click("#compare-form button")
    said = "document.getElementById('compare-state').textContent"
    told = rated.until(f"{said}.includes('differ') && {said}")
    assert told.startswith("Same beginning and seed; the texts differ. No rating is given: ")
    assert "Same rating" not in told
    choose(rated, "5")
    rated.click("#compare-form button")
    rated.until(f"{said} === 'Same beginning and seed; the texts differ. Both are written as reviews with 5 stars.'")
    assert [body["stars"] for body in asked(rated, "/v1/completions")] == [None, None, 5, 5]


def test_ratings_that_were_drawn_are_said_where_the_server_tells_them(page: Chromium) -> None:
    page.run("""window.fetch = async (path, options) => {
      const { model } = JSON.parse(options.body), stars = model.endsWith("challenger") ? 2 : 4;
      const choice = { text: ` ${stars}`, index: 0, finish_reason: "stop", stars };
      const version = model.endsWith("challenger") ? "reviewlm/2" : "reviewlm/1";
      return new Response(`data: ${JSON.stringify({ model: version, choices: [choice] })}\\n\\ndata: [DONE]\\n\\n`);
    }""")
    page.click("#tab-generate")
    page.click("#generate-form button")
    page.until("document.getElementById('generate-state').textContent.endsWith('training reviews (4 stars).')")
    page.click("#tab-compare")
    page.fill("[name=second]", "reviewlm@challenger")
    page.click("#compare-form button")
    assert page.until("document.getElementById('compare-state').textContent.endsWith("
                      "'they drew 4 stars and 2 stars; choose one to compare at the same.')")  # fmt: skip


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


def promote(source: MadeSource, versions: Versions, number: int) -> None:
    """Make a version the champion, and let the server notice."""
    source.aliases["champion"] = number
    versions.look()


def test_a_heat_map_is_of_one_version_although_the_champion_changes_in_the_middle(browser: Chromium) -> None:
    with opened(browser) as (source, versions):
        browser.run("window.held = '/score'")
        browser.click("#tab-surprisal")
        browser.fill("#surprisal-text", f"The {food_of(1)} was good")
        browser.click("#surprisal-form button")
        browser.until("window.answer && true")
        promote(source, versions, 2)
        browser.run("window.answer(), delete window.held")
        browser.until("document.getElementById('surprisal-sum').textContent.startsWith('reviewlm/1. ')")
        assert [path for path, _ in browser.run("window.asked")] == ["/score"], "one answer has all"
        browser.click("#heat span", f" {food_of(1)}")
        assert re.search(rf"“{food_of(1)}”: .*Expected: “{food_of(1)}” ", browser.text("alternatives"))
        browser.click("#surprisal-form button")
        browser.until("document.getElementById('surprisal-sum').textContent.startsWith('reviewlm/2. ')")
        assert browser.text("moved") == "reviewlm@champion is reviewlm/2 now."
        browser.until("document.getElementById('model').selectedOptions[0].textContent === "
                      "'reviewlm@champion (reviewlm/2)'")  # fmt: skip


def test_a_text_in_dasher_goes_on_with_its_version_and_the_next_begins_with_the_new_one(browser: Chromium) -> None:
    with opened(browser) as (source, versions):
        browser.click("#tab-dasher")
        write(browser, "The")
        promote(source, versions, 2)
        write(browser, f" {food_of(1)} ")
        told = "document.getElementById('dasher-read').textContent"
        browser.until(f"{told}.endsWith('reviewlm@champion is reviewlm/2 now; “Start again” takes it.')")
        assert browser.run(told).startswith("reviewlm/1. ")
        assert browser.text("moved") == "reviewlm@champion is reviewlm/2 now."
        asked_for = [body["model"] for path in ("/intervals", "/score") for body in asked(browser, path)]
        assert {name for name in asked_for if name != "reviewlm@champion"} == {"reviewlm/1"}
        browser.click("#dasher-clear")
        browser.until(f"{told}.startsWith('reviewlm/2. ') && !{told}.includes('now')")
        write(browser, f"The {food_of(2)}")
        assert browser.text("dasher-text") == f"The {food_of(2)}"


def test_dasher_begins_anew_if_nothing_is_written_when_the_alias_moves(browser: Chromium) -> None:
    with opened(browser) as (source, versions):
        browser.click("#tab-dasher")
        told = "document.getElementById('dasher-read').textContent"
        browser.until(f"{told}.startsWith('reviewlm/1. ')")
        browser.click("#tab-write")
        promote(source, versions, 2)
        browser.click("#tab-dasher")
        assert browser.until(f"{told}.startsWith('reviewlm/2. ')")


def write(page: Chromium, text: str) -> None:
    """Press Dasher's buttons."""
    for char in text:
        page.click("#dasher-buttons button", f"{'space' if char == ' ' else char} ")
