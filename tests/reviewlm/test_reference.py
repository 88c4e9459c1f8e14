"""The reference pages are those of the code, and every option says what it is for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reviewlm.reference import FOLDER, PAGES, settings_page

NO_MEANING = re.compile(r"\|\s*\|$|^\* `[^`]*`:?\s*(\[.*\])?\s*$")


@pytest.mark.parametrize("name", PAGES)
def test_every_option_has_a_meaning(name: str) -> None:
    assert [line for line in PAGES[name]().splitlines() if NO_MEANING.search(line)] == []


def test_links_of_the_documents_lead_somewhere() -> None:
    root = FOLDER.parent.parent
    broken = []
    for page in (*root.glob("*.md"), *(root / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not Path(page.parent, target).exists() and Path(target).name not in PAGES:
                broken.append(f"{page.relative_to(root)}: {target}")
    assert broken == []


def settings() -> list[tuple[str, list[str]]]:
    """Full name and cells of every setting on the page."""
    found, section = [], ""
    for line in settings_page().splitlines():
        section = line.removeprefix("## ") if line.startswith("## ") else section
        if line.startswith("| `"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found.append((f"{section}: {cells[0].strip('`')}", cells))
    return found


def test_the_row_of_every_setting_is_complete() -> None:
    assert [name for name, cells in settings() if len(cells) != 4 or not all(cells)] == []
