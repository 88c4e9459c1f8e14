"""What a screen reader gets of the page: names and roles of all parts, and a sentence when something appears."""

from __future__ import annotations

import pytest

from tests.serving.made_versions import food_of
from tests.serving.page.chromium import Chromium, in_chromium

pytestmark = [pytest.mark.long, in_chromium]
USED = {
    "button",
    "textbox",
    "combobox",
    "slider",
    "spinbutton",
    "tab",
    "tabpanel",
    "region",
    "listbox",
    "option",
    "application",
}
"""Roles whose elements must have a name."""


@pytest.mark.parametrize("name", ["write", "generate", "compare", "surprisal", "dasher", "card"])
def test_every_part_of_the_open_tab_has_a_name(page: Chromium, name: str) -> None:
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
        assert "Report of its run" in {node["name"] for node in nodes if node["role"] == "link"}
    if name == "dasher":
        [canvas] = [node for node in nodes if node["role"] == "application"]
        assert canvas["focusable"]
        assert "arrow keys" in canvas["description"]
