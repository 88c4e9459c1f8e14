"""The page in a real browser: comparing, card, errors, contrast, width; its core has a module of its own."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from models.bundles.bundle import Bundle
from models.tokens.vocabulary import Vocabulary
from serving.api.app import create_app
from tests.serving.made_versions import MadeSource, bundle_of, food_of, made_versions
from tests.serving.page.chromium import Chromium, in_chromium
from tests.serving.page.page_scripts import BUSY, SLOW, write_until_offered
from tests.serving.served import answering, served

pytestmark = [pytest.mark.long, in_chromium]
HOSTILE = "<img src=x onerror=alert(1)>"
CONTRASTS = """(() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => parts(colour).slice(0, 3).map((each) => each / 255).map((each) =>
    each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
    .reduce((sum, each, place) => sum + each * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (parts(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const texts = [...document.body.querySelectorAll("*")].filter((each) => each.checkVisibility() && !each.disabled
    && (each.value || [...each.childNodes].some((child) => child.nodeType === 3 && child.data.trim())));
  return texts.map((each) => {
    const [low, high] = [light(getComputedStyle(each).color), light(behind(each))].sort((a, b) => a - b);
    return [(high + 0.05) / (low + 0.05), `${each.tagName} ${each.textContent.slice(0, 30)}`];
  });
})()"""
"""The contrast of each visible element that has text, as defined by WCAG, and what the element is."""


def test_a_word_offered_for_an_older_text_is_not_taken(page: Chromium) -> None:
    write_until_offered(page)
    page.run(SLOW)
    page.press(food_of(1)[2])
    page.press("Tab")
    assert page.run("document.getElementById('write-text').value") == f"The {food_of(1)[:3]}"
    assert page.run("document.activeElement.id") == "write-text"
    page.run("window.answer()")
    page.until("!window.answer")
    page.until(f"document.querySelector('#offers button')?.textContent.startsWith('{food_of(1)}')")
    page.until("(document.querySelector('#offers button').click(), "
               f"document.getElementById('write-text').value === 'The {food_of(1)}')")  # fmt: skip


def test_a_review_is_written_at_the_chosen_rating_and_temperature(page: Chromium) -> None:
    page.run("{ const ask = window.fetch; window.asked = []; window.fetch = (path, options) => {"
             " window.asked.push([path, options.body]); return ask(path, options); } }")  # fmt: skip
    page.click("#tab-generate")
    for field, value in (("#stars", "2"), ("[name=temperature]", "1.3")):
        page.fill(field, value)
        page.run(f"document.querySelector({field!r}).dispatchEvent(new Event('input'))")
    assert page.text("temperature-shown") == "1.3"
    page.fill("[name=max_tokens]", "5")
    page.click("#generate-form button")
    page.until("document.getElementById('generate-state').textContent.includes(' after ')")
    [body] = [json.loads(body) for path, body in page.run("window.asked") if path == "/v1/completions"]
    assert (body["stars"], body["temperature"], body["max_tokens"], body["seed"]) == (2, 1.3, 5, 1)
    assert (body["model"], body["stream"]) == ("reviewlm@champion", True)


def test_a_busy_server_is_said_when_a_review_is_asked_for(page: Chromium) -> None:
    page.click("#tab-generate")
    page.run(BUSY)
    page.click("#generate-form button")
    page.until("!document.getElementById('error').hidden")
    assert page.text("error") == "the queue is full; try again in 3 s"
    assert page.text("generate-state") == ""
    assert page.run("document.getElementById('generate-stop').disabled")


@pytest.mark.parametrize(
    "script",
    [
        "controller.error(new TypeError('network error'))",
        "controller.close()",
    ],
)
def test_a_stream_that_breaks_off_is_said(page: Chromium, script: str) -> None:
    page.click("#tab-generate")
    page.fill("#generate-form [name=prompt]", "The")
    page.run("window.fetch = async () => new Response(new ReadableStream({ async start(controller) {"
             " controller.enqueue(new TextEncoder().encode('data: {\"choices\": [{\"text\": \" pizza\"}]}\\n\\n'));"
             f" await new Promise((go) => setTimeout(go, 50)); {script}; }} }}))")  # fmt: skip
    page.click("#generate-form button")
    page.until("!document.getElementById('error').hidden")
    assert page.text("error") == "The server broke off its answer. Is it still running?"
    assert page.text("generated") == "The pizza"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_its_background(browser: Chromium, scheme: str) -> None:
    browser.prefer(scheme)
    try:
        with answering(MadeSource(champion=1)) as (address, _):
            browser.open(address)
            page = browser.run("getComputedStyle(document.body).backgroundColor")
            assert page == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 28)"}[scheme]
            browser.run("document.getElementById('write-text').focus()")
            browser.press("The ")
            browser.until("document.querySelector('#offers button') !== null")
            for name in ["write", "generate", "compare", "surprisal", "dasher", "card"]:
                browser.click(f"#tab-{name}")
                if name == "surprisal":
                    browser.click("#surprisal-form button")
                    browser.until("document.querySelectorAll('#heat span').length > 3")
                browser.run("import('/page/api.js').then(({ tell }) => tell('An error.'))")
                poor = [found for found in browser.run(CONTRASTS) if found[0] < 4.5]
                assert not poor, name
    finally:
        browser.prefer("")


def test_two_versions_write_side_by_side(page: Chromium) -> None:
    page.click("#tab-compare")
    page.fill("#compare-form [name=prompt]", "The")
    page.fill("[name=second]", "reviewlm@challenger")
    page.click("#compare-form button")
    page.until("document.getElementById('compare-state').textContent.includes('differ')")
    names = ("reviewlm@champion (reviewlm/1)", "reviewlm@challenger (reviewlm/2)")
    assert (page.text("first-name"), page.text("second-name")) == names
    assert page.text("first-text").startswith(f"The {food_of(1)}")
    assert page.text("second-text").startswith(f"The {food_of(2)}")


def test_a_version_that_is_compared_with_itself_is_named(browser: Chromium) -> None:
    with answering(MadeSource(champion=1)) as (address, _):
        browser.open(address)
        browser.click("#tab-compare")
        browser.click("#compare-form button")
        said = "document.getElementById('compare-state').textContent"
        assert browser.until(f"{said}.startsWith('Both are reviewlm/1, so the')")


def test_no_probability_is_shown_as_certain(page: Chromium) -> None:
    shown = page.run("import('/page/api.js').then(({ percent }) => [1, 0.9951, 0.99, 0.1, 0.02, 0.0002].map(percent))")
    assert shown == ["> 99 %", "> 99 %", "99 %", "10 %", "2.0 %", "< 0.1 %"]


def test_the_card_is_shown(page: Chromium) -> None:
    page.click("#tab-card")
    page.until("document.getElementById('card-body').textContent !== ''")
    row = "[...row.cells].map((cell) => cell.textContent)"
    rows = page.run(f"[...document.querySelectorAll('#card-body tr')].map((row) => {row})")
    for expected in [
        ["Kind of model", "ngram"],
        ["Verdict", "version 1"],
        ["Preset and data", "demo, embedded corpus"],
        ["Data family", "synthetic"],
        ["Data (digest)", "36b8207984c9d0de"],
        ["Ratings in training", "5 stars 100 %"],
        ["Champion since (UTC)", "2026-11-24 06:30"],
        ["open bits per byte", "0.483316"],
        ["champion, open bits per byte", "0.494012"],
        ["gain", "2.165% (95 % interval 1.21% to 3.104%)"],
        ["test reviews", "680"],
        ["rule", "outcome", "why"],
        ["not below the floor", "passed", "+0.2232 bits per byte above the floor, interval +0.2128 to +0.2347"],
        ["copied span", "failed", "the longest copied passage has 30 words"],
        ["when (UTC)", "version", "decision", "who", "why"],
        ["2026-11-25 09:12", "2", "promoted (overtaken)", "weekly", "better"],
        ["2026-11-24 06:30", "1", "promoted", "weekly", "first model, all rules passed"],
    ]:
        assert expected in rows, expected
    names = [row[0] for row in rows]
    assert not {"challenger, open bits per byte", "gain, lower end", "gain, confidence"} & set(names)
    assert "drift" not in names, "a rule that does not apply is only counted"
    assert "1 further rule did not apply." in page.text("card-body")
    assert names.index("test reviews") < names.index("passed over"), "numbers stand first"
    assert page.run("document.querySelector('#card-body .failed').textContent") == "failed"


def test_a_narrow_card_names_what_it_shows_below_each_other(browser: Chromium) -> None:
    with answering(MadeSource(champion=1)) as (address, _):
        browser.open(address, width=390)
        browser.click("#tab-card")
        browser.until("document.querySelector('#card-body td.failed') !== null")
        before = "getComputedStyle(document.querySelector('#card-body td.failed'), '::before').content"
        assert "outcome" in browser.run(before)
        browser.open(address, width=1280)
        browser.click("#tab-card")
        browser.until("document.querySelector('#card-body td.failed') !== null")
        assert browser.run(before) == "none"


def test_an_error_is_said_and_gone_after_the_next_success(page: Chromium) -> None:
    page.click("#tab-surprisal")
    page.fill("#surprisal-text", "  ")
    page.click("#surprisal-form button")
    page.until("!document.getElementById('error').hidden")
    assert page.text("error") == "Give a text of one word or more."
    page.fill("#surprisal-text", "The")
    page.click("#surprisal-form button")
    page.until("document.getElementById('error').hidden")
    assert page.text("error") == ""


@pytest.mark.parametrize("name", ["write", "generate", "compare", "surprisal", "dasher", "card"])
def test_the_page_fits_a_telephone(browser: Chromium, name: str) -> None:
    with answering(MadeSource(champion=1)) as (address, _):
        browser.open(address, width=390)
        browser.click(f"#tab-{name}")
        assert browser.run("document.documentElement.scrollWidth") <= 390


def test_words_of_the_model_stay_text(browser: Chromium) -> None:
    source = MadeSource(champion=1)
    source.make = lambda number: hostile_bundle()
    with answering(source) as (address, _):
        browser.open(address)
        browser.run("document.getElementById('write-text').focus()")
        browser.press("The ")
        browser.until("document.getElementById('offers').textContent.includes('onerror')")
        assert browser.run("document.querySelectorAll('#offers img').length") == 0


def test_a_server_without_a_language_model_says_so_in_a_sentence(browser: Chromium) -> None:
    source = MadeSource()
    source.count = 0
    versions = made_versions(source)
    versions.watch()
    try:
        with served(create_app(versions, versions.settings, versions.metrics, None)) as address:
            browser.open(address, until="document.getElementById('error')?.hidden === false")
            assert browser.text("error").startswith("This server serves no language model yet")
            parts = "[...document.querySelectorAll('main, [role=tablist], select')]"
            assert not browser.run(f"{parts}.some((each) => each.checkVisibility())"), "there is nothing to try"
    finally:
        versions.close()


def hostile_bundle() -> Bundle:
    """A model one of whose words is HTML."""
    bundle = bundle_of(1)
    text = bundle.vocabulary.to_json().replace(f'"{food_of(1)}"', f'"a{HOSTILE}"')
    return replace(bundle, vocabulary=Vocabulary.from_json(text))
