"""The reference pages are those of the code, and every option says what it is for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from reviewlm.reference import FOLDER, PAGES, cli_page, settings_page


@pytest.mark.parametrize("name", PAGES)
def test_every_option_has_a_meaning(name: str) -> None:
    assert [line for line in PAGES[name]().splitlines() if re.search(r"\|\s*\|$", line)] == []


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


def test_every_setting_has_default_range_first_release_and_meaning() -> None:
    assert [name for name, cells in settings() if len(cells) != 5 or not all(cells)] == []


def test_a_setting_that_is_new_says_since_when() -> None:
    """The file lists the settings of release 0.1.0. Give a later one the mark `Since` instead of a line there."""
    first = (Path(__file__).parent / "settings_0_1_0.txt").read_text(encoding="utf-8").splitlines()
    assert {name for name, cells in settings() if cells[3] == "0.1.0"} == set(first)


def test_no_setting_comes_from_a_release_that_is_still_to_come() -> None:
    project = tomllib.loads((FOLDER.parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {tuple(map(int, cells[3].split("."))) for _, cells in settings()}
    assert max(named) <= tuple(map(int, project["version"].split(".")))


def test_numbers_have_their_range_on_the_page() -> None:
    rows = dict(settings())
    numbers = {name: cells[2] for name, cells in rows.items() if cells[2].startswith(("a whole number", "a number"))}
    assert len(numbers) > 120
    said = re.compile("; (between|at least|above|0 or more|in )")
    assert [name for name, values in numbers.items() if not said.search(values)] == []
    assert rows["models.NAME with kind rnn, gru, lstm: hidden"][2] == "a whole number; at least 1 and at most 65,536"
    assert rows["models.NAME.training: clip"][2].startswith("a number, or 'none' to do without; above 0 and finite")
    assert rows["models.NAME.training: patience"][4].endswith("Only takes effect with optimizer 'nt_asgd'.")
    assert rows["split: test"][2] == "a number; above 0 and below 0.5"


def test_options_with_a_choice_name_what_can_be_chosen() -> None:
    page = cli_page()
    assert "| `--form` | `word2vec` | one of word2vec, binary, glove, fasttext |" in page
    assert "a section of options" not in page
