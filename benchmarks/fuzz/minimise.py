"""Minimise a saved finding: remove pieces of its files as long as the fault stays the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

TRIES = 400
"""Most runs of a case for one finding."""


def minimise(case: Path, same: Callable[[], bool]) -> int:
    """Shorten the files of a case in place, the largest first; return the number of removed bytes.

    Args:
        case: Folder of the files.
        same: Function that runs the case with its current files, and returns whether it still has the fault.
    """
    before = _size(case)
    left = [TRIES]

    def still() -> bool:
        left[0] -= 1
        return same()

    for path in sorted(_files(case), key=lambda path: -path.stat().st_size):
        if path.name != "case.json":
            _shorten(path, still, left)

    return before - _size(case)


def _shorten(
    path: Path,
    still: Callable[[], bool],
    left: list[int],
) -> None:
    """Remove smaller and smaller pieces (Zeller and Hildebrandt 2002, "ddmin", complements only)."""
    content = path.read_bytes()
    piece = max(1, len(content) // 2)
    while left[0] > 0 and content:
        begin = 0
        gone = False
        while begin < len(content) and left[0] > 0:
            shorter = content[:begin] + content[begin + piece :]
            path.write_bytes(shorter)
            if still():
                content = shorter
                gone = True
            else:
                begin += piece
        path.write_bytes(content)
        if piece == 1 and not gone:
            return
        piece = piece if gone and piece == 1 else max(1, piece // 2)


def _files(case: Path) -> list[Path]:
    return [path for path in case.rglob("*") if path.is_file()]


def _size(case: Path) -> int:
    return sum(path.stat().st_size for path in _files(case))
