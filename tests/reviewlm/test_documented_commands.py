"""Every command in the README and the docs is one that the command line understands, up to the names that it holds."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from core.config.neural_choice import chosen_model
from core.config.presets import PRESETS, load_config
from reviewlm.cli import app

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
STOP = ("|", ">", "&&", ";", "<")


def commands(page: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a page's code blocks that call the command line, continued lines put together.

    Indented lines are what a program has printed.
    """
    inside, held, at = False, "", 0
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if line.lstrip().startswith("```"):
            inside, held = not inside, ""
            continue
        if not inside or (line[:1] == " " and not held):
            continue
        at = at if held else number
        held += line.strip().removesuffix("\\")
        if line.rstrip().endswith("\\"):
            held += " "
            continue
        if found := re.search(r"(?:^|[\s/])reviewlm (?=[a-z-])(?!.*│)", held):
            yield at, held[found.end() :]
        held = ""


def words_of(line: str) -> list[str]:
    """Return the words of a command, as a shell would hand them over; what it does with their output is left out."""
    words = shlex.split(line, comments=True)
    stop = next((place for place, word in enumerate(words) if word in STOP or word[:1] in "<>"), len(words))
    return [word for word in words[:stop] if word != "…"]


def understood(words: list[str]) -> dict[str, Any]:
    """Parse a command without running it; return its parameters."""
    command, context = get_command(app), None
    while hasattr(command, "commands"):
        name, *words = words
        context = command.make_context("reviewlm", [name], parent=context, resilient_parsing=True)
        command = command.commands[name]
    return dict(command.make_context("verb", words, parent=context).params)


DOCUMENTED = [(page.name, number, line) for page in PAGES for number, line in commands(page)]


def test_commands_are_found_in_the_pages() -> None:
    assert sum(name == "README.md" for name, _, _ in DOCUMENTED) >= 20
    assert len(DOCUMENTED) >= 60


@pytest.mark.parametrize(("page", "number", "line"), DOCUMENTED, ids=lambda value: str(value)[:60])
def test_a_documented_command_can_be_typed(page: str, number: int, line: str) -> None:
    parameters = understood(words_of(line))
    preset = parameters.get("preset")
    if preset and (PRESETS / f"{preset}.toml").is_file():
        config = load_config(preset, parameters.get("set") or [])
        if line.split()[0] in ("sweep", "scaling", "lr-find", "optimizers"):
            assert chosen_model(config, parameters["model"])[1].name in {spec.name for spec in config.models}
    assert all(name.isidentifier() for name in parameters), "parsed into the verb's parameters"
