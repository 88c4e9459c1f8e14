"""Dasher in a real browser: with the pointer, with the keyboard, with buttons; bits beside the code length."""

from __future__ import annotations

import itertools
import re

import pytest

from tests.serving.made_versions import food_of
from tests.serving.page.chromium import Chromium, in_chromium
from tests.serving.page.page_scripts import BUSY

pytestmark = [pytest.mark.long, in_chromium]


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


def test_each_character_that_may_follow_has_a_button(page: Chromium) -> None:
    page.click("#tab-dasher")
    for char in "Th":
        page.click("#dasher-buttons button", f"{char} ")
    page.until("document.querySelectorAll('#dasher-buttons button').length === 13")
    for char in "zt":
        page.click("#dasher-buttons button", "all ")
        assert page.run("document.querySelectorAll('#dasher-buttons button').length") > 13
        page.click("#dasher-buttons button", f"{char} ")
    assert page.text("dasher-text") == "Thzt"


def test_characters_beyond_ascii_are_named_by_the_first_of_them(page: Chromium) -> None:
    named = "import('/page/dasher_boxes.js').then(({{ others }}) => others({{ begun: {!r} }}))"
    begun = {"": "\u00e9", "c3": "\u00c0", "e0": "\u0800", "e4b8": "\u4e00", "f0": "\U00010000", "f09f8d": "\U0001f340"}
    assert {each: page.run(named.format(each)) for each in begun} == {each: f"{char}…" for each, char in begun.items()}


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


HELD = """{ window.frames_asked = []; window.requestAnimationFrame = (go) => window.frames_asked.push(go);
  let time = 0; window.move = (count) => { for (; count > 0; count -= 1) {
    const all = window.frames_asked.splice(0); time += 50; all.forEach((go) => go(time)); } }; }"""
"""From now on time stands still: `window.move(n)` lets n steps of 50 ms pass."""
SEEN = """{ const pen = CanvasRenderingContext2D.prototype, { fillText, fillRect, clearRect } = pen; let box = [];
  pen.clearRect = function (...all) { window.seen = []; clearRect.apply(this, all); };
  pen.fillRect = function (...all) { box = [all[1], all[3]]; fillRect.apply(this, all); };
  pen.fillText = function (...all) { window.seen.push([all[0], ...box, all[2]]); fillText.apply(this, all); }; }"""
"""From now on `window.seen` has each letter that is drawn, the top and the height of its box, and where it stands."""
WHOLE = "The "
"""What the view of the whole interval stands for: each review of the model begins so."""

PRESSED = """(document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {{ key: '{}', bubbles: true }})),
  document.getElementById('dasher-text').textContent)"""
"""Press a key, and return the text."""


@pytest.fixture
def boxes(page: Chromium) -> Chromium:
    """Dasher's tab with its first boxes, at a time that a test moves on."""
    page.run(HELD)
    page.run(SEEN)
    page.click("#tab-dasher")
    page.until("document.querySelectorAll('#dasher-buttons button').length > 1")
    return page


def point(page: Chromium, x: float, y: float, click: bool = False) -> None:
    """Point at a place of the canvas, given as shares of its width and height."""
    left, top, wide, tall = page.run(
        "(({ x, y, width, height }) => [x, y, width, height])(document.getElementById('dasher-canvas')"
        ".getBoundingClientRect())"
    )
    page.point(left + x * wide, top + y * tall, click)


def moved(page: Chromium) -> str:
    """Let steps pass, and the server answer; return the text."""
    page.run("window.move(4)")
    page.run("new Promise((go) => setTimeout(go, 10))")
    return page.text("dasher-text")


def moved_until(page: Chromium, text: str) -> str:
    """Let steps pass until the text fulfils a pattern, and return it."""
    for _ in range(400):
        if re.fullmatch(text, moved(page)):
            return page.text("dasher-text")
    raise AssertionError(page.text("dasher-text"))


def middle_of(page: Chromium, text: str) -> float | None:
    """Return where the middle of a text's box is drawn: of the longest row of nested letters that ends the text."""
    found: tuple[int, float | None] = (0, None)
    around: list[tuple[str, float, float]] = []
    for letter, top, high, _ in page.run("window.seen"):
        while around and not around[-1][1] - 0.01 <= top <= top + high <= around[-1][2] + 0.01:
            around.pop()
        around.append((" " if letter == "␣" else letter, top, top + high))
        row = "".join(each for each, _, _ in around)
        if text.endswith(row) and len(row) > found[0]:
            found = (len(row), top + high / 2)
    return found[1]


def bits_of(page: Chromium) -> float:
    """Return the bits of pointing so far."""
    return float(page.text("dasher-bits").split()[0])


