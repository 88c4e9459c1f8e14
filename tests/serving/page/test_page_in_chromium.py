"""The page in a real browser: typing, accepting, streaming, comparing, surprisal, Dasher, card, errors."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from models.bundles.bundle import Bundle
from models.tokens.vocabulary import Vocabulary
from serving.api.app import create_app
from tests.serving.made_versions import MadeSource, bundle_of, food_of, made_versions
from tests.serving.page.chromium import PROGRAM, Chromium
from tests.serving.served import answering, served

pytestmark = [pytest.mark.long, pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium")]
HOSTILE = "<img src=x onerror=alert(1)>"
SLOW = """{ const ask = window.fetch; window.fetch = async (...all) => {
  await new Promise((go) => { window.answer = () => { delete window.answer; go(); }; });
  return ask(...all);
} }"""
"""From now on each answer waits until `window.answer()` is called."""
BUSY = """window.fetch = async () => Response.json({ error: { message: "the queue is full; try again in 3 s" } },
  { status: 429, headers: { "Retry-After": "3" } })"""
"""From now on the server is busy."""
CUT_OFF = """window.fetch = async () => new Response(
  'data: {"model": "reviewlm/1", "choices": [{"text": " pizza"}]}\\n\\n' +
  'data: {"error": {"message": "the answer took longer than 5 s"}}\\n\\n')"""
"""From now on each stream ends with an error after its first word."""
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


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture
def page(browser: Chromium) -> Iterator[Chromium]:
    with answering(MadeSource(champion=1, challenger=2)) as (address, _):
        browser.leave()  # the page of the test before may still ask a server that is gone
        browser.complaints.clear()
        browser.open(address)
        yield browser
        browser.leave()
        assert browser.complaints == []


def test_a_word_is_typed_completed_and_accepted(page: Chromium) -> None:
    write_until_offered(page)
    page.press("Tab")
    page.until(f"document.getElementById('write-text').value === 'The {food_of(1)}'")
    page.until("document.getElementById('write-keys').textContent === "
               "'9 characters with 7 keys: 22 % of the keys saved'")  # fmt: skip
    page.press("Escape")
    page.press("Tab")
    assert page.run("document.activeElement.id") != "write-text", "the keyboard is not caught in the field"


def write_until_offered(page: Chromium) -> None:
    """Type the first letters of a food, and wait until the whole word is offered."""
    page.run("document.getElementById('write-text').focus()")
    page.press(f"The {food_of(1)[:2]}")
    page.until(f"document.querySelector('#offers button')?.textContent.startsWith('{food_of(1)}')")


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


def test_a_rating_that_was_drawn_is_told(page: Chromium) -> None:
    page.click("#tab-generate")
    page.fill("#stars", "")
    page.fill("[name=max_tokens]", "5")
    page.click("#generate-form button")
    page.until("document.getElementById('generate-state').textContent.endsWith('Its rating was drawn: ★★★★★.')")


def test_a_busy_server_is_said_when_a_review_is_asked_for(page: Chromium) -> None:
    page.click("#tab-generate")
    page.run(BUSY)
    page.click("#generate-form button")
    page.until("!document.getElementById('error').hidden")
    assert page.text("error") == "the queue is full; try again in 3 s"
    assert page.text("generate-state") == ""
    assert page.run("document.getElementById('generate-stop').disabled")


def test_an_error_in_the_middle_of_a_stream_is_said_and_the_text_so_far_stays(page: Chromium) -> None:
    page.click("#tab-generate")
    page.fill("#generate-form [name=prompt]", "The")
    page.run(CUT_OFF)
    page.click("#generate-form button")
    page.until("!document.getElementById('error').hidden")
    assert page.text("error") == "the answer took longer than 5 s"
    assert page.text("generated") == "The pizza"
    assert page.text("generate-state") == ""


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
    assert (page.text("first-name"), page.text("second-name")) == ("reviewlm@champion", "reviewlm@challenger")
    assert page.text("first-text").startswith(f"The {food_of(1)}")
    assert page.text("second-text").startswith(f"The {food_of(2)}")


def test_what_was_expected_is_listed_from_the_likeliest_on_also_if_it_is_a_number(page: Chromium) -> None:
    page.click("#tab-surprisal")
    page.run("""{ const ask = window.fetch; window.fetch = async (path, options) => {
      const answer = await ask(path, options);
      if (path !== "/v1/completions") return answer;
      const said = await answer.json();
      for (const each of said.choices[0].logprobs.top_logprobs) each["20"] = -9;
      return Response.json(said);
    } }""")
    page.fill("#surprisal-text", f"The {food_of(1)} was good")
    page.click("#surprisal-form button")
    page.click("#heat span", f" {food_of(1)}")
    shares = re.findall(r"” (?:< )?([\d.]+) %", page.text("alternatives").split("Expected:")[1])
    assert shares == sorted(shares, key=float, reverse=True)
    assert "“20” < 0.1 %." in page.text("alternatives")


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
    [("", "No rating is given: averaged over reviews with ★, ★★★★★."), ("1", "Read as a review with ★.")],
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
            assert ("Expected:" in browser.text("alternatives")) == bool(rating) or place == count - 1
        assert browser.text("surprisal-sum").startswith(said)
        [total] = re.findall(r"([\d.]+) bits in 6 tokens", browser.text("surprisal-sum"))
        assert sum(bits) == pytest.approx(float(total), abs=0.31)


def test_a_text_is_written_with_boxes(page: Chromium) -> None:
    page.click("#tab-dasher")
    for char in "The":
        page.click("#dasher-buttons button", f"{char} ")
    assert page.text("dasher-text") == "The"
    assert "bits for 3 characters" in page.text("dasher-bits")
    page.click("#dasher-back")
    assert page.text("dasher-text") == "Th"


def test_characters_of_nested_boxes_are_drawn_side_by_side(page: Chromium) -> None:
    page.run("""{ const pen = CanvasRenderingContext2D.prototype, { fillText, clearRect } = pen; window.drawn = [];
      pen.clearRect = function (...all) { window.drawn = []; clearRect.apply(this, all); };
      pen.fillText = function (text, x, y) {
        window.drawn.push([text, Math.round(y), x, x + this.measureText(text).width]);
        fillText.call(this, text, x, y);
      } }""")
    page.click("#tab-dasher")
    for char in "The":
        page.click("#dasher-buttons button", f"{char} ")
    page.click("#dasher-buttons button", "space")
    page.click("#dasher-buttons button", f"{food_of(1)[0]} ")
    page.until(f"window.drawn.some(([text]) => text === '{food_of(1)[-1]}')")
    drawn = page.run("window.drawn")
    rows = [sorted((left, right) for _, y, left, right in drawn if y == row) for row in {y for _, y, _, _ in drawn}]
    assert max(map(len, rows)) >= len(food_of(1)) - 1, "the letters of a word stand in a row"
    assert all(one[1] <= other[0] for row in rows for one, other in itertools.pairwise(row))


def test_bits_of_pointing_and_code_length_stand_side_by_side_while_writing(page: Chromium) -> None:
    page.click("#tab-dasher")
    for char in f"The {food_of(1)[0]}":
        page.click("#dasher-buttons button", f"{'space' if char == ' ' else char} ")
    page.until("document.getElementById('dasher-code').textContent.includes('finished words (3 characters)')")
    [bits] = re.findall(r"^([\d.]+) bits for 5 characters", page.text("dasher-bits"))
    [code] = re.findall(r"^([\d.]+) bits in tokens for the finished words", page.text("dasher-code"))
    [there] = re.findall(r"pointing took ([\d.]+) bits up to there", page.text("dasher-code"))
    assert float(code) == pytest.approx(float(there), abs=0.2)
    assert float(code) < float(bits)
    place = "document.getElementById('dasher-{}').getBoundingClientRect().y"
    assert page.run(place.format("bits")) == page.run(place.format("code")), "they stand side by side"
    for char in f"{food_of(1)[1:]} was good and the staff was friendly.":
        page.click("#dasher-buttons button", f"{'space' if char == ' ' else char} ")
    page.click("#dasher-buttons button", "end of the review")
    page.until("document.getElementById('dasher-code').textContent.includes('the whole text')")
    [bits, code] = [float(page.text(f"dasher-{name}").split()[0]) for name in ("bits", "code")]
    assert code == pytest.approx(bits, abs=0.2)


def test_the_card_is_shown(page: Chromium) -> None:
    page.click("#tab-card")
    page.until("document.getElementById('card-body').textContent !== ''")
    assert "version 1" in page.text("card-body")


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
