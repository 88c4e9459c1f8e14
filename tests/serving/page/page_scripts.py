"""Scripts that make the page's server slow, busy or broken, and what several tests of the page begin with."""

from __future__ import annotations

from tests.serving.made_versions import food_of
from tests.serving.page.chromium import Chromium

CUT_OFF = """window.fetch = async () => new Response(
  'data: {"model": "reviewlm/1", "choices": [{"text": " pizza"}]}\\n\\n' +
  'data: {"error": {"message": "the answer took longer than 5 s"}}\\n\\n')"""
"""From now on each stream ends with an error after its first word."""


def write_until_offered(page: Chromium) -> None:
    """Type the first letters of a food, and wait until the whole word is offered."""
    page.run("document.getElementById('write-text').focus()")
    page.press(f"The {food_of(1)[:2]}")
    page.until("document.getElementById('write-text').value.length === 6")
    # Not the words after "The ".
    page.until("document.getElementById('offers').ariaBusy === 'false'")
    assert page.run("document.querySelector('#offers button').textContent").startswith(food_of(1))
