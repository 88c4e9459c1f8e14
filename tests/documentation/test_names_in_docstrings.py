"""Names of our code that docstrings and comments give as `module.name` exist."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

from tests.documentation.code_blocks import ROOT

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
        known[file.stem] |= _names_in(ast.parse(file.read_text(encoding="utf-8")))
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


def _where(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()
