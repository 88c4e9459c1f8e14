"""Signatures and calls with many arguments have one a line: put a comma behind the last one, and the formatter does the rest."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.documentation.code_blocks import ROOT
from tests.documentation.test_comments import TESTS
from tests.documentation.test_module_docstrings import MODULES
from tests.syntax_trees import tree_of

PARAMETERS = 3
"""Parameters of a signature, besides `self` and `cls`, from which each has its line."""
KEYWORDS = 3
"""Arguments of a call with a keyword, from which each argument has its line."""
ARGUMENTS = 5
"""All arguments of a call, from which each has its line."""


def _crowded(tree: ast.Module, text: str) -> Iterator[int]:
    """Yield the lines of signatures and calls that have two of many arguments on one line."""
    kept = {
        number
        for number, line in enumerate(text.splitlines(), 1)
        if "# type:" in line or "# noqa" in line
    }
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = _parameters(node)
        elif isinstance(node, ast.Call):
            arguments = _arguments(node)
        else:
            continue

        # In an f-string of Python 3.11 all has the place of the string.
        places = {(argument.lineno, argument.col_offset) for argument in arguments}
        lines = {argument.lineno for argument in arguments}
        if len(lines) < len(places) == len(arguments) and not kept & lines:
            yield node.lineno


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    """Return the parameters of a signature that need a line each."""
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    named = [parameter for parameter in given if parameter.arg not in ("self", "cls")]
    return named if len(named) >= PARAMETERS else []


def _arguments(node: ast.Call) -> list[ast.expr | ast.keyword]:
    """Return the arguments of a call that need a line each."""
    arguments = [*node.args, *node.keywords]
    if len(node.keywords) >= KEYWORDS or len(arguments) >= ARGUMENTS:
        return arguments

    return []


def test_many_arguments_have_a_line_each() -> None:
    crowded = []
    for file in (*MODULES, *TESTS):
        for line in _crowded(tree_of(file), file.read_text(encoding="utf-8")):
            crowded.append(f"{file.relative_to(ROOT)}:{line}")

    assert crowded == []


def test_arguments_that_share_a_line_are_found() -> None:
    text = "def f(a, b, c):\n    g(\n        1,\n        x=1,\n        y=2, z=3,\n    )\n    return g(1, 2, 3, 4)\n"
    assert list(_crowded(ast.parse(text), text)) == [1, 2]
