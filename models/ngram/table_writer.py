"""Writing the tables of a model straight into their files, for models whose arrays do not fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..base import ModelError
from .lookup import count_followers, row_type, word_type
from .tables import FACTS, FLOATS, Precision, Tables, write_facts


class OrderWriter:
    """The arrays of one order, as writable maps of their files.

    Args:
        logp_M: log p of every n-gram, to be filled in in any order.
        backoff_M: Back-off weights, 0 until they are filled in (any time before `TableWriter.finish`); None at the
            highest order.
    """

    def __init__(
        self, logp_M: np.ndarray, backoff_M: np.ndarray | None, word_M: np.ndarray, first_C: np.ndarray
    ) -> None:
        self.logp_M, self.backoff_M = logp_M, backoff_M
        self._word_M, self._first_C = word_M, first_C
        self._rows = 0

    def append(self, keys_P: np.ndarray, vocabulary_size: int) -> None:
        """Take the next n-grams, as sorted keys (see `lookup.py`); not at order 1."""
        last = self._rows + len(keys_P)
        context_P, self._word_M[self._rows : last] = np.divmod(keys_P, vocabulary_size)
        count_followers(context_P, self._first_C)
        self._rows = last

    def close(self) -> None:
        """Turn the numbers of followers into offsets.

        Raises:
            ModelError: Not all n-grams have been given.
        """
        if self._rows != len(self._word_M):
            raise ModelError(f"{self._rows} of {len(self._word_M)} n-grams were written")
        np.cumsum(self._first_C, out=self._first_C)


class TableWriter:
    """Makes a folder that `Tables.load` opens, order by order, in blocks of any size.

    >>> writer = TableWriter(folder, vocabulary_size=4, given=[1])         # doctest: +SKIP
    >>> unigrams = writer.order(4)                                         # doctest: +SKIP
    >>> unigrams.logp_M[:] = …                                             # doctest: +SKIP
    >>> bigrams = writer.order(3, highest=True)                            # doctest: +SKIP
    >>> bigrams.append(keys, 4); bigrams.logp_M[:] = …; unigrams.backoff_M[:] = …  # doctest: +SKIP
    >>> tables = writer.finish()                                           # doctest: +SKIP
    """

    def __init__(
        self, folder: Path, vocabulary_size: int, given: Sequence[int], precision: Precision = "double"
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FACTS).unlink(missing_ok=True)  # no model until `finish`
        self._folder, self._size, self._given, self._precision = folder, vocabulary_size, tuple(given), precision
        self._orders: list[OrderWriter] = []

    def order(self, ngrams: int, highest: bool = False) -> OrderWriter:
        """Return the arrays of the next order, from 1 on; *ngrams* is its size (V at order 1)."""
        k, number = len(self._orders) + 1, FLOATS[self._precision]
        contexts = len(self._orders[-1].logp_M) if k > 1 else 0
        logp_M = self._map(f"logp_{k}", ngrams, number)
        backoff_M = None if highest else self._map(f"backoff_{k}", ngrams, number)
        word_M, first_C = np.zeros(0, np.uint16), np.zeros(1, np.uint32)
        if k > 1:
            word_M = self._map(f"words_{k}", ngrams, word_type(self._size))
            first_C = self._map(f"first_{k}", contexts + 1, row_type(ngrams))
        self._orders.append(OrderWriter(logp_M, backoff_M, word_M, first_C))
        return self._orders[-1]

    def finish(self) -> Tables:
        """Complete the files and open them as tables.

        Raises:
            ModelError: An order has fewer n-grams than were announced.
        """
        for entry in self._orders:
            entry.close()
        sizes = [len(entry.logp_M) for entry in self._orders]
        self._orders.clear()
        write_facts(self._folder, self._size, self._given, sizes, self._precision)
        return Tables.load(self._folder)

    def _map(self, name: str, length: int, kind: type) -> np.ndarray:
        path = self._folder / f"{name}.npy"
        path.unlink(missing_ok=True)  # somebody may still have the old file open: it stays theirs
        if length == 0:
            np.save(path, np.zeros(0, kind))
            return np.zeros(0, kind)
        return np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=(length,)).view(np.ndarray)
