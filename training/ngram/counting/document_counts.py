"""Tell which n-grams occur in enough documents: their document frequency, up to a limit.

An n-gram that only one review has may be somebody's secret, and a table of n-grams tells it to everybody who asks
(docs/concepts/evaluation/memorisation.md). In the order of `windows.py`, the occurrences of an n-gram are neighbours.
So its documents are at most 1 + the number of its occurrences that are in another document than the occurrence before.
For a limit of 2 this is exact. For a higher one, only n-grams with enough changes are looked at closely.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class DocumentLimit(NamedTuple):
    """The least number of documents of an n-gram, 2 or more, and where the documents begin (ascending; int32)."""

    least: int
    begin_D: np.ndarray

    def documents(self, start_P: np.ndarray) -> np.ndarray:
        """Return the number of each window's document, (P,)."""
        return np.searchsorted(self.begin_D, start_P, side="right")

    def reached(
        self, at_M: np.ndarray, raw_M: np.ndarray, start_P: np.ndarray, changed_P: np.ndarray
    ) -> np.ndarray:
        """Return whether each n-gram occurs in at least *least* documents; (M,) bool.

        Args:
            at_M: The first window of each n-gram; its occurrences are this window and those after it.
            raw_M: Number of its occurrences.
            start_P: Position in the text where each window begins.
            changed_P: From `changes`.
        """
        changes_P = np.cumsum(changed_P, dtype=np.int32)
        reached_M: np.ndarray = changes_P.take(at_M + raw_M - 1) - changes_P.take(at_M) >= self.least - 1
        if self.least > 2:
            maybe = np.flatnonzero(reached_M)
            reached_M[maybe] = self._distinct(at_M[maybe], raw_M[maybe], start_P) >= self.least
        return reached_M

    def _distinct(self, at_M: np.ndarray, raw_M: np.ndarray, start_P: np.ndarray) -> np.ndarray:
        """Return the number of documents of each n-gram, (M,)."""
        row_N = np.repeat(np.arange(len(raw_M)), raw_M)
        window_N = np.arange(len(row_N)) + np.repeat(at_M - (np.cumsum(raw_M) - raw_M), raw_M)
        pair_N = row_N.astype(np.uint64) << np.uint64(32) | self.documents(start_P.take(window_N)).astype(np.uint64)
        pair_N.sort()
        return np.bincount(row_N, weights=changes(pair_N), minlength=len(raw_M))  # sorted pairs are in the rows' order


def changes(document_P: np.ndarray) -> np.ndarray:
    """Return whether each window is in another document than the window before; (P,) bool, the first one True."""
    changed_P = np.ones(len(document_P), bool)
    np.not_equal(document_P[1:], document_P[:-1], out=changed_P[1:])
    return changed_P
