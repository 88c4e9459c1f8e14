"""The help page: every command in one group, in whole sentences, with examples that can be typed."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from core.config.presets import load_config, preset_names
from reviewlm import __version__, cli
from reviewlm.help_page import EXAMPLES, GROUPS, first_sentence
from tests.marked_cases import long_but


def commands(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every command that has no commands in it, by its path."""
    inside = getattr(command, "commands", {})
    if not inside:
        yield path, command
    for name, each in inside.items():
        yield from commands(each, f"{path} {name}".strip())


COMMANDS = dict(commands(cli.command()))


def test_every_command_is_in_one_group() -> None:
    listed = Counter(name for names in GROUPS.values() for name in names)
    assert set(listed) == set(cli.command().commands)
    assert set(listed.values()) == {1}


def test_every_command_has_examples() -> None:
    assert set(EXAMPLES) - {"reviewlm"} == set(COMMANDS)


@pytest.mark.parametrize(("path", "line"), [(path, line) for path, lines in EXAMPLES.items() for line in lines])
def test_an_example_can_be_typed(path: str, line: str) -> None:
    words = shlex.split(line)
    name = next(name for name in sorted(COMMANDS, key=len, reverse=True) if words[: len(name.split())] == name.split())
    assert path in (name, "reviewlm")
    context = COMMANDS[name].make_context("verb", words[len(name.split()) :])
    if context.params.get("set"):
        load_config(context.params["preset"], context.params["set"])


@pytest.mark.parametrize("columns", long_but([60, 80, 120], [80]))
def test_the_help_page_shows_whole_first_sentences_within_the_width_of_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    page = CliRunner().invoke(cli.app, ["--help"], terminal_width=columns).output
    assert max(map(len, page.splitlines())) <= columns
    flat = " ".join(page.split())
    for title, names in GROUPS.items():
        assert f"{title}:" in flat
        assert [name for name in names if first_sentence(cli.command().commands[name].help) not in flat] == []


def test_the_version_is_shown() -> None:
    ran = CliRunner().invoke(cli.app, ["--version"])
    assert (ran.output, ran.exit_code) == (f"reviewlm {__version__}\n", 0)


def test_presets_lists_all_presets_with_a_purpose() -> None:
    page = " ".join(CliRunner().invoke(cli.app, ["presets"]).output.split())
    assert all(name in page for name in preset_names())
    assert "Real reviews on a laptop" in page
