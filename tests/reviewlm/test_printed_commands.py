"""Commands that the program prints: as the user can type them, and about one model."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from reviewlm import terminal
from tests.syntax_trees import tree_of

ROOT = Path(terminal.__file__).resolve().parents[1]
ROOMS = (
    "core",
    "corpus",
    "data_checks",
    "evaluation",
    "flows",
    "models",
    "reviewlm",
    "serving",
    "tasks",
    "tracking",
    "training",
)
VERBS = (
    "check|compare|config|data|demo|doctor|generate|history|home|models|promote|rollback|run|score|serve|services|"
    "suggest|version"
)
BARE = re.compile(rf"(?<![`\w./-])reviewlm ({VERBS})\b")
"""A command that is not in backquotes: `terminal.as_typed` does not see it."""
COPIED_ELSEWHERE = {
    "evaluation/reports/report.py",
    "tasks/records/report_results.py",
    "reviewlm/cli.py",
    "serving/api/door.py",
}
"""Files of text that is read elsewhere (a page, an answer over HTTP), where nobody knows how the program is called."""


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    terminal.program.cache_clear()
    yield
    terminal.program.cache_clear()


def documentation_of(tree: ast.AST) -> set[int]:
    """Ids of the nodes that are docstrings, of definitions and of constants."""
    bodies = [node.body for node in ast.walk(tree) if isinstance(getattr(node, "body", None), list)]
    statements = [statement for body in bodies for statement in body]
    return {id(statement.value) for statement in statements if isinstance(statement, ast.Expr)}


def texts_of(file: Path) -> Iterator[tuple[int, str]]:
    """Every text of a module but its docstrings, with its line; what is filled in stands as "{}"."""
    tree = tree_of(file)
    left_out = documentation_of(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            left_out |= {id(part) for part in node.values}
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and id(node) not in left_out:
            yield node.lineno, str(node.value)


@cache
def printed_texts() -> tuple[tuple[str, str], ...]:
    """Every text of the program that a user may see on a terminal, after its place in the code."""
    texts = []
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            name = file.relative_to(ROOT).as_posix()
            if "site-packages" in name or name in COPIED_ELSEWHERE:
                continue
            for line, text in texts_of(file):
                texts.append((f"{name}:{line}", text))

    return tuple(texts)


def test_every_printed_command_is_in_backquotes() -> None:
    assert [(place, text) for place, text in printed_texts() if BARE.search(text)] == []


def test_no_printed_command_names_a_place_of_the_program() -> None:
    assert [(place, text) for place, text in printed_texts() if ".venv/bin" in text] == []


@pytest.mark.parametrize(
    ("called", "found", "shown"),
    [
        ("/usr/bin/reviewlm", "/usr/bin/reviewlm", "reviewlm"),
        (".venv/bin/reviewlm", None, ".venv/bin/reviewlm"),
        (".venv/bin/reviewlm", "/usr/bin/reviewlm", ".venv/bin/reviewlm"),
        ("/a/reviewlm/__main__.py", None, f"{sys.executable} -m reviewlm"),
        ("worker", None, "reviewlm"),
    ],
)
def test_a_command_is_printed_as_the_program_was_called(
    called: str,
    found: str | None,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    monkeypatch.setattr(shutil, "which", lambda name: found)
    assert terminal.as_typed("`reviewlm history`") == f"`{shown} history`"
