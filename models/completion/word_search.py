"""Search the most probable words of a subword vocabulary that begin with given characters, character by character."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count

import numpy as np

from .reading import Search
from .spellings import Cutoffs, Node, Spellings

MOST_BEGINNINGS = 2_048
"""Maximum number of beginnings of words that a search visits; words not found by then are part of `rest`."""
FEW = 4
"""Beginnings that are read in one batch however improbable some are: reading one takes almost as long."""
LETTERS = np.array([byte >= 128 or chr(byte).isalnum() or chr(byte) == "'" for byte in range(256)])
"""Bytes that may be in a word."""


def likely_words(ways: Spellings, start: Node, k: int, cutoffs: Cutoffs) -> Search[dict[str, float]]:
    """Return the most probable words that continue a node, by best-first search over characters.

    A word cannot be more probable than its beginning, so the search ends when k words are found that are more probable
    than all beginnings that are left. The model reads the beginnings where tokens end in batches: a few, or more of
    about equal probability. Much less probable ones may not be needed once the words of this batch are known.
    """
    words: dict[str, float] = {}
    numbers, heap = count(), [(-start.mass, 0, start, -1)]

    def grow(node: Node, least: float) -> None:
        word = _whole(node.text).strip()
        if node.read and any(char.isalnum() for char in word) and (p := ways.finished(node)) > 0:
            words[word] = p
        for mass, byte in _longer(ways, node, least):
            heapq.heappush(heap, (-mass, next(numbers), node, byte))

    visited = 0
    while visited < MOST_BEGINNINGS:
        best = heapq.nlargest(k, words.values())
        least = max(cutoffs.word * start.mass, best[-1] if len(best) == k else 0.0)
        unread: list[Node] = []
        lowest = least
        while heap and len(unread) < cutoffs.width and visited < MOST_BEGINNINGS:
            if -heap[0][0] <= (least if len(unread) < FEW else lowest):
                break
            visited += 1
            mass, _, before, byte = heapq.heappop(heap)
            node = before if byte < 0 else ways.child(before, byte, start.mass)
            if node is None:
                continue
            if not node.ended:
                grow(node, least)
                continue
            unread.append(node)
            lowest = max(lowest, -mass * cutoffs.alike) if len(unread) == 1 else lowest
        if not unread:
            break
        yield ways.unread(unread)
        ways.extend(unread)
        for node in unread:
            grow(node, least)
    return words


def _whole(text: bytes) -> str:
    """Return a text, or "" if it ends within a character: without that part it would pass for a shorter word."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return ""


def _longer(ways: Spellings, node: Node, least: float) -> Iterator[tuple[float, int]]:
    """Yield the bytes that continue a word, with the probabilities of the longer beginnings above *least*."""
    mass_C = ways.next_bytes(node)
    for byte in np.flatnonzero((mass_C > least) & LETTERS).tolist():
        last = "" if byte < 128 else (node.text + bytes([byte])).decode("utf-8", "ignore")[-1:]
        if not last or last.isalnum() or last in "'’ ":
            yield float(mass_C[byte]), byte
