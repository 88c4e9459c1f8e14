"""The reference pages are those of the code, and every option says what it is for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reviewlm.reference import FOLDER, PAGES

REMEDY = "python -m reviewlm.reference writes it again"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_that_of_the_code(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name](), REMEDY


@pytest.mark.parametrize("name", PAGES)
def test_every_option_has_a_meaning(name: str) -> None:
    page = (FOLDER / name).read_text(encoding="utf-8")
    assert [line for line in page.splitlines() if re.search(r"\|\s*\|$", line)] == []


def test_links_of_the_documents_lead_somewhere() -> None:
    root = FOLDER.parent.parent
    broken = []
    for page in (*root.glob("*.md"), *(root / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not Path(page.parent, target).exists():
                broken.append(f"{page.relative_to(root)}: {target}")
    assert broken == []
