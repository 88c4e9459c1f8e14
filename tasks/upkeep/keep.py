"""Decide which stored results are kept: those with a reason of their own, and all that they were made from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

Key = tuple[str, str]
"""Stage and digest of a stored result."""
VERSION = "lineage of a version"
RUNNING = "used by a running process"
RECENT = "used by a recent run"
YOUNG = "younger than an hour"
INPUT = "input of a kept result"
REASONS = (VERSION, RUNNING, RECENT, YOUNG, INPUT)


@dataclass(frozen=True)
class UsedSince:
    """A reason to keep what was used at or after a time, in nanoseconds since 1970."""

    time: int
    reason: str


def used_since(used: Mapping[Key, int], limits: Sequence[UsedSince]) -> dict[Key, str]:
    """Return the results that were used since one of the times, each with the first reason that applies."""
    found: dict[Key, str] = {}
    for limit in limits:
        for key, last in used.items():
            if last >= limit.time:
                found.setdefault(key, limit.reason)
    return found


def with_inputs(roots: Mapping[Key, str], made_from: Callable[[Key], Iterable[Key]]) -> dict[Key, str]:
    """Return the kept results and everything that they were made from, at any distance, each with its reason."""
    kept, waiting = dict(roots), deque(roots)
    while waiting:
        for key in made_from(waiting.popleft()):
            if key not in kept:
                kept[key] = INPUT
                waiting.append(key)
    return kept


def cutoff(starts: Iterable[int], runs: int) -> int:
    """Return when the oldest of the newest *runs* began; 0, the beginning of time, if there are fewer."""
    newest = sorted(starts, reverse=True)[:runs]
    return newest[-1] if len(newest) == runs else 0
