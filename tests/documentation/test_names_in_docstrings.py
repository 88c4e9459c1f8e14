"""Names of our code that docstrings, comments and ARCHITECTURE.md give exist, where they are said to be."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

from tests.documentation.code_blocks import ROOT
from tests.syntax_trees import tree_of

ROOMS = (
    "core",
    "corpus",
    "course",
    "data_checks",
    "evaluation",
    "flows",
    "models",
    "serving",
    "tasks",
    "tracking",
    "training",
)
FILES = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
REFERENCE = re.compile(r"`(?:reviewlm\.)?(?:[a-z_]+\.)*([a-z_]+)\.(\w+)(?:\(\))?`")
PLACED = re.compile(r"`([A-Za-z_]\w*)`[^`();]{0,30} \(`([\w/]+)\.py`\)")
"""A name, and after it in brackets the file that has it."""
ENDINGS = frozenset(("py", "toml", "md", "json", "parquet", "html", "npz", "txt", "jsonl"))
LIBRARIES_AND_SETTINGS = frozenset(
    (
        *("checks", "clean", "promotion", "selection", "serving", "source", "split", "training"),
        *("evidence", "metrics", "pyfunc", "spec", "weights"),
    )
)
"""Modules of ours that have the name of a section of settings, a library or an object."""


def _names_in(tree: ast.Module) -> set[str]:
    """Return every name that a module defines at any depth, or mentions as its own attribute."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
        elif isinstance(node, ast.alias):
            names.add(node.name.rpartition(".")[2])
        elif isinstance(node, ast.arg):
            names.add(node.arg)

    return names


def test_a_name_of_ours_in_backticks_exists() -> None:
    known = defaultdict[str, set[str]](set)
    for file in FILES:
        known[file.stem] |= _names_in(tree_of(file))
        known[file.parent.name].add(file.stem)
        known[file.parent.parent.name].add(file.parent.name)
        if file.stem == "__init__":
            known[file.parent.name] |= known["__init__"]

    lost = []
    for file in FILES:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            for module, name in REFERENCE.findall(line):
                ours = module in known and module not in LIBRARIES_AND_SETTINGS
                if ours and name not in ENDINGS and name not in known[module]:
                    lost.append(f"{_where(file)}:{number} `{module}.{name}`")

    assert not lost, "\n".join(lost)


def test_a_module_gives_no_name_of_a_namesake_as_its_own() -> None:
    lost = []
    for file in FILES:
        own = _names_in(tree_of(file))
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            for name in re.findall(rf"`{file.stem}\.(\w+)`", line):
                if file.stem not in LIBRARIES_AND_SETTINGS and name not in own | ENDINGS | {"yaml"}:
                    lost.append(f"{_where(file)}:{number} `{file.stem}.{name}`")

    assert lost == []


def test_a_name_is_in_the_file_that_is_named_beside_it() -> None:
    lost = []
    for page in (ROOT / "ARCHITECTURE.md", *FILES):
        for name, path in PLACED.findall(page.read_text(encoding="utf-8")):
            places = [file for file in FILES if f"/{_where(file)}".endswith(f"/{path}.py")]
            texts = (file.read_text(encoding="utf-8") for file in places)
            if places and not any(re.search(rf"\b{name}\b", text) for text in texts):
                lost.append(f"{_where(page)}: `{name}` (`{path}.py`)")

    assert lost == []


def _where(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()
