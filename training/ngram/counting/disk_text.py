"""Read a text that is larger than memory block by block: its ids stay in a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.npy_files import let_go

_NOTHING = -1


@dataclass(frozen=True)
class DiskText:
    """A text of which memory holds a block.

    Args:
        ids_T: Ids; each document begins with its single begin token.
        given_V: Which ids are begin tokens.
        order: N.
        block: Tokens of a block.
    """

    ids_T: np.ndarray
    given_V: np.ndarray
    order: int
    block: int

    @property
    def starts(self) -> range:
        """Positions where the blocks begin."""
        return range(0, len(self.ids_T), self.block)

    def windows(
        self, first: int, low: int, group_V: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the windows of at least two tokens that begin in a block with some words, group by group.

        Args:
            first: Position where the block begins.
            low: Smallest id of these words.
            group_V: Group of each word from *low* on; windows that begin with others are left out.

        Returns:
            The group of each window (P,), ascending; where it begins in the text (P,) int32, ascending within a group;
            its words as in `windows.Text`, (P, N) int32; its length (P,) uint8.
        """
        ids_B = self._ids(first)
        word_B = ids_B[: len(ids_B) - self.order]
        inside_B = self._continues(ids_B)
        if len(group_V) < len(self.given_V):
            inside_B &= (word_B >= low) & (word_B < low + len(group_V))
        at_P = np.flatnonzero(inside_B)
        group_P = group_V.take(word_B.take(at_P) - low)
        order_P = np.argsort(group_P, kind="stable")
        at_P = at_P[order_P]
        code_PN = np.empty((len(at_P), self.order), np.int32)
        length_P = np.full(len(at_P), self.order, np.uint8)
        for place in range(self.order - 1, -1, -1):
            id_P = ids_B.take(at_P + place)
            code_P = id_P + 1  # 0 after the end of the text
            np.negative(code_P, out=code_P, where=self.given_V[id_P])
            code_PN[:, place] = code_P
            if place:
                length_P[code_P <= 0] = place
        return group_P[order_P], (at_P + first).astype(np.int32), code_PN, length_P

    def first_words(self) -> tuple[np.ndarray, tuple[int, ...]]:
        """Return the number of windows of at least two tokens that begin with each word, and the begin tokens' ids."""
        windows_V, begin_V = np.zeros(len(self.given_V), np.int64), np.zeros(len(self.given_V), bool)
        for ids_B in self._blocks():
            word_B = ids_B[: len(ids_B) - self.order]
            windows_V += np.bincount(word_B[self._continues(ids_B)], minlength=len(windows_V))
            begin_V[word_B[self.given_V[word_B]]] = True
        return windows_V, tuple(np.flatnonzero(begin_V).tolist())

    def _continues(self, ids_B: np.ndarray) -> np.ndarray:
        """Return whether a token of the same document follows each token of a block."""
        next_B = ids_B[1 : len(ids_B) - self.order + 1]
        return ~self.given_V[next_B] & (next_B != _NOTHING)

    def _blocks(self) -> Iterator[np.ndarray]:
        yield from map(self._ids, self.starts)

    def _ids(self, first: int) -> np.ndarray:
        """Return the ids of a block and of the N tokens after it, `_NOTHING` after the end of the text."""
        size = min(self.block, len(self.ids_T) - first)
        ids_B = np.full(size + self.order, _NOTHING, np.int32)
        some = self.ids_T[first : first + size + self.order]
        ids_B[: len(some)] = some
        let_go(self.ids_T)
        return ids_B