def test_pointing_to_the_right_writes_and_to_the_left_takes_back(boxes: Chromium) -> None:
    point(boxes, 0.9, 0.5)
    boxes.run("window.move(20)")
    assert boxes.text("dasher-text") == "", "nothing moves before the click"
    point(boxes, 0.9, 0.5, click=True)
    written = moved_until(boxes, f"The {food_of(1)} was [a-z]+[ .]?")
    bits = bits_of(boxes)
    point(boxes, 0.9, 0.5, click=True)
    boxes.run("window.move(20)")
    assert boxes.text("dasher-text") == written, "a click pauses"
    point(boxes, 0.1, 0.5, click=True)
    assert written.startswith(moved_until(boxes, f"The {food_of(1)} was.{{0,5}}"))
    assert bits_of(boxes) < bits
    moved_until(boxes, WHOLE)
    boxes.run("window.move(200)")
    assert boxes.text("dasher-text") == WHOLE, "there is nothing outside"


def test_a_text_of_ones_own_is_written_by_pointing_at_its_letters(boxes: Chromium) -> None:
    wanted = f"The {food_of(1)} was hot and the staff was friendly."
    point(boxes, 0.9, 0.5, click=True)
    tall = boxes.run("document.getElementById('dasher-canvas').clientHeight")
    for _ in range(400):
        if (text := moved(boxes)) == wanted:
            break
        assert all(0 < base <= tall for *_, base in boxes.run("window.seen")), "letters stand where they are seen"
        middle = middle_of(boxes, wanted[: len(text) + 1]) if wanted.startswith(text) else None
        point(boxes, *((0.2, 0.5) if middle is None else (0.8, min(0.98, max(0.02, middle / tall)))))
    assert boxes.text("dasher-text") == wanted
    point(boxes, 0.5, 0.5, click=True)
    told = f"finished words ({len(wanted)} characters)"  # on a slow machine, a text on the way was told before
    boxes.until(f"document.getElementById('dasher-code').textContent.includes('{told}')")
    [code] = re.findall(r"^([\d.]+) bits in tokens", boxes.text("dasher-code"))
    [pointed] = re.findall(r"pointing took ([\d.]+) bits up to there", boxes.text("dasher-code"))
    assert float(pointed) == pytest.approx(float(code), abs=0.2), "the numbers stay exact through many boxes"


IMPROBABLE = """window.fetch = async () => Response.json({ model: "reviewlm/1", ratings: [5], warnings: [],
  intervals: [["a", 0.5], ["b", 1e-20], ["c", 0.5]].map(([symbol, probability]) =>
    ({ kind: "character", symbol, probability, children: [], begun: "" })) })"""
"""From now on a character stands in the middle whose interval is nothing beside the others in a sum of floats."""


def test_zooming_shows_the_most_improbable_character(page: Chromium) -> None:
    page.run(HELD)
    page.run(IMPROBABLE)
    page.click("#tab-dasher")
    page.until("document.querySelectorAll('#dasher-buttons button').length === 3")
    point(page, 0.9, 0.5, click=True)
    written = moved_until(page, "b{2,}")
    point(page, 0.9, 0.5, click=True)
    assert bits_of(page) == pytest.approx(66.44 * len(written), rel=1e-3), "-log2 of 1e-20 each"


def test_a_text_is_written_on_the_canvas_with_the_keyboard(boxes: Chromium) -> None:
    boxes.run("document.getElementById('dasher-canvas').focus()")
    boxes.until(f"{PRESSED.format('ArrowRight')}.startsWith('The {food_of(1)} was ')")
    written = boxes.text("dasher-text")
    boxes.press("Backspace")
    assert boxes.text("dasher-text") == written[:-1]
    boxes.until(f"{PRESSED.format('ArrowLeft')} === '{WHOLE}'")
    for _ in range(10):
        boxes.press("ArrowUp")
    boxes.until(f"!{PRESSED.format('ArrowRight')}.startsWith('The ')")


def test_another_tab_ends_the_zooming(boxes: Chromium) -> None:
    point(boxes, 0.9, 0.5, click=True)
    written = moved_until(boxes, ".{2,}")
    boxes.click("#tab-card")
    boxes.run("window.move(100)")
    boxes.click("#tab-dasher")
    boxes.run("window.move(100)")
    assert boxes.text("dasher-text") == written


def test_boxes_that_could_not_be_asked_are_asked_again_when_the_user_goes_on(page: Chromium) -> None:
    page.run("window.asking = window.fetch")
    page.run(BUSY)
    page.click("#tab-dasher")
    page.until("!document.getElementById('error').hidden")
    page.run("window.fetch = window.asking")
    point(page, 0.5, 0.5, click=True)
    assert page.until("document.querySelectorAll('#dasher-buttons button').length > 1")
