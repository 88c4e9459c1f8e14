"""Dasher in a real browser: with the pointer, with the keyboard, with buttons; bits beside the code length."""

from __future__ import annotations

import re

import pytest

from tests.serving.made_versions import food_of
from tests.serving.page.chromium import Chromium, in_chromium

pytestmark = [pytest.mark.long, in_chromium]


def test_a_text_is_written_with_boxes(page: Chromium) -> None:
    page.click("#tab-dasher")
    for char in "The":
        page.click("#dasher-buttons button", f"{char} ")
    assert page.text("dasher-text") == "The"
    assert "bits for 3 characters" in page.text("dasher-bits")
    page.click("#dasher-back")
    assert page.text("dasher-text") == "Th"


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


def point(
    page: Chromium,
    x: float,
    y: float,
    click: bool = False,
) -> None:
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


def test_pointing_to_the_left_takes_back_what_was_written_to_the_right(boxes: Chromium) -> None:
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
        assert all(0 < base <= tall for *_, base in boxes.run("window.seen")), (
            "letters stand where they are seen"
        )
        middle = middle_of(boxes, wanted[: len(text) + 1]) if wanted.startswith(text) else None
        point(
            boxes, *((0.2, 0.5) if middle is None else (0.8, min(0.98, max(0.02, middle / tall))))
        )
    assert boxes.text("dasher-text") == wanted
    point(boxes, 0.5, 0.5, click=True)
    told = f"finished words ({len(wanted)} characters)"  # on a slow machine, a text on the way was told before
    boxes.until(f"document.getElementById('dasher-code').textContent.includes('{told}')")
    [code] = re.findall(r"^([\d.]+) bits in tokens", boxes.text("dasher-code"))
    [spelled] = re.findall(r"and ([\d.]+) for what tokens leave out", boxes.text("dasher-code"))
    [pointed] = re.findall(r"pointing took ([\d.]+) bits up to there", boxes.text("dasher-code"))
    # What follows the last token is charged by the score already, and pointed at later.
    assert float(code) - 0.1 <= float(pointed) <= float(code) + float(spelled) + 0.1, (
        "exact through many boxes"
    )


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
