"""Parse the source files of the project, each once a process, for the tests that read the code."""

from __future__ import annotations

import ast
import gc
from functools import cache
from pathlib import Path


def tree_of(file: Path) -> ast.Module:
    """Return the syntax tree of a source file; nobody may change it. A file has one tree by all links to it."""
    return _parse(file.resolve())


@cache
def _parse(file: Path) -> ast.Module:
    """Parse a file without collections of garbage, which would look at all nodes of all trees again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
