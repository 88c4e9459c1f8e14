"""Dependencies point one way, and each framework stays in its room (ARCHITECTURE.md, "Rooms")."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("flows", "tasks", "corpus", "evaluation", "data_checks", "tracking", "models", "reviewlm")
BELOW = {
    "flows": {"tasks", "reviewlm"},
    "tasks": {"corpus", "evaluation", "data_checks", "tracking", "models", "reviewlm"},
    "corpus": {"models", "reviewlm"},
    "evaluation": {"corpus", "models", "reviewlm"},
    "data_checks": {"models", "reviewlm"},
    "tracking": {"evaluation", "models", "reviewlm"},
    "models": set(),
    "reviewlm": {"models"},
}
HOMES = {
    "prefect": {"flows", "tasks"},
    "prefect_dask": {"tasks"},
    "distributed": {"tasks"},
    "mlflow": {"tracking"},
    "great_expectations": {"data_checks"},
    "fastapi": {"serving"},
    "torch": {"models"},
    "optuna": {"tasks"},
}
MAY_LOOK_UP = "reviewlm/verbs/"  # only the command line imports them; they reach the flows inside a verb
FOUNDATION_SEES = {"models.specs", "models.base", "models.ngram.placing"}
"""Options are part of the configuration, and files are written in one way; no framework comes with these."""


def imports_of(path: Path) -> list[tuple[str, int]]:
    """Absolute module names that a file imports, at any depth of it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append((node.module or "", node.lineno))
    return found


def files() -> list[Path]:
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_imports_only_what_lies_below_its_room(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    room = name.split("/")[0]
    wrong = []
    for module, line in imports_of(path):
        top = module.split(".")[0]
        if top in HOMES and room not in HOMES[top]:
            wrong.append(f"{name}:{line}: {module} belongs to {sorted(HOMES[top])}")
        if top in ROOMS and top != room and not name.startswith(MAY_LOOK_UP):
            allowed = top in BELOW[room] and (room != "reviewlm" or module in FOUNDATION_SEES)
            if not allowed:
                wrong.append(f"{name}:{line}: {room} may not import {module}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_file_imports_of_ours_is_there(path: Path) -> None:
    """Also inside functions, where an import is first tried when a user asks for that very thing."""
    absent = [
        f"line {line}: {module}"
        for module, line in imports_of(path)
        if module.split(".")[0] in ROOMS and not find_spec(module)
    ]
    assert absent == []


def test_models_import_themselves_only_relatively_so_that_a_vendored_copy_works() -> None:
    absolute = [
        f"{path}:{line}"
        for path in (ROOT / "models").rglob("*.py")
        for module, line in imports_of(path)
        if module.split(".")[0] in ROOMS
    ]
    assert absolute == []


def test_no_module_is_vague_or_longer_than_three_hundred_lines() -> None:
    vague = {"utils", "util", "helpers", "helper", "misc", "common", "manager"}
    long = [f"{path}: {n}" for path in files() if (n := len(path.read_text().splitlines())) > 300 or path.stem in vague]
    assert long == []
