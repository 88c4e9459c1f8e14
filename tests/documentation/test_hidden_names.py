"""No local name hides a function, class or import of its module: below it, the name would mean another thing."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.documentation.code_blocks import ROOT
from tests.documentation.test_module_docstrings import MODULES
from tests.syntax_trees import tree_of

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
OTHER_SCOPES = (*FUNCTIONS, ast.ClassDef, ast.Lambda)


def _imported_names(node: ast.Import | ast.ImportFrom) -> set[str]:
    return {each.asname or each.name.split(".")[0] for each in node.names}


def _module_names(tree: ast.Module) -> set[str]:
    """Return the names of the functions, classes and imports at the top of a module."""
    names = set()
    for node in tree.body:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= _imported_names(node)

    return names


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> Iterator[ast.arg]:
    found = function.args
    yield from (*found.posonlyargs, *found.args, *found.kwonlyargs)
    yield from filter(None, (found.vararg, found.kwarg))


def _local_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, int]]:
    """Yield the names that a function's own statements define, with their lines; not those of functions inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            yield node.name, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((name, node.lineno) for name in _imported_names(node))

        if not isinstance(node, OTHER_SCOPES):
            waiting.extend(ast.iter_child_nodes(node))


def _hidden_names(tree: ast.Module) -> list[tuple[int, str]]:
    """Return the line and the name of each parameter, variable and inner function that hides a name of the module."""
    known = _module_names(tree)
    hidden = set()
    for node in ast.walk(tree):
        if not isinstance(node, (*FUNCTIONS, ast.Lambda)):
            continue

        names = [(each.arg, each.lineno) for each in _parameters(node)]
        if not isinstance(node, ast.Lambda):
            names.extend(_local_names(node))
        hidden |= {(line, name) for name, line in names if name in known}

    return sorted(hidden)


def test_no_local_name_hides_a_name_of_its_module() -> None:
    found = []
    for file in MODULES:
        for line, name in _hidden_names(tree_of(file)):
            found.append(f"{file.relative_to(ROOT)}:{line} {name}")

    assert found == []


def test_a_hidden_name_is_found() -> None:
    program = """
import time
from dataclasses import field as declare

class Row: ...

def read(time): ...
def write(row):
    read = 1
    for declare in row: ...
    [Row for Row in row]
    def inner(written): import time
"""
    assert _hidden_names(ast.parse(program)) == [
        (7, "time"),
        (9, "read"),
        (10, "declare"),
        (11, "Row"),
        (12, "time"),
    ]


def test_a_field_of_a_class_hides_nothing() -> None:
    program = "import time\nclass Row:\n    time: float\n    def read(self): self.time = 1\n"
    assert _hidden_names(ast.parse(program)) == []
