"""The page in a real browser: comparing, card, errors, contrast, width; its core has a module of its own."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.tokens.vocabulary import Vocabulary
from tests.serving.made_versions import MadeSource, bundle_of, food_of
from tests.serving.page.chromium import Chromium, in_chromium
from tests.serving.served import answering

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


def test_a_review_is_written_with_the_chosen_options(page: Chromium) -> None:
    page.run(
        "{ const ask = window.fetch; window.asked = []; window.fetch = (path, options) => {"
        " window.asked.push([path, options.body]); return ask(path, options); } }"
    )
    page.click("#tab-generate")
    for field, value in (("#stars", "2"), ("[name=temperature]", "1.3")):
        page.fill(field, value)
        page.run(f"document.querySelector({field!r}).dispatchEvent(new Event('input'))")
    assert page.text("temperature-shown") == "1.3"
    page.fill("[name=max_tokens]", "5")
    page.fill("#generate-form [name=seed]", "1")
    page.click("#generate-form button")
    page.until("document.getElementById('generate-state').textContent.includes(' after ')")
    [body] = [
        json.loads(body) for path, body in page.run("window.asked") if path == "v1/completions"
    ]
    assert (body["stars"], body["temperature"], body["max_tokens"], body["seed"]) == (2, 1.3, 5, 1)
    assert (body["model"], body["stream"]) == ("reviewlm@champion", True)


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
    page.run(
        "window.fetch = async () => new Response(new ReadableStream({ async start(controller) {"
        ' controller.enqueue(new TextEncoder().encode(\'data: {"choices": [{"text": " pizza"}]}\\n\\n\'));'
        f" await new Promise((go) => setTimeout(go, 50)); {script}; }} }}))"
    )
    page.click("#generate-form button")
    page.until("!document.getElementById('error').hidden")
    assert page.text("error") == "The server broke off its answer. Is it still running?"
    assert page.text("generated") == "The pizza"


def test_a_text_that_reached_its_longest_length_says_so(page: Chromium) -> None:
    end = "getComputedStyle(document.getElementById('generated'), '::after').content"
    page.click("#tab-generate")
    for longest, says in (("1", True), ("300", False)):
        page.fill("#generate-form [name=prompt]", "The")
        page.fill("#generate-form [name=max_tokens]", longest)
        page.click("#generate-form button")
        page.until(
            "document.getElementById('generate-stop').disabled && "
            "document.getElementById('generate-state').textContent.includes('seed')"
        )
        assert (page.run(end) != "none") is says


def test_the_tab_that_compares_has_only_its_own_choices_of_models(page: Chromium) -> None:
    for tab, shown in (("compare", False), ("write", True)):
        page.click(f"#tab-{tab}")
        assert page.run("document.getElementById('model').checkVisibility()") is shown


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


def test_words_of_the_model_stay_text(browser: Chromium) -> None:
    source = MadeSource(champion=1)
    source.make = lambda number: hostile_bundle()
    with answering(source) as (address, _):
        browser.open(address)
        browser.run("document.getElementById('write-text').focus()")
        browser.press("The ")
        browser.until("document.getElementById('offers').textContent.includes('onerror')")
        assert browser.run("document.querySelectorAll('#offers img').length") == 0


def hostile_bundle() -> Bundle:
    """A model one of whose words is HTML."""
    bundle = bundle_of(1)
    text = bundle.vocabulary.to_json().replace(f'"{food_of(1)}"', f'"a{HOSTILE}"')
    return replace(bundle, vocabulary=Vocabulary.from_json(text))
