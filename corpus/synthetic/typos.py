"""Simulate typing errors at a known rate: a memoryless channel from intended words to written ones.

Only words of four or more lower-case ASCII letters are mistyped, each independently with the same probability. A
mistyped word loses a letter, doubles one, or swaps two neighbours; its first letter stays. All outcomes of a word and
their probabilities can be listed, so the channel can be inverted exactly (`intended`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Container
from functools import lru_cache
from itertools import accumulate

TOKEN = re.compile(r"[\w'-]+|[^\w'-]")
"""Pattern of the tokens of a text: words (with apostrophes and hyphens), and every other character by itself."""
KINDS = {"drop": 0.45, "swap": 0.3, "double": 0.25}
_ELIGIBLE = re.compile(r"[a-z]{4,}")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def eligible(token: str) -> bool:
    """Return whether a token can be mistyped."""
    return _ELIGIBLE.fullmatch(token) is not None


def count_eligible(text: str) -> int:
    """Return the number of tokens of a text that can be mistyped."""
    return sum(map(eligible, TOKEN.findall(text)))


@lru_cache(maxsize=100_000)
def corruptions(word: str) -> dict[str, float]:
    """Return all possible errors of a word with their probabilities, given that it is mistyped; they sum to 1."""
    outcomes: dict[str, list[str]] = {
        "drop": [word[:i] + word[i + 1 :] for i in range(1, len(word))],
        "double": [word[: i + 1] + word[i:] for i in range(1, len(word))],
        "swap": [
            word[:i] + word[i + 1] + word[i] + word[i + 2 :]
            for i in range(1, len(word) - 1)
            if word[i] != word[i + 1]
        ],
    }
    possible = {kind: share for kind, share in KINDS.items() if outcomes[kind]}
    whole = sum(possible.values())
    table: dict[str, float] = {}
    for kind, share in possible.items():
        for surface in outcomes[kind]:
            table[surface] = table.get(surface, 0.0) + share / whole / len(outcomes[kind])
    return table


@lru_cache(maxsize=100_000)
def _cumulative(word: str) -> tuple[list[float], list[str]]:
    table = corruptions(word)
    return list(accumulate(table.values())), list(table)


def corrupt(word: str, uniform: float) -> str:
    """Return the mistyped word selected by a number drawn uniformly from [0, 1)."""
    cumulative, surfaces = _cumulative(word)
    return surfaces[min(bisect_right(cumulative, uniform), len(surfaces) - 1)]


def intended(surface: str, vocabulary: Container[str]) -> dict[str, float]:
    """Return the words of the vocabulary that can be mistyped as *surface*, with P(surface | word, mistyped)."""
    # The first letter never changes, so only the rest has to be inverted.
    candidates = {surface[:i] + surface[i + 1 :] for i in range(1, len(surface))}
    candidates.update(
        surface[:i] + surface[i + 1] + surface[i] + surface[i + 2 :] for i in range(1, len(surface) - 1)
    )
    candidates.update(
        surface[:i] + letter + surface[i:] for i in range(1, len(surface) + 1) for letter in _LETTERS
    )
    words = {}
    for word in sorted(candidates):
        if word in vocabulary and eligible(word) and (probability := corruptions(word).get(surface)):
            words[word] = probability
    return words
