"""What a screen reader gets of the page: names and roles of all parts, and a sentence when something appears."""

from __future__ import annotations

import json

import pytest

from tests.serving.made_versions import food_of
from tests.serving.page.chromium import Chromium, in_chromium

pytestmark = [pytest.mark.long, in_chromium]
USED = {"button", "textbox", "combobox", "slider", "spinbutton", "tab", "tabpanel", "region", "listbox", "option",
        "application"}  # fmt: skip
"""Roles whose elements must have a name."""
HEARD = """{ window.heard = [];
for (const region of document.querySelectorAll("[role=status], [role=alert], [aria-live]"))
  new MutationObserver(() => window.heard.push(region.textContent)).observe(region,
    { childList: true, characterData: true, subtree: true }); }"""
"""From now on `window.heard` has all that live regions say."""
PAUSED = """{ let held = null; const { setTimeout, clearTimeout } = window;
  window.setTimeout = (go, wait, ...all) => (wait >= 500 ? (held = go, "held") : setTimeout(go, wait, ...all));
  window.clearTimeout = (id) => { if (id === "held") held = null; else clearTimeout(id); };
  window.rest = () => held?.(); }"""
"""From now on pauses of half a second and more end when `window.rest()` is called."""


def until_said(page: Chromium, text: str) -> str:
    """Wait until the live region for sentences has a text, and return all of it."""
    return page.until(f"(({{ textContent }}) => textContent.includes({json.dumps(text)}) && textContent)"
                      "(document.getElementById('said'))")  # fmt: skip


def test_sentences_are_said_politely_and_as_a_whole(page: Chromium) -> None:
    page.run("document.getElementById('said').textContent = 'A sentence.'")
    nodes = page.accessible()
    [text] = [node for node in nodes if (node["role"], node["name"]) == ("StaticText", "A sentence.")]
    [region] = [node for node in nodes if node["id"] == text["parent"]]
    assert (region["role"], region["live"], region["atomic"]) == ("status", "polite", True)
    box = page.run("JSON.stringify(document.getElementById('said').getBoundingClientRect())")
    assert json.loads(box)["width"] <= 1, "it is there, but not seen"


def test_suggested_words_are_said_after_a_pause_and_not_with_each_key(page: Chromium) -> None:
    page.run(PAUSED)
    page.run("document.getElementById('write-text').focus()")
    for count, key in enumerate(f"The {food_of(1)[:2]}", 1):
        page.press(key)
        page.until(f"document.getElementById('write-keys').textContent.startsWith('{count} character')")
        assert page.text("said") == ""
    page.run("window.rest()")
    said = page.text("said")
    assert said.startswith(f"Suggested: {food_of(1)} ")
    assert said.endswith(f"Tab writes {food_of(1)}.")
    page.press("Tab")
    page.until("document.getElementById('write-keys').textContent.startsWith('9 characters')")
    page.run("window.rest()")
    assert page.text("said").startswith(f"Written: {food_of(1)}. Suggested: ")
    page.press("Escape")
    page.run("window.rest()")
    assert "Suggested" not in page.text("said")


def test_a_suggestion_names_its_keys_and_they_work(page: Chromium) -> None:
    page.run("document.getElementById('write-text').focus()")
    page.press(f"The {food_of(1)} was ")
    page.until("document.getElementById('write-keys').textContent.startsWith('14 characters')")
    words = page.run("[...document.querySelectorAll('#offers button')].map((each) => each.firstChild.data)")
    keys = [node["keyshortcuts"] for node in page.accessible() if node["role"] == "button" and "keyshortcuts" in node]
    assert keys[:3] == ["Tab Alt+1", "Alt+2", "Alt+3"]
    page.press("2", alt=True)
    page.until(f"document.getElementById('write-text').value === 'The {food_of(1)} was {words[1]}'")
    [field] = [node for node in page.accessible() if node["role"] == "textbox" and node["name"] == "Your review"]
    assert field["focused"]
    assert "Tab takes the first word" in field["description"]


