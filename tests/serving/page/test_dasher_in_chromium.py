"""Dasher in a real browser: with the pointer, with the keyboard, with buttons; bits beside the code length."""

from __future__ import annotations

import itertools
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
