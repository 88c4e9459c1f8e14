"""Programs that tests start in a process of its own: to kill it, to limit it, or to see what it imports."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def path_of(name: str) -> str:
    """Return the path of a program of this folder."""
    return str(FOLDER / f"{name}.py")


def command(name: str, *arguments: object) -> list[str]:
    """Return the command that runs a program of this folder with the interpreter of the tests."""
    return [sys.executable, path_of(name), *map(str, arguments)]