def test_a_generated_text_is_said_once_it_is_whole(page: Chromium) -> None:
    page.click("#tab-generate")
    page.run(HEARD)
    page.fill("#generate-form [name=prompt]", "The")
    page.click("#generate-form button")
    said = until_said(page, f"The {food_of(1)}")
    assert said == page.text("generated")
    assert not [text for text in page.run("window.heard") if text.startswith("The") and text != said], "no halves"
    [region] = [node for node in page.accessible() if node["name"] == "Generated review"]
    assert region["role"] == "region"


def test_compared_texts_are_said_with_their_versions(page: Chromium) -> None:
    page.click("#tab-compare")
    page.fill("#compare-form [name=prompt]", "The")
    page.fill("[name=second]", "reviewlm@challenger")
    page.click("#compare-form button")
    said = until_said(page, "wrote")
    assert said.startswith(f"reviewlm@champion wrote: The {food_of(1)}")
    assert f"reviewlm@challenger wrote: The {food_of(2)}" in said


def test_what_is_written_with_dasher_is_said(page: Chromium) -> None:
    page.click("#tab-dasher")
    for char in "The":
        page.click("#dasher-buttons button", f"{char} ")
    assert until_said(page, "The") == "The"


def test_a_warning_about_a_text_is_shown_and_said(page: Chromium) -> None:
    warning = "document.getElementById('error').textContent"
    page.click("#tab-generate")
    page.fill("#generate-form [name=prompt]", "Вкусно")
    page.click("#generate-form button")
    page.until(f"{warning}.includes('Cyrillic script') && !document.getElementById('error').hidden")
    page.click("#tab-compare")
    page.fill("#compare-form [name=prompt]", "Вкусно")
    page.fill("[name=second]", "reviewlm@challenger")
    page.run("document.getElementById('error').textContent = ''")
    page.click("#compare-form button")
    told = page.until(f"{warning}.includes('Cyrillic script') && {warning}")
    assert told.count("Cyrillic") == 1, "both versions warn of the same"
    assert page.run("document.getElementById('error').getAttribute('role')") == "alert"


@pytest.mark.parametrize("name", ["write", "generate", "compare", "surprisal", "dasher", "card"])
def test_every_part_has_a_name_and_the_open_tab_is_known(page: Chromium, name: str) -> None:
    page.click(f"#tab-{name}")
    if name == "surprisal":
        page.fill("#surprisal-text", f"The {food_of(1)}\n\nwas good")
        page.click("#surprisal-form button")
        page.until("document.querySelectorAll('#heat span').length > 3")
    if name == "card":
        page.until("document.querySelectorAll('#card-body table').length > 2")
    if name == "dasher":
        page.until("document.querySelectorAll('#dasher-buttons button').length > 2")
    nodes = page.accessible()
    assert not [node for node in nodes if node["role"] in USED and not node["name"].strip()]
    chosen = [node["name"] for node in nodes if node["role"] == "tab" and node.get("selected")]
    assert chosen == [page.run(f"document.getElementById('tab-{name}').textContent")]
    assert [node["name"] for node in nodes if node["role"] == "tabpanel"] == chosen
    if name == "card":
        headers = {node["name"] for node in nodes if node["role"] in ("rowheader", "columnheader")}
        assert {"outcome", "why", "Verdict", "not below the floor"} <= headers
    if name == "dasher":
        [canvas] = [node for node in nodes if node["role"] == "application"]
        assert canvas["focusable"]
        assert "arrow keys" in canvas["description"]


def test_tabs_are_chosen_with_the_keyboard(page: Chromium) -> None:
    page.run("document.getElementById('tab-write').focus()")
    for key, tab in (("End", "card"), ("ArrowRight", "write"), ("ArrowLeft", "card"), ("Home", "write")):
        page.press(key)
        assert page.run("document.activeElement.id") == f"tab-{tab}"
        assert page.run(f"!document.getElementById('{tab}').hidden")
